package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// Loop is a queue of keys and the workers that take from it. Its methods may be called from anywhere at any time, also
// before and after Run.
type Loop struct {
	name string
	r    Reconciler
	o    Options

	mu      sync.Mutex
	wake    *sync.Cond // queue grew, or the loop stops
	keys    map[string]*entry
	queue   []string // keys whose entry is queued, oldest first
	running bool
	stopped bool
	counts  counts
}

// entry is what the loop knows of a key. One that is neither waiting, active nor failing is forgotten.
//
//	          Add, due                 taken by a worker
//	(none) ────────────────► queued ─────────────────────► active ──► (none), or due later, or queued when dirty
type entry struct {
	queued bool
	active bool
	dirty  bool // added while active

	due   time.Time // zero: not due later. The earliest time of those asked for
	timer *time.Timer

	since    time.Time // when the active run began
	failures int       // in a row
	failedAt time.Time
	firstAt  time.Time // of the failures in a row
	err      error
}

// NewLoop makes a loop; name is for logs and health.
func NewLoop(name string, r Reconciler, o Options) *Loop {
	l := &Loop{name: name, r: r, o: o.withDefaults(), keys: map[string]*entry{}}
	l.wake = sync.NewCond(&l.mu)
	return l
}

// Add asks for key to be reconciled soon.
func (l *Loop) Add(key string) { l.AddAfter(key, 0) }

// AddAfter asks for key to be reconciled after d. It never delays a time asked for before.
func (l *Loop) AddAfter(key string, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return
	}
	l.addLocked(key, l.entryLocked(key), d)
}

// Run reconciles until ctx is done, then waits for the workers (whose context is done as well) and returns nil. What is
// still queued then is dropped. It can be called once.
func (l *Loop) Run(ctx context.Context) error {
	l.mu.Lock()
	if l.running || l.stopped {
		l.mu.Unlock()
		return fmt.Errorf("loop %s: Run called a second time", l.name)
	}
	l.running = true
	l.mu.Unlock()

	stop := context.AfterFunc(ctx, l.stop)
	defer stop()
	var workers sync.WaitGroup
	for range l.o.Workers {
		workers.Go(func() {
			for {
				key, ok := l.take()
				if !ok {
					return
				}
				again, err := l.call(ctx, key)
				l.done(ctx, key, again, err)
			}
		})
	}
	workers.Wait()
	return nil
}

// Private

func (l *Loop) entryLocked(key string) *entry {
	e := l.keys[key]
	if e == nil {
		e = &entry{}
		l.keys[key] = e
	}
	return e
}

// addLocked never lets a key run sooner than MinBackoff after a failure.
func (l *Loop) addLocked(key string, e *entry, d time.Duration) {
	if e.failures > 0 && !e.active {
		d = max(d, time.Until(e.failedAt.Add(l.o.MinBackoff)))
	}
	switch {
	case d > 0:
		l.laterLocked(key, e, d)
	case e.active:
		e.dirty = true
	default:
		l.queueLocked(key, e)
	}
}

func (l *Loop) queueLocked(key string, e *entry) {
	if e.queued {
		return
	}
	e.queued = true
	l.queue = append(l.queue, key)
	l.wake.Signal()
}

func (l *Loop) laterLocked(key string, e *entry, d time.Duration) {
	due := time.Now().Add(d)
	if !e.due.IsZero() && !due.Before(e.due) {
		return
	}
	if e.timer != nil {
		e.timer.Stop()
	}
	e.due = due
	e.timer = time.AfterFunc(d, func() { l.dueNow(key, e, due) })
}

// dueNow is called by an entry's timer. One that was stopped too late finds another due time.
func (l *Loop) dueNow(key string, e *entry, due time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped || !e.due.Equal(due) || l.keys[key] != e {
		return
	}
	e.due, e.timer = time.Time{}, nil
	if e.active {
		e.dirty = true
		return
	}
	l.queueLocked(key, e)
}

// take waits for the next key; false: the loop stops.
func (l *Loop) take() (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue) == 0 && !l.stopped {
		l.wake.Wait()
	}
	if l.stopped {
		return "", false
	}
	key := l.queue[0]
	l.queue[0] = ""
	l.queue = l.queue[1:]
	e := l.keys[key]
	e.queued, e.active, e.since = false, true, time.Now()
	l.counts.runs++
	return key, true
}

func (l *Loop) call(ctx context.Context, key string) (again time.Duration, err error) {
	defer func() {
		if v := recover(); v != nil {
			l.o.Log.Error("reconciler panicked", "loop", l.name, "key", key, "panic", v, "stack", string(debug.Stack()))
			err = &panicError{v}
		}
	}()
	return l.r.Reconcile(ctx, key)
}

func (l *Loop) done(ctx context.Context, key string, again time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.keys[key]
	e.active = false
	if ctx.Err() != nil {
		return // the failure of a call that was told to stop says nothing
	}
	dirty := e.dirty
	e.dirty = false
	if err != nil {
		l.failedLocked(key, e, err)
	} else {
		e.failures, e.err, e.failedAt, e.firstAt = 0, nil, time.Time{}, time.Time{}
		if again > 0 {
			l.laterLocked(key, e, again)
		}
	}
	if dirty {
		l.addLocked(key, e, 0)
	}
	if !e.queued && e.due.IsZero() && e.failures == 0 {
		delete(l.keys, key)
	}
}

func (l *Loop) failedLocked(key string, e *entry, err error) {
	e.failures++
	e.err, e.failedAt = err, time.Now()
	if e.failures == 1 {
		e.firstAt = e.failedAt
	}
	l.counts.fail(err)
	attrs := []slog.Attr{slog.String("loop", l.name), slog.String("key", key), slog.Int("failures", e.failures), slog.Any("err", err)}
	if isTerminal(err) {
		attrs = append(attrs, slog.Bool("terminal", true))
	} else {
		d := l.o.backoff(e.failures)
		attrs = append(attrs, slog.Duration("retry", d))
		l.laterLocked(key, e, d)
	}
	l.o.Log.LogAttrs(context.Background(), slog.LevelWarn, "reconcile failed", attrs...)
}

func (l *Loop) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	l.queue = nil
	for _, e := range l.keys {
		e.queued, e.due = false, time.Time{}
		if e.timer != nil {
			e.timer.Stop()
		}
	}
	l.wake.Broadcast()
}

type panicError struct{ v any }

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.v) }
