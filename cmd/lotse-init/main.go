// Command lotse-init is the first process of a container whose definition has initProcessEnabled: it runs the container's
// command as its child, passes signals on to it, reaps the orphans that end up with it, and ends as the child ends.
//
//	lotse-init -- COMMAND [ARGUMENT…]
//	lotse-init -pause    has no command, and ends when it is killed: process 1 of containers that share their processes
//
// Its own failures have the exit codes of tini, which Docker uses: 127 no such command, 126 it can't be executed.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

func main() {
	args := os.Args[1:]
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 1 && args[0] == "-pause" {
		pause()
	}
	if len(args) == 0 {
		fmt.Fprintln(os.Stderr, "usage: lotse-init -- COMMAND [ARGUMENT…]")
		os.Exit(64)
	}
	// Before the child starts: no signal may get lost in between.
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	child, err := start(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "exec %s failed: %v\n", args[0], err)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
			os.Exit(127)
		}
		os.Exit(126)
	}
	for s := range signals {
		switch s {
		case syscall.SIGURG: // the Go runtime's own
		case syscall.SIGCHLD:
			if status, ended := reap(child); ended {
				os.Exit(code(status))
			}
		default:
			_ = syscall.Kill(child, s.(syscall.Signal)) // it may have ended just now
		}
	}
}

// pause reaps what ends up with it. As process 1 of a namespace it gets no signal that it doesn't ask for.
func pause() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	for range ended {
		reap(0)
	}
}

// start starts the command in a process group of its own, with our descriptors and environment.
func start(args []string) (int, error) {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return 0, err
	}
	return syscall.ForkExec(path, args, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{0, 1, 2},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
}

// reap takes all ended processes away and tells whether the child is among them. One SIGCHLD may stand for many.
func reap(child int) (status syscall.WaitStatus, ended bool) {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil || pid == 0:
			return status, ended
		case pid == child:
			status, ended = ws, true
		}
	}
}

func code(ws syscall.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}
