package oci

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"
)

// Records remember which repository sees what. Missing things are ErrNotFound; an *Error goes to the
// client as it is.
type Records interface {
	// Exists is nil if the repository is there, else the *Error that says that it isn't, and, to those who
	// came to push, how to make it.
	Exists(ctx context.Context, repo string, a Action) error
	// Ensure makes the repository of imported images if it isn't there.
	Ensure(ctx context.Context, repo string) error

	Blob(ctx context.Context, repo string, d digest.Digest) (Blob, error)
	// FindBlob lists repositories of the same account and region as repo that have the blob.
	FindBlob(ctx context.Context, repo string, d digest.Digest) ([]string, error)
	Manifest(ctx context.Context, repo string, d digest.Digest) (Manifest, error)
	Tag(ctx context.Context, repo, tag string) (digest.Digest, error)
	// Tags lists up to n tags (all if n < 0) that come after the given one, sorted by bytes.
	Tags(ctx context.Context, repo, after string, n int) ([]string, error)
	// Referrers lists the manifests whose subject is the given one.
	Referrers(ctx context.Context, repo string, subject digest.Digest) ([]Manifest, error)

	// Commit writes all of c or nothing. It refuses tags that may not move, and manifests that name
	// what neither the repository nor c has. A manifest that is there already keeps its times.
	Commit(ctx context.Context, repo string, c Change) error
	DeleteBlob(ctx context.Context, repo string, d digest.Digest) error
	// DeleteManifest deletes the manifest and its tags, DeleteTag a tag alone.
	DeleteManifest(ctx context.Context, repo string, d digest.Digest) error
	DeleteTag(ctx context.Context, repo, tag string) error

	// Pulled notes when a manifest was last pulled, if it is still there.
	Pulled(ctx context.Context, repo string, d digest.Digest, at time.Time) error

	// PutUpload remembers a new upload, DeleteUpload forgets one.
	PutUpload(ctx context.Context, repo, id string) error
	Upload(ctx context.Context, repo, id string) error
	DeleteUpload(ctx context.Context, repo, id string) error
	// Uploads lists all of them. For the collector.
	Uploads(ctx context.Context) ([]UploadRecord, error)

	// Expire deletes the records of blobs that no manifest of their repository names and whose
	// Expires has passed. For the collector.
	Expire(ctx context.Context, now time.Time) error
	// Unrecorded picks those digests that the repository has neither as blob nor as manifest, all of
	// them if there is no such repository. For the collector.
	Unrecorded(ctx context.Context, repo string, ds []digest.Digest) ([]digest.Digest, error)
}

// A Blob is a layer or config that a repository has.
type Blob struct {
	Digest digest.Digest
	Size   int64 // bytes
	// Expires is when the blob may go if no manifest of the repository names it then.
	Expires time.Time
}

// A Change is what a push brings. It becomes visible at once, or not at all.
type Change struct {
	Blobs     []Blob
	Manifests []Manifest // children before their indexes
	Tag       string     // "": none
	Tagged    digest.Digest
	Upload    string // id of the upload that is done; "": none
}

// An UploadRecord is an unfinished upload.
type UploadRecord struct {
	Repo, ID string
	At       time.Time // when it began
}
