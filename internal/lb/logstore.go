package lb

import (
	"bytes"
	"sync"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// What is kept of logs for who reads them, in blocks of entries.
const (
	maxLogBytes = 16 << 20
	logBlockLen = 64 << 10
)

// accessLog keeps the newest entries of the access and connection logs until they are read, in the form in which they are
// handed out. It never waits: what nobody reads in time is lost, and counted.
type accessLog struct {
	news    *hub
	scratch sync.Pool // of *[]byte

	mu     sync.Mutex
	blocks []logBlock
	size   int
	next   int64 // number of the next entry
	handed int64 // number of the first that nobody has been given
	lost   int64
}

// logBlock holds entries. What is in its text never changes; more is added at its end.
type logBlock struct {
	first   int64 // number of its first entry
	entries int64
	text    []byte
}

// newAccessLog numbers entries from the time of day on, so that numbers grow across restarts.
func newAccessLog() *accessLog {
	return &accessLog{news: newHub(), next: time.Now().UnixMicro(), scratch: sync.Pool{New: func() any { return new([]byte) }}}
}

// exchange adds one that has ended; what the client got before it doesn't count.
func (l *accessLog) exchange(x *exchange, before int64) {
	buf := l.scratch.Get().(*[]byte)
	end := time.Now()
	b := lbconfig.AppendLogHead((*buf)[:0], x.listener.balancer.ARN, end, false)
	b = append(x.appendLog(b, x.sentSince(before), end), '\n')
	l.add(b)
	*buf = b
	l.scratch.Put(buf)
}

// add takes one entry with its end.
func (l *accessLog) add(entry []byte) {
	l.mu.Lock()
	last := len(l.blocks) - 1
	if last < 0 || cap(l.blocks[last].text)-len(l.blocks[last].text) < len(entry) {
		l.blocks = append(l.blocks, logBlock{first: l.next, text: make([]byte, 0, max(logBlockLen, len(entry)))})
		last++
	}
	b := &l.blocks[last]
	b.text = append(b.text, entry...)
	b.entries++
	l.next++
	l.size += len(entry)
	for l.size > maxLogBytes {
		l.lost += l.blocks[0].entries
		l.dropLocked()
	}
	l.mu.Unlock()
	l.news.changed()
}

// after returns the entries from number n on, in blocks, with the number of the next one and of those lost. Earlier ones
// have been read, and are dropped.
func (l *accessLog) after(n int64) (blocks [][]byte, next, lost int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.blocks) > 0 && l.blocks[0].first+l.blocks[0].entries <= n {
		l.dropLocked()
	}
	if len(l.blocks) > 0 {
		for b := &l.blocks[0]; b.first < n; b.first++ {
			i := bytes.IndexByte(b.text, '\n') + 1
			b.text = b.text[i:]
			b.entries--
			l.size -= i
		}
	}
	for _, b := range l.blocks {
		blocks = append(blocks, b.text)
	}
	return blocks, l.next, l.lost
}

// gave notes that the entries before number n have been handed out.
func (l *accessLog) gave(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handed = max(l.handed, n)
}

// take removes the entries that nobody has been given.
func (l *accessLog) take() []byte {
	l.mu.Lock()
	handed := l.handed
	l.mu.Unlock()
	blocks, next, _ := l.after(handed)
	l.after(next)
	l.gave(next)
	return bytes.Join(blocks, nil)
}

// inherit adds entries that another worker has left, as new ones.
func (l *accessLog) inherit(text []byte) {
	for entry := range bytes.Lines(text) {
		l.add(entry)
	}
}

// Private

// dropLocked forgets the oldest block.
func (l *accessLog) dropLocked() {
	l.size -= len(l.blocks[0].text)
	l.blocks[0] = logBlock{}
	l.blocks = l.blocks[1:]
}
