package task

import (
	"context"
	"errors"
	"time"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// drainPoll is how often a drain is looked at besides the hints, which may be lost.
const drainPoll = time.Second

// register makes the task a target of its service's target groups. One that has any is RUNNING with that. Source: DG
// task-lifecycle: the registration is a part of ACTIVATING.
func (c *Controller) register(ctx context.Context, l life) (time.Duration, error) {
	return 0, c.save(ctx, l, "register", func(tx *store.WriteTx, st *state.TaskStatus) error {
		for _, lb := range l.task.LoadBalancers {
			key, err := state.RegisterTarget(tx, lb.TargetGroupARN, l.status.Address, lb.Port, l.status.Zone)
			if errors.Is(err, store.ErrNotFound) {
				continue // the group was deleted meanwhile: the service's events tell
			}
			if err != nil {
				return err
			}
			st.Targets = append(st.Targets, key)
		}
		if len(l.task.LoadBalancers) > 0 {
			st.LastStatus, st.StartedAt = "RUNNING", tx.Now()
		}
		return nil
	})
}

// deregister takes the task out of its target groups: no new request comes.
func (c *Controller) deregister(ctx context.Context, l life) (time.Duration, error) {
	return 0, c.save(ctx, l, "deregister", func(tx *store.WriteTx, st *state.TaskStatus) error {
		if st.Stop == nil {
			st.Stop = l.task.Stop
		}
		if len(st.Targets) > 0 {
			st.LastStatus = "DEACTIVATING"
		}
		for _, key := range st.Targets {
			if err := state.DeregisterTarget(tx, key); err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		return nil
	})
}

// drain waits until the balancer has nothing in flight to the task: the target is gone then.
// Containers that have ended have nothing to drain.
func (c *Controller) drain(ctx context.Context, l life) (time.Duration, error) {
	c.awaitDrain(l.key, l.status.Targets) // before they are read, so that no news falls in between
	waiting := false
	err := c.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for _, key := range l.status.Targets {
			t, err := state.Targets.Get(tx, key)
			if errors.Is(err, store.ErrNotFound) || err == nil && t.Val.DeregisteredAt.IsZero() {
				continue // gone, or the address serves somebody else by now
			}
			if err != nil {
				return err
			}
			waiting = true
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	if waiting && l.world != nil && running(l) {
		return drainPoll, nil
	}
	c.endDrain(l.key, l.status.Targets)
	return 0, c.save(ctx, l, "drain", func(*store.WriteTx, *state.TaskStatus) error { return nil })
}

// Private

// awaitDrain has news of the targets queue the task, and no other: a rollout of many tasks has news of each of them.
func (c *Controller) awaitDrain(task string, targets []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range targets {
		c.draining[t] = task
	}
}

// endDrain forgets the targets, unless another task with the same address waits for them by now.
func (c *Controller) endDrain(task string, targets []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range targets {
		if c.draining[t] == task {
			delete(c.draining, t)
		}
	}
}

// drained queues the task that waits for the target.
func (c *Controller) drained(target string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if key, ok := c.draining[target]; ok {
		c.loop.Add(key)
	}
}
