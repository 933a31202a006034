package scheduler

import (
	"errors"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

func (b *bench) deployments() (n int) {
	b.t.Helper()
	b.view(func(tx *store.ReadTx) error {
		for _, err := range state.Deployments.List(tx, serviceKey+"/") {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	return n
}

// What is over is kept for as long as the history goes back; the deployment that serves stays.
func TestHistoryEnds(t *testing.T) {
	b := newBench(t, true)
	b.create(1)
	b.settle()
	for range 3 {
		b.deploy(2)
		b.settle()
	}
	expire := func() {
		t.Helper()
		if err := b.c.expire(background); err != nil {
			t.Fatal(err)
		}
	}
	b.clock = b.clock.Add(b.c.o.History - time.Minute)
	expire()
	if n := b.deployments(); n != 4 {
		t.Errorf("%d deployments are left of 4 within the history", n)
	}
	b.clock = b.clock.Add(2 * time.Minute)
	expire()
	if n := b.deployments(); n != 1 {
		t.Errorf("%d deployments are left after the history, want the one that serves", n)
	}
	rev := b.rev()
	b.reconcile()
	if b.rev() != rev || len(b.of(b.primary())) != 1 {
		t.Error("the service is disturbed")
	}

	b.change(func(s *state.Service) { s.DeletedAt, s.DesiredCount = b.clock, 0 })
	b.settle()
	expire()
	if b.service().Name == "" {
		t.Error("a service that has just become INACTIVE is gone")
	}
	b.clock = b.clock.Add(b.c.o.History + time.Minute)
	expire()
	b.view(func(tx *store.ReadTx) error {
		if _, err := state.Services.Get(tx, serviceKey); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the service after the history: %v", err)
		}
		return nil
	})
	if n := b.deployments(); n != 0 {
		t.Errorf("%d deployments of a service that is gone", n)
	}
}

// The status that each pass writes doesn't grow with what is over.
func TestHistory_IsNotInTheStatus(t *testing.T) {
	b := newBench(t, true)
	b.create(1)
	b.settle()
	for range 5 {
		b.deploy(2)
		b.settle()
	}
	b.view(func(tx *store.ReadTx) error {
		st, err := state.ServiceStatuses.Get(tx, serviceKey)
		if n := len(st.Val.Deployments); n != 1 || st.Val.Oldest != 6 || len(st.Val.Told) != 1 {
			t.Errorf("%d deployments in the status, the oldest %d, told of %d tasks", n, st.Val.Oldest, len(st.Val.Told))
		}
		return err
	})
}

// Each start, stop and event is in the log once, with its reason; what is older than the history goes.
func TestActions(t *testing.T) {
	b := newBench(t, true)
	one := b.create(1)
	b.settle()
	two := b.deploy(2)
	b.settle()
	read := func() (out []state.ServiceAction) {
		b.view(func(tx *store.ReadTx) error {
			for a, err := range state.ServiceActions.List(tx, serviceKey+"/") {
				if err != nil {
					return err
				}
				out = append(out, a.Val)
			}
			return nil
		})
		return out
	}
	count := map[string]int{}
	why := map[string]string{}
	for _, a := range read() {
		count[a.What]++
		if a.Task != "" {
			why[a.What+" "+a.Deployment] = a.Why
		}
	}
	if count["START"] != 2 || count["STOP"] != 1 || count["EVENT"] != len(b.events()) {
		t.Errorf("%v, %d events", count, len(b.events()))
	}
	if got, want := why["START "+two], "0 of 1 tasks are there; at least 1 stay healthy, at most 2 may run"; got != want {
		t.Errorf("started because %q, want %q", got, want)
	}
	if got, want := why["STOP "+one], "Scaling activity initiated by (deployment "+two+")"; got != want {
		t.Errorf("stopped because %q, want %q", got, want)
	}
	b.clock = b.clock.Add(b.c.o.History + time.Hour)
	if err := b.c.expire(background); err != nil || len(read()) != 0 {
		t.Errorf("%d actions are left after the history, %v", len(read()), err)
	}
}
