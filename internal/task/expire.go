package task

import (
	"context"
	"errors"
	"time"

	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// expireEvery is the time between two looks at what has been stopped for long.
const expireEvery = time.Hour

// forgetOld deletes the records of tasks that have been stopped for long, until ctx ends.
func (c *Controller) forgetOld(ctx context.Context) {
	for {
		if err := errors.Join(c.expire(ctx), c.expireDefinitions(ctx), c.expireTokens(ctx)); err != nil && ctx.Err() == nil {
			c.o.Log.Error("cannot forget stopped tasks", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(expireEvery):
		}
	}
}

// expire deletes a few at a time, so that nobody waits for it.
func (c *Controller) expire(ctx context.Context) error {
	const batch = 100
	for {
		n := 0
		err := c.o.DB.Update(ctx, func(tx *store.WriteTx) error {
			var old []string
			for st, err := range state.TaskStatuses.List(tx, "") {
				if err != nil {
					return err
				}
				if st.Val.LastStatus == "STOPPED" && tx.Now().Sub(st.Val.StoppedAt) > c.o.History {
					old = append(old, st.Key)
				}
				if len(old) == batch {
					break
				}
			}
			for _, key := range old {
				if err := state.Tasks.Delete(tx, key, 0); err != nil && !errors.Is(err, store.ErrNotFound) {
					return err
				}
				if err := state.TaskStatuses.Delete(tx, key, 0); err != nil {
					return err
				}
			}
			n = len(old)
			return nil
		})
		if err != nil || n < batch {
			return err
		}
	}
}

// expireTokens deletes the clientTokens that nobody need remember any more, a few at a time.
func (c *Controller) expireTokens(ctx context.Context) error {
	const batch = 1000
	for n := batch; n == batch; {
		err := c.o.DB.Update(ctx, func(tx *store.WriteTx) error {
			var old []string
			for o, err := range state.RunTokens.List(tx, "") {
				if err != nil {
					return err
				}
				if tx.Now().Sub(o.Val.At) > state.RunTokenLife {
					old = append(old, o.Key)
				}
				if len(old) == batch {
					break
				}
			}
			for _, key := range old {
				if err := state.RunTokens.Delete(tx, key, 0); err != nil {
					return err
				}
			}
			n = len(old)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// expireDefinitions deletes the task definitions that are DELETE_IN_PROGRESS and of which no task
// and no deployment is left, also of those that can only be described.
func (c *Controller) expireDefinitions(ctx context.Context) error {
	return c.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		doomed := map[string]bool{} // by key
		for td, err := range state.TaskDefinitions.List(tx, "") {
			if err != nil {
				return err
			}
			if td.Val.Definition.Status == ecstypes.TaskDefinitionStatusDeleteInProgress {
				doomed[td.Key] = true
			}
		}
		if len(doomed) == 0 {
			return nil
		}
		for t, err := range state.Tasks.List(tx, "") {
			if err != nil {
				return err
			}
			delete(doomed, state.TaskDefinitionKey(t.Val.TaskDefinitionARN))
		}
		for d, err := range state.Deployments.List(tx, "") {
			if err != nil {
				return err
			}
			delete(doomed, state.TaskDefinitionKey(d.Val.TaskDefinitionARN))
		}
		for key := range doomed {
			if err := state.TaskDefinitions.Delete(tx, key, 0); err != nil {
				return err
			}
		}
		return nil
	})
}
