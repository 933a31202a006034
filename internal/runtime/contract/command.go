package contract

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/runtime"
)

func restart(t *testing.T, s Subject) {
	spec := s.Spec(t, []string{"serve", "5"})
	s.create(t, spec)
	s.start(t, spec)
	first := s.Await(t, spec.ID, "c0", runtime.Running)
	if err := s.Engine.Restart(t.Context(), spec.ID, "c0"); err != nil {
		t.Errorf("Restart of a running container = %v, want nil", err)
	}
	if c := s.Await(t, spec.ID, "c0", runtime.Running); c != first {
		t.Errorf("after Restart of a running container: %+v, want %+v", c, first)
	}
	for n := 1; n <= 2; n++ {
		if err := s.Engine.Kill(t.Context(), spec.ID, "c0"); err != nil {
			t.Fatal(err)
		}
		ended := s.Await(t, spec.ID, "c0", runtime.Stopped)
		if err := s.Engine.Restart(t.Context(), spec.ID, "c0"); err != nil {
			t.Fatalf("Restart() = %v", err)
		}
		c := s.Await(t, spec.ID, "c0", runtime.Running)
		if c.Restarts != n || c.Pid == 0 || c.StartedAt.Before(ended.StartedAt) || !c.FinishedAt.IsZero() || c.ExitCode != 0 {
			t.Errorf("restarted container = %+v, want restart %d, running, nothing of its last end", c, n)
		}
	}
	settle()
	if err := s.Engine.Stop(t.Context(), spec.ID, "c0", ""); err != nil {
		t.Fatal(err)
	}
	if c := s.Await(t, spec.ID, "c0", runtime.Stopped); c.ExitCode != 5 || c.Restarts != 2 {
		t.Errorf("stopped container = %+v, want the exit code of its last run, 5, and 2 restarts", c)
	}
	for _, name := range []string{"other", "c0"} {
		id := spec.ID
		if name == "c0" {
			id = NewID()
		}
		if err := s.Engine.Restart(t.Context(), id, name); !errors.Is(err, runtime.ErrNotFound) {
			t.Errorf("Restart of what is not there = %v, want ErrNotFound", err)
		}
	}
}

func restartBesideOthers(t *testing.T, s Subject) {
	spec := s.Spec(t, []string{"serve"}, []string{"exit", "3"})
	s.create(t, spec)
	s.start(t, spec)
	other := s.Await(t, spec.ID, "c0", runtime.Running)
	s.Await(t, spec.ID, "c1", runtime.Stopped)
	if err := s.Engine.Restart(t.Context(), spec.ID, "c1"); err != nil {
		t.Fatalf("Restart() = %v", err)
	}
	if c := s.Await(t, spec.ID, "c1", runtime.Stopped); c.ExitCode != 3 || c.Restarts != 1 {
		t.Errorf("container after its second run = %+v, want exit code 3, 1 restart", c)
	}
	if c := s.Await(t, spec.ID, "c0", runtime.Running); c != other {
		t.Errorf("its neighbour = %+v, want %+v as before", c, other)
	}
}

func execute(t *testing.T, s Subject) {
	spec := s.Spec(t, []string{"serve"})
	s.create(t, spec)
	s.start(t, spec)
	s.Await(t, spec.ID, "c0", runtime.Running)
	for _, test := range []struct {
		args []string
		max  int
		want runtime.Result
	}{
		{[]string{"/program", "exit", "0"}, 100, runtime.Result{}},
		{[]string{"/program", "exit", "7"}, 100, runtime.Result{ExitCode: 7}},
		{[]string{"/program", "say", "all", "is", "well"}, 100, runtime.Result{Output: []byte("all is well\n")}},
		{[]string{"/program", "say", "all", "is", "well"}, 3, runtime.Result{Output: []byte("all")}},
		{[]string{"/program", "say", "all", "is", "well"}, 0, runtime.Result{}},
	} {
		got, err := s.Engine.Exec(t.Context(), spec.ID, "c0", runtime.Command{Args: test.args, MaxOutput: test.max})
		if err != nil || got.ExitCode != test.want.ExitCode || string(got.Output) != string(test.want.Output) {
			t.Errorf("Exec(%q) = %d %q, %v, want %d %q", test.args, got.ExitCode, got.Output, err, test.want.ExitCode, test.want.Output)
		}
	}
	if _, err := s.Engine.Exec(t.Context(), spec.ID, "c0", runtime.Command{Args: []string{"nothing-like-it"}}); !errors.Is(err, runtime.ErrUnrunnable) {
		t.Errorf("Exec of a program that isn't there = %v, want ErrUnrunnable", err)
	}
	s.Await(t, spec.ID, "c0", runtime.Running)
}

func executeTooLong(t *testing.T, s Subject) {
	spec := s.Spec(t, []string{"serve"})
	s.create(t, spec)
	s.start(t, spec)
	s.Await(t, spec.ID, "c0", runtime.Running)
	for range 2 { // the second is not hindered by what is left of the first
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err := s.Engine.Exec(ctx, spec.ID, "c0", runtime.Command{Args: []string{"/program", "deaf"}})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Exec of a command that never ends = %v, want its context's DeadlineExceeded", err)
		}
	}
	s.Await(t, spec.ID, "c0", runtime.Running)
}

func executeNowhere(t *testing.T, s Subject) {
	spec := s.Spec(t, []string{"serve"})
	cmd := runtime.Command{Args: []string{"/program", "exit", "0"}}
	try := func(when, name string) {
		t.Helper()
		if _, err := s.Engine.Exec(t.Context(), spec.ID, name, cmd); !errors.Is(err, runtime.ErrNotFound) {
			t.Errorf("Exec %s = %v, want ErrNotFound", when, err)
		}
	}
	try("in an unknown task", "c0")
	s.create(t, spec)
	try("in a container that was not started", "c0")
	try("in an unknown container", "other")
	s.start(t, spec)
	if err := s.Engine.Kill(t.Context(), spec.ID, "c0"); err != nil {
		t.Fatal(err)
	}
	s.Await(t, spec.ID, "c0", runtime.Stopped)
	try("in a container that has ended", "c0")
}
