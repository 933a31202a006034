package ctrd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lotse-project/lotse/internal/proc"
)

// process is a process that may have been started by a predecessor of ours.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since boot, /proc/PID/stat field 22: tells a reused pid
}

func (p process) alive() bool {
	return proc.Is(p.PID, p.Start)
}

// wait returns when the process has ended or ctx ends.
func (p process) wait(ctx context.Context) {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	for ctx.Err() == nil && p.alive() {
		// The time limit is for ctx; the end of the process wakes us at once.
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 100)
	}
}

func (p process) signal(sig syscall.Signal) {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if p.alive() { // still the one we mean, now that the fd holds it
		_ = unix.PidfdSendSignal(fd, sig, nil, 0)
	}
}

// find returns the containerd that serves our directories, by pid file or, when a predecessor was killed before
// it could write one, by its command line.
func (s *Supervisor) find() (process, bool) {
	var p process
	if b, err := os.ReadFile(s.pidFile()); err == nil && json.Unmarshal(b, &p) == nil && p.alive() && s.isOurs(p.PID) {
		return p, true
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, err := strconv.Atoi(filepath.Base(d))
		if err != nil || !s.isOurs(pid) {
			continue
		}
		if start := proc.Start(pid); start != 0 {
			p := process{pid, start}
			_ = s.writePid(p)
			return p, true
		}
	}
	return process{}, false
}

func (s *Supervisor) isOurs(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && bytes.HasSuffix(b, []byte("\x00--config\x00"+s.config()+"\x00"))
}

// spawn starts containerd in a session of its own, so that nothing that ends us ends it.
func (s *Supervisor) spawn() (process, error) {
	if err := os.WriteFile(s.config(), s.renderConfig(), 0o600); err != nil {
		return process{}, err
	}
	// A socket that a killed containerd left would take connections for it.
	if err := os.Remove(s.Address()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return process{}, err
	}
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return process{}, err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(s.o.BinDir, "containerd"), "--config", s.config())
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + s.o.BinDir + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR=" + s.temp()}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return process{}, fmt.Errorf("start containerd: %w", err)
	}
	go cmd.Wait() // reaps it; ends with the process
	start := proc.Start(cmd.Process.Pid)
	if start == 0 {
		return process{}, fmt.Errorf("containerd ended at once, see %s", s.logFile())
	}
	p := process{cmd.Process.Pid, start}
	return p, s.writePid(p)
}

func (s *Supervisor) writePid(p process) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return writeFile(s.pidFile(), b, 0o644)
}

func dial(address string) error {
	c, err := net.DialTimeout("unix", address, time.Second)
	if err == nil {
		c.Close()
	}
	return err
}

// writeFile replaces a file whole. There is no sync: what these files tell does not survive the machine anyway.
func writeFile(path string, b []byte, perm os.FileMode) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, perm); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
