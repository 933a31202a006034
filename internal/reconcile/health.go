package reconcile

import (
	"errors"
	"sort"
	"time"
)

// Health is a loop seen at one moment.
type Health struct {
	Name    string
	Running bool

	Queued  int // keys that wait for a worker
	Active  int // keys a worker is at
	Delayed int // keys due later: asked for again, or backing off

	// Longest is how long the longest of the active calls has been running: one that grows is stuck.
	Longest    time.Duration
	LongestKey string

	Runs, Errors, Panics uint64 // since NewLoop; a panic counts as an error too

	Failing []Failure // keys whose last run failed, longest failing first
}

// Failure is a key whose last run failed.
type Failure struct {
	Key      string
	Err      error
	Failures int       // in a row
	Since    time.Time // of the first of them
	Terminal bool      // not tried again until it is added again
}

// Health looks at the loop.
func (l *Loop) Health() Health {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := Health{
		Name: l.name, Running: l.running && !l.stopped, Queued: len(l.queue),
		Runs: l.counts.runs, Errors: l.counts.errors, Panics: l.counts.panics,
	}
	for key, e := range l.keys {
		if e.active {
			h.Active++
			if d := time.Since(e.since); d >= h.Longest {
				h.Longest, h.LongestKey = d, key
			}
		}
		if !e.due.IsZero() {
			h.Delayed++
		}
		if e.failures > 0 {
			h.Failing = append(h.Failing, Failure{Key: key, Err: e.err, Failures: e.failures, Since: e.firstAt, Terminal: isTerminal(e.err)})
		}
	}
	sort.Slice(h.Failing, func(i, j int) bool {
		a, b := h.Failing[i], h.Failing[j]
		if !a.Since.Equal(b.Since) {
			return a.Since.Before(b.Since)
		}
		return a.Key < b.Key
	})
	return h
}

// Private

type counts struct{ runs, errors, panics uint64 }

func (c *counts) fail(err error) {
	c.errors++
	var p *panicError
	if errors.As(err, &p) {
		c.panics++
	}
}
