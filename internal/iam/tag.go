package iam

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// tagsPerRole is a quota. Source: IAM quotas.
const tagsPerRole = 50

// TagRole adds or replaces tags. Keys that differ only in case are the same key; the newer
// spelling stays. Source: IAM User Guide, "Tags for IAM resources".
func (s *Service) TagRole(ctx context.Context, in *iam.TagRoleInput) (*iam.TagRoleOutput, error) {
	if err := onlyMembers(in, "RoleName", "Tags"); err != nil {
		return nil, err
	}
	var c check
	name := c.required("roleName", in.RoleName, roleName)
	add := c.tags(in.Tags)
	if err := c.err(); err != nil {
		return nil, err
	}
	return &iam.TagRoleOutput{}, s.changeAnyRole(ctx, name, func(_ *store.WriteTx, r *state.Role) error {
		if err := checkTags(in.Tags, r.Tags); err != nil {
			return err
		}
		m := maps.Clone(r.Tags)
		if m == nil {
			m = map[string]string{}
		}
		for k, v := range add {
			deleteTag(m, k)
			m[k] = v
		}
		r.Tags = m
		return nil
	})
}

// UntagRole removes tags by key.
func (s *Service) UntagRole(ctx context.Context, in *iam.UntagRoleInput) (*iam.UntagRoleOutput, error) {
	if err := onlyMembers(in, "RoleName", "TagKeys"); err != nil {
		return nil, err
	}
	var c check
	name := c.required("roleName", in.RoleName, roleName)
	for i, k := range in.TagKeys {
		c.required(fmt.Sprintf("tagKeys.%d.member", i+1), &k, tagKey)
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	return &iam.UntagRoleOutput{}, s.changeAnyRole(ctx, name, func(_ *store.WriteTx, r *state.Role) error {
		for _, k := range in.TagKeys {
			deleteTag(r.Tags, k)
		}
		return nil
	})
}

// ListRoleTags shows a role's tags, sorted by key.
func (s *Service) ListRoleTags(ctx context.Context, in *iam.ListRoleTagsInput) (*iam.ListRoleTagsOutput, error) {
	var c check
	p := c.page(in.Marker, in.MaxItems)
	if err := c.err(); err != nil {
		return nil, err
	}
	r, err := s.readRole(ctx, in, in.RoleName, "Marker", "MaxItems")
	if err != nil {
		return nil, err
	}
	out := &iam.ListRoleTagsOutput{Tags: []types.Tag{}}
	keys, truncated, marker, err := p.cut(slices.Sorted(maps.Keys(r.Tags)))
	if err != nil {
		return nil, err
	}
	out.IsTruncated, out.Marker = truncated, marker
	for _, k := range keys {
		out.Tags = append(out.Tags, types.Tag{Key: aws.String(k), Value: aws.String(r.Tags[k])})
	}
	return out, nil
}

// Private

// tags checks the form of tags and makes a map of them.
func (c *check) tags(tags []types.Tag) map[string]string {
	if len(tags) > tagsPerRole {
		c.add("'"+fmt.Sprint(len(tags))+" tags'", "tags", fmt.Sprintf("Member must have length less than or equal to %d", tagsPerRole))
	}
	m := map[string]string{}
	for i, t := range tags {
		k := c.required(fmt.Sprintf("tags.%d.member.key", i+1), t.Key, tagKey)
		m[k] = c.required(fmt.Sprintf("tags.%d.member.value", i+1), t.Value, tagValue)
	}
	return m
}

// checkTags checks tags against one another and those that are there.
func checkTags(add []types.Tag, have map[string]string) error {
	keys := map[string]bool{}
	for _, t := range add {
		k := strings.ToLower(aws.ToString(t.Key))
		if keys[k] {
			return errTagTwice
		}
		if strings.HasPrefix(k, "aws:") {
			return invalidInput("The tag key %s is invalid: keys that begin with aws: are reserved.", aws.ToString(t.Key))
		}
		keys[k] = true
	}
	for k := range have {
		keys[strings.ToLower(k)] = true
	}
	if len(keys) > tagsPerRole {
		return limitExceeded("TagsPerRole", tagsPerRole)
	}
	return nil
}

func deleteTag(m map[string]string, key string) {
	for k := range m {
		if strings.EqualFold(k, key) {
			delete(m, k)
		}
	}
}

func tagList(m map[string]string) []types.Tag {
	var out []types.Tag
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, types.Tag{Key: aws.String(k), Value: aws.String(m[k])})
	}
	return out
}
