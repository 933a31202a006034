package runtime

import (
	"fmt"
	"time"
)

// Status of a container.
//
//	Create ─► Created ─Start─► Running ─exit─► Stopped
//	             │                ▲──Restart──────┤
//	             └──────────────Kill──────────────▲
type Status int

// The three states; the zero value is none of them.
const (
	Created Status = iota + 1
	Running
	Stopped
)

func (s Status) String() string {
	switch s {
	case Created:
		return "created"
	case Running:
		return "running"
	case Stopped:
		return "stopped"
	}
	return fmt.Sprintf("status(%d)", int(s))
}

// TaskState is what is true of one task.
type TaskState struct {
	ID string
	// Containers in the order of the specification. Fewer than specified while or after Create was broken off:
	// a container that is not whole is not listed.
	Containers []ContainerState
}

// Container returns the state of one container.
func (t TaskState) Container(name string) (ContainerState, bool) {
	for _, c := range t.Containers {
		if c.Name == name {
			return c, true
		}
	}
	return ContainerState{}, false
}

// ContainerState is what is true of one container.
type ContainerState struct {
	Name   string
	Status Status
	Pid    int // of its first process, in the host's numbering; 0 when stopped

	// These are meaningful when Stopped.
	ExitCode int  // 0–255; 128 + signal when a signal ended it
	Lost     bool // how it ended could not be learned (a reboot, a killed shim); ExitCode is 137 then
	// OOM: the kernel killed a process of this container for want of memory; also meaningful while Running.
	OOM bool

	StartedAt, FinishedAt time.Time // of the last run; zero: not yet, or unknown
	Restarts              int       // how often Restart has let it run again
}
