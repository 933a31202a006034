package fabric

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTurns_OneAtATimeAndShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		var runs, active atomic.Int32
		job := func(context.Context) error {
			if active.Add(1) != 1 {
				t.Error("two runs at a time")
			}
			runs.Add(1)
			time.Sleep(time.Second)
			active.Add(-1)
			return nil
		}
		var wg sync.WaitGroup
		call := func() { wg.Go(func() { _ = turns.share(t.Context(), job) }) }
		call()
		synctest.Wait() // it runs
		for range 50 {
			call() // these share the next
		}
		wg.Wait()
		if n := runs.Load(); n != 2 {
			t.Errorf("51 calls made %d runs, want 2", n)
		}
	})
}

// A caller's write, made before its call, is seen by the run whose end it waits for.
func TestTurns_EachSeesWhatWasWrittenBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		var written, applied atomic.Int64
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				time.Sleep(time.Duration(i%17) * 3 * time.Millisecond)
				mine := written.Add(1)
				_ = turns.share(t.Context(), func(context.Context) error {
					n := written.Load()
					time.Sleep(5 * time.Millisecond)
					applied.Store(n)
					return nil
				})
				if got := applied.Load(); got < mine {
					t.Errorf("write %d was not applied when its call ended, but %d", mine, got)
				}
			})
		}
		wg.Wait()
	})
}

func TestTurns_ErrorsAreSharedAndGivenUpRunsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns()
		broken := errors.New("broken")
		hold := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { _ = turns.share(t.Context(), func(context.Context) error { <-hold; return nil }) })
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() { // leads the next run, and gives up before it begins
			if err := turns.share(ctx, func(context.Context) error { t.Error("given up, yet run"); return nil }); !errors.Is(err, context.Canceled) {
				t.Errorf("share = %v, want context.Canceled", err)
			}
		})
		synctest.Wait()
		for range 3 {
			wg.Go(func() {
				if err := turns.share(t.Context(), func(context.Context) error { return broken }); !errors.Is(err, broken) {
					t.Errorf("share = %v, want the run's error", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(hold)
		wg.Wait()
		if err := turns.share(t.Context(), func(context.Context) error { return nil }); err != nil {
			t.Errorf("a later run: %v", err)
		}
	})
}
