package ocitest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/lotse-project/lotse/internal/oci"
)

// Records are oci.Records in memory.
type Records struct {
	mu      sync.Mutex
	repos   map[string]*repository
	uploads map[string]oci.UploadRecord
}

type repository struct {
	immutable bool
	blobs     map[digest.Digest]oci.Blob
	manifests map[digest.Digest]oci.Manifest
	tags      map[string]digest.Digest
}

// NewRecords makes records with some repositories.
func NewRecords(repos ...string) *Records {
	r := &Records{repos: map[string]*repository{}, uploads: map[string]oci.UploadRecord{}}
	for _, name := range repos {
		r.Create(name)
	}
	return r
}

var _ oci.Records = (*Records)(nil)

// Create makes a repository.
func (r *Records) Create(repo string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.repos[repo] = &repository{blobs: map[digest.Digest]oci.Blob{}, manifests: map[digest.Digest]oci.Manifest{}, tags: map[string]digest.Digest{}}
}

// Drop deletes a repository with all that it has.
func (r *Records) Drop(repo string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.repos, repo)
	maps.DeleteFunc(r.uploads, func(_ string, u oci.UploadRecord) bool { return u.Repo == repo })
}

// SetImmutable says whether tags of a repository may move.
func (r *Records) SetImmutable(repo string, on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.repos[repo].immutable = on
}

// Exists is part of oci.Records, as is what follows.
func (r *Records) Exists(_ context.Context, repo string, _ oci.Action) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.repos[repo] == nil {
		return errRepository(repo)
	}
	return nil
}

func (r *Records) Ensure(ctx context.Context, repo string) error {
	if r.Exists(ctx, repo, oci.Push) != nil {
		r.Create(repo)
	}
	return nil
}

func (r *Records) Blob(_ context.Context, repo string, d digest.Digest) (oci.Blob, error) {
	return lookup(r, repo, func(p *repository) map[digest.Digest]oci.Blob { return p.blobs }, d)
}

func (r *Records) Manifest(_ context.Context, repo string, d digest.Digest) (oci.Manifest, error) {
	return lookup(r, repo, func(p *repository) map[digest.Digest]oci.Manifest { return p.manifests }, d)
}

func (r *Records) Tag(_ context.Context, repo, tag string) (digest.Digest, error) {
	return lookup(r, repo, func(p *repository) map[string]digest.Digest { return p.tags }, tag)
}

func (r *Records) FindBlob(_ context.Context, repo string, d digest.Digest) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for name, p := range r.repos {
		if _, ok := p.blobs[d]; ok && registryOf(name) == registryOf(repo) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, nil
}

func (r *Records) Tags(_ context.Context, repo, after string, n int) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.repos[repo]
	if p == nil {
		return nil, errRepository(repo)
	}
	tags := slices.Sorted(maps.Keys(p.tags))
	tags = slices.DeleteFunc(tags, func(t string) bool { return t <= after })
	if n >= 0 && n < len(tags) {
		tags = tags[:n]
	}
	return tags, nil
}

func (r *Records) Referrers(_ context.Context, repo string, subject digest.Digest) ([]oci.Manifest, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.repos[repo]
	if p == nil {
		return nil, errRepository(repo)
	}
	var out []oci.Manifest
	for _, m := range p.manifests {
		if m.Subject == subject {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b oci.Manifest) int { return cmp.Compare(a.Digest, b.Digest) })
	return out, nil
}

func (r *Records) Commit(_ context.Context, repo string, c oci.Change) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.repos[repo]
	if p == nil {
		return errRepository(repo)
	}
	if err := p.check(c); err != nil {
		return err
	}
	for _, b := range c.Blobs {
		p.blobs[b.Digest] = b
	}
	for _, m := range c.Manifests {
		if old, ok := p.manifests[m.Digest]; ok {
			m.PushedAt, m.PulledAt = old.PushedAt, old.PulledAt
		}
		p.manifests[m.Digest] = m
	}
	if c.Tag != "" {
		p.tags[c.Tag] = c.Tagged
	}
	if c.Upload != "" {
		delete(r.uploads, c.Upload)
	}
	return nil
}

func (r *Records) DeleteBlob(_ context.Context, repo string, d digest.Digest) error {
	return remove(r, repo, func(p *repository) map[digest.Digest]oci.Blob { return p.blobs }, d)
}

func (r *Records) DeleteManifest(_ context.Context, repo string, d digest.Digest) error {
	err := remove(r, repo, func(p *repository) map[digest.Digest]oci.Manifest { return p.manifests }, d)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.repos[repo].tags, func(_ string, at digest.Digest) bool { return at == d })
	return nil
}

func (r *Records) DeleteTag(_ context.Context, repo, tag string) error {
	return remove(r, repo, func(p *repository) map[string]digest.Digest { return p.tags }, tag)
}

func (r *Records) Pulled(_ context.Context, repo string, d digest.Digest, at time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.repos[repo]; p != nil {
		if m, ok := p.manifests[d]; ok {
			m.PulledAt = at
			p.manifests[d] = m
		}
	}
	return nil
}

func (r *Records) PutUpload(_ context.Context, repo, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.repos[repo] == nil {
		return errRepository(repo)
	}
	r.uploads[id] = oci.UploadRecord{Repo: repo, ID: id, At: time.Now()}
	return nil
}

func (r *Records) Upload(_ context.Context, repo, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if u, ok := r.uploads[id]; !ok || u.Repo != repo {
		return oci.ErrNotFound
	}
	return nil
}

func (r *Records) DeleteUpload(_ context.Context, _, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.uploads, id)
	return nil
}

func (r *Records) Uploads(context.Context) ([]oci.UploadRecord, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.uploads)), nil
}

func (r *Records) Expire(_ context.Context, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.repos {
		maps.DeleteFunc(p.blobs, func(d digest.Digest, b oci.Blob) bool { return b.Expires.Before(now) && !p.named(d) })
	}
	return nil
}

func (r *Records) Unrecorded(_ context.Context, repo string, ds []digest.Digest) ([]digest.Digest, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.repos[repo]
	if p == nil {
		return ds, nil
	}
	var out []digest.Digest
	for _, d := range ds {
		_, b := p.blobs[d]
		if _, m := p.manifests[d]; !b && !m {
			out = append(out, d)
		}
	}
	return out, nil
}

// Private

func errRepository(repo string) error {
	parts := strings.SplitN(repo, "/", 3)
	return &oci.Error{Status: 404, Code: "NAME_UNKNOWN", Message: fmt.Sprintf("The repository with name '%s' does not exist in the registry with id '%s'", parts[2], parts[0])}
}

// registryOf is the account and region of a repository.
func registryOf(repo string) string { return strings.Join(strings.SplitN(repo, "/", 3)[:2], "/") }

func lookup[K comparable, V any](r *Records, repo string, in func(*repository) map[K]V, k K) (V, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var v V
	p := r.repos[repo]
	if p == nil {
		return v, errRepository(repo)
	}
	v, ok := in(p)[k]
	if !ok {
		return v, oci.ErrNotFound
	}
	return v, nil
}

func remove[K comparable, V any](r *Records, repo string, in func(*repository) map[K]V, k K) error {
	if _, err := lookup(r, repo, in, k); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(in(r.repos[repo]), k)
	return nil
}

func (p *repository) check(c oci.Change) error {
	if old, ok := p.tags[c.Tag]; ok && p.immutable && old != c.Tagged {
		return &oci.Error{Status: 400, Code: "TAG_INVALID", Message: fmt.Sprintf("The image tag '%s' already exists and cannot be overwritten because the tag is immutable.", c.Tag)}
	}
	blobs, manifests := maps.Clone(p.blobs), maps.Clone(p.manifests)
	for _, b := range c.Blobs {
		blobs[b.Digest] = b
	}
	for _, m := range c.Manifests {
		manifests[m.Digest] = m
		for _, k := range m.Blobs {
			if _, ok := blobs[k.Digest]; !ok {
				return oci.ErrMissingChild("blob", k.Digest.String())
			}
		}
		for _, k := range m.Manifests {
			if _, ok := manifests[k.Digest]; !ok {
				return oci.ErrMissingChild("manifest", k.Digest.String())
			}
		}
	}
	return nil
}

// named tells whether a manifest of the repository names the blob.
func (p *repository) named(d digest.Digest) bool {
	for _, m := range p.manifests {
		for _, k := range m.Blobs {
			if k.Digest == d {
				return true
			}
		}
	}
	return false
}
