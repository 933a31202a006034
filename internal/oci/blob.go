package oci

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"
)

// Has tells whether a repository has a blob that the store can give. Whoever asks may count on it for a manifest that he is
// about to push.
func (g *Registry) Has(ctx context.Context, repo string, d digest.Digest) (bool, error) {
	err := g.seen(ctx, repo, d, true)
	if err == nil {
		_, err = g.o.Blobs.Stat(ctx, d)
	}
	var e *Error
	if errors.Is(err, ErrNotFound) || errors.As(err, &e) {
		return false, nil
	}
	return err == nil, err
}

// Private

// getBlob answers GET and HEAD. A manifest may be read as a blob too.
func (g *Registry) getBlob(c *call) error {
	d, err := digest.Parse(c.arg)
	if err != nil {
		return errDigest("%q is not a digest", c.arg)
	}
	ctx := c.r.Context()
	if err := g.seen(ctx, c.repo, d, c.r.Method == http.MethodHead); err != nil {
		return err
	}
	f, err := g.o.Blobs.Open(ctx, d)
	if errors.Is(err, ErrNotFound) {
		// Said to be absent, so that the next push mends it.
		g.o.Log.Error("registry: a recorded blob is missing in the store", "repository", c.repo, "digest", d)
		return errBlobUnknown(c.arg)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	h := c.w.Header()
	h.Set("Docker-Content-Digest", c.arg)
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Etag", `"`+c.arg+`"`)
	// Ranges, conditions, and sendfile for an *os.File.
	http.ServeContent(c.w, c.r, "", time.Time{}, f)
	return nil
}

// seen is nil if the repository has the blob. asked tells that the client may now count on the blob for
// a manifest that it is about to push.
func (g *Registry) seen(ctx context.Context, repo string, d digest.Digest, asked bool) error {
	b, err := g.o.Records.Blob(ctx, repo, d)
	if errors.Is(err, ErrNotFound) {
		_, err = g.o.Records.Manifest(ctx, repo, d)
		if errors.Is(err, ErrNotFound) {
			return errBlobUnknown(d.String())
		}
		return err
	}
	if err != nil || !asked {
		return err
	}
	if now := g.o.Now(); b.Expires.Before(now.Add(g.o.BlobTTL / 2)) {
		b.Expires = now.Add(g.o.BlobTTL)
		lock := g.locks.of(repo)
		lock.RLock()
		defer lock.RUnlock()
		if err := g.o.Blobs.Hold(ctx, repo, d); errors.Is(err, ErrNotFound) {
			return errBlobUnknown(d.String())
		} else if err != nil {
			return err
		}
		return g.o.Records.Commit(ctx, repo, Change{Blobs: []Blob{b}})
	}
	return nil
}

// mount gives the repository a blob that another one has. It tells whether it could.
func (g *Registry) mount(c *call, d digest.Digest, from string) (bool, error) {
	if g.o.MayMount != nil {
		if may, err := g.o.MayMount(c.r.Context(), c.repo); err != nil || !may {
			return false, err
		}
	}
	sources, err := g.mountSources(c, d, from)
	if err != nil {
		return false, err
	}
	for _, src := range sources {
		if g.o.Authorizer.Authorize(c.r, src, Pull) != nil {
			continue
		}
		b, err := g.o.Records.Blob(c.r.Context(), src, d)
		var e *Error
		if errors.Is(err, ErrNotFound) || errors.As(err, &e) {
			continue // no such blob, or no such repository
		}
		if err == nil {
			err = g.take(c.r.Context(), c.repo, b)
		}
		if errors.Is(err, ErrNotFound) {
			continue // gone in the meantime
		}
		return err == nil, err
	}
	return false, nil
}

func (g *Registry) mountSources(c *call, d digest.Digest, from string) ([]string, error) {
	if from == "" {
		return g.o.Records.FindBlob(c.r.Context(), c.repo, d)
	}
	src, err := g.o.Resolve(c.r, from)
	if err != nil {
		return nil, nil // a bad source is no error: the client uploads instead
	}
	return []string{src}, nil
}

// take holds a blob that lies in the store and records it.
func (g *Registry) take(ctx context.Context, repo string, b Blob) error {
	lock := g.locks.of(repo)
	lock.RLock()
	defer lock.RUnlock()
	if err := g.o.Blobs.Hold(ctx, repo, b.Digest); err != nil {
		return err
	}
	g.o.Fault("registry.take:held")
	b.Expires = g.o.Now().Add(g.o.BlobTTL)
	return g.o.Records.Commit(ctx, repo, Change{Blobs: []Blob{b}})
}

func (g *Registry) deleteBlob(c *call) error {
	d, err := digest.Parse(c.arg)
	if err != nil {
		return errDigest("%q is not a digest", c.arg)
	}
	err = g.o.Records.DeleteBlob(c.r.Context(), c.repo, d)
	if errors.Is(err, ErrNotFound) {
		return errBlobUnknown(c.arg)
	}
	if err != nil {
		return err
	}
	g.o.Fault("registry.delete:after")
	g.Wake()
	c.w.WriteHeader(http.StatusAccepted)
	return nil
}

func (c *call) created(d digest.Digest) {
	c.w.Header().Set("Location", "/v2/"+c.name+"/blobs/"+d.String())
	c.w.Header().Set("Docker-Content-Digest", d.String())
	c.w.WriteHeader(http.StatusCreated)
}
