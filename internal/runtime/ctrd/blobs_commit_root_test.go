package ctrd

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lotse-project/lotse/internal/oci/ocitest"
)

// started is an upload of which everything has come.
func started(t *testing.T, s *Blobs, repo string) (u *upload, data []byte, d digest.Digest) {
	t.Helper()
	data, d = ocitest.Random(100_000)
	w, err := s.Begin(t.Context(), repo, ocitest.NewID())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	return w.(*upload), data, d
}

// A server that is killed in the middle of a commit leaves a file among the blobs, or an ingest as well. The same upload can
// be committed later, or aborted; then nothing of it stays.
func TestBlobs_CommitBrokenOff(t *testing.T) {
	l := newLab(t)
	const repo = "000000000000/us-east-1/app"
	s := l.newBlobs()
	steps := map[string]func(u *upload, d digest.Digest) error{
		"named":             func(u *upload, d digest.Digest) error { return u.place(d) },
		"named and removed": func(u *upload, d digest.Digest) error { return errors.Join(u.place(d), s.sweep(t.Context())) },
		"told": func(u *upload, d digest.Digest) error {
			if err := u.place(d); err != nil {
				return err
			}
			return s.leased(t.Context(), repo, func(ctx context.Context, c *client.Client) error {
				w, err := c.ContentStore().Writer(ctx, content.WithRef(uploadPrefix+u.id), content.WithDescriptor(ocispec.Descriptor{Digest: d, Size: u.off}))
				if err != nil {
					return err
				}
				return w.Close()
			})
		},
		"another's damage": func(u *upload, d digest.Digest) error {
			if err := u.place(d); err != nil { // it makes the directory
				return err
			}
			return errors.Join(os.Remove(s.path(d)), os.WriteFile(s.path(d), make([]byte, u.off), 0o444))
		},
	}
	for name, step := range steps {
		t.Run(name+", then committed", func(t *testing.T) {
			u, data, d := started(t, s, repo)
			if err := errors.Join(step(u, d), u.Close()); err != nil {
				t.Fatal(err)
			}
			again, err := l.newBlobs().Resume(t.Context(), repo, u.id)
			if err != nil {
				t.Fatal(err)
			}
			if err := again.Commit(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			l.collect(t)
			if got, err := os.ReadFile(s.path(d)); err != nil || !bytes.Equal(got, data) {
				t.Errorf("the blob has %d bytes, %v; want the %d written", len(got), err, len(data))
			}
			if left, err := s.Uploads(t.Context()); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
		if name == "another's damage" {
			continue
		}
		t.Run(name+", then aborted", func(t *testing.T) {
			u, _, d := started(t, s, repo)
			if err := errors.Join(step(u, d), u.Close()); err != nil {
				t.Fatal(err)
			}
			if err := s.Abort(t.Context(), u.id); err != nil {
				t.Fatal(err)
			}
			l.collect(t)
			if _, err := os.Stat(s.path(d)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the blob's file is there: %v", err)
			}
			c, ctx, err := s.connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if st, err := c.ContentStore().Status(ctx, uploadPrefix+u.id); !errdefs.IsNotFound(err) {
				t.Errorf("the ingest is there: %+v, %v", st, err)
			}
		})
	}
}

// Commits while containerd collects all the time lose nothing.
func TestBlobs_CommitWhileItIsCollected(t *testing.T) {
	l := newLab(t)
	s, end, ended := l.newBlobs(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			default:
				l.collect(t)
			}
		}
	}()
	held := map[digest.Digest][]byte{}
	for range 60 {
		u, data, d := started(t, s, "000000000000/us-east-1/app")
		if err := u.Commit(t.Context(), d); err != nil {
			t.Error(err)
		}
		held[d] = data
	}
	close(end)
	<-ended
	l.collect(t)
	for d, data := range held {
		if got, err := os.ReadFile(s.path(d)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s has %d bytes, %v; want %d", d, len(got), err, len(data))
		}
	}
}
