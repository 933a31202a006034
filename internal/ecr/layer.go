package ecr

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/opencontainers/go-digest"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// BatchCheckLayerAvailability tells which layers a repository has.
func (s *Service) BatchCheckLayerAvailability(ctx context.Context, in *ecr.BatchCheckLayerAvailabilityInput) (*ecr.BatchCheckLayerAvailabilityOutput, error) {
	if err := onlyMembers(in, "RepositoryName", "LayerDigests", "RegistryId"); err != nil {
		return nil, err
	}
	if n := len(in.LayerDigests); n < 1 || n > maxBatch {
		return nil, invalid("layerDigests", "must have length between 1 and %d", maxBatch)
	}
	if err := ownRegistry(ctx, in.RegistryId, "BatchCheckLayerAvailability", aws.ToString(in.RepositoryName)); err != nil {
		return nil, err
	}
	var mine string // the repository's key
	out := &ecr.BatchCheckLayerAvailabilityOutput{Layers: []types.Layer{}, Failures: []types.LayerFailure{}}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		o, err := repository(tx, scope(ctx), in.RepositoryName)
		if err != nil {
			return err
		}
		mine = o.Key
		for _, d := range in.LayerDigests {
			if !digestRE.MatchString(d) {
				out.Failures = append(out.Failures, types.LayerFailure{LayerDigest: &d, FailureCode: types.LayerFailureCodeInvalidLayerDigest,
					FailureReason: aws.String("Invalid layer digest: " + d)})
				continue
			}
			l, err := state.Layers.Get(tx, contentKey(o.Key, digest.Digest(d)))
			switch {
			case errors.Is(err, store.ErrNotFound):
				out.Layers = append(out.Layers, types.Layer{LayerDigest: &d, LayerAvailability: types.LayerAvailabilityUnavailable})
			case err != nil:
				return err
			default:
				out.Layers = append(out.Layers, types.Layer{LayerDigest: &d, LayerAvailability: types.LayerAvailabilityAvailable, LayerSize: aws.Int64(l.Val.Size)})
			}
		}
		return nil
	})
	for i, l := range out.Layers {
		if err != nil || l.LayerAvailability != types.LayerAvailabilityAvailable {
			continue
		}
		// The client counts on it from now on; and damaged ones it is to bring again.
		var have bool
		if have, err = s.registry.Has(ctx, mine, digest.Digest(*l.LayerDigest)); err == nil && !have {
			out.Layers[i] = types.Layer{LayerDigest: l.LayerDigest, LayerAvailability: types.LayerAvailabilityUnavailable}
		}
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}
