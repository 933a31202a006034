package state

import (
	"errors"
	"strings"
	"time"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/store"
)

// ECR's records, written by the API and by the registry. Keys read like image names: a repository's is
// scope/name, and neither ":" nor "@" can be in it. Repositories of imported images have no account: their keys
// are mirror/HOST/PATH, such as mirror/docker.io/library/golang.
var (
	Repositories = store.NewTable[Repository]("ecr.repository") // scope/name
	Images       = store.NewTable[Image]("ecr.image")           // scope/name@sha256:…
	ImageTags    = store.NewTable[ImageTag]("ecr.tag")          // scope/name:tag
	Layers       = store.NewTable[Layer]("ecr.layer")           // scope/name@sha256:…
	LayerUploads = store.NewTable[LayerUpload]("ecr.upload")    // scope/name:id

	LifecycleRuns     = store.NewTable[LifecycleRun]("ecr.lifecycle")         // scope/name
	LifecyclePreviews = store.NewTable[LifecyclePreview]("ecr.lifecycleplan") // scope/name
)

// A Repository holds images under one name.
type Repository struct {
	Scope     arn.Scope
	Name      string
	CreatedAt time.Time
	// Mutability says whether tags may move: MUTABLE, IMMUTABLE, or one of them _WITH_EXCLUSION, where tags that
	// match one of Exclusions have it the other way round.
	Mutability string
	Exclusions []string // patterns in which * stands for anything
	Tags       map[string]string
	Policy     string `json:",omitempty"` // text of the repository policy; "": none
	// Lifecycle is the text of the lifecycle policy ("": none), LifecycleAt when it was put.
	Lifecycle   string    `json:",omitempty"`
	LifecycleAt time.Time `json:",omitzero"`
}

// A LifecycleRun tells when a repository's lifecycle policy was last evaluated, and which: the one put at Of.
type LifecycleRun struct{ At, Of time.Time }

// A LifecyclePreview is what a lifecycle policy would have expired at a time.
type LifecyclePreview struct {
	Text    string
	At      time.Time
	Expires []LifecycleExpiry
}

// A LifecycleExpiry is an image as a lifecycle policy found it, and the priority of the rule that expires it.
type LifecycleExpiry struct {
	Digest   string
	Tags     []string
	PushedAt time.Time
	Priority int
}

// ARN names the repository.
func (r Repository) ARN() string { return r.Scope.ARN("ecr", "repository/"+r.Name) }

// Key is the repository's key in Repositories, and its name to the registry.
func (r Repository) Key() string { return r.Scope.Key(r.Name) }

// MayMove tells whether a tag that is there may be put on another image.
func (r Repository) MayMove(tag string) bool {
	movable := !strings.HasPrefix(r.Mutability, "IMMUTABLE")
	for _, p := range r.Exclusions {
		if wildcard(p, tag) {
			return !movable
		}
	}
	return movable
}

// An Image is a manifest that a repository has: an image, an index of images, or an artifact.
type Image struct {
	Digest       string
	MediaType    string
	Size         int64             // bytes, of the manifest itself
	Config       string            // media type of the config; "" for an index
	ArtifactType string            // its own, or its config's media type
	Annotations  map[string]string `json:",omitempty"`
	Subject      string            `json:",omitempty"` // digest of the manifest that this one is about
	Layers       []ImageContent    // config and layers that are kept here
	Images       []ImageContent    // of an index: those that are there
	PushedAt     time.Time
	PulledAt     time.Time // zero: never
}

// ImageContent is content that a manifest names.
type ImageContent struct {
	Digest string
	Size   int64 // bytes
}

// An ImageTag names an image of its repository.
type ImageTag struct{ Digest string }

// A Layer is a layer or config that a repository has.
type Layer struct {
	Size    int64     // bytes
	Expires time.Time // when it may go if no image names it then
}

// A LayerUpload is a layer on its way.
type LayerUpload struct {
	At    time.Time // when it began
	Short bool      `json:",omitempty"` // its last part, through the API, is too small to be followed by another
}

// RepositoryImages are the images and layers of a repository: the prefix of their keys.
func RepositoryImages(repo string) string { return repo + "@" }

// RepositoryTags are the tags and uploads of a repository: the prefix of their keys.
func RepositoryTags(repo string) string { return repo + ":" }

// DropRepository deletes a repository with all that it has.
func DropRepository(tx *store.WriteTx, repo string) error {
	if err := Repositories.Delete(tx, repo, 0); err != nil {
		return err
	}
	if err := errors.Join(DeleteLifecycle(tx, repo), deleteAll(tx, Images, RepositoryImages(repo))); err != nil {
		return err
	}
	if err := deleteAll(tx, Layers, RepositoryImages(repo)); err != nil {
		return err
	}
	if err := deleteAll(tx, ImageTags, RepositoryTags(repo)); err != nil {
		return err
	}
	return deleteAll(tx, LayerUploads, RepositoryTags(repo))
}

// DeleteLifecycle forgets what was evaluated of a repository's lifecycle policies.
func DeleteLifecycle(tx *store.WriteTx, repo string) error {
	for _, err := range []error{LifecycleRuns.Delete(tx, repo, 0), LifecyclePreviews.Delete(tx, repo, 0)} {
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return nil
}

// Private

// deleteAll deletes all records of a table below a prefix.
func deleteAll[T any](tx *store.WriteTx, t store.Table[T], prefix string) error {
	for o, err := range t.List(tx, prefix) {
		if err != nil {
			return err
		}
		if err := t.Delete(tx, o.Key, 0); err != nil {
			return err
		}
	}
	return nil
}

// wildcard tells whether s matches a pattern in which * stands for anything, also nothing.
func wildcard(pattern, s string) bool {
	first, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return s == pattern
	}
	s, ok := strings.CutPrefix(s, first)
	if !ok {
		return false
	}
	for i := 0; i <= len(s); i++ {
		if wildcard(rest, s[i:]) {
			return true
		}
	}
	return false
}
