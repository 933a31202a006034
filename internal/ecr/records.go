package ecr

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/oci"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// records are oci.Records in the store. The registry calls repositories by their keys there.
type records struct {
	db      *store.DB
	quotas  Quotas
	changed func(Change)
}

var _ oci.Records = (*records)(nil)

// Exists is part of oci.Records, as is what follows.
func (r *records) Exists(ctx context.Context, repo string, a oci.Action) error {
	err := r.db.View(ctx, func(tx *store.ReadTx) error {
		_, err := state.Repositories.Get(tx, repo)
		return err
	})
	if errors.Is(err, store.ErrNotFound) && a == oci.Push && !oci.IsMirror(repo) {
		err = r.db.Update(ctx, func(tx *store.WriteTx) error { return createOnPush(tx, repo) })
	}
	if errors.Is(err, store.ErrNotFound) {
		err = unknownRepository(repo, a)
	}
	return err
}

func (r *records) Ensure(ctx context.Context, repo string) error {
	return r.db.Update(ctx, func(tx *store.WriteTx) error {
		o, err := state.Repositories.Get(tx, repo)
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		o.Val.Scope, o.Val.Name = arn.ScopeOf(repo)
		o.Val.CreatedAt, o.Val.Mutability = tx.Now(), mutable
		return state.Repositories.Put(tx, &o)
	})
}

func (r *records) Blob(ctx context.Context, repo string, d digest.Digest) (oci.Blob, error) {
	l, err := view(ctx, r.db, state.Layers, contentKey(repo, d))
	return oci.Blob{Digest: d, Size: l.Size, Expires: l.Expires}, err
}

func (r *records) FindBlob(ctx context.Context, repo string, d digest.Digest) ([]string, error) {
	sc, _ := arn.ScopeOf(repo)
	var out []string
	err := r.db.View(ctx, func(tx *store.ReadTx) error {
		for o, err := range state.Repositories.List(tx, sc.Key()) {
			if err != nil {
				return err
			}
			has, err := there(tx, state.Layers, contentKey(o.Key, d))
			if err != nil {
				return err
			}
			if has {
				out = append(out, o.Key)
			}
		}
		return nil
	})
	return out, err
}

func (r *records) Manifest(ctx context.Context, repo string, d digest.Digest) (oci.Manifest, error) {
	i, err := view(ctx, r.db, state.Images, contentKey(repo, d))
	return manifest(i), err
}

func (r *records) Tag(ctx context.Context, repo, tag string) (digest.Digest, error) {
	t, err := view(ctx, r.db, state.ImageTags, tagKey(repo, tag))
	return digest.Digest(t.Digest), err
}

func (r *records) Tags(ctx context.Context, repo, after string, n int) ([]string, error) {
	var out []string
	err := r.db.View(ctx, func(tx *store.ReadTx) error {
		for o, err := range state.ImageTags.ListAfter(tx, state.RepositoryTags(repo), tagKey(repo, after)) {
			if err != nil {
				return err
			}
			if len(out) == n {
				return nil
			}
			out = append(out, strings.TrimPrefix(o.Key, state.RepositoryTags(repo)))
		}
		return nil
	})
	return out, err
}

func (r *records) Referrers(ctx context.Context, repo string, subject digest.Digest) ([]oci.Manifest, error) {
	var out []oci.Manifest
	err := r.db.View(ctx, func(tx *store.ReadTx) error {
		for o, err := range state.Images.List(tx, state.RepositoryImages(repo)) {
			if err != nil {
				return err
			}
			if o.Val.Subject == subject.String() {
				out = append(out, manifest(o.Val))
			}
		}
		return nil
	})
	return out, err
}

func (r *records) DeleteBlob(ctx context.Context, repo string, d digest.Digest) error {
	return r.db.Update(ctx, func(tx *store.WriteTx) error {
		return missing(state.Layers.Delete(tx, contentKey(repo, d), 0))
	})
}

func (r *records) DeleteManifest(ctx context.Context, repo string, d digest.Digest) error {
	err := r.db.Update(ctx, func(tx *store.WriteTx) error {
		_, err := dropImage(tx, repo, d.String())
		return err
	})
	if err == nil {
		r.changed(Change{Repository: repo, Digest: d.String(), Deleted: true})
	}
	return err
}

func (r *records) DeleteTag(ctx context.Context, repo, tag string) error {
	err := r.db.Update(ctx, func(tx *store.WriteTx) error {
		return missing(state.ImageTags.Delete(tx, tagKey(repo, tag), 0))
	})
	if err == nil {
		r.changed(Change{Repository: repo, Tag: tag, Deleted: true})
	}
	return err
}

func (r *records) Pulled(ctx context.Context, repo string, d digest.Digest, at time.Time) error {
	return r.db.Update(ctx, func(tx *store.WriteTx) error {
		o, err := state.Images.Get(tx, contentKey(repo, d))
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		o.Val.PulledAt = at
		return state.Images.Put(tx, &o)
	})
}

func (r *records) PutUpload(ctx context.Context, repo, id string) error {
	return r.db.Update(ctx, func(tx *store.WriteTx) error {
		if _, err := pushable(tx, repo); err != nil {
			return err
		}
		return state.LayerUploads.Put(tx, &store.Object[state.LayerUpload]{
			Key: tagKey(repo, id), Val: state.LayerUpload{At: tx.Now()}})
	})
}

func (r *records) Upload(ctx context.Context, repo, id string) error {
	_, err := view(ctx, r.db, state.LayerUploads, tagKey(repo, id))
	return err
}

func (r *records) DeleteUpload(ctx context.Context, repo, id string) error {
	return r.db.Update(ctx, func(tx *store.WriteTx) error { return endUpload(tx, repo, id) })
}

func (r *records) Uploads(ctx context.Context) ([]oci.UploadRecord, error) {
	var out []oci.UploadRecord
	err := r.db.View(ctx, func(tx *store.ReadTx) error {
		for o, err := range state.LayerUploads.List(tx, "") {
			if err != nil {
				return err
			}
			repo, id, _ := strings.Cut(o.Key, ":")
			out = append(out, oci.UploadRecord{Repo: repo, ID: id, At: o.Val.At})
		}
		return nil
	})
	return out, err
}

// Private

func contentKey(repo string, d digest.Digest) string {
	return state.RepositoryImages(repo) + d.String()
}
func tagKey(repo, tag string) string { return state.RepositoryTags(repo) + tag }

// missing translates the store's error into the registry's.
func missing(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return oci.ErrNotFound
	}
	return err
}

// view reads one record.
func view[T any](ctx context.Context, db *store.DB, t store.Table[T], key string) (T, error) {
	var o store.Object[T]
	err := db.View(ctx, func(tx *store.ReadTx) (err error) {
		o, err = t.Get(tx, key)
		return missing(err)
	})
	return o.Val, err
}

// known makes nothing of an error that says that there is no such record.
func known(err error) error {
	if errors.Is(err, oci.ErrNotFound) {
		return nil
	}
	return err
}

// put writes a record, whatever was there before.
func put[T any](tx *store.WriteTx, t store.Table[T], key string, v T) error {
	o, err := t.Get(tx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	o.Val = v
	return t.Put(tx, &o)
}

func there[T any](tx store.Reader, t store.Table[T], key string) (bool, error) {
	_, err := t.Get(tx, key)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// pushable finds a repository, or says to the registry's client that there is none.
func pushable(tx store.Reader, repo string) (state.Repository, error) {
	o, err := state.Repositories.Get(tx, repo)
	if errors.Is(err, store.ErrNotFound) {
		err = unknownRepository(repo, oci.Push)
	}
	return o.Val, err
}

// unknownRepository says in ECR's words that there is no such repository, and what to do about it.
func unknownRepository(repo string, a oci.Action) *oci.Error {
	e := &oci.Error{Status: 404, Code: "NAME_UNKNOWN"}
	sc, name := arn.ScopeOf(repo)
	switch {
	case oci.IsMirror(repo):
		e.Message = "no image " + mirrored(repo) + " has been imported: lotse image import " + mirrored(repo) + " FILE"
	case a == oci.Push:
		e.Message = textNoRepository(name, sc.Account) + ". To create it: aws ecr create-repository --repository-name " + name + " --region " + sc.Region
	default:
		e.Message = textNoRepository(name, sc.Account)
	}
	return e
}

// mirrored is the name under which a repository's images were imported, such as docker.io/library/golang.
func mirrored(repo string) string { return strings.TrimPrefix(repo, oci.MirrorPrefix+"/") }

func endUpload(tx *store.WriteTx, repo, id string) error {
	err := state.LayerUploads.Delete(tx, tagKey(repo, id), 0)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// dropImage deletes an image and its tags, which it returns.
func dropImage(tx *store.WriteTx, repo, d string) (tags []string, err error) {
	if err := missing(state.Images.Delete(tx, state.RepositoryImages(repo)+d, 0)); err != nil {
		return nil, err
	}
	for o, err := range state.ImageTags.List(tx, state.RepositoryTags(repo)) {
		if err != nil {
			return nil, err
		}
		if o.Val.Digest != d {
			continue
		}
		if err := state.ImageTags.Delete(tx, o.Key, 0); err != nil {
			return nil, err
		}
		tags = append(tags, strings.TrimPrefix(o.Key, state.RepositoryTags(repo)))
	}
	return tags, nil
}

func manifest(i state.Image) oci.Manifest {
	return oci.Manifest{Digest: digest.Digest(i.Digest), MediaType: i.MediaType, Size: i.Size, Config: i.Config,
		ArtifactType: i.ArtifactType, Annotations: i.Annotations, Subject: digest.Digest(i.Subject),
		Blobs: children(i.Layers), Manifests: children(i.Images), PushedAt: i.PushedAt, PulledAt: i.PulledAt}
}

func image(m oci.Manifest) state.Image {
	return state.Image{Digest: m.Digest.String(), MediaType: m.MediaType, Size: m.Size, Config: m.Config,
		ArtifactType: m.ArtifactType, Annotations: m.Annotations, Subject: m.Subject.String(),
		Layers: imageContents(m.Blobs), Images: imageContents(m.Manifests), PushedAt: m.PushedAt, PulledAt: m.PulledAt}
}

func children(cs []state.ImageContent) (out []oci.Child) {
	for _, c := range cs {
		out = append(out, oci.Child{Digest: digest.Digest(c.Digest), Size: c.Size})
	}
	return out
}

func imageContents(cs []oci.Child) (out []state.ImageContent) {
	for _, c := range cs {
		out = append(out, state.ImageContent{Digest: c.Digest.String(), Size: c.Size})
	}
	return out
}
