package oci

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Annotation of images that docker and containerd write into a layout's index.
const annotationImageName = "io.containerd.image.name"

// Private

// layout finds the image of an OCI layout. All blobs are stored and checked already.
func (i *importer) layout(_ context.Context) (digest.Digest, error) {
	var l ocispec.ImageLayout
	if err := json.Unmarshal(i.small["oci-layout"], &l); err != nil {
		return "", fmt.Errorf("oci-layout: %w", err)
	}
	if l.Version != ocispec.ImageLayoutVersion {
		return "", fmt.Errorf("oci-layout: version %q is not %s", l.Version, ocispec.ImageLayoutVersion)
	}
	var idx ocispec.Index
	if err := json.Unmarshal(i.small["index.json"], &idx); err != nil {
		return "", fmt.Errorf("index.json: %w", err)
	}
	d, err := i.choose(idx.Manifests)
	if err != nil {
		return "", err
	}
	if err := d.Digest.Validate(); err != nil {
		return "", fmt.Errorf("index.json: digest %q: %w", d.Digest, err)
	}
	if _, _, err := i.find(layoutPath(d.Digest)); err != nil {
		return "", fmt.Errorf("index.json: %w", err)
	}
	return d.Digest, nil
}

func layoutPath(d digest.Digest) string { return "blobs/" + d.Algorithm().String() + "/" + d.Encoded() }

// choose takes the only image, or among several the one with the name that is asked for.
func (i *importer) choose(ms []ocispec.Descriptor) (ocispec.Descriptor, error) {
	if len(ms) == 0 {
		return ocispec.Descriptor{}, fmt.Errorf("index.json: it names no image")
	}
	if same(ms) {
		return ms[0], nil
	}
	var names []string
	for _, m := range ms {
		full, short := m.Annotations[annotationImageName], m.Annotations[ocispec.AnnotationRefName]
		if i.named(full) || i.named(short) || (full == "" && short != "" && short == i.ref.Tag) {
			return m, nil
		}
		names = append(names, firstOf(full, short, m.Digest.String()))
	}
	return ocispec.Descriptor{}, i.ambiguous(names)
}

// named tells whether s is the name that is asked for.
func (i *importer) named(s string) bool {
	if s == "" {
		return false
	}
	r, err := ParseReference(s)
	return err == nil && r.Host == i.ref.Host && r.Path == i.ref.Path && r.Tag == i.ref.Tag
}

func (i *importer) ambiguous(names []string) error {
	return fmt.Errorf("the archive holds several images (%s) and none is named %s: save one alone, or import it by its own name", strings.Join(names, ", "), i.ref)
}

func same(ms []ocispec.Descriptor) bool {
	for _, m := range ms {
		if m.Digest != ms[0].Digest {
			return false
		}
	}
	return true
}

func firstOf(ss ...string) string {
	for _, s := range ss {
		if s != "" {
			return s
		}
	}
	return ""
}
