package efs

import (
	"context"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/efs"
	"github.com/aws/aws-sdk-go-v2/service/efs/types"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// TagResource adds or replaces tags of a file system or an access point.
func (s *Service) TagResource(ctx context.Context, in *efs.TagResourceInput) (*efs.TagResourceOutput, error) {
	return &efs.TagResourceOutput{}, s.retag(ctx, idOf(in.ResourceId), func(tags map[string]string) (map[string]string, error) {
		return tagMap(tags, in.Tags)
	})
}

// UntagResource removes tags by key.
func (s *Service) UntagResource(ctx context.Context, in *efs.UntagResourceInput) (*efs.UntagResourceOutput, error) {
	return &efs.UntagResourceOutput{}, s.retag(ctx, idOf(in.ResourceId), func(tags map[string]string) (map[string]string, error) {
		maps.DeleteFunc(tags, func(k, _ string) bool { return slices.Contains(in.TagKeys, k) })
		return tags, nil
	})
}

// ListTagsForResource lists tags in order of their keys.
func (s *Service) ListTagsForResource(ctx context.Context, in *efs.ListTagsForResourceInput) (*efs.ListTagsForResourceOutput, error) {
	id, sc := idOf(in.ResourceId), scope(ctx)
	var tags map[string]string
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		if strings.HasPrefix(id, "fsap-") {
			o, err := state.AccessPoints.Get(tx, sc.Key(id))
			tags = o.Val.Tags
			return or(err, noAccessPoint(id))
		}
		o, err := fileSystem(tx, sc, id)
		tags = o.Val.Tags
		return err
	})
	if err != nil {
		return nil, err
	}
	out := &efs.ListTagsForResourceOutput{}
	out.Tags, out.NextToken, err = page(tagList(tags), in.NextToken, in.MaxResults, func(t types.Tag) string { return *t.Key })
	return out, err
}

// Private

func (s *Service) retag(ctx context.Context, id string, do func(map[string]string) (map[string]string, error)) error {
	if !strings.HasPrefix(id, "fsap-") {
		return s.change(ctx, id, func(_ *store.WriteTx, fs *state.FileSystem) (err error) {
			fs.Tags, err = do(fs.Tags)
			return err
		})
	}
	return s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := state.AccessPoints.Get(tx, scope(ctx).Key(id))
		if err != nil {
			return or(err, noAccessPoint(id))
		}
		if o.Val.Tags, err = do(o.Val.Tags); err != nil {
			return err
		}
		return state.AccessPoints.Put(tx, &o)
	})
}

// tagMap adds tags to others. Source: EFS service model, TagKey and TagValue; quota of 50.
func tagMap(to map[string]string, tags []types.Tag) (map[string]string, error) {
	out := map[string]string{}
	maps.Copy(out, to)
	for _, t := range tags {
		k, v := aws.ToString(t.Key), aws.ToString(t.Value)
		if n := utf8.RuneCountInString(k); n == 0 || n > 128 || utf8.RuneCountInString(v) > 256 {
			return nil, constraint(k, "tags", "Member must have a key of 1 to 128 characters and a value of at most 256")
		}
		if strings.HasPrefix(k, "aws:") {
			return nil, badRequest("Tag keys that begin with aws: are reserved.")
		}
		out[k] = v
	}
	if len(out) > 50 {
		return nil, badRequest("A resource has at most 50 tags.")
	}
	return out, nil
}

func tagList(tags map[string]string) []types.Tag {
	out := []types.Tag{}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, types.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	return out
}

// nameOf is the tag Name, which EFS shows as a member of its own.
func nameOf(tags map[string]string) *string {
	if n, ok := tags["Name"]; ok {
		return &n
	}
	return nil
}
