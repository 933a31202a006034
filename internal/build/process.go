package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/lotse-project/lotse/internal/proc"
)

// A process is one that outlives us, known by its pid and start time. It is also the pid file's content.
type process struct {
	PID    int    `json:"pid"`
	Start  uint64 `json:"start"`            // in clock ticks since boot: field 22 of /proc/PID/stat, see proc(5)
	Config string `json:"config,omitempty"` // hash of what it was started with
}

// Private

// start starts a program in a session of its own, its output in the file log. Its end is waited for in the background.
func start(bin string, args, env []string, log string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(bin, args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = env, "/", out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	started := proc.Start(cmd.Process.Pid)
	go cmd.Wait() // ends with the process
	if started == 0 {
		return nil, fmt.Errorf("%s ended at once, see %s", bin, log)
	}
	return &process{PID: cmd.Process.Pid, Start: started}, nil
}

// readProcess reads a pid file.
func readProcess(path string) (*process, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p := &process{}
	if err := json.Unmarshal(b, p); err != nil || p.PID <= 1 {
		return nil, fmt.Errorf("%s is not a pid file: %q", path, b)
	}
	return p, nil
}

// write replaces the pid file whole.
func (p *process) write(path string) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func (p *process) alive() bool {
	return proc.Is(p.PID, p.Start)
}

// stop sends SIGTERM, and SIGKILL after a while, and waits for the end.
func (p *process) stop(ctx context.Context, patience time.Duration) error {
	for _, step := range []struct {
		sig  syscall.Signal
		wait time.Duration
	}{{syscall.SIGTERM, patience}, {syscall.SIGKILL, 10 * time.Second}} {
		if !p.alive() {
			return nil
		}
		if err := syscall.Kill(p.PID, step.sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
		for end := time.Now().Add(step.wait); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if !p.alive() {
				return nil
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	return fmt.Errorf("process %d survives SIGKILL", p.PID)
}

// tail gives the last n lines of a file.
func tail(path string, n int) string {
	b, _ := os.ReadFile(path)
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(all[max(0, len(all)-n):], "\n")
}
