package oci_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lotse-project/lotse/internal/oci"
	"github.com/lotse-project/lotse/internal/oci/ocitest"
)

// builder holds what a build made; the registry knows nothing of it.
const builder = "-/-/builder"

// built leaves an image in the store as a build does: held by somebody, recorded nowhere.
func built(t *testing.T, b *bench, contents ...string) ocispec.Descriptor {
	t.Helper()
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest}
	m.SchemaVersion = 2
	for i, c := range contents {
		d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: ocitest.Upload(t, b.store, builder, []byte(c)), Size: int64(len(c))}
		if i == 0 {
			m.Config = d
			continue
		}
		m.Layers = append(m.Layers, d)
	}
	raw := marshal(t, m)
	return ocispec.Descriptor{MediaType: m.MediaType, Digest: ocitest.Upload(t, b.store, builder, []byte(raw)), Size: int64(len(raw))}
}

func TestAdopt_MovesNoBytesAndKeepsAll(t *testing.T) {
	b := newBench(t)
	img := built(t, b, "config", "layer one", "layer two")
	before := b.store.Written
	for range 2 {
		m, err := b.g.Adopt(t.Context(), scope+"foo", "v1", img.Digest)
		if err != nil {
			t.Fatal(err)
		}
		if m.Digest != img.Digest || m.MediaType != img.MediaType || m.Size != img.Size || m.ImageSize() != int64(len("configlayer onelayer two")) {
			t.Errorf("Adopt = %+v, want %v", m, img)
		}
	}
	if b.store.Written != before {
		t.Errorf("Adopt wrote %d bytes into the store", b.store.Written-before)
	}
	holds, _ := b.store.Holds(t.Context())
	for _, d := range holds[builder] { // the build's own holds end
		if err := b.store.Release(t.Context(), builder, d); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.g.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if res := b.do(t, "reader", "GET", "/v2/foo/manifests/v1", nil, ""); digest.FromString(text(res)) != img.Digest {
		t.Errorf("pull of the manifest: %s", res.Status)
	}
	if got := text(b.do(t, "reader", "GET", "/v2/foo/blobs/"+digest.FromString("layer two").String(), nil, "")); got != "layer two" {
		t.Errorf("pull of a layer = %q", got)
	}
}

func TestAdopt_Indexes(t *testing.T) {
	b := newBench(t)
	img := built(t, b, "config", "layer")
	absent := ocispec.Descriptor{MediaType: img.MediaType, Digest: missingDigest, Size: 5}
	raw := marshal(t, map[string]any{"schemaVersion": 2, "manifests": []ocispec.Descriptor{absent, img}}) // no mediaType: OCI allows that
	idx := ocitest.Upload(t, b.store, builder, []byte(raw))
	m, err := b.g.Adopt(t.Context(), scope+"foo", "multi", idx)
	if err != nil {
		t.Fatal(err)
	}
	if m.MediaType != ocispec.MediaTypeImageIndex || len(m.Manifests) != 1 || m.Manifests[0].Digest != img.Digest {
		t.Errorf("Adopt = %+v, want an index of %s", m, img.Digest)
	}
	for _, d := range []digest.Digest{idx, img.Digest} {
		if res := b.do(t, "reader", "HEAD", "/v2/foo/manifests/"+d.String(), nil, ""); res.StatusCode != 200 {
			t.Errorf("HEAD %s: %s", d, res.Status)
		}
	}
}

func TestAdopt_Refuses(t *testing.T) {
	b := newBench(t)
	img := built(t, b, "config", "layer")
	incomplete := marshal(t, map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "config": map[string]any{"digest": missingDigest, "size": 1}})
	inc := ocitest.Upload(t, b.store, builder, []byte(incomplete))
	for name, c := range map[string]struct {
		repo, tag string
		d         digest.Digest
		want      string
	}{
		"missing repository":   {scope + "nope", "v1", img.Digest, "NAME_UNKNOWN"},
		"bad tag":              {scope + "foo", "-", img.Digest, "TAG_INVALID"},
		"no digest":            {scope + "foo", "v1", "sha256:x", "DIGEST_INVALID"},
		"missing manifest":     {scope + "foo", "v1", missingDigest, "no such manifest"},
		"incomplete image":     {scope + "foo", "v1", inc, "blob " + missingDigest},
		"a layer, no manifest": {scope + "foo", "v1", digest.FromString("layer"), "MANIFEST_INVALID"},
	} {
		_, err := b.g.Adopt(t.Context(), c.repo, c.tag, c.d)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: Adopt = %v, want %q", name, err, c.want)
		}
	}
	if _, err := b.g.Find(t.Context(), scope+"foo", "v1"); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("a refused image is there: %v", err)
	}
	if err := b.g.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if holds, _ := b.store.Holds(t.Context()); len(holds[scope+"foo"]) != 0 {
		t.Errorf("holds %v are left of what was refused", holds[scope+"foo"])
	}
}
