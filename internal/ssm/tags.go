package ssm

import (
	"context"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/lotse-project/lotse/internal/lazyregexp"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// Source: SSM service model, TagKey and TagValue.
var tagCharacters = lazyregexp.New(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)

// AddTagsToResource adds or replaces a parameter's tags.
func (s *Service) AddTagsToResource(ctx context.Context, in *ssm.AddTagsToResourceInput) (*ssm.AddTagsToResourceOutput, error) {
	if in.ResourceType != types.ResourceTypeForTaggingParameter {
		return nil, errResourceType
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	return &ssm.AddTagsToResourceOutput{}, resource(s.change(ctx, in.ResourceId, func(_ *store.WriteTx, p *state.Parameter) error {
		all := map[string]string{}
		maps.Copy(all, p.Tags)
		maps.Copy(all, tagMap(in.Tags))
		if len(all) > 50 {
			return errTooManyTags
		}
		p.Tags = all
		return nil
	}))
}

// RemoveTagsFromResource removes a parameter's tags by key.
func (s *Service) RemoveTagsFromResource(ctx context.Context, in *ssm.RemoveTagsFromResourceInput) (*ssm.RemoveTagsFromResourceOutput, error) {
	if in.ResourceType != types.ResourceTypeForTaggingParameter {
		return nil, errResourceType
	}
	return &ssm.RemoveTagsFromResourceOutput{}, resource(s.change(ctx, in.ResourceId, func(_ *store.WriteTx, p *state.Parameter) error {
		for _, k := range in.TagKeys {
			delete(p.Tags, k)
		}
		return nil
	}))
}

// ListTagsForResource shows a parameter's tags.
func (s *Service) ListTagsForResource(ctx context.Context, in *ssm.ListTagsForResourceInput) (*ssm.ListTagsForResourceOutput, error) {
	if in.ResourceType != types.ResourceTypeForTaggingParameter {
		return nil, errResourceType
	}
	ref, err := plain(scope(ctx), aws.ToString(in.ResourceId))
	if err != nil {
		return nil, err
	}
	out := &ssm.ListTagsForResourceOutput{}
	return out, s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		o, err := find(tx, scope(ctx), ref)
		for _, k := range slices.Sorted(maps.Keys(o.Val.Tags)) {
			out.TagList = append(out.TagList, types.Tag{Key: aws.String(k), Value: aws.String(o.Val.Tags[k])})
		}
		return resource(err)
	})
}

// Private

// resource tells that there is no parameter as the tagging operations do.
func resource(err error) error {
	if missing(err) {
		return errResourceID
	}
	return err
}

func tagMap(tags []types.Tag) map[string]string {
	out := map[string]string{}
	for _, t := range tags {
		out[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return out
}

func checkTags(tags []types.Tag) error {
	if len(tagMap(tags)) > 50 {
		return errTooManyTags
	}
	for _, t := range tags {
		k, v := aws.ToString(t.Key), aws.ToString(t.Value)
		switch {
		case k == "" || utf8.RuneCountInString(k) > 128 || !tagCharacters.MatchString(k):
			return constraint(k, "tags", `Member must have length between 1 and 128 and satisfy regular expression pattern: ^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$`)
		case utf8.RuneCountInString(v) > 256 || !tagCharacters.MatchString(v):
			return constraint(v, "tags", `Member must have length less than or equal to 256 and satisfy regular expression pattern: ^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$`)
		case strings.HasPrefix(strings.ToLower(k), "aws:"):
			return validation("Tag keys starting with aws: are reserved for AWS.")
		}
	}
	return nil
}
