package lb

import (
	"context"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// retireWithin is how long tunnels, downloads and uploads may go on after another worker has taken over.
	retireWithin = time.Hour
	// partingIdle is how long a waiting connection is kept for one more request, whose answer says that it is the last.
	// To close it at once would lose the request that is on its way just then.
	partingIdle = 5 * time.Second
	// leaveEvery is how soon what a retiring worker measures and logs reaches the one that serves.
	leaveEvery = 2 * time.Second
)

// retire serves the connections that there are until the last is gone. A second SIGTERM ends it, and so does time.
func (w *worker) retire(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, retireWithin)
	defer cancel()
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM)
	defer stop()
	w.log.Info("another worker has the ports; this one serves what it has", "connections", len(w.proxy.conns.list()))
	for pause(ctx, 50*time.Millisecond) && w.proxy.tls.busy.Load() > 0 {
	}
	goodbye := make(chan struct{})
	go func() {
		defer close(goodbye)
		w.multiplex.stop(ctx) // their clients are told at once, and which requests still count
	}()
	w.leave()
	for left := time.Now(); len(w.proxy.conns.list()) > 0 && pause(ctx, 50*time.Millisecond); {
		w.proxy.conns.part(partingIdle)
		if time.Since(left) > leaveEvery {
			w.leave()
			left = time.Now()
		}
	}
	cancel()
	<-goodbye
}

// part closes the connections that have waited for a request for so long.
func (cs *conns) part(idle time.Duration) {
	now := clock()
	for _, c := range cs.list() {
		if !c.multiplexed() && c.active.Load() == nil && !c.partial.Load() && now-time.Duration(c.last.Load()) > idle {
			go c.Close() // see sweep
		}
	}
}
