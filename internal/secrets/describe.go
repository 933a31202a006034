package secrets

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// DescribeSecret shows all of a secret but its values.
func (s *Service) DescribeSecret(ctx context.Context, in *secretsmanager.DescribeSecretInput) (*secretsmanager.DescribeSecretOutput, error) {
	var sec state.Secret
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		o, err := find(tx, scope(ctx), aws.ToString(in.SecretId), s.o.Now())
		sec = o.Val
		return err
	})
	return &secretsmanager.DescribeSecretOutput{
		ARN: aws.String(sec.ARN()), Name: aws.String(sec.Name), Description: optional(sec.Description), CreatedDate: aws.Time(sec.CreatedAt),
		LastChangedDate: aws.Time(sec.ChangedAt), LastAccessedDate: date(sec.AccessedAt), DeletedDate: date(sec.MarkedAt),
		Tags: tagList(sec.Tags), VersionIdsToStages: byVersion(sec),
	}, err
}

// ListSecretVersionIds lists a secret's versions, the oldest first; those without a staging label when asked for.
func (s *Service) ListSecretVersionIds(ctx context.Context, in *secretsmanager.ListSecretVersionIdsInput) (*secretsmanager.ListSecretVersionIdsOutput, error) {
	size, err := pageSize(in.MaxResults, 100)
	if err != nil {
		return nil, err
	}
	out := &secretsmanager.ListSecretVersionIdsOutput{}
	return out, s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		o, err := find(tx, scope(ctx), aws.ToString(in.SecretId), s.o.Now())
		if err != nil {
			return err
		}
		out.ARN, out.Name = aws.String(o.Val.ARN()), aws.String(o.Val.Name)
		all, err := versions(tx, o.Val)
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(v store.Object[state.SecretVersion]) bool {
			return !aws.ToBool(in.IncludeDeprecated) && len(stagesOf(o.Val, v.Val.ID)) == 0
		})
		key := func(v store.Object[state.SecretVersion]) string { return timeKey(v.Val.CreatedAt) + v.Val.ID }
		slices.SortFunc(all, func(a, b store.Object[state.SecretVersion]) int { return cmpString(key(a), key(b)) })
		all, out.NextToken, err = page(all, in.NextToken, size, key, false)
		for _, v := range all {
			out.Versions = append(out.Versions, types.SecretVersionsListEntry{VersionId: aws.String(v.Val.ID), VersionStages: stagesOf(o.Val, v.Val.ID),
				CreatedDate: aws.Time(v.Val.CreatedAt), LastAccessedDate: date(v.Val.AccessedAt)})
		}
		return err
	})
}

// GetResourcePolicy shows that a secret has no policy: Lotse has no PutResourcePolicy yet, but Terraform asks.
func (s *Service) GetResourcePolicy(ctx context.Context, in *secretsmanager.GetResourcePolicyInput) (*secretsmanager.GetResourcePolicyOutput, error) {
	out := &secretsmanager.GetResourcePolicyOutput{}
	return out, s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		o, err := find(tx, scope(ctx), aws.ToString(in.SecretId), s.o.Now())
		out.ARN, out.Name = aws.String(o.Val.ARN()), aws.String(o.Val.Name)
		return err
	})
}

// Private

func byVersion(sec state.Secret) map[string][]string {
	out := map[string][]string{}
	for _, stage := range slices.Sorted(maps.Keys(sec.Stages)) {
		out[sec.Stages[stage]] = append(out[sec.Stages[stage]], stage)
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func tagList(tags map[string]string) []types.Tag {
	out := []types.Tag{}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, types.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	return out
}

// date leaves a time that never was out of an answer.
func date(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// optional leaves empty strings out of an answer.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
