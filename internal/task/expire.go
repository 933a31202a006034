package task

import (
	"context"
	"errors"
	"time"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// keepStopped is how long a stopped task can be described. AWS shows it for an hour; who looks
// for the cause of a crash at night wants more.
const keepStopped = 14 * 24 * time.Hour

// expireEvery is the time between two looks at what has been stopped for long.
const expireEvery = time.Hour

// forgetOld deletes the records of tasks that have been stopped for long, until ctx ends.
func (c *Controller) forgetOld(ctx context.Context) {
	for {
		if err := c.expire(ctx); err != nil && ctx.Err() == nil {
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
				if st.Val.LastStatus == "STOPPED" && tx.Now().Sub(st.Val.StoppedAt) > keepStopped {
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
