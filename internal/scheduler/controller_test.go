package scheduler

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

var background = context.Background()

func wantEvents(t *testing.T, b *bench, seen *int, want ...string) {
	t.Helper()
	if d := cmp.Diff(want, b.newEvents(seen), cmpopts.EquateEmpty()); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
}

// A service is created, updated and deleted: every event when it has happened, in ECS's order.
func TestStory(t *testing.T) {
	b := newBench(t, true)
	seen := 0
	one := b.create(2)
	b.reconcile()
	wantEvents(t, b, &seen, "(service web) has started 2 tasks: (T) (T).")
	for _, r := range b.of(one) {
		if r.StartedBy != one || r.Group != "service:web" || r.CPU != 256 || r.Memory != 512 || len(r.LoadBalancers) != 1 {
			t.Errorf("task %+v", r.Task)
		}
	}
	b.run(b.of(one)...)
	b.reconcile()
	wantEvents(t, b, &seen, "(service web) registered 2 targets in (target-group G)")
	if st := b.status().Deployments[one]; st.RolloutState != "IN_PROGRESS" || st.RolloutStateReason != "ECS deployment "+one+" in progress." {
		t.Errorf("%+v", st)
	}
	b.health("healthy", "", b.of(one)[0])
	b.reconcile()
	wantEvents(t, b, &seen)
	b.up(one)
	b.reconcile()
	wantEvents(t, b, &seen, "(service web) (deployment "+one+") deployment completed.", "(service web) has reached a steady state.")
	st := b.status().Deployments[one]
	if st.RolloutState != "COMPLETED" || st.RolloutStateReason != "ECS deployment "+one+" completed." || st.FinishedAt.IsZero() || st.Images["app"] != "sha256:1" {
		t.Errorf("%+v", st)
	}
	b.pause(time.Hour)
	wantEvents(t, b, &seen)

	two := b.deploy(2)
	b.reconcile()
	wantEvents(t, b, &seen, "(service web) has started 2 tasks: (T) (T).")
	b.run(b.of(two)...)
	b.reconcile()
	b.health("healthy", "", b.of(two)[0])
	b.reconcile()
	wantEvents(t, b, &seen, "(service web) registered 2 targets in (target-group G)", "(service web) has stopped 1 running tasks: (T).")
	old := b.stopping()
	if want := "Scaling activity initiated by (deployment " + two + ")"; len(old) != 1 || old[0].Deployment != one || old[0].Stop.Reason != want || old[0].Stop.Code != "ServiceSchedulerInitiated" {
		t.Fatalf("stopping %+v", old)
	}
	b.drain(old...)
	b.reconcile()
	wantEvents(t, b, &seen, "(service web) deregistered 1 targets in (target-group G)", "(service web, taskSet "+one+") has begun draining connections on 1 tasks.")
	b.end(old...)
	b.up(two)
	b.reconcile()
	b.drain(b.stopping()...)
	b.reconcile()
	wantEvents(t, b, &seen, "(service web) has stopped 1 running tasks: (T).", "(service web) deregistered 1 targets in (target-group G)",
		"(service web, taskSet "+one+") has begun draining connections on 1 tasks.")
	if st := b.status(); st.Deployments[two].RolloutState != "IN_PROGRESS" || st.Deployments[one].Gone {
		t.Errorf("completed while an old task drains: %+v", st.Deployments)
	}
	b.end(b.stopping()...)
	b.reconcile()
	wantEvents(t, b, &seen, "(service web) (deployment "+two+") deployment completed.", "(service web) has reached a steady state.")
	if st := b.status(); !st.Deployments[one].Gone || st.Status != "ACTIVE" {
		t.Errorf("%+v", st)
	}

	b.change(func(s *state.Service) { s.DeletedAt, s.DesiredCount = b.clock, 0 })
	b.reconcile()
	wantEvents(t, b, &seen, "(service web) has stopped 2 running tasks: (T) (T).")
	if st := b.status().Status; st != "DRAINING" {
		t.Errorf("status %s", st)
	}
	b.end(b.stopping()...)
	b.reconcile()
	wantEvents(t, b, &seen, "(service web) deregistered 2 targets in (target-group G)", "(service web, taskSet "+two+") has begun draining connections on 2 tasks.")
	if st := b.status(); st.Status != "INACTIVE" || st.InactiveAt.IsZero() {
		t.Errorf("%+v", st)
	}
	rev := b.rev()
	b.pause(time.Hour)
	if b.rev() != rev {
		t.Error("an INACTIVE service is written")
	}
}

func TestScale(t *testing.T) {
	b := newBench(t, true)
	b.create(1)
	b.settle()
	seen := len(b.events())
	b.change(func(s *state.Service) { s.DesiredCount = 3 })
	b.reconcile()
	if n := len(b.tasks()); n != 3 {
		t.Errorf("%d tasks, want 3", n)
	}
	b.settle()
	wantEvents(t, b, &seen, "(service web) has started 2 tasks: (T) (T).", "(service web) registered 2 targets in (target-group G)", "(service web) has reached a steady state.")
	b.change(func(s *state.Service) { s.DesiredCount = 1 })
	b.settle()
	if n := len(b.tasks()); n != 1 {
		t.Errorf("%d tasks, want 1", n)
	}
	got := b.newEvents(&seen)
	want := []string{"(service web) has stopped 2 running tasks: (T) (T).", "(service web) has reached a steady state.", "(service web) deregistered 1 targets in (target-group G)",
		"(service web, taskSet ecs-svc/1) has begun draining connections on 1 tasks.", "(service web) deregistered 1 targets in (target-group G)", "(service web, taskSet ecs-svc/1) has begun draining connections on 1 tasks."}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if n := len(b.status().Deployments); n != 1 {
		t.Errorf("scaling made %d deployments", n)
	}
}

// Without a balancer a task counts as healthy when it has run for a while.
func TestWithoutBalancer(t *testing.T) {
	b := newBench(t, false)
	one := b.create(1)
	b.reconcile()
	b.run(b.of(one)...)
	b.reconcile()
	if b.again <= 0 || b.again > settleTime {
		t.Errorf("looks again after %v", b.again)
	}
	b.pause(b.again - 10*time.Millisecond)
	if b.status().Deployments[one].RolloutState != "IN_PROGRESS" {
		t.Error("completed too early")
	}
	b.pause(10 * time.Millisecond)
	if b.status().Deployments[one].RolloutState != "COMPLETED" {
		t.Error("not completed")
	}
}

// An update before the first deployment has completed: what runs goes on running until the new tasks have settled.
func TestWithoutBalancer_UpdateWithinSettleTime(t *testing.T) {
	b := newBench(t, false)
	one := b.create(2)
	b.reconcile()
	b.run(b.of(one)...)
	b.pause(settleTime / 2)
	two := b.deploy(2)
	b.reconcile()
	if o, n := len(b.of(one)), len(b.of(two)); o != 2 || n != 2 {
		t.Fatalf("%d old tasks and %d new ones, want 2 and 2", o, n)
	}
	b.run(b.of(two)...)
	b.pause(settleTime / 2)
	if o := len(b.of(one)); o != 2 {
		t.Fatalf("%d old tasks before the new ones have settled, want 2", o)
	}
	b.settle()
	if b.status().Deployments[two].RolloutState != "COMPLETED" || len(b.tasks()) != 2 {
		t.Errorf("%+v, %d tasks", b.status().Deployments, len(b.tasks()))
	}
}

func TestTaskThatExitsIsReplaced(t *testing.T) {
	b := newBench(t, true)
	one := b.create(2)
	b.settle()
	seen := len(b.events())
	b.exit("EssentialContainerExited", "Essential container in task exited", b.of(one)[0])
	b.reconcile()
	if n := len(b.of(one)); n != 2 {
		t.Errorf("%d tasks before the end of the one that exited, want 2", n)
	}
	b.settle()
	wantEvents(t, b, &seen, "(service web) has started 1 tasks: (T).", "(service web) deregistered 1 targets in (target-group G)",
		"(service web, taskSet ecs-svc/1) has begun draining connections on 1 tasks.", "(service web) registered 1 targets in (target-group G)", "(service web) has reached a steady state.")
}

// A task that a user stops is replaced, and is no failure.
func TestTaskThatIsStoppedByAUser(t *testing.T) {
	b := newBench(t, true)
	one := b.create(1, func(s *state.Service) { s.CircuitBreaker.Enable = true })
	for range 5 {
		b.reconcile()
		r := b.of(one)[0]
		b.update(func(tx *store.WriteTx) error {
			o, err := state.Tasks.Get(tx, r.Key())
			o.Val.Stop = &state.Stop{At: tx.Now(), Code: "UserInitiated", Reason: "Task stopped by user"}
			if err != nil {
				return err
			}
			return state.Tasks.Put(tx, &o)
		})
		b.reconcile()
		b.end(b.stopping()...)
	}
	b.reconcile()
	if st := b.status().Deployments[one]; st.FailedTasks != 0 || st.RolloutState != "IN_PROGRESS" || len(b.of(one)) != 1 {
		t.Errorf("%+v, %d tasks", st, len(b.of(one)))
	}
}

func TestUnhealthyTaskIsReplacedFirst(t *testing.T) {
	b := newBench(t, true)
	one := b.create(2, func(s *state.Service) { s.GracePeriod = 60 })
	b.settle()
	b.pause(time.Hour) // the grace period counts from the task's start
	seen := len(b.events())
	bad := b.of(one)[0]
	b.health("unhealthy", "Health checks failed with these codes: [500]", bad)
	b.reconcile()
	if len(b.stopping()) != 0 || len(b.of(one)) != 3 {
		t.Fatalf("%d stopping, %d tasks", len(b.stopping()), len(b.of(one)))
	}
	wantEvents(t, b, &seen, "(service web) (T) (port 8080) is unhealthy in (target-group G) due to (reason Health checks failed with these codes: [500]).",
		"(service web) has started 1 tasks: (T). Amazon ECS replaced 1 tasks due to an unhealthy status.")
	b.pause(time.Minute)
	b.run(b.of(one)[2])
	b.health("healthy", "", b.of(one)[2])
	b.reconcile()
	stop := b.stopping()
	if len(stop) != 1 || stop[0].ID != bad.ID || stop[0].Stop.Reason != "Task failed ELB health checks in (target-group "+b.group+")" {
		t.Fatalf("stopping %+v", stop)
	}
	b.end(stop...)
	b.reconcile()
	wantEvents(t, b, &seen, "(service web) registered 1 targets in (target-group G)", "(service web) has stopped 1 running tasks: (T).", "(service web) has reached a steady state.",
		"(service web) deregistered 1 targets in (target-group G)", "(service web, taskSet ecs-svc/1) has begun draining connections on 1 tasks.")
}

// A task that recovers before its replacement is up stays, and the replacement goes.
func TestUnhealthyTaskRecovers(t *testing.T) {
	b := newBench(t, true)
	one := b.create(1)
	b.settle()
	r := b.of(one)[0]
	b.health("unhealthy", "Request timed out", r)
	b.reconcile()
	b.health("healthy", "", r)
	b.reconcile()
	if got := b.of(one); len(got) != 1 || got[0].ID != r.ID {
		t.Errorf("tasks %+v", got)
	}
	seen := len(b.events())
	b.health("unhealthy", "Request timed out", r)
	b.reconcile()
	if got := b.newEvents(&seen); len(got) == 0 || !strings.Contains(got[0], "is unhealthy") {
		t.Errorf("the second illness is not told: %v", got)
	}
}

func TestGracePeriod(t *testing.T) {
	b := newBench(t, true)
	one := b.create(1, func(s *state.Service) { s.GracePeriod = 30 })
	b.reconcile()
	r := b.of(one)[0]
	b.run(r)
	b.health("unhealthy", "Health checks failed", r)
	seen := len(b.events())
	b.pause(29 * time.Second)
	if len(b.of(one)) != 1 {
		t.Error("replaced within the grace period")
	}
	if b.again <= 0 || b.again > time.Second {
		t.Errorf("looks again after %v", b.again)
	}
	b.pause(b.again)
	if len(b.of(one)) != 2 {
		t.Errorf("not replaced after the grace period: %v", b.newEvents(&seen))
	}
}

func TestTargetTakenAway(t *testing.T) {
	b := newBench(t, true)
	one := b.create(1)
	b.settle()
	seen := len(b.events())
	r := b.of(one)[0]
	b.loseTarget(r)
	b.reconcile()
	if len(b.of(one)) != 2 {
		t.Errorf("%d tasks", len(b.of(one)))
	}
	wantEvents(t, b, &seen, "(service web) task set (ecs-svc/1) (T) is not healthy in target-group (G) due to TARGET IS NOT FOUND",
		"(service web) has started 1 tasks: (T). Amazon ECS replaced 1 tasks due to an unhealthy status.")
}

func TestTargetGroupDeleted(t *testing.T) {
	b := newBench(t, true)
	one := b.create(1)
	b.reconcile()
	b.update(func(tx *store.WriteTx) error {
		return state.TargetGroups.Delete(tx, here.Key("g", "0123456789abcdef"), 0)
	})
	b.run(b.of(one)...)
	seen := len(b.events())
	b.pause(time.Hour)
	wantEvents(t, b, &seen, "(service web) task set (ecs-svc/1) (T) is not healthy in target-group (G) due to TARGET GROUP IS NOT FOUND")
	if st := b.status().Deployments[one]; st.RolloutState != "IN_PROGRESS" || len(b.of(one)) != 1 {
		t.Errorf("%+v, %d tasks", st, len(b.of(one)))
	}
}

// A second update while the first is under way: what the first began goes, what served stays until
// the second is up.
func TestUpdateDuringUpdate(t *testing.T) {
	b := newBench(t, true)
	one := b.create(2)
	b.settle()
	two := b.deploy(2)
	b.reconcile()
	b.run(b.of(two)[0])
	three := b.deploy(3)
	b.reconcile()
	if o, s, n := len(b.of(one)), len(b.of(two)), len(b.of(three)); o != 2 || s != 0 || n != 2 {
		t.Fatalf("tasks of one %d, two %d, three %d; want 2 0 2", o, s, n)
	}
	st := b.status()
	if d := st.Deployments[two]; !d.Superseded || d.RolloutState != "IN_PROGRESS" || d.FinishedAt.IsZero() {
		t.Errorf("two %+v", d)
	}
	b.end(b.stopping()...)
	b.reconcile()
	if st := b.status(); !st.Deployments[two].Gone || st.Deployments[one].Gone {
		t.Errorf("%+v", st.Deployments)
	}
	b.settle()
	st = b.status()
	if st.Deployments[three].RolloutState != "COMPLETED" || !st.Deployments[one].Gone || len(b.of(three)) != 2 || len(b.tasks()) != 2 {
		t.Errorf("%+v", st.Deployments)
	}
}

// Back to the revision that serves: a third deployment, as on AWS.
func TestUpdateBack(t *testing.T) {
	b := newBench(t, true)
	b.create(2)
	b.settle()
	two := b.deploy(2)
	b.reconcile()
	b.run(b.of(two)[0])
	b.reconcile()
	back := b.deploy(1)
	b.settle()
	if st := b.status(); st.Deployments[back].RolloutState != "COMPLETED" || len(b.tasks()) != 2 || len(b.of(back)) != 2 {
		t.Errorf("%+v", st.Deployments)
	}
}

// The circuit breaker ends a deployment whose tasks don't start, and rolls back to what served.
func TestCircuitBreaker_RollsBack(t *testing.T) {
	b := newBench(t, true)
	one := b.create(2, func(s *state.Service) { s.CircuitBreaker = state.CircuitBreaker{Enable: true, Rollback: true} })
	b.settle()
	seen := len(b.events())
	two := b.deploy(2)
	for b.status().Deployments[two].RolloutState != "FAILED" {
		b.reconcile()
		if len(b.of(one)) != 2 {
			t.Fatal("an old task was stopped for a deployment that never came up")
		}
		b.exit("TaskFailedToStart", "CannotStartContainerError: no such file", b.of(two)...)
		b.reconcile()
		b.end(b.stopping()...)
		if b.again > 0 {
			b.clock = b.clock.Add(b.again)
		}
		if b.clock.Year() > 2026 {
			t.Fatalf("never failed: %+v", b.status().Deployments[two])
		}
	}
	failed := b.status().Deployments[two]
	if failed.RolloutStateReason != "ECS deployment circuit breaker: tasks failed to start." || failed.FailedTasks < 3 {
		t.Errorf("%+v", failed)
	}
	svc := b.service()
	var back state.Deployment
	b.view(func(tx *store.ReadTx) error {
		o, err := state.Deployments.Get(tx, serviceKey+"/0000000003")
		back = o.Val
		return err
	})
	if svc.Sequence != 3 || back.RollbackOf != two || back.TaskDefinitionARN != here.ARN("ecs", "task-definition/web:1") {
		t.Fatalf("sequence %d, rollback %+v", svc.Sequence, back)
	}
	if st := b.status().Deployments[back.ID]; st.RolloutStateReason != "ECS deployment circuit breaker: rolling back to deploymentId "+back.ID+"." || st.Images["app"] != "sha256:1" {
		t.Errorf("%+v", st)
	}
	b.settle()
	st := b.status()
	if st.Deployments[back.ID].RolloutState != "COMPLETED" || !st.Deployments[two].Gone || len(b.tasks()) != 2 || len(b.of(back.ID)) != 2 {
		t.Errorf("%+v", st.Deployments)
	}
	wantEvents(t, b, &seen,
		"(service web) has started 2 tasks: (T) (T).", "(service web) has started 2 tasks: (T) (T).",
		"(service web) (deployment ecs-svc/2) deployment failed: tasks failed to start.", "(service web) rolling back to deployment R.",
		"(service web) has started 2 tasks: (T) (T).", "(service web) registered 2 targets in (target-group G)",
		"(service web) has stopped 2 running tasks: (T) (T).", "(service web) deregistered 1 targets in (target-group G)", "(service web, taskSet ecs-svc/1) has begun draining connections on 1 tasks.",
		"(service web) deregistered 1 targets in (target-group G)", "(service web, taskSet ecs-svc/1) has begun draining connections on 1 tasks.",
		"(service web) (deployment R) deployment completed.", "(service web) has reached a steady state.")
}

// A new version that runs but is never healthy: the old one serves on, the breaker sees it.
func TestCircuitBreaker_HealthChecks(t *testing.T) {
	b := newBench(t, true)
	one := b.create(2, func(s *state.Service) { s.CircuitBreaker = state.CircuitBreaker{Enable: true} })
	b.settle()
	two := b.deploy(2)
	for range 20 {
		b.reconcile()
		for _, r := range b.of(two) {
			if r.status.LastStatus != "RUNNING" {
				b.run(r)
			}
			b.health("unhealthy", "Health checks failed", r)
		}
		b.reconcile()
		b.end(b.stopping()...)
		b.clock = b.clock.Add(b.again)
		if len(b.of(one)) != 2 {
			t.Fatal("an old task was stopped")
		}
	}
	st := b.status()
	if st.Deployments[two].RolloutState != "FAILED" || b.service().Sequence != 2 {
		t.Errorf("without rollback it just fails: %+v", st.Deployments[two])
	}
	n := len(b.allTasks())
	b.pause(time.Hour)
	if len(b.allTasks()) != n {
		t.Error("a failed deployment launches tasks")
	}
	// What serves is kept up all the same.
	b.exit("EssentialContainerExited", "Essential container in task exited", b.of(one)[0])
	b.reconcile()
	if len(b.of(one)) != 2 {
		t.Error("a lost old task was not made good")
	}
	three := b.deploy(3)
	b.settle()
	if st := b.status(); st.Deployments[three].RolloutState != "COMPLETED" || len(b.tasks()) != 2 {
		t.Errorf("%+v", st.Deployments)
	}
}

// A first deployment has nothing to roll back to.
func TestCircuitBreaker_FirstDeployment(t *testing.T) {
	b := newBench(t, true)
	one := b.create(1, func(s *state.Service) { s.CircuitBreaker = state.CircuitBreaker{Enable: true, Rollback: true} })
	for range 10 {
		b.reconcile()
		b.exit("TaskFailedToStart", "CannotStartContainerError", b.of(one)...)
		b.reconcile()
		b.end(b.stopping()...)
		b.clock = b.clock.Add(b.again)
	}
	if st := b.status().Deployments[one]; st.RolloutState != "FAILED" || st.FailedTasks != 3 || b.service().Sequence != 1 || len(b.allTasks()) != 3 {
		t.Errorf("%+v; %d tasks", st, len(b.allTasks()))
	}
}

// A rollback whose tasks fail too ends there: no rollback of a rollback.
func TestCircuitBreaker_RollbackFails(t *testing.T) {
	b := newBench(t, true)
	one := b.create(1, func(s *state.Service) { s.CircuitBreaker = state.CircuitBreaker{Enable: true, Rollback: true} })
	b.settle()
	b.deploy(2)
	for range 20 {
		b.reconcile()
		for _, r := range b.tasks() {
			if r.Deployment != one && r.status.Stop == nil {
				b.exit("TaskFailedToStart", "CannotStartContainerError", r)
			}
		}
		b.reconcile()
		b.end(b.stopping()...)
		b.clock = b.clock.Add(b.again)
	}
	n := 0
	for _, st := range b.status().Deployments {
		if st.RolloutState == "FAILED" {
			n++
		}
	}
	if n != 2 || b.service().Sequence != 3 || len(b.of(one)) != 1 {
		t.Errorf("%d failed of %d deployments, %d old tasks", n, b.service().Sequence, len(b.of(one)))
	}
}

// Tasks that keep failing are started ever more slowly, which is told once.
func TestThrottle(t *testing.T) {
	b := newBench(t, true)
	one := b.create(1)
	var waits []time.Duration
	for range 8 {
		b.reconcile()
		if len(b.of(one)) != 1 {
			t.Fatalf("no task; waits %v", waits)
		}
		b.exit("EssentialContainerExited", "Essential container in task exited", b.of(one)...)
		b.reconcile()
		b.end(b.stopping()...)
		b.reconcile()
		waits = append(waits, b.again.Round(time.Second))
		b.clock = b.clock.Add(b.again)
	}
	s := time.Second
	if d := cmp.Diff([]time.Duration{0, 0, 1 * s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s}, waits); d != "" {
		t.Error(d)
	}
	impaired := func() int {
		return strings.Count(strings.Join(b.events(), "\n"), "(service web) is unable to consistently start tasks successfully. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.")
	}
	if n := impaired(); n != 1 {
		t.Errorf("told %d times:\n%s", n, strings.Join(b.events(), "\n"))
	}
	// An update begins anew; a healthy task ends it too.
	two := b.deploy(2)
	b.reconcile()
	if len(b.of(two)) != 1 {
		t.Error("the new deployment is throttled for the old one's failures")
	}
	b.settle()
	if st := b.status().Deployments[two]; st.FailedTasks != 0 || st.RolloutState != "COMPLETED" {
		t.Errorf("%+v", st)
	}
	for k, want := range map[int]time.Duration{2: 0, 3: 1 * s, 12: 1 * s, 13: 2 * s, 23: 4 * s, 1000: maxThrottle} {
		if got := throttle(state.DeploymentStatus{FailedTasks: k, FailedAt: b.clock}, 10, b.clock); got != want {
			t.Errorf("throttle after %d failures of 10 desired = %v, want %v", k, got, want)
		}
	}
}

func TestNoMemory(t *testing.T) {
	b := newBench(t, true)
	b.memory = 1024
	b.start()
	one := b.create(2)
	b.settle()
	two := b.deploy(2)
	seen := len(b.events())
	b.reconcile()
	b.pause(time.Minute)
	got := b.newEvents(&seen)
	if len(got) != 1 || !strings.Contains(got[0], "has insufficient memory available") || len(b.of(two)) != 0 || len(b.of(one)) != 2 {
		t.Fatalf("events %v; tasks %d + %d", got, len(b.of(one)), len(b.of(two)))
	}
	if b.again != tryAgain {
		t.Errorf("looks again after %v", b.again)
	}
	b.memory = 4096
	b.start()
	b.settle()
	if b.status().Deployments[two].RolloutState != "COMPLETED" {
		t.Errorf("%+v", b.status().Deployments)
	}
}

func TestBlocked(t *testing.T) {
	b := newBench(t, true)
	b.create(1, func(s *state.Service) { s.Maximum = 150 })
	b.settle()
	seen := len(b.events())
	b.deploy(2)
	b.pause(time.Hour)
	wantEvents(t, b, &seen, "(service web) was unable to stop or start tasks during a deployment because of the service deployment configuration. Update the minimumHealthyPercent or maximumPercent value and try again.")
	b.change(func(s *state.Service) { s.Maximum = 200 })
	b.settle()
	if st := b.status().Deployments["ecs-svc/2"]; st.RolloutState != "COMPLETED" {
		t.Errorf("%+v", st)
	}
}

func TestRoleGone(t *testing.T) {
	b := newBench(t, true)
	role := "arn:aws:iam::000000000000:role/gone"
	b.update(func(tx *store.WriteTx) error {
		key := state.TaskDefinitionKey(here.ARN("ecs", "task-definition/web:1"))
		o, err := state.TaskDefinitions.Get(tx, key)
		o.Val.Definition.ExecutionRoleArn = &role
		if err != nil {
			return err
		}
		return state.TaskDefinitions.Put(tx, &o)
	})
	one := b.create(1)
	b.reconcile()
	seen := 0
	b.pause(time.Minute)
	wantEvents(t, b, &seen, "(service web) failed to launch a task with (error "+state.CannotAssume(role)+").")
	b.update(func(tx *store.WriteTx) error {
		r := state.Role{Account: here.Account, Name: "gone", Path: "/", Trust: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`}
		return state.Roles.Put(tx, &store.Object[state.Role]{Key: state.RoleKey(here.Account, "gone"), Val: r})
	})
	b.pause(b.again)
	if len(b.of(one)) != 1 {
		t.Error("not launched when the role was there")
	}
}

// Tags of tasks come from where propagateTags says.
func TestTags(t *testing.T) {
	for propagate, want := range map[string]map[string]string{
		"":                {"aws:ecs:clusterName": "c", "aws:ecs:serviceName": "web"},
		"SERVICE":         {"aws:ecs:clusterName": "c", "aws:ecs:serviceName": "web", "k": "service"},
		"TASK_DEFINITION": {"aws:ecs:clusterName": "c", "aws:ecs:serviceName": "web", "k": "definition"},
	} {
		b := newBench(t, false)
		b.update(func(tx *store.WriteTx) error {
			o, err := state.TaskDefinitions.Get(tx, state.TaskDefinitionKey(here.ARN("ecs", "task-definition/web:1")))
			o.Val.Tags = map[string]string{"k": "definition"}
			if err != nil {
				return err
			}
			return state.TaskDefinitions.Put(tx, &o)
		})
		b.create(1, func(s *state.Service) {
			s.PropagateTags, s.ManagedTags, s.Tags = propagate, true, map[string]string{"k": "service"}
		})
		b.reconcile()
		if d := cmp.Diff(want, b.tasks()[0].Tags); d != "" {
			t.Errorf("%q: %s", propagate, d)
		}
	}
}

// A service of the name of one that was deleted starts from nothing.
func TestRecreated(t *testing.T) {
	b := newBench(t, true)
	b.create(1)
	b.settle()
	b.change(func(s *state.Service) { s.DeletedAt, s.DesiredCount = b.clock, 0 })
	b.settle()
	if b.status().Status != "INACTIVE" {
		t.Fatal(b.status().Status)
	}
	b.update(func(tx *store.WriteTx) error { // as CreateService does
		o, err := state.ServiceStatuses.Get(tx, serviceKey)
		if err != nil {
			return err
		}
		old := o.Val.Deployments
		for id, d := range old {
			d.Gone = true
			old[id] = d
		}
		o.Val = state.ServiceStatus{Deployments: old}
		return state.ServiceStatuses.Put(tx, &o)
	})
	b.change(func(s *state.Service) { s.DeletedAt, s.DesiredCount, s.CreatedAt = time.Time{}, 1, b.clock })
	two := b.deploy(1)
	b.reconcile()
	seen := 0
	wantEvents(t, b, &seen, "(service web) has started 1 tasks: (T).")
	b.settle()
	if st := b.status(); st.Status != "ACTIVE" || st.Deployments[two].RolloutState != "COMPLETED" || len(b.of(two)) != 1 {
		t.Errorf("%+v", st)
	}
}

// The clock of a machine may go back: the service's tasks are its tasks all the same.
func TestClockGoesBack(t *testing.T) {
	b := newBench(t, true)
	one := b.create(2)
	b.clock = b.clock.Add(-time.Hour)
	b.settle()
	b.deploy(2)
	b.settle()
	if n := len(b.tasks()); n != 2 || !b.status().Deployments[one].Gone {
		t.Errorf("%d tasks, %+v", n, b.status().Deployments)
	}
}

// What is remembered of tasks doesn't grow with those that have ended.
func TestToldStaysSmall(t *testing.T) {
	b := newBench(t, true)
	b.create(1)
	for i := range 5 {
		b.settle()
		b.deploy(i%2 + 1)
	}
	b.settle()
	if n := len(b.status().Told); n != 1 {
		t.Errorf("%d tasks are remembered, want the one that runs", n)
	}
}

// Run and Changed bring every service and every change of its tasks and targets to Reconcile.
func TestRunAndChanged(t *testing.T) {
	b := newBench(t, true)
	b.create(1)
	b.clock = time.Now() // the store's clock stands still; the loop's runs
	ctx, cancel := context.WithCancel(background)
	done := make(chan error, 1)
	go func() { done <- b.c.Run(ctx) }()
	go func() {
		for ch, err := range b.db.Changes(ctx, 0) {
			if err != nil {
				return
			}
			b.c.Changed(ctx, ch.Kind, ch.Key)
		}
	}()
	until := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: never; events %v", what, b.events())
			}
		}
	}
	until("a task", func() bool { return len(b.tasks()) == 1 })
	b.run(b.tasks()...)
	b.health("healthy", "", b.tasks()...)
	until("completed", func() bool { return b.status().Deployments["ecs-svc/1"].RolloutState == "COMPLETED" })
	b.deploy(2)
	until("a new task", func() bool { return len(b.tasks()) == 2 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
