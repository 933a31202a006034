package fake

import (
	"fmt"
	"time"

	"github.com/lotse-project/lotse/internal/runtime"
)

// Exit lets a running container end, as if its process had called exit.
func (e *Engine) Exit(taskID, name string, code int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.containerLocked(taskID, name); c != nil {
		e.endLocked(taskID, c, code, false)
	}
}

// OOM lets the kernel kill a running container for want of memory.
func (e *Engine) OOM(taskID, name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.containerLocked(taskID, name); c != nil {
		e.endLocked(taskID, c, 137, true)
	}
}

// Lose lets a task's containers end without anybody having seen how, as a reboot does.
func (e *Engine) Lose(taskID string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t, ok := e.tasks[taskID]; ok {
		for _, c := range t.containers {
			e.endLocked(taskID, c, 137, false)
			c.state.Lost, c.state.FinishedAt = true, time.Time{}
		}
	}
}

// Write lets a task write so many bytes to its volumes.
func (e *Engine) Write(taskID string, bytes int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t, ok := e.tasks[taskID]; ok {
		t.written += bytes
	}
}

// Spec returns what a task was created with.
func (e *Engine) Spec(taskID string) (runtime.TaskSpec, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, ok := e.tasks[taskID]
	if !ok {
		return runtime.TaskSpec{}, false
	}
	return t.spec, true
}

// Private

func (e *Engine) now() time.Time {
	if e.Now != nil {
		return e.Now()
	}
	return time.Now()
}

func (e *Engine) fault(op, taskID string) error {
	if e.Fault == nil {
		return nil
	}
	return e.Fault(op, taskID)
}

func (e *Engine) present(image runtime.Image) error {
	if e.Missing != nil && e.Missing(image) {
		return fmt.Errorf("image %s (%s): %w", image.Name, image.Digest, runtime.ErrNoImage)
	}
	return nil
}

func (e *Engine) containerLocked(taskID, name string) *container {
	t, ok := e.tasks[taskID]
	if !ok {
		return nil
	}
	for _, c := range t.containers {
		if c.spec.Name == name {
			return c
		}
	}
	return nil
}

func (e *Engine) startLocked(t *task, c *container) {
	if c.state.Status != runtime.Created {
		return
	}
	c.state.Status, c.state.StartedAt = runtime.Running, e.now()
	e.notifyLocked(t.spec.ID)
	if p := c.program; p.Exits {
		c.timer = time.AfterFunc(p.After, func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.endLocked(t.spec.ID, c, p.ExitCode, p.OOM)
		})
	}
}

func (e *Engine) endLocked(taskID string, c *container, code int, oom bool) {
	if c.state.Status == runtime.Stopped {
		return
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	if oom {
		code = 137
	}
	c.state.Status, c.state.Pid = runtime.Stopped, 0
	c.state.ExitCode, c.state.OOM, c.state.FinishedAt = code, oom, e.now()
	e.notifyLocked(taskID)
}

// notifyLocked drops the hint when a watcher is 1024 behind: it will look at everything anyway.
func (e *Engine) notifyLocked(taskID string) {
	for ch := range e.watchers {
		select {
		case ch <- runtime.Event{TaskID: taskID}:
		default:
		}
	}
}
