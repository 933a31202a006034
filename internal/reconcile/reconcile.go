// Package reconcile runs controllers: a queue of keys, workers, retries with a growing delay, and what health needs to
// know about them.
//
// A controller is level-triggered. It is told *that* something about a key may have changed, never what:
//
//	loop := reconcile.NewLoop("task", controller, reconcile.Options{Workers: 8})
//	loop.Add("000000000000/us-east-1/t1") // at any time, from anywhere, as often as one likes
//	err := loop.Run(ctx)                  // until ctx is done
//
// Keys added twice before a worker comes to them are reconciled once. A key added while it is being reconciled is
// reconciled again afterwards, so that no change is missed, and never by two workers at a time.
package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Reconciler looks at the world of one key and does the next right thing. It must be harmless to call twice, after a
// crash, or for no reason.
//
// again > 0 asks for another call after that time. An error asks for one after a delay that doubles with each failure
// in a row (again is ignored then); an error made by Terminal asks for none until the key is added again. A panic is
// an error as any other.
type Reconciler interface {
	Reconcile(ctx context.Context, key string) (again time.Duration, err error)
}

// Func makes a Reconciler of a function.
type Func func(ctx context.Context, key string) (again time.Duration, err error)

// Reconcile calls f.
func (f Func) Reconcile(ctx context.Context, key string) (time.Duration, error) { return f(ctx, key) }

// Options of a Loop. The zero value is the default.
type Options struct {
	// Workers is how many keys are reconciled at a time. Default 1.
	Workers int

	// MinBackoff is the delay after the first failure of a key, and the least time between a failure and the next try,
	// even when the key is added meanwhile: a controller that writes down its failure wakes itself. Default 20 ms.
	MinBackoff time.Duration

	// MaxBackoff limits the delay. Default 30 s.
	MaxBackoff time.Duration

	// Log gets each failure. Default: slog.Default().
	Log *slog.Logger
}

// Terminal marks an error that trying again would not mend: the key rests until it is added again. Terminal(nil) is nil.
func Terminal(err error) error {
	if err == nil {
		return nil
	}
	return &terminalError{err}
}

// Private

type terminalError struct{ err error }

func (e *terminalError) Error() string { return e.err.Error() }
func (e *terminalError) Unwrap() error { return e.err }

func isTerminal(err error) bool {
	var t *terminalError
	return errors.As(err, &t)
}

func (o Options) withDefaults() Options {
	if o.Workers <= 0 {
		o.Workers = 1
	}
	if o.MinBackoff <= 0 {
		o.MinBackoff = 20 * time.Millisecond
	}
	if o.MaxBackoff <= 0 {
		o.MaxBackoff = 30 * time.Second
	}
	o.MaxBackoff = max(o.MaxBackoff, o.MinBackoff)
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return o
}

// backoff is the delay after the nth failure in a row (n from 1): min, 2·min, 4·min, … at most max.
func (o Options) backoff(n int) time.Duration {
	d := o.MinBackoff
	for range n - 1 {
		if d >= o.MaxBackoff/2 {
			return o.MaxBackoff
		}
		d *= 2
	}
	return d
}
