package oci

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxDepth is how deep indexes may be nested.
const maxDepth = 4

// Adopt makes an image that lies in the store already, since a build left it there, visible in a
// repository: a push without bytes and without HTTP. It is for callers who may read the whole store, and
// asks for no proof that they have the content. tag "" leaves it untagged. Doing it again is harmless.
//
// Platforms of an index whose content is not in the store are left out of the records; one that is there
// must be complete.
func (g *Registry) Adopt(ctx context.Context, repo, tag string, d digest.Digest) (Manifest, error) {
	if tag != "" && !tagRE.MatchString(tag) {
		return Manifest{}, errTag(tag)
	}
	if err := g.o.Records.Exists(ctx, repo, Push); err != nil {
		return Manifest{}, err
	}
	lock := g.locks.of(repo)
	lock.RLock()
	defer lock.RUnlock()
	a := adoption{g: g, repo: repo, held: map[digest.Digest]bool{}}
	m, err := a.manifest(ctx, d, 0)
	if err != nil {
		return m, fmt.Errorf("adopt %s into %s: %w", d, repo, err)
	}
	g.o.Fault("registry.adopt:held")
	a.change.Tag, a.change.Tagged = tag, d
	return m, g.o.Records.Commit(ctx, repo, a.change)
}

// Private

type adoption struct {
	g      *Registry
	repo   string
	held   map[digest.Digest]bool
	change Change
}

// manifest holds a manifest and what it names, and notes them down.
func (a *adoption) manifest(ctx context.Context, d digest.Digest, depth int) (Manifest, error) {
	if depth > maxDepth {
		return Manifest{}, errManifest("indexes are nested deeper than %d", maxDepth)
	}
	m, foreign, err := a.read(ctx, d)
	if err != nil {
		return m, err
	}
	var present []Child
	for _, c := range m.Manifests {
		_, err := a.manifest(ctx, c.Digest, depth+1)
		if errors.Is(err, errAbsent) {
			continue
		}
		if err != nil {
			return m, err
		}
		present = append(present, c)
	}
	m.Manifests = present
	for _, c := range m.Blobs {
		if err := a.blob(ctx, c); err != nil {
			return m, fmt.Errorf("manifest %s: %w", d, err)
		}
	}
	for _, c := range foreign {
		if err := a.blob(ctx, c); errors.Is(err, ErrNotFound) {
			continue
		} else if err != nil {
			return m, err
		}
		m.Blobs = append(m.Blobs, c)
	}
	if m.Index() && depth == 0 && len(present) == 0 {
		return m, fmt.Errorf("none of the index's images is in the store: %w", ErrNotFound)
	}
	if err := a.hold(ctx, d, false); err != nil {
		return m, err
	}
	m.PushedAt = a.g.o.Now()
	a.change.Manifests = append(a.change.Manifests, m)
	return m, nil
}

// errAbsent is a manifest that isn't in the store, unlike one whose layers are not.
var errAbsent = fmt.Errorf("no such manifest in the store: %w", ErrNotFound)

func (a *adoption) read(ctx context.Context, d digest.Digest) (Manifest, []Child, error) {
	if err := d.Validate(); err != nil {
		return Manifest{}, nil, errDigest("%q is not a digest", d)
	}
	f, err := a.g.o.Blobs.Open(ctx, d)
	if errors.Is(err, ErrNotFound) {
		return Manifest{}, nil, errAbsent
	}
	if err != nil {
		return Manifest{}, nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, MaxManifest+1))
	if err != nil {
		return Manifest{}, nil, err
	}
	m, foreign, err := ParseManifest(raw, "", d.Algorithm())
	if err != nil {
		m, foreign, err = parseUntyped(raw, d.Algorithm(), err)
	}
	return m, foreign, err
}

// parseUntyped tries a manifest that doesn't state what it is: the OCI format does not ask for it, and
// here no header tells.
func parseUntyped(raw []byte, alg digest.Algorithm, first error) (Manifest, []Child, error) {
	for _, t := range []string{ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest} {
		m, foreign, err := ParseManifest(raw, t, alg)
		if err == nil && len(m.Blobs)+len(m.Manifests) > 0 {
			return m, foreign, nil
		}
	}
	return Manifest{}, nil, first
}

func (a *adoption) blob(ctx context.Context, c Child) error {
	if err := a.hold(ctx, c.Digest, true); err != nil {
		return fmt.Errorf("blob %s: %w", c.Digest, err)
	}
	a.change.Blobs = append(a.change.Blobs, Blob{Digest: c.Digest, Size: c.Size, Expires: a.g.o.Now().Add(a.g.o.BlobTTL)})
	return nil
}

// hold takes a hold unless the repository's records show that it has one: an image of which one layer
// changed costs three holds, not thirty.
func (a *adoption) hold(ctx context.Context, d digest.Digest, blob bool) error {
	if a.held[d] {
		return nil
	}
	var err error
	if blob {
		_, err = a.g.o.Records.Blob(ctx, a.repo, d)
	} else {
		_, err = a.g.o.Records.Manifest(ctx, a.repo, d)
	}
	if errors.Is(err, ErrNotFound) {
		err = a.g.o.Blobs.Hold(ctx, a.repo, d)
	}
	a.held[d] = err == nil
	return err
}
