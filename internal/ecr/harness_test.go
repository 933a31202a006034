package ecr

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/oci"
	"github.com/lotse-project/lotse/internal/oci/ocitest"
	"github.com/lotse-project/lotse/internal/store"
)

var home = arn.Scope{Account: "000000000000", Region: "us-east-1"}

// lab is a service on a store and blobs in directories.
type lab struct {
	*Service
	t testing.TB

	mu      sync.Mutex
	now     time.Time
	changes []Change
}

func newLab(t testing.TB) *lab {
	t.Helper()
	return newLabOn(t, ocitest.NewDirStore(t.TempDir()))
}

func newLabOn(t testing.TB, blobs oci.BlobStore) *lab {
	t.Helper()
	db, err := store.Open(filepath.Join(t.TempDir(), "lotse.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	l := &lab{t: t, now: time.Now().UTC().Truncate(time.Millisecond)}
	l.Service = New(Options{
		DB: db, Blobs: blobs, Scope: home, RegistryHost: "localhost:4566", Secret: []byte("secret"),
		Now: func() time.Time { return l.advance(0) }, Changed: func(c Change) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.changes = append(l.changes, c)
		},
		Log: slog.New(slog.DiscardHandler),
	})
	return l
}

// advance moves the clock, and reads it.
func (l *lab) advance(d time.Duration) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = l.now.Add(d)
	return l.now
}

// as is the context of a request by a caller.
func as(sc arn.Scope) context.Context {
	return awsauth.WithCaller(context.Background(), awsauth.Caller{Account: sc.Account, Region: sc.Region, ARN: "arn:aws:iam::" + sc.Account + ":user/u"})
}

// create makes a repository and returns its key.
func (l *lab) create(name string) string {
	l.t.Helper()
	if _, err := l.CreateRepository(as(home), &ecr.CreateRepositoryInput{RepositoryName: &name}); err != nil {
		l.t.Fatal(err)
	}
	return home.Key(name)
}

// blob gives a repository content, as a build leaves it: in the store, to be adopted.
func (l *lab) blob(repo string, content []byte) ocispec.Descriptor {
	l.t.Helper()
	u, err := l.o.Blobs.Begin(context.Background(), repo, ocitest.NewID())
	if err != nil {
		l.t.Fatal(err)
	}
	d := digest.FromBytes(content)
	if _, err := u.Write(content); err != nil {
		l.t.Fatal(err)
	}
	if err := u.Commit(context.Background(), d); err != nil {
		l.t.Fatal(err)
	}
	return ocispec.Descriptor{Digest: d, Size: int64(len(content))}
}

// manifest puts an image of one layer into the store; its digest depends on seed.
func (l *lab) manifest(repo, seed string) ocispec.Descriptor {
	l.t.Helper()
	config := l.blob(repo, asJSON(ocispec.Image{Author: seed, Platform: ocispec.Platform{OS: "linux", Architecture: goruntime.GOARCH}}))
	layer := l.blob(repo, []byte(strings.Repeat(seed, 100)))
	config.MediaType, layer.MediaType = ocispec.MediaTypeImageConfig, ocispec.MediaTypeImageLayer
	d := l.blob(repo, asJSON(ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: config, Layers: []ocispec.Descriptor{layer}}))
	d.MediaType = ocispec.MediaTypeImageManifest
	return d
}

// index puts an index into the store.
func (l *lab) index(repo string, entries ...ocispec.Descriptor) ocispec.Descriptor {
	l.t.Helper()
	d := l.blob(repo, asJSON(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: entries}))
	d.MediaType = ocispec.MediaTypeImageIndex
	return d
}

// adopt makes content of the store an image of a repository.
func (l *lab) adopt(name, tag string, d digest.Digest) {
	l.t.Helper()
	if _, err := l.Adopt(context.Background(), home, name, tag, d); err != nil {
		l.t.Fatal(err)
	}
}

// push is an image of a repository, with tags.
func (l *lab) push(name, seed string, tags ...string) digest.Digest {
	l.t.Helper()
	d := l.manifest(home.Key(name), seed).Digest
	for _, tag := range tags {
		l.adopt(name, tag, d)
	}
	if len(tags) == 0 {
		l.adopt(name, "", d)
	}
	return d
}

func on(d ocispec.Descriptor, os, arch string) ocispec.Descriptor {
	d.Platform = &ocispec.Platform{OS: os, Architecture: arch}
	return d
}

func asJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return bytes.TrimSpace(b)
}

// wantCode checks an error's code, and words of its message.
func wantCode(t testing.TB, err error, code, words string) {
	t.Helper()
	var e *awswire.Error
	if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Message, words) {
		t.Errorf("got %v, want %s with %q", err, code, words)
	}
}

func str(s string) *string { return aws.String(s) }
