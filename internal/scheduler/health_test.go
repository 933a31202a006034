package scheduler

import (
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// containers writes what the health checks of the tasks' essential container say.
func (b *bench) containers(health string, rs ...row) {
	b.t.Helper()
	for _, r := range rs {
		b.setStatus(r, func(_ *store.WriteTx, st *state.TaskStatus) error {
			st.Containers[0].Essential, st.Containers[0].Health.Status = true, health
			return nil
		})
	}
}

// With a load balancer a task is healthy when its containers and its targets are.
func TestContainerHealth_GatesARollout(t *testing.T) {
	b := newBench(t, true)
	one := b.create(1)
	b.reconcile()
	b.run(b.of(one)...)
	b.containers(state.Unknown, b.of(one)...)
	b.up(one)
	b.pause(time.Hour)
	if st := b.status().Deployments[one]; st.RolloutState != "IN_PROGRESS" {
		t.Errorf("completed before the container is healthy: %+v", st)
	}
	b.containers(state.Healthy, b.of(one)...)
	b.reconcile()
	if st := b.status().Deployments[one]; st.RolloutState != "COMPLETED" {
		t.Errorf("%+v", st)
	}
}

// Without one it is healthy as soon as its containers are: there is no waiting.
func TestContainerHealth_WithoutBalancer(t *testing.T) {
	b := newBench(t, false)
	one := b.create(1)
	b.reconcile()
	b.run(b.of(one)...)
	b.containers(state.Unknown, b.of(one)...)
	b.pause(time.Hour)
	if st := b.status().Deployments[one]; st.RolloutState != "IN_PROGRESS" {
		t.Errorf("completed before the container is healthy: %+v", st)
	}
	r := b.of(one)[0]
	b.containers(state.Healthy, r)
	b.reconcile()
	if st := b.status().Deployments[one]; st.RolloutState != "COMPLETED" {
		t.Errorf("%+v", st)
	}
}

func TestContainerHealth_UnhealthyTaskIsReplaced(t *testing.T) {
	b := newBench(t, true)
	one := b.create(1, func(s *state.Service) { s.GracePeriod = 60 })
	b.settle()
	bad := b.of(one)[0]
	seen := len(b.events())
	b.containers(state.Unhealthy, bad)
	b.reconcile()
	if n := len(b.of(one)); n != 1 {
		t.Fatalf("replaced within the grace period: %d tasks", n)
	}
	b.pause(time.Minute)
	if n := len(b.of(one)); n != 2 || len(b.stopping()) != 0 {
		t.Fatalf("%d tasks, %d stopping; want the replacement first", n, len(b.stopping()))
	}
	wantEvents(t, b, &seen, "(service web) (T) failed container health checks.", "(service web) has started 1 tasks: (T). Amazon ECS replaced 1 tasks due to an unhealthy status.")
	b.run(b.of(one)[1])
	b.health("healthy", "", b.of(one)[1])
	b.containers(state.Healthy, b.of(one)[1])
	b.reconcile()
	stop := b.stopping()
	if len(stop) != 1 || stop[0].ID != bad.ID || stop[0].Stop.Code != "ServiceSchedulerInitiated" || stop[0].Stop.Reason != "Task failed container health checks" {
		t.Fatalf("stopping %+v", stop)
	}
}

// A task whose container never becomes healthy, so that others that wait for it never start, is replaced too: it would
// hold the rollout up for ever.
func TestContainerHealth_UnhealthyBeforeRunning(t *testing.T) {
	b := newBench(t, false)
	one := b.create(1, func(s *state.Service) { s.CircuitBreaker.Enable = true })
	for range 3 {
		b.reconcile()
		r := b.of(one)[len(b.of(one))-1]
		b.setStatus(r, func(_ *store.WriteTx, st *state.TaskStatus) error {
			st.LastStatus = "ACTIVATING"
			st.Containers = []state.ContainerStatus{{Name: "app", LastStatus: "RUNNING", Essential: true, Health: state.ContainerHealth{Status: state.Unhealthy}}}
			return nil
		})
		b.reconcile()
		b.end(b.stopping()...)
		b.pause(time.Hour)
	}
	if st := b.status().Deployments[one]; st.RolloutState != "FAILED" {
		t.Errorf("%+v", st)
	}
}
