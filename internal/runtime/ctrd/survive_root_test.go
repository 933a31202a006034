package ctrd

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/lotse-project/lotse/internal/proc"
	"github.com/lotse-project/lotse/internal/runtime"
)

// killDaemon kills containerd as hard as can be and returns its process.
func (l *lab) killDaemon(t testing.TB) process {
	t.Helper()
	p, found := l.sup.find()
	if !found {
		t.Fatal("containerd is not running")
	}
	p.signal(syscall.SIGKILL)
	p.wait(context.Background())
	return p
}

// shimPids are the processes of the shims of this lab.
func (l *lab) shimPids(t testing.TB) []int {
	t.Helper()
	var out []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		b, _ := os.ReadFile(f)
		if bytes.Contains(b, []byte("-address\x00"+l.sup.Address()+"\x00")) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			out = append(out, pid)
		}
	}
	return out
}

func TestSupervisor_FindsContainerdAgain(t *testing.T) {
	l := newLab(t)
	spec := l.Spec(t, []string{"serve"})
	pid := l.launch(t, spec)
	before, _ := l.sup.find()
	l.stop()
	for _, lose := range []string{"nothing", "pid file"} {
		if lose == "pid file" {
			os.Remove(l.sup.pidFile())
		}
		l.run(t)
		if after, _ := l.sup.find(); after != before {
			t.Errorf("without %s: containerd is %+v, want %+v as before", lose, after, before)
		}
		if c := l.Await(t, spec.ID, "c0", runtime.Running); c.Pid != pid {
			t.Errorf("without %s: container's pid is %d, want %d as before", lose, c.Pid, pid)
		}
		l.stop()
	}
	l.run(t)
}

func TestSupervisor_ContainerdHasItsOwnSession(t *testing.T) {
	l := newLab(t)
	p, _ := l.sup.find()
	sid, _, _ := syscall.RawSyscall(syscall.SYS_GETSID, uintptr(p.PID), 0, 0)
	if int(sid) != p.PID {
		t.Errorf("containerd's session is %d, want its own, %d", sid, p.PID)
	}
}

func TestSupervisor_ContainerdKilled(t *testing.T) {
	l := newLab(t)
	runs := l.Spec(t, []string{"serve", "4"}, []string{"exit", "9"})
	created := l.Spec(t, []string{"serve"})
	pid := l.launch(t, runs)
	l.Await(t, runs.ID, "c1", runtime.Stopped)
	if err := l.engine.Create(t.Context(), created); err != nil {
		t.Fatal(err)
	}
	old := l.killDaemon(t)
	ready(t, l)
	if p, _ := l.sup.find(); p == old || !p.alive() {
		t.Errorf("containerd = %+v, want a new one", p)
	}
	if c := l.Await(t, runs.ID, "c0", runtime.Running); c.Pid != pid {
		t.Errorf("pid = %d, want %d: the container runs on", c.Pid, pid)
	}
	// containerd forgets a container that had ended; the ledger doesn't.
	if c := l.Await(t, runs.ID, "c1", runtime.Stopped); c.ExitCode != 9 || c.Lost || c.FinishedAt.IsZero() {
		t.Errorf("container that had ended = %+v, want exit code 9", c)
	}
	if err := l.engine.Start(t.Context(), created.ID); err != nil {
		t.Errorf("Start after containerd's end = %v", err)
	}
	l.Await(t, created.ID, "c0", runtime.Running)
	if err := l.engine.Stop(t.Context(), runs.ID, "c0", ""); err != nil {
		t.Error(err)
	}
	if c := l.Await(t, runs.ID, "c0", runtime.Stopped); c.ExitCode != 4 {
		t.Errorf("exit code = %d, want 4", c.ExitCode)
	}
}

// The shim has deleted its container, and nobody heard it: a server killed in the midst of a removal.
func TestEngine_RemoveBrokenOff(t *testing.T) {
	l := newLab(t)
	spec := l.Spec(t, []string{"serve"})
	l.launch(t, spec)
	bundle, err := filepath.Glob(filepath.Join(l.sup.bundles(), spec.ID+"-*"))
	if err != nil || len(bundle) != 1 {
		t.Fatalf("bundles = %v, %v, want one", bundle, err)
	}
	conn, err := dialShim(bundle[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	id, shim := filepath.Base(bundle[0]), task.NewTTRPCTaskClient(conn)
	if _, err := shim.Kill(t.Context(), &task.KillRequest{ID: id, Signal: uint32(syscall.SIGKILL)}); err != nil {
		t.Fatal(err)
	}
	if _, err := shim.Wait(t.Context(), &task.WaitRequest{ID: id}); err != nil {
		t.Fatal(err)
	}
	if _, err := shim.Delete(t.Context(), &task.DeleteRequest{ID: id}); err != nil {
		t.Fatal(err)
	}
	if err := l.engine.Remove(t.Context(), spec.ID); err != nil {
		t.Errorf("Remove() = %v, want nil", err)
	}
	if pids := l.shimPids(t); len(pids) > 0 {
		t.Errorf("shims left: %v", pids)
	}
}

// ready waits until the Supervisor has noticed the end of containerd and has started it again.
func ready(t testing.TB, l *lab) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		if err := l.sup.Ready(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := l.engine.List(ctx); err == nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestSupervisor_ExitsWhileContainerdIsAway(t *testing.T) {
	l := newLab(t)
	// c0 ends while all are away, c1 by a signal, c2 for want of memory, c3 a bit later than containerd comes back.
	spec := l.Spec(t, []string{"sleep", "400"}, []string{"serve", "8"}, []string{"serve"}, []string{"serve", "6"})
	pid := l.launch(t, spec)
	pids := []int{pid}
	for i := 1; i < 4; i++ {
		p := l.program(t, spec.ID, fmt.Sprintf("c%d", i))
		pids = append(pids, p)
	}
	time.Sleep(100 * time.Millisecond) // signal handlers
	l.stop()
	l.killDaemon(t)
	syscall.Kill(pids[1], syscall.SIGTERM)
	syscall.Kill(pids[2], syscall.SIGKILL)
	for _, p := range pids[:3] {
		process{PID: p}.gone(t)
	}
	l.run(t)
	for i, want := range []int{0, 8, 137} {
		c := l.Await(t, spec.ID, fmt.Sprintf("c%d", i), runtime.Stopped)
		if c.ExitCode != want || c.Lost || time.Since(c.FinishedAt) > time.Minute {
			t.Errorf("c%d = %+v, want exit code %d", i, c, want)
		}
	}
	if c := l.Await(t, spec.ID, "c3", runtime.Running); c.Pid != pids[3] {
		t.Errorf("c3 = %+v, want pid %d", c, pids[3])
	}
	syscall.Kill(pids[3], syscall.SIGTERM)
	if c := l.Await(t, spec.ID, "c3", runtime.Stopped); c.ExitCode != 6 {
		t.Errorf("c3 = %+v, want exit code 6", c)
	}
}

// gone waits for the end of a process that is not our child.
func (p process) gone(t testing.TB) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if proc.Start(p.PID) == 0 {
			return
		}
	}
	t.Fatalf("process %d does not end", p.PID)
}

// An exit at any moment of containerd's restart must be seen with its code.
func TestSupervisor_ExitDuringRestart(t *testing.T) {
	l := newLab(t)
	const n = 12
	var specs []runtime.TaskSpec
	for i := range n {
		specs = append(specs, l.Spec(t, []string{"serve", strconv.Itoa(10 + i)}))
	}
	pids := make([]int, n)
	for i, s := range specs {
		pids[i] = l.launch(t, s)
	}
	time.Sleep(100 * time.Millisecond)
	l.killDaemon(t)
	for _, pid := range pids { // the Supervisor restarts containerd 50 ms later, which takes about as long
		syscall.Kill(pid, syscall.SIGTERM)
		time.Sleep(15 * time.Millisecond)
	}
	ready(t, l)
	for i, s := range specs {
		if c := l.Await(t, s.ID, "c0", runtime.Stopped); c.ExitCode != 10+i || c.Lost {
			t.Errorf("task %d = %+v, want exit code %d", i, c, 10+i)
		}
	}
}

func TestSupervisor_ShimKilled(t *testing.T) {
	l := newLab(t)
	spec := l.Spec(t, []string{"serve"}, []string{"exit", "5"})
	pid := l.launch(t, spec)
	l.Await(t, spec.ID, "c1", runtime.Stopped)
	time.Sleep(500 * time.Millisecond) // the exit is noted with its event; a shim that is killed before that takes it along
	shims := l.shimPids(t)
	if len(shims) != 1 {
		t.Fatalf("shims of a task with two containers = %v, want one", shims)
	}
	syscall.Kill(shims[0], syscall.SIGKILL)
	if c := l.Await(t, spec.ID, "c0", runtime.Stopped); c.ExitCode != 137 {
		t.Errorf("c0 = %+v, want exit code 137", c)
	}
	process{PID: pid}.gone(t)
	if c := l.Await(t, spec.ID, "c1", runtime.Stopped); c.ExitCode != 5 {
		t.Errorf("c1 = %+v, want exit code 5", c)
	}
}

func TestEngine_CreateCompletesWhatWasBrokenOff(t *testing.T) {
	l := newLab(t)
	spec := l.Spec(t, []string{"serve"}, []string{"serve"})
	if err := l.engine.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	first := l.Await(t, spec.ID, "c0", runtime.Created)
	// As if the server had died after containerd made the second container and before that was noted.
	if err := l.sup.ledger.update(containerID(spec.ID, "c1"), func(c *containerEntry) { c.Created = false }); err != nil {
		t.Fatal(err)
	}
	if task, _ := l.State(t, spec.ID); len(task.Containers) != 1 {
		t.Errorf("half-made task = %+v, want only c0 listed", task)
	}
	l.stop()
	l.run(t)
	if err := l.engine.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if again := l.Await(t, spec.ID, "c0", runtime.Created); again != first {
		t.Errorf("c0 = %+v, want %+v as before", again, first)
	}
	l.Await(t, spec.ID, "c1", runtime.Created)
}

func TestEngine_RebootLosesExits(t *testing.T) {
	l := newLab(t)
	spec := l.Spec(t, []string{"serve"})
	l.launch(t, spec)
	l.stop()
	// What a reboot leaves: no processes, nothing below the run directory.
	l.killDaemon(t)
	for _, p := range l.shimPids(t) {
		syscall.Kill(p, syscall.SIGKILL)
	}
	if err := l.sup.sweep(); err != nil {
		t.Fatal(err)
	}
	l.run(t)
	if c := l.Await(t, spec.ID, "c0", runtime.Stopped); !c.Lost || c.ExitCode != 137 {
		t.Errorf("container after a reboot = %+v, want Lost, exit code 137", c)
	}
}

func TestEngine_RemoveLeavesNothing(t *testing.T) {
	l := newLab(t)
	spec := l.Spec(t, []string{"serve"}, []string{"exit", "1"}, []string{"deaf"})
	l.launch(t, spec)
	if err := l.engine.Remove(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	l.checkRemoved(t, spec.ID)
}

// checkRemoved looks for what a removed task may have left, while containerd runs.
func (l *lab) checkRemoved(t testing.TB, id string) {
	t.Helper()
	if pids := l.shimPids(t); len(pids) > 0 {
		t.Errorf("shims = %v, want none", pids)
	}
	for _, pattern := range []string{l.sup.bundles(), l.sup.sockets(), l.sup.taskFiles(), filepath.Join(l.sup.runcRoot(), l.sup.Namespace()), l.sup.ledgerDir()} {
		if files, _ := filepath.Glob(pattern + "/*"); len(files) > 0 {
			t.Errorf("files left: %v", files)
		}
	}
	for _, m := range l.sup.groups.mounts {
		if _, err := os.Stat(filepath.Join(m, l.sup.groups.parent, id)); err == nil {
			t.Errorf("cgroup left: %s", filepath.Join(m, l.sup.groups.parent, id))
		}
	}
	c, err := l.sup.Client()
	if err != nil {
		t.Fatal(err)
	}
	ctx := l.ctx(t)
	if ctrs, err := c.Containers(ctx); err != nil || len(ctrs) > 0 {
		t.Errorf("containers = %v, %v, want none", ctrs, err)
	}
	held, err := c.LeasesService().List(ctx)
	if err != nil || len(held) != 1 {
		t.Errorf("leases = %v, %v, want only the repository's", held, err)
	}
	err = c.SnapshotService(snapshotter).Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		if i.Kind != snapshots.KindCommitted {
			t.Errorf("snapshot left: %s", i.Name)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if n := l.traces()["mount"]; len(n) > 0 {
		t.Errorf("mounts left: %v", n)
	}
}

func TestSupervisor_StopAfterEverythingWasKilled(t *testing.T) {
	l := newLab(t)
	spec := l.Spec(t, []string{"serve"}, []string{"serve"})
	l.launch(t, spec)
	l.stop()
	l.killDaemon(t)
	var err error
	if l.sup, err = New(l.o); err != nil { // another process: lotse server stop --all
		t.Fatal(err)
	}
	if err := l.sup.Stop(t.Context()); err != nil {
		t.Errorf("Stop() = %v", err)
	}
	if left := l.traces(); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	l.run(t) // for the cleanups
}
