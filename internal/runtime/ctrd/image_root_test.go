package ctrd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/lotse-project/lotse/internal/runtime"
)

// collect runs a garbage collection to its end.
func (l *lab) collect(t testing.TB) {
	t.Helper()
	c, err := l.sup.Client()
	if err != nil {
		t.Fatal(err)
	}
	if err := collect(l.ctx(t), c); err != nil {
		t.Fatal(err)
	}
}

func index(entries ...ocispec.Descriptor) blob {
	return newBlob(ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: entries,
	})
}

func onPlatform(b blob, os, arch string) ocispec.Descriptor {
	d := b.desc
	d.Platform = &ocispec.Platform{OS: os, Architecture: arch}
	return d
}

func TestImage_Kinds(t *testing.T) {
	l := newLab(t)
	blobs := testImage(t)
	manifest := blobs[len(blobs)-1]
	foreign := newBlob(ocispec.MediaTypeImageManifest, map[string]any{"schemaVersion": 2, "other": true})
	attestation := newBlob(ocispec.MediaTypeImageManifest, map[string]any{"schemaVersion": 2, "attestation": true})
	here := func() ocispec.Descriptor {
		return onPlatform(manifest, "linux", goruntime.GOARCH)
	}
	layerless := newBlob(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: blobs[1].desc, Layers: []ocispec.Descriptor{newBlob(ocispec.MediaTypeImageLayer, []byte("not there")).desc},
	}, blobs[1])
	for _, test := range []struct {
		name  string
		image blob
		more  []blob
		want  error
		words string
	}{
		{"Manifest", manifest, nil, nil, ""},
		{"IndexWithOthersAndAttestation", index(onPlatform(foreign, "linux", "s390x"), here(), onPlatform(attestation, "unknown", "unknown")), []blob{foreign, attestation}, nil, ""},
		{"SparseIndex", index(onPlatform(foreign, "linux", "s390x"), here()), nil, nil, ""},
		{"IndexWithoutThisPlatform", index(onPlatform(foreign, "linux", "s390x")), []blob{foreign}, runtime.ErrUnrunnable, "linux/s390x"},
		{"IndexWithoutItsManifest", index(func() ocispec.Descriptor {
			d := here()
			d.Digest = newBlob("", []byte("gone")).desc.Digest
			return d
		}()), nil, runtime.ErrNoImage, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			img := l.importImage(t, append(test.more, test.image))
			for _, mediaType := range []string{img.MediaType, ""} {
				img.MediaType = mediaType
				err := l.engine.Prepare(t.Context(), img)
				if test.want == nil && err != nil || !errors.Is(err, test.want) {
					t.Errorf("Prepare(media type %q) = %v, want %v", mediaType, err, test.want)
				}
				if err != nil && !strings.Contains(err.Error(), test.words) {
					t.Errorf("Prepare() = %v, want %q in it", err, test.words)
				}
			}
		})
	}
	t.Run("LayerMissing", func(t *testing.T) {
		fresh := newLab(t) // where the layer's snapshot is not there already
		img := fresh.importImage(t, []blob{layerless})
		if err := fresh.engine.Prepare(t.Context(), img); !errors.Is(err, runtime.ErrNoImage) {
			t.Errorf("Prepare() = %v, want ErrNoImage", err)
		}
	})
}

// A task keeps its image: a repository may be deleted under it. After its removal nothing is left of either.
func TestImage_LivesAsLongAsItsTask(t *testing.T) {
	l := newLab(t)
	c, err := l.sup.Client()
	if err != nil {
		t.Fatal(err)
	}
	ctx := l.ctx(t)
	spec := l.Spec(t, []string{"serve"})
	if err := l.engine.Prepare(t.Context(), l.Image); err != nil {
		t.Fatal(err)
	}
	l.collect(t)
	if err := l.engine.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if err := c.LeasesService().Delete(ctx, leases.Lease{ID: "repo/test"}, leases.SynchronousDelete); err != nil {
		t.Fatal(err)
	}
	l.collect(t)
	// A second container of the same image can still be made.
	spec.Containers = append(spec.Containers, runtime.ContainerSpec{Name: "c1", Image: l.Image})
	l.launch(t, spec)
	l.Await(t, spec.ID, "c1", runtime.Running)
	if err := l.engine.Remove(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	l.collect(t)
	if err := l.engine.Prepare(t.Context(), l.Image); !errors.Is(err, runtime.ErrNoImage) {
		t.Errorf("Prepare after repository and task are gone = %v, want ErrNoImage", err)
	}
	n := 0
	_ = c.SnapshotService(snapshotter).Walk(ctx, func(context.Context, snapshots.Info) error { n++; return nil })
	if n != 0 {
		t.Errorf("%d snapshots left, want none", n)
	}
}

// A full disk is told as such, and nothing is left of the attempt once there is room.
func TestImage_FullDisk(t *testing.T) {
	needsRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	l := newLabIn(t, filepath.Join(dir, "data"))
	filler, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for size := 1 << 20; size > 0; { // to the last byte
		if _, err := filler.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	filler.Close()
	if err := l.Engine.Prepare(t.Context(), l.Image); !errors.Is(err, runtime.ErrNoSpace) {
		t.Errorf("Prepare on a full disk: %v, want %v", err, runtime.ErrNoSpace)
	}
	if err := os.Remove(filler.Name()); err != nil {
		t.Fatal(err)
	}
	if err := l.Engine.Prepare(t.Context(), l.Image); err != nil {
		t.Errorf("Prepare with room again: %v", err)
	}
}
