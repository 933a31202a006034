package lb

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// probe examines one member again and again until it is stopped.
type probe struct {
	check check
	stop  context.CancelFunc
}

// startProbe begins to examine, after lead. report takes each result and returns the time from the start of that
// check to the next. The caller stops the probe; wg waits for it.
func startProbe(wg *sync.WaitGroup, c check, s sockets, lead time.Duration, report func(*probe, result) time.Duration) *probe {
	ctx, cancel := context.WithCancel(context.Background())
	p := &probe{check: c, stop: cancel}
	wg.Go(func() {
		defer cancel()
		for pause(ctx, lead) {
			r := result{started: time.Now()}
			var err error
			if r.reason, r.text, err = c.run(ctx, s); err != nil {
				lead = min(c.conf.Interval, time.Second) // no socket, or told to stop: no result
				continue
			}
			lead = report(p, r) - time.Since(r.started)
		}
	})
	return p
}

// jitter is a random part of d: targets taken over at once are not all examined at once.
func jitter(d time.Duration) time.Duration { return time.Duration(rand.Int64N(int64(d) + 1)) }

// pause waits and says whether to go on.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
