// Package ocitest has stand-ins for what a registry is made of, and the suites that they and the real
// things pass.
package ocitest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lotse-project/lotse/internal/oci"
)

// A DirStore keeps blobs in files of a directory. What nobody holds is gone at once: a stricter
// collector than any real one.
type DirStore struct {
	mu  sync.Mutex
	dir string
	// Written counts the bytes that came in through uploads and manifests.
	Written int64
}

// NewDirStore makes a store in an existing directory, or finds the one that is there.
func NewDirStore(dir string) *DirStore {
	for _, d := range []string{"blobs", "uploads", "holds"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			panic(err)
		}
	}
	return &DirStore{dir: dir}
}

var _ oci.BlobStore = (*DirStore)(nil)

// Path is the file of a blob.
func (s *DirStore) Path(d digest.Digest) string { return s.blob(d) }

// Stat is part of oci.BlobStore, as is what follows.
func (s *DirStore) Stat(_ context.Context, d digest.Digest) (int64, error) {
	fi, err := os.Stat(s.blob(d))
	if err != nil {
		return 0, notFound(err)
	}
	return fi.Size(), nil
}

func (s *DirStore) Open(_ context.Context, d digest.Digest) (io.ReadSeekCloser, error) {
	f, err := os.Open(s.blob(d))
	if err != nil {
		return nil, notFound(err)
	}
	return f, nil
}

func (s *DirStore) Hold(_ context.Context, repo string, d digest.Digest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := os.Stat(s.blob(d)); err != nil {
		return notFound(err)
	}
	return s.holdLocked(repo, d)
}

func (s *DirStore) Release(_ context.Context, repo string, d digest.Digest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := os.Remove(filepath.Join(s.holds(repo), d.String()))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	left, err := filepath.Glob(filepath.Join(s.dir, "holds", "*", d.String()))
	if err != nil || len(left) > 0 {
		return err
	}
	if err := os.Remove(s.blob(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (s *DirStore) Holds(context.Context) (map[string][]digest.Digest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	repos, err := os.ReadDir(filepath.Join(s.dir, "holds"))
	if err != nil {
		return nil, err
	}
	out := map[string][]digest.Digest{}
	for _, r := range repos {
		repo, err := url.PathUnescape(r.Name())
		if err != nil {
			return nil, err
		}
		held, err := os.ReadDir(filepath.Join(s.dir, "holds", r.Name()))
		if err != nil {
			return nil, err
		}
		out[repo] = nil
		for _, h := range held {
			out[repo] = append(out[repo], digest.Digest(h.Name()))
		}
	}
	return out, nil
}

func (s *DirStore) Forget(_ context.Context, repo string) error {
	err := os.Remove(s.holds(repo))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (s *DirStore) Discard(_ context.Context, d digest.Digest) error {
	if err := os.Remove(s.blob(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (s *DirStore) Begin(_ context.Context, repo, id string) (oci.Upload, error) {
	return s.open(repo, id, os.O_CREATE|os.O_EXCL)
}

func (s *DirStore) Resume(_ context.Context, repo, id string) (oci.Upload, error) {
	return s.open(repo, id, 0)
}

func (s *DirStore) Abort(_ context.Context, id string) error {
	return notFound(os.Remove(s.upload(id)))
}

func (s *DirStore) Uploads(context.Context) ([]oci.UploadInfo, error) {
	files, err := os.ReadDir(filepath.Join(s.dir, "uploads"))
	if err != nil {
		return nil, err
	}
	var out []oci.UploadInfo
	for _, f := range files {
		fi, err := f.Info()
		if err != nil {
			continue // gone in the meantime
		}
		out = append(out, oci.UploadInfo{ID: f.Name(), Size: fi.Size(), Updated: fi.ModTime()})
	}
	return out, nil
}

func (s *DirStore) PutManifest(_ context.Context, repo string, d ocispec.Descriptor, raw []byte, _ []digest.Digest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := d.Digest.Algorithm().FromBytes(raw); got != d.Digest {
		return fmt.Errorf("manifest is %s: %w", got, oci.ErrDigestMismatch)
	}
	s.Written += int64(len(raw))
	if err := os.WriteFile(s.blob(d.Digest), raw, 0o644); err != nil {
		return err
	}
	return s.holdLocked(repo, d.Digest)
}

// Private

func (s *DirStore) blob(d digest.Digest) string { return filepath.Join(s.dir, "blobs", d.String()) }
func (s *DirStore) upload(id string) string     { return filepath.Join(s.dir, "uploads", id) }
func (s *DirStore) holds(repo string) string {
	return filepath.Join(s.dir, "holds", url.PathEscape(repo))
}

func (s *DirStore) holdLocked(repo string, d digest.Digest) error {
	if err := os.MkdirAll(s.holds(repo), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.holds(repo), d.String()), nil, 0o644)
}

func notFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return oci.ErrNotFound
	}
	return err
}

type dirUpload struct {
	s    *DirStore
	repo string
	f    *os.File
	off  int64
}

func (s *DirStore) open(repo, id string, flag int) (oci.Upload, error) {
	f, err := os.OpenFile(s.upload(id), os.O_RDWR|flag, 0o644)
	if err != nil {
		return nil, notFound(err)
	}
	off, err := f.Seek(0, io.SeekEnd)
	return &dirUpload{s, repo, f, off}, err
}

func (u *dirUpload) Offset() int64 { return u.off }

func (u *dirUpload) Write(p []byte) (int, error) {
	n, err := u.f.Write(p)
	u.off += int64(n)
	u.s.mu.Lock()
	u.s.Written += int64(n)
	u.s.mu.Unlock()
	return n, err
}

func (u *dirUpload) Commit(_ context.Context, want digest.Digest) error {
	defer u.f.Close()
	v := want.Verifier()
	if _, err := u.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(v, u.f); err != nil {
		return err
	}
	if !v.Verified() {
		return fmt.Errorf("%w %s", oci.ErrDigestMismatch, want)
	}
	u.s.mu.Lock()
	defer u.s.mu.Unlock()
	if err := os.Rename(u.f.Name(), u.s.blob(want)); err != nil {
		return err
	}
	return u.s.holdLocked(u.repo, want)
}

func (u *dirUpload) Close() error { return u.f.Close() }
