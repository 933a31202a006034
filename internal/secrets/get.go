package secrets

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// GetSecretValue shows the value of a version: the one with a staging label, AWSCURRENT by default, or with an ID.
func (s *Service) GetSecretValue(ctx context.Context, in *secretsmanager.GetSecretValueInput) (*secretsmanager.GetSecretValueOutput, error) {
	f, err := s.fetch(ctx, scope(ctx), aws.ToString(in.SecretId), aws.ToString(in.VersionId), aws.ToString(in.VersionStage))
	if err != nil {
		return nil, err
	}
	out := &secretsmanager.GetSecretValueOutput{ARN: aws.String(f.secret.ARN()), Name: aws.String(f.secret.Name), VersionId: aws.String(f.version.ID),
		VersionStages: stagesOf(f.secret, f.version.ID), CreatedDate: aws.Time(f.version.CreatedAt)}
	out.SecretString, out.SecretBinary = f.value()
	return out, nil
}

// BatchGetSecretValue shows the current values of up to 20 secrets, by their ids or by filters.
func (s *Service) BatchGetSecretValue(ctx context.Context, in *secretsmanager.BatchGetSecretValueInput) (*secretsmanager.BatchGetSecretValueOutput, error) {
	if (len(in.SecretIdList) == 0) == (len(in.Filters) == 0) {
		return nil, errBatch
	}
	out := &secretsmanager.BatchGetSecretValueOutput{}
	ids := in.SecretIdList
	if len(ids) > 20 {
		return nil, constraint(len(ids), "secretIdList", "Member must have length less than or equal to 20")
	}
	if len(ids) > 0 && (in.MaxResults != nil || aws.ToString(in.NextToken) != "") {
		return nil, errBatchMax
	}
	if len(in.Filters) > 0 {
		size, err := pageSize(in.MaxResults, 20)
		if err != nil {
			return nil, err
		}
		found, next, err := s.list(ctx, listing{filters: in.Filters, size: size, token: in.NextToken})
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			ids = append(ids, f.ARN())
		}
		out.NextToken = next
	}
	for _, id := range ids {
		f, err := s.fetch(ctx, scope(ctx), id, "", "")
		var e *awswire.Error
		switch {
		case errors.As(err, &e):
			out.Errors = append(out.Errors, types.APIErrorType{SecretId: aws.String(id), ErrorCode: aws.String(e.Code), Message: aws.String(e.Message)})
		case err != nil:
			return nil, err
		default:
			v := types.SecretValueEntry{ARN: aws.String(f.secret.ARN()), Name: aws.String(f.secret.Name), VersionId: aws.String(f.version.ID),
				VersionStages: stagesOf(f.secret, f.version.ID), CreatedDate: aws.Time(f.version.CreatedAt)}
			v.SecretString, v.SecretBinary = f.value()
			out.SecretValues = append(out.SecretValues, v)
		}
	}
	return out, nil
}

// Private

// fetched is a version with its value.
type fetched struct {
	secret  state.Secret
	version state.SecretVersion
	data    []byte
}

func (f fetched) value() (text *string, binary []byte) {
	if f.version.Binary {
		return nil, f.data
	}
	return aws.String(string(f.data)), nil
}

// fetch reads a version and its value, and notes the day.
func (s *Service) fetch(ctx context.Context, sc arn.Scope, id, version, stage string) (f fetched, err error) {
	now := s.o.Now().UTC()
	err = s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		o, err := usable(tx, sc, id, now)
		if err != nil {
			return err
		}
		v, err := versionOf(tx, o.Val, version, stage)
		f.secret, f.version = o.Val, v.Val
		return err
	})
	if err != nil {
		return f, err
	}
	if f.data, err = s.open(f.secret, f.version); err != nil {
		return f, err
	}
	today := now.Truncate(24 * time.Hour)
	if f.secret.AccessedAt.Equal(today) && f.version.AccessedAt.Equal(today) {
		return f, nil
	}
	return f, s.o.DB.Update(ctx, func(tx *store.WriteTx) error { return accessed(tx, f, today) })
}

// accessed notes that a secret's value was read on a day, unless it went meanwhile.
func accessed(tx *store.WriteTx, f fetched, day time.Time) error {
	o, err := state.Secrets.Get(tx, f.secret.Key())
	if errors.Is(err, store.ErrNotFound) || err == nil && o.Val.Suffix != f.secret.Suffix {
		return nil
	}
	if err != nil {
		return err
	}
	v, err := state.SecretVersions.Get(tx, state.SecretVersionKey(f.secret.Scope, f.secret.Name, f.version.ID))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	o.Val.AccessedAt, v.Val.AccessedAt = day, day
	return errors.Join(state.Secrets.Put(tx, &o), state.SecretVersions.Put(tx, &v))
}
