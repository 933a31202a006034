package scheduler

import (
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/state"
)

// What trying again can't mend ends a deployment at the first failure, if the breaker is on; with AWS's timing it is
// counted like any other.
func TestCircuitBreaker_Unhealable(t *testing.T) {
	for _, tc := range []struct {
		name           string
		reason         string
		breaker, aws   bool
		failures       int
		wantAfterwards string
	}{
		{"no image", "CannotPullContainerError: no such image", true, false, 1, "FAILED"},
		{"no secret", "ResourceInitializationError: unable to pull secrets", true, false, 1, "FAILED"},
		{"may heal", "CannotStartContainerError: busy", true, false, 1, "IN_PROGRESS"},
		{"strict timing", "CannotPullContainerError: no such image", true, true, 1, "IN_PROGRESS"},
		{"strict timing, threshold reached", "CannotPullContainerError: no such image", true, true, 3, "FAILED"},
		{"no breaker", "CannotPullContainerError: no such image", false, false, 1, "IN_PROGRESS"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, true)
			one := b.create(1, func(s *state.Service) { s.CircuitBreaker = state.CircuitBreaker{Enable: tc.breaker, Rollback: true} })
			b.settle()
			b.strict = tc.aws
			b.start()
			two := b.deploy(2)
			for range tc.failures {
				b.reconcile()
				b.exit("TaskFailedToStart", tc.reason, b.of(two)...)
				b.reconcile()
				b.end(b.stopping()...)
				b.clock = b.clock.Add(b.again)
			}
			b.reconcile()
			if got := b.status().Deployments[two]; got.RolloutState != tc.wantAfterwards || len(b.of(one)) != 1 {
				t.Errorf("%+v, %d old tasks", got, len(b.of(one)))
			}
		})
	}
}

// resetOnHealthyTask false: a healthy task between the failures does not save the deployment.
func TestCircuitBreaker_KeepsTheCount(t *testing.T) {
	for _, keep := range []bool{false, true} {
		b := newBench(t, true)
		b.create(2, func(s *state.Service) { s.CircuitBreaker = state.CircuitBreaker{Enable: true, KeepCount: keep} })
		b.settle()
		two := b.deploy(2)
		b.reconcile()
		for range 3 {
			b.exit("TaskFailedToStart", "CannotStartContainerError", b.of(two)[1])
			b.reconcile()
			b.end(b.stopping()...)
			b.clock = b.clock.Add(b.again + time.Second)
			b.reconcile()
			if b.status().Deployments[two].RolloutState == "FAILED" {
				break
			}
			fresh := b.of(two)[0]
			b.run(fresh)
			b.health("healthy", "", fresh)
			b.reconcile()
			b.health("unhealthy", "", fresh)
			b.exit("EssentialContainerExited", "Essential container in task exited", fresh)
			b.reconcile()
			b.end(b.stopping()...)
			b.clock = b.clock.Add(b.again + time.Second)
			b.reconcile()
		}
		if got := b.status().Deployments[two]; (got.RolloutState == "FAILED") != keep {
			t.Errorf("keep %t: %+v", keep, got)
		}
	}
}

// StopServiceDeployment returns to what served, or leaves everything where it is.
func TestStopDeployment(t *testing.T) {
	for _, rollback := range []bool{true, false} {
		b := newBench(t, true)
		one := b.create(2)
		b.settle()
		two := b.deploy(2)
		b.reconcile()
		b.run(b.of(two)...)
		seen := len(b.events())
		b.change(func(s *state.Service) { s.StopDeployment = state.DeploymentStop{ID: two, Rollback: rollback} })
		b.reconcile()
		if rollback {
			b.settle()
		}
		st, third := b.status(), b.primary()
		if got := st.Deployments[two]; got.RolloutState != "FAILED" || got.NoCandidate {
			t.Errorf("rollback %t: %+v", rollback, got)
		}
		if rollback {
			if third == two || st.Deployments[third].RolloutState != "COMPLETED" || len(b.of(third)) != 2 || len(b.tasks()) != 2 {
				t.Errorf("%+v", st.Deployments)
			}
		} else if third != two || len(b.of(one)) != 2 || len(b.of(two)) != 2 {
			t.Errorf("aborted, and %d old tasks are left of %d", len(b.of(one)), len(b.tasks()))
		}
		if got := b.newEvents(&seen); len(got) < 2 {
			t.Errorf("events %v", got)
		}
		// Repeated, and with an ID that is no longer the newest, it does nothing.
		rev := b.rev()
		b.pause(time.Hour)
		if b.rev() != rev {
			t.Error("a stop that is done is done again")
		}
	}
}

// A first deployment that is to be rolled back has nothing to go back to.
func TestStopDeployment_First(t *testing.T) {
	b := newBench(t, true)
	one := b.create(1)
	b.reconcile()
	b.change(func(s *state.Service) { s.StopDeployment = state.DeploymentStop{ID: one, Rollback: true} })
	b.reconcile()
	if st := b.status().Deployments[one]; st.RolloutState != "FAILED" || !st.NoCandidate || b.service().Sequence != 1 {
		t.Errorf("%+v", st)
	}
}
