package scheduler

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/lotse-project/lotse/internal/state"
)

// maxEvents is how many events a service keeps. Source: DescribeServices: up to 100.
const maxEvents = 100

// tell derives events from what has become of the tasks since the last pass. Each fact about a
// task is told once: Told remembers which.
func (s *service) tell() {
	var stopped []string
	registered, deregistered, draining := map[string]int{}, map[string]int{}, map[string]int{}
	for _, m := range s.tasks {
		if len(m.targets) > 0 && s.first(m, "registered") {
			perGroup(m, registered)
		}
		s.unhealthy(m)
		if m.task.Stop != nil && m.task.Stop.Code == "ServiceSchedulerInitiated" && s.first(m, "stopped") {
			stopped = append(stopped, m.task.ID)
		}
		if m.status.Is("deregister") && len(m.status.Targets) > 0 && s.first(m, "deregistered") {
			perGroup(m, deregistered)
			draining[m.task.Deployment]++
		}
	}
	// Order and wording: field captures of a rolling update on Fargate with a load balancer.
	for _, g := range sorted(registered) {
		s.event(fmt.Sprintf("registered %d targets in (target-group %s)", registered[g], g))
	}
	if len(stopped) > 0 {
		s.event(fmt.Sprintf("has stopped %d running tasks: %s.", len(stopped), taskList(stopped)))
	}
	for _, g := range sorted(deregistered) {
		s.event(fmt.Sprintf("deregistered %d targets in (target-group %s)", deregistered[g], g))
	}
	for _, d := range sorted(draining) {
		s.message(fmt.Sprintf("(service %s, taskSet %s) has begun draining connections on %d tasks.", s.svc.Val.Name, d, draining[d]))
	}
}

// started tells of tasks that this pass has launched; replaces of them stand in for unhealthy ones.
func (s *service) started(ids []string, replaces int) {
	if len(ids) == 0 {
		return
	}
	text := fmt.Sprintf("has started %d tasks: %s.", len(ids), taskList(ids))
	if n := min(replaces, len(ids)); n > 0 {
		text += fmt.Sprintf(" Amazon ECS replaced %d tasks due to an unhealthy status.", n)
	}
	s.event(text)
}

// unhealthy tells why a task is about to be replaced. One that recovers may be told of again.
func (s *service) unhealthy(m member) {
	if ok, _ := m.healthy(s.now); ok {
		s.status.Told[m.task.ID] = slices.DeleteFunc(s.status.Told[m.task.ID], func(f string) bool { return f == "unhealthy" })
		return
	}
	if m.stopping() {
		return
	}
	for _, t := range m.targets {
		if t.noGroup && s.first(m, "no group "+t.TargetGroupARN) {
			s.event(fmt.Sprintf("task set (%s) (task %s) is not healthy in target-group (%s) due to TARGET GROUP IS NOT FOUND", m.task.Deployment, m.task.ID, t.TargetGroupARN))
		}
	}
	if ok, _ := m.failed(s.now, s.grace()); !ok || !s.first(m, "unhealthy") {
		return
	}
	if m.status.Health() == state.Unhealthy {
		s.event(fmt.Sprintf("(task %s) failed container health checks.", m.task.ID))
	}
	for _, t := range m.targets {
		switch {
		case t.lost:
			s.event(fmt.Sprintf("task set (%s) (task %s) is not healthy in target-group (%s) due to TARGET IS NOT FOUND", m.task.Deployment, m.task.ID, t.TargetGroupARN))
		case t.State == "unhealthy":
			s.event(fmt.Sprintf("(task %s) (port %d) is unhealthy in (target-group %s) due to (reason %s).", m.task.ID, t.Port, t.TargetGroupARN, t.Description))
		}
	}
}

func (s *service) stopReason(m *member, r StopReason) string {
	if r == Unhealthy && m.status.Health() == state.Unhealthy {
		return "Task failed container health checks"
	}
	if r == Unhealthy {
		for _, t := range m.targets {
			if t.State == "unhealthy" || t.lost {
				return fmt.Sprintf("Task failed ELB health checks in (target-group %s)", t.TargetGroupARN)
			}
		}
	}
	return fmt.Sprintf("Scaling activity initiated by (deployment %s)", s.primary())
}

// event tells something of the service, in ECS's form "(service X) …".
func (s *service) event(text string) { s.message("(service " + s.svc.Val.Name + ") " + text) }

// message puts a line at the head of the service's events.
func (s *service) message(text string) {
	s.act(state.ServiceAction{Deployment: s.primary(), What: "EVENT", Why: text})
	e := state.ServiceEvent{ID: newEventID(), CreatedAt: s.now, Message: text}
	s.status.Events = append([]state.ServiceEvent{e}, s.status.Events...)
	if len(s.status.Events) > maxEvents {
		s.status.Events = s.status.Events[:maxEvents]
	}
}

// once tells an event unless the last of its kind was about the same thing.
func (s *service) once(kind, about, text string) {
	if s.status.Noted[kind] == about {
		return
	}
	s.status.Noted[kind] = about
	s.event(text)
}

// Private

// first reports whether a fact about a task has not been told yet, and notes that it is now.
func (s *service) first(m member, fact string) bool {
	if slices.Contains(s.status.Told[m.task.ID], fact) {
		return false
	}
	s.status.Told[m.task.ID] = append(s.status.Told[m.task.ID], fact)
	return true
}

func perGroup(m member, n map[string]int) {
	for _, t := range m.targets {
		if !t.noGroup {
			n[t.TargetGroupARN]++
		}
	}
}

func taskList(ids []string) string {
	var b []string
	for _, id := range ids {
		b = append(b, "(task "+id+")")
	}
	return strings.Join(b, " ")
}

func sorted(m map[string]int) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func newWord() string {
	b := make([]byte, 16)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)[:21]
}
