package daemon

import (
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

// A process is one that may outlive us. The start time tells it from another that got its pid later.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot, field 22 of /proc/PID/stat
}

// self is this process.
func self() process { return process{os.Getpid(), proc.Start(os.Getpid())} }

// alive reports whether it still runs; a zombie does not.
func (p process) alive() bool { return proc.Is(p.PID, p.Start) }

// terminate asks the process to end and waits; after limit it is killed.
func (p process) terminate(limit time.Duration) {
	if !p.alive() {
		return
	}
	_ = syscall.Kill(p.PID, syscall.SIGTERM)
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if !p.alive() {
			return
		}
	}
	p.kill()
}

// kill ends the process without asking, and waits for it to be gone.
func (p process) kill() {
	for p.alive() {
		_ = syscall.Kill(p.PID, syscall.SIGKILL)
		time.Sleep(5 * time.Millisecond)
	}
}

// readPID reads a pid file; a missing or broken one is no process.
func readPID(path string) process {
	var p process
	b, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(b, &p) != nil {
		return process{}
	}
	return p
}

// writePID notes a process, atomically.
func writePID(path string, p process) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// spawn starts a process of its own session, which our end doesn't end, with its log in a file.
func spawn(logFile string, argv ...string) (process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return process{}, err
	}
	defer log.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return process{}, fmt.Errorf("start %s: %w", strings.Join(argv, " "), err)
	}
	p := process{cmd.Process.Pid, proc.Start(cmd.Process.Pid)}
	go cmd.Wait() // reaps it if it ends before us
	return p, nil
}

// Private

// errRunning says that a server with this data directory is there already.
var errRunning = errors.New("a server with this data directory is running")
