package scheduler

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net"
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
	deployments []state.Deployment    // newest first, without those that are Gone
	tasks       []member              // that are not STOPPED, or have become so since the last pass; oldest first
	zones       []string              // of the primary's subnets, if the service is to be balanced over several
	actions     []state.ServiceAction // of this pass, for the log
	now         time.Time
	again       time.Duration // when to look again although nothing changed
}

// A member is a task of the service.
type member struct {
	task    state.Task
	status  state.TaskStatus
	targets []target // one for each of the task's load balancers, once it has registered
}

// A target is a task in one target group.
type target struct {
	state.ServiceLoadBalancer
	state.TargetHealth      // State "" when not known yet
	noGroup            bool // the group had been deleted when the task came to register
	lost               bool // somebody else took the target out of the group
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
	if s.deployments, err = state.LiveDeployments(tx, o.Val, s.status); err != nil {
		return nil, err
	}
	slices.Reverse(s.deployments)
	for t, err := range state.TasksOf(tx, key) {
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(s.deployments, func(d state.Deployment) bool { return d.ID == t.Val.Deployment }) {
			continue // of a deployment that is Gone: all its tasks have ended, and been told of
		}
		m, err := loadMember(tx, t)
		if err != nil {
			return nil, err
		}
		s.tasks = append(s.tasks, m)
	}
	if o.Val.Rebalance && len(s.deployments) > 0 {
		if s.zones, err = zonesOf(tx, o.Val.Scope, s.deployments[0]); err != nil {
			return nil, err
		}
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
	if !m.status.Is("register") {
		return m, nil
	}
	for _, lb := range m.task.LoadBalancers {
		tg, err := loadTarget(tx, m, lb)
		if err != nil {
			return m, err
		}
		m.targets = append(m.targets, tg)
	}
	return m, nil
}

func loadTarget(tx store.Reader, m member, lb state.ServiceLoadBalancer) (target, error) {
	tg := target{ServiceLoadBalancer: lb}
	key := state.ELBKey(m.task.Scope, "targetgroup", lb.TargetGroupARN) + "/" + net.JoinHostPort(m.status.Address, strconv.Itoa(lb.Port))
	if !slices.Contains(m.status.Targets, key) {
		tg.noGroup = true
		return tg, nil
	}
	t, err := state.Targets.Get(tx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return tg, err
	}
	tg.lost = err != nil || !t.Val.DeregisteredAt.IsZero()
	h, err := state.TargetHealths.Get(tx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return tg, err
	}
	tg.TargetHealth = h.Val
	return tg, nil
}

// stopped reports that nothing of the task is left.
func (m member) stopped() bool { return m.status.LastStatus == "STOPPED" }

// stopping reports that the task ends or has ended.
func (m member) stopping() bool { return m.task.Stop != nil || m.status.Stop != nil }

// healthy is what counts for the lower bound. Source: DG deployment-type-ecs: with health checks of essential containers
// those must be HEALTHY, with a load balancer the task must be healthy in every target group, too.
func (m member) healthy(now time.Time) (ok bool, wait time.Duration) {
	if m.status.LastStatus != "RUNNING" || m.stopping() {
		return false, 0
	}
	health := m.status.Health()
	if health != "" && health != state.Healthy {
		return false, 0
	}
	if len(m.task.LoadBalancers) == 0 && health == state.Healthy {
		return true, 0
	}
	if len(m.task.LoadBalancers) == 0 {
		left := m.status.StartedAt.Add(settleTime).Sub(now)
		return left <= 0, max(0, left)
	}
	if len(m.targets) == 0 {
		return false, 0
	}
	for _, t := range m.targets {
		if t.State != "healthy" || t.lost {
			return false, 0
		}
	}
	return true, 0
}

// failed reports failing health checks, or a target that was taken away, after the grace period.
func (m member) failed(now time.Time, grace time.Duration) (ok bool, wait time.Duration) {
	if m.stopping() {
		return false, 0
	}
	if m.status.Health() == state.Unhealthy { // also while a container waits for it to become HEALTHY
		left := m.begun().Add(grace).Sub(now)
		return left <= 0, max(0, left)
	}
	if m.status.LastStatus != "RUNNING" {
		return false, 0
	}
	for _, t := range m.targets {
		if t.State == "unhealthy" || t.lost {
			left := m.status.StartedAt.Add(grace).Sub(now)
			return left <= 0, max(0, left)
		}
	}
	return false, 0
}

// begun is when the task started, or was made when it has not started yet.
func (m member) begun() time.Time {
	if m.status.StartedAt.IsZero() {
		return m.task.CreatedAt
	}
	return m.status.StartedAt
}

// grace is how long after a task's start failing health is ignored.
func (s *service) grace() time.Duration { return time.Duration(s.svc.Val.GracePeriod) * time.Second }

// view is what plan sees.
func (s *service) view() View {
	svc := s.svc.Val
	v := View{Desired: svc.DesiredCount, MinimumHealthy: svc.MinimumHealthy, Maximum: svc.Maximum, Zones: s.zones}
	for _, d := range s.deployments {
		st := s.status.Deployments[d.ID]
		v.Deployments = append(v.Deployments, DeploymentView{
			ID: d.ID, Completed: st.RolloutState == "COMPLETED", Failed: st.RolloutState == "FAILED", Wait: throttle(st, svc.DesiredCount, s.now)})
	}
	for _, m := range s.tasks {
		if m.stopped() {
			continue
		}
		healthy, w1 := m.healthy(s.now)
		failed, w2 := m.failed(s.now, s.grace())
		s.lookAgain(w1)
		s.lookAgain(w2)
		v.Tasks = append(v.Tasks, TaskView{ID: m.task.ID, Deployment: m.task.Deployment, CreatedAt: m.task.CreatedAt,
			Stopping: m.stopping(), Healthy: healthy, Settling: w1 > 0, Failed: failed, Protected: s.protected(m), Zone: m.zone(), Rebalances: m.task.Rebalances && !healthy})
	}
	return v
}

// protected reports whether a task is to be left alone, and notes when that ends. Who deletes the
// service ends its tasks.
func (s *service) protected(m member) bool {
	left := m.task.ProtectedUntil.Sub(s.now)
	if left <= 0 || !s.svc.Val.DeletedAt.IsZero() {
		return false
	}
	s.lookAgain(left)
	return true
}

// apply writes what the plan says.
func (s *service) apply(tx *store.WriteTx, p Plan, memory int) error {
	if len(p.Start)+len(p.Stop) > 0 {
		s.status.Steady = false
	}
	for _, st := range p.Stop {
		m := s.member(st.Task)
		o, err := state.Tasks.Get(tx, m.task.Key())
		if err != nil {
			return err
		}
		o.Val.Stop = &state.Stop{At: s.now, Code: "ServiceSchedulerInitiated", Reason: s.stopReason(m, st.Reason)}
		if err := state.Tasks.Put(tx, &o); err != nil {
			return err
		}
		m.task = o.Val
		s.act(state.ServiceAction{Deployment: m.task.Deployment, Task: m.task.ID, What: "STOP", Why: o.Val.Stop.Reason})
	}
	var started []string
	for _, start := range p.Start {
		why := s.whyStart(start, p)
		ids, err := s.launch(tx, start, memory)
		if err != nil {
			return err
		}
		for _, id := range ids {
			s.act(state.ServiceAction{Deployment: start.Deployment, Task: id, What: "START", Why: why})
		}
		if start.Rebalances {
			s.rebalances(ids)
		} else {
			started = append(started, ids...)
		}
	}
	s.started(started, p.Replaces)
	// Source: events as published by users of the real service.
	if primary := s.primary(); p.Again > 0 && s.status.Deployments[primary].FailedTasks >= freeFailures {
		s.once("throttle", primary, "is unable to consistently start tasks successfully. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.")
	}
	if p.Protected {
		s.once("protected", s.primary(), "was unable to reach steady state because task set ("+s.primary()+") was unable to scale in. "+
			"Reason: The number of protected tasks are more than the desired count of tasks")
	} else {
		delete(s.status.Noted, "protected")
	}
	if p.Blocked {
		s.once("blocked", s.primary(), "was unable to stop or start tasks during a deployment because of the service deployment configuration. Update the minimumHealthyPercent or maximumPercent value and try again.")
	}
	return nil
}

// primary is the ID of the newest deployment.
func (s *service) primary() string {
	if len(s.deployments) == 0 {
		return ""
	}
	return s.deployments[0].ID
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
		s.status.Steady = false
	}
	served := newestCompleted(v).ID
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
	if s.status.Noted["zones"] != "" && done {
		delete(s.status.Noted, "zones")
		s.event("is AZ balanced with " + zoneList(perZone(v)) + ".")
	}
}

// save writes the status if it has changed, and lets go of the tasks that have ended.
func (s *service) save(tx *store.WriteTx) error {
	told := map[string][]string{}
	for _, m := range s.tasks {
		if m.stopped() { // nothing can become of it any more
			if err := state.ServiceTasks.Delete(tx, m.task.ServiceTaskKey(), 0); err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		} else if facts := s.status.Told[m.task.ID]; len(facts) > 0 {
			told[m.task.ID] = facts
		}
	}
	s.status.Told = told
	if err := state.ArchiveDeployments(tx, s.svc.Val, &s.status, s.deployments); err != nil {
		return err
	}
	if err := s.log(tx); err != nil {
		return err
	}
	// The store writes, and wakes us, only if something changed.
	return state.ServiceStatuses.Put(tx, &store.Object[state.ServiceStatus]{Key: s.svc.Key, Rev: s.statusRev, Val: s.status})
}

// launch writes the records of new tasks, as many as the machine has room for.
func (s *service) launch(tx *store.WriteTx, start Start, memory int) (ids []string, err error) {
	i := slices.IndexFunc(s.deployments, func(d state.Deployment) bool { return d.ID == start.Deployment })
	d, svc := s.deployments[i], s.svc.Val
	td, err := state.TaskDefinitions.Get(tx, state.TaskDefinitionKey(d.TaskDefinitionARN))
	if err != nil {
		return nil, err
	}
	def := td.Val.Definition
	for _, role := range []*string{def.ExecutionRoleArn, def.TaskRoleArn} {
		if ok, err := s.mayAssume(tx, role); err != nil || !ok {
			return nil, err
		}
	}
	cpu, err := strconv.Atoi(*def.Cpu)
	if err != nil {
		return nil, fmt.Errorf("cpu of %s: %w", d.TaskDefinitionARN, err)
	}
	mem, err := strconv.Atoi(*def.Memory)
	if err != nil {
		return nil, fmt.Errorf("memory of %s: %w", d.TaskDefinitionARN, err)
	}
	place, err := s.placement(tx, d)
	if err != nil {
		return nil, err
	}
	for range start.Count {
		t := state.Task{
			Scope: svc.Scope, ID: newID(), Cluster: svc.Cluster, TaskDefinitionARN: d.TaskDefinitionARN, Group: "service:" + svc.Name, Service: svc.Name,
			Deployment: d.ID, StartedBy: d.ID, LaunchType: d.LaunchType, PlatformVersion: d.PlatformVersion, CPU: cpu, Memory: mem,
			Network: d.Network, LoadBalancers: d.LoadBalancers, Images: s.status.Deployments[d.ID].Images, Tags: s.tags(td.Val), CreatedAt: s.now,
			Rebalances: start.Rebalances,
		}
		place.put(&t)
		if ok, err := state.AddTask(tx, t, memory); err != nil {
			return ids, err
		} else if !ok {
			s.once("placement", "memory", fmt.Sprintf("was unable to place a task because no container instance met all of its requirements. "+
				"The closest matching (container-instance %s) has insufficient memory available. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.", machineID))
			s.lookAgain(tryAgain) // memory may come free by tasks of others
			return ids, nil
		}
		delete(s.status.Noted, "placement")
		s.tasks = append(s.tasks, member{task: t, status: state.TaskStatus{LastStatus: "PROVISIONING"}})
		ids = append(ids, t.ID)
	}
	return ids, nil
}

// mayAssume looks that a role which the tasks need is there and trusts ECS.
func (s *service) mayAssume(tx store.Reader, role *string) (bool, error) {
	if role == nil || *role == "" {
		return true, nil
	}
	ok, err := state.RoleTrusts(tx, s.svc.Val.Scope.Account, *role, "ecs-tasks.amazonaws.com")
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, err
	}
	if ok {
		delete(s.status.Noted, "role "+*role)
		return true, nil
	}
	// Source: events as published by users of the real service.
	s.once("role "+*role, "assume", "failed to launch a task with (error "+state.CannotAssume(*role)+").")
	s.lookAgain(tryAgain)
	return false, nil
}

// Private

// tryAgain is after how long a launch is tried again that the machine or a role did not allow.
const tryAgain = 5 * time.Second

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
func (s *service) lookAgain(d time.Duration) { s.again = sooner(s.again, d) }
