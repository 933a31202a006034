package logs

import (
	"context"
	"maps"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// TagResource adds or replaces a group's tags.
func (s *Service) TagResource(ctx context.Context, in *cwl.TagResourceInput) (*cwl.TagResourceOutput, error) {
	name, err := groupOfARN(scope(ctx), aws.ToString(in.ResourceArn))
	if err != nil {
		return nil, err
	}
	return &cwl.TagResourceOutput{}, s.tag(ctx, name, in.Tags)
}

// UntagResource removes a group's tags by key.
func (s *Service) UntagResource(ctx context.Context, in *cwl.UntagResourceInput) (*cwl.UntagResourceOutput, error) {
	name, err := groupOfARN(scope(ctx), aws.ToString(in.ResourceArn))
	if err != nil {
		return nil, err
	}
	return &cwl.UntagResourceOutput{}, s.untag(ctx, name, in.TagKeys)
}

// ListTagsForResource shows a group's tags.
func (s *Service) ListTagsForResource(ctx context.Context, in *cwl.ListTagsForResourceInput) (*cwl.ListTagsForResourceOutput, error) {
	name, err := groupOfARN(scope(ctx), aws.ToString(in.ResourceArn))
	if err != nil {
		return nil, err
	}
	tags, err := s.tags(ctx, name)
	return &cwl.ListTagsForResourceOutput{Tags: tags}, err
}

// TagLogGroup is the older TagResource.
func (s *Service) TagLogGroup(ctx context.Context, in *cwl.TagLogGroupInput) (*cwl.TagLogGroupOutput, error) {
	return &cwl.TagLogGroupOutput{}, s.tag(ctx, aws.ToString(in.LogGroupName), in.Tags)
}

// UntagLogGroup is the older UntagResource.
func (s *Service) UntagLogGroup(ctx context.Context, in *cwl.UntagLogGroupInput) (*cwl.UntagLogGroupOutput, error) {
	return &cwl.UntagLogGroupOutput{}, s.untag(ctx, aws.ToString(in.LogGroupName), in.Tags)
}

// ListTagsLogGroup is the older ListTagsForResource.
func (s *Service) ListTagsLogGroup(ctx context.Context, in *cwl.ListTagsLogGroupInput) (*cwl.ListTagsLogGroupOutput, error) {
	tags, err := s.tags(ctx, aws.ToString(in.LogGroupName))
	return &cwl.ListTagsLogGroupOutput{Tags: tags}, err
}

// Private

func (s *Service) tag(ctx context.Context, group string, tags map[string]string) error {
	if err := checkTags(tags); err != nil {
		return err
	}
	return s.changeGroup(ctx, group, func(g *state.LogGroup) error {
		all := map[string]string{}
		maps.Copy(all, g.Tags)
		maps.Copy(all, tags)
		if len(all) > 50 {
			return errTooManyTags
		}
		g.Tags = all
		return nil
	})
}

func (s *Service) untag(ctx context.Context, group string, keys []string) error {
	return s.changeGroup(ctx, group, func(g *state.LogGroup) error {
		for _, k := range keys {
			delete(g.Tags, k)
		}
		return nil
	})
}

func (s *Service) tags(ctx context.Context, group string) (map[string]string, error) {
	tags := map[string]string{}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		g, err := state.LogGroups.Get(tx, scope(ctx).Key(group))
		maps.Copy(tags, g.Val.Tags)
		return or(err, errNoGroup)
	})
	return tags, err
}

// checkTags. Source: CloudWatch Logs service model, Tags: 50, key 1 to 128, value up to 256 characters.
func checkTags(tags map[string]string) error {
	if len(tags) > 50 {
		return constraint(len(tags), "tags", "Member must have length less than or equal to 50")
	}
	for k, v := range tags {
		switch {
		case k == "" || utf8.RuneCountInString(k) > 128:
			return constraint(k, "tags", "Map keys must have length between 1 and 128")
		case utf8.RuneCountInString(v) > 256:
			return constraint(v, "tags", "Map values must have length less than or equal to 256")
		case strings.HasPrefix(strings.ToLower(k), "aws:"):
			return invalid("Tag keys starting with aws: are reserved for AWS.")
		}
	}
	return nil
}
