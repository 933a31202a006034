package ctrd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lotse-project/lotse/internal/proc"
)

// Stop removes all tasks, ends containerd and removes everything outside the data directory that they left.
// Run must have ended. It works for what a killed predecessor left, too: containerd is then started once more, since only
// it can take its tasks apart.
func (s *Supervisor) Stop(ctx context.Context) error {
	var errs []error
	if _, found := s.find(); found || s.leftovers() {
		errs = append(errs, s.removeTasks(ctx))
	}
	if p, found := s.find(); found {
		p.signal(syscall.SIGTERM)
		wait, cancel := context.WithTimeout(ctx, stopWithin)
		p.wait(wait)
		cancel()
		p.signal(syscall.SIGKILL)
		p.wait(ctx)
	}
	s.setUp(false)
	return errors.Join(append(errs, s.sweep())...)
}

// Private

// leftovers tells whether there is anything that containerd must take apart.
func (s *Supervisor) leftovers() bool {
	dirs, _ := filepath.Glob(filepath.Join(s.bundles(), "*"))
	return len(dirs) > 0 || len(s.ledger.all()) > 0
}

func (s *Supervisor) removeTasks(ctx context.Context) error {
	if _, err := s.acquire(ctx); err != nil {
		return err
	}
	s.setUp(true)
	return NewEngine(s).RemoveAll(ctx)
}

// sweep removes what is left when containerd is gone: also after failures, and after a kill -9 of everything.
func (s *Supervisor) sweep() error {
	s.killShims()
	errs := []error{s.groups.removeAll()}
	paths := []string{s.sockets(), s.runcRoot(), s.taskFiles(), s.Address(), s.Address() + ".ttrpc", s.pidFile()}
	for _, d := range []string{s.state(), s.temp()} {
		if err := unmountBelow(d); err != nil {
			errs = append(errs, err)
			continue // what is mounted must not be deleted
		}
		paths = append(paths, d)
	}
	for _, p := range paths {
		errs = append(errs, os.RemoveAll(p))
	}
	// Other parts of the server keep things here, too: the last one out removes it.
	if err := os.Remove(s.o.RunDir); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// killShims ends shims that containerd no longer knew. Each has containerd's socket on its command line.
func (s *Supervisor) killShims() {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		b, err := os.ReadFile(filepath.Join(d, "cmdline"))
		if err != nil || !bytes.Contains(b, []byte("\x00-address\x00"+s.Address()+"\x00")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(d))
		if err != nil {
			continue
		}
		if start := proc.Start(pid); start != 0 {
			process{pid, start}.signal(syscall.SIGKILL)
		}
	}
}

// unmountBelow unmounts everything below a directory, the innermost first.
func unmountBelow(dir string) error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	var points []string
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if fields := strings.Fields(sc.Text()); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			points = append(points, fields[4])
		}
	}
	sort.Sort(sort.Reverse(sort.StringSlice(points)))
	var errs []error
	for _, p := range points {
		if err := retryBusy(func() error { return unix.Unmount(p, unix.UMOUNT_NOFOLLOW) }); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}

func retryBusy(f func() error) error {
	var err error
	for range 50 {
		if err = f(); !errors.Is(err, unix.EBUSY) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}
