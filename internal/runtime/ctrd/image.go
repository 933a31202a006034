package ctrd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lotse-project/lotse/internal/runtime"
)

// snapshotter unpacks images and gives containers their root file systems.
const snapshotter = "overlayfs"

// prepareLease is how long a killed Prepare's half-unpacked layers are kept.
const prepareLease = time.Hour

// image is an image of the content store, resolved for this machine's platform.
type image struct {
	client.Image
	config  ocispec.Image
	content []digest.Digest // manifest and config, what a task must hold
	chain   string          // name of the snapshot with all layers
}

// Prepare implements runtime.Engine.
func (e *Engine) Prepare(ctx context.Context, i runtime.Image) error {
	c, ctx, err := e.client(ctx)
	if err != nil {
		return err
	}
	ctx, release, err := c.WithLease(ctx, leases.WithRandomID(), leases.WithExpiration(prepareLease))
	if err != nil {
		return fmt.Errorf("prepare image %s: %w", i.Name, err)
	}
	defer func() { _ = release(context.WithoutCancel(ctx)) }()
	_, err = e.image(ctx, c, i)
	return err
}

// Private

// image finds the image and unpacks it when it isn't. A lease in ctx keeps the result.
func (e *Engine) image(ctx context.Context, c *client.Client, i runtime.Image) (*image, error) {
	img, err := e.unpacked(ctx, c, i)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", cmp.Or(i.Name, i.Digest), err)
	}
	return img, nil
}

func (e *Engine) unpacked(ctx context.Context, c *client.Client, i runtime.Image) (*image, error) {
	img, err := resolve(ctx, c, i)
	if err != nil {
		return nil, err
	}
	defer e.s.images.lock(img.chain)()
	done, err := img.IsUnpacked(ctx, snapshotter)
	if err != nil || done {
		return img, err
	}
	begun := time.Now()
	err = img.Unpack(ctx, snapshotter)
	if errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("%w: %w", runtime.ErrNoImage, err)
	}
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", classify(err))
	}
	e.s.o.Log.Info("image unpacked", "image", i.Name, "digest", i.Digest, "took", time.Since(begun))
	return img, nil
}

func resolve(ctx context.Context, c *client.Client, i runtime.Image) (*image, error) {
	target, err := descriptor(ctx, c.ContentStore(), i)
	if err != nil {
		return nil, err
	}
	// No image record: content is kept by the leases of repositories and tasks.
	img := &image{Image: client.NewImage(c, images.Image{Name: cmp.Or(i.Name, i.Digest), Target: target})}
	manifest, err := images.Manifest(ctx, c.ContentStore(), target, img.Platform())
	if errdefs.IsNotFound(err) {
		return nil, missing(ctx, c, target, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", runtime.ErrUnrunnable, err)
	}
	b, err := content.ReadBlob(ctx, c.ContentStore(), manifest.Config)
	if errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("%w: configuration %s", runtime.ErrNoImage, manifest.Config.Digest)
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &img.config); err != nil {
		return nil, fmt.Errorf("%w: configuration %s: %w", runtime.ErrUnrunnable, manifest.Config.Digest, err)
	}
	img.content = []digest.Digest{target.Digest, manifest.Config.Digest}
	img.chain = identity.ChainID(img.config.RootFS.DiffIDs).String()
	return img, nil
}

// descriptor completes what the caller did not know.
func descriptor(ctx context.Context, store content.Store, i runtime.Image) (ocispec.Descriptor, error) {
	d, err := digest.Parse(i.Digest)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("%w: digest %q: %w", runtime.ErrNoImage, i.Digest, err)
	}
	info, err := store.Info(ctx, d)
	if errdefs.IsNotFound(err) {
		return ocispec.Descriptor{}, fmt.Errorf("%w: %s", runtime.ErrNoImage, d)
	}
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc := ocispec.Descriptor{MediaType: i.MediaType, Digest: d, Size: info.Size}
	if desc.MediaType != "" {
		return desc, nil
	}
	b, err := content.ReadBlob(ctx, store, desc)
	if err != nil {
		return desc, err
	}
	var m struct {
		MediaType string            `json:"mediaType"`
		Manifests []json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return desc, fmt.Errorf("%w: %s is no manifest: %w", runtime.ErrUnrunnable, d, err)
	}
	desc.MediaType = cmp.Or(m.MediaType, ocispec.MediaTypeImageManifest)
	if m.MediaType == "" && m.Manifests != nil {
		desc.MediaType = ocispec.MediaTypeImageIndex
	}
	return desc, nil
}

// missing tells apart why there is no manifest for this platform: it is not listed, or listed and not there.
func missing(ctx context.Context, c *client.Client, target ocispec.Descriptor, cause error) error {
	platform := platforms.Default()
	has, err := images.Platforms(ctx, c.ContentStore(), target)
	if err != nil || slices.ContainsFunc(has, platform.Match) {
		return fmt.Errorf("%w: %w", runtime.ErrNoImage, errors.Join(cause, err))
	}
	var names []string
	for _, p := range has {
		names = append(names, platforms.Format(p))
	}
	return fmt.Errorf("%w: it has no manifest for platform %s, only for %v", runtime.ErrUnrunnable, platforms.DefaultString(), names)
}
