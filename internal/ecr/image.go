package ecr

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// DescribeImages shows images by id, or all of a repository by pages.
func (s *Service) DescribeImages(ctx context.Context, in *ecr.DescribeImagesInput) (*ecr.DescribeImagesOutput, error) {
	if err := onlyMembers(in, "RepositoryName", "Filter", "ImageIds", "MaxResults", "NextToken", "RegistryId"); err != nil {
		return nil, err
	}
	if len(in.ImageIds) > 0 && (in.MaxResults != nil || in.NextToken != nil) {
		return nil, refused("Invalid parameter: 'maxResults' and 'nextToken' cannot be used with 'imageIds'")
	}
	if len(in.ImageIds) > 100 {
		return nil, invalid("imageIds", "must have length less than or equal to 100")
	}
	var f types.ListImagesFilter
	if in.Filter != nil {
		f = types.ListImagesFilter(*in.Filter)
	}
	r, err := s.contents(ctx, in.RepositoryName, in.RegistryId, "DescribeImages", in.ImageIds...)
	if err != nil {
		return nil, err
	}
	digests, next, err := r.choose(in.ImageIds, f, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	out := &ecr.DescribeImagesOutput{NextToken: next, ImageDetails: []types.ImageDetail{}}
	for _, d := range digests {
		out.ImageDetails = append(out.ImageDetails, r.detail(d))
	}
	return out, nil
}

// ListImages lists the ids of a repository's images: one for each tag, and one for each image without tags.
func (s *Service) ListImages(ctx context.Context, in *ecr.ListImagesInput) (*ecr.ListImagesOutput, error) {
	if err := onlyMembers(in, "RepositoryName", "Filter", "MaxResults", "NextToken", "RegistryId"); err != nil {
		return nil, err
	}
	var f types.ListImagesFilter
	if in.Filter != nil {
		f = *in.Filter
	}
	r, err := s.contents(ctx, in.RepositoryName, in.RegistryId, "ListImages")
	if err != nil {
		return nil, err
	}
	ids, err := r.ids(f)
	if err != nil {
		return nil, err
	}
	page, next, err := paginate(ids, func(i types.ImageIdentifier) string { return *i.ImageDigest + " " + aws.ToString(i.ImageTag) }, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	if page == nil {
		page = []types.ImageIdentifier{}
	}
	return &ecr.ListImagesOutput{ImageIds: page, NextToken: next}, nil
}

// Private

// contents is a repository with all that is in it, as of one moment.
type contents struct {
	state.Repository
	digests []string               // in order
	images  map[string]state.Image // by digest
	tags    map[string][]string    // of each digest, in order
	tagged  map[string]string      // digest of each tag
}

// contents reads a repository of the caller's; of one that has thousands of images only those that are asked for, if any.
func (s *Service) contents(ctx context.Context, name, registry *string, action string, ids ...types.ImageIdentifier) (*contents, error) {
	if err := ownRegistry(ctx, registry, action, aws.ToString(name)); err != nil {
		return nil, err
	}
	var c *contents
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		o, err := repository(tx, scope(ctx), name)
		if err != nil {
			return err
		}
		if len(ids) > 0 {
			c, err = someContents(tx, o.Val, ids)
			return err
		}
		c, err = contentsOf(tx, o.Val)
		return err
	})
	return c, err
}

// someContents reads some images with what indexes among them name, and all tags: which ones an image has is known only
// to them.
func someContents(tx store.Reader, r state.Repository, ids []types.ImageIdentifier) (*contents, error) {
	c := &contents{Repository: r, images: map[string]state.Image{}}
	if err := c.readTags(tx); err != nil {
		return nil, err
	}
	for _, id := range ids {
		for _, d := range []string{aws.ToString(id.ImageDigest), c.tagged[aws.ToString(id.ImageTag)]} {
			if err := c.readImage(tx, d); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

func (c *contents) readImage(tx store.Reader, d string) error {
	if _, have := c.images[d]; have || !digestRE.MatchString(d) {
		return nil
	}
	o, err := state.Images.Get(tx, state.RepositoryImages(c.Key())+d)
	if err != nil {
		return known(missing(err))
	}
	c.digests = append(c.digests, d)
	c.images[d] = o.Val
	for _, child := range o.Val.Images {
		if err := c.readImage(tx, child.Digest); err != nil {
			return err
		}
	}
	return nil
}

func (c *contents) readTags(tx store.Reader) error {
	c.tags, c.tagged = map[string][]string{}, map[string]string{}
	for o, err := range state.ImageTags.List(tx, state.RepositoryTags(c.Key())) {
		if err != nil {
			return err
		}
		tag := strings.TrimPrefix(o.Key, state.RepositoryTags(c.Key()))
		c.tags[o.Val.Digest] = append(c.tags[o.Val.Digest], tag)
		c.tagged[tag] = o.Val.Digest
	}
	return nil
}

func contentsOf(tx store.Reader, r state.Repository) (*contents, error) {
	c := &contents{Repository: r, images: map[string]state.Image{}}
	for o, err := range state.Images.List(tx, state.RepositoryImages(r.Key())) {
		if err != nil {
			return nil, err
		}
		c.digests = append(c.digests, o.Val.Digest)
		c.images[o.Val.Digest] = o.Val
	}
	return c, c.readTags(tx)
}

// choose picks the images that DescribeImages is asked for.
func (c *contents) choose(ids []types.ImageIdentifier, f types.ListImagesFilter, token *string, maxResults *int32) (digests []string, next *string, err error) {
	pass, err := c.filter(f)
	if err != nil {
		return nil, nil, err
	}
	if len(ids) == 0 {
		all := slices.DeleteFunc(slices.Clone(c.digests), func(d string) bool { return !pass(d) })
		return paginate(all, func(d string) string { return d }, token, maxResults)
	}
	for _, id := range ids {
		d, failure := c.find(id)
		switch {
		case failure != nil && failure.FailureCode == types.ImageFailureCodeImageNotFound:
			return nil, nil, errNoImage(id.ImageDigest, id.ImageTag, c.Name, c.Scope.Account)
		case failure != nil:
			return nil, nil, refused("%s", *failure.FailureReason)
		case pass(d) && !slices.Contains(digests, d):
			digests = append(digests, d)
		}
	}
	return digests, nil, nil
}

// filter tells which images pass. All images are active: there is no archive.
func (c *contents) filter(f types.ListImagesFilter) (func(digest string) bool, error) {
	if f.TagStatus != "" && !slices.Contains(f.TagStatus.Values(), f.TagStatus) {
		return nil, invalid("filter.tagStatus", "must satisfy enum value set: [TAGGED, UNTAGGED, ANY]")
	}
	if f.ImageStatus != "" && !slices.Contains(f.ImageStatus.Values(), f.ImageStatus) {
		return nil, invalid("filter.imageStatus", "must satisfy enum value set: [ACTIVE, ARCHIVED, ACTIVATING, ANY]")
	}
	active := f.ImageStatus == "" || f.ImageStatus == types.ImageStatusFilterActive || f.ImageStatus == types.ImageStatusFilterAny
	return func(d string) bool {
		switch f.TagStatus {
		case types.TagStatusTagged:
			return active && len(c.tags[d]) > 0
		case types.TagStatusUntagged:
			return active && len(c.tags[d]) == 0
		}
		return active
	}, nil
}

func (c *contents) ids(f types.ListImagesFilter) ([]types.ImageIdentifier, error) {
	pass, err := c.filter(f)
	if err != nil {
		return nil, err
	}
	var out []types.ImageIdentifier
	for _, d := range c.digests {
		if !pass(d) {
			continue
		}
		if len(c.tags[d]) == 0 {
			out = append(out, types.ImageIdentifier{ImageDigest: &d})
		}
		for _, t := range c.tags[d] {
			out = append(out, types.ImageIdentifier{ImageDigest: &d, ImageTag: &t})
		}
	}
	return out, nil
}

func (c *contents) detail(d string) types.ImageDetail {
	i := c.images[d]
	out := types.ImageDetail{
		RegistryId: aws.String(c.Scope.Account), RepositoryName: aws.String(c.Name), ImageDigest: aws.String(d), ImageTags: c.tags[d],
		ImageSizeInBytes: aws.Int64(c.size(i)), ImagePushedAt: aws.Time(i.PushedAt), ImageStatus: types.ImageStatusActive,
		ImageManifestMediaType: aws.String(i.MediaType),
	}
	if i.ArtifactType != "" {
		out.ArtifactMediaType = aws.String(i.ArtifactType)
	}
	if i.Subject != "" {
		out.SubjectManifestDigest = aws.String(i.Subject)
	}
	if !i.PulledAt.IsZero() {
		out.LastRecordedPullTime = aws.Time(i.PulledAt)
	}
	return out
}

// size is what an image has to pull, compressed, in bytes; of an index, its largest image's.
// Source: ECR API Reference, ImageDetail.
func (c *contents) size(i state.Image) (n int64) {
	for _, l := range i.Layers {
		n += l.Size
	}
	for _, child := range i.Images {
		n = max(n, c.size(c.images[child.Digest]))
	}
	return n
}
