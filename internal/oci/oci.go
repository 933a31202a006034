// Package oci is a container registry: the OCI distribution API under /v2/, images taken over without
// a transfer (Adopt), images out of archives (Import), and the collection of what nobody wants any more.
//
// It stores nothing itself. A BlobStore keeps the bytes, once for all repositories; Records remember
// which repository sees which blob, manifest and tag; an Authorizer says who may do what. A blob's
// presence in the store gives nobody the right to see it: only the record does.
//
// Two rules keep content and records in step, whatever dies when:
//
//   - Coming: first the hold on the content, then the record.
//   - Going: first the record, then the hold.
//
// So a crash leaves a hold too many, never a record without content. The collector (Run) finds such holds.
//
// Source: OCI Distribution Specification 1.1; ECR's texts from what its users have published.
package oci

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/lotse-project/lotse/internal/lazyregexp"
)

// Options is what a registry is made of. Blobs, Records, Authorizer and Resolve are needed.
type Options struct {
	Blobs      BlobStore
	Records    Records
	Authorizer Authorizer
	// Resolve finds the repository that a name in a request's path stands for, whether it exists
	// or not. An *Error is sent as it is.
	Resolve func(r *http.Request, name string) (repo string, err error)
	// MayMount tells whether pushes to a repository may take layers of others instead of uploading them. Nil: they may.
	MayMount func(ctx context.Context, repo string) (bool, error)
	// Room is how many bytes may still come to a blob or manifest of a repository that has so many already, and what
	// those are told who bring more: the disk is nearly full, or the repository's share of it used up. Nil: as many as
	// there are.
	Room func(ctx context.Context, repo string, have int64) (left int64, refusal *Error, err error)
	// MaxBlob is the size of the largest blob accepted, in bytes. 0: 52 000 MiB. Source: ECR quotas.
	MaxBlob int64
	// UploadTTL is how long an upload may lie untouched. 0: 24 h.
	UploadTTL time.Duration
	// BlobTTL is how long a blob stays that no manifest names (yet). 0: 24 h.
	BlobTTL time.Duration
	// CollectEvery is the time between two collections that nobody asked for. 0: 5 min.
	CollectEvery time.Duration
	// Fault is called at named points of pushes, deletions and collections ("registry.commit:held"); tests break there.
	// Nil: never.
	Fault func(point string)
	Now   func() time.Time // nil: time.Now
	Log   *slog.Logger     // nil: slog.Default
}

// A Registry serves /v2/.
type Registry struct {
	o       Options
	uploads uploads
	locks   locks
	wake    chan struct{}
}

// New makes a registry. Run is its collector.
func New(o Options) *Registry {
	if o.MaxBlob == 0 {
		o.MaxBlob = 52_000 << 20
	}
	if o.UploadTTL == 0 {
		o.UploadTTL = 24 * time.Hour
	}
	if o.BlobTTL == 0 {
		o.BlobTTL = 24 * time.Hour
	}
	if o.CollectEvery == 0 {
		o.CollectEvery = 5 * time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Fault == nil {
		o.Fault = func(string) {}
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Registry{o: o, uploads: uploads{open: map[string]*upload{}, empty: map[string]string{}}, wake: make(chan struct{}, 1)}
}

// A call is one request to one repository.
type call struct {
	w    http.ResponseWriter
	r    *http.Request
	name string // as the client wrote it, for Location headers
	repo string // as records and store know it
	arg  string // last part of the path: digest, tag, upload id
}

var routeRE = lazyregexp.New(`^/v2/(.+?)/(blobs/uploads|blobs|manifests|tags|referrers)/([^/]*)$`)

// ServeHTTP answers /v2/ and everything below it.
func (g *Registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	if err := g.serve(w, r); err != nil {
		g.fail(w, r, err)
	}
}

// Private

// A handler answers one kind of request; an error that it returns is sent in its stead.
type handler func(*Registry, *call) error

func (g *Registry) serve(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Path == "/v2/" || r.URL.Path == "/v2" {
		if err := g.o.Authorizer.Authorize(r, "", Login); err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/json")
		_, err := w.Write([]byte("{}"))
		return ignoreWrite(err)
	}
	m := routeRE.FindStringSubmatch(r.URL.Path)
	if m == nil {
		return g.known(r, errNoPath)
	}
	c := &call{w: w, r: r, name: m[1], arg: m[3]}
	if len(c.name) > 300 || !nameRE.MatchString(c.name) {
		return g.known(r, errName(c.name))
	}
	fn, action := route(r.Method, m[2], c.arg)
	if fn == nil {
		return g.known(r, errMethod)
	}
	var err error
	if c.repo, err = g.o.Resolve(r, c.name); err != nil {
		return g.known(r, err)
	}
	if err := g.o.Authorizer.Authorize(r, c.repo, action); err != nil {
		return err
	}
	if IsMirror(c.repo) && action != Pull {
		return errMirror
	}
	if err := g.o.Records.Exists(r.Context(), c.repo, action); err != nil {
		return err
	}
	return fn(g, c)
}

// known makes sure that only those who are logged in learn what is wrong with their request.
func (g *Registry) known(r *http.Request, err error) error {
	if aerr := g.o.Authorizer.Authorize(r, "", Login); aerr != nil {
		return aerr
	}
	return err
}

func route(method, kind, arg string) (handler, Action) {
	get := method == http.MethodGet || method == http.MethodHead
	switch {
	case kind == "blobs/uploads" && arg == "" && method == http.MethodPost:
		return (*Registry).beginUpload, Push
	case kind == "blobs/uploads" && arg != "":
		switch method {
		case http.MethodGet:
			return (*Registry).uploadStatus, Push
		case http.MethodPatch:
			return (*Registry).patchUpload, Push
		case http.MethodPut:
			return (*Registry).putUpload, Push
		case http.MethodDelete:
			return (*Registry).cancelUpload, Push
		}
	case kind == "blobs" && get:
		return (*Registry).getBlob, Pull
	case kind == "blobs" && method == http.MethodDelete:
		return (*Registry).deleteBlob, Delete
	case kind == "manifests" && get:
		return (*Registry).getManifest, Pull
	case kind == "manifests" && method == http.MethodPut:
		return (*Registry).putManifest, Push
	case kind == "manifests" && method == http.MethodDelete:
		return (*Registry).deleteManifest, Delete
	case kind == "tags" && arg == "list" && get:
		return (*Registry).listTags, Pull
	case kind == "referrers" && get:
		return (*Registry).listReferrers, Pull
	}
	return nil, 0
}
