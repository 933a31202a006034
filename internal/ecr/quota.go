package ecr

import (
	"context"
	"fmt"
	"math"
	"net/http"

	"github.com/docker/go-units"

	"github.com/lotse-project/lotse/internal/oci"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// Quotas are what a repository may have at most. What is counted is its images and what they name, each once; layers
// whose image is deleted, or not pushed yet, take no part. Imported images count like others.
type Quotas struct {
	Repository int64 // bytes of a repository. 0: no limit, as on AWS
	Total      int64 // bytes of all repositories together. 0: no limit
	Images     int   // images of a repository. 0: 100 000. Source: ECR quotas, Images per repository
	Tags       int   // tags of an image. 0: 1000. Source: ECR quotas, Tags per image
}

// Private

func (q Quotas) complete() Quotas {
	if q.Images == 0 {
		q.Images = 100_000
	}
	if q.Tags == 0 {
		q.Tags = 1000
	}
	return q
}

// room is oci.Options.Room: what the disk has, and what the quotas leave.
func (s *Service) room(ctx context.Context, repo string, have int64) (left int64, refusal *oci.Error, err error) {
	left = math.MaxInt64
	if s.o.Free != nil {
		if left, err = s.o.Free(); err != nil {
			return 0, nil, err
		}
		refusal = oci.ErrFull
	}
	err = s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		p, err := state.Repositories.Get(tx, repo)
		if err != nil {
			return missing(err)
		}
		for _, l := range s.o.Quotas.limits(p.Val) {
			used, err := usage(tx, l.prefix, nil)
			if err != nil {
				return err
			}
			if n := l.bytes - used - have; n < left {
				left, refusal = n, l.refusal
			}
		}
		return nil
	})
	return left, refusal, err
}

// image refuses a new image that is one too many or makes its repository, or all of them, too large.
func (q Quotas) image(tx store.Reader, p state.Repository, i state.Image) error {
	n, err := state.Images.Count(tx, state.RepositoryImages(p.Key()))
	if err != nil {
		return err
	}
	if n >= q.Images {
		return errTooManyImages(p, q.Images)
	}
	for _, l := range q.limits(p) {
		used, err := usage(tx, l.prefix, &i)
		if err != nil {
			return err
		}
		if used > l.bytes {
			return l.refusal
		}
	}
	return nil
}

// tag refuses one tag too many of an image.
func (q Quotas) tag(tx store.Reader, p state.Repository, d string) error {
	// Mostly all tags of the repository together are not as many.
	all, err := state.ImageTags.Count(tx, state.RepositoryTags(p.Key()))
	if err != nil || all < q.Tags {
		return err
	}
	n := 0
	for o, err := range state.ImageTags.List(tx, state.RepositoryTags(p.Key())) {
		if err != nil {
			return err
		}
		if o.Val.Digest == d {
			n++
		}
	}
	if n >= q.Tags {
		return errQuota("The image with digest '%s' in the repository with name '%s' in registry with id '%s' already has the maximum allowed number of tags which is '%d'",
			d, p.Name, p.Scope.Account, q.Tags)
	}
	return nil
}

// A limit is a number of bytes that the images below a prefix may have.
type limit struct {
	prefix  string
	bytes   int64
	refusal *oci.Error
}

func (q Quotas) limits(p state.Repository) (ls []limit) {
	if q.Repository > 0 {
		ls = append(ls, limit{state.RepositoryImages(p.Key()), q.Repository, errQuota("The repository with name '%s' in registry with id '%s' would have more than the maximum allowed size which is '%s': delete images (aws ecr batch-delete-image), or start the server with a larger --repository-quota",
			p.Name, p.Scope.Account, units.BytesSize(float64(q.Repository)))})
	}
	if q.Total > 0 {
		ls = append(ls, limit{"", q.Total, errQuota("The repositories of this server would have more than the maximum allowed size which is '%s': delete images (aws ecr batch-delete-image), or start the server with a larger --registry-quota",
			units.BytesSize(float64(q.Total)))})
	}
	return ls
}

// usage is how many bytes the images below a prefix have, and one more if it isn't nil, everything once.
func usage(tx store.Reader, prefix string, more *state.Image) (bytes int64, err error) {
	seen := map[string]bool{}
	add := func(i state.Image) {
		if !seen[i.Digest] {
			seen[i.Digest] = true
			bytes += i.Size
		}
		for _, l := range i.Layers {
			if !seen[l.Digest] {
				seen[l.Digest] = true
				bytes += l.Size
			}
		}
	}
	for o, err := range state.Images.List(tx, prefix) {
		if err != nil {
			return 0, err
		}
		add(o.Val)
	}
	if more != nil {
		add(*more)
	}
	return bytes, nil
}

// errTooManyImages is in the words that users of the real service have published.
func errTooManyImages(p state.Repository, limit int) *oci.Error {
	return errQuota("The repository with name '%s' in registry with id '%s' already has the maximum allowed number of images which is '%d'", p.Name, p.Scope.Account, limit)
}

// errQuota is a push for which there is no room by somebody's decision. The API's LimitExceededException has the same text.
// Source: containers-roadmap #2159: 403.
func errQuota(format string, a ...any) *oci.Error {
	return &oci.Error{Status: http.StatusForbidden, Code: "DENIED", Message: fmt.Sprintf(format, a...)}
}
