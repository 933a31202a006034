package secrets

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// UpdateSecretVersionStage moves a staging label from a version to another one, gives it to one, or takes it away.
func (s *Service) UpdateSecretVersionStage(ctx context.Context, in *secretsmanager.UpdateSecretVersionStageInput) (*secretsmanager.UpdateSecretVersionStageOutput, error) {
	stage, from, to := aws.ToString(in.VersionStage), aws.ToString(in.RemoveFromVersionId), aws.ToString(in.MoveToVersionId)
	if err := checkStages([]string{stage}); err != nil {
		return nil, err
	}
	out := &secretsmanager.UpdateSecretVersionStageOutput{}
	return out, s.change(ctx, in.SecretId, func(tx *store.WriteTx, sec *state.Secret) error {
		out.ARN, out.Name = aws.String(sec.ARN()), aws.String(sec.Name)
		for _, id := range []string{from, to} {
			if id == "" {
				continue
			}
			if _, err := state.SecretVersions.Get(tx, state.SecretVersionKey(sec.Scope, sec.Name, id)); errors.Is(err, store.ErrNotFound) {
				return invalid("Not a valid version: %s", id)
			} else if err != nil {
				return err
			}
		}
		is := sec.Stages[stage]
		switch {
		case from == "" && to == "":
			return invalid("You must provide MoveToVersionId, RemoveFromVersionId, or both.")
		case from != "" && is != from:
			return invalid("Version stage %s not found in version %s", stage, from)
		case to == "" && stage == current:
			return errCurrent
		case from == "" && is != "" && is != to:
			return invalid("The parameter RemoveFromVersionId can't be empty. Staging label %s is currently attached to version %s, so you must explicitly reference that version in RemoveFromVersionId.", stage, is)
		case to == "":
			delete(sec.Stages, stage)
		default:
			move(sec, stage, to)
			if len(stagesOf(*sec, to)) > maxStages {
				return errManyLabels
			}
		}
		sec.ChangedAt = tx.Now()
		return nil
	})
}
