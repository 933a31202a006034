package ctrd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/lotse-project/lotse/internal/proc"
	"github.com/lotse-project/lotse/internal/runtime"
)

// A command runs as the container's own does: same user, groups, capabilities, filters, control groups, environment.
func TestExec_Confinement(t *testing.T) {
	l := newLab(t)
	spec := l.Spec(t, []string{"serve"})
	spec.Containers[0].User, spec.Containers[0].Env, spec.Containers[0].CapDrop = "app", []string{"OWN=1"}, []string{"NET_RAW"}
	pid := l.launch(t, spec)
	run := func(args ...string) string {
		t.Helper()
		r, err := l.engine.Exec(t.Context(), spec.ID, "c0", runtime.Command{Args: append([]string{"/program"}, args...), MaxOutput: 64 << 10})
		if err != nil || r.ExitCode != 0 {
			t.Fatalf("Exec(%q) = %d, %v: %s", args, r.ExitCode, err, r.Output)
		}
		return string(r.Output)
	}
	got := map[string]string{}
	for line := range strings.Lines(run("cat", "/proc/self/status")) {
		k, v, _ := strings.Cut(line, ":")
		got[k] = strings.Join(strings.Fields(v), " ")
	}
	want := status(t, pid)
	for _, k := range []string{"Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "Seccomp", "NoNewPrivs"} {
		if got[k] != want[k] || got[k] == "" {
			t.Errorf("%s of a command = %q, want the container's %q", k, got[k], want[k])
		}
	}
	own, theirs := run("cat", "/proc/self/cgroup"), run("cat", "/proc/1/cgroup")
	if own != theirs {
		t.Errorf("control groups of a command:\n%s\nwant the container's:\n%s", own, theirs)
	}
	for _, want := range []string{"OWN=1", "FROM=image"} {
		if env := run("env"); !slices.Contains(strings.Split(env, "\n"), want) {
			t.Errorf("environment of a command has no %s:\n%s", want, env)
		}
	}
	if dir := run("cwd"); dir != "/tmp\n" {
		t.Errorf("working directory of a command = %q, want /tmp", dir)
	}
}

// What a command started is killed with it, and neither it nor a command of a killed server hinders the next.
func TestExec_LeavesNothing(t *testing.T) {
	l := newLab(t)
	spec := l.Spec(t, []string{"serve"})
	pid := l.launch(t, spec)
	alone := func(when string) {
		t.Helper()
		var procs []string
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			procs = l.processes(t, spec.ID)
			if slices.Equal(procs, []string{fmt.Sprint(pid)}) {
				return
			}
		}
		t.Errorf("%s the container's processes are %v, want only %d", when, procs, pid)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := l.engine.Exec(ctx, spec.ID, "c0", runtime.Command{Args: []string{"/program", "fork"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Exec() = %v, want DeadlineExceeded", err)
	}
	alone("after a command that took too long")

	// A server that is killed leaves its command running, or about to run: the shim waits for a reader of its output then.
	c, cctx, err := l.engine.client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id := containerID(spec.ID, "c0")
	process, err := typeurl.MarshalAnyToProto(&specs.Process{Args: []string{"/program", "deaf"}, Cwd: "/"})
	if err != nil {
		t.Fatal(err)
	}
	for _, killed := range []string{"before the start", "while it starts", "while it runs"} {
		dir := filepath.Join(l.sup.taskFiles(), spec.ID, "exec-"+id)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		var readers []*os.File
		for _, f := range []string{"out", "err"} {
			if err := syscall.Mkfifo(filepath.Join(dir, f), 0o700); err != nil {
				t.Fatal(err)
			}
			r, err := os.OpenFile(filepath.Join(dir, f), os.O_RDONLY|syscall.O_NONBLOCK, 0)
			if err != nil {
				t.Fatal(err)
			}
			readers = append(readers, r)
		}
		closeAll := func() {
			for _, r := range readers {
				r.Close()
			}
		}
		if _, err := c.TaskService().Exec(cctx, &tasks.ExecProcessRequest{ContainerID: id, ExecID: execID, Spec: process, Stdout: filepath.Join(dir, "out"), Stderr: filepath.Join(dir, "err")}); err != nil {
			t.Fatalf("%s: %v", killed, err)
		}
		done := make(chan struct{})
		switch killed {
		case "before the start":
			closeAll()
			close(done)
		case "while it starts":
			closeAll()
			go func() {
				defer close(done)
				_, _ = c.TaskService().Start(cctx, &tasks.StartRequest{ContainerID: id, ExecID: execID})
			}()
			time.Sleep(200 * time.Millisecond) // it is under way, and can't be seen from outside
		default:
			if _, err := c.TaskService().Start(cctx, &tasks.StartRequest{ContainerID: id, ExecID: execID}); err != nil {
				t.Fatal(err)
			}
			closeAll()
			close(done)
		}
		if r, err := l.engine.Exec(t.Context(), spec.ID, "c0", runtime.Command{Args: []string{"/program", "exit", "4"}}); err != nil || r.ExitCode != 4 {
			t.Errorf("Exec() after a server was killed %s = %d, %v, want 4", killed, r.ExitCode, err)
		}
		<-done
		alone("after a server was killed " + killed)
	}
	if left, _ := filepath.Glob(filepath.Join(l.sup.taskFiles(), spec.ID, "exec-*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// A restarted container keeps its files and its place, and its end is told although containerd was away meanwhile.
func TestRestart_InPlace(t *testing.T) {
	l := newLab(t)
	spec := l.Spec(t, []string{"serve", "6"})
	spec.Containers[0].Log.Dir = t.TempDir()
	l.launch(t, spec)
	run := func(args ...string) runtime.Result {
		t.Helper()
		r, err := l.engine.Exec(t.Context(), spec.ID, "c0", runtime.Command{Args: append([]string{"/program"}, args...), MaxOutput: 100})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	run("write", "/tmp/kept", "by the first run")
	if err := l.engine.Kill(t.Context(), spec.ID, "c0"); err != nil {
		t.Fatal(err)
	}
	l.Await(t, spec.ID, "c0", runtime.Stopped)
	if err := l.engine.Restart(t.Context(), spec.ID, "c0"); err != nil {
		t.Fatal(err)
	}
	l.program(t, spec.ID, "c0")
	if r := run("cat", "/tmp/kept"); string(r.Output) != "by the first run" {
		t.Errorf("the file of the first run holds %q (exit code %d)", r.Output, r.ExitCode)
	}
	l.killDaemon(t)
	if err := l.stopProcess(t, spec.ID); err != nil {
		t.Fatal(err)
	}
	ready(t, l)
	if c := l.Await(t, spec.ID, "c0", runtime.Stopped); c.ExitCode != 137 || c.Lost || c.Restarts != 1 || !c.FinishedAt.After(c.StartedAt) {
		t.Errorf("container that ended while containerd was away = %+v, want exit code 137, 1 restart", c)
	}
}

// processes are the pids in the container's control groups.
func (l *lab) processes(t testing.TB, taskID string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(l.sup.groups.mounts[0], l.sup.groups.path(containerID(taskID, "c0")), "cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(b))
}

// stopProcess kills the container's process without asking containerd, which is down.
func (l *lab) stopProcess(t testing.TB, taskID string) error {
	t.Helper()
	for _, p := range l.processes(t, taskID) {
		var pid int
		fmt.Sscan(p, &pid)
		process{pid, proc.Start(pid)}.signal(9)
	}
	return nil
}

// Commands leave no descriptor open, here or in the shim, and no process.
func TestExec_Endures(t *testing.T) {
	l := newLab(t)
	spec := l.Spec(t, []string{"serve"})
	pid := l.launch(t, spec)
	run := func(n int) {
		for range n {
			if r, err := l.engine.Exec(t.Context(), spec.ID, "c0", runtime.Command{Args: []string{"/program", "say", "well"}, MaxOutput: 10}); err != nil || string(r.Output) != "well\n" {
				t.Fatalf("Exec() = %q, %v", r.Output, err)
			}
		}
	}
	open := func() (n int) {
		for _, p := range append(l.shimPids(t), os.Getpid()) {
			fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p))
			n += len(fds)
		}
		return n
	}
	run(5)
	before, begun := open(), time.Now()
	const times = 40
	run(times)
	t.Logf("%s a command", time.Since(begun)/times)
	var after int
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if after = open(); after <= before+5 { // what is on its way to be closed
			break
		}
	}
	if after > before+5 {
		t.Errorf("%d open descriptors after %d commands, %d before", after, times, before)
	}
	if procs := l.processes(t, spec.ID); !slices.Equal(procs, []string{fmt.Sprint(pid)}) {
		t.Errorf("processes of the container: %v, want only %d", procs, pid)
	}
}
