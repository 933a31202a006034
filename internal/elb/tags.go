package elb

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/lazyregexp"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

const maxTags = 50 // of a resource

// AddTags adds or replaces tags of a load balancer, target group, listener or rule: just one, whatever the name of the
// member says. Source: aws-sdk-go-v2, issue 2715.
func (s *Service) AddTags(ctx context.Context, in *elb.AddTagsInput) (*elb.AddTagsOutput, error) {
	if len(in.ResourceArns) > 1 {
		return nil, invalid("Only one resource can be tagged at a time")
	}
	if len(in.Tags) == 0 {
		return nil, invalid("Tags must be specified")
	}
	add, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	return &elb.AddTagsOutput{}, s.changeTags(ctx, in.ResourceArns, func(m map[string]string) error {
		maps.Copy(m, add)
		if len(m) > maxTags {
			return errTooManyTags
		}
		return nil
	})
}

// RemoveTags removes tags by key.
func (s *Service) RemoveTags(ctx context.Context, in *elb.RemoveTagsInput) (*elb.RemoveTagsOutput, error) {
	return &elb.RemoveTagsOutput{}, s.changeTags(ctx, in.ResourceArns, func(m map[string]string) error {
		for _, k := range in.TagKeys {
			delete(m, k)
		}
		return nil
	})
}

// DescribeTags shows the tags of up to 20 resources.
func (s *Service) DescribeTags(ctx context.Context, in *elb.DescribeTagsInput) (*elb.DescribeTagsOutput, error) {
	if len(in.ResourceArns) > 20 {
		return nil, invalid("At most 20 resource ARNs can be specified")
	}
	out := &elb.DescribeTagsOutput{}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for _, a := range in.ResourceArns {
			r, err := findTagged(tx, scope(ctx), a)
			if err != nil {
				return err
			}
			out.TagDescriptions = append(out.TagDescriptions, types.TagDescription{ResourceArn: aws.String(a), Tags: tagList(r.tags)})
		}
		return nil
	})
	return out, err
}

// Private

var errTooManyTags = awsError("TooManyTags", "The maximum number of tags on a resource has been reached: %d", maxTags)

// tagged is a record's tags, and how to put the record with others.
type tagged struct {
	tags map[string]string
	put  func(tx *store.WriteTx, m map[string]string) error
}

func (s *Service) changeTags(ctx context.Context, arns []string, change func(map[string]string) error) error {
	return s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		for _, a := range arns {
			r, err := findTagged(tx, scope(ctx), a)
			if err != nil {
				return err
			}
			m := maps.Clone(r.tags)
			if m == nil {
				m = map[string]string{}
			}
			if err := change(m); err != nil {
				return err
			}
			if err := r.put(tx, m); err != nil {
				return err
			}
		}
		return nil
	})
}

func findTagged(tx store.Reader, sc arn.Scope, resource string) (tagged, error) {
	a, err := arn.Parse(resource)
	if err != nil || state.ELBKey(sc, a.Type(), resource) == "" {
		return tagged{}, invalid("'%s' must be in ARN format", resource) // Source: aws-cli, issue 3475
	}
	switch a.Type() {
	case "loadbalancer":
		return tagsOf(tx, state.LoadBalancers, sc, a, errBalancerNotFound, func(b *state.LoadBalancer) *map[string]string { return &b.Tags })
	case "targetgroup":
		return tagsOf(tx, state.TargetGroups, sc, a, errGroupNotFound, func(g *state.TargetGroup) *map[string]string { return &g.Tags })
	case "listener":
		return tagsOf(tx, state.Listeners, sc, a, errListenerNotFound, func(l *state.Listener) *map[string]string { return &l.Tags })
	}
	return ruleTags(tx, sc, a) // ELBKey knows no other type
}

func tagsOf[T any](tx store.Reader, table store.Table[T], sc arn.Scope, a arn.ARN, gone *awswire.Error, field func(*T) *map[string]string) (tagged, error) {
	o, err := table.Get(tx, state.ELBKey(sc, a.Type(), a.String()))
	if err != nil {
		return tagged{}, orNotFound(err, gone)
	}
	return tagged{*field(&o.Val), func(tx *store.WriteTx, m map[string]string) error {
		*field(&o.Val) = m
		return table.Put(tx, &o)
	}}, nil
}

// ruleTags: a default rule has no tags of its own here, and can't get any.
func ruleTags(tx store.Reader, sc arn.Scope, a arn.ARN) (tagged, error) {
	r, err := tagsOf(tx, state.Rules, sc, a, errRuleNotFound, func(r *state.Rule) *map[string]string { return &r.Tags })
	if err != nil {
		if _, isDefault, derr := defaultRule(tx, state.ELBKey(sc, a.Type(), a.String())); derr == nil && isDefault {
			return tagged{nil, func(*store.WriteTx, map[string]string) error {
				return awsError("OperationNotPermitted", "Default rule '%s' cannot be tagged; tag its listener", a)
			}}, nil
		}
	}
	return r, err
}

// tagRE is what keys and values are made of. Source: ELBv2 service model, TagKey and TagValue.
var tagRE = lazyregexp.New(`^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$`)

// tagMap checks tags. Source: ELBv2 API, Tag; ALB user guide, tags.
func tagMap(tags []types.Tag) (map[string]string, error) {
	m := map[string]string{}
	for i, t := range tags {
		k, v := aws.ToString(t.Key), aws.ToString(t.Value)
		switch {
		case k == "" || len([]rune(k)) > 128:
			return nil, invalid("Tag keys have 1 to 128 characters")
		case len([]rune(v)) > 256:
			return nil, invalid("Tag values have at most 256 characters")
		case !tagRE.MatchString(k):
			return nil, notATag(k, "key", i)
		case !tagRE.MatchString(v):
			return nil, notATag(v, "value", i)
		case strings.HasPrefix(strings.ToLower(k), "aws:"):
			return nil, invalid("Tag keys cannot begin with 'aws:': '%s'", k)
		}
		if _, dup := m[k]; dup {
			return nil, awsError("DuplicateTagKeys", "Tag key '%s' was provided multiple times", k)
		}
		m[k] = v
	}
	if len(m) > maxTags {
		return nil, errTooManyTags
	}
	return m, nil
}

func notATag(s, member string, i int) error {
	return invalid("1 validation error detected: Value '%s' at 'tags.%d.member.%s' failed to satisfy constraint: Member must satisfy regular expression pattern: %s", s, i+1, member, tagRE)
}

func tagList(m map[string]string) []types.Tag {
	out := []types.Tag{}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, types.Tag{Key: aws.String(k), Value: aws.String(m[k])})
	}
	return out
}
