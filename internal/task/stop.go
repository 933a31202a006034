package task

import (
	"context"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/lotse-project/lotse/internal/runtime"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// defaultStopTimeout is between the stop signal and SIGKILL. Source: DG: stopTimeout default 30 s.
const defaultStopTimeout = 30 * time.Second

// stop sends the stop signal, waits for stopTimeout, then kills: each container when none that depends on it runs.
func (c *Controller) stop(ctx context.Context, l life) (time.Duration, error) {
	if l.world != nil {
		e := end(l.definition.ContainerDefinitions, l.status.Containers, l.world, time.Now())
		for _, name := range e.kill {
			if err := c.o.Engine.Kill(ctx, l.task.ID, name); err != nil {
				return 0, err
			}
			c.o.Fault("task.stop:killed")
		}
		if len(e.signal) > 0 {
			return time.Millisecond, c.tell(ctx, l, e.signal) // look again: the exit's event may have come already
		}
		if e.wait > 0 {
			return e.wait, nil
		}
	}
	return 0, c.save(ctx, l, "stop", func(tx *store.WriteTx, st *state.TaskStatus) error {
		note(l.world, st, tx.Now())
		st.LastStatus = "DEPROVISIONING"
		if st.StoppingAt.IsZero() {
			st.StoppingAt = tx.Now()
		}
		if slices.ContainsFunc(st.Containers, func(cs state.ContainerStatus) bool { return !cs.StartedAt.IsZero() }) {
			st.ExecutionStoppedAt = tx.Now()
		}
		return nil
	})
}

// remove takes away everything of the task that the engine has.
func (c *Controller) remove(ctx context.Context, l life) (time.Duration, error) {
	if err := c.o.Engine.Remove(ctx, l.task.ID); err != nil {
		return 0, err
	}
	return 0, c.save(ctx, l, "remove", func(*store.WriteTx, *state.TaskStatus) error { return nil })
}

// Private

// tell sends containers the stop signal. It goes first: sent twice it does no harm, noted but not sent the container would
// be killed at last.
func (c *Controller) tell(ctx context.Context, l life, names []string) error {
	for _, name := range names {
		if err := c.o.Engine.Stop(ctx, l.task.ID, name, ""); err != nil {
			return err
		}
		c.o.Fault("task.stop:signalled")
	}
	return c.save(ctx, l, "", func(tx *store.WriteTx, st *state.TaskStatus) error {
		st.LastStatus = "STOPPING"
		if st.StoppingAt.IsZero() {
			st.StoppingAt = tx.Now()
		}
		for _, name := range names {
			st.Container(name).StoppingAt = tx.Now()
		}
		return nil
	})
}

func stopTimeout(seconds *int32) time.Duration {
	if seconds == nil {
		return defaultStopTimeout
	}
	return time.Duration(aws.ToInt32(seconds)) * time.Second
}

// running reports whether a container still runs or waits to be started.
func running(l life) bool {
	for _, w := range l.world.Containers {
		if w.Status != runtime.Stopped {
			return true
		}
	}
	return false
}
