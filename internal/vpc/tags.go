package vpc

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// maxTags is how many tags a resource may have. Source: EC2 user guide, tag restrictions.
const maxTags = 50

// CreateTags adds or replaces tags of resources: of all or of none.
func (s *Service) CreateTags(ctx context.Context, in *ec2.CreateTagsInput) (*ec2.CreateTagsOutput, error) {
	if err := onlyMembers(in, "DryRun", "Resources", "Tags"); err != nil {
		return nil, err
	}
	if len(in.Tags) == 0 {
		return nil, missing("Tag")
	}
	add, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	return &ec2.CreateTagsOutput{}, s.retag(ctx, in.DryRun, in.Resources, func(m map[string]string) error {
		maps.Copy(m, add)
		if len(m) > maxTags {
			return awsError("TagLimitExceeded", "The maximum number of tags per resource is %d.", maxTags)
		}
		return nil
	})
}

// DeleteTags removes tags: those of a key, or of a key with just that value; without any, all.
func (s *Service) DeleteTags(ctx context.Context, in *ec2.DeleteTagsInput) (*ec2.DeleteTagsOutput, error) {
	if err := onlyMembers(in, "DryRun", "Resources", "Tags"); err != nil {
		return nil, err
	}
	return &ec2.DeleteTagsOutput{}, s.retag(ctx, in.DryRun, in.Resources, func(m map[string]string) error {
		if len(in.Tags) == 0 {
			clear(m)
		}
		for _, t := range in.Tags {
			if k := aws.ToString(t.Key); t.Value == nil || m[k] == *t.Value {
				delete(m, k)
			}
		}
		return nil
	})
}

// tagged is one tag of one resource.
type tagged struct{ id, resource, key, value string }

// tagFields are the filters of DescribeTags; tag:KEY is among them, tag-key isn't. Source: API reference.
var tagFields = fields[tagged]{
	"key":           func(t tagged) []string { return []string{t.key} },
	"value":         func(t tagged) []string { return []string{t.value} },
	"resource-id":   func(t tagged) []string { return []string{t.id} },
	"resource-type": func(t tagged) []string { return []string{t.resource} },
}

// DescribeTags shows tags one by one.
func (s *Service) DescribeTags(ctx context.Context, in *ec2.DescribeTagsInput) (*ec2.DescribeTagsOutput, error) {
	if err := onlyMembers(in, "DryRun", "Filters", "MaxResults", "NextToken"); err != nil {
		return nil, err
	}
	out := &ec2.DescribeTagsOutput{Tags: []types.TagDescription{}}
	err := s.view(ctx, in.DryRun, func(tx store.Reader, sc arn.Scope) error {
		all, err := allTags(tx, sc)
		if err != nil {
			return err
		}
		page, next, err := query[tagged]{
			filters: in.Filters, max: in.MaxResults, token: in.NextToken, fields: tagFields,
			id:   func(t tagged) string { return t.id + "\x01" + t.key },
			tags: func(t tagged) map[string]string { return map[string]string{t.key: t.value} },
		}.run(all)
		for _, t := range page {
			out.Tags = append(out.Tags, types.TagDescription{ResourceId: &t.id, ResourceType: types.ResourceType(t.resource), Key: &t.key, Value: &t.value})
		}
		out.NextToken = next
		return err
	})
	return out, err
}

// Private

// retag changes the tags of resources.
func (s *Service) retag(ctx context.Context, dryRun *bool, ids []string, change func(map[string]string) error) error {
	if len(ids) == 0 {
		return missing("ResourceId")
	}
	return s.update(ctx, dryRun, func(tx *store.WriteTx, sc arn.Scope) error {
		for _, id := range ids {
			if err := retag(tx, sc, id, change); err != nil {
				return err
			}
		}
		return nil
	})
}

func retag(tx *store.WriteTx, sc arn.Scope, id string, change func(map[string]string) error) error {
	prefix, _, _ := strings.Cut(id, "-")
	switch prefix + "-" {
	case kindVPC.prefix:
		return retagIn(tx, state.VPCs, sc, kindVPC, id, func(v *state.VPC) *map[string]string { return &v.Tags }, change)
	case kindSubnet.prefix:
		return retagIn(tx, state.Subnets, sc, kindSubnet, id, func(s *state.Subnet) *map[string]string { return &s.Tags }, change)
	case kindGroup.prefix:
		return retagIn(tx, state.SecurityGroups, sc, kindGroup, id, func(g *state.SecurityGroup) *map[string]string { return &g.Tags }, change)
	case kindInterface.prefix:
		return retagIn(tx, state.NetworkInterfaces, sc, kindInterface, id, func(e *state.NetworkInterface) *map[string]string { return &e.Tags }, change)
	case kindRule.prefix:
		all, err := groupRules(tx, sc)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(r groupRule) bool { return r.ID == id })
		if i < 0 {
			return kindRule.notFound(id)
		}
		of := func(g *state.SecurityGroup) *map[string]string {
			for _, list := range [][]state.SecurityGroupRule{g.Ingress, g.Egress} {
				for i := range list {
					if list[i].ID == id {
						return &list[i].Tags
					}
				}
			}
			return new(map[string]string) // not reached: the rule was found in this transaction
		}
		return retagIn(tx, state.SecurityGroups, sc, kindGroup, all[i].group.ID, of, change)
	}
	return awsError("InvalidID", "The ID '%s' is not valid", id)
}

func retagIn[T any](tx *store.WriteTx, table store.Table[T], sc arn.Scope, k kind, id string, of func(*T) *map[string]string, change func(map[string]string) error) error {
	o, err := get(tx, table, sc, k, id)
	if err != nil {
		return err
	}
	tags := of(&o.Val)
	if *tags == nil {
		*tags = map[string]string{}
	}
	if err := change(*tags); err != nil {
		return err
	}
	return table.Put(tx, &o)
}

// allTags reads the tags of everything in the scope.
func allTags(tx store.Reader, sc arn.Scope) ([]tagged, error) {
	var out []tagged
	add := func(k kind, id string, tags map[string]string) {
		for key, value := range tags {
			out = append(out, tagged{id, k.resource, key, value})
		}
	}
	for v, err := range state.VPCs.List(tx, sc.Key()) {
		if err != nil {
			return nil, err
		}
		add(kindVPC, v.Val.ID, v.Val.Tags)
	}
	for s, err := range state.Subnets.List(tx, sc.Key()) {
		if err != nil {
			return nil, err
		}
		add(kindSubnet, s.Val.ID, s.Val.Tags)
	}
	for g, err := range state.SecurityGroups.List(tx, sc.Key()) {
		if err != nil {
			return nil, err
		}
		add(kindGroup, g.Val.ID, g.Val.Tags)
		for _, r := range slices.Concat(g.Val.Ingress, g.Val.Egress) {
			add(kindRule, r.ID, r.Tags)
		}
	}
	for e, err := range state.NetworkInterfaces.List(tx, sc.Key()) {
		if err != nil {
			return nil, err
		}
		add(kindInterface, e.Val.ID, e.Val.Tags)
	}
	return out, nil
}

// specTags are the tags that a creating operation gives to what it makes.
func specTags(specs []types.TagSpecification, want types.ResourceType) (map[string]string, error) {
	var all []types.Tag
	for _, s := range specs {
		if s.ResourceType != want {
			return nil, invalid("'%s' is not a valid taggable resource type for this operation.", s.ResourceType)
		}
		all = append(all, s.Tags...)
	}
	return tagMap(all)
}

// tagMap checks tags. Source: EC2 user guide, tag restrictions: 50, key 128, value 256 characters, no aws: prefix.
func tagMap(tags []types.Tag) (map[string]string, error) {
	m := map[string]string{}
	for _, t := range tags {
		k, v := aws.ToString(t.Key), aws.ToString(t.Value)
		switch {
		case k == "":
			return nil, invalid("Tag keys have 1 to 128 characters.")
		case len([]rune(k)) > 128:
			return nil, invalid("Tag key exceeds the maximum length of 128 characters")
		case len([]rune(v)) > 256:
			return nil, invalid("Tag value exceeds the maximum length of 256 characters")
		case strings.HasPrefix(strings.ToLower(k), "aws:"):
			return nil, invalid("Value ( %s ) for parameter key is invalid. Tag keys starting with 'aws:' are reserved for internal use", k)
		}
		if _, dup := m[k]; dup {
			return nil, invalid("Duplicate tag key '%s' specified.", k)
		}
		m[k] = v
	}
	if len(m) > maxTags {
		return nil, awsError("TagLimitExceeded", "The maximum number of tags per resource is %d.", maxTags)
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
