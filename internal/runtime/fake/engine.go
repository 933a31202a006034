// Package fake is a runtime.Engine in memory, for the tests of those who use one. It passes the same contract suite as
// the real engine.
package fake

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/lotse-project/lotse/internal/runtime"
)

// Program is how a container behaves.
type Program struct {
	Exits    bool          // ends by itself
	After    time.Duration // when, counted from the start
	ExitCode int
	OOM      bool // the end is the kernel's doing: exit code 137
	// OnSignal: exit codes by signal name ("SIGTERM"); a signal that is not in here does nothing.
	OnSignal map[string]int
}

// Service is a Program that runs until SIGTERM or SIGINT and then exits with 0.
var Service = Program{OnSignal: map[string]int{"SIGTERM": 0, "SIGINT": 0}}

// Engine is a runtime.Engine. The zero value runs every image; every container is a Service.
type Engine struct {
	// Program tells how a container behaves. nil = all are a Service.
	Program func(runtime.TaskSpec, runtime.ContainerSpec) (Program, error)
	// Missing says that an image is not in the store. nil = all are.
	Missing func(runtime.Image) bool
	// Fault is asked at the begin of every call ("Create", "Start", …); an error ends the call. nil = none.
	Fault func(op, taskID string) error
	// Command is what a command run with Exec does. nil = it exits with 0 at once.
	Command func(ctx context.Context, taskID, container string, args []string) (runtime.Result, error)
	// Now is the clock. nil = time.Now.
	Now func() time.Time

	mu       sync.Mutex
	tasks    map[string]*task
	nextPid  int
	watchers map[chan runtime.Event]struct{}
}

type task struct {
	spec       runtime.TaskSpec
	containers []*container
	written    int64 // bytes
}

type container struct {
	spec    runtime.ContainerSpec
	program Program
	state   runtime.ContainerState
	timer   *time.Timer
}

var _ runtime.Engine = (*Engine)(nil)

// Prepare implements runtime.Engine.
func (e *Engine) Prepare(_ context.Context, image runtime.Image) error {
	if err := e.fault("Prepare", ""); err != nil {
		return err
	}
	return e.present(image)
}

// Create implements runtime.Engine.
func (e *Engine) Create(_ context.Context, spec runtime.TaskSpec) error {
	if err := e.fault("Create", spec.ID); err != nil {
		return err
	}
	var made []*container
	for _, c := range spec.Containers {
		if err := e.present(c.Image); err != nil {
			return err
		}
		p := Service
		if e.Program != nil {
			var err error
			if p, err = e.Program(spec, c); err != nil {
				return fmt.Errorf("container %s: %w", c.Name, err)
			}
		}
		made = append(made, &container{spec: c, program: p, state: runtime.ContainerState{Name: c.Name, Status: runtime.Created}})
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.tasks[spec.ID]; ok {
		return nil
	}
	for _, c := range made {
		e.nextPid++
		c.state.Pid = 1000 + e.nextPid
	}
	if e.tasks == nil {
		e.tasks = map[string]*task{}
	}
	e.tasks[spec.ID] = &task{spec: spec, containers: made}
	e.notifyLocked(spec.ID)
	return nil
}

// Start implements runtime.Engine.
func (e *Engine) Start(_ context.Context, taskID string) error {
	if err := e.fault("Start", taskID); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	t, ok := e.tasks[taskID]
	if !ok {
		return fmt.Errorf("start task %s: %w", taskID, runtime.ErrNotFound)
	}
	for _, c := range t.containers {
		e.startLocked(t, c)
	}
	return nil
}

// StartContainer implements runtime.Engine.
func (e *Engine) StartContainer(_ context.Context, taskID, name string) error {
	if err := e.fault("Start", taskID); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.containerLocked(taskID, name)
	if c == nil {
		return fmt.Errorf("start container %s of task %s: %w", name, taskID, runtime.ErrNotFound)
	}
	e.startLocked(e.tasks[taskID], c)
	return nil
}

// Stop implements runtime.Engine.
func (e *Engine) Stop(_ context.Context, taskID, name, signal string) error {
	if err := e.fault("Stop", taskID); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.containerLocked(taskID, name)
	if c == nil {
		return nil
	}
	if signal == "" {
		signal = "SIGTERM"
	}
	if c.state.Status == runtime.Created {
		e.endLocked(taskID, c, 137, false)
	} else if code, ok := c.program.OnSignal[signal]; ok {
		e.endLocked(taskID, c, code, false)
	}
	return nil
}

// Kill implements runtime.Engine.
func (e *Engine) Kill(_ context.Context, taskID, name string) error {
	if err := e.fault("Kill", taskID); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.containerLocked(taskID, name); c != nil {
		e.endLocked(taskID, c, 137, false)
	}
	return nil
}

// Remove implements runtime.Engine.
func (e *Engine) Remove(_ context.Context, taskID string) error {
	if err := e.fault("Remove", taskID); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	t, ok := e.tasks[taskID]
	if !ok {
		return nil
	}
	for _, c := range t.containers {
		e.endLocked(taskID, c, 137, false)
	}
	delete(e.tasks, taskID)
	e.notifyLocked(taskID)
	return nil
}

// List implements runtime.Engine.
func (e *Engine) List(context.Context) ([]runtime.TaskState, error) {
	if err := e.fault("List", ""); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []runtime.TaskState
	for _, id := range slices.Sorted(maps.Keys(e.tasks)) {
		out = append(out, e.stateLocked(id))
	}
	return out, nil
}

// State implements runtime.Engine.
func (e *Engine) State(_ context.Context, taskID string) (runtime.TaskState, error) {
	if err := e.fault("State", taskID); err != nil {
		return runtime.TaskState{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.tasks[taskID]; !ok {
		return runtime.TaskState{}, fmt.Errorf("state of task %s: %w", taskID, runtime.ErrNotFound)
	}
	return e.stateLocked(taskID), nil
}

// Usage implements runtime.Engine.
func (e *Engine) Usage(_ context.Context, taskID string) (int64, error) {
	if err := e.fault("Usage", taskID); err != nil {
		return 0, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	t, ok := e.tasks[taskID]
	if !ok {
		return 0, fmt.Errorf("usage of task %s: %w", taskID, runtime.ErrNotFound)
	}
	return t.written, nil
}

// Events implements runtime.Engine.
func (e *Engine) Events(ctx context.Context) iter.Seq2[runtime.Event, error] {
	return func(yield func(runtime.Event, error) bool) {
		ch := make(chan runtime.Event, 1024)
		e.mu.Lock()
		if e.watchers == nil {
			e.watchers = map[chan runtime.Event]struct{}{}
		}
		e.watchers[ch] = struct{}{}
		e.mu.Unlock()
		defer func() {
			e.mu.Lock()
			delete(e.watchers, ch)
			e.mu.Unlock()
		}()
		if !yield(runtime.Event{}, nil) {
			return
		}
		for {
			select {
			case ev := <-ch:
				if !yield(ev, nil) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

func (e *Engine) stateLocked(id string) runtime.TaskState {
	s := runtime.TaskState{ID: id}
	for _, c := range e.tasks[id].containers {
		s.Containers = append(s.Containers, c.state)
	}
	return s
}
