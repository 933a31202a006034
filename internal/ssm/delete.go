package ssm

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// DeleteParameter deletes a parameter with all its versions.
func (s *Service) DeleteParameter(ctx context.Context, in *ssm.DeleteParameterInput) (*ssm.DeleteParameterOutput, error) {
	ref, err := plain(scope(ctx), aws.ToString(in.Name))
	if err != nil {
		return nil, err
	}
	return &ssm.DeleteParameterOutput{}, s.o.DB.Update(ctx, func(tx *store.WriteTx) error { return s.delete(tx, ctx, ref) })
}

// DeleteParameters deletes up to ten parameters; those that don't exist are InvalidParameters.
func (s *Service) DeleteParameters(ctx context.Context, in *ssm.DeleteParametersInput) (*ssm.DeleteParametersOutput, error) {
	if err := checkNames(in.Names); err != nil {
		return nil, err
	}
	out := &ssm.DeleteParametersOutput{}
	return out, s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		for i, name := range in.Names {
			if slices.Contains(in.Names[:i], name) {
				continue
			}
			ref, err := plain(scope(ctx), name)
			if err != nil {
				return err
			}
			switch err := s.delete(tx, ctx, ref); {
			case missing(err):
				out.InvalidParameters = append(out.InvalidParameters, name)
			case err != nil:
				return err
			default:
				out.DeletedParameters = append(out.DeletedParameters, name)
			}
		}
		return nil
	})
}

// Private

func (s *Service) delete(tx *store.WriteTx, ctx context.Context, ref reference) error {
	o, err := find(tx, scope(ctx), ref)
	if err != nil {
		return err
	}
	all, err := versions(tx, o.Val)
	if err != nil {
		return err
	}
	for _, v := range all {
		if err := state.ParameterVersions.Delete(tx, v.Key, v.Rev); err != nil {
			return err
		}
	}
	return state.Parameters.Delete(tx, o.Key, o.Rev)
}
