package task

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/runtime"
	"github.com/lotse-project/lotse/internal/runtime/fake"
	"github.com/lotse-project/lotse/internal/state"
)

func depends(name, on string, c ecstypes.ContainerCondition) ecstypes.ContainerDefinition {
	d := ecstypes.ContainerDefinition{Name: &name, Image: aws.String("i"), Essential: aws.Bool(true)}
	if on != "" {
		d.DependsOn = []ecstypes.ContainerDependency{{ContainerName: &on, Condition: c}}
	}
	return d
}

func TestBegin(t *testing.T) {
	now := time.Unix(1e9, 0)
	ran := now.Add(-10 * time.Second)
	dep := func(change func(*state.ContainerStatus)) state.ContainerStatus {
		st := state.ContainerStatus{Name: "dep", Image: "i", LastStatus: "RUNNING", StartedAt: ran}
		change(&st)
		return st
	}
	pending := dep(func(s *state.ContainerStatus) { s.LastStatus, s.StartedAt = "PENDING", time.Time{} })
	running := dep(func(*state.ContainerStatus) {})
	exited := func(code int) state.ContainerStatus {
		return dep(func(s *state.ContainerStatus) { s.LastStatus, s.ExitCode = "STOPPED", &code })
	}
	never := dep(func(s *state.ContainerStatus) { s.LastStatus, s.StartedAt = "STOPPED", time.Time{} })
	health := func(h string) state.ContainerStatus {
		return dep(func(s *state.ContainerStatus) { s.Health.Status = h })
	}
	for _, test := range []struct {
		on      ecstypes.ContainerCondition
		dep     state.ContainerStatus
		timeout int32
		want    string // start, wait, or why it never starts
	}{
		{"START", pending, 0, "wait"},
		{"START", running, 0, "start"},
		{"START", running, 5, "start"}, // startTimeout is for the other conditions
		{"START", exited(1), 0, "start"},
		{"START", never, 0, "because dependency will never start"},
		{"COMPLETE", running, 0, "wait"},
		{"COMPLETE", exited(1), 0, "start"},
		{"COMPLETE", never, 0, "because dependency will never start"},
		{"COMPLETE", running, 5, "[dep(i) (RUNNING->RUNNING)] for target [app(i) (CREATED->RUNNING)] has timed out."},
		{"COMPLETE", running, 11, "wait 1s"},
		{"SUCCESS", running, 0, "wait"},
		{"SUCCESS", exited(0), 0, "start"},
		{"SUCCESS", exited(2), 0, "[dep(i) (STOPPED->RUNNING) - Exit: 2] for target [app(i) (CREATED->RUNNING)] as dependency did not exit successfully."},
		{"HEALTHY", running, 0, "wait"},
		{"HEALTHY", health("UNKNOWN"), 0, "wait"},
		{"HEALTHY", health("UNHEALTHY"), 0, "wait"}, // only startTimeout ends this. Source: containers-roadmap #2379
		{"HEALTHY", health("UNHEALTHY"), 5, "has timed out."},
		{"HEALTHY", health("HEALTHY"), 5, "start"},
		{"HEALTHY", exited(0), 0, "failed to resolve the container ordering dependency"},
	} {
		d := depends("dep", "", "")
		if test.timeout > 0 {
			d.StartTimeout = &test.timeout
		}
		b := begin([]ecstypes.ContainerDefinition{depends("app", "dep", test.on), d}, []state.ContainerStatus{{Name: "app", Image: "i", LastStatus: "PENDING"}, test.dep}, now)
		got := "wait"
		switch {
		case slices.Contains(b.start, "app"):
			got = "start"
		case b.never["app"] != "":
			got = b.never["app"]
		case b.wait > 0:
			got = fmt.Sprintf("wait %v", b.wait)
		}
		if !strings.HasSuffix(got, test.want) && !strings.Contains(got, test.want) || strings.HasPrefix(got, "wait") && got != test.want {
			t.Errorf("%s on %+v, startTimeout %d: %q, want %q", test.on, test.dep, test.timeout, got, test.want)
		}
	}
}

// proxy and db start together, app when both do; at the end it goes first.
func TestOrder(t *testing.T) {
	var log []string
	var mu sync.Mutex
	b := newBench(t, func(_ *state.Task, d *ecstypes.TaskDefinition) {
		app := depends("app", "db", "HEALTHY")
		app.DependsOn = append(app.DependsOn, ecstypes.ContainerDependency{ContainerName: aws.String("migrate"), Condition: "SUCCESS"})
		db, migrate := depends("db", "", ""), depends("migrate", "db", "START")
		db.HealthCheck = &ecstypes.HealthCheck{Command: []string{"CMD", "/check"}}
		migrate.Essential = aws.Bool(false)
		d.ContainerDefinitions = []ecstypes.ContainerDefinition{app, migrate, db}
	})
	id := strings.Repeat("ab", 16)
	var code atomic.Int32
	code.Store(1)
	b.answer(&code)
	b.engine.Program = func(runtime.TaskSpec, runtime.ContainerSpec) (fake.Program, error) {
		return fake.Program{OnSignal: map[string]int{}}, nil // ends when the test says so
	}
	b.engine.Fault = func(op, _ string) error {
		mu.Lock()
		defer mu.Unlock()
		if op == "Start" || op == "Stop" {
			log = append(log, op)
		}
		return nil
	}
	look := func(want string) {
		t.Helper()
		var got string
		for range 400 {
			b.step()
			got = ""
			for _, c := range b.status().Containers {
				got += c.Name + " " + c.LastStatus + " "
			}
			if got = strings.TrimSpace(got); got == want && b.step() != 0 {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		t.Fatalf("containers: %s, want %s", got, want)
	}
	look("app PENDING migrate RUNNING db RUNNING")
	if st := b.status(); st.LastStatus != "ACTIVATING" || !st.StartedAt.IsZero() {
		t.Errorf("a task with a container to come: %s, started %v", st.LastStatus, st.StartedAt)
	}
	b.engine.Exit(id, "migrate", 0)
	look("app PENDING migrate STOPPED db RUNNING")
	code.Store(0)
	if st := b.until("RUNNING"); st.Containers[0].LastStatus != "RUNNING" || st.StartedAt.IsZero() {
		t.Errorf("%+v", st)
	}
	b.stopTask("enough")
	signalled := func(want string) {
		t.Helper()
		var got string
		for range 400 {
			b.step()
			got = ""
			for _, c := range b.status().Containers {
				if !c.StoppingAt.IsZero() {
					got += c.Name
				}
			}
			if got == want {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		t.Fatalf("told to stop: %q, want %q", got, want)
	}
	signalled("app")
	for range 10 {
		b.step()
	}
	signalled("app") // db serves it to its end
	b.engine.Exit(id, "app", 0)
	signalled("appdb")
	b.engine.Exit(id, "db", 0)
	st := b.until("STOPPED")
	if st.Stop.Reason != "enough" {
		t.Errorf("%+v", st.Stop)
	}
}

// A dependency that failed ends the task when an essential container waits for it, and in AWS's words.
func TestOrder_dependencyFails(t *testing.T) {
	for _, essential := range []bool{true, false} {
		b := newBench(t, func(_ *state.Task, d *ecstypes.TaskDefinition) {
			app, other, migrate := depends("app", "migrate", "SUCCESS"), depends("other", "", ""), depends("migrate", "", "")
			app.Essential, migrate.Essential = &essential, aws.Bool(false)
			d.ContainerDefinitions = []ecstypes.ContainerDefinition{app, other, migrate}
		})
		b.engine.Program = func(_ runtime.TaskSpec, c runtime.ContainerSpec) (fake.Program, error) {
			if c.Name == "migrate" {
				return fake.Program{Exits: true, ExitCode: 1}, nil
			}
			return fake.Service, nil
		}
		if !essential {
			b.until("RUNNING")
			b.stopTask("enough")
		}
		st := b.until("STOPPED")
		app := st.Containers[0]
		if !app.StartedAt.IsZero() || app.ExitCode == nil || *app.ExitCode != 143 || !strings.HasPrefix(app.Reason, "CannotStartContainerError: dependency graph: failed to resolve container ordering dependency [migrate(") {
			t.Errorf("essential %v: %+v", essential, app)
		}
		if essential && (st.Stop.Code != "TaskFailedToStart" || st.Stop.Reason != "Task failed to start" || !st.StartedAt.IsZero()) {
			t.Errorf("%+v", st.Stop)
		}
		if n := b.interfaces(); n != 0 {
			t.Errorf("%d interfaces left", n)
		}
	}
}

func TestOrder_startTimeout(t *testing.T) {
	b := newBench(t, func(_ *state.Task, d *ecstypes.TaskDefinition) {
		db := depends("db", "", "")
		db.HealthCheck, db.StartTimeout = &ecstypes.HealthCheck{Command: []string{"CMD", "/check"}}, aws.Int32(0)
		d.ContainerDefinitions = []ecstypes.ContainerDefinition{depends("app", "db", "HEALTHY"), db}
	})
	var code atomic.Int32
	code.Store(1)
	b.answer(&code)
	st := b.until("STOPPED")
	if st.Stop.Reason != "Task failed to start" || !strings.HasSuffix(st.Containers[0].Reason, "has timed out.") {
		t.Errorf("%+v %+v", st.Stop, st.Containers)
	}
}

// Each stopTimeout counts from the container's own signal.
func TestEnd(t *testing.T) {
	now := time.Unix(1e9, 0)
	defs := []ecstypes.ContainerDefinition{depends("app", "db", "START"), depends("db", "", ""), depends("alone", "", "")}
	defs[0].StopTimeout = aws.Int32(5)
	runs := func(names ...string) *runtime.TaskState {
		var w runtime.TaskState
		for _, d := range defs {
			s := runtime.Stopped
			if slices.Contains(names, *d.Name) {
				s = runtime.Running
			}
			w.Containers = append(w.Containers, runtime.ContainerState{Name: *d.Name, Status: s})
		}
		return &w
	}
	told := func(app, db, alone time.Duration) []state.ContainerStatus {
		var sts []state.ContainerStatus
		for i, ago := range []time.Duration{app, db, alone} {
			st := state.ContainerStatus{Name: *defs[i].Name}
			if ago >= 0 {
				st.StoppingAt = now.Add(-ago)
			}
			sts = append(sts, st)
		}
		return sts
	}
	for _, test := range []struct {
		name  string
		sts   []state.ContainerStatus
		world *runtime.TaskState
		want  string
	}{
		{"nobody told", told(-1, -1, -1), runs("app", "db", "alone"), "signal [app alone] kill []"},
		{"app has time", told(time.Second, -1, time.Second), runs("app", "db", "alone"), "signal [] kill []"},
		{"app's time is up", told(5*time.Second, -1, 5*time.Second), runs("app", "db", "alone"), "signal [] kill [app]"},
		{"app has ended", told(9*time.Second, -1, 9*time.Second), runs("db", "alone"), "signal [db] kill []"},
		{"all have had their time", told(99*time.Second, 30*time.Second, 30*time.Second), runs("db", "alone"), "signal [] kill [db alone]"},
		{"all have ended", told(9*time.Second, time.Second, 9*time.Second), runs(), "signal [] kill []"},
	} {
		e := end(defs, test.sts, test.world, now)
		if got := fmt.Sprintf("signal %v kill %v", e.signal, e.kill); got != test.want || (e.wait == 0) != (test.name == "all have ended") {
			t.Errorf("%s: %s, wait %v; want %s", test.name, got, e.wait, test.want)
		}
	}
}
