package ssm

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// DescribeParameters lists parameters without their values, in order of their names.
func (s *Service) DescribeParameters(ctx context.Context, in *ssm.DescribeParametersInput) (*ssm.DescribeParametersOutput, error) {
	// Filters is deprecated by AWS in favour of ParameterFilters.
	if err := onlyMembers(in, "ParameterFilters", "MaxResults", "NextToken", "Shared"); err != nil {
		return nil, err
	}
	filters, err := parseFilters(in.ParameterFilters, false)
	if err != nil {
		return nil, err
	}
	size, err := pageSize(in.MaxResults, 50)
	if err != nil {
		return nil, err
	}
	out := &ssm.DescribeParametersOutput{}
	if aws.ToBool(in.Shared) { // by other accounts with this one: none can be
		return out, nil
	}
	return out, s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		var found []hit
		for o, err := range state.Parameters.List(tx, scope(ctx).Key("")) {
			if err != nil {
				return err
			}
			v, err := versionOf(tx, o.Val, o.Val.Version)
			if err != nil {
				return err
			}
			if filters.match(o.Val, v) {
				found = append(found, hit{p: o.Val, v: v})
			}
		}
		found, next, err := page(found, in.NextToken, size, func(h hit) string { return h.p.Name })
		out.NextToken = next
		for _, h := range found {
			out.Parameters = append(out.Parameters, metadata(h.p, h.v))
		}
		return err
	})
}

// Private

func metadata(p state.Parameter, v state.ParameterVersion) types.ParameterMetadata {
	m := types.ParameterMetadata{
		ARN: aws.String(p.ARN()), Name: aws.String(p.Name), Type: types.ParameterType(v.Type), Version: v.Version,
		Description: optional(v.Description), AllowedPattern: optional(v.AllowedPattern), DataType: aws.String(v.DataType),
		Tier: types.ParameterTier(v.Tier), LastModifiedDate: aws.Time(v.ModifiedAt), LastModifiedUser: optional(v.ModifiedBy),
		Policies: []types.ParameterInlinePolicy{},
	}
	if secure(v) {
		m.KeyId = aws.String(keyAlias)
	}
	return m
}
