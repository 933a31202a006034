package task

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/lotse-project/lotse/internal/runtime"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// defaultStopTimeout is between the stop signal and SIGKILL. Source: DG: stopTimeout default 30 s.
const defaultStopTimeout = 30 * time.Second

// stop sends the stop signal, waits for stopTimeout, then kills.
func (c *Controller) stop(ctx context.Context, l life) (time.Duration, error) {
	if l.world != nil && l.status.StoppingAt.IsZero() {
		// The signal goes first: sent twice it does no harm, noted but not sent the task would be killed at last.
		for _, w := range l.world.Containers {
			if err := c.o.Engine.Stop(ctx, l.task.ID, w.Name, ""); err != nil {
				return 0, err
			}
		}
		if err := c.save(ctx, l, "", func(tx *store.WriteTx, st *state.TaskStatus) error {
			st.LastStatus, st.StoppingAt = "STOPPING", tx.Now()
			return nil
		}); err != nil {
			return 0, err
		}
		return time.Millisecond, nil // look again: the exit's event may have come already
	}
	if l.world != nil && running(l) {
		var longest time.Duration
		for i, d := range l.definition.ContainerDefinitions {
			left := time.Until(l.status.StoppingAt.Add(stopTimeout(d.StopTimeout)))
			w, ok := l.world.Container(*l.definition.ContainerDefinitions[i].Name)
			switch {
			case !ok || w.Status == runtime.Stopped:
			case left > 0:
				longest = max(longest, left)
			default:
				if err := c.o.Engine.Kill(ctx, l.task.ID, w.Name); err != nil {
					return 0, err
				}
				longest = max(longest, 100*time.Millisecond)
			}
		}
		if longest > 0 {
			return longest, nil
		}
	}
	return 0, c.save(ctx, l, "stop", func(tx *store.WriteTx, st *state.TaskStatus) error {
		note(l.world, st, tx.Now())
		st.LastStatus = "DEPROVISIONING"
		if !st.StartedAt.IsZero() {
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
