package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// recorder notes when which key was reconciled, in ms since the bubble began.
type recorder struct {
	mu    sync.Mutex
	start time.Time
	calls []string
}

func newRecorder() *recorder { return &recorder{start: time.Now()} }

func (r *recorder) note(key string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, fmt.Sprintf("%s@%d", key, time.Since(r.start).Milliseconds()))
	return len(r.calls)
}

func (r *recorder) want(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := cmp.Diff(want, r.calls); d != "" {
		t.Errorf("calls (-want +got):\n%s", d)
	}
}

// start runs a loop in the bubble; the function it returns stops it and waits.
func start(t *testing.T, o Options, f Func) (*Loop, func()) {
	t.Helper()
	o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	l := NewLoop("test", f, o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	return l, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	}
}

func TestLoop_AddedTwiceRunsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		l := NewLoop("test", Func(func(_ context.Context, key string) (time.Duration, error) {
			r.note(key)
			return 0, nil
		}), Options{})
		for range 3 {
			l.Add("b")
			l.Add("a")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		r.want(t, "b@0", "a@0")
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if len(l.keys) != 0 {
			t.Errorf("%d keys kept, want none", len(l.keys))
		}
	})
}

func TestLoop_AddedWhileActiveRunsAgainAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		l, stop := start(t, Options{Workers: 4}, func(_ context.Context, key string) (time.Duration, error) {
			r.note(key)
			time.Sleep(100 * time.Millisecond)
			return 0, nil
		})
		defer stop()
		l.Add("a")
		time.Sleep(50 * time.Millisecond)
		l.Add("a")
		l.Add("a")
		l.Add("b")
		time.Sleep(time.Second)
		r.want(t, "a@0", "b@50", "a@100")
	})
}

func TestLoop_NeverTwoWorkersOnOneKey(t *testing.T) {
	var mu sync.Mutex
	active, most, runs := map[string]int{}, 0, 0
	ctx, cancel := context.WithCancel(context.Background())
	l := NewLoop("test", Func(func(_ context.Context, key string) (time.Duration, error) {
		mu.Lock()
		active[key]++
		most = max(most, active[key])
		runs++
		mu.Unlock()
		time.Sleep(50 * time.Microsecond)
		mu.Lock()
		active[key]--
		mu.Unlock()
		return 0, nil
	}), Options{Workers: 8})
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	var adders sync.WaitGroup
	for range 4 {
		adders.Go(func() {
			for i := range 2000 {
				l.Add(fmt.Sprint(i % 5))
			}
		})
	}
	adders.Wait()
	for h := l.Health(); h.Queued+h.Active > 0; h = l.Health() {
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-done
	if most != 1 || runs < 5 {
		t.Errorf("at most %d workers on one key in %d runs, want 1", most, runs)
	}
}

func TestLoop_AgainAndAddAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		l, stop := start(t, Options{}, func(_ context.Context, key string) (time.Duration, error) {
			if r.note(key) == 1 {
				return 300 * time.Millisecond, nil
			}
			return 0, nil
		})
		defer stop()
		l.Add("a")
		time.Sleep(100 * time.Millisecond)
		l.AddAfter("a", time.Second)           // later than 300: nothing new
		l.AddAfter("b", 500*time.Millisecond)  // sooner wins
		l.AddAfter("b", 50*time.Millisecond)   //
		l.AddAfter("c", 1000*time.Millisecond) // an Add does not undo a later time
		time.Sleep(800 * time.Millisecond)     //
		l.Add("c")                             //
		time.Sleep(5000 * time.Millisecond)    //
		r.want(t, "a@0", "b@150", "a@300", "c@900", "c@1100")
	})
}

func TestLoop_BackoffDoublesAndIsReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		n := 0
		l, stop := start(t, Options{MinBackoff: 100 * time.Millisecond, MaxBackoff: 350 * time.Millisecond}, func(_ context.Context, key string) (time.Duration, error) {
			r.note(key)
			if n++; n == 5 || n == 7 {
				return 0, nil
			}
			return time.Hour, errors.New("no")
		})
		defer stop()
		l.Add("a")
		time.Sleep(10 * time.Second)
		r.want(t, "a@0", "a@100", "a@300", "a@650", "a@1000")
		l.Add("a")
		time.Sleep(10 * time.Second)
		r.want(t, "a@0", "a@100", "a@300", "a@650", "a@1000", "a@10000", "a@10100")
		if h := l.Health(); h.Errors != 5 || len(h.Failing) != 0 {
			t.Errorf("Health = %+v, want 5 errors and none failing", h)
		}
	})
}

// A failing controller that wakes itself by writing down why it failed must not spin.
func TestLoop_AddOfAFailingKeyComesSoonButNotAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		var l *Loop
		l, stop := start(t, Options{MinBackoff: 100 * time.Millisecond, MaxBackoff: time.Hour}, func(_ context.Context, key string) (time.Duration, error) {
			if r.note(key) < 4 {
				l.Add(key)
			}
			return 0, errors.New("no")
		})
		defer stop()
		l.Add("a")
		time.Sleep(350 * time.Millisecond)
		r.want(t, "a@0", "a@100", "a@200", "a@300")
		time.Sleep(50 * time.Millisecond)
		l.Add("a") // 100 ms after the failure: at once
		r.want(t, "a@0", "a@100", "a@200", "a@300", "a@400")
	})
}

func TestLoop_TerminalRestsUntilAdded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		cause := errors.New("no such image")
		l, stop := start(t, Options{}, func(_ context.Context, key string) (time.Duration, error) {
			if r.note(key) == 1 {
				return 0, fmt.Errorf("pull: %w", Terminal(cause))
			}
			return 0, nil
		})
		defer stop()
		l.Add("a")
		time.Sleep(time.Hour)
		r.want(t, "a@0")
		h := l.Health()
		if len(h.Failing) != 1 || !h.Failing[0].Terminal || !errors.Is(h.Failing[0].Err, cause) {
			t.Errorf("Failing = %+v, want a, terminal", h.Failing)
		}
		l.Add("a")
		r.want(t, "a@0", "a@3600000")
		if h := l.Health(); len(h.Failing) != 0 || h.Delayed != 0 {
			t.Errorf("Health = %+v, want nothing failing or delayed", h)
		}
	})
	if Terminal(nil) != nil {
		t.Error("Terminal(nil) != nil")
	}
}

func TestLoop_PanicIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		l, stop := start(t, Options{MinBackoff: time.Second}, func(_ context.Context, key string) (time.Duration, error) {
			if r.note(key) == 1 {
				panic("boom")
			}
			return 0, nil
		})
		defer stop()
		l.Add("a")
		synctest.Wait()
		if h := l.Health(); h.Panics != 1 || h.Errors != 1 || len(h.Failing) != 1 || h.Failing[0].Err.Error() != "panic: boom" {
			t.Errorf("Health = %+v, want one panic", h)
		}
		time.Sleep(2 * time.Second)
		r.want(t, "a@0", "a@1000")
	})
}

func TestLoop_StopWaitsForWorkersAndDropsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		l, stop := start(t, Options{}, func(ctx context.Context, key string) (time.Duration, error) {
			r.note(key)
			<-ctx.Done()
			time.Sleep(time.Second) // cleaning up
			return time.Second, ctx.Err()
		})
		l.Add("a")
		l.Add("b")
		l.AddAfter("c", time.Minute)
		synctest.Wait()
		if h := l.Health(); !h.Running || h.Active != 1 || h.Queued != 1 || h.Delayed != 1 || h.LongestKey != "a" {
			t.Errorf("Health = %+v, want a active, b queued, c delayed", h)
		}
		at := time.Now()
		stop()
		if d := time.Since(at); d != time.Second {
			t.Errorf("Run returned after %v, want after the worker, 1s", d)
		}
		l.Add("d")
		time.Sleep(time.Hour)
		r.want(t, "a@0")
		if h := l.Health(); h.Running || h.Errors != 0 || h.Queued+h.Active+h.Delayed != 0 {
			t.Errorf("Health = %+v, want nothing left and no error", h)
		}
		if err := l.Run(t.Context()); err == nil {
			t.Error("a second Run succeeded")
		}
	})
}

func BenchmarkLoop(b *testing.B) {
	l := NewLoop("bench", Func(func(context.Context, string) (time.Duration, error) { return 0, nil }), Options{Workers: 2})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	for b.Loop() {
		l.Add("a")
	}
	cancel()
	<-done
}
