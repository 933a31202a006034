package task

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/runtime"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

const (
	// storageRate is how fast a task is taken to write at most, in bytes a second.
	storageRate = 512 << 20
	// The pause between two looks at what a task wrote. A look takes a share of the time at most, however many files there are.
	minStoragePause, maxStoragePause = time.Second, time.Minute
	storageShare                     = 20
)

// A storageWatch is what is known of the tasks' storage, by their ids.
type storageWatch struct {
	due        map[string]time.Time // when to look again
	used, told map[string]int64     // bytes
}

// watchStorage ends tasks that write more than their ephemeral storage holds, until ctx ends: see
// doc/decision/0006-ephemeral-storage.md.
func (c *Controller) watchStorage(ctx context.Context) {
	w := &storageWatch{due: map[string]time.Time{}, used: map[string]int64{}}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(minStoragePause):
		}
		c.lookAtStorage(ctx, w)
	}
}

// Private

// storagePause is how long a task with so many bytes left needs no look, when the last took so long.
func storagePause(free int64, took time.Duration) time.Duration {
	filled := min(time.Duration(free/storageRate)*time.Second, maxStoragePause)
	return max(minStoragePause, filled, storageShare*took)
}

// lookAtStorage looks at the tasks whose turn it is, and tells what has changed.
func (c *Controller) lookAtStorage(ctx context.Context, w *storageWatch) {
	c.mu.Lock()
	keys := maps.Clone(c.keys)
	c.mu.Unlock()
	maps.DeleteFunc(w.due, func(id string, _ time.Time) bool { return keys[id] == "" })
	maps.DeleteFunc(w.used, func(id string, _ int64) bool { return keys[id] == "" })
	for id, key := range keys {
		if ctx.Err() != nil || time.Now().Before(w.due[id]) {
			continue
		}
		begun := time.Now()
		used, free, err := c.checkStorage(ctx, id, key)
		if err != nil && ctx.Err() == nil {
			c.o.Log.Warn("cannot tell what a task has written", "task", id, "err", err)
		}
		w.due[id], w.used[id] = time.Now().Add(storagePause(free, time.Since(begun))), used
	}
	if c.o.Storage == nil || w.told != nil && maps.Equal(w.used, w.told) {
		return
	}
	if err := c.o.Storage(w.used); err != nil {
		c.o.Log.Warn("cannot tell what tasks have written", "err", err)
		return
	}
	w.told = maps.Clone(w.used)
}

// checkStorage ends a task that is over its limit, and tells how many bytes it has written and has left.
func (c *Controller) checkStorage(ctx context.Context, id, key string) (used, free int64, err error) {
	var limit int64
	err = c.o.DB.View(ctx, func(tx *store.ReadTx) error {
		t, err := state.Tasks.Get(tx, key)
		if err != nil {
			return err
		}
		td, err := state.TaskDefinitions.Get(tx, state.TaskDefinitionKey(t.Val.TaskDefinitionARN))
		limit = int64(state.EphemeralStorage(t.Val, td.Val.Definition)) << 30
		return err
	})
	if errors.Is(err, store.ErrNotFound) { // deleted meanwhile
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	used, err = c.o.Engine.Usage(ctx, id)
	if errors.Is(err, runtime.ErrNotFound) { // not created yet, or removed
		return 0, limit, nil
	}
	if err != nil || used <= limit {
		return used, limit - used, err
	}
	return used, 0, c.full(ctx, id, key, used, limit)
}

// full ends a task at once: until it is drained and asked to end it could fill the disk.
func (c *Controller) full(ctx context.Context, id, key string, used, limit int64) error {
	var containers []string
	err := c.save(ctx, life{key: key}, "", func(tx *store.WriteTx, st *state.TaskStatus) error {
		for _, cs := range st.Containers {
			containers = append(containers, cs.Name)
		}
		if st.Stop == nil { // AWS has no text for it: there, writing fails
			st.Stop = &state.Stop{At: tx.Now(), Code: string(ecstypes.TaskStopCodeTerminationNotice),
				Reason: fmt.Sprintf("The task's ephemeral storage is full: its containers wrote %.1f GiB, ephemeralStorage.sizeInGiB is %d.",
					float64(used)/(1<<30), limit>>30)}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range containers {
		if err := c.o.Engine.Kill(ctx, id, name); err != nil {
			return err
		}
	}
	c.loop.Add(key)
	return nil
}
