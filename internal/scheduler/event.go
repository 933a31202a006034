package scheduler

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// maxEvents is how many events a service keeps. Source: DescribeServices: up to 100.
const maxEvents = 100

// tell derives events from what has become of the tasks since the last pass. Each fact about a
// task is told once: Told remembers which.
func (s *service) tell() {
	var started, stopped, draining []string
	registered, deregistered := map[string]int{}, map[string]int{}
	for _, m := range s.tasks {
		if s.first(m, "started") {
			started = append(started, m.task.ID)
		}
		if m.status.Is("register") && s.first(m, "registered") {
			s.perGroup(m, registered)
		}
		if m.task.Stop != nil && m.task.Stop.Code == "ServiceSchedulerInitiated" && s.first(m, "stopped") {
			stopped = append(stopped, m.task.ID)
		}
		if m.status.Is("deregister") && len(m.status.Targets) > 0 && s.first(m, "deregistered") {
			s.perGroup(m, deregistered)
			draining = append(draining, m.task.ID)
		}
	}
	// Order and wording: field captures of a rolling update on Fargate with a load balancer.
	if len(started) > 0 {
		s.event(fmt.Sprintf("has started %d tasks: %s.", len(started), taskList(started)))
	}
	for _, g := range sorted(registered) {
		s.event(fmt.Sprintf("registered %d targets in (target-group %s)", registered[g], g))
	}
	if len(stopped) > 0 {
		s.event(fmt.Sprintf("has stopped %d running tasks: %s.", len(stopped), taskList(stopped)))
	}
	for _, g := range sorted(deregistered) {
		s.event(fmt.Sprintf("deregistered %d targets in (target-group %s)", deregistered[g], g))
	}
	if len(draining) > 0 {
		s.event(fmt.Sprintf("has begun draining connections on %d tasks.", len(draining)))
	}
}

// unhealthy tells why a task is replaced.
func (s *service) unhealthy(m *member) {
	for i, h := range m.targets {
		if h.State != "unhealthy" || i >= len(m.task.LoadBalancers) {
			continue
		}
		lb := m.task.LoadBalancers[i]
		s.event(fmt.Sprintf("(task %s) (port %d) is unhealthy in (target-group %s) due to (reason %s).", m.task.ID, lb.Port, lb.TargetGroupARN, h.Description))
	}
}

func (s *service) stopReason(m *member, r StopReason) string {
	if r == Unhealthy {
		for i, h := range m.targets {
			if h.State == "unhealthy" && i < len(m.task.LoadBalancers) {
				return fmt.Sprintf("Task failed ELB health checks in (target-group %s)", m.task.LoadBalancers[i].TargetGroupARN)
			}
		}
	}
	return fmt.Sprintf("Scaling activity initiated by (deployment %s)", s.deployments[0].ID)
}

// event puts a line at the head of the service's events, in ECS's form "(service X) …".
func (s *service) event(text string) {
	e := state.ServiceEvent{ID: newEventID(), CreatedAt: s.now, Message: "(service " + s.svc.Val.Name + ") " + text}
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

func (s *service) perGroup(m member, n map[string]int) {
	for _, lb := range m.task.LoadBalancers {
		n[lb.TargetGroupARN]++
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

// putIfChanged writes a status only when it says something new: every write wakes the loop.
func putIfChanged(tx *store.WriteTx, key string, rev store.Rev, st state.ServiceStatus) error {
	o, err := state.ServiceStatuses.Get(tx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	old, _ := json.Marshal(o.Val)
	now, _ := json.Marshal(st)
	if rev != 0 && string(old) == string(now) {
		return nil
	}
	o.Key, o.Val = key, st
	return state.ServiceStatuses.Put(tx, &o)
}

func newWord() string {
	b := make([]byte, 16)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)[:21]
}
