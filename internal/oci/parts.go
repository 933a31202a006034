package oci

import (
	"bytes"
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// ErrOffset refuses a part of an upload that doesn't begin where the upload stands.
type ErrOffset struct {
	Have int64 // bytes that the upload has
	From int64 // of the part's first byte
}

func (e *ErrOffset) Error() string {
	return fmt.Sprintf("the upload has %d bytes; the part begins at %d", e.Have, e.From)
}

// BeginUpload opens an upload to a repository, for those who bring a blob otherwise than through /v2/.
func (g *Registry) BeginUpload(ctx context.Context, repo string) (id string, err error) {
	if err := g.roomFor(ctx, repo, 1); err != nil {
		return "", err
	}
	id, u, err := g.newUpload(ctx, repo)
	if err != nil {
		return "", err
	}
	u.Unlock()
	return id, nil
}

// AppendUpload adds the next part of an upload; from is the position of its first byte. It returns how much the upload
// has now. An *ErrOffset leaves the upload as it is.
func (g *Registry) AppendUpload(ctx context.Context, repo, id string, from int64, part []byte) (int64, error) {
	u, err := g.findUpload(ctx, repo, id)
	if err != nil {
		return 0, err
	}
	defer u.Unlock()
	if err := g.begin(ctx, repo, id, u, true); err != nil {
		return 0, err
	}
	if have := u.w.Offset(); have != from {
		return have, &ErrOffset{have, from}
	}
	if err := g.appendTo(ctx, repo, id, u, bytes.NewReader(part), int64(len(part))); err != nil {
		return 0, err
	}
	return u.w.Offset(), nil
}

// UploadSize is how many bytes an upload has.
func (g *Registry) UploadSize(ctx context.Context, repo, id string) (int64, error) {
	u, err := g.findUpload(ctx, repo, id)
	if err != nil {
		return 0, err
	}
	defer u.Unlock()
	return u.offset(), nil
}

// CompleteUpload makes a blob of an upload. Content of another digest is ErrDigestMismatch; the upload is gone then, too.
func (g *Registry) CompleteUpload(ctx context.Context, repo, id string, d digest.Digest) (Blob, error) {
	u, err := g.findUpload(ctx, repo, id)
	if err != nil {
		return Blob{}, err
	}
	defer u.Unlock()
	if err := g.begin(ctx, repo, id, u, false); err != nil {
		return Blob{}, err
	}
	return g.commitUpload(ctx, repo, id, u, d)
}

// AbortUpload throws an upload away.
func (g *Registry) AbortUpload(ctx context.Context, repo, id string) error {
	u, err := g.findUpload(ctx, repo, id)
	if err != nil {
		return err
	}
	defer u.Unlock()
	return g.abandon(ctx, repo, id, u)
}
