package oci

import (
	"context"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A BlobStore keeps content by digest, each once, whoever brought it. It knows repositories only as
// holders: content stays as long as somebody holds it, and may vanish at any time when nobody does.
// Repositories need not be made; one that holds nothing is nothing.
//
// The life of a pushed layer:
//
//	u, _ := store.Begin(ctx, "000000000000/us-east-1/app", id)
//	io.Copy(u, body)                     // in as many requests as the client likes
//	u.Commit(ctx, digest)                // hashed, synced, held; others may Hold it from now on
//	…
//	store.Release(ctx, "000000000000/us-east-1/app", digest)
//
// Missing content or uploads are ErrNotFound, wherever they are asked for.
type BlobStore interface {
	Stat(ctx context.Context, d digest.Digest) (size int64, err error)
	// Open reads a blob. Where the result is an *os.File, it is sent with sendfile.
	Open(ctx context.Context, d digest.Digest) (io.ReadSeekCloser, error)

	// Hold keeps a blob for a repository until Release. Holding twice is holding once.
	Hold(ctx context.Context, repo string, d digest.Digest) error
	// Release ends a hold. One that isn't there is no error.
	Release(ctx context.Context, repo string, d digest.Digest) error
	// Holds lists what each repository holds. For the collector.
	Holds(ctx context.Context) (map[string][]digest.Digest, error)
	// Forget removes what is kept about a repository that holds nothing. For the collector.
	Forget(ctx context.Context, repo string) error

	// Discard removes content that is held: it is damaged. The holds stay, for the next that brings it.
	Discard(ctx context.Context, d digest.Digest) error

	// Begin opens a new upload under an id of the caller's choice.
	Begin(ctx context.Context, repo, id string) (Upload, error)
	// Resume opens an upload again, after Close, a restart of this process, or one of the store.
	Resume(ctx context.Context, repo, id string) (Upload, error)
	// Abort throws an upload away.
	Abort(ctx context.Context, id string) error
	// Uploads lists the unfinished ones. For the collector.
	Uploads(ctx context.Context) ([]UploadInfo, error)

	// PutManifest stores and holds a manifest. The children, which the repository holds already, are
	// kept by the manifest too, for those who keep only that one (a container that runs from it).
	PutManifest(ctx context.Context, repo string, d ocispec.Descriptor, raw []byte, children []digest.Digest) error
}

// An Upload is content on its way. It is used by one request at a time. Its life isn't bound to the
// context of the request that began it.
type Upload interface {
	io.Writer
	Offset() int64 // bytes received so far
	// Commit ends the upload. From here on the content is held for the repository. Content of another
	// digest is ErrDigestMismatch, and the upload is to be aborted.
	Commit(ctx context.Context, want digest.Digest) error
	// Close lets go of the upload; Resume finds it again.
	Close() error
}

// UploadInfo tells of an unfinished upload.
type UploadInfo struct {
	ID      string
	Size    int64     // bytes received
	Updated time.Time // when the last of them came
}
