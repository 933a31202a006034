package ctrd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cgroups are the control groups of our tasks: PARENT/TASK/CONTAINER in every hierarchy. The task's holds its limits;
// the container's is made by runc. On v1 each controller has a hierarchy of its own, on v2 there is one for all;
// a hybrid machine has v1 with an additional v2 hierarchy without controllers.
//
// runc removes only the container's group; those above are ours to remove.
type cgroups struct {
	parent  string            // "/lotse-ID"
	unified bool              // v2: the controllers are in the one hierarchy
	mounts  []string          // of all hierarchies
	control map[string]string // v1: mount by controller
}

const (
	cpuPeriod = 100_000 // µs, CFS period: the kernel's and Docker's default
	minQuota  = 1_000   // µs, the least the kernel takes
	rmWithin  = 5 * time.Second
)

func findCgroups(parent string) (cgroups, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return cgroups{}, err
	}
	defer f.Close()
	g := cgroups{parent: parent, control: map[string]string{}}
	seen := map[string]bool{}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		// 36 35 98:0 /root /mount/point options… - type source superoptions. Source: proc_pid_mountinfo(5).
		left, right, ok := strings.Cut(sc.Text(), " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 3 || !strings.HasPrefix(r[0], "cgroup") || seen[l[4]] {
			continue
		}
		seen[l[4]] = true
		g.mounts = append(g.mounts, l[4])
		if r[0] == "cgroup" {
			for _, c := range strings.Split(r[2], ",") {
				g.control[c] = l[4]
			}
		}
	}
	_, v1 := g.control["memory"]
	g.unified = !v1
	if len(g.mounts) == 0 {
		return g, errors.New("no cgroup file system is mounted; mount one at /sys/fs/cgroup")
	}
	return g, nil
}

// path is a container's group as the runtime specification wants it. Container IDs begin with their task's.
func (g cgroups) path(containerID string) string {
	task, _, _ := strings.Cut(containerID, "-")
	return g.parent + "/" + task + "/" + containerID
}

// createTask makes the task's group with its limits: cpu in units (1024 = one CPU), memory in bytes; 0 = no limit.
// It is harmless to repeat.
func (g cgroups) createTask(task string, cpu int, memory int64) error {
	if g.unified {
		return g.createUnified(g.mounts[0], task, cpu, memory)
	}
	return g.createV1(task, cpu, memory)
}

func (g cgroups) createV1(task string, cpu int, memory int64) error {
	for _, c := range []string{"memory", "cpu"} {
		if g.control[c] == "" {
			return fmt.Errorf("cgroup controller %s is not mounted", c)
		}
		if err := os.MkdirAll(filepath.Join(g.control[c], g.parent, task), 0o755); err != nil {
			return err
		}
	}
	var w groupWriter
	w.dir = filepath.Join(g.control["memory"], g.parent, task)
	if memory > 0 {
		w.set("memory.limit_in_bytes", strconv.FormatInt(memory, 10))
		w.setIfThere("memory.memsw.limit_in_bytes", strconv.FormatInt(memory, 10)) // memory and swap: no swap
	}
	w.dir = filepath.Join(g.control["cpu"], g.parent, task)
	if cpu > 0 {
		w.set("cpu.cfs_period_us", strconv.Itoa(cpuPeriod))
		w.set("cpu.cfs_quota_us", strconv.Itoa(quota(cpu)))
		w.set("cpu.shares", strconv.Itoa(max(2, cpu)))
	}
	return w.err
}

func (g cgroups) createUnified(mount, task string, cpu int, memory int64) error {
	dir := mount
	for _, name := range []string{g.parent, task} {
		// A controller is there for the children only when each group above hands it down.
		var w groupWriter
		w.dir = dir
		for _, c := range []string{"+cpu", "+memory", "+pids"} {
			w.set("cgroup.subtree_control", c)
		}
		for _, c := range []string{"+cpuset", "+io"} {
			_ = (&groupWriter{dir: dir}).set("cgroup.subtree_control", c) // fine without
		}
		if w.err != nil {
			return fmt.Errorf("cgroup controllers: %w", w.err)
		}
		dir = filepath.Join(dir, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	w := groupWriter{dir: dir}
	if memory > 0 {
		w.set("memory.max", strconv.FormatInt(memory, 10))
		w.setIfThere("memory.swap.max", "0")
	}
	if cpu > 0 {
		w.set("cpu.max", fmt.Sprintf("%d %d", quota(cpu), cpuPeriod))
		w.set("cpu.weight", strconv.Itoa(weight(cpu)))
	}
	return w.err
}

// swapLimit tells whether the kernel can limit swap; on v1 that may be switched off at boot.
func (g cgroups) swapLimit() bool {
	if g.unified {
		return true
	}
	_, err := os.Stat(filepath.Join(g.control["memory"], "memory.memsw.limit_in_bytes"))
	return err == nil
}

// oom tells whether the kernel killed a process of the container for want of memory. Source: the counter oom_kill,
// in the kernel's admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst. False when the group is gone.
func (g cgroups) oom(containerID string) bool {
	file := filepath.Join(g.control["memory"], g.path(containerID), "memory.oom_control")
	if g.unified {
		file = filepath.Join(g.mounts[0], g.path(containerID), "memory.events")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	for line := range bytes.Lines(b) {
		if n, ok := bytes.CutPrefix(line, []byte("oom_kill ")); ok {
			return string(bytes.TrimSpace(n)) != "0"
		}
	}
	return false
}

// removeTask kills what is left in the task's groups and removes them, in every hierarchy.
func (g cgroups) removeTask(task string) error { return g.remove(g.parent + "/" + task) }

// removeAll removes everything of this server's.
func (g cgroups) removeAll() error { return g.remove(g.parent) }

// Private

func (g cgroups) remove(path string) error {
	var errs []error
	for _, m := range g.mounts {
		errs = append(errs, removeGroup(filepath.Join(m, path)))
	}
	return errors.Join(errs...)
}

// removeGroup removes a group and those below it. A group stays busy for a moment after its last process ended.
func removeGroup(dir string) error {
	for end := time.Now().Add(rmWithin); ; time.Sleep(5 * time.Millisecond) {
		err := removeGroupOnce(dir)
		if err == nil || time.Now().After(end) {
			return err
		}
	}
}

func removeGroupOnce(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeGroupOnce(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	err = syscall.Rmdir(dir)
	if errors.Is(err, syscall.EBUSY) {
		killGroup(dir)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

func killGroup(dir string) {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return
	}
	for _, f := range bytes.Fields(b) {
		if pid, err := strconv.Atoi(string(f)); err == nil && pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// groupWriter writes a group's files and keeps the first error.
type groupWriter struct {
	dir string
	err error
}

func (w *groupWriter) set(file, value string) error {
	if w.err == nil {
		w.err = os.WriteFile(filepath.Join(w.dir, file), []byte(value), 0)
	}
	return w.err
}

func (w *groupWriter) setIfThere(file, value string) {
	if _, err := os.Stat(filepath.Join(w.dir, file)); err == nil {
		_ = w.set(file, value)
	}
}

// quota is the CPU time per period, µs, of so many CPU units: 256 → 25 000 of 100 000.
func quota(cpu int) int { return max(minQuota, cpu*cpuPeriod/1024) }

// weight is shares (2–262144, usually 1024) as cgroup v2 wants them (1–10000, usually 100), the same way as runc does.
// Source: opencontainers/cgroups, ConvertCPUSharesToCgroupV2Value.
func weight(cpu int) int {
	if cpu <= 2 {
		return 1
	}
	l := math.Log2(float64(min(cpu, 262144)))
	return min(10_000, int(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34))))
}
