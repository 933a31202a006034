package scheduler

import (
	"fmt"
	"strings"
	"time"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// shortLife: a task that ends before it has run this long counts for the start throttle. On AWS
// starting takes so long that a crash loop slows itself; here a task starts in a fraction of a second.
const shortLife = 10 * time.Second

// freeFailures is how many tasks in a row may fail before launches are throttled.
const freeFailures = 3

// maxThrottle is the longest wait between launches. Source: DG service-throttle-logic (older text: 15 minutes).
const maxThrottle = 15 * time.Minute

// count brings the deployments' failure counters up to date: consecutive tasks that did not
// start, exited, or failed their health checks; back to 0 when one becomes healthy.
func (s *service) count() {
	for i, d := range s.deployments {
		st, ok := s.status.Deployments[d.ID]
		if !ok {
			st = state.DeploymentStatus{RolloutState: "IN_PROGRESS", RolloutStateReason: "ECS deployment " + d.ID + " in progress.", StartedAt: s.now, UpdatedAt: s.now}
		}
		if i > 0 && st.RolloutState == "IN_PROGRESS" && !st.Superseded {
			st.Superseded, st.FinishedAt, st.UpdatedAt = true, s.now, s.now
		}
		for _, m := range s.tasks {
			if m.task.Deployment == d.ID {
				s.countTask(m, &st)
			}
		}
		s.status.Deployments[d.ID] = st
	}
}

func (s *service) countTask(m member, st *state.DeploymentStatus) {
	if st.Images == nil && m.status.Is("pull") {
		st.Images = map[string]string{}
		for _, c := range m.status.Containers {
			st.Images[c.Name] = c.Digest
		}
	}
	if ok, _ := m.healthy(s.now); ok && s.first(m, "healthy") {
		if st.RolloutState != "IN_PROGRESS" || !s.svc.Val.CircuitBreaker.KeepCount {
			st.FailedTasks = 0
		}
		st.UpdatedAt = s.now
		delete(s.status.Noted, "throttle")
	}
	failing, _ := m.failed(s.now, s.grace())
	if !failing && !(m.stopping() && failure(m)) || !s.first(m, "counted") {
		return
	}
	if ran := m.status.StartedAt; ran.IsZero() || m.status.Stop != nil && m.status.Stop.At.Sub(ran) < shortLife || st.RolloutState == "IN_PROGRESS" {
		st.FailedTasks++
		st.FailedAt, st.UpdatedAt = s.now, s.now
	}
	if m.status.Stop != nil && m.status.Stop.Unhealable() {
		st.Unhealable = m.status.Stop.Reason
	}
}

// failure tells a task that failed from one that was told to go.
func failure(m member) bool {
	stop := m.status.Stop
	if stop == nil {
		stop = m.task.Stop
	}
	switch stop.Code {
	case "TaskFailedToStart", "EssentialContainerExited":
		return true
	case "ServiceSchedulerInitiated":
		return strings.HasPrefix(stop.Reason, "Task failed")
	}
	return false
}

// throttle is how long to wait before the next launch: nothing after the first failures, then 1 s,
// 2 s, 4 s and so on, a step for every desired task that failed: ten tasks that fail together are one
// round of failures.
func throttle(st state.DeploymentStatus, desired int, now time.Time) time.Duration {
	if st.FailedTasks < freeFailures {
		return 0
	}
	wait := maxThrottle
	if n := (st.FailedTasks - freeFailures) / max(1, desired); n < 10 {
		wait = min(maxThrottle, time.Second<<n)
	}
	return max(0, st.FailedAt.Add(wait).Sub(now))
}

// Why a deployment was rolled back or not, in the service deployments API.
// Source: the first as published by users of the real service; the others are ours, after its manner.
const (
	reasonBreaker = "Service deployment rolled back because the circuit breaker threshold was exceeded."
	reasonFailed  = "Service deployment failed because the circuit breaker threshold was exceeded."
	reasonStopped = "Service deployment rolled back because of a StopServiceDeployment request."
	reasonAborted = "Service deployment stopped because of a StopServiceDeployment request."
)

// breakCircuit ends a deployment whose tasks keep failing, and rolls back if the service wants it.
// Patient counts to the threshold also what trying again can't mend.
func (s *service) breakCircuit(tx *store.WriteTx, patient bool) error {
	svc := &s.svc.Val
	if len(s.deployments) == 0 || !svc.CircuitBreaker.Enable {
		return nil
	}
	d := s.deployments[0]
	st := s.status.Deployments[d.ID]
	if st.RolloutState != "IN_PROGRESS" || st.FailedTasks < svc.CircuitBreaker.Threshold(svc.DesiredCount) && (patient || st.Unhealable == "") {
		return nil
	}
	st.RolloutStateReason = "ECS deployment circuit breaker: tasks failed to start."
	reason := reasonFailed
	if svc.CircuitBreaker.Rollback {
		reason = reasonBreaker
	}
	s.end(d, st, reason, svc.CircuitBreaker.Rollback)
	s.event(fmt.Sprintf("(deployment %s) deployment failed: tasks failed to start.", d.ID))
	if !svc.CircuitBreaker.Rollback {
		return nil
	}
	return s.rollBack(tx, d, "ECS deployment circuit breaker: rolling back to deploymentId %s.")
}

// stopDeployment does what StopServiceDeployment asks for.
func (s *service) stopDeployment(tx *store.WriteTx) error {
	wish := s.svc.Val.StopDeployment
	if len(s.deployments) == 0 || s.deployments[0].ID != wish.ID {
		return nil // none, or a newer deployment came first
	}
	d := s.deployments[0]
	st := s.status.Deployments[d.ID]
	if st.RolloutState != "IN_PROGRESS" {
		return nil
	}
	st.RolloutStateReason = "ECS deployment " + d.ID + " was stopped."
	reason := reasonAborted
	if wish.Rollback {
		reason = reasonStopped
	}
	s.end(d, st, reason, wish.Rollback)
	s.event(fmt.Sprintf("(deployment %s) deployment failed: deployment was stopped.", d.ID))
	if !wish.Rollback {
		return nil
	}
	return s.rollBack(tx, d, "ECS deployment rolling back to deploymentId %s.")
}

// end notes that a deployment has failed. One that is to be rolled back, but follows no completed one, stays as it is.
func (s *service) end(d state.Deployment, st state.DeploymentStatus, reason string, rollback bool) {
	st.RolloutState, st.Reason = "FAILED", reason
	st.FinishedAt, st.UpdatedAt = s.now, s.now
	st.NoCandidate = rollback && (d.RollbackOf != "" || s.completed().ID == "")
	s.status.Deployments[d.ID] = st
}

// completed is the newest deployment before the primary that served; one without an ID if none did.
func (s *service) completed() state.Deployment {
	for _, d := range s.deployments[1:] {
		if s.status.Deployments[d.ID].RolloutState == "COMPLETED" {
			return d
		}
	}
	return state.Deployment{}
}

// rollBack makes a new deployment with what served before. A rollback that fails is not rolled back, and neither is a
// first deployment.
func (s *service) rollBack(tx *store.WriteTx, failed state.Deployment, reason string) error {
	svc, good := &s.svc.Val, s.completed()
	if failed.RollbackOf != "" || good.ID == "" {
		return nil
	}
	d := good
	svc.Sequence++
	d.Sequence, d.ID, d.ARNID = svc.Sequence, "ecs-svc/"+newDigits(), newWord() // the revision is that which served
	d.CreatedAt, d.RollbackOf, d.Source = s.now, failed.ID, []string{failed.RevisionID}
	o := store.Object[state.Deployment]{Key: state.DeploymentKey(s.svc.Key, svc.Sequence), Val: d}
	if err := state.Deployments.Put(tx, &o); err != nil {
		return err
	}
	if err := state.Services.Put(tx, &s.svc); err != nil {
		return err
	}
	s.deployments = append([]state.Deployment{d}, s.deployments...)
	s.status.Deployments[d.ID] = state.DeploymentStatus{
		RolloutState: "IN_PROGRESS", RolloutStateReason: fmt.Sprintf(reason, d.ID),
		StartedAt: s.now, UpdatedAt: s.now, Images: s.status.Deployments[good.ID].Images,
	}
	s.event(fmt.Sprintf("rolling back to deployment %s.", d.ID)) // as in published events: the id that completes then
	return nil
}
