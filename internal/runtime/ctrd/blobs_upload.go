package ctrd

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
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
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/lotse-project/lotse/internal/oci"
)

const (
	// uploadStep is how much of an upload is hashed, written and read at once: little enough to stay in the processor's cache.
	uploadStep = 64 << 10
	// flushStep is how much is written before the disk is told to begin: the commit waits for all of it.
	flushStep = 4 << 20
	// commitWithin is how long a commit waits for containerd to come back.
	commitWithin = 15 * time.Second
	commitPause  = 100 * time.Millisecond
	// newSuffix is of a second name of an upload's file, which is about to become the blob's.
	newSuffix = ".new"
)

// Begin implements oci.BlobStore, as does what follows.
func (s *Blobs) Begin(_ context.Context, repo, id string) (oci.Upload, error) {
	if err := os.MkdirAll(s.uploads, 0o700); err != nil {
		return nil, err
	}
	return s.openUpload(repo, id, os.O_CREATE|os.O_EXCL)
}

func (s *Blobs) Resume(_ context.Context, repo, id string) (oci.Upload, error) {
	u, err := s.openUpload(repo, id, 0)
	if err != nil {
		return nil, err
	}
	if u.off, err = io.Copy(u.hash, u.f); err != nil {
		u.f.Close()
		return nil, fmt.Errorf("open upload %s: %w", id, err)
	}
	return u, nil
}

// Abort removes the file last: it is what tells of the upload.
func (s *Blobs) Abort(ctx context.Context, id string) error {
	var named bool // among the blobs
	if i, err := os.Stat(s.uploadPath(id)); err == nil {
		st, ok := i.Sys().(*syscall.Stat_t)
		named = ok && st.Nlink > 1
	}
	c, nctx, err := s.connect(ctx)
	if err != nil {
		return err
	}
	if err := c.ContentStore().Abort(nctx, uploadPrefix+id); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	if named {
		if err := s.sweep(ctx); err != nil {
			return err
		}
	}
	return s.removeUpload(id)
}

func (s *Blobs) Uploads(context.Context) ([]oci.UploadInfo, error) {
	files, err := os.ReadDir(s.uploads)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out []oci.UploadInfo
	for _, f := range files {
		i, err := f.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, oci.UploadInfo{ID: strings.TrimSuffix(f.Name(), newSuffix), Size: i.Size(), Updated: i.ModTime()})
	}
	return out, nil
}

// Private

// upload is a file beside containerd's content store, which gets a name in there once it is whole and of the right digest.
// containerd is told then, and takes the file as content that another of its namespaces brought: the bytes are hashed once,
// on their way, and go through nobody else's hands.
type upload struct {
	s        *Blobs
	repo, id string
	f        *os.File
	off      int64
	flushed  int64     // bytes that the disk was told of
	hash     hash.Hash // SHA-256 of all that came
	err      error     // of writing; Resume finds out how much was written
}

func (s *Blobs) uploadPath(id string) string { return filepath.Join(s.uploads, filepath.Base(id)) }

func (s *Blobs) openUpload(repo, id string, flags int) (*upload, error) {
	f, err := os.OpenFile(s.uploadPath(id), os.O_RDWR|flags, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", oci.ErrNotFound, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open upload %s: %w", id, err)
	}
	return &upload{s: s, repo: repo, id: id, f: f, hash: sha256.New()}, nil
}

func (s *Blobs) removeUpload(id string) error {
	if err := os.Remove(s.uploadPath(id) + newSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := os.Remove(s.uploadPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", oci.ErrNotFound, err)
	}
	return err
}

// sweep has containerd remove files of which it doesn't know. It looks for such when content was deleted.
func (s *Blobs) sweep(ctx context.Context) error {
	c, ctx, err := s.connect(ctx)
	if err != nil {
		return err
	}
	raw := []byte(rand.Text())
	d := ocispec.Descriptor{Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	if err := write(ctx, c.ContentStore(), d, raw, nil); err != nil {
		return err
	}
	if err := c.ContentStore().Delete(ctx, d.Digest); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return collect(ctx, c)
}

func (u *upload) Offset() int64 { return u.off }

func (u *upload) Write(p []byte) (int, error) {
	n, err := u.write(p)
	u.hash.Write(p[:n])
	return n, err
}

// write leaves the hash to the caller.
func (u *upload) write(p []byte) (n int, err error) {
	if u.err != nil {
		return 0, u.err
	}
	n, u.err = u.f.Write(p)
	if u.off += int64(n); u.off-u.flushed >= flushStep {
		_ = unix.SyncFileRange(int(u.f.Fd()), u.flushed, u.off-u.flushed, unix.SYNC_FILE_RANGE_WRITE)
		u.flushed = u.off
	}
	return n, u.err
}

// ReadFrom reads, hashes and writes a part at a time. What came before an error of r counts.
func (u *upload) ReadFrom(r io.Reader) (n int64, err error) {
	part := steps.Get().(*[]byte)
	defer steps.Put(part)
	for {
		k, rerr := fill(r, *part)
		w, err := u.Write((*part)[:k])
		n += int64(w)
		if err != nil {
			return n, err
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

var steps = sync.Pool{New: func() any { b := make([]byte, uploadStep); return &b }}

func (u *upload) Close() error { return u.f.Close() }

// Commit waits for a containerd that restarts, and tries again when its collector came in between.
func (u *upload) Commit(ctx context.Context, want digest.Digest) error {
	defer u.Close()
	if err := u.check(want); err != nil {
		return err
	}
	for begun := time.Now(); ; {
		err := u.commit(ctx, want)
		if err == nil {
			_ = u.s.removeUpload(u.id) // nothing refers to it: the registry's collector would remove it, too
			return nil
		}
		if time.Since(begun) > commitWithin || !errdefs.IsUnavailable(err) && !errors.Is(err, ErrNotRunning) && !errors.Is(err, errCollected) {
			return fmt.Errorf("commit upload %s: %w", u.id, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(commitPause):
		}
	}
}

// check compares what came with the digest that it shall have.
func (u *upload) check(want digest.Digest) error {
	if u.err != nil {
		return u.err
	}
	if err := want.Validate(); err != nil { // it becomes a path
		return fmt.Errorf("%w: %w", oci.ErrDigestMismatch, err)
	}
	got := digest.NewDigest(digest.SHA256, u.hash)
	if a := want.Algorithm(); a != digest.SHA256 {
		var err error
		if got, err = a.FromReader(io.NewSectionReader(u.f, 0, u.off)); err != nil {
			return err
		}
	}
	if got != want {
		return fmt.Errorf("the content is %s, not %s: %w", got, want, oci.ErrDigestMismatch)
	}
	return nil
}

// errCollected says that containerd removed a file of which it didn't know yet.
var errCollected = errors.New("the blob's file was collected")

// commit holds new content in the transaction that makes it visible. What is there already is held before one looks: it may
// be about to be collected.
func (u *upload) commit(ctx context.Context, want digest.Digest) error {
	if u.s.has(want) {
		if err := u.s.take(ctx, u.repo, want); err != nil {
			return err
		}
		if _, err := u.s.Stat(ctx, want); !errors.Is(err, oci.ErrNotFound) {
			return err
		}
	}
	if err := u.place(want); err != nil {
		return err
	}
	err := u.s.leased(ctx, u.repo, func(ctx context.Context, c *client.Client) error {
		ref, cs := uploadPrefix+u.id, c.ContentStore()
		w, err := cs.Writer(ctx, content.WithRef(ref), content.WithDescriptor(ocispec.Descriptor{Digest: want, Size: u.off}))
		if err != nil {
			return err
		}
		defer w.Close()
		err = w.Commit(ctx, u.off, want)
		if errdefs.IsFailedPrecondition(err) { // it didn't find the file, and began an empty one
			return errors.Join(errCollected, cs.Abort(ctx, ref))
		}
		return err
	})
	if errdefs.IsAlreadyExists(err) {
		return u.s.Hold(ctx, u.repo, want)
	}
	return err
}

// place gives the file its name among the blobs. What has the name, and is unknown to containerd, is what a crash left. When
// it returns, both content and name are on the disk: on the file systems in use fsync brings the names of a file, too.
func (u *upload) place(d digest.Digest) error {
	path, own := u.s.path(d), u.f.Name()
	if err := u.f.Chmod(0o444); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	err := os.Link(own, path)
	if errors.Is(err, fs.ErrExist) {
		// Another upload of the same may have put it there, and have told its client.
		if err := u.f.Sync(); err != nil {
			return err
		}
		if err := os.Link(own, own+newSuffix); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		err = os.Rename(own+newSuffix, path)
	}
	if err != nil {
		return err
	}
	return u.f.Sync()
}
