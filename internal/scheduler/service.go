package scheduler

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// settleTime is how long a task without a load balancer runs before it counts as healthy. ECS
// waits 40 s (DG deployment-type-ecs) because it learns of exits late; here an exit is seen at
// once, so that a task which lives this long has passed the same test.
const settleTime = 2 * time.Second

// A service is one service as it stands, and what a pass changes of it.
type service struct {
	svc         store.Object[state.Service]
	status      state.ServiceStatus
	statusRev   store.Rev
	deployments []state.Deployment // newest first, without those that are Gone
	tasks       []member           // all whose record is still there, oldest first
	now         time.Time
	again       time.Duration // when to look again although nothing changed
}

// A member is a task of the service.
type member struct {
	task    state.Task
	status  state.TaskStatus
	targets []state.TargetHealth // one for each target it registered; State "" when not known yet
}

func load(tx store.Reader, key string) (*service, error) {
	o, err := state.Services.Get(tx, key)
	if err != nil {
		return nil, err
	}
	s := &service{svc: o}
	st, err := state.ServiceStatuses.Get(tx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	s.status, s.statusRev = st.Val, st.Rev
	if s.status.Deployments == nil {
		s.status.Deployments = map[string]state.DeploymentStatus{}
	}
	if s.status.Told == nil {
		s.status.Told = map[string][]string{}
	}
	if s.status.Noted == nil {
		s.status.Noted = map[string]string{}
	}
	for d, err := range state.Deployments.List(tx, key+"/") {
		if err != nil {
			return nil, err
		}
		if !s.status.Deployments[d.Val.ID].Gone && !d.Val.CreatedAt.Before(o.Val.CreatedAt) {
			s.deployments = append(s.deployments, d.Val)
		}
	}
	slices.Reverse(s.deployments)
	for t, err := range state.Tasks.List(tx, o.Val.Scope.Key(o.Val.Cluster, "")) {
		if err != nil {
			return nil, err
		}
		if t.Val.Service != o.Val.Name || t.Val.CreatedAt.Before(o.Val.CreatedAt) {
			continue
		}
		m, err := loadMember(tx, t)
		if err != nil {
			return nil, err
		}
		s.tasks = append(s.tasks, m)
	}
	slices.SortStableFunc(s.tasks, func(a, b member) int { return a.task.CreatedAt.Compare(b.task.CreatedAt) })
	return s, nil
}

func loadMember(tx store.Reader, t store.Object[state.Task]) (member, error) {
	m := member{task: t.Val, status: state.TaskStatus{LastStatus: "PROVISIONING"}}
	st, err := state.TaskStatuses.Get(tx, t.Key)
	if err == nil {
		m.status = st.Val
	} else if !errors.Is(err, store.ErrNotFound) {
		return m, err
	}
	for _, key := range m.status.Targets {
		h, err := state.TargetHealths.Get(tx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return m, err
		}
		m.targets = append(m.targets, h.Val)
	}
	return m, nil
}

// stopped reports that nothing of the task is left.
func (m member) stopped() bool { return m.status.LastStatus == "STOPPED" }

// stopping reports that the task ends or has ended.
func (m member) stopping() bool { return m.task.Stop != nil || m.status.Stop != nil }

// healthy is what counts for the lower bound. Source: DG deployment-type-ecs: with a load
// balancer RUNNING and healthy in every target group.
func (m member) healthy(now time.Time) (ok bool, wait time.Duration) {
	if m.status.LastStatus != "RUNNING" || m.stopping() {
		return false, 0
	}
	if len(m.task.LoadBalancers) == 0 {
		left := m.status.StartedAt.Add(settleTime).Sub(now)
		return left <= 0, max(0, left)
	}
	if len(m.targets) < len(m.task.LoadBalancers) {
		return false, 0
	}
	for _, h := range m.targets {
		if h.State != "healthy" {
			return false, 0
		}
	}
	return true, 0
}

// failed reports failing health checks after the grace period.
func (m member) failed(now time.Time, grace time.Duration) (ok bool, wait time.Duration) {
	if m.status.LastStatus != "RUNNING" || m.stopping() {
		return false, 0
	}
	for _, h := range m.targets {
		if h.State == "unhealthy" {
			left := m.status.StartedAt.Add(grace).Sub(now)
			return left <= 0, max(0, left)
		}
	}
	return false, 0
}

// view is what plan sees.
func (s *service) view() View {
	svc := s.svc.Val
	v := View{Desired: svc.DesiredCount, MinimumHealthy: svc.MinimumHealthy, Maximum: svc.Maximum}
	for _, d := range s.deployments {
		st := s.status.Deployments[d.ID]
		v.Deployments = append(v.Deployments, DeploymentView{
			ID: d.ID, Completed: st.RolloutState == "COMPLETED", Failed: st.RolloutState == "FAILED", Wait: s.throttle(st)})
	}
	for _, m := range s.tasks {
		if m.stopped() {
			continue
		}
		healthy, w1 := m.healthy(s.now)
		failed, w2 := m.failed(s.now, time.Duration(svc.GracePeriod)*time.Second)
		s.lookAgain(w1)
		s.lookAgain(w2)
		v.Tasks = append(v.Tasks, TaskView{ID: m.task.ID, Deployment: m.task.Deployment, CreatedAt: m.task.CreatedAt,
			Stopping: m.stopping(), Healthy: healthy, Failed: failed})
	}
	return v
}

// apply writes what the plan says.
func (s *service) apply(tx *store.WriteTx, p Plan, memory int) error {
	for _, st := range p.Stop {
		m := s.member(st.Task)
		m.task.Stop = &state.Stop{At: s.now, Code: "ServiceSchedulerInitiated", Reason: s.stopReason(m, st.Reason)}
		o, err := state.Tasks.Get(tx, m.task.Key())
		if err != nil {
			return err
		}
		if o.Val.Stop == nil {
			o.Val.Stop = m.task.Stop
			if err := state.Tasks.Put(tx, &o); err != nil {
				return err
			}
		}
		if st.Reason == Unhealthy {
			s.unhealthy(m)
		}
	}
	for _, start := range p.Start {
		for range start.Count {
			if err := s.launch(tx, start.Deployment, memory); err != nil {
				return err
			}
		}
	}
	if p.Blocked {
		s.once("blocked", s.deployments[0].ID, "was unable to stop or start tasks during a deployment because of the service deployment configuration. Update the minimumHealthyPercent or maximumPercent value and try again.")
	}
	return nil
}

// settle notes what has come to an end.
func (s *service) settle(v View) {
	svc := s.svc.Val
	if !svc.DeletedAt.IsZero() {
		s.status.Status = "DRAINING"
		if len(v.Tasks) == 0 {
			s.status.Status, s.status.InactiveAt = "INACTIVE", s.now
		}
		return
	}
	s.status.Status = "ACTIVE"
	if len(s.deployments) == 0 {
		return
	}
	p := s.deployments[0]
	st := s.status.Deployments[p.ID]
	done := settled(v)
	if done && st.RolloutState == "IN_PROGRESS" {
		st.RolloutState, st.RolloutStateReason = "COMPLETED", "ECS deployment "+p.ID+" completed."
		st.FinishedAt, st.UpdatedAt, st.FailedTasks = s.now, s.now, 0
		s.status.Deployments[p.ID] = st
		s.event(fmt.Sprintf("(deployment %s) deployment completed.", p.ID))
		if p.RollbackOf != "" {
			failed := s.status.Deployments[p.RollbackOf]
			failed.RolledBack = true
			s.status.Deployments[p.RollbackOf] = failed
		}
	}
	served := newestCompleted(v)
	for _, d := range s.deployments[1:] {
		left := slices.ContainsFunc(v.Tasks, func(t TaskView) bool { return t.Deployment == d.ID })
		if !left && (st.RolloutState == "COMPLETED" || d.ID != served) {
			old := s.status.Deployments[d.ID]
			old.Gone, old.UpdatedAt = true, s.now
			s.status.Deployments[d.ID] = old
		}
	}
	if done && !s.status.Steady {
		s.event("has reached a steady state.")
	}
	s.status.Steady = done
}

// save writes the status if it has changed.
func (s *service) save(tx *store.WriteTx) error {
	alive := map[string]bool{}
	for _, m := range s.tasks {
		alive[m.task.ID] = true
	}
	for id := range s.status.Told {
		if !alive[id] {
			delete(s.status.Told, id)
		}
	}
	return putIfChanged(tx, s.svc.Key, s.statusRev, s.status)
}

// launch writes the record of a new task, if the machine has room for it.
func (s *service) launch(tx *store.WriteTx, deployment string, memory int) error {
	i := slices.IndexFunc(s.deployments, func(d state.Deployment) bool { return d.ID == deployment })
	d, svc := s.deployments[i], s.svc.Val
	td, err := state.TaskDefinitions.Get(tx, state.TaskDefinitionKey(d.TaskDefinitionARN))
	if err != nil {
		return err
	}
	cpu, _ := strconv.Atoi(*td.Val.Definition.Cpu)
	mem, _ := strconv.Atoi(*td.Val.Definition.Memory)
	if ok, err := state.Fits(tx, mem, memory); err != nil {
		return err
	} else if !ok {
		s.once("placement", "memory", fmt.Sprintf("was unable to place a task because no container instance met all of its requirements. "+
			"The closest matching (container-instance %s) has insufficient memory available. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.", machineID))
		s.lookAgain(5 * time.Second) // memory may come free by tasks of others
		return nil
	}
	delete(s.status.Noted, "placement")
	t := state.Task{
		Scope: svc.Scope, ID: newID(), Cluster: svc.Cluster, TaskDefinitionARN: d.TaskDefinitionARN, Group: "service:" + svc.Name, Service: svc.Name,
		Deployment: d.ID, StartedBy: d.ID, LaunchType: d.LaunchType, PlatformVersion: d.PlatformVersion, CPU: cpu, Memory: mem,
		Network: d.Network, LoadBalancers: d.LoadBalancers, Images: s.status.Deployments[d.ID].Images, Tags: s.tags(td.Val), CreatedAt: s.now,
	}
	o := store.Object[state.Task]{Key: t.Key(), Val: t}
	if err := state.Tasks.Put(tx, &o); err != nil {
		return err
	}
	s.tasks = append(s.tasks, member{task: t, status: state.TaskStatus{LastStatus: "PROVISIONING"}})
	s.status.Steady = false
	return nil
}

// Private

// machineID stands for this machine where AWS names a container instance.
const machineID = "00000000000000000000000000000001"

func newID() string {
	b := make([]byte, 16)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// newDigits gives 19 digits, as in deployment and revision ids. They carry no order.
func newDigits() string {
	n, _ := rand.Int(rand.Reader, big.NewInt(8e18))
	return strconv.FormatInt(n.Int64()+1e18, 10)
}

func newEventID() string { return uuid.NewString() }

func (s *service) member(id string) *member {
	i := slices.IndexFunc(s.tasks, func(m member) bool { return m.task.ID == id })
	return &s.tasks[i]
}

func (s *service) tags(td state.TaskDefinition) map[string]string {
	m := map[string]string{}
	svc := s.svc.Val
	if svc.ManagedTags {
		m["aws:ecs:clusterName"], m["aws:ecs:serviceName"] = svc.Cluster, svc.Name
	}
	var from map[string]string
	switch svc.PropagateTags {
	case "SERVICE":
		from = svc.Tags
	case "TASK_DEFINITION":
		from = td.Tags
	}
	for k, v := range from {
		m[k] = v
	}
	return m
}

// lookAgain notes the earliest moment at which time alone may change something.
func (s *service) lookAgain(d time.Duration) {
	if d > 0 && (s.again == 0 || d < s.again) {
		s.again = d
	}
}
