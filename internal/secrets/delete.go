package secrets

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

const (
	day           = 24 * time.Hour
	defaultWindow = 30 // days. Source: DeleteSecret
	sweepEvery    = time.Hour
)

// DeleteSecret marks a secret for deletion at the end of a recovery window, or deletes it at once.
func (s *Service) DeleteSecret(ctx context.Context, in *secretsmanager.DeleteSecretInput) (*secretsmanager.DeleteSecretOutput, error) {
	force, window := aws.ToBool(in.ForceDeleteWithoutRecovery), int64(defaultWindow)
	if in.RecoveryWindowInDays != nil {
		window = *in.RecoveryWindowInDays
		if force {
			return nil, errForce
		}
		if window < 7 || window > 30 {
			return nil, errWindow
		}
	}
	out := &secretsmanager.DeleteSecretOutput{}
	return out, s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		id := aws.ToString(in.SecretId)
		o, err := find(tx, scope(ctx), id, tx.Now())
		if errors.Is(err, errNoSecret) && force {
			// Not an error. Source: DeleteSecret, ForceDeleteWithoutRecovery.
			out.Name, out.DeletionDate = aws.String(id), aws.Time(tx.Now())
			if !arn.IsARN(id) {
				out.ARN = aws.String(scope(ctx).ARN("secretsmanager", "secret:"+id))
			}
			return nil
		}
		if err != nil {
			return err
		}
		out.ARN, out.Name, out.DeletionDate = aws.String(o.Val.ARN()), aws.String(o.Val.Name), aws.Time(tx.Now())
		if force {
			return state.DeleteSecret(tx, o.Val.Scope, o.Val.Name)
		}
		if !o.Val.MarkedAt.IsZero() {
			return errMarked
		}
		o.Val.MarkedAt, o.Val.DeleteAt = tx.Now(), tx.Now().Add(time.Duration(window)*day)
		out.DeletionDate = aws.Time(o.Val.DeleteAt)
		return state.Secrets.Put(tx, &o)
	})
}

// RestoreSecret takes the mark for deletion away.
func (s *Service) RestoreSecret(ctx context.Context, in *secretsmanager.RestoreSecretInput) (*secretsmanager.RestoreSecretOutput, error) {
	out := &secretsmanager.RestoreSecretOutput{}
	return out, s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := find(tx, scope(ctx), aws.ToString(in.SecretId), tx.Now())
		if err != nil {
			return err
		}
		out.ARN, out.Name = aws.String(o.Val.ARN()), aws.String(o.Val.Name)
		o.Val.MarkedAt, o.Val.DeleteAt = time.Time{}, time.Time{}
		return state.Secrets.Put(tx, &o)
	})
}

// Run deletes, once an hour, the records of secrets whose recovery window is over, until ctx is done. Nobody sees such
// secrets before that either. It returns nil.
func (s *Service) Run(ctx context.Context) error {
	for {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			s.o.Log.Error("secrets whose recovery window is over are not deleted yet", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweepEvery):
		}
	}
}

// Private

func (s *Service) sweep(ctx context.Context) error {
	var gone []string
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for o, err := range state.Secrets.List(tx, "") {
			if err != nil {
				return err
			}
			if o.Val.Gone(s.o.Now()) {
				gone = append(gone, o.Key)
			}
		}
		return nil
	})
	for _, key := range gone {
		err = errors.Join(err, s.o.DB.Update(ctx, func(tx *store.WriteTx) error { return clear(tx, key) }))
	}
	return err
}

// clear deletes what is left of a secret whose recovery window is over; one that isn't there is nothing to clear.
func clear(tx *store.WriteTx, key string) error {
	o, err := state.Secrets.Get(tx, key)
	if errors.Is(err, store.ErrNotFound) || err == nil && !o.Val.Gone(tx.Now()) {
		return nil
	}
	if err != nil {
		return err
	}
	return state.DeleteSecret(tx, o.Val.Scope, o.Val.Name)
}
