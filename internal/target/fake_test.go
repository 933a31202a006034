package target

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// fakeBalancer behaves as the balancer process does towards a Client: it refuses an older
// snapshot, counts changes, and answers Status when there is one.
type fakeBalancer struct {
	mu       sync.Mutex
	away     bool
	snap     lbconfig.Snapshot
	puts     int
	seq      int64
	healthy  map[string]bool // group ARN and address of targets that pass their checks
	inFlight map[string]int
	bindErr  string
	news     chan struct{}
}

func newFake() *fakeBalancer {
	return &fakeBalancer{seq: time.Now().UnixMicro(), healthy: map[string]bool{}, inFlight: map[string]int{}, news: make(chan struct{})}
}

var errAway = errors.New("connection refused")

func (f *fakeBalancer) Put(_ context.Context, s lbconfig.Snapshot) (lbconfig.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.puts++
	switch {
	case f.away:
		return lbconfig.Status{}, errAway
	case s.Rev < f.snap.Rev:
		return lbconfig.Status{}, fmt.Errorf("stale: %d, in force is %d", s.Rev, f.snap.Rev)
	}
	if err := s.Validate(); err != nil {
		return lbconfig.Status{}, err
	}
	f.snap = s
	f.changedLocked()
	return f.statusLocked(), nil
}

func (f *fakeBalancer) Status(ctx context.Context, after int64) (lbconfig.Status, error) {
	for {
		f.mu.Lock()
		if f.away {
			f.mu.Unlock()
			return lbconfig.Status{}, errAway
		}
		st, news := f.statusLocked(), f.news
		f.mu.Unlock()
		if st.Seq > after {
			return st, nil
		}
		select {
		case <-ctx.Done():
			return lbconfig.Status{}, ctx.Err()
		case <-news:
		}
	}
}

// change does something and tells whoever waits.
func (f *fakeBalancer) change(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn()
	f.changedLocked()
}

func (f *fakeBalancer) changedLocked() {
	f.seq++
	close(f.news)
	f.news = make(chan struct{})
}

func (f *fakeBalancer) snapshot() lbconfig.Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.snap
}

func memberOf(group string, a netip.AddrPort) string { return group + " " + a.String() }

func (f *fakeBalancer) statusLocked() lbconfig.Status {
	st := lbconfig.Status{Rev: f.snap.Rev, Seq: f.seq}
	used := usedGroups(f.snap)
	for _, g := range f.snap.Groups {
		for _, t := range g.Targets {
			m := memberOf(g.ARN, t.Addr)
			x := lbconfig.TargetStatus{Group: g.ARN, Addr: t.Addr, InFlight: f.inFlight[m]}
			switch {
			case t.Draining:
				x.State, x.Reason, x.Drained = lbconfig.Draining, lbconfig.DeregistrationInProgress, x.InFlight == 0 && !g.Health.Strict
			case !used[g.ARN]:
				x.State, x.Reason = lbconfig.Unused, lbconfig.NotInUse
			case f.healthy[m]:
				x.State = lbconfig.Healthy
			default:
				x.State, x.Reason = lbconfig.Initial, lbconfig.RegistrationInProgress
			}
			x.Description = lbconfig.Descriptions[x.Reason]
			st.Targets = append(st.Targets, x)
		}
	}
	for _, b := range f.snap.Balancers {
		for _, l := range b.Listeners {
			st.Listeners = append(st.Listeners, lbconfig.ListenerStatus{Balancer: b.ARN, Listener: l.ARN, Addr: fmt.Sprintf("%s:%d", b.ENIs[0], l.Port), Error: f.bindErr})
		}
	}
	return st
}
