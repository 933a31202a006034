package task

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/runtime"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// orderPoll is how often a dependency is looked at besides the hints, which may be lost.
const orderPoll = 5 * time.Second

// neverStarted is the exit code of a container whose dependencies can't be met. Source: ECS agent, task manager: that of
// a container that got SIGTERM seemed most apt to it.
const neverStarted = 143

// startWithin and createWithin are how long the engine may take over one container's start, and over making all of a task.
// Source: Knowledge Center, ecs-fargate-docker-timeout-error: 3 minutes; ECS agent: 4 minutes.
const (
	startWithin  = 3 * time.Minute
	createWithin = 4 * time.Minute
)

// start lets the containers run, each when its dependencies are met. When none is left to start, the task is RUNNING, or
// stays ACTIVATING until it is a target.
func (c *Controller) start(ctx context.Context, l life) (time.Duration, error) {
	b := begin(l.definition.ContainerDefinitions, l.status.Containers, time.Now())
	if len(b.start) > 0 {
		return 0, c.startSome(ctx, l, b.start)
	}
	if len(b.never) > 0 {
		return 0, c.giveUp(ctx, l, b.never)
	}
	for _, cs := range l.status.Containers {
		if cs.LastStatus == "PENDING" {
			return least(orderPoll, b.wait), nil
		}
	}
	return 0, c.save(ctx, l, "start", func(tx *store.WriteTx, st *state.TaskStatus) error {
		if len(l.task.LoadBalancers) == 0 {
			st.LastStatus, st.StartedAt = "RUNNING", tx.Now()
		}
		return nil
	})
}

// Private

// tooSlow is why a task ends whose engine didn't get something done in time. Source: DG stopped-task-error-codes.
func tooSlow(transition string, within time.Duration) string {
	return fmt.Sprintf("ContainerRuntimeTimeoutError: Could not transition to %s; timed out after waiting %s", transition, within)
}

func (c *Controller) startSome(ctx context.Context, l life, names []string) error {
	for _, name := range names {
		within, cancel := context.WithTimeout(ctx, c.startWithin)
		err := c.o.Engine.StartContainer(within, l.task.ID, name)
		late := err != nil && within.Err() != nil && ctx.Err() == nil
		cancel()
		if late {
			return c.fail(ctx, l, name, tooSlow("running", c.startWithin))
		}
		if errors.Is(err, runtime.ErrUnrunnable) {
			return c.fail(ctx, l, name, "CannotStartContainerError: "+err.Error())
		}
		if errors.Is(err, runtime.ErrNotFound) {
			return c.fail(ctx, l, name, "CannotStartContainerError: the task's containers are gone")
		}
		if err != nil {
			return err
		}
		c.o.Fault("task.start:started")
	}
	return c.save(ctx, l, "", func(tx *store.WriteTx, st *state.TaskStatus) error {
		for _, name := range names {
			cs := st.Container(name)
			cs.LastStatus, cs.StartedAt = "RUNNING", tx.Now()
		}
		return nil
	})
}

// giveUp ends containers that can't start any more, and with an essential one the task. Their processes, which wait to begin,
// go with the task.
func (c *Controller) giveUp(ctx context.Context, l life, never map[string]string) error {
	return c.save(ctx, l, "", func(tx *store.WriteTx, st *state.TaskStatus) error {
		for name, why := range never {
			cs := st.Container(name)
			cs.LastStatus, cs.StoppedAt, cs.Reason, cs.ExitCode = "STOPPED", tx.Now(), why, aws.Int(neverStarted)
			if cs.Essential && st.Stop == nil {
				st.Stop = &state.Stop{At: tx.Now(), Code: string(ecstypes.TaskStopCodeTaskFailedToStart), Reason: "Task failed to start"}
			}
		}
		return nil
	})
}

// least is the shorter of two waits, of which 0 is none.
func least(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}
