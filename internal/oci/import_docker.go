package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Private

// savedImage is one entry of docker save's manifest.json.
type savedImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// dockerSave makes an OCI manifest for the image that manifest.json describes. The layers stay as they
// are in the archive; the config's diff ids tell whether they are the right ones.
func (i *importer) dockerSave(ctx context.Context) (digest.Digest, error) {
	var saved []savedImage
	if err := json.Unmarshal(i.small["manifest.json"], &saved); err != nil {
		return "", fmt.Errorf("manifest.json: not as docker save writes it: %w", err)
	}
	img, err := i.chooseSaved(saved)
	if err != nil {
		return "", err
	}
	config, raw, err := i.savedConfig(ctx, img.Config)
	if err != nil {
		return "", err
	}
	var c ocispec.Image
	if err := json.Unmarshal(raw, &c); err != nil {
		return "", fmt.Errorf("config %s: %w", img.Config, err)
	}
	if len(c.RootFS.DiffIDs) != len(img.Layers) {
		return "", fmt.Errorf("config %s names %d layers, manifest.json %d", img.Config, len(c.RootFS.DiffIDs), len(img.Layers))
	}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: config.Digest, Size: config.Size},
		Layers: []ocispec.Descriptor{},
	}
	for n, name := range img.Layers {
		l, err := i.layer(ctx, name, c.RootFS.DiffIDs[n])
		if err != nil {
			return "", fmt.Errorf("layer %s: %w", name, err)
		}
		m.Layers = append(m.Layers, l)
	}
	return i.putManifest(ctx, m)
}

func (i *importer) chooseSaved(saved []savedImage) (savedImage, error) {
	if len(saved) == 0 {
		return savedImage{}, errors.New("manifest.json: it names no image")
	}
	if len(saved) == 1 {
		return saved[0], nil
	}
	var names []string
	for _, s := range saved {
		for _, t := range s.RepoTags {
			if i.named(t) {
				return s, nil
			}
		}
		names = append(names, firstOf(append(s.RepoTags, s.Config)...))
	}
	return savedImage{}, i.ambiguous(names)
}

// savedConfig finds the config, which lies as a document at the top, or as a blob.
func (i *importer) savedConfig(ctx context.Context, name string) (Blob, []byte, error) {
	if raw, ok := i.small[name]; ok {
		b, err := i.put(ctx, raw)
		return b, raw, err
	}
	b, _, err := i.find(name)
	if err != nil {
		return b, nil, err
	}
	raw, err := i.g.Raw(ctx, b.Digest)
	return b, raw, err
}

// layer checks that a layer, unpacked, is the one that the config names.
func (i *importer) layer(ctx context.Context, name string, diffID digest.Digest) (ocispec.Descriptor, error) {
	b, _, err := i.find(name)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if err := diffID.Validate(); err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("diff id %q: %w", diffID, err)
	}
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: b.Digest, Size: b.Size}
	if b.Digest == diffID {
		return d, nil
	}
	f, err := i.g.o.Blobs.Open(ctx, b.Digest)
	if err != nil {
		return d, err
	}
	defer f.Close()
	plain, err := decompress(f)
	if err != nil {
		return d, err
	}
	defer plain.Close()
	v := diffID.Verifier()
	if _, err := io.Copy(v, plain); err != nil {
		return d, err
	}
	if !v.Verified() {
		return d, fmt.Errorf("its content is not %s, which the config names: %w", diffID, ErrDigestMismatch)
	}
	switch plain.format {
	case formatGzip:
		d.MediaType = ocispec.MediaTypeImageLayerGzip
	case formatZstd:
		d.MediaType = ocispec.MediaTypeImageLayerZstd
	}
	return d, nil
}

func (i *importer) putManifest(ctx context.Context, m ocispec.Manifest) (digest.Digest, error) {
	raw, err := json.Marshal(m)
	if err != nil {
		return "", err
	}
	parsed, err := i.g.Put(ctx, i.repo, raw, m.MediaType, "")
	return parsed.Digest, err
}
