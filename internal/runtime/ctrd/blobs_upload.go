package ctrd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/lotse-project/lotse/internal/oci"
)

const (
	// writeStep is how many bytes one Write of ours has. Each is a round trip, and beyond 1 MiB gRPC's buffer pools
	// don't help any more. Measured: 64 KiB 85 MB/s, 1 MiB - 4 KiB 282, 4 MiB 180.
	writeStep = 1<<20 - 4<<10
	// reopenWithin is how long an upload waits for containerd to come back.
	reopenWithin = 15 * time.Second
	reopenPause  = 100 * time.Millisecond
	// directFrom is the size from which on an upload is written to its file, past containerd. Large ones come twice as
	// fast so; for small ones the detour costs more than it saves.
	directFrom = 4 << 20
	abortTries = 10
	abortPause = 10 * time.Millisecond
)

// Begin implements oci.BlobStore, as does what follows.
func (s *Blobs) Begin(ctx context.Context, repo, id string) (oci.Upload, error) {
	return s.writer(ctx, repo, id)
}

func (s *Blobs) Resume(ctx context.Context, repo, id string) (oci.Upload, error) {
	c, nctx, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	st, err := c.ContentStore().Status(nctx, uploadPrefix+id)
	if err != nil {
		return nil, native(err)
	}
	if st.Offset >= directFrom {
		u := &upload{s: s, repo: repo, id: id, off: st.Offset}
		u.f, err = u.file()
		return u, err
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
//
// A small one is written through containerd. Of a large one containerd sees the beginning and the end: in between its
// file is appended to, and before the commit containerd hashes it, as it does with every ingest that it opens again.
type upload struct {
	s        *Blobs
	repo, id string
	w        content.Writer // nil: not open, or f is
	f        *os.File       // the ingest's file
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
	if u.w != nil && u.off+int64(len(p)) > directFrom {
		if err := u.direct(); err != nil {
			return 0, err
		}
	}
	if u.f != nil {
		n, err = u.f.Write(p)
		// The disk begins at once, not with the commit, which waits for it.
		_ = unix.SyncFileRange(int(u.f.Fd()), u.off, int64(n), unix.SYNC_FILE_RANGE_WRITE)
		u.off += int64(n)
		return n, err
	}
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

// direct goes on without containerd, if its file is where it is expected and as it should be.
func (u *upload) direct() error {
	f, err := u.file()
	if err != nil {
		return err
	}
	_ = u.w.Close()
	u.cancel()
	u.w, u.f = nil, f
	return nil
}

// file finds the file of the ingest, which must have all that came so far, no less and no more.
func (u *upload) file() (*os.File, error) {
	dir, err := u.s.ingest(u.id)
	if err != nil {
		return nil, fmt.Errorf("open upload %s: %w", u.id, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "data"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, fmt.Errorf("open upload %s: %w", u.id, err)
	}
	i, err := f.Stat()
	if err == nil && i.Size() != u.off {
		err = fmt.Errorf("its file has %d bytes, not %d", i.Size(), u.off)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open upload %s: %w", u.id, err)
	}
	return f, nil
}

// ingest is the directory of an upload. containerd names it by a hash of a name that it makes up and writes into it.
func (s *Blobs) ingest(id string) (string, error) {
	root := filepath.Join(s.root, "ingest")
	dirs, err := os.ReadDir(root)
	if err != nil {
		return "", err
	}
	for _, d := range dirs {
		ref, err := os.ReadFile(filepath.Join(root, d.Name(), "ref"))
		if err == nil && strings.HasPrefix(string(ref), s.namespace+"/") && strings.HasSuffix(string(ref), "/"+uploadPrefix+id) {
			return filepath.Join(root, d.Name()), nil
		}
	}
	return "", fmt.Errorf("no ingest of upload %s: %w", id, oci.ErrNotFound)
}

// handBack has containerd open, and so hash, what was written to the file.
func (u *upload) handBack() error {
	err := u.f.Close()
	u.f = nil
	if err == nil {
		_, err = u.reopen(0)
	}
	return err
}

// Commit holds new content in the transaction that makes it visible, since the upload is in the repository's lease. What is
// there already is held before: it may be about to be collected, and containerd keeps what was there, not what came.
func (u *upload) Commit(ctx context.Context, want digest.Digest) error {
	if u.f != nil {
		if err := u.handBack(); err != nil {
			return err
		}
	}
	defer u.cancel()
	if u.s.has(want) {
		if err := u.s.take(ctx, u.repo, want); err != nil {
			return err
		}
	}
	err := u.w.Commit(ctx, u.off, want)
	if errdefs.IsAlreadyExists(err) {
		return u.s.Hold(ctx, u.repo, want)
	}
	if err != nil {
		return fmt.Errorf("commit upload %s: %w", u.id, native(err))
	}
	return nil
}

func (u *upload) Close() error {
	switch {
	case u.f != nil:
		return u.f.Close()
	case u.w == nil: // opening it again failed
		return nil
	}
	defer u.cancel()
	return u.w.Close()
}
