package ecr

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/lotse-project/lotse/internal/oci"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// Commit is part of oci.Records, as is what follows.
func (r *records) Commit(ctx context.Context, repo string, c oci.Change) error {
	err := r.db.Update(ctx, func(tx *store.WriteTx) error {
		p, err := pushable(tx, repo)
		if err != nil {
			return err
		}
		for _, b := range c.Blobs {
			if err := putLayer(tx, repo, b); err != nil {
				return err
			}
		}
		for _, m := range c.Manifests {
			if err := r.putImage(tx, p, m); err != nil {
				return err
			}
		}
		if c.Tag != "" {
			if err := r.putTag(tx, p, c.Tag, c.Tagged.String()); err != nil {
				return err
			}
		}
		if c.Upload != "" {
			return endUpload(tx, repo, c.Upload)
		}
		return nil
	})
	if err == nil && len(c.Manifests) > 0 {
		last := c.Manifests[len(c.Manifests)-1]
		r.changed(Change{Repository: repo, Tag: c.Tag, Digest: last.Digest.String(), MediaType: last.MediaType, Size: last.Size})
	}
	return err
}

// Expire looks with readers' eyes first: mostly there is nothing to do, and writing costs an fsync.
func (r *records) Expire(ctx context.Context, now time.Time) error {
	var gone []string
	err := r.db.View(ctx, func(tx *store.ReadTx) (err error) {
		gone, err = expired(tx, now)
		return err
	})
	if err != nil || len(gone) == 0 {
		return err
	}
	return r.db.Update(ctx, func(tx *store.WriteTx) error {
		gone, err := expired(tx, now)
		if err != nil {
			return err
		}
		for _, key := range gone {
			if err := state.Layers.Delete(tx, key, 0); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *records) Unrecorded(ctx context.Context, repo string, ds []digest.Digest) ([]digest.Digest, error) {
	var out []digest.Digest
	err := r.db.View(ctx, func(tx *store.ReadTx) error {
		for _, d := range ds {
			layer, err := there(tx, state.Layers, contentKey(repo, d))
			if err != nil {
				return err
			}
			image, err := there(tx, state.Images, contentKey(repo, d))
			if err != nil {
				return err
			}
			if !layer && !image {
				out = append(out, d)
			}
		}
		return nil
	})
	return out, err
}

// Private

func putLayer(tx *store.WriteTx, repo string, b oci.Blob) error {
	o, err := state.Layers.Get(tx, contentKey(repo, b.Digest))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	o.Val = state.Layer{Size: b.Size, Expires: b.Expires}
	return state.Layers.Put(tx, &o)
}

// putImage records a manifest all of whose content the repository has.
func (r *records) putImage(tx *store.WriteTx, p state.Repository, m oci.Manifest) error {
	repo := p.Key()
	for _, k := range m.Blobs {
		if has, err := there(tx, state.Layers, contentKey(repo, k.Digest)); err != nil {
			return err
		} else if !has {
			return oci.ErrMissingChild("blob", k.Digest.String())
		}
	}
	for _, k := range m.Manifests {
		if has, err := there(tx, state.Images, contentKey(repo, k.Digest)); err != nil {
			return err
		} else if !has {
			return oci.ErrMissingChild("manifest", k.Digest.String())
		}
	}
	o, err := state.Images.Get(tx, contentKey(repo, m.Digest))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	i := image(m)
	if err == nil {
		i.PushedAt, i.PulledAt = o.Val.PushedAt, o.Val.PulledAt
	} else if err := r.quotas.image(tx, p, i); err != nil {
		return err
	}
	o.Val = i
	return state.Images.Put(tx, &o)
}

func (r *records) putTag(tx *store.WriteTx, p state.Repository, tag, d string) error {
	o, err := state.ImageTags.Get(tx, tagKey(p.Key(), tag))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err == nil && o.Val.Digest != d && !p.MayMove(tag) {
		return errTagTaken(p.Name, tag)
	}
	if o.Val.Digest != d {
		if err := r.quotas.tag(tx, p, d); err != nil {
			return err
		}
	}
	o.Val.Digest = d
	return state.ImageTags.Put(tx, &o)
}

// expired are the keys of layers whose time is over and that no image of their repository names.
func expired(tx store.Reader, now time.Time) ([]string, error) {
	var out []string
	repo, named := "", map[string]bool{}
	for o, err := range state.Layers.List(tx, "") {
		if err != nil {
			return nil, err
		}
		if !o.Val.Expires.Before(now) {
			continue
		}
		p, d, _ := strings.Cut(o.Key, "@")
		if p != repo {
			repo = p
			if named, err = layersOf(tx, repo); err != nil {
				return nil, err
			}
		}
		if !named[d] {
			out = append(out, o.Key)
		}
	}
	return out, nil
}

// layersOf are the layers and configs that a repository's images name.
func layersOf(tx store.Reader, repo string) (map[string]bool, error) {
	named := map[string]bool{}
	for o, err := range state.Images.List(tx, state.RepositoryImages(repo)) {
		if err != nil {
			return nil, err
		}
		for _, l := range o.Val.Layers {
			named[l.Digest] = true
		}
	}
	return named, nil
}
