package main

import (
	"regexp"
	"sync"
	"time"
)

// maxEvent is the size of an event at CloudWatch Logs, bytes. Source: PutLogEvents.
const maxEvent = 256<<10 - 26

// quiet is how long more lines are waited for that belong to an event of several lines.
const quiet = time.Second

// single makes an event of each line that isn't empty: CloudWatch Logs has no empty events.
type single struct{ queue *queue }

func (s single) put(at time.Time, lines ...[]byte) {
	full := lines[:0]
	for _, l := range lines {
		if len(l) > 0 {
			full = append(full, l)
		}
	}
	if len(full) > 0 {
		s.queue.put(at, full...)
	}
}

// several makes events of a stream's lines: one that matches begins an event, the others go on with it. An event's time
// is that of its first line. It ends with the next one's begin, when it would be too large, or when nothing came for a
// while.
type several struct {
	queue *queue
	first *regexp.Regexp

	mu    sync.Mutex
	event []byte
	at    time.Time // of the event's first line
	timer *time.Timer
}

func newSeveral(q *queue, first *regexp.Regexp) *several {
	s := &several{queue: q, first: first}
	s.timer = time.AfterFunc(quiet, s.flush)
	return s
}

func (s *several) put(at time.Time, lines ...[]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range lines {
		if s.first.Match(l) || len(s.event)+len(l)+1 > maxEvent {
			s.flushLocked()
		}
		if len(s.event) == 0 {
			s.at = at
		} else {
			s.event = append(s.event, '\n')
		}
		s.event = append(s.event, l...)
	}
	s.timer.Reset(quiet)
}

// flush ends the event.
func (s *several) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flushLocked()
}

func (s *several) flushLocked() {
	if len(s.event) > 0 {
		s.queue.put(s.at, s.event)
	}
	s.event = s.event[:0]
}
