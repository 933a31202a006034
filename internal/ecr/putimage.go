package ecr

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/opencontainers/go-digest"

	"github.com/lotse-project/lotse/internal/oci"
)

// PutImage stores a manifest whose layers the repository has, for instance to give an image another tag.
func (s *Service) PutImage(ctx context.Context, in *ecr.PutImageInput) (*ecr.PutImageOutput, error) {
	if err := onlyMembers(in, "RepositoryName", "ImageManifest", "ImageManifestMediaType", "ImageTag", "ImageDigest", "RegistryId"); err != nil {
		return nil, err
	}
	raw, tag := []byte(aws.ToString(in.ImageManifest)), aws.ToString(in.ImageTag)
	d := digest.FromBytes(raw).String()
	r, err := s.contents(ctx, in.RepositoryName, in.RegistryId, "PutImage", types.ImageIdentifier{ImageDigest: &d})
	if err != nil {
		return nil, err
	}
	if want := aws.ToString(in.ImageDigest); want != "" && d != want {
		return nil, awsError("ImageDigestDoesNotMatchException", fmt.Sprintf("The image digest '%s' does not match the digest '%s' of the manifest", want, d))
	}
	if _, there := r.images[d]; there && (tag == "" || r.tagged[tag] == d) {
		if whole, err := s.whole(ctx, r.Key(), d); err != nil {
			return nil, err
		} else if whole {
			return nil, errImageExists(d, tag, r.Name, r.Scope.Account)
		}
	}
	var tags []string
	if tag != "" {
		tags = []string{tag}
	}
	m, err := s.registry.Put(ctx, r.Key(), raw, aws.ToString(in.ImageManifestMediaType), "", tags...)
	if err != nil {
		return nil, r.putError(err, tag)
	}
	put := r.image(d, in.ImageTag, raw)
	put.ImageManifestMediaType = aws.String(m.MediaType)
	return &ecr.PutImageOutput{Image: &put}, nil
}

// Private

// whole tells whether an image is there undamaged.
func (s *Service) whole(ctx context.Context, repo, d string) (bool, error) {
	m, err := s.registry.Find(ctx, repo, d)
	if err != nil {
		return false, known(err)
	}
	return s.registry.Whole(ctx, repo, m)
}

// putError says in the API's words why the registry refused a manifest.
func (c *contents) putError(err error, tag string) error {
	var e *oci.Error
	if !errors.As(err, &e) {
		return err
	}
	if err := noRoom(e); err != nil {
		return err
	}
	switch e.Code {
	case "TAG_INVALID":
		if tagRE.MatchString(tag) {
			return awsError("ImageTagAlreadyExistsException", e.Message)
		}
		return invalid("imageTag", "must satisfy regular expression '%s'", strings.Trim(tagRE.String(), "^$"))
	case "MANIFEST_BLOB_UNKNOWN":
		if strings.Contains(e.Message, "names manifest ") {
			return awsError("ReferencedImagesNotFoundException", e.Message)
		}
		return awsError("LayersNotFoundException", e.Message)
	case "NAME_UNKNOWN":
		return errNoRepository(c.Name, c.Scope.Account)
	}
	return refused("Invalid parameter at 'ImageManifest' failed to satisfy constraint: '%s'", e.Message)
}
