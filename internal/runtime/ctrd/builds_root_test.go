package ctrd

import (
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/core/leases"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A record holds an image as a whole or not at all.
func TestHoldImage(t *testing.T) {
	l := newLab(t)
	c, err := l.sup.Client()
	if err != nil {
		t.Fatal(err)
	}
	ctx := l.ctx(t)
	desc, err := descriptor(ctx, c.ContentStore(), l.Image)
	if err != nil {
		t.Fatal(err)
	}
	if held, err := l.sup.HoldImage(ctx, "test/held", desc); err != nil || !held {
		t.Fatalf("HoldImage() = %v, %v, want true", held, err)
	}
	if err := c.LeasesService().Delete(ctx, leases.Lease{ID: "repo/test"}, leases.SynchronousDelete); err != nil {
		t.Fatal(err)
	}
	l.collect(t)
	if err := l.engine.Prepare(t.Context(), l.Image); err != nil {
		t.Errorf("Prepare of what the record holds = %v", err)
	}
	layerless := newBlob(ocispec.MediaTypeImageManifest, ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: desc, Layers: []ocispec.Descriptor{newBlob(ocispec.MediaTypeImageLayer, []byte("not there")).desc}})
	broken := l.importImage(t, []blob{layerless})
	for name, d := range map[string]ocispec.Descriptor{
		"a manifest": newBlob(ocispec.MediaTypeImageManifest, []byte("gone")).desc,
		"a layer":    {MediaType: broken.MediaType, Digest: layerless.desc.Digest, Size: layerless.desc.Size},
	} {
		if held, err := l.sup.HoldImage(ctx, "test/gone", d); err != nil || held {
			t.Errorf("HoldImage without %s = %v, %v, want false", name, held, err)
		}
	}
	if names, err := l.sup.Images(ctx, "test/"); err != nil || !slices.Equal(names, []string{"test/held"}) {
		t.Errorf("records: %v, %v, want test/held alone", names, err)
	}
}
