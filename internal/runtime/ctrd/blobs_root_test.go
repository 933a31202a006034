package ctrd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lotse-project/lotse/internal/oci"
	"github.com/lotse-project/lotse/internal/oci/ocitest"
)

// newBlobs is the registry's store on the lab's containerd.
func (l *lab) newBlobs() *Blobs {
	return NewBlobs(l.sup.Client, l.sup.Namespace(), l.sup.ContentDir())
}

func TestBlobs_Contract(t *testing.T) {
	l := newLab(t)
	ocitest.TestBlobStore(t, ocitest.StoreUnderTest{Store: l.newBlobs(), Collected: func() { l.collect(t) }})
}

// An upload goes on when containerd is killed in the middle of it, in the same request or in a later one.
func TestBlobs_UploadOutlivesContainerd(t *testing.T) {
	l := newLab(t)
	for _, reopen := range []bool{false, true} {
		s, repo := l.newBlobs(), "000000000000/us-east-1/app"
		data, d := ocitest.Random(5 << 20)
		half := len(data)/2 + 13
		id := ocitest.NewID()
		u, err := s.Begin(t.Context(), repo, id)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(u, bytes.NewReader(data[:half])); err != nil {
			t.Fatal(err)
		}
		l.killDaemon(t)
		if reopen {
			_ = u.Close()
			l.awaitDaemon(t)
			if u, err = s.Resume(t.Context(), repo, id); err != nil {
				t.Fatal(err)
			}
			if u.Offset() != int64(half) {
				t.Errorf("Offset() after Resume = %d, want %d", u.Offset(), half)
			}
		}
		if _, err := io.Copy(u, bytes.NewReader(data[half:])); err != nil {
			t.Fatalf("Write after containerd was killed: %v", err)
		}
		if err := u.Commit(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		l.collect(t)
		f, err := s.Open(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(f)
		f.Close()
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("blob has %d bytes, %v; want the %d written", len(got), err, len(data))
		}
	}
}

// What is held survives a containerd that is killed: it collects right after it starts.
func TestBlobs_HoldsOutliveContainerd(t *testing.T) {
	l := newLab(t)
	s, repo := l.newBlobs(), "000000000000/us-east-1/app"
	data, _ := ocitest.Random(1000)
	d := ocitest.Upload(t, s, repo, data)
	l.killDaemon(t)
	l.awaitDaemon(t)
	l.collect(t)
	if n, err := s.Stat(t.Context(), d); err != nil || n != 1000 {
		t.Errorf("Stat() = %d, %v; want 1000", n, err)
	}
	if holds, err := s.Holds(t.Context()); err != nil || len(holds[repo]) != 1 {
		t.Errorf("Holds() = %v, %v; want %s in %s", holds, err, d, repo)
	}
}

// Holding a blob that is being released elsewhere either keeps it or says that it is gone.
func TestBlobs_HoldWhileItIsCollected(t *testing.T) {
	l := newLab(t)
	s := l.newBlobs()
	var kept, gone int
	for i := range 60 {
		data, _ := ocitest.Random(100)
		d := ocitest.Upload(t, s, "000000000000/us-east-1/a", data)
		var g errgroup.Group
		g.Go(func() error {
			if err := s.Release(t.Context(), "000000000000/us-east-1/a", d); err != nil {
				return err
			}
			l.collect(t)
			return nil
		})
		time.Sleep(time.Duration(i%13) * 250 * time.Microsecond)
		err := s.Hold(t.Context(), "000000000000/us-east-1/b", d)
		if werr := g.Wait(); werr != nil {
			t.Fatal(werr)
		}
		l.collect(t)
		_, serr := s.Stat(t.Context(), d)
		switch {
		case err == nil && serr == nil:
			kept++
		case errors.Is(err, oci.ErrNotFound) && errors.Is(serr, oci.ErrNotFound):
			gone++
		default:
			t.Fatalf("Hold() = %v, and then Stat() = %v", err, serr)
		}
	}
	t.Logf("kept %d, gone %d", kept, gone)
}

// awaitDaemon waits until containerd is up again.
func (l *lab) awaitDaemon(t testing.TB) {
	t.Helper()
	time.Sleep(20 * time.Millisecond) // until the Supervisor has seen its end
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		if err := l.sup.Ready(ctx); err != nil {
			t.Fatal(err)
		}
		if p, found := l.sup.find(); found && p.alive() && dial(l.sup.Address()) == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestBlobs_DamageIsHealedByTheNextPush(t *testing.T) {
	l := newLab(t)
	s, repo := l.newBlobs(), "000000000000/us-east-1/app"
	data, d := ocitest.Random(1 << 20)
	ocitest.Upload(t, s, repo, data)
	file := filepath.Join(l.sup.ContentDir(), "blobs", "sha256", d.Encoded())
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("damage"), 1000); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := s.Discard(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the damaged file: %v", err)
	}
	ocitest.Upload(t, s, repo, data)
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, data) {
		t.Errorf("what came again is not what was sent: %v", err)
	}
}

func TestBlobs_Collect(t *testing.T) {
	l := newLab(t)
	s, repo := l.newBlobs(), "000000000000/us-east-1/app"
	if _, err := s.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	kept, _ := ocitest.Random(1000)
	ocitest.Upload(t, s, repo, kept)
	data, _ := ocitest.Random(1 << 20)
	d := ocitest.Upload(t, s, repo, data)
	if err := l.Engine.Prepare(t.Context(), l.Image); err != nil {
		t.Fatal(err)
	}
	if err := s.Release(t.Context(), repo, d); err != nil {
		t.Fatal(err)
	}
	freed, err := s.Collect(t.Context())
	if want := (Freed{Blobs: 1, Bytes: 1 << 20}); err != nil || freed.Blobs != want.Blobs || freed.Bytes < want.Bytes {
		t.Errorf("Collect = %+v, %v, want %+v", freed, err, want)
	}
	if freed, err = s.Collect(t.Context()); err != nil || freed != (Freed{}) {
		t.Errorf("a second Collect = %+v, %v", freed, err)
	}
}
