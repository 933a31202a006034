package ctrd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
)

// shimGone is how long the end of a task's shim is waited for after its last container is gone; usually a few ms.
const shimGone = 5 * time.Second

// Remove implements runtime.Engine.
func (e *Engine) Remove(ctx context.Context, taskID string) error {
	if !validTask.MatchString(taskID) {
		return nil // never created
	}
	defer e.s.tasks.lock(taskID)()
	c, ctx, err := e.client(ctx)
	if err != nil {
		return err
	}
	if err := e.removeLocked(ctx, c, taskID); err != nil {
		return fmt.Errorf("remove task %s: %w", taskID, err)
	}
	return nil
}

// RemoveAll removes every task of this server.
func (e *Engine) RemoveAll(ctx context.Context) error {
	c, ctx, err := e.client(ctx)
	if err != nil {
		return err
	}
	ids := map[string]bool{}
	for _, t := range e.s.ledger.all() {
		ids[t.ID] = true
	}
	ctrs, err := c.Containers(ctx)
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	for _, ctr := range ctrs {
		labels, err := ctr.Labels(ctx)
		if err == nil && labels[labelTask] != "" {
			ids[labels[labelTask]] = true
		}
	}
	var errs []error
	for id := range ids {
		errs = append(errs, e.Remove(ctx, id))
	}
	return errors.Join(errs...)
}

// Private

func (e *Engine) removeLocked(ctx context.Context, c *client.Client, taskID string) error {
	ctrs, err := c.Containers(ctx, fmt.Sprintf("labels.%q==%s", labelTask, taskID))
	if err != nil {
		return err
	}
	ids := map[string]bool{}
	for _, ctr := range ctrs {
		ids[ctr.ID()] = true
	}
	t, known := e.s.ledger.get(taskID)
	for _, ce := range t.Containers {
		ids[ce.ID] = true
	}
	if len(ids) == 0 && !known {
		return nil
	}
	// Asked before the bundles go: they tell where the shim listens.
	sockets := map[string]bool{}
	for id := range ids {
		if a, err := shimAddress(filepath.Join(e.s.bundles(), id)); err == nil {
			sockets[a] = true
		}
	}
	var errs []error
	for id := range ids {
		if err := removeContainer(ctx, c, id); err != nil {
			errs = append(errs, fmt.Errorf("container %s: %w", id, err))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	for a := range sockets {
		if err := awaitShimGone(ctx, a); err != nil {
			return err
		}
	}
	if err := c.LeasesService().Delete(ctx, leaseOf(taskID)); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("lease: %w", err)
	}
	if err := e.s.groups.removeTask(taskID); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	if err := os.RemoveAll(filepath.Join(e.s.taskFiles(), taskID)); err != nil {
		return err
	}
	e.s.hints.send(taskID)
	return e.s.ledger.remove(taskID)
}

// awaitShimGone waits until a shim no longer answers: were the task created again at once, it would get the dying one.
func awaitShimGone(ctx context.Context, socket string) error {
	for end := time.Now().Add(shimGone); dial(socket) == nil; {
		if time.Now().After(end) {
			return fmt.Errorf("the shim at %s has no containers left and does not end", socket)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Millisecond):
		}
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
