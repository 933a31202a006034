package ecr

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// maxTags is how many tags a repository may have. Source: ECR user guide, tagging.
const maxTags = 50

var errTooManyTags = awsError("TooManyTagsException", "The list of tags on the repository is over the limit. The maximum number of tags that can be applied to a repository is 50.")

// TagResource adds or replaces tags of a repository.
func (s *Service) TagResource(ctx context.Context, in *ecr.TagResourceInput) (*ecr.TagResourceOutput, error) {
	add, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	return &ecr.TagResourceOutput{}, s.changeTags(ctx, in.ResourceArn, func(m map[string]string) error {
		maps.Copy(m, add)
		if len(m) > maxTags {
			return errTooManyTags
		}
		return nil
	})
}

// UntagResource removes tags by key.
func (s *Service) UntagResource(ctx context.Context, in *ecr.UntagResourceInput) (*ecr.UntagResourceOutput, error) {
	return &ecr.UntagResourceOutput{}, s.changeTags(ctx, in.ResourceArn, func(m map[string]string) error {
		for _, k := range in.TagKeys {
			delete(m, k)
		}
		return nil
	})
}

// ListTagsForResource shows a repository's tags.
func (s *Service) ListTagsForResource(ctx context.Context, in *ecr.ListTagsForResourceInput) (*ecr.ListTagsForResourceOutput, error) {
	out := &ecr.ListTagsForResourceOutput{}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		o, err := tagged(tx, scope(ctx), in.ResourceArn)
		out.Tags = tagList(o.Val.Tags)
		return err
	})
	return out, err
}

// Private

func (s *Service) changeTags(ctx context.Context, resource *string, change func(map[string]string) error) error {
	return s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := tagged(tx, scope(ctx), resource)
		if err != nil {
			return err
		}
		m := maps.Clone(o.Val.Tags)
		if m == nil {
			m = map[string]string{}
		}
		if err := change(m); err != nil {
			return err
		}
		o.Val.Tags = m
		return state.Repositories.Put(tx, &o)
	})
}

// tagged finds a repository by ARN.
func tagged(tx store.Reader, sc arn.Scope, resource *string) (store.Object[state.Repository], error) {
	a, err := arn.Parse(aws.ToString(resource))
	if err != nil || a.Service != "ecr" || a.Type() != "repository" || a.Region != sc.Region {
		return store.Object[state.Repository]{}, invalid("resourceArn", "Invalid ARN")
	}
	if a.Account != sc.Account {
		return store.Object[state.Repository]{}, errNoRepository(a.Name(), a.Account)
	}
	return repository(tx, sc, aws.String(a.Name()))
}

// tagMap checks tags. Source: ECR user guide, tagging: 50, key 128, value 256 characters, no aws: prefix.
func tagMap(tags []types.Tag) (map[string]string, error) {
	if len(tags) > maxTags {
		return nil, errTooManyTags
	}
	m := map[string]string{}
	for _, t := range tags {
		k, v := aws.ToString(t.Key), aws.ToString(t.Value)
		_, dup := m[k]
		switch {
		case k == "" || len([]rune(k)) > 128:
			return nil, errTagParameter("Tag keys have 1 to 128 characters.")
		case len([]rune(v)) > 256:
			return nil, errTagParameter("Tag values have at most 256 characters.")
		case strings.HasPrefix(strings.ToLower(k), "aws:"):
			return nil, errTagParameter("Tag keys may not start with 'aws:'.")
		case dup:
			return nil, errTagParameter("Duplicate tag keys found: " + k)
		}
		m[k] = v
	}
	return m, nil
}

func errTagParameter(message string) error { return awsError("InvalidTagParameterException", message) }

func tagList(m map[string]string) []types.Tag {
	out := []types.Tag{}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, types.Tag{Key: aws.String(k), Value: aws.String(m[k])})
	}
	return out
}
