package ctrd

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// Freed is what a collection freed.
type Freed struct {
	Blobs     int   // of the content store
	Snapshots int   // unpacked layers
	Bytes     int64 // on disk, of both
}

// Collect has containerd remove at once what no lease, image or container keeps. It does so by itself as well, now and
// then.
func (s *Blobs) Collect(ctx context.Context) (Freed, error) {
	c, ctx, err := s.connect(ctx)
	if err != nil {
		return Freed{}, err
	}
	before, err := inventory(ctx, c)
	if err != nil {
		return Freed{}, err
	}
	if err := collect(ctx, c); err != nil {
		return Freed{}, fmt.Errorf("collect: %w", err)
	}
	after, err := inventory(ctx, c)
	if err != nil {
		return Freed{}, err
	}
	var out Freed
	for d, size := range before.blobs {
		if _, there := after.blobs[d]; !there {
			out.Blobs++
			out.Bytes += size
		}
	}
	for name, size := range before.snapshots {
		if _, there := after.snapshots[name]; !there {
			out.Snapshots++
			out.Bytes += size
		}
	}
	return out, nil
}

// Discard implements oci.BlobStore. The file goes at once: a push of the same digest would find it else.
func (s *Blobs) Discard(ctx context.Context, d digest.Digest) error {
	c, ctx, err := s.connect(ctx)
	if err != nil {
		return err
	}
	if err := c.ContentStore().Delete(ctx, d); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return collect(ctx, c)
}

// Private

// collect waits for a collection: the end of a lease may ask for one.
func collect(ctx context.Context, c *client.Client) error {
	l, err := c.LeasesService().Create(ctx, leases.WithRandomID())
	if err != nil {
		return err
	}
	return c.LeasesService().Delete(ctx, l, leases.SynchronousDelete)
}

// stock is what there is, with sizes in bytes.
type stock struct {
	blobs     map[digest.Digest]int64
	snapshots map[string]int64
}

func inventory(ctx context.Context, c *client.Client) (stock, error) {
	out := stock{map[digest.Digest]int64{}, map[string]int64{}}
	err := c.ContentStore().Walk(ctx, func(i content.Info) error {
		out.blobs[i.Digest] = i.Size
		return nil
	})
	if err != nil {
		return out, fmt.Errorf("list content: %w", err)
	}
	layers := c.SnapshotService(snapshotter)
	var names []string
	err = layers.Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		if i.Kind == snapshots.KindCommitted { // those of containers are theirs to remove
			names = append(names, i.Name)
		}
		return nil
	})
	if err != nil {
		return out, fmt.Errorf("list snapshots: %w", err)
	}
	for _, n := range names {
		u, err := layers.Usage(ctx, n)
		if errdefs.IsNotFound(err) {
			continue
		}
		if err != nil {
			return out, fmt.Errorf("size of snapshot %s: %w", n, err)
		}
		out.snapshots[n] = u.Size
	}
	return out, nil
}
