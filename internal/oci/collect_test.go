package oci_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lotse-project/lotse/internal/oci"
	"github.com/lotse-project/lotse/internal/oci/ocitest"
)

func (b *bench) collect(t *testing.T) {
	t.Helper()
	if err := b.g.Collect(t.Context()); err != nil {
		t.Fatalf("Collect: %v", err)
	}
}

func (b *bench) has(t *testing.T, content string) bool {
	t.Helper()
	_, err := b.store.Stat(t.Context(), digest.FromString(content))
	return err == nil
}

func TestCollect_DeletedImagesGoAndSharedLayersStay(t *testing.T) {
	b := newBench(t)
	b.image(t, "foo", "v1", "config 1", "shared", "own")
	two := b.image(t, "foo", "v2", "config 2", "shared")
	one := b.image(t, "foo", "v1", "config 1", "shared", "own")
	if res := b.do(t, "admin", "DELETE", "/v2/foo/manifests/"+one.Digest.String(), nil, ""); res.StatusCode != 202 {
		t.Fatal(res.Status)
	}
	b.collect(t)
	if _, err := b.store.Stat(t.Context(), one.Digest); err == nil {
		t.Error("the deleted manifest is still held")
	}
	if !b.has(t, "own") {
		t.Error("a layer went at once, though a push may count on it")
	}
	b.now = b.now.Add(25 * time.Hour)
	b.collect(t)
	if b.has(t, "own") || b.has(t, "config 1") {
		t.Error("layers of the deleted image are left")
	}
	if !b.has(t, "shared") || !b.has(t, "config 2") {
		t.Error("layers of the other image are gone")
	}
	if res := b.do(t, "admin", "GET", "/v2/foo/manifests/v2", nil, ""); digest.FromString(text(res)) != two.Digest {
		t.Errorf("the other image: %s", res.Status)
	}
}

func TestCollect_ABlobSomebodyAskedForStays(t *testing.T) {
	b := newBench(t)
	b.push(t, "foo", "one")
	b.now = b.now.Add(23 * time.Hour)
	if res := b.do(t, "admin", "HEAD", "/v2/foo/blobs/"+oneDigest, nil, ""); res.StatusCode != 200 {
		t.Fatal(res.Status)
	}
	b.now = b.now.Add(2 * time.Hour)
	b.collect(t)
	if !b.has(t, "one") {
		t.Error("a blob is gone whose presence was confirmed two hours ago")
	}
	b.now = b.now.Add(24 * time.Hour)
	b.collect(t)
	if b.has(t, "one") {
		t.Error("a blob that nobody wants is left")
	}
	if res := b.do(t, "admin", "GET", "/v2/foo/blobs/"+oneDigest, nil, ""); res.StatusCode != 404 {
		t.Errorf("a collected blob: %s", res.Status)
	}
}

func TestCollect_Uploads(t *testing.T) {
	b := newBench(t)
	b.now = time.Now()
	loc := b.do(t, "admin", "POST", "/v2/foo/blobs/uploads/", nil, "").Header.Get("Location")
	b.do(t, "admin", "PATCH", loc, nil, "some")
	b.collect(t)
	if res := b.do(t, "admin", "GET", loc, nil, ""); res.StatusCode != 204 {
		t.Errorf("a fresh upload after Collect: %s", res.Status)
	}
	b.now = b.now.Add(25 * time.Hour)
	b.collect(t)
	if res := b.do(t, "admin", "GET", loc, nil, ""); res.StatusCode != 404 {
		t.Errorf("an expired upload: %s", res.Status)
	}
	if ups, _ := b.store.Uploads(t.Context()); len(ups) != 0 {
		t.Errorf("uploads %v are left", ups)
	}
}

// What a killed registry can leave behind: content without record.
func TestCollect_LeftoversOfACrash(t *testing.T) {
	b := newBench(t)
	ocitest.Upload(t, b.store, scope+"foo", []byte("held, not recorded"))
	ocitest.Upload(t, b.store, scope+"gone", []byte("of a deleted repository"))
	if _, err := b.store.Begin(t.Context(), scope+"foo", ocitest.NewID()); err != nil {
		t.Fatal(err)
	}
	b.image(t, "foo", "v1", "config", "layer")
	b.collect(t)
	if b.has(t, "held, not recorded") || b.has(t, "of a deleted repository") {
		t.Error("content without record is left")
	}
	if ups, _ := b.store.Uploads(t.Context()); len(ups) != 0 {
		t.Errorf("uploads %v are left", ups)
	}
	if holds, _ := b.store.Holds(t.Context()); len(holds) != 1 || len(holds[scope+"foo"]) != 3 {
		t.Errorf("holds = %v, want three of foo", holds)
	}
}

func TestCollect_DroppedRepository(t *testing.T) {
	b := newBench(t)
	b.image(t, "foo", "v1", "config", "layer")
	b.do(t, "admin", "POST", "/v2/foo/blobs/uploads/", nil, "")
	b.records.Drop(scope + "foo")
	b.collect(t)
	for _, dir := range []string{"blobs", "holds", "uploads"} {
		if left, _ := os.ReadDir(filepath.Join(b.dir, dir)); len(left) > 0 {
			t.Errorf("%s: %v are left", dir, left)
		}
	}
}

func TestRun_CollectsWhenWokenAndEnds(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.g.Run(ctx) }()
	b.push(t, "foo", "one")
	if res := b.do(t, "admin", "DELETE", "/v2/foo/blobs/"+oneDigest, nil, ""); res.StatusCode != 202 {
		t.Fatal(res.Status)
	}
	for deadline := time.Now().Add(5 * time.Second); b.has(t, "one"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the deleted blob is still there")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
}

func TestCollectNow_WaitsForPushesOnlyAWhile(t *testing.T) {
	b := newBench(t)
	m := b.image(t, "foo", "v1", "config", "layer")
	if res := b.do(t, "admin", "DELETE", "/v2/foo/manifests/"+m.Digest.String(), nil, ""); res.StatusCode != 202 {
		t.Fatal(res.Status)
	}
	for _, step := range []struct {
		after time.Duration
		want  bool
	}{{5 * time.Minute, true}, {15 * time.Minute, false}} {
		b.now = b.now.Add(step.after)
		if err := b.g.CollectNow(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := b.has(t, "layer"); got != step.want {
			t.Errorf("the layer is there %v later: %v, want %v", step.after, got, step.want)
		}
	}
}

func TestVerify_FindsDamageAndTheNextPushHealsIt(t *testing.T) {
	b := newBench(t)
	b.image(t, "foo", "v1", "config", "shared", "own")
	b.image(t, "foo/bar", "v1", "config", "shared")
	v, err := b.g.Verify(t.Context())
	if err != nil || len(v.Damaged) > 0 || v.Blobs != 5 {
		t.Fatalf("Verify of what is whole = %+v, %v, want 5 blobs", v, err)
	}
	d := digest.FromString("shared")
	if err := os.WriteFile(b.store.Path(d), []byte("sharee"), 0o644); err != nil {
		t.Fatal(err)
	}
	if v, err = b.g.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []oci.Damage{{Digest: d, Repositories: []string{"000000000000/us-east-1/foo", "000000000000/us-east-1/foo/bar"}}}
	if diff := cmp.Diff(want, v.Damaged); diff != "" {
		t.Errorf("damage (-want +got):\n%s", diff)
	}
	if res := b.do(t, "admin", "GET", "/v2/foo/blobs/"+d.String(), nil, ""); res.StatusCode != 404 {
		t.Errorf("damaged content: %s", res.Status)
	}
	if v, _ = b.g.Verify(t.Context()); len(v.Damaged) != 1 || !v.Damaged[0].Missing {
		t.Errorf("until it comes again: %+v", v.Damaged)
	}
	b.push(t, "foo", "shared")
	if v, _ = b.g.Verify(t.Context()); len(v.Damaged) > 0 {
		t.Errorf("after a push: %+v", v.Damaged)
	}
	if res := b.do(t, "admin", "GET", "/v2/foo/bar/blobs/"+d.String(), nil, ""); res.StatusCode != 200 {
		t.Errorf("the other repository's: %s", res.Status)
	}
}

// Whatever a client asks before it pushes, damaged content is not there: a blob's HEAD, a mount with and without a source,
// an image's and an index's HEAD, and a manifest that names it.
func TestVerify_NobodySkipsWhatIsDamaged(t *testing.T) {
	b := newBench(t)
	one := b.image(t, "foo", "v1", "config", "shared", "own")
	index := marshal(t, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{one}})
	put := func(name, tag, mediaType, raw string) int {
		return b.do(t, "admin", "PUT", "/v2/"+name+"/manifests/"+tag, map[string]string{"Content-Type": mediaType}, raw).StatusCode
	}
	if status := put("foo", "all", ocispec.MediaTypeImageIndex, index); status != 201 {
		t.Fatal(status)
	}
	d := digest.FromString("shared")
	statuses := func() (out []int) {
		for _, path := range []string{"blobs/" + d.String(), "manifests/v1", "manifests/" + one.Digest.String(), "manifests/all"} {
			out = append(out, b.do(t, "admin", "HEAD", "/v2/foo/"+path, nil, "").StatusCode)
		}
		for _, from := range []string{"", "&from=foo"} {
			out = append(out, b.do(t, "admin", "POST", "/v2/foo/bar/blobs/uploads/?mount="+d.String()+from, nil, "").StatusCode)
		}
		raw := marshal(t, ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
			Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromString("config"), Size: 6},
			Layers: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayer, Digest: d, Size: 6}}})
		return append(out, put("foo", "other", ocispec.MediaTypeImageManifest, raw))
	}
	if err := os.WriteFile(b.store.Path(d), []byte("sharee"), 0o644); err != nil {
		t.Fatal(err)
	}
	if v, err := b.g.Verify(t.Context()); err != nil || len(v.Damaged) != 1 {
		t.Fatalf("Verify = %+v, %v", v, err)
	}
	if got, want := statuses(), []int{404, 404, 404, 404, 202, 202, 404}; !slices.Equal(got, want) {
		t.Errorf("with damage: %v, want %v", got, want)
	}
	b.push(t, "foo", "shared")
	if got, want := statuses(), []int{200, 200, 200, 200, 201, 201, 201}; !slices.Equal(got, want) {
		t.Errorf("after it came again: %v, want %v", got, want)
	}
	// The manifest itself.
	if err := os.WriteFile(b.store.Path(one.Digest), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if v, err := b.g.Verify(t.Context()); err != nil || len(v.Damaged) != 1 {
		t.Fatalf("Verify = %+v, %v", v, err)
	}
	if got := b.do(t, "admin", "HEAD", "/v2/foo/manifests/v1", nil, "").StatusCode; got != 404 {
		t.Errorf("HEAD of a damaged manifest: %d", got)
	}
	b.image(t, "foo", "v1", "config", "shared", "own")
	if got := b.do(t, "admin", "HEAD", "/v2/foo/manifests/all", nil, "").StatusCode; got != 200 {
		t.Errorf("HEAD of the index after the manifest came again: %d", got)
	}
}
