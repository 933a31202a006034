package lb

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// fastEngine serves HTTP/1.1 with a goroutine for each client's connection, the screen's own parser, and connections
// to targets that it keeps itself. What is out of the ordinary (see ordinary) it leaves to net/http: the connection goes
// there for good, with the bytes of the request that nothing has been done about yet. So a request that it takes is one
// that both read alike, and what is refused, and how, is decided in one place.
//
// HTTP/2 never comes here.
type fastEngine struct {
	proxy *proxy
	other *handoff // of net/http
	log   *slog.Logger

	next    chan *fastConn // for a goroutine that rests
	resting atomic.Int32
	stopped atomic.Bool // set under mu

	mu    sync.Mutex
	conns map[*fastConn]struct{}
	empty chan struct{} // closed when stopped and no connection is left
}

// maxResting is how many goroutines wait for a client.
const maxResting = 64

func newFastEngine(p *proxy, l *slog.Logger) *fastEngine {
	return &fastEngine{proxy: p, other: newHandoff(), log: l, conns: map[*fastConn]struct{}{}, next: make(chan *fastConn), empty: make(chan struct{})}
}

// accept serves what the listener accepts until it is closed.
func (f *fastEngine) accept(ln net.Listener) error {
	for wait := time.Duration(0); ; {
		c, err := ln.Accept()
		var ne net.Error
		switch {
		case err == nil:
			wait = 0
			fc := newFastConn(f, c.(*clientConn))
			if !f.add(fc) {
				c.Close()
				continue
			}
			select {
			case f.next <- fc:
			default:
				go f.serveAll(fc) // stop waits for it
			}
		case errors.As(err, &ne) && ne.Temporary(): // no descriptors are left
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			f.log.Warn("client not accepted", "err", err)
			time.Sleep(wait)
		default:
			return err
		}
	}
}

// serveAll serves the connection, and then others: a goroutine that has served one has the stack for the next.
func (f *fastEngine) serveAll(fc *fastConn) {
	for {
		f.serve(fc)
		if f.resting.Add(1) > maxResting {
			f.resting.Add(-1)
			return
		}
		select {
		case fc = <-f.next:
			f.resting.Add(-1)
		case <-f.empty:
			return
		}
	}
}

// serve serves the connection, which was added, until it ends, or is another's.
func (f *fastEngine) serve(fc *fastConn) {
	c := fc.c
	defer f.remove(fc)
	c.watched.Store(true)
	for {
		switch fc.next() {
		case goOn:
		case handOver:
			c.watched.Store(false)
			if !f.other.give(c) {
				c.Close()
			}
			return
		default:
			fc.free()
			c.Close()
			return
		}
	}
}

// stop ends the connections that wait for a request, and waits for the others until ctx is done. The answers in the
// making say that they are the last.
func (f *fastEngine) stop(ctx context.Context) {
	f.mu.Lock()
	f.stopped.Store(true)
	for fc := range f.conns {
		if !fc.waiting.Load() {
			continue
		}
		if fc.c.SetReadDeadline(past); !fc.waiting.Load() { // see fastConn.wait
			fc.c.SetReadDeadline(time.Time{})
		}
	}
	if len(f.conns) == 0 {
		close(f.empty)
	}
	f.mu.Unlock()
	select {
	case <-f.empty:
	case <-ctx.Done():
	}
}

// kill ends what stop has left.
func (f *fastEngine) kill() {
	f.mu.Lock()
	for fc := range f.conns {
		for _, x := range fc.c.exchanges() {
			fc.c.abort(x, errLeft) // nobody is answered any more
		}
		fc.c.Conn.Close()
	}
	f.mu.Unlock()
	<-f.empty
}

// Private

func (f *fastEngine) add(fc *fastConn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped.Load() {
		return false
	}
	f.conns[fc] = struct{}{}
	return true
}

func (f *fastEngine) remove(fc *fastConn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, fc)
	if f.stopped.Load() && len(f.conns) == 0 {
		close(f.empty)
	}
}

// What follows on a request.
type sequel int

const (
	unserved sequel = iota
	hangUp
	goOn
	handOver
)

// fastConn is a client's connection in the hands of the fast engine. It holds no buffer while it waits for a request.
type fastConn struct {
	engine  *fastEngine
	c       *clientConn
	sock    *socket     // nil with TLS
	waiting atomic.Bool // for a request

	buf   *buffer // nil while it waits
	r, w  int     // what has been read and not used: buf[r:w]
	small [1]byte // to wait with, with TLS
	after sequel  // of a request that was served while net's poller waited; unserved without one

	nextFn func(fd uintptr) bool // tryNext
}

// buffer is for a head, and for what comes with it.
type buffer [16 << 10]byte

var bufferPool = sync.Pool{New: func() any { return new(buffer) }}

func newFastConn(f *fastEngine, c *clientConn) *fastConn {
	fc := &fastConn{engine: f, c: c, sock: socketOf(c.Conn)}
	fc.nextFn = fc.tryNext
	return fc
}

// next serves the next request.
func (fc *fastConn) next() sequel {
	for {
		if end := headEnd(fc.buf.from(fc.r, fc.w)); end > 0 {
			return fc.take(end, true)
		}
		if fc.buf != nil && fc.w-fc.r == len(fc.buf) {
			return fc.leave()
		}
		if err := fc.more(); err != nil {
			return hangUp
		}
		if s := fc.after; s != unserved {
			fc.after = unserved
			return s
		}
		if b := fc.buf[fc.r]; b == '\r' || b == '\n' {
			return fc.leave()
		}
	}
}

// take serves the request whose head has so many bytes: if it may not read, only when all of it is there.
func (fc *fastConn) take(end int, mayRead bool) sequel {
	e := exchangePool.Get().(*fastExchange)
	defer e.recycle()
	e.fc = fc
	e.head.parse(string(fc.buf[fc.r : fc.r+end]))
	switch ordinary := e.head.ordinary(fc.buf[fc.r:]); {
	case !mayRead && (!ordinary || e.head.framing.length > int64(fc.w-fc.r-end)):
		return unserved
	case !ordinary:
		return fc.leave()
	}
	return e.serve(end)
}

// leave hands the connection over to net/http, with what has been read.
func (fc *fastConn) leave() sequel {
	fc.c.screen.in = append([]byte(nil), fc.buf.from(fc.r, fc.w)...)
	fc.free()
	return handOver
}

// ordinary says whether the fast engine takes a request. It does when net/http, and every target, reads it in the same
// way, and when it asks for nothing but an answer. raw begins with the head.
func (h *head) ordinary(raw []byte) bool {
	if !h.plain || h.refuse != 0 || h.upgrade || h.framing.chunked || h.verdict.class != compliant ||
		h.version != "HTTP/1.1" || h.target[0] != '/' || raw[len(h.method)+1+len(h.target)] != ' ' || h.method == http.MethodConnect || h.method == http.MethodTrace {
		return false
	}
	for i := range h.fields {
		f := &h.fields[i]
		switch len(f.name) {
		case len("TE"), len("Expect"), len("Trailer"):
			if strings.EqualFold(f.name, "TE") || strings.EqualFold(f.name, "Expect") || strings.EqualFold(f.name, "Trailer") {
				return false
			}
		case len("Connection"):
			if strings.EqualFold(f.name, "Connection") && !strings.EqualFold(f.value, "close") && !strings.EqualFold(f.value, "keep-alive") {
				return false
			}
		}
	}
	return true
}

// more reads more bytes into the buffer.
func (fc *fastConn) more() error {
	if fc.buf == nil {
		return fc.wait()
	}
	if fc.r == fc.w {
		fc.r, fc.w = 0, 0
	} else if fc.w == len(fc.buf) {
		fc.w = copy(fc.buf[:], fc.buf[fc.r:fc.w])
		fc.r = 0
	}
	n, err := fc.read(fc.buf[fc.w:])
	fc.w += n
	if n > 0 {
		return nil
	}
	return err
}

// wait waits for the first bytes of a request, without a buffer. It may also serve it, and those that follow, and tells in
// after how that ended.
func (fc *fastConn) wait() error {
	fc.r, fc.w = 0, 0
	fc.rest()
	if fc.sock == nil {
		n, err := fc.read(fc.small[:])
		fc.wake()
		if n == 0 {
			return err
		}
		fc.buf = bufferPool.Get().(*buffer)
		fc.buf[0] = fc.small[0]
		fc.w = 1
		return fc.more() // TLS has the rest
	}
	err := fc.sock.raw.Read(fc.nextFn)
	if err != nil { // also when the worker retires; what has come just now is served all the same
		fc.sock.raw.Control(func(fd uintptr) { fc.readFirst(fd) })
		if fc.w > 0 {
			fc.wake()
		}
	}
	if fc.after == unserved && fc.w == 0 {
		fc.free()
		return cmp.Or(err, io.EOF)
	}
	return nil
}

// rest notes that the connection waits for a request, and wake that one has come.
func (fc *fastConn) rest() {
	fc.waiting.Store(true)
	if fc.engine.stopped.Load() { // stop may not have seen that it waits
		fc.c.SetReadDeadline(past)
	}
}

func (fc *fastConn) wake() {
	fc.waiting.Store(false)
	if fc.engine.stopped.Load() { // the request that has come just in time is served
		fc.c.SetReadDeadline(time.Time{})
	}
}

// tryNext reads what is there into a buffer, and is false when nothing is: then net's poller waits, and it is called
// again. Ordinary requests are served within, since for the poller what comes meanwhile comes while it waits: so nothing
// need be read in vain before it does. What may read more of the connection, or close it, is left to the caller: the poller
// holds it.
func (fc *fastConn) tryNext(fd uintptr) bool {
	if !fc.readFirst(fd) {
		return false
	}
	fc.wake()
	for fc.w > 0 {
		end := headEnd(fc.buf[fc.r:fc.w])
		if end == 0 {
			return true
		}
		if fc.after = fc.take(end, false); fc.after != goOn {
			return true
		}
		if fc.r == fc.w {
			fc.after = unserved
			fc.rest()
			return false
		}
	}
	return true
}

// readFirst is false when nothing is there.
func (fc *fastConn) readFirst(fd uintptr) bool {
	if fc.buf == nil {
		fc.buf = bufferPool.Get().(*buffer)
	}
	n, errno := readNow(fd, fc.buf[:])
	fc.w = n
	if errno == syscall.EAGAIN {
		fc.free()
		return false
	}
	if n > 0 {
		fc.c.noteRead(n)
	}
	return true
}

// free gives the buffer back.
func (fc *fastConn) free() {
	if fc.buf != nil {
		bufferPool.Put(fc.buf)
		fc.buf = nil
	}
	fc.r, fc.w = 0, 0
}

// from is the part of a buffer; of none, nothing.
func (b *buffer) from(r, w int) []byte {
	if b == nil {
		return nil
	}
	return b[r:w]
}

// read reads from the client.
func (fc *fastConn) read(p []byte) (n int, err error) {
	if fc.sock != nil {
		n, err = fc.sock.Read(p)
	} else {
		n, err = fc.c.Conn.Read(p)
	}
	if n > 0 {
		fc.c.noteRead(n)
	}
	return n, err
}

// send writes to the client.
func (fc *fastConn) send(p []byte) (err error) {
	fc.c.touch()
	fc.c.sent.Add(int64(len(p)))
	if fc.sock == nil {
		_, err = fc.c.Conn.Write(p)
	} else if _, err = fc.sock.Write(p); !fc.sock.waited {
		return err
	}
	fc.c.touch()
	return err
}

// sendLast is send for what the connection ends with.
func (fc *fastConn) sendLast(p []byte) error {
	if fc.sock == nil {
		return fc.send(p)
	}
	fc.c.touch()
	fc.c.sent.Add(int64(len(p)))
	return fc.sock.writeLast(p)
}
