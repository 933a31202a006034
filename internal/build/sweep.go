package build

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Private

// sweep removes what a buildkitd that no longer runs left outside its root, and the temporary files in it. After a
// clean end there is only the cgroup parent.
func (d *Daemon) sweep(ctx context.Context) error {
	groups, err := cgroups(d.o.CgroupParent)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if err := killCgroup(g); err != nil {
			return err
		}
	}
	if d.o.RemoveContainers != nil {
		if err := d.o.RemoveContainers(ctx, d.o.CgroupParent); err != nil {
			return err
		}
	}
	// Mounts before files: a mounted root file system is somebody's snapshot.
	if err := unmountBelow(d.o.Root); err != nil {
		return err
	}
	for _, dir := range []string{d.tmp(), d.traceDir()} {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	for _, g := range groups {
		if err := removeCgroup(g); err != nil {
			return err
		}
	}
	for _, f := range []string{d.pidFile(), d.socket()} {
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// A mountPoint is a line of /proc/self/mountinfo. Source: proc_pid_mountinfo(5).
type mountPoint struct{ path, kind string }

func mounts() ([]mountPoint, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var all []mountPoint
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20) // an overlay's options are long
	for s.Scan() {
		front, back, ok := strings.Cut(s.Text(), " - ")
		fields, kinds := strings.Fields(front), strings.Fields(back)
		if ok && len(fields) > 4 && len(kinds) > 0 {
			all = append(all, mountPoint{unescape.Replace(fields[4]), kinds[0]})
		}
	}
	return all, s.Err()
}

// unmountBelow unmounts all that is mounted below dir, newest first.
func unmountBelow(dir string) error {
	for range 3 { // a mount may hide another
		all, err := mounts()
		if err != nil {
			return err
		}
		found := false
		for _, m := range slices.Backward(all) {
			if !strings.HasPrefix(m.path, dir+"/") {
				continue
			}
			found = true
			if err := unix.Unmount(m.path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("unmount %s: %w", m.path, err)
			}
		}
		if !found {
			return nil
		}
	}
	return fmt.Errorf("something is still mounted below %s", dir)
}

// cgroups gives the directories of the cgroup of that name, one per hierarchy of cgroup v1 and that of v2, as far as
// they are there.
func cgroups(name string) ([]string, error) {
	all, err := mounts()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, m := range all {
		if m.kind != "cgroup" && m.kind != "cgroup2" {
			continue
		}
		dir := filepath.Join(m.path, name)
		if _, err := os.Stat(dir); err == nil && !slices.Contains(out, dir) {
			out = append(out, dir)
		}
	}
	return out, nil
}

// killCgroup kills all processes in a cgroup and below it, and waits until they are gone.
func killCgroup(dir string) error {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		pids, err := cgroupPIDs(dir)
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("processes %v in cgroup %s survive SIGKILL", pids, dir)
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
		}
	}
}

func cgroupPIDs(dir string) ([]int, error) {
	var pids []int
	err := eachCgroup(dir, func(sub string) error {
		b, err := os.ReadFile(filepath.Join(sub, "cgroup.procs"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			return nil // removed meanwhile
		}
		for _, f := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil && pid > 1 {
				pids = append(pids, pid)
			}
		}
		return err
	})
	return pids, err
}

// removeCgroup removes a cgroup and those below it.
func removeCgroup(dir string) error {
	var all []string
	if err := eachCgroup(dir, func(sub string) error { all = append(all, sub); return nil }); err != nil {
		return err
	}
	for _, sub := range slices.Backward(all) {
		if err := rmdir(sub); err != nil {
			return err
		}
	}
	return nil
}

// rmdir removes one cgroup. It is busy for a moment after its last process has died.
func rmdir(dir string) error {
	var err error
	for range 100 {
		if err = os.Remove(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// eachCgroup calls fn for the directory and all below it, parents first.
func eachCgroup(dir string, fn func(string) error) error {
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !e.IsDir() {
			return err
		}
		return fn(path)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
