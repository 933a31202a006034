package ctrd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/moby/sys/signal"

	"github.com/lotse-project/lotse/internal/runtime"
)

// Engine runs tasks on a Supervisor's containerd. It keeps nothing of its own: all is in containerd and in the
// Supervisor's ledger.
type Engine struct{ s *Supervisor }

var _ runtime.Engine = (*Engine)(nil)

// NewEngine returns the engine of a Supervisor.
func NewEngine(s *Supervisor) *Engine { return &Engine{s} }

// Start implements runtime.Engine.
func (e *Engine) Start(ctx context.Context, taskID string) error {
	defer e.s.tasks.lock(taskID)()
	t, ok := e.s.ledger.get(taskID)
	if !ok {
		return fmt.Errorf("start task %s: %w", taskID, runtime.ErrNotFound)
	}
	for _, c := range t.Containers {
		if err := e.startLocked(ctx, c); err != nil {
			return fmt.Errorf("start container %s of task %s: %w", c.Name, taskID, err)
		}
	}
	return nil
}

// StartContainer implements runtime.Engine.
func (e *Engine) StartContainer(ctx context.Context, taskID, name string) error {
	defer e.s.tasks.lock(taskID)()
	t, _ := e.s.ledger.get(taskID)
	c, ok := t.byName(name)
	err := error(runtime.ErrNotFound)
	if ok {
		err = e.startLocked(ctx, c)
	}
	if err != nil {
		return fmt.Errorf("start container %s of task %s: %w", name, taskID, err)
	}
	return nil
}

// Stop implements runtime.Engine.
func (e *Engine) Stop(ctx context.Context, taskID, name, sig string) error {
	return e.signal(ctx, taskID, name, func(c containerEntry) string {
		switch {
		case c.Started.IsZero():
			return "SIGKILL" // a process that has not begun would not heed anything else
		case sig != "":
			return sig
		case c.Signal != "":
			return c.Signal
		}
		return "SIGTERM"
	})
}

// Kill implements runtime.Engine.
func (e *Engine) Kill(ctx context.Context, taskID, name string) error {
	return e.signal(ctx, taskID, name, func(containerEntry) string { return "SIGKILL" })
}

// State implements runtime.Engine.
func (e *Engine) State(ctx context.Context, taskID string) (runtime.TaskState, error) {
	c, ctx, err := e.client(ctx)
	if err != nil {
		return runtime.TaskState{}, err
	}
	t, ok := e.s.ledger.get(taskID) // first, as in List
	if !ok {
		return runtime.TaskState{}, fmt.Errorf("state of task %s: %w", taskID, runtime.ErrNotFound)
	}
	return e.taskState(ctx, c, t, func(id string) (*tasktypes.Process, error) {
		p, err := e.process(ctx, c, id)
		if errdefs.IsNotFound(err) {
			return nil, nil
		}
		return p, err
	})
}

// List implements runtime.Engine.
func (e *Engine) List(ctx context.Context) ([]runtime.TaskState, error) {
	c, ctx, err := e.client(ctx)
	if err != nil {
		return nil, err
	}
	// The ledger first: a container that is created between the two is not listed, one that is removed is asked for again.
	entries := e.s.ledger.all()
	r, err := c.TaskService().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return nil, fmt.Errorf("list tasks: %w", errgrpc.ToNative(err))
	}
	alive := map[string]*tasktypes.Process{}
	for _, p := range r.Tasks {
		alive[p.ID] = p
	}
	out := make([]runtime.TaskState, 0, len(entries))
	for _, t := range entries {
		state, err := e.taskState(ctx, c, t, func(id string) (*tasktypes.Process, error) { return alive[id], nil })
		if err != nil {
			return nil, err
		}
		out = append(out, state)
	}
	return out, nil
}

// Private

// client returns the client and ctx with our namespace.
func (e *Engine) client(ctx context.Context) (*client.Client, context.Context, error) {
	c, err := e.s.Client()
	return c, namespaces.WithNamespace(ctx, e.s.Namespace()), err
}

// containerID is containerd's name for a container: ECS allows longer names and other letters than containerd.
func containerID(taskID, name string) string {
	sum := sha256.Sum256([]byte(name))
	return taskID + "-" + hex.EncodeToString(sum[:4])
}

func (e *Engine) startLocked(ctx context.Context, entry containerEntry) error {
	if !entry.Created {
		return fmt.Errorf("it was not created: %w", runtime.ErrNotFound)
	}
	c, ctx, err := e.client(ctx)
	if err != nil {
		return err
	}
	if !entry.Started.IsZero() || entry.Exit != nil {
		p, err := e.process(ctx, c, entry.ID)
		if errdefs.IsNotFound(err) || err == nil && p.Status != tasktypes.Status_CREATED {
			return nil // it runs, or ran
		}
		if err != nil {
			return err
		}
	}
	// Noted before: were we killed in between, a container that never began would be the lesser error.
	if err := e.s.ledger.update(entry.ID, func(c *containerEntry) { c.Started = time.Now().UTC() }); err != nil {
		return err
	}
	_, err = c.TaskService().Start(ctx, &tasks.StartRequest{ContainerID: entry.ID})
	if err == nil {
		return nil
	}
	err = errgrpc.ToNative(err)
	if p, perr := e.process(ctx, c, entry.ID); perr == nil && p.Status != tasktypes.Status_CREATED {
		return nil // started by a call whose answer got lost, or killed before it began
	}
	_ = e.s.ledger.update(entry.ID, func(c *containerEntry) { c.Started = time.Time{} })
	return classify(err)
}

func (e *Engine) process(ctx context.Context, c *client.Client, id string) (*tasktypes.Process, error) {
	r, err := c.TaskService().Get(ctx, &tasks.GetRequest{ContainerID: id})
	if err != nil {
		return nil, errgrpc.ToNative(err)
	}
	return r.Process, nil
}

func (e *Engine) signal(ctx context.Context, taskID, name string, choose func(containerEntry) string) error {
	t, _ := e.s.ledger.get(taskID)
	entry, ok := t.byName(name)
	if !ok || !entry.Created {
		return nil
	}
	c, ctx, err := e.client(ctx)
	if err != nil {
		return err
	}
	word := choose(entry)
	sig, err := signal.ParseSignal(word)
	if err != nil {
		return fmt.Errorf("stop signal of container %s: %w", name, err)
	}
	// SIGKILL goes to all of its processes, for those that do not end with their first.
	_, err = c.TaskService().Kill(ctx, &tasks.KillRequest{ContainerID: entry.ID, Signal: uint32(sig), All: sig == syscall.SIGKILL})
	err = errgrpc.ToNative(err)
	if errdefs.IsNotFound(err) || errdefs.IsFailedPrecondition(err) {
		return nil // it has ended
	}
	if err != nil {
		return fmt.Errorf("send %s to container %s of task %s: %w", word, name, taskID, err)
	}
	return nil
}

// taskState asks process for what lives of each container; nil when nothing does.
func (e *Engine) taskState(ctx context.Context, c *client.Client, t taskEntry, process func(id string) (*tasktypes.Process, error)) (runtime.TaskState, error) {
	state := runtime.TaskState{ID: t.ID}
	for _, entry := range t.Containers {
		if !entry.Created {
			continue
		}
		p, err := process(entry.ID)
		if err != nil {
			return state, fmt.Errorf("state of container %s of task %s: %w", entry.Name, t.ID, err)
		}
		cs, ok, err := e.containerState(ctx, c, t.ID, entry, p)
		if err != nil {
			return state, fmt.Errorf("state of container %s of task %s: %w", entry.Name, t.ID, err)
		}
		if ok {
			state.Containers = append(state.Containers, cs)
		}
	}
	return state, nil
}

// containerState puts together what containerd (p, nil when it knows nothing) and the ledger say.
func (e *Engine) containerState(ctx context.Context, c *client.Client, taskID string, entry containerEntry, p *tasktypes.Process) (runtime.ContainerState, bool, error) {
	if p == nil && entry.Exit == nil {
		// A call under way may have created or removed it since; with the lock nothing moves.
		defer e.s.tasks.lock(taskID)()
		t, _ := e.s.ledger.get(taskID)
		var ok bool
		if entry, ok = t.byName(entry.Name); !ok || !entry.Created {
			return runtime.ContainerState{}, false, nil
		}
		var err error
		if p, err = e.process(ctx, c, entry.ID); err != nil && !errdefs.IsNotFound(err) {
			return runtime.ContainerState{}, false, err
		}
	}
	state := runtime.ContainerState{Name: entry.Name, StartedAt: entry.Started, Restarts: entry.Restarts}
	switch {
	case p != nil && p.Status == tasktypes.Status_CREATED:
		state.Status, state.Pid, state.StartedAt = runtime.Created, int(p.Pid), time.Time{}
	case p != nil && p.Status == tasktypes.Status_STOPPED:
		state.Status, state.ExitCode, state.FinishedAt = runtime.Stopped, int(p.ExitStatus), p.ExitedAt.AsTime()
		state.OOM = e.s.groups.oom(entry.ID) || entry.Exit != nil && entry.Exit.OOM
	case p != nil:
		state.Status, state.Pid, state.OOM = runtime.Running, int(p.Pid), e.s.groups.oom(entry.ID)
	case entry.Exit != nil:
		x := entry.Exit
		state.Status, state.ExitCode, state.FinishedAt, state.OOM, state.Lost = runtime.Stopped, x.Code, x.At, x.OOM, x.Lost
	default:
		state.Status, state.ExitCode, state.Lost = runtime.Stopped, 137, true
	}
	return state, true, nil
}
