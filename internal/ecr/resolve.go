package ecr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	goruntime "runtime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/oci"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// An Image is what a name stands for. Its fields are those of the runtime's, so that one converts into the other.
type Image struct {
	Digest    string // of a manifest or an index
	MediaType string
	Size      int64  // bytes of the manifest
	Name      string // as it was asked for
}

// An ImageError is an image that can't be had, whatever one tries. Its text is what follows
// "CannotPullContainerError: " on AWS.
type ImageError struct{ Reason string }

func (e *ImageError) Error() string { return e.Reason }

// ImportedHosts are the registries of which images were imported, "docker.io" and so on, sorted.
func (s *Service) ImportedHosts(ctx context.Context) ([]string, error) {
	var out []string
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for o, err := range state.ImageTags.List(tx, oci.MirrorPrefix+"/") {
			if err != nil {
				return err
			}
			host, _, _ := strings.Cut(strings.TrimPrefix(o.Key, oci.MirrorPrefix+"/"), "/")
			if n := len(out); n == 0 || out[n-1] != host {
				out = append(out, host)
			}
		}
		return nil
	})
	return out, err
}

// Locate finds the repository that an image's name means, and the tag ("latest" if none is given) or digest in it:
//
//	localhost:4566/app                                    the server's own account and region
//	localhost:4566/111122223333.eu-west-1/app:v2          another one
//	111122223333.dkr.ecr.eu-west-1.amazonaws.com/app:v2   the same
//	golang:1.26                                           imported as docker.io/library/golang:1.26
//
// The repository need not exist.
func (s *Service) Locate(ref string) (repo, tagOrDigest string, err error) {
	name, err := oci.ParseReference(ref)
	if err != nil {
		return "", "", err
	}
	tagOrDigest = name.Digest.String()
	if tagOrDigest == "" {
		tagOrDigest = name.Tag
	}
	if tagOrDigest == "" {
		tagOrDigest = "latest"
	}
	if sc, ok := awsHost(name.Host); ok {
		return sc.Key(name.Path), tagOrDigest, nil
	}
	if s.ownHost(name.Host) {
		return s.inPath(name.Path), tagOrDigest, nil
	}
	return oci.MirrorRepo(name.Host, name.Path), tagOrDigest, nil
}

// Resolve finds the image that a task definition of the given scope means. What can't be run here, or isn't there, is
// an *ImageError. An index stays one, as on AWS, but has an image for this machine. No registry outside is asked.
func (s *Service) Resolve(ctx context.Context, ref string, sc arn.Scope) (Image, error) {
	repo, tagOrDigest, err := s.Locate(ref)
	if err != nil {
		return Image{}, &ImageError{fmt.Sprintf("failed to parse image reference: %v", err)}
	}
	at, name := arn.ScopeOf(repo)
	if !oci.IsMirror(repo) && at.Account != sc.Account {
		return Image{}, &ImageError{fmt.Sprintf("pull image manifest has been retried 1 time(s): failed to resolve ref %s: 403 Forbidden: the repository %s is of another account",
			ref, state.Repository{Scope: at, Name: name}.ARN())}
	}
	m, err := s.registry.Find(ctx, repo, tagOrDigest)
	if errors.Is(err, oci.ErrNotFound) {
		return Image{}, s.notFound(ctx, ref, repo)
	}
	if err != nil {
		return Image{}, fmt.Errorf("resolve %s: %w", ref, err)
	}
	if err := s.runnable(ctx, m); err != nil {
		return Image{}, err
	}
	s.registry.Pulled(ctx, repo, m)
	return Image{Digest: m.Digest.String(), MediaType: m.MediaType, Size: m.Size, Name: ref}, nil
}

// TagDigest is the digest of the image that a name with a tag means, for a caller of the given scope; "" if the name
// has no tag, or no image of this registry has it.
func (s *Service) TagDigest(tx store.Reader, ref string, sc arn.Scope) (string, error) {
	repo, tag, err := s.Locate(ref)
	if at, _ := arn.ScopeOf(repo); err != nil || strings.Contains(tag, ":") || !oci.IsMirror(repo) && at.Account != sc.Account {
		return "", nil
	}
	o, err := state.ImageTags.Get(tx, tagKey(repo, tag))
	return o.Val.Digest, known(missing(err))
}

// Adopt makes an image that lies in the content store visible under a name of this registry, without copying bytes.
// The repository must exist and be of the scope's account.
func (s *Service) Adopt(ctx context.Context, sc arn.Scope, repository, tag string, d digest.Digest) (oci.Manifest, error) {
	return s.registry.Adopt(ctx, sc.Key(repository), tag, d)
}

// Private

// notFound says what is missing, and what to do about it.
func (s *Service) notFound(ctx context.Context, ref, repo string) error {
	text := fmt.Sprintf("pull image manifest has been retried 1 time(s): failed to resolve ref %s: %[1]s: not found", ref)
	if oci.IsMirror(repo) {
		return &ImageError{text + "; Lotse asks no other registry: lotse image import " + ref + " FILE brings the image here"}
	}
	at, name := arn.ScopeOf(repo)
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		has, err := there(tx, state.Repositories, repo)
		if err == nil && !has {
			text += "; " + textNoRepository(name, at.Account)
			if at.Region != s.o.Scope.Region {
				text += " in " + at.Region
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return &ImageError{text}
}

// runnable makes sure that an index has an image for this machine, and that it is here.
func (s *Service) runnable(ctx context.Context, m oci.Manifest) error {
	if !m.Index() {
		return nil
	}
	raw, err := s.registry.Raw(ctx, m.Digest)
	if err != nil {
		return fmt.Errorf("index %s: %w", m.Digest, err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return &ImageError{fmt.Sprintf("image index %s: %v", m.Digest, err)}
	}
	var others []string
	for _, d := range index.Manifests {
		here := slices.ContainsFunc(m.Manifests, func(c oci.Child) bool { return c.Digest == d.Digest })
		switch {
		case d.Platform == nil || d.Platform.OS == "linux" && d.Platform.Architecture == goruntime.GOARCH:
			if here {
				return nil
			}
		case d.Platform.OS != "unknown": // attestations
			others = append(others, d.Platform.OS+"/"+d.Platform.Architecture)
		}
	}
	text := fmt.Sprintf("image Manifest does not contain descriptor matching platform 'linux/%s'", goruntime.GOARCH)
	if len(others) > 0 {
		text += "; it has " + strings.Join(others, ", ")
	}
	return &ImageError{text}
}
