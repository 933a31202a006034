package fabric

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lotse-project/lotse/internal/linklocal"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

const (
	// keyLife is how long a task's key is valid. Half of it is what is always left, so that tasks
	// have a valid one for three hours after the server went away. AWS's live about as long.
	keyLife = 6 * time.Hour
	// renewEvery is how often it is looked whether a key is past its half.
	renewEvery = 15 * time.Minute
)

// credentials gives every task that has a role and isn't over its key. A role that is gone gives
// none: the endpoint says so to the container.
func (c *Controller) credentials(ctx context.Context, all []records) (map[string]linklocal.Credentials, error) {
	if c.o.Credentials == nil {
		return nil, nil
	}
	now := c.o.Now()
	held := c.heldKeys()
	out := map[string]linklocal.Credentials{}
	for _, r := range all {
		for id, t := range r.tasks {
			role := state.TaskRole(t.Task, t.definition)
			if role == "" || t.status.LastStatus == "STOPPED" {
				continue
			}
			if h, ok := held[id]; ok && h.Expiration.Sub(now) > keyLife/2 {
				out[id] = h
				continue
			}
			k, err := c.o.Credentials(ctx, t.Task, role, keyLife)
			if errors.Is(err, store.ErrNotFound) {
				c.o.Log.Warn("a task's role is gone", "task", id, "role", role)
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("key of task %s: %w", id, err)
			}
			out[id] = k
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys = out
	return out, nil
}

func (c *Controller) heldKeys() map[string]linklocal.Credentials {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keys
}
