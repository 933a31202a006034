package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/lotse-project/lotse/internal/segment"
)

const (
	// maxQueued is how much waits for the disk, bytes of data. As awslogs' max-buffer-size by default.
	maxQueued = 10 << 20

	// patience is how long a container that didn't choose a mode is made to wait for a disk that does not move at all.
	// After that its lines are dropped and counted, until the disk moves again.
	patience = time.Second

	// forever is the patience of the mode blocking.
	forever = 100 * 365 * 24 * time.Hour

	// lineCost is what a line costs besides its bytes.
	lineCost = 80
)

// appender is what a queue is written to: a segment.Writer.
type appender interface {
	Append(events ...segment.Event) error
}

// queue is between the container, which must not wait, and the disk, which may stall: for a moment by a sync, for long
// when it is full or broken. A container that is only faster than the disk is slowed down and loses nothing.
type queue struct {
	max      int // bytes of data that wait
	patience time.Duration

	mu     sync.Mutex
	change *sync.Cond // of anything below
	events []segment.Event
	data   []byte // the events' data, as long as it has room: they keep what they began in
	size   int    // bytes
	taken  int    // how often the writer took
	stuck  bool   // patience ran out, and the writer took nothing since
	lost   int    // lines, not told yet
	closed bool
	newest time.Time
}

func newQueue(newest time.Time, max int, patience time.Duration) *queue {
	q := &queue{max: max, patience: patience, newest: newest}
	q.change = sync.NewCond(&q.mu)
	return q
}

// put queues copies of lines that were read at a time. Times never go back within a stream, whatever the clock does.
func (q *queue) put(at time.Time, lines ...[]byte) {
	at = at.Truncate(time.Millisecond)
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.waitLocked() {
		q.lost += len(lines)
		return
	}
	if at.Before(q.newest) {
		at = q.newest
	}
	q.newest = at
	for _, line := range lines {
		begin := len(q.data)
		q.data = append(q.data, line...)
		q.events = append(q.events, segment.Event{Time: at, Ingested: at, Data: q.data[begin:len(q.data):len(q.data)]})
		q.size += len(line) + lineCost
	}
	q.change.Broadcast()
}

// close ends writeTo when all is written.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.change.Broadcast()
}

// writeTo writes until the queue is closed and empty.
func (q *queue) writeTo(w appender) {
	var events []segment.Event
	var data []byte
	for {
		var lost int
		var ok bool
		events, data, lost, ok = q.take(events, data)
		if !ok {
			return
		}
		if lost > 0 {
			at := time.Now().Truncate(time.Millisecond)
			if len(events) > 0 {
				at = events[0].Time
			}
			events = append([]segment.Event{{Time: at, Ingested: at, Data: lostLine(lost)}}, events...)
		}
		err := w.Append(events...)
		for err != nil && q.waits() {
			time.Sleep(50 * time.Millisecond)
			err = w.Append(events...)
		}
		if err != nil {
			if lost > 0 {
				events = events[1:]
			}
			q.failed(lost + len(events))
			time.Sleep(50 * time.Millisecond) // a full disk is not asked a thousand times a second
		}
	}
}

// Private

// waits says whether a container waits for the disk as long as it lives, rather than lose a line.
func (q *queue) waits() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.patience == forever && !q.closed
}

// waitLocked waits for room; false: there is none.
func (q *queue) waitLocked() bool {
	if q.size < q.max {
		return true
	}
	if q.stuck {
		return false
	}
	deadline, taken := time.Now().Add(q.patience), q.taken
	timer := time.AfterFunc(q.patience, func() { q.mu.Lock(); q.change.Broadcast(); q.mu.Unlock() })
	defer timer.Stop()
	for q.size >= q.max {
		if q.taken == taken && !time.Now().Before(deadline) {
			q.stuck = true
			return false
		}
		if q.taken != taken { // it moves, but the other stream was faster
			deadline, taken = time.Now().Add(q.patience), q.taken
			timer.Reset(q.patience)
		}
		q.change.Wait()
	}
	return true
}

// take waits for events and hands all out; the queue goes on with the buffers that are handed in.
func (q *queue) take(oldEvents []segment.Event, oldData []byte) (events []segment.Event, data []byte, lost int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.events) == 0 && q.lost == 0 && !q.closed {
		q.change.Wait()
	}
	if len(q.events) == 0 && q.lost == 0 {
		return nil, nil, 0, false
	}
	events, data, lost = q.events, q.data, q.lost
	// A burst's buffers are not kept for a container that says little.
	if cap(oldEvents) > 4096 || cap(oldData) > 256<<10 {
		oldEvents, oldData = nil, nil
	}
	clear(oldEvents)
	q.events, q.data, q.size, q.lost = oldEvents[:0], oldData[:0], 0, 0
	q.taken++
	q.stuck = false
	q.change.Broadcast()
	return events, data, lost, true
}

// failed counts lines that could not be written. At the end there is nobody left to tell.
func (q *queue) failed(lines int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.lost += lines
	}
}

func lostLine(n int) []byte {
	return fmt.Appendf(nil, "lotse-log: %d lines lost here: the disk was full or did not keep up", n)
}
