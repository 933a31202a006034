package ctrd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/lotse-project/lotse/internal/oci"
)

const (
	// writeStep is how many bytes one Write of ours has. Each is a round trip, and beyond 1 MiB gRPC's buffer pools
	// don't help any more. Measured: 64 KiB 85 MB/s, 1 MiB - 4 KiB 282, 4 MiB 180.
	writeStep = 1<<20 - 4<<10
	// reopenWithin is how long an upload waits for containerd to come back.
	reopenWithin = 15 * time.Second
	reopenPause  = 100 * time.Millisecond
	abortTries   = 10
	abortPause   = 10 * time.Millisecond
)

// Begin implements oci.BlobStore, as does what follows.
func (s *Blobs) Begin(ctx context.Context, repo, id string) (oci.Upload, error) {
	return s.writer(ctx, repo, id)
}

// Resume hashes again what has come so far, which takes 0.7 s per GB.
func (s *Blobs) Resume(ctx context.Context, repo, id string) (oci.Upload, error) {
	c, nctx, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := c.ContentStore().Status(nctx, uploadPrefix+id); err != nil {
		return nil, native(err)
	}
	return s.writer(ctx, repo, id)
}

// Abort tries again for a moment: containerd ends a closed stream in the background, and writes a last file into the
// directory that is being removed.
func (s *Blobs) Abort(ctx context.Context, id string) error {
	c, ctx, err := s.connect(ctx)
	if err != nil {
		return err
	}
	for range abortTries {
		err = native(c.ContentStore().Abort(ctx, uploadPrefix+id))
		if err == nil || errors.Is(err, oci.ErrNotFound) {
			return err
		}
		time.Sleep(abortPause)
	}
	return err
}

func (s *Blobs) Uploads(ctx context.Context) ([]oci.UploadInfo, error) {
	c, ctx, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	all, err := c.ContentStore().ListStatuses(ctx)
	if err != nil {
		return nil, native(err)
	}
	var out []oci.UploadInfo
	for _, st := range all {
		if id, ok := strings.CutPrefix(st.Ref, uploadPrefix); ok {
			out = append(out, oci.UploadInfo{ID: id, Size: st.Offset, Updated: st.UpdatedAt})
		}
	}
	return out, nil
}

// Private

// writer opens an ingest. Its stream outlives the request that opened it, and is ended by Close or Commit.
func (s *Blobs) writer(ctx context.Context, repo, id string) (*upload, error) {
	u := &upload{s: s, repo: repo, id: id}
	return u, u.open(ctx)
}

// upload is an ingest into the repository's lease. It lives as long as the lease; expiry is the registry's business.
type upload struct {
	s        *Blobs
	repo, id string
	w        content.Writer
	off      int64
	cancel   context.CancelFunc // ends the stream
}

func (u *upload) open(ctx context.Context) error {
	ctx, u.cancel = context.WithCancel(context.WithoutCancel(ctx))
	err := u.s.leased(ctx, u.repo, func(ctx context.Context, c *client.Client) (err error) {
		// No digest is given: containerd would take one that it has for proof that the client has it.
		u.w, err = c.ContentStore().Writer(ctx, content.WithRef(uploadPrefix+u.id))
		return err
	})
	if err != nil {
		u.cancel()
		return fmt.Errorf("open upload %s: %w", u.id, err)
	}
	st, err := u.w.Status()
	if err != nil {
		_ = u.Close()
		return fmt.Errorf("open upload %s: %w", u.id, native(err))
	}
	u.off = st.Offset
	return nil
}

func (u *upload) Offset() int64 { return u.off }

// Write sends p. If containerd dies meanwhile, it waits for the next one and goes on where that one stands.
func (u *upload) Write(p []byte) (n int, err error) {
	for n < len(p) {
		k, err := u.w.Write(p[n:])
		n += k
		u.off += int64(k)
		if err == nil {
			continue
		}
		if err := native(err); errors.Is(err, syscall.ENOSPC) {
			return n, err
		}
		got, rerr := u.reopen(int64(len(p) - n))
		if rerr != nil {
			return n, fmt.Errorf("%w (then: %w)", err, rerr)
		}
		n += int(got)
	}
	return n, nil
}

// reopen opens the upload again after an error; got is how many bytes beyond those that were acknowledged have
// arrived, at most pending.
func (u *upload) reopen(pending int64) (got int64, err error) {
	_ = u.Close()
	before := u.off
	for begun := time.Now(); ; {
		if err = u.open(context.Background()); err == nil {
			break
		}
		if time.Since(begun) > reopenWithin || errdefs.IsNotFound(err) {
			return 0, err
		}
		time.Sleep(reopenPause)
	}
	got = u.off - before
	if got < 0 || got > pending {
		err := fmt.Errorf("upload %s was at %d bytes and is at %d", u.id, before, u.off)
		return 0, err
	}
	return got, nil
}

// ReadFrom gathers large writes: io.Copy alone would send 32 KiB a round trip. What came before an error of r counts.
func (u *upload) ReadFrom(r io.Reader) (n int64, err error) {
	bp := steps.Get().(*[]byte)
	defer steps.Put(bp)
	for {
		k, rerr := fill(r, *bp)
		if k > 0 {
			w, werr := u.Write((*bp)[:k])
			n += int64(w)
			if werr != nil {
				return n, werr
			}
		}
		if rerr == io.EOF {
			return n, nil
		}
		if rerr != nil {
			return n, rerr
		}
	}
}

// fill is io.ReadFull, but returns r's own error: io.ErrUnexpectedEOF is what a client that broke off leaves.
func fill(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var k int
		k, err = r.Read(p[n:])
		n += k
	}
	return n, err
}

var steps = sync.Pool{New: func() any { b := make([]byte, writeStep); return &b }}

func (u *upload) Commit(ctx context.Context, want digest.Digest) error {
	defer u.cancel()
	if err := u.s.take(ctx, u.repo, want); err != nil {
		return err
	}
	err := u.w.Commit(ctx, u.off, want)
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("commit upload %s: %w", u.id, native(err))
	}
	return nil
}

func (u *upload) Close() error {
	defer u.cancel()
	if u.w == nil { // opening it again failed
		return nil
	}
	return u.w.Close()
}
