package ctrd

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"

	"github.com/lotse-project/lotse/internal/runtime"
)

// Restart implements runtime.Engine.
func (e *Engine) Restart(ctx context.Context, taskID, name string) error {
	defer e.s.tasks.lock(taskID)()
	t, _ := e.s.ledger.get(taskID)
	entry, ok := t.byName(name)
	err := error(runtime.ErrNotFound)
	if ok && entry.Created {
		err = e.restartLocked(ctx, t, entry)
	}
	if err != nil {
		return fmt.Errorf("restart container %s of task %s: %w", name, taskID, err)
	}
	return nil
}

// Private

// restartLocked replaces the process of a container that has ended. Killed on the way, it leaves a container that is
// still Stopped, or Created; the next call goes on from there.
func (e *Engine) restartLocked(ctx context.Context, t taskEntry, entry containerEntry) error {
	c, ctx, err := e.client(ctx)
	if err != nil {
		return err
	}
	p, err := e.process(ctx, c, entry.ID)
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	if p == nil || p.Status == tasktypes.Status_STOPPED {
		if entry.Exit == nil { // it stays Stopped, and how it ended known, while it has no process
			x := exit{Code: 137, Lost: true}
			if p != nil {
				x = exit{Code: int(p.ExitStatus), At: p.ExitedAt.AsTime(), OOM: e.s.groups.oom(entry.ID)}
			}
			if err := e.s.ledger.update(entry.ID, func(ce *containerEntry) { ce.Exit = &x }); err != nil {
				return err
			}
		}
		if err := e.renew(ctx, c, t, entry); err != nil {
			return err
		}
	} else if p.Status != tasktypes.Status_CREATED {
		return nil // it runs
	}
	now := time.Now().UTC()
	err = e.s.ledger.update(entry.ID, func(ce *containerEntry) {
		if ce.Exit != nil { // else a predecessor came this far
			ce.Restarts++
		}
		ce.Exit, ce.Started = nil, now // news of the last run's end that comes late is older
	})
	if err != nil {
		return err
	}
	entry.Exit, entry.Started = nil, now
	return e.startLocked(ctx, entry)
}

// renew gives the container a new process, which has not begun.
func (e *Engine) renew(ctx context.Context, c *client.Client, t taskEntry, entry containerEntry) error {
	socket, _ := shimAddress(filepath.Join(e.s.bundles(), entry.ID))
	ctr, err := c.LoadContainer(ctx, entry.ID)
	if err != nil {
		return err
	}
	if err := e.checkPause(ctx, c, t.ID, ctr); err != nil {
		return err
	}
	if err := removeProcess(ctx, c, ctr); err != nil {
		return err
	}
	if socket != "" && !e.sharesShim(t, entry, socket) {
		if err := awaitShimGone(ctx, socket); err != nil {
			return err
		}
	}
	out, err := e.output(entry.Log)
	if err != nil {
		return err
	}
	_, err = ctr.NewTask(ctx, out)
	return classify(err)
}

// sharesShim tells whether another container of the task keeps the shim alive.
func (e *Engine) sharesShim(t taskEntry, entry containerEntry, socket string) bool {
	others := []string{containerID(t.ID, pauseName)}
	for _, c := range t.Containers {
		if c.ID != entry.ID {
			others = append(others, c.ID)
		}
	}
	return slices.ContainsFunc(others, func(id string) bool {
		a, err := shimAddress(filepath.Join(e.s.bundles(), id))
		return err == nil && a == socket
	})
}
