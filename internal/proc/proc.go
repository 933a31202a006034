// Package proc tells processes apart that have one pid after the other: each is known by its pid and when it started.
package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Start is when a process started, in clock ticks since boot; 0 for one that is gone, reaped or not.
// Source: proc(5), /proc/PID/stat, field 22.
func Start(pid int) uint64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	return start(b)
}

// Is tells whether the process that started then still has the pid, and lives.
func Is(pid int, started uint64) bool {
	return pid > 0 && started != 0 && Start(pid) == started
}

// Runs tells whether the process was started by the command, a path and arguments, and executes the file that is there
// now: false when the file was replaced, or is gone.
func Runs(pid int, command []string) bool {
	running, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return false
	}
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || string(args) != strings.Join(command, "\x00")+"\x00" {
		return false
	}
	there, err := os.Stat(command[0])
	return err == nil && os.SameFile(running, there)
}

// Private

// start: the second field, a name in parentheses, may hold anything, spaces and parentheses too.
func start(stat []byte) uint64 {
	f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(f) < 20 || f[0][0] == 'Z' || f[0][0] == 'X' {
		return 0
	}
	n, _ := strconv.ParseUint(string(f[19]), 10, 64)
	return n
}
