package fake

import (
	"context"
	"fmt"
	"time"

	"github.com/lotse-project/lotse/internal/runtime"
)

// Restart implements runtime.Engine.
func (e *Engine) Restart(_ context.Context, taskID, name string) error {
	if err := e.fault("Restart", taskID); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.containerLocked(taskID, name)
	if c == nil {
		return fmt.Errorf("restart container %s of task %s: %w", name, taskID, runtime.ErrNotFound)
	}
	if c.state.Status != runtime.Stopped {
		return nil
	}
	e.nextPid++
	c.state = runtime.ContainerState{Name: name, Status: runtime.Created, Pid: 1000 + e.nextPid, Restarts: c.state.Restarts + 1}
	e.startLocked(e.tasks[taskID], c)
	return nil
}

// Exec implements runtime.Engine.
func (e *Engine) Exec(ctx context.Context, taskID, name string, cmd runtime.Command) (runtime.Result, error) {
	if err := e.fault("Exec", taskID); err != nil {
		return runtime.Result{}, err
	}
	e.mu.Lock()
	c := e.containerLocked(taskID, name)
	runs := c != nil && c.state.Status == runtime.Running
	e.mu.Unlock()
	if !runs {
		return runtime.Result{}, fmt.Errorf("run a command in container %s of task %s: %w", name, taskID, runtime.ErrNotFound)
	}
	if e.Command == nil {
		return runtime.Result{}, nil
	}
	r, err := e.Command(ctx, taskID, name, cmd.Args)
	r.Output = r.Output[:min(len(r.Output), cmd.MaxOutput)]
	return r, err
}

// Sleep is a command that takes so long, or until ctx ends.
func Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
