package ecr

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/opencontainers/go-digest"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// maxBatch is how many ids a request may have. Source: ECR service model.
const maxBatch = 100

// BatchGetImage gives manifests. What isn't there is a failure, not an error.
func (s *Service) BatchGetImage(ctx context.Context, in *ecr.BatchGetImageInput) (*ecr.BatchGetImageOutput, error) {
	if err := onlyMembers(in, "RepositoryName", "ImageIds", "AcceptedMediaTypes", "RegistryId"); err != nil {
		return nil, err
	}
	if err := checkBatch(in.ImageIds); err != nil {
		return nil, err
	}
	r, err := s.contents(ctx, in.RepositoryName, in.RegistryId, "BatchGetImage", in.ImageIds...)
	if err != nil {
		return nil, err
	}
	out := &ecr.BatchGetImageOutput{Images: []types.Image{}, Failures: []types.ImageFailure{}}
	for _, id := range in.ImageIds {
		d, f := r.find(id)
		if f == nil && len(in.AcceptedMediaTypes) > 0 && !slices.Contains(in.AcceptedMediaTypes, r.images[d].MediaType) {
			f = failure(id, types.ImageFailureCodeImageNotFound, "Requested image not found in an accepted media type; it is %s", r.images[d].MediaType)
		}
		if f != nil {
			out.Failures = append(out.Failures, *f)
			continue
		}
		raw, err := s.registry.Raw(ctx, digest.Digest(d))
		if err != nil {
			return nil, fmt.Errorf("manifest %s of %s: %w", d, r.Key(), err)
		}
		out.Images = append(out.Images, r.image(d, id.ImageTag, raw))
		s.registry.Pulled(ctx, r.Key(), manifest(r.images[d]))
	}
	return out, nil
}

// BatchDeleteImage deletes tags, and images: by digest, or with their last tag.
func (s *Service) BatchDeleteImage(ctx context.Context, in *ecr.BatchDeleteImageInput) (*ecr.BatchDeleteImageOutput, error) {
	if err := onlyMembers(in, "RepositoryName", "ImageIds", "RegistryId"); err != nil {
		return nil, err
	}
	if err := checkBatch(in.ImageIds); err != nil {
		return nil, err
	}
	if err := ownRegistry(ctx, in.RegistryId, "BatchDeleteImage", aws.ToString(in.RepositoryName)); err != nil {
		return nil, err
	}
	out := &ecr.BatchDeleteImageOutput{}
	var changes []Change
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		out.ImageIds, out.Failures, changes = []types.ImageIdentifier{}, []types.ImageFailure{}, nil
		o, err := repository(tx, scope(ctx), in.RepositoryName)
		if err != nil {
			return err
		}
		c, err := contentsOf(tx, o.Val)
		if err != nil {
			return err
		}
		for _, id := range in.ImageIds {
			gone, f, err := c.remove(tx, id)
			if err != nil {
				return err
			}
			if f != nil {
				out.Failures = append(out.Failures, *f)
				continue
			}
			out.ImageIds = append(out.ImageIds, gone...)
			for _, g := range gone {
				changes = append(changes, Change{Repository: c.Key(), Digest: *g.ImageDigest, Tag: aws.ToString(g.ImageTag), Deleted: true})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.o.Fault("registry.delete:after")
	s.registry.Wake()
	for _, c := range changes {
		s.o.Changed(c)
	}
	return out, nil
}

// Private

func checkBatch(ids []types.ImageIdentifier) error {
	if n := len(ids); n < 1 || n > maxBatch {
		return invalid("imageIds", "must have length between 1 and %d", maxBatch)
	}
	return nil
}

func (c *contents) image(d string, tag *string, raw []byte) types.Image {
	return types.Image{RegistryId: aws.String(c.Scope.Account), RepositoryName: aws.String(c.Name),
		ImageId: &types.ImageIdentifier{ImageDigest: aws.String(d), ImageTag: tag}, ImageManifest: aws.String(string(raw)),
		ImageManifestMediaType: aws.String(c.images[d].MediaType)}
}

// remove deletes what an id means, in the store and in c, and returns the ids that are gone.
func (c *contents) remove(tx *store.WriteTx, id types.ImageIdentifier) (gone []types.ImageIdentifier, f *types.ImageFailure, err error) {
	d, f := c.find(id)
	if f != nil {
		return nil, f, nil
	}
	tag := aws.ToString(id.ImageTag)
	if tag != "" && len(c.tags[d]) > 1 {
		c.tags[d] = slices.DeleteFunc(c.tags[d], func(t string) bool { return t == tag })
		delete(c.tagged, tag)
		gone = []types.ImageIdentifier{{ImageDigest: &d, ImageTag: &tag}}
		return gone, nil, state.ImageTags.Delete(tx, tagKey(c.Key(), tag), 0)
	}
	if in := c.indexesOf(d); len(in) > 0 {
		return nil, failure(id, types.ImageFailureCodeImageReferencedByManifestList, "Requested image referenced by manifest list: [%s]", strings.Join(in, ", ")), nil
	}
	tags, err := dropImage(tx, c.Key(), d)
	if err != nil {
		return nil, nil, err
	}
	for _, t := range tags {
		delete(c.tagged, t)
		gone = append(gone, types.ImageIdentifier{ImageDigest: &d, ImageTag: &t})
	}
	if len(tags) == 0 {
		gone = append(gone, types.ImageIdentifier{ImageDigest: &d})
	}
	delete(c.images, d)
	delete(c.tags, d)
	c.digests = slices.DeleteFunc(c.digests, func(x string) bool { return x == d })
	return gone, nil, nil
}
