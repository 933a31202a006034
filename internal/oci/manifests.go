package oci

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Find looks a manifest up by tag or digest; ErrNotFound.
func (g *Registry) Find(ctx context.Context, repo, tagOrDigest string) (Manifest, error) {
	d := digest.Digest(tagOrDigest)
	if !strings.Contains(tagOrDigest, ":") {
		var err error
		if d, err = g.o.Records.Tag(ctx, repo, tagOrDigest); err != nil {
			return Manifest{}, err
		}
	}
	return g.o.Records.Manifest(ctx, repo, d)
}

// Raw reads a manifest's bytes. The caller has found it in a repository's records.
func (g *Registry) Raw(ctx context.Context, d digest.Digest) ([]byte, error) {
	f, err := g.o.Blobs.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxManifest+1))
}

// Put checks a manifest, stores it, and tags it if tag isn't "". want is the digest that it must have;
// "" takes any. What it names must be in the repository already.
func (g *Registry) Put(ctx context.Context, repo string, raw []byte, mediaType string, want digest.Digest, tags ...string) (Manifest, error) {
	for _, t := range tags {
		if !tagRE.MatchString(t) {
			return Manifest{}, errTag(t)
		}
	}
	alg := digest.Canonical
	if want != "" {
		if err := want.Validate(); err != nil {
			return Manifest{}, errDigest("%q is not a digest", want)
		}
		alg = want.Algorithm()
	}
	m, foreign, err := ParseManifest(raw, mediaType, alg)
	if err != nil {
		return m, err
	}
	if want != "" && m.Digest != want {
		return m, errDigest("the manifest's digest is %s, not %s", m.Digest, want)
	}
	if err := g.keepForeign(ctx, repo, &m, foreign); err != nil {
		return m, err
	}
	if err := g.checkChildren(ctx, repo, m); err != nil {
		return m, err
	}
	_, err = g.o.Records.Manifest(ctx, repo, m.Digest)
	if errors.Is(err, ErrNotFound) {
		err = g.roomFor(ctx, repo, m.Size)
	}
	if err != nil {
		return m, err
	}
	return m, g.storeManifest(ctx, repo, m, raw, tags)
}

// Whole tells whether the store can give a manifest and all that it names: Verify takes out what is damaged.
func (g *Registry) Whole(ctx context.Context, repo string, m Manifest) (bool, error) {
	for _, c := range append([]Child{{Digest: m.Digest}}, m.Blobs...) {
		if there, err := g.stored(ctx, c.Digest); err != nil || !there {
			return false, err
		}
	}
	for _, c := range m.Manifests {
		k, err := g.o.Records.Manifest(ctx, repo, c.Digest)
		if errors.Is(err, ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if whole, err := g.Whole(ctx, repo, k); err != nil || !whole {
			return false, err
		}
	}
	return true, nil
}

// pulledEvery is how exactly the time of the last pull is kept. Source: ECR API Reference, ImageDetail:
// "Amazon ECR refreshes the last image pull timestamp at least once every 24 hours."
const pulledEvery = 24 * time.Hour

// Pulled notes that somebody has got a manifest, if that has not been noted lately. It fails nobody's pull.
func (g *Registry) Pulled(ctx context.Context, repo string, m Manifest) {
	now := g.o.Now()
	if now.Sub(m.PulledAt) < pulledEvery {
		return
	}
	if err := g.o.Records.Pulled(ctx, repo, m.Digest, now); err != nil {
		g.o.Log.Warn("registry: note the time of a pull", "repository", repo, "digest", m.Digest, "err", err)
	}
}

// Private

func (g *Registry) stored(ctx context.Context, d digest.Digest) (bool, error) {
	f, err := g.o.Blobs.Open(ctx, d)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.Close()
}

// keepForeign adds those foreign layers to m that the repository has nonetheless.
func (g *Registry) keepForeign(ctx context.Context, repo string, m *Manifest, foreign []Child) error {
	for _, l := range foreign {
		_, err := g.o.Records.Blob(ctx, repo, l.Digest)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		m.Blobs = append(m.Blobs, l)
	}
	return nil
}

// checkChildren compares the sizes that m states with those of what the repository has: a wrong one makes
// clients fail when they pull. That all is there is checked again when the manifest is recorded.
func (g *Registry) checkChildren(ctx context.Context, repo string, m Manifest) error {
	for _, c := range m.Blobs {
		b, err := g.o.Records.Blob(ctx, repo, c.Digest)
		if errors.Is(err, ErrNotFound) {
			return ErrMissingChild("blob", c.Digest.String())
		}
		if err != nil {
			return err
		}
		if there, err := g.stored(ctx, c.Digest); err != nil {
			return err
		} else if !there {
			return ErrMissingChild("blob", c.Digest.String())
		}
		if b.Size != c.Size {
			return errManifest("the manifest says that blob %s has %d bytes; it has %d", c.Digest, c.Size, b.Size)
		}
	}
	for _, c := range m.Manifests {
		k, err := g.o.Records.Manifest(ctx, repo, c.Digest)
		if errors.Is(err, ErrNotFound) {
			return ErrMissingChild("manifest", c.Digest.String())
		}
		if err != nil {
			return err
		}
		if k.Size != c.Size {
			return errManifest("the index says that manifest %s has %d bytes; it has %d", c.Digest, c.Size, k.Size)
		}
	}
	return nil
}

// storeManifest stores, holds and records a manifest. m's children are there.
func (g *Registry) storeManifest(ctx context.Context, repo string, m Manifest, raw []byte, tags []string) error {
	lock := g.locks.of(repo)
	lock.RLock()
	defer lock.RUnlock()
	g.o.Fault("registry.manifest:before")
	desc := ocispec.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: m.Size}
	if err := g.o.Blobs.PutManifest(ctx, repo, desc, raw, m.children()); err != nil {
		return err
	}
	g.o.Fault("registry.manifest:held")
	m.PushedAt = g.o.Now()
	if len(tags) == 0 {
		return g.o.Records.Commit(ctx, repo, Change{Manifests: []Manifest{m}})
	}
	for _, t := range tags {
		if err := g.o.Records.Commit(ctx, repo, Change{Manifests: []Manifest{m}, Tag: t, Tagged: m.Digest}); err != nil {
			return err
		}
		g.o.Fault("registry.manifest:after")
	}
	return nil
}

func (g *Registry) getManifest(c *call) error {
	ctx := c.r.Context()
	if strings.Contains(c.arg, ":") && digest.Digest(c.arg).Validate() != nil {
		return errDigest("%q is not a digest", c.arg)
	}
	m, err := g.Find(ctx, c.repo, c.arg)
	if errors.Is(err, ErrNotFound) {
		return errManifestUnknown
	}
	if err != nil {
		return err
	}
	if c.r.Method == http.MethodHead {
		// Clients that are about to push skip what is there: of a damaged image nothing would come again.
		if whole, err := g.Whole(ctx, c.repo, m); err != nil {
			return err
		} else if !whole {
			return errManifestUnknown
		}
	}
	f, err := g.o.Blobs.Open(ctx, m.Digest)
	if errors.Is(err, ErrNotFound) {
		g.o.Log.Error("registry: a recorded manifest is missing in the store", "repository", c.repo, "digest", m.Digest)
		return errManifestUnknown
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if c.r.Method == http.MethodGet {
		g.Pulled(ctx, c.repo, m)
	}
	h := c.w.Header()
	h.Set("Docker-Content-Digest", m.Digest.String())
	h.Set("Content-Type", m.MediaType)
	h.Set("Etag", `"`+m.Digest.String()+`"`)
	http.ServeContent(c.w, c.r, "", time.Time{}, f)
	return nil
}

func (g *Registry) putManifest(c *call) error {
	raw, err := io.ReadAll(io.LimitReader(c.r.Body, MaxManifest+1))
	if err != nil {
		return err
	}
	tags := []string{c.arg}
	want := digest.Digest(c.r.URL.Query().Get("digest"))
	if strings.Contains(c.arg, ":") {
		want, tags = digest.Digest(c.arg), c.r.URL.Query()["tag"]
	}
	m, err := g.Put(c.r.Context(), c.repo, raw, c.r.Header.Get("Content-Type"), want, tags...)
	if err != nil {
		return err
	}
	h := c.w.Header()
	if m.Subject != "" {
		h.Set("OCI-Subject", m.Subject.String())
	}
	for _, t := range c.r.URL.Query()["tag"] {
		h.Add("OCI-Tag", t)
	}
	h.Set("Location", "/v2/"+c.name+"/manifests/"+m.Digest.String())
	h.Set("Docker-Content-Digest", m.Digest.String())
	h.Set("Content-Length", strconv.Itoa(0))
	c.w.WriteHeader(http.StatusCreated)
	return nil
}

func (g *Registry) deleteManifest(c *call) error {
	var err error
	if strings.Contains(c.arg, ":") {
		err = g.o.Records.DeleteManifest(c.r.Context(), c.repo, digest.Digest(c.arg))
	} else {
		err = g.o.Records.DeleteTag(c.r.Context(), c.repo, c.arg)
	}
	if errors.Is(err, ErrNotFound) {
		return errManifestUnknown
	}
	if err != nil {
		return err
	}
	g.o.Fault("registry.delete:after")
	g.Wake()
	c.w.WriteHeader(http.StatusAccepted)
	return nil
}
