// Package runtime is the engine seam at the height of a task: "run this task, with this network identity".
// internal/runtime/ctrd implements it over containerd, internal/runtime/fake in memory; both pass the suite in
// internal/runtime/contract.
//
// A task goes through the engine in this order; every step may be repeated after a crash, by whoever comes next:
//
//	Prepare(image)…  content present and unpacked
//	Create(spec)     all containers created, none started; the processes exist but have not begun
//	Start(id)        all containers running
//	Stop(id, c, "")  the stop signal, once per container; later Kill(id, c)
//	Remove(id)       nothing of it is left
//
// While a container runs, Exec runs commands in it; when it has ended, Restart lets it run again.
//
// What is true is always what State and List say. Events only say when to look.
package runtime

import (
	"context"
	"errors"
	"iter"
)

// Errors that a caller tells apart with errors.Is; all others are worth trying again later.
var (
	// ErrNoImage: the content of the image is not (wholly) in the store.
	ErrNoImage = errors.New("image is not in the content store")
	// ErrUnrunnable: the specification cannot be run as it is, by this image on this machine; trying again is no use.
	ErrUnrunnable = errors.New("cannot be run")
	// ErrNoSpace: the disk has no room for what was to be unpacked or created.
	ErrNoSpace = errors.New("no space left on device")
	// ErrNotFound: no such task, or no such container in it.
	ErrNotFound = errors.New("not found")
)

// Engine runs tasks. Its methods may be called at the same time by many; calls about one task wait for each other.
type Engine interface {
	// Prepare makes sure that the content of the image is present and unpacked for this machine's platform.
	// It takes long only the first time. Create does the same for what is missing.
	Prepare(ctx context.Context, image Image) error
	// Create creates all containers of the task and starts none. Repeating it completes what a killed
	// predecessor began and leaves finished containers alone. A failed Create may leave parts: Remove takes them away.
	Create(ctx context.Context, spec TaskSpec) error
	// Start starts those containers of the task that are created. ErrNotFound when there is no such task.
	Start(ctx context.Context, taskID string) error
	// StartContainer starts one container, for those who order them (dependsOn). It is no error when it runs or
	// ran already.
	StartContainer(ctx context.Context, taskID, container string) error
	// Restart lets a container that has ended run once more, in place: its files, network and log are the same. It is
	// no error when it runs. ErrNotFound when there is no such container.
	Restart(ctx context.Context, taskID, container string) error
	// Exec runs a command inside a running container as the container's own command runs: same user, environment,
	// working directory, limits, and no privilege more. When ctx ends first, the command and all of its process group are
	// killed, and the error is ctx's cause. ErrUnrunnable when it can't be run (no such program), ErrNotFound when the container
	// doesn't run. Commands in one container wait for each other.
	Exec(ctx context.Context, taskID, container string, c Command) (Result, error)
	// Stop sends a container the stop signal: signal, or when it is empty the image's STOPSIGNAL, or SIGTERM.
	// A container that was never started is killed. It is no error when the container or the task is gone.
	Stop(ctx context.Context, taskID, container, signal string) error
	// Kill sends SIGKILL. It is no error when the container or the task is gone.
	Kill(ctx context.Context, taskID, container string) error
	// Remove kills what runs and removes everything of the task. It is no error when nothing is there.
	Remove(ctx context.Context, taskID string) error
	// Usage is how many bytes the task's files occupy: what its containers wrote to their root file systems and volumes, not
	// their images. It looks at every file. ErrNotFound when there is no such task.
	Usage(ctx context.Context, taskID string) (int64, error)
	// State is the truth about one task, whatever others there are. ErrNotFound when there is no such task.
	State(ctx context.Context, taskID string) (TaskState, error)
	// List is the truth: all tasks of this engine, also those that a predecessor started, sorted by ID.
	List(ctx context.Context) ([]TaskState, error)
	// Events yields hints until ctx ends; the first, an empty one, as soon as it listens. It survives the engine's own
	// restarts.
	Events(ctx context.Context) iter.Seq2[Event, error]
}

// Event says that List may say something new.
type Event struct {
	TaskID string // "": anything may have changed, look at all of it
}

// Command is what Exec runs.
type Command struct {
	Args      []string // the program, looked up in the container's PATH, and its arguments
	MaxOutput int      // bytes of standard output and error that are kept, their begin; the rest is dropped
}

// Result is how a Command ended.
type Result struct {
	ExitCode int // 0–255; 128 + signal when a signal ended it
	Output   []byte
}
