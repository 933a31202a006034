package acm

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/aws-sdk-go-v2/service/acm/types"

	"github.com/lotse-project/lotse/internal/lazyregexp"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

const maxTags = 50 // of a certificate

// Source: ACM service model, TagKey and TagValue.
const tagPattern = `[\p{L}\p{Z}\p{N}_.:\/=+\-@]*`

var tagRE = lazyregexp.New("^" + tagPattern + "$")

// AddTagsToCertificate adds or replaces tags.
func (s *Service) AddTagsToCertificate(ctx context.Context, in *acm.AddTagsToCertificateInput) (*acm.AddTagsToCertificateOutput, error) {
	return &acm.AddTagsToCertificateOutput{}, s.tag(ctx, in.CertificateArn, in.Tags)
}

// TagResource adds or replaces tags.
func (s *Service) TagResource(ctx context.Context, in *acm.TagResourceInput) (*acm.TagResourceOutput, error) {
	return &acm.TagResourceOutput{}, s.tag(ctx, in.ResourceArn, in.Tags)
}

// RemoveTagsFromCertificate removes tags by key; one given with a value only if it has that value.
func (s *Service) RemoveTagsFromCertificate(ctx context.Context, in *acm.RemoveTagsFromCertificateInput) (*acm.RemoveTagsFromCertificateOutput, error) {
	if err := checkCount(in.Tags); err != nil {
		return nil, err
	}
	return &acm.RemoveTagsFromCertificateOutput{}, s.change(ctx, in.CertificateArn, func(c *state.Certificate) error {
		maps.DeleteFunc(c.Tags, func(k, v string) bool {
			return slices.ContainsFunc(in.Tags, func(t types.Tag) bool { return aws.ToString(t.Key) == k && (t.Value == nil || *t.Value == v) })
		})
		return nil
	})
}

// UntagResource removes tags by key.
func (s *Service) UntagResource(ctx context.Context, in *acm.UntagResourceInput) (*acm.UntagResourceOutput, error) {
	return &acm.UntagResourceOutput{}, s.change(ctx, in.ResourceArn, func(c *state.Certificate) error {
		maps.DeleteFunc(c.Tags, func(k, _ string) bool { return slices.Contains(in.TagKeys, k) })
		return nil
	})
}

// ListTagsForCertificate shows a certificate's tags.
func (s *Service) ListTagsForCertificate(ctx context.Context, in *acm.ListTagsForCertificateInput) (*acm.ListTagsForCertificateOutput, error) {
	tags, err := s.tags(ctx, in.CertificateArn)
	return &acm.ListTagsForCertificateOutput{Tags: tags}, err
}

// ListTagsForResource shows a certificate's tags.
func (s *Service) ListTagsForResource(ctx context.Context, in *acm.ListTagsForResourceInput) (*acm.ListTagsForResourceOutput, error) {
	tags, err := s.tags(ctx, in.ResourceArn)
	return &acm.ListTagsForResourceOutput{Tags: tags}, err
}

// Private

func (s *Service) tag(ctx context.Context, given *string, tags []types.Tag) error {
	if err := checkCount(tags); err != nil {
		return err
	}
	add, err := tagMap(tags)
	if err != nil {
		return err
	}
	return s.change(ctx, given, func(c *state.Certificate) error {
		all := map[string]string{}
		maps.Copy(all, c.Tags)
		maps.Copy(all, add)
		if len(all) > maxTags {
			return errTooManyTags()
		}
		c.Tags = all
		return nil
	})
}

func (s *Service) tags(ctx context.Context, given *string) ([]types.Tag, error) {
	out := []types.Tag{}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		o, err := find(tx, scope(ctx), given)
		for _, k := range slices.Sorted(maps.Keys(o.Val.Tags)) {
			out = append(out, types.Tag{Key: aws.String(k), Value: aws.String(o.Val.Tags[k])})
		}
		return err
	})
	return out, err
}

func errTooManyTags() error {
	return awsError("TooManyTagsException", "A certificate can have at most %d tags.", maxTags)
}

// checkCount: there are tags to change, and not too many at once. Source: ACM service model, TagList.
func checkCount(tags []types.Tag) error {
	switch n := len(tags); {
	case n == 0:
		return constraint("[]", "tags", "Member must have length greater than or equal to 1")
	case n > maxTags:
		return constraint(fmt.Sprintf("%d tags", n), "tags", "Member must have length less than or equal to 50")
	}
	return nil
}

// tagMap checks tags. Source: ACM service model, Tag.
func tagMap(tags []types.Tag) (map[string]string, error) {
	out := map[string]string{}
	for i, t := range tags {
		k, v := aws.ToString(t.Key), aws.ToString(t.Value)
		key, value := fmt.Sprintf("tags.%d.member.key", i+1), fmt.Sprintf("tags.%d.member.value", i+1)
		switch {
		case k == "" || utf8.RuneCountInString(k) > 128:
			return nil, constraint(k, key, "Member must have length between 1 and 128")
		case utf8.RuneCountInString(v) > 256:
			return nil, constraint(v, value, "Member must have length less than or equal to 256")
		case !tagRE.MatchString(k): // a validation error: terraform-aws-acm, issue 93
			return nil, constraint(k, key, "Member must satisfy regular expression pattern: "+tagPattern)
		case !tagRE.MatchString(v):
			return nil, constraint(v, value, "Member must satisfy regular expression pattern: "+tagPattern)
		case strings.HasPrefix(strings.ToLower(k), "aws:"):
			return nil, awsError("InvalidTagException", "Invalid Tag Key: \"%s\". AWS internal tags cannot be changed with this API", k)
		}
		if _, twice := out[k]; twice {
			return nil, awsError("InvalidTagException", "The tag key '%s' was specified more than once.", k)
		}
		out[k] = v
	}
	if len(out) > maxTags {
		return nil, errTooManyTags()
	}
	return out, nil
}
