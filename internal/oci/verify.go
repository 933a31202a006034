package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Verified is what Verify found.
type Verified struct {
	Blobs   int   // read
	Bytes   int64 // of them
	Damaged []Damage
}

// Damage is content that isn't what its digest says, or that a repository should have and is gone.
type Damage struct {
	Digest       digest.Digest
	Missing      bool
	Repositories []string // those that have it
}

// Verify reads all content that repositories have. What is damaged is taken out of the store, so that nobody gets it
// and the next push brings it again: clients upload what the registry says it lacks.
func (g *Registry) Verify(ctx context.Context) (Verified, error) {
	var out Verified
	holds, err := g.o.Blobs.Holds(ctx)
	if err != nil {
		return out, fmt.Errorf("list holds: %w", err)
	}
	holders := map[digest.Digest][]string{}
	for _, repo := range slices.Sorted(maps.Keys(holds)) {
		for _, d := range holds[repo] {
			holders[d] = append(holders[d], repo)
		}
	}
	for _, d := range slices.Sorted(maps.Keys(holders)) {
		n, good, err := g.intact(ctx, d)
		missing := errors.Is(err, ErrNotFound)
		if err != nil && !missing {
			return out, fmt.Errorf("read %s: %w", d, err)
		}
		if !missing {
			out.Blobs, out.Bytes = out.Blobs+1, out.Bytes+n
		}
		if good {
			continue
		}
		repos, err := g.recorded(ctx, holders[d], d)
		if err != nil {
			return out, err
		}
		if !missing {
			g.o.Log.Error("registry: damaged content", "digest", d, "repositories", repos)
			g.o.Fault("registry.discard:before")
			if err := g.o.Blobs.Discard(ctx, d); err != nil {
				return out, fmt.Errorf("discard %s: %w", d, err)
			}
			g.o.Fault("registry.discard:after")
		}
		if len(repos) > 0 { // else it is on its way in or out
			out.Damaged = append(out.Damaged, Damage{d, missing, repos})
		}
	}
	return out, nil
}

// Private

// intact reads a blob and tells whether it is what its digest says.
func (g *Registry) intact(ctx context.Context, d digest.Digest) (n int64, good bool, err error) {
	f, err := g.o.Blobs.Open(ctx, d)
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	v := d.Verifier()
	n, err = io.Copy(v, contextReader{ctx, f})
	return n, err == nil && v.Verified(), err
}

// recorded picks the repositories that have the digest on record.
func (g *Registry) recorded(ctx context.Context, repos []string, d digest.Digest) (out []string, err error) {
	for _, repo := range repos {
		gone, err := g.o.Records.Unrecorded(ctx, repo, []digest.Digest{d})
		if err != nil {
			return nil, err
		}
		if len(gone) == 0 {
			out = append(out, repo)
		}
	}
	return out, nil
}

type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(b []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(b)
}
