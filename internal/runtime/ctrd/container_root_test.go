package ctrd

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lotse-project/lotse/internal/runtime"
)

// launch creates and starts a task and returns the pid of its container c0.
func (l *lab) launch(t testing.TB, spec runtime.TaskSpec) int {
	t.Helper()
	if err := l.engine.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if err := l.engine.Start(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	return l.program(t, spec.ID, spec.Containers[0].Name)
}

// program is the process of a container that runs, once it is the container's program.
func (l *lab) program(t testing.TB, task, name string) int {
	t.Helper()
	pid := l.Await(t, task, name, runtime.Running).Pid
	waitExec(t, pid)
	return pid
}

// waitExec waits until the process is the program and no longer runc.
func waitExec(t testing.TB, pid int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // empty until the program has been loaded
		if err == nil && exe == "/program" && len(args) > 0 {
			return
		}
	}
	t.Fatalf("process %d does not run /program", pid)
}

// status is /proc/PID/status.
func status(t testing.TB, pid int) map[string]string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(line, ":")
		out[k] = strings.Join(strings.Fields(v), " ")
	}
	return out
}

func read(t testing.TB, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func TestContainer_Confinement(t *testing.T) {
	l := newLab(t)
	for _, test := range []struct {
		name   string
		change func(*runtime.ContainerSpec)
		want   map[string]string // of /proc/PID/status
	}{
		{"Default", func(*runtime.ContainerSpec) {},
			map[string]string{"CapEff": "00000000a80425fb", "CapBnd": "00000000a80425fb", "CapInh": "0000000000000000",
				"Seccomp": "2", "NoNewPrivs": "1", "Uid": "0 0 0 0", "Groups": "0"}},
		{"AddedAndDropped", func(c *runtime.ContainerSpec) {
			c.CapAdd, c.CapDrop = []string{"SYS_PTRACE"}, []string{"CAP_NET_RAW", "mknod"}
		}, map[string]string{"CapEff": "00000000a00c05fb"}},
		{"NoneButOne", func(c *runtime.ContainerSpec) { c.CapAdd, c.CapDrop = []string{"CHOWN"}, []string{"ALL"} },
			map[string]string{"CapEff": "0000000000000001"}},
		{"UserByName", func(c *runtime.ContainerSpec) { c.User = "app" },
			map[string]string{"Uid": "1000 1000 1000 1000", "Gid": "1001 1001 1001 1001", "Groups": "1001 2000", "CapEff": "0000000000000000"}},
		{"UserAndGroupByNumber", func(c *runtime.ContainerSpec) { c.User = "77:88" },
			map[string]string{"Uid": "77 77 77 77", "Gid": "88 88 88 88"}},
		{"NewPrivileges", func(c *runtime.ContainerSpec) { c.NewPrivileges = true }, map[string]string{"NoNewPrivs": "0"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			spec := l.Spec(t, []string{"serve"})
			test.change(&spec.Containers[0])
			got := status(t, l.launch(t, spec))
			for k, want := range test.want {
				if got[k] != want {
					t.Errorf("%s = %q, want %q", k, got[k], want)
				}
			}
		})
	}
}

func TestContainer_Process(t *testing.T) {
	l := newLab(t)
	spec := l.Spec(t, []string{"serve", "3"})
	spec.Hostname, spec.Hosts, spec.Resolv = "web-1", "10.0.0.9 web-1\n", "nameserver 10.0.0.2\n"
	c := &spec.Containers[0]
	c.Env, c.WorkingDir = []string{"BOTH=container", "OWN=1"}, "/made/here"
	c.Ulimits = []runtime.Ulimit{{Name: "nofile", Soft: 100, Hard: 200}, {Name: "core", Soft: 4096, Hard: math.MaxUint64}}
	c.Sysctls, c.MemoryReservation = map[string]string{"net.core.somaxconn": "77"}, 8<<20
	c.Name = "a__strange-name-"
	pid := l.launch(t, spec)

	env := strings.Split(read(t, fmt.Sprintf("/proc/%d/environ", pid)), "\x00")
	for _, want := range []string{"FROM=image", "BOTH=container", "OWN=1", "HOSTNAME=web-1", defaultPath, "HOME=/root"} {
		if !slices.Contains(env, want) {
			t.Errorf("environment = %q, want %q in it", env, want)
		}
	}
	if got, want := read(t, fmt.Sprintf("/proc/%d/cmdline", pid)), "/program\x00serve\x003\x00"; got != want {
		t.Errorf("command line = %q, want %q", got, want)
	}
	if got, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); got != "/made/here" {
		t.Errorf("working directory = %q, want /made/here", got)
	}
	root := fmt.Sprintf("/proc/%d/root/", pid)
	for file, want := range map[string]string{
		"etc/hosts": "10.0.0.9 web-1", "etc/resolv.conf": "nameserver 10.0.0.2", "etc/hostname": "web-1",
	} {
		if got := read(t, root, file); got != want {
			t.Errorf("%s = %q, want %q", file, got, want)
		}
	}
	if got := read(t, fmt.Sprintf("/proc/%d/limits", pid)); !strings.Contains(strings.Join(strings.Fields(got), " "), " 200 files") { // Go programs raise the soft limit themselves
		t.Errorf("limits = %s, want a hard limit of 200 open files", got)
	}
	if got := read(t, fmt.Sprintf("/proc/%d/limits", pid)); !strings.Contains(strings.Join(strings.Fields(got), " "), "Max core file size 4096 unlimited") {
		t.Errorf("limits = %s, want core files of 4096 bytes", got)
	}
	if got := read(t, fmt.Sprintf("/proc/%d/oom_score_adj", pid)); got != "0" {
		t.Errorf("oom_score_adj = %s, want 0", got)
	}
	out, err := exec.Command("nsenter", "-t", strconv.Itoa(pid), "-n", "-u", "cat", "/proc/sys/kernel/hostname", "/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/net/core/somaxconn").Output()
	if got, want := string(out), "web-1\n0\n77\n"; err != nil || got != want {
		t.Errorf("hostname and first unprivileged port = %q, %v, want %q", got, err, want)
	}
	for _, masked := range []string{"proc/kcore", "proc/keys"} {
		if b, err := os.ReadFile(root + masked); err == nil && len(b) > 0 {
			t.Errorf("%s can be read", masked)
		}
	}
}

func TestContainer_Volumes(t *testing.T) {
	l := newLab(t)
	spec := l.Spec(t, []string{"serve"}, []string{"serve"})
	host := t.TempDir()
	os.WriteFile(filepath.Join(host, "f"), []byte("host"), 0o644)
	spec.Volumes = []string{"data", "other"}
	spec.Containers[0].Mounts = []runtime.Mount{{Volume: "data", Path: "/var/data"}}
	spec.Containers[1].Mounts = []runtime.Mount{{Volume: "data", Path: "/mnt/a", ReadOnly: true}, {Volume: "other", Path: "/mnt/b"}, {Source: host, Path: "/mnt/c"}}
	first := l.launch(t, spec)
	second := l.program(t, spec.ID, "c1")
	in := func(pid int, path string) string { return fmt.Sprintf("/proc/%d/root%s", pid, path) }
	if err := os.WriteFile(in(first, "/var/data/x"), []byte("shared"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := read(t, in(second, "/mnt/a/x")); got != "shared" {
		t.Errorf("the other container reads %q", got)
	}
	if err := os.WriteFile(in(second, "/mnt/a/y"), nil, 0o644); !errors.Is(err, syscall.EROFS) {
		t.Errorf("writing to a read-only mount: %v", err)
	}
	if _, err := os.Stat(in(second, "/mnt/b/x")); err == nil {
		t.Error("two volumes are one")
	}
	if got := read(t, in(second, "/mnt/c/f")); got != "host" {
		t.Errorf("the host's file is %q", got)
	}
	if err := l.engine.Remove(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(l.sup.taskFiles(), spec.ID)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if got := read(t, host, "f"); got != "host" {
		t.Errorf("the host's file is %q", got)
	}
	bad := l.Spec(t, []string{"serve"})
	bad.Containers[0].Mounts = []runtime.Mount{{Volume: "none", Path: "/x"}}
	if err := l.engine.Create(t.Context(), bad); !errors.Is(err, runtime.ErrUnrunnable) {
		t.Errorf("a volume that the task hasn't: %v", err)
	}
}

func TestContainer_InitProcess(t *testing.T) {
	l := newLab(t)
	spec := l.Spec(t, []string{"serve", "3"})
	spec.Containers[0].InitProcess, spec.Containers[0].User = true, "app"
	if err := l.engine.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if err := l.engine.Start(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	pid := l.Await(t, spec.ID, "c0", runtime.Running).Pid
	children := func() []string {
		var out []string // each thread has its own
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
		for _, f := range files {
			b, _ := os.ReadFile(f)
			out = append(out, strings.Fields(string(b))...)
		}
		return out
	}
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end) && len(children()) == 0; {
		time.Sleep(time.Millisecond)
	}
	if got, want := read(t, fmt.Sprintf("/proc/%d/cmdline", pid)), "/sbin/docker-init\x00--\x00/program\x00serve\x003\x00"; got != want {
		t.Errorf("first process = %q, want %q", got, want)
	}
	if c := children(); len(c) != 1 {
		t.Fatalf("children of the init = %v, want the program", c)
	}
	time.Sleep(100 * time.Millisecond) // its signal handler
	if err := l.engine.Stop(t.Context(), spec.ID, "c0", ""); err != nil {
		t.Fatal(err)
	}
	if c := l.Await(t, spec.ID, "c0", runtime.Stopped); c.ExitCode != 3 {
		t.Errorf("exit code = %d, want the program's, 3", c.ExitCode)
	}
}

func TestContainer_Netns(t *testing.T) {
	l := newLab(t)
	holder := exec.Command("sleep", "60")
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { holder.Process.Kill(); holder.Wait() })
	netns := fmt.Sprintf("/proc/%d/ns/net", holder.Process.Pid)
	want, err := os.Readlink(netns)
	if err != nil {
		t.Fatal(err)
	}
	spec := l.Spec(t, []string{"serve"}, []string{"serve"})
	spec.Netns = netns
	l.launch(t, spec)
	for _, name := range []string{"c0", "c1"} {
		c := l.Await(t, spec.ID, name, runtime.Running)
		if got, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", c.Pid)); got != want {
			t.Errorf("container %s is in %s, want %s", name, got, want)
		}
	}
}

func TestContainer_ReadonlyRoot(t *testing.T) {
	l := newLab(t)
	spec := l.Spec(t, []string{"write", "/file", "x"}, []string{"write", "/file", "x"})
	spec.Containers[0].ReadonlyRoot = true
	if err := l.engine.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if err := l.engine.Start(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{1, 0} {
		if c := l.Await(t, spec.ID, fmt.Sprintf("c%d", i), runtime.Stopped); c.ExitCode != want {
			t.Errorf("write in container c%d: exit code %d, want %d", i, c.ExitCode, want)
		}
	}
}

func TestContainer_Limits(t *testing.T) {
	l := newLab(t)
	spec := l.Spec(t, []string{"serve"}, []string{"serve"})
	spec.CPU, spec.Memory = 512, 128<<20
	spec.Containers[0].CPU, spec.Containers[0].Memory, spec.Containers[0].PidsMax = 256, 64<<20, 50
	l.launch(t, spec)
	g := l.sup.groups
	dir := func(controller, path string) string {
		if g.unified {
			return filepath.Join(g.mounts[0], path)
		}
		return filepath.Join(g.control[controller], path)
	}
	task := g.parent + "/" + spec.ID
	c0, c1 := g.path(containerID(spec.ID, "c0")), g.path(containerID(spec.ID, "c1"))
	type want struct{ controller, path, v1, v2, value1, value2 string }
	for _, w := range []want{
		{"memory", task, "memory.limit_in_bytes", "memory.max", "134217728", "134217728"},
		{"memory", c0, "memory.limit_in_bytes", "memory.max", "67108864", "67108864"},
		{"memory", c1, "memory.limit_in_bytes", "memory.max", "134217728", "134217728"},
		{"cpu", task, "cpu.cfs_quota_us", "cpu.max", "50000", "50000 100000"},
		{"cpu", task, "cpu.shares", "cpu.weight", "512", "59"},
		{"cpu", c0, "cpu.shares", "cpu.weight", "256", "35"},
		{"cpu", c1, "cpu.shares", "cpu.weight", "2", "1"},
		{"pids", c0, "pids.max", "pids.max", "50", "50"},
		{"pids", c1, "pids.max", "pids.max", strconv.Itoa(runtime.DefaultPidsMax), strconv.Itoa(runtime.DefaultPidsMax)},
	} {
		file, value := w.v1, w.value1
		if g.unified {
			file, value = w.v2, w.value2
		}
		if got := read(t, dir(w.controller, w.path), file); got != value {
			t.Errorf("%s of %s = %s, want %s", file, w.path, got, value)
		}
	}
	if procs := read(t, dir("memory", c0), "cgroup.procs"); procs == "" {
		t.Error("the container's process is not in its group")
	}
}

func TestContainer_CPUQuotaHoldsForTheTask(t *testing.T) {
	l := newLab(t)
	spec := l.Spec(t, []string{"spin", "2"}, []string{"spin", "2"})
	spec.CPU = 256
	l.launch(t, spec)
	time.Sleep(time.Second)
	file := filepath.Join(l.sup.groups.control["cpuacct"], l.sup.groups.parent, spec.ID, "cpuacct.usage")
	if l.sup.groups.unified {
		t.Skip("cpuacct.usage is cgroup v1's")
	}
	before, _ := strconv.Atoi(read(t, file))
	begun := time.Now()
	time.Sleep(500 * time.Millisecond)
	after, _ := strconv.Atoi(read(t, file))
	if share := float64(after-before) / float64(time.Since(begun)); share > 0.35 {
		t.Errorf("two spinning containers of a task with 256 CPU units use %.2f CPUs, want 0.25", share)
	}
}

func TestContainer_TaskMemoryIsSharedHard(t *testing.T) {
	l := newLab(t)
	// No limits of their own: the hog is stopped by the task's 64 MiB, its neighbour is not blamed.
	spec := l.Spec(t, []string{"serve"}, []string{"hog"})
	l.launch(t, spec)
	if c := l.Await(t, spec.ID, "c1", runtime.Stopped); !c.OOM {
		t.Errorf("hog = %+v, want OOM", c)
	}
	if c := l.Await(t, spec.ID, "c0", runtime.Running); c.OOM {
		t.Errorf("neighbour = %+v, want no OOM", c)
	}
}

func TestEngine_UnrunnableIsToldApart(t *testing.T) {
	l := newLab(t)
	for _, test := range []struct {
		name   string
		change func(*runtime.TaskSpec)
		want   string
	}{
		{"NoSuchCommand", func(s *runtime.TaskSpec) { s.Containers[0].EntryPoint = []string{"nonsense"} }, `exec: "nonsense": executable file not found in $PATH`},
		{"NoSuchFile", func(s *runtime.TaskSpec) { s.Containers[0].EntryPoint = []string{"/nonsense"} }, "no such file or directory"},
		{"NotExecutable", func(s *runtime.TaskSpec) { s.Containers[0].EntryPoint = []string{"/etc/passwd"} }, "permission denied"},
		{"NoCommand", func(s *runtime.TaskSpec) {
			s.Containers[0].EntryPoint, s.Containers[0].Command = []string{}, nil
		}, "no command specified"},
		{"NoSuchUser", func(s *runtime.TaskSpec) { s.Containers[0].User = "nobody-here" }, `user "nobody-here"`},
		{"NoSuchCapability", func(s *runtime.TaskSpec) { s.Containers[0].CapAdd = []string{"FLY"} }, "CAP_FLY"},
		{"Name", func(s *runtime.TaskSpec) { s.Containers[0].Name = "a/b" }, "a/b"},
		{"Twins", func(s *runtime.TaskSpec) { s.Containers = append(s.Containers, s.Containers[0]) }, "c0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			spec := l.Spec(t, nil)
			test.change(&spec)
			err := l.engine.Create(t.Context(), spec)
			if !errors.Is(err, runtime.ErrUnrunnable) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Create() = %v, want ErrUnrunnable with %q", err, test.want)
			}
		})
	}
}

// A tmpfs has its size and its options, is writable where the root isn't, and a volume below it is seen.
func TestContainer_Tmpfs(t *testing.T) {
	l := newLab(t)
	spec := l.Spec(t, []string{"serve"})
	spec.Volumes = []string{"data"}
	c := &spec.Containers[0]
	c.ReadonlyRoot = true
	c.Tmpfs = []runtime.Tmpfs{{Path: "/scratch", Bytes: 2 << 20, Options: []string{"mode=1777", "uid=7"}}, {Path: "/run", Bytes: 1 << 20, Options: []string{"exec", "ro"}}}
	c.Mounts = []runtime.Mount{{Volume: "data", Path: "/scratch/data"}}
	pid := l.launch(t, spec)
	root := fmt.Sprintf("/proc/%d/root/", pid)
	var st unix.Stat_t
	if err := unix.Stat(root+"scratch", &st); err != nil || st.Mode&0o7777 != 0o1777 || st.Uid != 7 {
		t.Errorf("/scratch: mode %o, user %d, %v", st.Mode, st.Uid, err)
	}
	if err := os.WriteFile(root+"scratch/fits", make([]byte, 1<<20), 0o644); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(root+"scratch/large", make([]byte, 2<<20), 0o644); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("beyond its size: %v, want %v", err, unix.ENOSPC)
	}
	if err := os.WriteFile(root+"scratch/data/f", make([]byte, 3<<20), 0o644); err != nil {
		t.Errorf("the volume below it: %v", err)
	}
	for _, dir := range []string{"", "run/"} {
		if err := os.WriteFile(root+dir+"f", nil, 0o644); !errors.Is(err, unix.EROFS) {
			t.Errorf("in /%s: %v, want %v", dir, err, unix.EROFS)
		}
	}
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/scratch": "rw,nosuid,nodev,noexec", "/run": "ro,nosuid,nodev"} {
		if !strings.Contains(string(table), " "+path+" "+want+",") && !strings.Contains(string(table), " "+path+" "+want+" ") {
			t.Errorf("%s is not mounted %s:\n%s", path, want, table)
		}
	}
}

func TestContainer_Usage(t *testing.T) {
	l := newLab(t)
	host := t.TempDir()
	spec := l.Spec(t, []string{"serve"}, []string{"serve"})
	spec.Volumes = []string{"data"}
	spec.Containers[0].Mounts = []runtime.Mount{{Volume: "data", Path: "/data"}, {Source: host, Path: "/host"}}
	root := fmt.Sprintf("/proc/%d/root/", l.launch(t, spec))
	second := fmt.Sprintf("/proc/%d/root/", l.program(t, spec.ID, "c1"))
	const mib = 1 << 20
	usage := func(want int64) {
		t.Helper()
		n, err := l.engine.Usage(t.Context(), spec.ID)
		if err != nil || n < want*mib || n >= (want+1)*mib { // directories count, too
			t.Errorf("Usage() = %d, %v, want some %d MiB", n, err, want)
		}
	}
	write := func(path string, size int) {
		t.Helper()
		if err := os.WriteFile(path, make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	usage(0)
	write(root+"a", 4*mib)
	write(root+"data/b", 2*mib)
	write(second+"c", 1*mib)
	write(root+"host/d", 8*mib) // the machine's, not the task's
	if err := os.Link(root+"data/b", root+"data/again"); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(root+"data/b", 1<<40); err != nil { // a hole
		t.Fatal(err)
	}
	usage(7)
	if err := os.Remove(root + "a"); err != nil {
		t.Fatal(err)
	}
	usage(3)
}

func TestContainer_MountUser(t *testing.T) {
	l := newLab(t)
	host := t.TempDir()
	if err := os.Chown(host, 1234, 2345); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(host, "roots"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	spec := l.Spec(t, []string{"write", "/mnt/a", "a"}, []string{"write", "/mnt/b", "b"}, []string{"write", "/mnt/roots", "c"})
	for i, user := range []string{"", "500:600", ""} {
		spec.Containers[i].User = user
		spec.Containers[i].Mounts = []runtime.Mount{{Source: host, Path: "/mnt", As: &runtime.User{UID: 1234, GID: 2345}}}
	}
	if err := l.engine.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if err := l.engine.Start(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"c0": 0, "c1": 0, "c2": 1} {
		if c := l.Await(t, spec.ID, name, runtime.Stopped); c.ExitCode != want {
			t.Errorf("%s ended with %d, want %d", name, c.ExitCode, want)
		}
	}
	for _, name := range []string{"a", "b"} {
		info, err := os.Stat(filepath.Join(host, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != 1234 || st.Gid != 2345 {
			t.Errorf("%s is %d:%d's, want 1234:2345's", name, st.Uid, st.Gid)
		}
	}
	if got := read(t, host, "roots"); got != "x" {
		t.Errorf("the container's root wrote to a file of the machine's root: %q", got)
	}
}
