package ecs

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// TagResource adds or replaces tags of a cluster, service, task or task definition.
func (s *Service) TagResource(ctx context.Context, in *ecs.TagResourceInput) (*ecs.TagResourceOutput, error) {
	if err := onlyMembers("", in, "ResourceArn", "Tags"); err != nil {
		return nil, err
	}
	add, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	return &ecs.TagResourceOutput{}, s.changeTags(ctx, aws.ToString(in.ResourceArn), func(m map[string]string) error {
		maps.Copy(m, add)
		if ownTags(m) > maxTags {
			return errTooManyTags
		}
		return nil
	})
}

// UntagResource removes tags by key.
func (s *Service) UntagResource(ctx context.Context, in *ecs.UntagResourceInput) (*ecs.UntagResourceOutput, error) {
	if err := onlyMembers("", in, "ResourceArn", "TagKeys"); err != nil {
		return nil, err
	}
	return &ecs.UntagResourceOutput{}, s.changeTags(ctx, aws.ToString(in.ResourceArn), func(m map[string]string) error {
		for _, k := range in.TagKeys {
			if reservedTag(k) {
				return errReservedTag
			}
			delete(m, k)
		}
		return nil
	})
}

// ListTagsForResource shows a resource's tags.
func (s *Service) ListTagsForResource(ctx context.Context, in *ecs.ListTagsForResourceInput) (*ecs.ListTagsForResourceOutput, error) {
	if err := onlyMembers("", in, "ResourceArn"); err != nil {
		return nil, err
	}
	out := &ecs.ListTagsForResourceOutput{}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		h, err := findTagged(tx, scope(ctx), aws.ToString(in.ResourceArn))
		if errors.Is(err, errNoSuchResource) { // which this operation doesn't have. Source: service model
			return invalid("%s", errNoSuchResource.Message)
		}
		if err != nil {
			return err
		}
		out.Tags = tagList(h.tags())
		return nil
	})
	return out, err
}

// Private

// tagged is a record whose tags can be read and put back.
type tagged struct {
	tags func() map[string]string
	put  func(tx *store.WriteTx, m map[string]string) error
}

func (s *Service) changeTags(ctx context.Context, resource string, change func(map[string]string) error) error {
	return s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		h, err := findTagged(tx, scope(ctx), resource)
		if err != nil {
			return err
		}
		m := maps.Clone(h.tags())
		if m == nil {
			m = map[string]string{}
		}
		if err := change(m); err != nil {
			return err
		}
		return h.put(tx, m)
	})
}

func findTagged(tx store.Reader, sc arn.Scope, resource string) (tagged, error) {
	a, err := arn.Parse(resource)
	if err != nil || a.Service != "ecs" || a.Account != sc.Account || a.Region != sc.Region {
		return tagged{}, invalid("The ARN provided is invalid.")
	}
	parts := strings.Split(a.Name(), "/")
	switch {
	case a.Type() == "cluster":
		o, err := state.Clusters.Get(tx, sc.Key(a.Name()))
		return tagged{func() map[string]string { return o.Val.Tags }, func(tx *store.WriteTx, m map[string]string) error {
			o.Val.Tags = m
			return state.Clusters.Put(tx, &o)
		}}, absent(err, errClusterNotFound)
	case a.Type() == "service" && len(parts) == 2:
		o, err := state.Services.Get(tx, sc.Key(parts...))
		return tagged{func() map[string]string { return o.Val.Tags }, func(tx *store.WriteTx, m map[string]string) error {
			o.Val.Tags = m
			return state.Services.Put(tx, &o)
		}}, absent(err, errNoSuchResource)
	case a.Type() == "task" && len(parts) == 2:
		o, err := state.Tasks.Get(tx, sc.Key(parts...))
		return tagged{func() map[string]string { return o.Val.Tags }, func(tx *store.WriteTx, m map[string]string) error {
			o.Val.Tags = m
			return state.Tasks.Put(tx, &o)
		}}, absent(err, errNoSuchResource)
	case a.Type() == "task-definition":
		family, rev, err := familyRevision(sc, a.Name())
		if err != nil {
			return tagged{}, err
		}
		o, err := state.TaskDefinitions.Get(tx, taskDefinitionKey(sc, family, rev))
		return tagged{func() map[string]string { return o.Val.Tags }, func(tx *store.WriteTx, m map[string]string) error {
			o.Val.Tags = m
			return state.TaskDefinitions.Put(tx, &o)
		}}, absent(err, errNoSuchResource)
	case a.Type() == "service" || a.Type() == "task":
		return tagged{}, invalid("Long arn format must be used for tagging operations")
	}
	return tagged{}, invalid("The ARN provided is invalid.")
}

// absent is err, or gone where there is no record.
func absent(err, gone error) error {
	if errors.Is(err, store.ErrNotFound) {
		return gone
	}
	return err
}

// maxTags is how many tags a resource may have. Source: DG ecs-using-tags: those that begin with aws: don't count, and can't be
// changed or deleted.
const maxTags = 50

var (
	errTooManyTagsGiven = invalid("The maximum number of tags per resource is 50.")
	errReservedTag      = invalid("Tag keys and values may not start with 'aws:'.")
)

func reservedTag(s string) bool { return strings.HasPrefix(strings.ToLower(s), "aws:") }

// ownTags counts the tags that ECS does not manage.
func ownTags(m map[string]string) (n int) {
	for k := range m {
		if !reservedTag(k) {
			n++
		}
	}
	return n
}

// tagMap checks tags. Source: DG ecs-using-tags: 50, key 128, value 256 characters, no aws: prefix.
func tagMap(tags []types.Tag) (map[string]string, error) {
	if len(tags) > maxTags {
		return nil, errTooManyTagsGiven
	}
	m := map[string]string{}
	for _, t := range tags {
		k, v := aws.ToString(t.Key), aws.ToString(t.Value)
		switch {
		case k == "" || len([]rune(k)) > 128:
			return nil, invalid("Tag keys have 1 to 128 characters.")
		case len([]rune(v)) > 256:
			return nil, invalid("Tag values have at most 256 characters.")
		case reservedTag(k) || reservedTag(v):
			return nil, errReservedTag
		}
		if _, dup := m[k]; dup {
			return nil, invalid("Duplicate tag key: %s", k)
		}
		m[k] = v
	}
	return m, nil
}

func tagList(m map[string]string) []types.Tag {
	out := []types.Tag{}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, types.Tag{Key: aws.String(k), Value: aws.String(m[k])})
	}
	return out
}
