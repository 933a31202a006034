package scheduler

import (
	"context"
	"errors"
	"time"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// expireEvery is the time between two looks at what is long over.
const expireEvery = time.Hour

// expireBatch is how many records one transaction removes, so that nobody waits for it.
const expireBatch = 100

// expireOften drops what is older than the history, until ctx ends.
func (c *Controller) expireOften(ctx context.Context) {
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	for {
		if err := c.expire(ctx); err != nil && ctx.Err() == nil {
			c.o.Log.Error("expiring the history of services", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// expire removes deployments that were over, and services that were INACTIVE, before the history begins.
func (c *Controller) expire(ctx context.Context) error {
	for {
		n := 0
		err := c.o.DB.Update(ctx, func(tx *store.WriteTx) (err error) {
			n, err = expireSome(tx, tx.Now().Add(-c.o.History))
			return err
		})
		if err != nil || n < expireBatch {
			return err
		}
	}
}

func expireSome(tx *store.WriteTx, before time.Time) (n int, err error) {
	for st, err := range state.DeploymentStatuses.List(tx, "") {
		if err != nil {
			return n, err
		}
		if n == expireBatch {
			return n, nil
		}
		if !st.Val.UpdatedAt.Before(before) {
			continue
		}
		n++
		if err := errors.Join(gone(state.Deployments.Delete(tx, st.Key, 0)), state.DeploymentStatuses.Delete(tx, st.Key, 0)); err != nil {
			return n, err
		}
	}
	for st, err := range state.ServiceStatuses.List(tx, "") {
		if err != nil {
			return n, err
		}
		if n >= expireBatch {
			return n, nil
		}
		done, err := expireActions(tx, st.Key, before, expireBatch-n)
		n += done
		if err != nil {
			return n, err
		}
		if st.Val.Status != "INACTIVE" || st.Val.InactiveAt.IsZero() || !st.Val.InactiveAt.Before(before) {
			continue
		}
		n++
		if err := expireService(tx, st.Key); err != nil {
			return n, err
		}
	}
	return n, nil
}

// expireActions removes the log of a service up to a time.
func expireActions(tx *store.WriteTx, service string, before time.Time, most int) (n int, err error) {
	for a, err := range state.ServiceActions.List(tx, service+"/") {
		if err != nil || n >= most || !a.Val.At.Before(before) {
			return n, err
		}
		n++
		if err := state.ServiceActions.Delete(tx, a.Key, 0); err != nil {
			return n, err
		}
	}
	return n, nil
}

// expireService removes an INACTIVE service and what is left of its deployments.
func expireService(tx *store.WriteTx, key string) error {
	for d, err := range state.Deployments.List(tx, key+"/") {
		if err != nil {
			return err
		}
		if err := errors.Join(state.Deployments.Delete(tx, d.Key, 0), gone(state.DeploymentStatuses.Delete(tx, d.Key, 0))); err != nil {
			return err
		}
	}
	return errors.Join(gone(state.Services.Delete(tx, key, 0)), state.ServiceStatuses.Delete(tx, key, 0))
}

// gone takes what isn't there for removed.
func gone(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}
