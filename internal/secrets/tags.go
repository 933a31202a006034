package secrets

import (
	"context"
	"maps"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// TagResource adds or replaces a secret's tags.
func (s *Service) TagResource(ctx context.Context, in *secretsmanager.TagResourceInput) (*secretsmanager.TagResourceOutput, error) {
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	return &secretsmanager.TagResourceOutput{}, s.change(ctx, in.SecretId, func(_ *store.WriteTx, sec *state.Secret) error {
		all := map[string]string{}
		maps.Copy(all, sec.Tags)
		maps.Copy(all, tagMap(in.Tags))
		if len(all) > 50 {
			return errTags
		}
		sec.Tags = all
		return nil
	})
}

// UntagResource removes a secret's tags by key.
func (s *Service) UntagResource(ctx context.Context, in *secretsmanager.UntagResourceInput) (*secretsmanager.UntagResourceOutput, error) {
	return &secretsmanager.UntagResourceOutput{}, s.change(ctx, in.SecretId, func(_ *store.WriteTx, sec *state.Secret) error {
		for _, k := range in.TagKeys {
			delete(sec.Tags, k)
		}
		return nil
	})
}

// Private

func tagMap(tags []types.Tag) map[string]string {
	out := map[string]string{}
	for _, t := range tags {
		out[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return out
}

// checkTags. Source: Secrets Manager service model, TagKeyType and TagValueType; TagResource.
func checkTags(tags []types.Tag) error {
	if len(tagMap(tags)) > 50 {
		return errTags
	}
	for _, t := range tags {
		k, v := aws.ToString(t.Key), aws.ToString(t.Value)
		switch {
		case k == "" || utf8.RuneCountInString(k) > 128:
			return constraint(k, "tags", "Member must have length between 1 and 128")
		case utf8.RuneCountInString(v) > 256:
			return constraint(v, "tags", "Member must have length less than or equal to 256")
		case strings.HasPrefix(strings.ToLower(k), "aws:"):
			return invalid("Tag keys starting with aws: are reserved for AWS.")
		}
	}
	return nil
}
