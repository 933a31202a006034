package ctrd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lotse-project/lotse/internal/oci"
)

// leasePrefix begins the name of the lease of each repository. What the lease lists, containerd keeps, together with
// whatever that refers to by gc.ref labels: a manifest its config, a config the unpacked snapshots.
//
// These leases have no expiry and are never made anew after a restart: containerd collects 100 ms after it starts.
const leasePrefix = "repo/"

// uploadPrefix begins the names of ingests that take over uploads to the registry.
const uploadPrefix = "upload-"

// writeStep is how many bytes one Write to containerd has. Each is a round trip, and beyond 1 MiB gRPC's buffer pools
// don't help any more. Measured: 64 KiB 85 MB/s, 1 MiB - 4 KiB 282, 4 MiB 180.
const writeStep = 1<<20 - 4<<10

// Blobs is oci.BlobStore on containerd's content store, which builds and tasks use too: a pushed image starts without
// a pull. Layers are written to and read from the store's files, past gRPC: those come into place once complete, are
// never altered, and an open one outlives its removal.
type Blobs struct {
	client    func() (*client.Client, error)
	namespace string
	root      string
	uploads   string // directory of unfinished ones, on the same file system

	mu     sync.Mutex
	leases map[string]bool // by repository: known to exist
}

var _ oci.BlobStore = (*Blobs)(nil)

// NewBlobs makes a store. client gives the client of the moment, or says why there is none. root is the directory of
// containerd's content store (Supervisor.ContentDir). Its layout is no promise of containerd's, but has been the same
// for years, ours is pinned, and the suite would tell; through gRPC reads are several times slower.
func NewBlobs(client func() (*client.Client, error), namespace, root string) *Blobs {
	return &Blobs{client: client, namespace: namespace, root: root, uploads: filepath.Join(filepath.Dir(root), "lotse.uploads"), leases: map[string]bool{}}
}

// Stat implements oci.BlobStore, as does what follows.
func (s *Blobs) Stat(ctx context.Context, d digest.Digest) (int64, error) {
	c, ctx, err := s.connect(ctx)
	if err != nil {
		return 0, err
	}
	i, err := c.ContentStore().Info(ctx, d)
	return i.Size, native(err)
}

func (s *Blobs) Open(_ context.Context, d digest.Digest) (io.ReadSeekCloser, error) {
	if err := d.Validate(); err != nil { // it becomes a path
		return nil, err
	}
	f, err := os.Open(s.path(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob %s: %w", d, oci.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Hold first takes, then looks: the other way round the collector may come in between.
func (s *Blobs) Hold(ctx context.Context, repo string, d digest.Digest) error {
	if err := s.take(ctx, repo, d); err != nil {
		return err
	}
	_, err := s.Stat(ctx, d)
	if errors.Is(err, oci.ErrNotFound) {
		return errors.Join(err, s.Release(ctx, repo, d))
	}
	return err
}

func (s *Blobs) Release(ctx context.Context, repo string, d digest.Digest) error {
	c, ctx, err := s.connect(ctx)
	if err != nil {
		return err
	}
	err = c.LeasesService().DeleteResource(ctx, leases.Lease{ID: leasePrefix + repo}, resource(d))
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

func (s *Blobs) Holds(ctx context.Context) (map[string][]digest.Digest, error) {
	c, ctx, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	all, err := c.LeasesService().List(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string][]digest.Digest{}
	for _, l := range all {
		repo, ok := strings.CutPrefix(l.ID, leasePrefix)
		if !ok {
			continue
		}
		rs, err := c.LeasesService().ListResources(ctx, l)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out[repo] = nil
		for _, r := range rs {
			if r.Type == "content" {
				out[repo] = append(out[repo], digest.Digest(r.ID))
			}
		}
	}
	return out, nil
}

func (s *Blobs) Forget(ctx context.Context, repo string) error {
	c, ctx, err := s.connect(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.leases, repo)
	s.mu.Unlock()
	err = c.LeasesService().Delete(ctx, leases.Lease{ID: leasePrefix + repo})
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// PutManifest labels the manifest with what it names, so that a container made from it keeps all of it. A new one joins
// the repository's lease in the transaction that makes it visible; one that is there is held first, and then labelled.
func (s *Blobs) PutManifest(ctx context.Context, repo string, d ocispec.Descriptor, raw []byte, children []digest.Digest) error {
	labels := map[string]string{}
	var fields []string
	for i, c := range children {
		k := fmt.Sprintf("containerd.io/gc.ref.content.%d", i)
		labels[k] = c.String()
		fields = append(fields, "labels."+k)
	}
	if s.has(d.Digest) { // as with layers, see upload.Commit
		if err := s.take(ctx, repo, d.Digest); err != nil {
			return err
		}
	}
	err := s.leased(ctx, repo, func(ctx context.Context, c *client.Client) error {
		return write(ctx, c.ContentStore(), d, raw, labels)
	})
	if !errdefs.IsAlreadyExists(err) {
		return err
	}
	if err := s.Hold(ctx, repo, d.Digest); err != nil {
		return err
	}
	if len(fields) == 0 {
		return nil
	}
	c, ctx, err := s.connect(ctx)
	if err != nil {
		return err
	}
	_, err = c.ContentStore().Update(ctx, content.Info{Digest: d.Digest, Labels: labels}, fields...)
	return native(err)
}

// Private

// has tells whether a blob's file is there.
func (s *Blobs) has(d digest.Digest) bool {
	_, err := os.Stat(s.path(d))
	return err == nil
}

func (s *Blobs) path(d digest.Digest) string {
	return filepath.Join(s.root, "blobs", d.Algorithm().String(), d.Encoded())
}

func (s *Blobs) connect(ctx context.Context) (*client.Client, context.Context, error) {
	c, err := s.client()
	if err != nil {
		return nil, nil, fmt.Errorf("content store: %w", err)
	}
	return c, namespaces.WithNamespace(ctx, s.namespace), nil
}

func resource(d digest.Digest) leases.Resource {
	return leases.Resource{ID: d.String(), Type: "content"}
}

// write stores a small document. Unlike content.WriteBlob it tells when that was there already.
func write(ctx context.Context, cs content.Store, d ocispec.Descriptor, raw []byte, labels map[string]string) error {
	w, err := content.OpenWriter(ctx, cs, content.WithRef("manifest-"+d.Digest.String()), content.WithDescriptor(d))
	if err != nil {
		return err
	}
	defer w.Close()
	st, err := w.Status()
	if err == nil && st.Offset > 0 { // a server that was killed left it
		err = w.Truncate(0)
	}
	if err == nil {
		_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{bytes.NewReader(raw)}, make([]byte, min(len(raw)+1, writeStep)))
	}
	if err != nil {
		return err
	}
	return w.Commit(ctx, d.Size, d.Digest, content.WithLabels(labels))
}

// take adds a blob to the repository's lease, whether or not it exists (yet). "Already exists" is no hold: containerd
// answers that without adding the blob to the lease.
func (s *Blobs) take(ctx context.Context, repo string, d digest.Digest) error {
	return s.leased(ctx, repo, func(ctx context.Context, c *client.Client) error {
		return c.LeasesService().AddResource(ctx, leases.Lease{ID: leasePrefix + repo}, resource(d))
	})
}

// leased calls fn with the repository's lease in the context: whatever is written there joins the lease in the same
// transaction. If the lease is gone it is made, and fn called once more.
func (s *Blobs) leased(ctx context.Context, repo string, fn func(context.Context, *client.Client) error) error {
	c, ctx, err := s.connect(ctx)
	if err != nil {
		return err
	}
	ctx = leases.WithLease(ctx, leasePrefix+repo)
	if s.known(repo) {
		if err := fn(ctx, c); !errdefs.IsNotFound(err) {
			return native(err)
		}
	}
	_, err = c.LeasesService().Create(ctx, leases.WithID(leasePrefix+repo))
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("lease of repository %s: %w", repo, err)
	}
	s.mu.Lock()
	s.leases[repo] = true
	s.mu.Unlock()
	return native(fn(ctx, c))
}

func (s *Blobs) known(repo string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leases[repo]
}

// native translates containerd's errors into the registry's.
func native(err error) error {
	switch {
	case err == nil:
		return nil
	case errdefs.IsNotFound(err):
		return fmt.Errorf("%w: %w", oci.ErrNotFound, err)
	case errdefs.IsFailedPrecondition(err):
		return fmt.Errorf("%w: %w", oci.ErrDigestMismatch, err)
	case strings.Contains(err.Error(), syscall.ENOSPC.Error()): // gRPC leaves the text alone
		return fmt.Errorf("%w: %w", syscall.ENOSPC, err)
	}
	return err
}
