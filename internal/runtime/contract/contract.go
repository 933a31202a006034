package contract

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/runtime"
)

// Subject is an engine under test.
type Subject struct {
	Engine runtime.Engine
	Image  runtime.Image // the suite's program as its entry point, "serve" its command
	Absent runtime.Image // not in the store
}

// Run runs the suite. The engine may have other tasks; each test uses and removes its own.
func Run(t *testing.T, s Subject) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Subject)
	}{
		{"LifeOfATask", lifeOfATask},
		{"RepeatedCallsAreHarmless", repeatedCalls},
		{"ExitCodes", exitCodes},
		{"StopSignal", stopSignal},
		{"CreatedContainerIsKilledByStop", stopOfCreated},
		{"ContainersStartOneByOne", startOneByOne},
		{"OutOfMemory", outOfMemory},
		{"WhatIsGone", whatIsGone},
		{"MissingImage", missingImage},
		{"Events", events},
		{"Restart", restart},
		{"RestartKeepsToTheContainer", restartBesideOthers},
		{"Exec", execute},
		{"ExecEndsWithItsContext", executeTooLong},
		{"ExecNeedsARunningContainer", executeNowhere},
		{"Usage", usage},
		{"TasksSideBySide", sideBySide},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, s) })
	}
}

// NewID returns a task ID.
func NewID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// Spec is a task whose containers c0, c1, … run the given commands; it is removed when the test ends.
func (s Subject) Spec(t testing.TB, commands ...[]string) runtime.TaskSpec {
	t.Helper()
	spec := runtime.TaskSpec{ID: NewID(), Memory: 64 << 20, CPU: 1024, Hostname: "contract"}
	for i, c := range commands {
		spec.Containers = append(spec.Containers, runtime.ContainerSpec{Name: fmt.Sprintf("c%d", i), Image: s.Image, Command: c})
	}
	t.Cleanup(func() {
		if err := s.Engine.Remove(context.Background(), spec.ID); err != nil {
			t.Errorf("Remove(%s) = %v", spec.ID, err)
		}
	})
	return spec
}

// State returns a task's state; false when the engine knows no such task. List must say the same of it, unless something
// happens to the task at that moment.
func (s Subject) State(t testing.TB, id string) (runtime.TaskState, bool) {
	t.Helper()
	for tries := 0; ; tries++ {
		task, err := s.Engine.State(t.Context(), id)
		if err != nil && !errors.Is(err, runtime.ErrNotFound) {
			t.Fatalf("State(%s) = %v", id, err)
		}
		all, lerr := s.Engine.List(t.Context())
		if lerr != nil {
			t.Fatalf("List() = %v", lerr)
		}
		i := slices.IndexFunc(all, func(l runtime.TaskState) bool { return l.ID == id })
		if i < 0 && err != nil || i >= 0 && err == nil && reflect.DeepEqual(all[i], task) {
			return task, err == nil
		}
		if tries == 10 {
			t.Fatalf("State(%s) = %+v, %v; List() = %+v", id, task, err, all)
		}
	}
}

// Await waits until a container has a status, up to 10 s.
func (s Subject) Await(t testing.TB, id, name string, want runtime.Status) runtime.ContainerState {
	t.Helper()
	var got runtime.ContainerState
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		task, _ := s.State(t, id)
		if got, _ = task.Container(name); got.Status == want {
			return got
		}
	}
	t.Fatalf("container %s of %s is %v, want %v", name, id, got.Status, want)
	return got
}

// Private

func (s Subject) create(t *testing.T, spec runtime.TaskSpec) {
	t.Helper()
	for range 2 { // the second time nothing is to be done
		if err := s.Engine.Create(t.Context(), spec); err != nil {
			t.Fatalf("Create() = %v", err)
		}
	}
}

func (s Subject) start(t *testing.T, spec runtime.TaskSpec) {
	t.Helper()
	if err := s.Engine.Start(t.Context(), spec.ID); err != nil {
		t.Fatalf("Start() = %v", err)
	}
}

func lifeOfATask(t *testing.T, s Subject) {
	if err := s.Engine.Prepare(t.Context(), s.Image); err != nil {
		t.Fatalf("Prepare() = %v", err)
	}
	spec := s.Spec(t, []string{"serve", "5"})
	s.create(t, spec)
	if c := s.Await(t, spec.ID, "c0", runtime.Created); !c.StartedAt.IsZero() {
		t.Errorf("created container: StartedAt = %v, want zero", c.StartedAt)
	}
	before := time.Now().Add(-time.Second)
	s.start(t, spec)
	c := s.Await(t, spec.ID, "c0", runtime.Running)
	if c.Pid == 0 || c.StartedAt.Before(before) || !c.FinishedAt.IsZero() {
		t.Errorf("running container = %+v, want a pid, a recent StartedAt, no FinishedAt", c)
	}
	settle()
	if err := s.Engine.Stop(t.Context(), spec.ID, "c0", ""); err != nil {
		t.Fatalf("Stop() = %v", err)
	}
	c = s.Await(t, spec.ID, "c0", runtime.Stopped)
	if c.ExitCode != 5 || c.Pid != 0 || c.OOM || c.Lost || c.FinishedAt.Before(c.StartedAt) || c.StartedAt.IsZero() {
		t.Errorf("stopped container = %+v, want exit code 5, no pid, times in order", c)
	}
	if err := s.Engine.Remove(t.Context(), spec.ID); err != nil {
		t.Fatalf("Remove() = %v", err)
	}
	if _, ok := s.State(t, spec.ID); ok {
		t.Error("removed task is still listed")
	}
}

func usage(t *testing.T, s Subject) {
	spec := s.Spec(t, []string{"serve"})
	if _, err := s.Engine.Usage(t.Context(), spec.ID); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("Usage of what is not there = %v, want ErrNotFound", err)
	}
	s.create(t, spec)
	s.start(t, spec)
	if n, err := s.Engine.Usage(t.Context(), spec.ID); err != nil || n < 0 || n > 1<<20 {
		t.Errorf("Usage() of a task that wrote nothing = %d, %v, want a few blocks at most", n, err)
	}
}

func repeatedCalls(t *testing.T, s Subject) {
	spec := s.Spec(t, []string{"serve"})
	s.create(t, spec)
	s.start(t, spec)
	first := s.Await(t, spec.ID, "c0", runtime.Running)
	s.start(t, spec)
	s.create(t, spec)
	if again := s.Await(t, spec.ID, "c0", runtime.Running); again != first {
		t.Errorf("after repeated Create and Start: %+v, want %+v", again, first)
	}
	for range 2 {
		if err := s.Engine.Kill(t.Context(), spec.ID, "c0"); err != nil {
			t.Errorf("Kill() = %v", err)
		}
		s.Await(t, spec.ID, "c0", runtime.Stopped)
		s.start(t, spec) // does not revive it
	}
	stopped := s.Await(t, spec.ID, "c0", runtime.Stopped)
	if stopped.ExitCode != 137 {
		t.Errorf("killed container: exit code %d, want 137", stopped.ExitCode)
	}
	s.create(t, spec)
	if again := s.Await(t, spec.ID, "c0", runtime.Stopped); again != stopped {
		t.Errorf("after Create of a stopped task: %+v, want %+v", again, stopped)
	}
	for range 2 {
		if err := s.Engine.Remove(t.Context(), spec.ID); err != nil {
			t.Errorf("Remove() = %v", err)
		}
	}
	s.create(t, spec) // the ID is free again
	s.Await(t, spec.ID, "c0", runtime.Created)
}

func exitCodes(t *testing.T, s Subject) {
	spec := s.Spec(t, []string{"exit", "0"}, []string{"exit", "3"}, []string{"exit", "255"}, []string{"sleep", "20"})
	s.create(t, spec)
	s.start(t, spec)
	for i, want := range []int{0, 3, 255, 0} {
		c := s.Await(t, spec.ID, fmt.Sprintf("c%d", i), runtime.Stopped)
		if c.ExitCode != want || c.FinishedAt.IsZero() || c.OOM || c.Lost {
			t.Errorf("container %s = %+v, want exit code %d", c.Name, c, want)
		}
	}
	task, _ := s.State(t, spec.ID)
	for i, c := range task.Containers {
		if c.Name != spec.Containers[i].Name {
			t.Errorf("container %d of the list is %s, want %s: the specification's order", i, c.Name, spec.Containers[i].Name)
		}
	}
}

func stopSignal(t *testing.T, s Subject) {
	spec := s.Spec(t, []string{"deaf"}, []string{"stopsig"})
	s.create(t, spec)
	s.start(t, spec)
	s.Await(t, spec.ID, "c0", runtime.Running)
	s.Await(t, spec.ID, "c1", runtime.Running)
	settle()
	for _, c := range []string{"c0", "c1"} {
		if err := s.Engine.Stop(t.Context(), spec.ID, c, ""); err != nil {
			t.Errorf("Stop(%s) = %v", c, err)
		}
	}
	settle()
	for _, c := range []string{"c0", "c1"} {
		s.Await(t, spec.ID, c, runtime.Running)
	}
	if err := s.Engine.Stop(t.Context(), spec.ID, "c1", "SIGUSR1"); err != nil {
		t.Errorf("Stop(SIGUSR1) = %v", err)
	}
	if c := s.Await(t, spec.ID, "c1", runtime.Stopped); c.ExitCode != 7 {
		t.Errorf("exit code after SIGUSR1 = %d, want 7", c.ExitCode)
	}
	if err := s.Engine.Kill(t.Context(), spec.ID, "c0"); err != nil {
		t.Errorf("Kill() = %v", err)
	}
	if c := s.Await(t, spec.ID, "c0", runtime.Stopped); c.ExitCode != 137 || c.OOM {
		t.Errorf("killed container = %+v, want exit code 137 and no OOM", c)
	}
}

func stopOfCreated(t *testing.T, s Subject) {
	spec := s.Spec(t, []string{"serve"})
	s.create(t, spec)
	if err := s.Engine.Stop(t.Context(), spec.ID, "c0", ""); err != nil {
		t.Errorf("Stop() = %v", err)
	}
	c := s.Await(t, spec.ID, "c0", runtime.Stopped)
	if c.ExitCode != 137 || !c.StartedAt.IsZero() {
		t.Errorf("never started container = %+v, want exit code 137, StartedAt zero", c)
	}
}

func startOneByOne(t *testing.T, s Subject) {
	spec := s.Spec(t, []string{"serve"}, []string{"serve"})
	s.create(t, spec)
	for range 2 {
		if err := s.Engine.StartContainer(t.Context(), spec.ID, "c1"); err != nil {
			t.Errorf("StartContainer() = %v", err)
		}
	}
	s.Await(t, spec.ID, "c1", runtime.Running)
	s.Await(t, spec.ID, "c0", runtime.Created)
	s.start(t, spec)
	s.Await(t, spec.ID, "c0", runtime.Running)
}

func outOfMemory(t *testing.T, s Subject) {
	spec := s.Spec(t, []string{"hog"}, []string{"serve"})
	s.create(t, spec)
	s.start(t, spec)
	if c := s.Await(t, spec.ID, "c0", runtime.Stopped); !c.OOM || c.ExitCode != 137 {
		t.Errorf("container out of memory = %+v, want OOM, exit code 137", c)
	}
}

func whatIsGone(t *testing.T, s Subject) {
	id := NewID()
	for what, err := range map[string]error{
		"Stop":   s.Engine.Stop(t.Context(), id, "c0", ""),
		"Kill":   s.Engine.Kill(t.Context(), id, "c0"),
		"Remove": s.Engine.Remove(t.Context(), id),
	} {
		if err != nil {
			t.Errorf("%s of an unknown task = %v, want nil", what, err)
		}
	}
	if err := s.Engine.Start(t.Context(), id); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("Start of an unknown task = %v, want ErrNotFound", err)
	}
	spec := s.Spec(t, []string{"exit", "0"})
	s.create(t, spec)
	s.start(t, spec)
	s.Await(t, spec.ID, "c0", runtime.Stopped)
	for what, err := range map[string]error{
		"Stop":           s.Engine.Stop(t.Context(), spec.ID, "c0", ""),
		"Kill":           s.Engine.Kill(t.Context(), spec.ID, "c0"),
		"Stop unknown":   s.Engine.Stop(t.Context(), spec.ID, "other", ""),
		"StartContainer": s.Engine.StartContainer(t.Context(), spec.ID, "c0"),
	} {
		if err != nil {
			t.Errorf("%s of an ended container = %v, want nil", what, err)
		}
	}
	if err := s.Engine.StartContainer(t.Context(), spec.ID, "other"); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("StartContainer of an unknown container = %v, want ErrNotFound", err)
	}
}

func missingImage(t *testing.T, s Subject) {
	if err := s.Engine.Prepare(t.Context(), s.Absent); !errors.Is(err, runtime.ErrNoImage) {
		t.Errorf("Prepare of a missing image = %v, want ErrNoImage", err)
	}
	spec := s.Spec(t, []string{"serve"})
	spec.Containers[0].Image = s.Absent
	if err := s.Engine.Create(t.Context(), spec); !errors.Is(err, runtime.ErrNoImage) {
		t.Errorf("Create with a missing image = %v, want ErrNoImage", err)
	}
}

func events(t *testing.T, s Subject) {
	spec := s.Spec(t, []string{"exit", "0"})
	s.create(t, spec)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	begun := false
	for ev, err := range s.Engine.Events(ctx) {
		if err != nil {
			t.Fatalf("Events() = %v", err)
		}
		if ev.TaskID == "" && !begun { // listening
			begun = true
			s.start(t, spec)
			continue
		}
		if ev.TaskID != "" && ev.TaskID != spec.ID {
			continue
		}
		if task, _ := s.State(t, spec.ID); len(task.Containers) == 1 && task.Containers[0].Status == runtime.Stopped {
			return
		}
	}
	t.Error("no event told of the end of the task")
}

func sideBySide(t *testing.T, s Subject) {
	a, b := s.Spec(t, []string{"serve"}), s.Spec(t, []string{"serve"})
	done := make(chan error)
	for _, spec := range []runtime.TaskSpec{a, b} {
		go func() {
			err := s.Engine.Create(t.Context(), spec)
			if err == nil {
				err = s.Engine.Start(t.Context(), spec.ID)
			}
			done <- err
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Engine.Remove(t.Context(), a.ID); err != nil {
		t.Fatal(err)
	}
	s.Await(t, b.ID, "c0", runtime.Running)
}

// settle gives a process the time to install its signal handler (a signal before that is lost on a container's
// first process), or a signal to do its work.
func settle() { time.Sleep(150 * time.Millisecond) }
