package task

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/runtime"
	"github.com/lotse-project/lotse/internal/runtime/fake"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

var here = arn.Scope{Account: "000000000000", Region: "us-east-1"}

// A bench is a controller with what it works on.
type bench struct {
	t       *testing.T
	db      *store.DB
	engine  *fake.Engine
	applied int
	resolve func(ref string) (runtime.Image, error)
	groups  map[string]bool
	fault   func(string)
	c       *Controller
	key     string
	subnet  string
}

func newBench(t *testing.T, change ...func(*state.Task, *ecstypes.TaskDefinition)) *bench {
	db, err := store.Open(filepath.Join(t.TempDir(), "db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	b := &bench{t: t, db: db, engine: &fake.Engine{}, groups: map[string]bool{"there": true}}
	b.resolve = func(ref string) (runtime.Image, error) { return runtime.Image{Digest: "sha256:" + ref}, nil }
	b.start()
	t.Cleanup(func() { b.c.checks.end() })
	err = db.Update(t.Context(), func(tx *store.WriteTx) error {
		if err := state.EnsureDefaultVPC(tx, here, netip.MustParsePrefix("172.31.0.0/16")); err != nil {
			return err
		}
		for s, err := range state.Subnets.List(tx, here.Key()) {
			if err != nil {
				return err
			}
			b.subnet = s.Val.ID
		}
		td := state.TaskDefinition{}
		td.Definition.ContainerDefinitions = []ecstypes.ContainerDefinition{{Name: aws.String("app"), Image: aws.String("app:1"), Essential: aws.Bool(true)}}
		arnTD := here.ARN("ecs", "task-definition/f:1")
		task := state.Task{Scope: here, ID: strings.Repeat("ab", 16), Cluster: "default", TaskDefinitionARN: arnTD, CPU: 256, Memory: 512,
			Network: state.AwsvpcConfiguration{Subnets: []string{b.subnet}}, CreatedAt: tx.Now()}
		for _, f := range change {
			f(&task, &td.Definition)
		}
		b.key = task.Key()
		if err := state.TaskDefinitions.Put(tx, &store.Object[state.TaskDefinition]{Key: state.TaskDefinitionKey(arnTD), Val: td}); err != nil {
			return err
		}
		return state.Tasks.Put(tx, &store.Object[state.Task]{Key: b.key, Val: task})
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// start makes a controller, as a server does that comes up.
func (b *bench) start() {
	if b.c != nil {
		b.c.checks.end()
	}
	b.c = New(Options{
		DB: b.db, Engine: b.engine,
		Apply: func(context.Context, arn.Scope, string) error { b.applied++; return nil },
		Netns: func(id string) string { return "/run/x/" + id },
		Resolve: func(_ context.Context, ref string, _ arn.Scope) (runtime.Image, error) {
			return b.resolve(ref)
		},
		Stream: func(_ context.Context, _ arn.Scope, group, stream string, create bool) (string, error) {
			if !create && !b.groups[group] {
				return "", fmt.Errorf("group %s: %w", group, store.ErrNotFound)
			}
			return "/logs/" + stream, nil
		},
		Secret: func(_ context.Context, _ arn.Scope, valueFrom string) (string, error) {
			if valueFrom == "gone" {
				return "", &state.InitializationError{Message: "ResourceInitializationError: no parameter gone", Permanent: true}
			}
			return "the value of " + valueFrom, nil
		},
		PublicAddress: func(tx *store.WriteTx, sc arn.Scope, eni string) (string, error) {
			return state.ClaimPublic(tx, sc, eni, netip.MustParsePrefix("127.64.1.0/24"))
		},
		Fault: func(p string) {
			if b.fault != nil {
				b.fault(p)
			}
		},
	})
}

// step reconciles once; a fault that fired is a server that was killed, and the next one comes up.
func (b *bench) step() time.Duration {
	b.t.Helper()
	var wait time.Duration
	func() {
		defer func() {
			if p := recover(); p != nil {
				if p != errKilled {
					panic(p)
				}
				b.start()
				wait = time.Nanosecond
			}
		}()
		w, err := b.c.Reconcile(b.t.Context(), b.key)
		if err != nil {
			b.t.Fatal(err)
		}
		wait = w
	}()
	return wait
}

var errKilled = errors.New("killed")

// until reconciles until the task has the status.
func (b *bench) until(status string) state.TaskStatus {
	b.t.Helper()
	for range 200 {
		wait := b.step()
		if st := b.status(); st.LastStatus == status && wait != time.Nanosecond {
			return st
		}
		time.Sleep(min(wait, 5*time.Millisecond))
	}
	b.t.Fatalf("never became %s: %+v", status, b.status())
	return state.TaskStatus{}
}

func (b *bench) status() state.TaskStatus {
	b.t.Helper()
	var st state.TaskStatus
	err := b.db.View(b.t.Context(), func(tx *store.ReadTx) error {
		o, err := state.TaskStatuses.Get(tx, b.key)
		st = o.Val
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return st
}

func (b *bench) stopTask(reason string) {
	b.t.Helper()
	err := b.db.Update(b.t.Context(), func(tx *store.WriteTx) error {
		o, err := state.Tasks.Get(tx, b.key)
		if err != nil {
			return err
		}
		o.Val.Stop = &state.Stop{At: tx.Now(), Code: "UserInitiated", Reason: reason}
		return state.Tasks.Put(tx, &o)
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) interfaces() (n int) {
	b.t.Helper()
	err := b.db.View(b.t.Context(), func(tx *store.ReadTx) error {
		for _, err := range state.NetworkInterfaces.List(tx, here.Key()) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

func TestLife(t *testing.T) {
	b := newBench(t)
	st := b.until("RUNNING")
	if st.Address == "" || st.ENI == "" || st.Containers[0].LastStatus != "RUNNING" || st.Containers[0].Digest != "sha256:app:1" {
		t.Errorf("running: %+v", st)
	}
	spec, ok := b.engine.Spec(strings.Repeat("ab", 16))
	if !ok || spec.Netns != "/run/x/"+strings.Repeat("ab", 16) || spec.Memory != 512<<20 || spec.CPU != 256 {
		t.Errorf("spec: %+v", spec)
	}
	if !strings.Contains(spec.Resolv, "nameserver 172.31.0.2") {
		t.Errorf("resolv.conf: %q", spec.Resolv)
	}
	b.stopTask("enough")
	st = b.until("STOPPED")
	if st.Stop.Reason != "enough" || st.Containers[0].ExitCode == nil || *st.Containers[0].ExitCode != 0 {
		t.Errorf("stopped: %+v", st)
	}
	if n := b.interfaces(); n != 0 {
		t.Errorf("%d interfaces left", n)
	}
	if all, _ := b.engine.List(t.Context()); len(all) != 0 {
		t.Errorf("the engine still has %v", all)
	}
}

// A server killed before or after any step goes on with the next start, and the task's life is
// the same: nothing runs twice, nothing stays.
func TestLife_killedAtEachStep(t *testing.T) {
	var points []string
	for _, s := range append(append([]*step{}, up...), down...) {
		points = append(points, "task."+s.name+":before", "task."+s.name+":after")
	}
	for _, point := range points {
		t.Run(point, func(t *testing.T) {
			b := newBench(t)
			fired := false
			b.fault = func(p string) {
				if p == point && !fired {
					fired = true
					panic(errKilled)
				}
			}
			b.until("RUNNING")
			b.stopTask("enough")
			st := b.until("STOPPED")
			if !fired {
				t.Fatal("the point was never reached")
			}
			if st.Stop.Reason != "enough" || *st.Containers[0].ExitCode != 0 {
				t.Errorf("%+v", st)
			}
			if n := b.interfaces(); n != 0 {
				t.Errorf("%d interfaces left", n)
			}
		})
	}
}

func TestEssentialContainerExits(t *testing.T) {
	b := newBench(t)
	b.until("RUNNING")
	b.engine.Exit(strings.Repeat("ab", 16), "app", 3)
	st := b.until("STOPPED")
	if st.Stop.Code != "EssentialContainerExited" || st.Stop.Reason != "Essential container in task exited" || *st.Containers[0].ExitCode != 3 {
		t.Errorf("%+v %+v", st.Stop, st.Containers)
	}
}

func TestOutOfMemory(t *testing.T) {
	b := newBench(t)
	b.until("RUNNING")
	b.engine.OOM(strings.Repeat("ab", 16), "app")
	st := b.until("STOPPED")
	if !strings.HasPrefix(st.Containers[0].Reason, "OutOfMemoryError") || *st.Containers[0].ExitCode != 137 {
		t.Errorf("%+v", st.Containers)
	}
}

func TestImageNotFound(t *testing.T) {
	b := newBench(t)
	b.resolve = func(string) (runtime.Image, error) { return runtime.Image{}, &ImageError{"app:1: not found"} }
	st := b.until("STOPPED")
	if st.Stop.Code != "TaskFailedToStart" || !strings.Contains(st.Stop.Reason, "CannotPullContainerError: app:1: not found") {
		t.Errorf("%+v", st.Stop)
	}
	if n := b.interfaces(); n != 0 {
		t.Errorf("%d interfaces left", n)
	}
}

func TestLogGroupMissing(t *testing.T) {
	logs := func(_ *state.Task, d *ecstypes.TaskDefinition) {
		d.ContainerDefinitions[0].LogConfiguration = &ecstypes.LogConfiguration{LogDriver: "awslogs",
			Options: map[string]string{"awslogs-group": "gone", "awslogs-stream-prefix": "p"}}
	}
	b := newBench(t, logs)
	st := b.until("STOPPED")
	if !strings.Contains(st.Stop.Reason, "ResourceInitializationError") {
		t.Errorf("%+v", st.Stop)
	}
	b = newBench(t, logs)
	b.groups["gone"] = true
	st = b.until("RUNNING")
	if want := "p/app/" + strings.Repeat("ab", 16); st.Containers[0].LogStream != want {
		t.Errorf("stream %q, want %q", st.Containers[0].LogStream, want)
	}
}

func TestPublicAddress(t *testing.T) {
	b := newBench(t, func(task *state.Task, _ *ecstypes.TaskDefinition) { task.Network.AssignPublicIP = true })
	st := b.until("RUNNING")
	if !netip.MustParsePrefix("127.64.1.0/24").Contains(netip.MustParseAddr(st.Public)) {
		t.Errorf("public address %q", st.Public)
	}
	err := b.db.View(t.Context(), func(tx *store.ReadTx) error {
		e, err := state.NetworkInterfaces.Get(tx, here.Key(st.ENI))
		if err == nil && e.Val.Public != st.Public {
			t.Errorf("the interface has %q", e.Val.Public)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Stopping a process that ignores SIGTERM ends with SIGKILL after stopTimeout, not before.
func TestStopTimeout(t *testing.T) {
	b := newBench(t, func(_ *state.Task, d *ecstypes.TaskDefinition) { d.ContainerDefinitions[0].StopTimeout = aws.Int32(1) })
	b.engine.Program = func(runtime.TaskSpec, runtime.ContainerSpec) (fake.Program, error) { return fake.Program{}, nil }
	b.until("RUNNING")
	b.stopTask("enough")
	st := b.until("STOPPED")
	if *st.Containers[0].ExitCode != 137 {
		t.Errorf("exit code %d", *st.Containers[0].ExitCode)
	}
	if d := st.ExecutionStoppedAt.Sub(st.StoppingAt); d < time.Second {
		t.Errorf("killed after %v", d)
	}
}

// A task that is a target is deregistered and drained before its containers hear of it.
func TestDrainsBeforeStop(t *testing.T) {
	b := newBench(t)
	group := newGroup(t, b.db)
	err := b.db.Update(t.Context(), func(tx *store.WriteTx) error {
		o, err := state.Tasks.Get(tx, b.key)
		if err != nil {
			return err
		}
		o.Val.LoadBalancers = []state.ServiceLoadBalancer{{TargetGroupARN: group, Container: "app", Port: 8080}}
		return state.Tasks.Put(tx, &o)
	})
	if err != nil {
		t.Fatal(err)
	}
	st := b.until("RUNNING")
	for !b.status().Is("register") {
		b.step()
	}
	b.stopTask("enough")
	for range 10 {
		b.step()
	}
	st = b.status()
	if st.LastStatus != "DEACTIVATING" || !st.StoppingAt.IsZero() {
		t.Fatalf("stopped while draining: %+v", st)
	}
	queued := func(target string) bool {
		before := b.c.loop.Health().Queued
		b.c.Changed(state.Targets.Kind(), target)
		return b.c.loop.Health().Queued > before
	}
	b.c.remember("another", "another")
	if queued(st.Targets[0] + "0") {
		t.Error("news of a target that nobody waits for queues tasks")
	}
	if !queued(st.Targets[0]) || b.c.loop.Health().Queued != 1 {
		t.Errorf("news of the target that is drained queues %d tasks, want the one that waits", b.c.loop.Health().Queued)
	}
	err = b.db.Update(t.Context(), func(tx *store.WriteTx) error { return state.Targets.Delete(tx, st.Targets[0], 0) }) // the balancer is done
	if err != nil {
		t.Fatal(err)
	}
	b.until("STOPPED")
	if len(b.c.draining) != 0 {
		t.Errorf("still waited for: %v", b.c.draining)
	}
}

func newGroup(t *testing.T, db *store.DB) string {
	t.Helper()
	g := state.TargetGroup{Scope: here, Name: "g", ID: "0123456789abcdef"}
	err := db.Update(t.Context(), func(tx *store.WriteTx) error {
		return state.TargetGroups.Put(tx, &store.Object[state.TargetGroup]{Key: g.Key(), Val: g})
	})
	if err != nil {
		t.Fatal(err)
	}
	return g.ARN()
}

// A stopped task can be described as long as history is kept; then its records go. A running one stays.
func TestExpire(t *testing.T) {
	b := newBench(t)
	b.until("RUNNING")
	age := func(d time.Duration) {
		t.Helper()
		err := b.db.Update(t.Context(), func(tx *store.WriteTx) error {
			o, err := state.TaskStatuses.Get(tx, b.key)
			if err != nil {
				return err
			}
			o.Val.StoppedAt = tx.Now().Add(-d)
			return state.TaskStatuses.Put(tx, &o)
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.c.expire(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	b.c.o.History = 3 * time.Hour
	age(100 * b.c.o.History)
	if b.status().LastStatus != "RUNNING" {
		t.Fatal("a running task was forgotten")
	}
	b.stopTask("enough")
	b.until("STOPPED")
	age(b.c.o.History - time.Minute)
	if b.status().LastStatus != "STOPPED" {
		t.Fatal("forgotten too early")
	}
	defined := func(delete bool) bool {
		t.Helper()
		there := false
		err := b.db.Update(t.Context(), func(tx *store.WriteTx) error {
			for td, err := range state.TaskDefinitions.List(tx, "") {
				if err != nil {
					return err
				}
				there = true
				if delete {
					td.Val.Definition.Status = ecstypes.TaskDefinitionStatusDeleteInProgress
					return state.TaskDefinitions.Put(tx, &td)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.c.expireDefinitions(t.Context()); err != nil {
			t.Fatal(err)
		}
		return there
	}
	defined(true)
	if !defined(false) {
		t.Error("the definition of a task that can be described is gone")
	}
	age(b.c.o.History + time.Minute)
	if b.status().LastStatus != "" {
		t.Error("it is still there")
	}
	defined(false)
	if defined(false) {
		t.Error("a definition that was deleted, and that nobody needs, is still there")
	}
}

// Secrets become environment variables; one that can't be had ends the task with AWS's words.
func TestSecrets(t *testing.T) {
	with := func(from string) func(*state.Task, *ecstypes.TaskDefinition) {
		return func(_ *state.Task, d *ecstypes.TaskDefinition) {
			d.ContainerDefinitions[0].Secrets = []ecstypes.Secret{{Name: aws.String("PASSWORD"), ValueFrom: aws.String(from)}}
		}
	}
	b := newBench(t, with("db"))
	b.until("RUNNING")
	spec, _ := b.engine.Spec(strings.Repeat("ab", 16))
	if !slices.Contains(spec.Containers[0].Env, "PASSWORD=the value of db") {
		t.Errorf("environment: %v", spec.Containers[0].Env)
	}
	st := newBench(t, with("gone")).until("STOPPED")
	if st.Stop.Code != "TaskFailedToStart" || st.Stop.Reason != "ResourceInitializationError: no parameter gone" {
		t.Errorf("%+v", st.Stop)
	}
}
