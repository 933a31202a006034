package scheduler

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

var here = arn.Scope{Account: "000000000000", Region: "us-east-1"}

// T is what both *testing.T and *rapid.T give.
type T interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
	Errorf(string, ...any)
}

// A bench is the controller over a real store, with a service "web" in cluster "c". The test plays
// the API, the task controller and the target controller: it writes what these would write.
type bench struct {
	t       T
	db      *store.DB
	c       *Controller
	clock   time.Time
	fault   func(string)
	memory  int
	strict  bool
	subnets []string // of new deployments
	group   string   // ARN of the target group; "" without a balancer
	next    int      // last byte of the next task's address
	killed  int      // how often the controller was killed
	again   time.Duration
	onApply func() // after every pass that changed something
}

var errKilled = errors.New("killed")

// newBench makes the surroundings; with a balancer tasks are healthy when their targets are.
func newBench(t testing.TB, balancer bool) *bench {
	t.Helper()
	dir := t.TempDir()
	if d, err := os.MkdirTemp("/dev/shm", "lotse-test-"); err == nil { // these tests write much and never lose power
		dir = d
		t.Cleanup(func() { os.RemoveAll(d) })
	}
	b := &bench{t: t, clock: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), next: 4}
	db, err := store.Open(filepath.Join(dir, "db"), store.Options{Now: func() time.Time { return b.clock }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	b.db = db
	b.start()
	g := state.TargetGroup{Scope: here, Name: "g", ID: "0123456789abcdef", TargetType: "ip"}
	b.update(func(tx *store.WriteTx) error {
		for rev := 1; rev <= 9; rev++ {
			a := here.ARN("ecs", fmt.Sprintf("task-definition/web:%d", rev))
			td := state.TaskDefinition{Scope: here, Definition: ecstypes.TaskDefinition{TaskDefinitionArn: &a, Cpu: aws.String("256"), Memory: aws.String("512")}}
			if err := state.TaskDefinitions.Put(tx, &store.Object[state.TaskDefinition]{Key: state.TaskDefinitionKey(a), Val: td}); err != nil {
				return err
			}
		}
		return state.TargetGroups.Put(tx, &store.Object[state.TargetGroup]{Key: g.Key(), Val: g})
	})
	if balancer {
		b.group = g.ARN()
	}
	return b
}

// start makes a controller, as a server does that comes up.
func (b *bench) start() {
	b.c = New(Options{DB: b.db, Memory: b.memory, StrictTiming: b.strict, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Fault: func(p string) {
		if b.fault != nil {
			b.fault(p)
		}
	}})
}

const serviceKey = "000000000000/us-east-1/c/web"

func (b *bench) update(fn func(tx *store.WriteTx) error) {
	b.t.Helper()
	if err := b.db.Update(background, fn); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) view(fn func(tx *store.ReadTx) error) {
	b.t.Helper()
	if err := b.db.View(background, fn); err != nil {
		b.t.Fatal(err)
	}
}

// create makes the service and its first deployment, of revision 1, as the API would.
func (b *bench) create(desired int, change ...func(*state.Service)) string {
	b.t.Helper()
	s := state.Service{Scope: here, Cluster: "c", Name: "web", DesiredCount: desired, MinimumHealthy: 100, Maximum: 200}
	if b.group != "" {
		s.RoleARN = "role"
	}
	for _, f := range change {
		f(&s)
	}
	b.update(func(tx *store.WriteTx) error {
		s.CreatedAt = tx.Now()
		return state.Services.Put(tx, &store.Object[state.Service]{Key: s.Key(), Val: s})
	})
	return b.deploy(1)
}

// deploy makes a deployment of a revision and returns its ID, ecs-svc/1 for the first.
func (b *bench) deploy(revision int) string {
	b.t.Helper()
	id := ""
	b.update(func(tx *store.WriteTx) error { // one, as UpdateService's: between two the controller would see half of it
		o, err := state.Services.Get(tx, serviceKey)
		if err != nil {
			return err
		}
		o.Val.Sequence++
		n := o.Val.Sequence
		id = fmt.Sprint("ecs-svc/", n)
		if err := state.Services.Put(tx, &o); err != nil {
			return err
		}
		d := state.Deployment{Sequence: n, ID: id, RevisionID: fmt.Sprint("rev-", n), TaskDefinitionARN: here.ARN("ecs", fmt.Sprintf("task-definition/web:%d", revision)),
			LaunchType: "FARGATE", PlatformVersion: "1.4.0", CreatedAt: tx.Now(), Network: state.AwsvpcConfiguration{Subnets: b.subnets}}
		if b.group != "" {
			d.LoadBalancers = []state.ServiceLoadBalancer{{TargetGroupARN: b.group, Container: "app", Port: 8080}}
		}
		return state.Deployments.Put(tx, &store.Object[state.Deployment]{Key: serviceKey + fmt.Sprintf("/%010d", n), Val: d})
	})
	return id
}

// change changes the service, as UpdateService and DeleteService would.
func (b *bench) change(f func(*state.Service)) {
	b.t.Helper()
	b.update(func(tx *store.WriteTx) error {
		o, err := state.Services.Get(tx, serviceKey)
		if err != nil {
			return err
		}
		f(&o.Val)
		return state.Services.Put(tx, &o)
	})
}

// reconcile lets the controller work until it has nothing more to do. One that is killed comes up
// again. Each pass takes a millisecond.
func (b *bench) reconcile() {
	b.t.Helper()
	for range 50 {
		b.clock = b.clock.Add(time.Millisecond)
		before := b.rev()
		if b.pass() {
			continue
		}
		if b.rev() == before {
			return
		}
		if b.onApply != nil {
			b.onApply()
		}
	}
	b.t.Fatal("the controller writes for ever")
}

// pass is one call of Reconcile; it reports whether the controller was killed in it.
func (b *bench) pass() (killed bool) {
	b.t.Helper()
	defer func() {
		if p := recover(); p != nil {
			if p != errKilled {
				panic(p)
			}
			b.killed++
			killed = true
			b.start()
		}
	}()
	again, err := b.c.Reconcile(background, serviceKey)
	if err != nil {
		b.t.Fatal(err)
	}
	b.again = again
	return false
}

func (b *bench) rev() store.Rev {
	r, err := b.db.Rev(background)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// pause lets time pass, then the controller look.
func (b *bench) pause(d time.Duration) {
	b.t.Helper()
	b.clock = b.clock.Add(d)
	b.reconcile()
}

// A row is one task as it stands.
type row struct {
	state.Task
	status state.TaskStatus
	health string
}

// tasks lists the service's tasks that are not STOPPED, oldest first.
func (b *bench) tasks() []row {
	b.t.Helper()
	return slices.DeleteFunc(b.allTasks(), func(r row) bool { return r.status.LastStatus == "STOPPED" })
}

func (b *bench) allTasks() []row {
	b.t.Helper()
	var out []row
	b.view(func(tx *store.ReadTx) error {
		for o, err := range state.Tasks.List(tx, here.Key("c", "")) {
			if err != nil {
				return err
			}
			r := row{Task: o.Val, status: state.TaskStatus{LastStatus: "PROVISIONING"}}
			if st, err := state.TaskStatuses.Get(tx, o.Key); err == nil {
				r.status = st.Val
			} else if !errors.Is(err, store.ErrNotFound) {
				return err
			}
			for _, key := range r.status.Targets {
				if h, err := state.TargetHealths.Get(tx, key); err == nil {
					r.health = h.Val.State
				}
			}
			out = append(out, r)
		}
		return nil
	})
	slices.SortStableFunc(out, func(a, b row) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return out
}

// of are the tasks of a deployment that are not told to stop.
func (b *bench) of(deployment string) []row {
	b.t.Helper()
	return slices.DeleteFunc(b.tasks(), func(r row) bool { return r.Deployment != deployment || r.Stop != nil || r.status.Stop != nil })
}

func (b *bench) setStatus(r row, f func(tx *store.WriteTx, st *state.TaskStatus) error) {
	b.t.Helper()
	b.update(func(tx *store.WriteTx) error {
		o, err := state.TaskStatuses.Get(tx, r.Key())
		if errors.Is(err, store.ErrNotFound) {
			o = store.Object[state.TaskStatus]{Key: r.Key(), Val: state.TaskStatus{LastStatus: "PROVISIONING"}}
		} else if err != nil {
			return err
		}
		if err := f(tx, &o.Val); err != nil {
			return err
		}
		return state.TaskStatuses.Put(tx, &o)
	})
}

// run brings tasks to RUNNING and registers them, as package task does.
func (b *bench) run(rs ...row) {
	b.t.Helper()
	for _, r := range rs {
		b.setStatus(r, func(tx *store.WriteTx, st *state.TaskStatus) error {
			b.next++
			st.Address = fmt.Sprintf("172.31.%d.%d", b.next/250, b.next%250+4)
			st.LastStatus, st.StartedAt = "RUNNING", tx.Now()
			st.Done = append(st.Done, "pull", "start", "register")
			st.Containers = []state.ContainerStatus{{Name: "app", Digest: "sha256:" + r.TaskDefinitionARN[len(r.TaskDefinitionARN)-1:]}}
			for _, lb := range r.LoadBalancers {
				key, err := state.RegisterTarget(tx, lb.TargetGroupARN, st.Address, lb.Port, "")
				if errors.Is(err, store.ErrNotFound) {
					continue
				}
				if err != nil {
					return err
				}
				st.Targets = append(st.Targets, key)
			}
			return nil
		})
	}
}

// health writes what the balancer says of the tasks' targets.
func (b *bench) health(word, description string, rs ...row) {
	b.t.Helper()
	for _, r := range rs {
		b.update(func(tx *store.WriteTx) error {
			st, err := state.TaskStatuses.Get(tx, r.Key())
			if err != nil {
				return err
			}
			for _, key := range st.Val.Targets {
				h, err := state.TargetHealths.Get(tx, key)
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					return err
				}
				h.Key, h.Val = key, state.TargetHealth{State: word, Description: description}
				if err := state.TargetHealths.Put(tx, &h); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// up brings all of a deployment's tasks to RUNNING and, with a balancer, to healthy.
func (b *bench) up(deployment string) {
	b.t.Helper()
	for _, r := range b.of(deployment) {
		if r.status.LastStatus != "RUNNING" {
			b.run(r)
		}
	}
	b.health("healthy", "", b.of(deployment)...)
}

// exit ends a task by itself.
func (b *bench) exit(code, reason string, rs ...row) {
	b.t.Helper()
	for _, r := range rs {
		b.setStatus(r, func(tx *store.WriteTx, st *state.TaskStatus) error {
			st.Stop = &state.Stop{At: tx.Now(), Code: code, Reason: reason}
			return nil
		})
	}
}

// drain takes a stopping task out of its groups.
func (b *bench) drain(rs ...row) {
	b.t.Helper()
	for _, r := range rs {
		b.setStatus(r, func(tx *store.WriteTx, st *state.TaskStatus) error {
			if st.Stop == nil {
				st.Stop = r.Stop
			}
			st.LastStatus = "DEACTIVATING"
			st.Done = append(st.Done, "deregister")
			for _, key := range st.Targets {
				if err := state.DeregisterTarget(tx, key); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// end brings a stopping task to STOPPED; its targets are gone then.
func (b *bench) end(rs ...row) {
	b.t.Helper()
	for _, r := range rs {
		b.setStatus(r, func(tx *store.WriteTx, st *state.TaskStatus) error {
			if st.Stop == nil {
				st.Stop = r.Stop
			}
			if !st.Is("deregister") {
				st.Done = append(st.Done, "deregister")
			}
			st.LastStatus, st.StoppedAt = "STOPPED", tx.Now()
			for _, key := range st.Targets {
				if err := state.Targets.Delete(tx, key, 0); err != nil && !errors.Is(err, store.ErrNotFound) {
					return err
				}
				if err := state.TargetHealths.Delete(tx, key, 0); err != nil && !errors.Is(err, store.ErrNotFound) {
					return err
				}
			}
			return nil
		})
	}
}

// stopping are the tasks that are told to stop, or stop by themselves.
func (b *bench) stopping() []row {
	b.t.Helper()
	return slices.DeleteFunc(b.tasks(), func(r row) bool { return r.Stop == nil && r.status.Stop == nil })
}

// settle plays on until nothing moves: tasks come up healthy, stopping ones end.
func (b *bench) settle() {
	b.t.Helper()
	for range 60 {
		before := b.rev()
		b.pause(settleTime)
		for _, r := range b.tasks() {
			switch {
			case r.Stop != nil || r.status.Stop != nil:
				if !r.status.Is("deregister") {
					b.drain(r)
					b.reconcile()
				}
				b.end(r)
			case r.status.LastStatus != "RUNNING":
				b.run(r)
			case r.health != "healthy" && b.group != "":
				b.health("healthy", "", r)
			}
		}
		b.reconcile()
		if b.again > 0 {
			b.clock = b.clock.Add(b.again)
			continue
		}
		if b.rev() == before {
			return
		}
	}
	b.t.Fatalf("does not come to rest; events:\n%s", strings.Join(b.events(), "\n"))
}

func (b *bench) status() state.ServiceStatus {
	b.t.Helper()
	var st state.ServiceStatus
	b.view(func(tx *store.ReadTx) error {
		o, err := state.ServiceStatuses.Get(tx, serviceKey)
		st = o.Val
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		for d, err := range state.Deployments.List(tx, serviceKey+"/") { // those that are Gone are kept apart
			if err != nil {
				return err
			}
			if st.Deployments[d.Val.ID], err = state.StatusOf(tx, b.service(), st, d.Val); err != nil {
				return err
			}
		}
		return err
	})
	return st
}

func (b *bench) service() state.Service {
	b.t.Helper()
	var s state.Service
	b.view(func(tx *store.ReadTx) error {
		o, err := state.Services.Get(tx, serviceKey)
		s = o.Val
		return err
	})
	return s
}

var (
	taskID  = regexp.MustCompile(`\(task [0-9a-f]{32}\)`)
	randoms = regexp.MustCompile(`ecs-svc/[0-9]{19}`)
)

// events are the service's events, oldest first, with T for every task, G for the target group and
// R for the ID of a rollback.
func (b *bench) events() []string {
	b.t.Helper()
	var out []string
	for _, e := range slices.Backward(b.status().Events) {
		m := taskID.ReplaceAllString(e.Message, "(T)")
		m = randoms.ReplaceAllString(m, "R")
		if b.group != "" {
			m = strings.ReplaceAll(m, b.group, "G")
		}
		out = append(out, m)
	}
	return out
}

// newEvents are those since the last call, given how many there were.
func (b *bench) newEvents(seen *int) []string {
	b.t.Helper()
	all := b.events()
	out := all[*seen:]
	*seen = len(all)
	return out
}

// loseTarget takes a task's target out of the group by hand.
func (b *bench) loseTarget(r row) {
	b.t.Helper()
	b.update(func(tx *store.WriteTx) error {
		return state.DeregisterTarget(tx, here.Key("g", "0123456789abcdef")+"/"+net.JoinHostPort(r.status.Address, "8080"))
	})
}
