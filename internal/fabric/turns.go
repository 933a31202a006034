package fabric

import (
	"context"
	"sync"
)

// turns runs one job at a time. Callers that come while it runs share the next run, which begins
// after all of them came: each sees the effect of what was written before its call.
type turns struct {
	busy chan struct{} // holds a token while a run runs

	mu   sync.Mutex
	next *run // not begun yet
}

type run struct {
	done chan struct{}
	err  error
}

func newTurns() *turns { return &turns{busy: make(chan struct{}, 1)} }

// share does the job, or waits for a run that begins after this call. The job's own context ends
// with the caller's that runs it; should that one give up, another takes over.
func (t *turns) share(ctx context.Context, job func(context.Context) error) error {
	for {
		t.mu.Lock()
		r, lead := t.next, false
		if r == nil {
			r, lead = &run{done: make(chan struct{})}, true
			t.next = r
		}
		t.mu.Unlock()
		if lead {
			return t.lead(ctx, r, job)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.done:
		}
		if r.err != errGaveUp {
			return r.err
		}
	}
}

// Private

type gaveUp struct{}

func (gaveUp) Error() string { return "the run was given up by its caller" }

// errGaveUp tells those who waited that there was no run to its end.
var errGaveUp error = gaveUp{}

func (t *turns) lead(ctx context.Context, r *run, job func(context.Context) error) (err error) {
	defer close(r.done)
	select {
	case t.busy <- struct{}{}:
	case <-ctx.Done():
		t.begin()
		r.err = errGaveUp
		return ctx.Err()
	}
	defer func() { <-t.busy }()
	t.begin()
	r.err = errGaveUp // also when the job panics
	err = job(ctx)
	if r.err = err; err != nil && ctx.Err() != nil {
		r.err = errGaveUp
	}
	return err
}

// begin lets who comes from now on make a run of their own.
func (t *turns) begin() {
	t.mu.Lock()
	t.next = nil
	t.mu.Unlock()
}
