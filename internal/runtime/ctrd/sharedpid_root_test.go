package ctrd

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/lotse-project/lotse/internal/runtime"
)

func pidNamespaceOf(t testing.TB, pid int) string {
	t.Helper()
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

func TestSharedPID(t *testing.T) {
	l := newLab(t)
	alone := l.Spec(t, []string{"serve"}, []string{"serve"})
	if a, b := l.launch(t, alone), l.Await(t, alone.ID, "c1", runtime.Running).Pid; pidNamespaceOf(t, a) == pidNamespaceOf(t, b) {
		t.Error("containers share a PID namespace that weren't asked to")
	}
	spec := l.Spec(t, []string{"serve"}, []string{"serve"})
	spec.SharedPID = true
	first := l.launch(t, spec)
	second := l.program(t, spec.ID, "c1")
	shared := pidNamespaceOf(t, first)
	if other := pidNamespaceOf(t, second); other != shared || shared == pidNamespaceOf(t, os.Getpid()) {
		t.Errorf("namespaces %s and %s, want one, and not ours", shared, other)
	}
	seen, err := os.ReadDir(fmt.Sprintf("/proc/%d/root/proc", second))
	if err != nil {
		t.Fatal(err)
	}
	var programs []string
	for _, d := range seen {
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/proc/%s/cmdline", second, d.Name())); err == nil && d.Name() != "self" && d.Name() != "thread-self" && len(b) > 0 {
			programs = append(programs, strings.ReplaceAll(strings.TrimRight(string(b), "\x00"), "\x00", " "))
		}
	}
	slices.Sort(programs)
	if want := []string{"/program serve", "/program serve", "/sbin/docker-init -pause"}; !slices.Equal(programs, want) {
		t.Errorf("a container sees %q, want %q", programs, want)
	}
	if st, _ := l.State(t, spec.ID); len(st.Containers) != 2 {
		t.Errorf("the task has %d containers, want 2", len(st.Containers))
	}
	if pause := status(t, l.pausePid(t, spec.ID)); pause["CapEff"] != "0000000000000000" || pause["NoNewPrivs"] != "1" || pause["Seccomp"] != "2" {
		t.Errorf("pause may do more than nothing: %v", pause)
	}

	// The end of one is not the other's, whether it is asked or killed, and what begins again is where it was.
	for _, end := range []func() error{
		func() error { return l.engine.Stop(t.Context(), spec.ID, "c0", "") },
		func() error { return l.engine.Kill(t.Context(), spec.ID, "c0") },
	} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
		l.Await(t, spec.ID, "c0", runtime.Stopped)
		if err := l.engine.Restart(t.Context(), spec.ID, "c0"); err != nil {
			t.Fatal(err)
		}
		pid := l.program(t, spec.ID, "c0")
		if ns := pidNamespaceOf(t, pid); ns != shared {
			t.Errorf("started again in %s, want %s", ns, shared)
		}
	}
	if c := l.Await(t, spec.ID, "c1", runtime.Running); c.Pid != second {
		t.Errorf("the other container is process %d, was %d", c.Pid, second)
	}
}

// Were only its number known, a container that starts again could end up in the namespace of whatever process has it now.
func TestSharedPID_Ends(t *testing.T) {
	l := newLab(t)
	spec := l.Spec(t, []string{"serve"}, []string{"serve"})
	spec.SharedPID = true
	l.launch(t, spec)
	if err := syscall.Kill(l.pausePid(t, spec.ID), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"c0", "c1"} {
		if c := l.Await(t, spec.ID, name, runtime.Stopped); c.ExitCode != 137 {
			t.Errorf("%s ended with %d, want 137", name, c.ExitCode)
		}
	}
	if err := l.engine.Restart(t.Context(), spec.ID, "c0"); !errors.Is(err, runtime.ErrUnrunnable) {
		t.Errorf("Restart() = %v", err)
	}
}

// What was broken off anywhere in Create is made good by the next one.
func TestSharedPID_BrokenOff(t *testing.T) {
	l := newLab(t)
	spec := l.Spec(t, []string{"serve"})
	spec.SharedPID = true
	c, ctx, err := l.engine.client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.engine.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	pause, err := c.LoadContainer(ctx, containerID(spec.ID, pauseName))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{containerID(spec.ID, "c0"), pause.ID()} {
		ctr, err := c.LoadContainer(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if err := removeProcess(ctx, c, ctr); err != nil { // as if they had been made, but without a process
			t.Fatal(err)
		}
	}
	if err := l.sup.ledger.update(containerID(spec.ID, "c0"), func(c *containerEntry) { c.Created = false }); err != nil {
		t.Fatal(err)
	}
	if pid := l.launch(t, spec); pidNamespaceOf(t, pid) != pidNamespaceOf(t, l.pausePid(t, spec.ID)) {
		t.Error("the container isn't in the namespace of pause")
	}
}

func (l *lab) pausePid(t testing.TB, taskID string) int {
	t.Helper()
	c, ctx, err := l.engine.client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.engine.process(ctx, c, containerID(taskID, pauseName))
	if err != nil {
		t.Fatal(err)
	}
	return int(p.Pid)
}
