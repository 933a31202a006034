package ocitest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lotse-project/lotse/internal/oci"
)

// RecordsUnderTest is what TestRecords needs to know of records: two repositories of one registry, made
// and empty.
type RecordsUnderTest struct {
	Records      oci.Records
	A, B         string
	SetImmutable func(repo string, on bool)
	Drop         func(repo string)
}

// TestRecords is the contract of oci.Records.
func TestRecords(t *testing.T, fresh func(t *testing.T) RecordsUnderTest) {
	for name, test := range map[string]func(*testing.T, RecordsUnderTest){
		"WhatIsCommittedIsSeenHereOnly": testSeen,
		"AllOrNothing":                  testAtomic,
		"TagsMoveUnlessImmutable":       testTags,
		"TagPages":                      testTagPages,
		"DeletingAManifestUntagsIt":     testDeleteManifest,
		"Referrers":                     testReferrers,
		"UnwantedBlobsExpire":           testExpire,
		"Uploads":                       testUploads,
		"TimesOfAManifestStay":          testTimes,
		"MirrorRepositories":            testMirror,
		"AMissingRepository":            testMissingRepository,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
}

// Private

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func image(blobs ...digest.Digest) oci.Manifest {
	_, d := Random(8)
	m := oci.Manifest{Digest: d, MediaType: ocispec.MediaTypeImageManifest, Size: 8, PushedAt: start}
	for _, b := range blobs {
		m.Blobs = append(m.Blobs, oci.Child{Digest: b, Size: 8})
	}
	return m
}

func blob() oci.Blob {
	_, d := Random(8)
	return oci.Blob{Digest: d, Size: 8, Expires: start.Add(time.Hour)}
}

func commit(t *testing.T, r oci.Records, repo string, c oci.Change) {
	t.Helper()
	if err := r.Commit(t.Context(), repo, c); err != nil {
		t.Fatalf("Commit: %v", err)
	}
}

func wantNotFound(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("%s: %v, want ErrNotFound", what, err)
	}
}

func testSeen(t *testing.T, u RecordsUnderTest) {
	ctx, r, b := t.Context(), u.Records, blob()
	m := image(b.Digest)
	commit(t, r, u.A, oci.Change{Blobs: []oci.Blob{b}, Manifests: []oci.Manifest{m}, Tag: "v1", Tagged: m.Digest})
	if got, err := r.Blob(ctx, u.A, b.Digest); err != nil || got.Size != 8 || !got.Expires.Equal(b.Expires) {
		t.Errorf("Blob = %v, %v; want %v", got, err, b)
	}
	got, err := r.Manifest(ctx, u.A, m.Digest)
	if err != nil || !cmp.Equal(got, m) {
		t.Errorf("Manifest: %v\n%s", err, cmp.Diff(m, got))
	}
	if d, err := r.Tag(ctx, u.A, "v1"); err != nil || d != m.Digest {
		t.Errorf("Tag = %s, %v; want %s", d, err, m.Digest)
	}
	if repos, err := r.FindBlob(ctx, u.B, b.Digest); err != nil || !slices.Equal(repos, []string{u.A}) {
		t.Errorf("FindBlob = %v, %v; want %s", repos, err, u.A)
	}
	_, err = r.Blob(ctx, u.B, b.Digest)
	wantNotFound(t, "Blob of another repository", err)
	_, err = r.Manifest(ctx, u.B, m.Digest)
	wantNotFound(t, "Manifest of another repository", err)
	_, err = r.Tag(ctx, u.B, "v1")
	wantNotFound(t, "Tag of another repository", err)
	_, other := Random(3)
	un, err := r.Unrecorded(ctx, u.A, []digest.Digest{b.Digest, other, m.Digest})
	if err != nil || !slices.Equal(un, []digest.Digest{other}) {
		t.Errorf("Unrecorded = %v, %v; want %s", un, err, other)
	}
}

func testAtomic(t *testing.T, u RecordsUnderTest) {
	ctx, r, b := t.Context(), u.Records, blob()
	_, missing := Random(3)
	m := image(b.Digest, missing)
	err := r.Commit(ctx, u.A, oci.Change{Blobs: []oci.Blob{b}, Manifests: []oci.Manifest{m}, Tag: "v1", Tagged: m.Digest})
	var e *oci.Error
	if !errors.As(err, &e) || e.Code != "MANIFEST_BLOB_UNKNOWN" {
		t.Errorf("Commit of a manifest with a missing layer: %v, want MANIFEST_BLOB_UNKNOWN", err)
	}
	_, err = r.Blob(ctx, u.A, b.Digest)
	wantNotFound(t, "Blob after a refused commit", err)
	idx := oci.Manifest{Digest: digest.FromString("index"), MediaType: ocispec.MediaTypeImageIndex, Manifests: []oci.Child{{Digest: m.Digest}}}
	if err := r.Commit(ctx, u.A, oci.Change{Manifests: []oci.Manifest{idx}}); !errors.As(err, &e) {
		t.Errorf("Commit of an index with a missing manifest: %v, want an Error", err)
	}
	m = image(b.Digest)
	idx.Manifests[0].Digest = m.Digest
	commit(t, r, u.A, oci.Change{Blobs: []oci.Blob{b}, Manifests: []oci.Manifest{m, idx}})
}

func testTags(t *testing.T, u RecordsUnderTest) {
	ctx, r := t.Context(), u.Records
	one, two := image(), image()
	commit(t, r, u.A, oci.Change{Manifests: []oci.Manifest{one}, Tag: "v1", Tagged: one.Digest})
	commit(t, r, u.A, oci.Change{Manifests: []oci.Manifest{two}, Tag: "v1", Tagged: two.Digest})
	if d, _ := r.Tag(ctx, u.A, "v1"); d != two.Digest {
		t.Errorf("tag is at %s after it moved, want %s", d, two.Digest)
	}
	u.SetImmutable(u.A, true)
	err := r.Commit(ctx, u.A, oci.Change{Manifests: []oci.Manifest{one}, Tag: "v1", Tagged: one.Digest})
	var e *oci.Error
	if !errors.As(err, &e) || e.Code != "TAG_INVALID" || e.Status != 400 {
		t.Errorf("moving an immutable tag: %v, want 400 TAG_INVALID", err)
	}
	commit(t, r, u.A, oci.Change{Manifests: []oci.Manifest{two}, Tag: "v1", Tagged: two.Digest})
	commit(t, r, u.A, oci.Change{Manifests: []oci.Manifest{one}, Tag: "v2", Tagged: one.Digest})
	if err := r.DeleteTag(ctx, u.A, "v2"); err != nil {
		t.Error(err)
	}
	wantNotFound(t, "DeleteTag again", r.DeleteTag(ctx, u.A, "v2"))
}

func testTagPages(t *testing.T, u RecordsUnderTest) {
	ctx, r, m := t.Context(), u.Records, image()
	for _, tag := range []string{"b", "a", "B", "_", "10", "9"} {
		commit(t, r, u.A, oci.Change{Manifests: []oci.Manifest{m}, Tag: tag, Tagged: m.Digest})
	}
	for _, c := range []struct {
		after string
		n     int
		want  []string
	}{
		{"", -1, []string{"10", "9", "B", "_", "a", "b"}},
		{"", 2, []string{"10", "9"}},
		{"9", 2, []string{"B", "_"}},
		{"Z", -1, []string{"_", "a", "b"}},
		{"b", 5, nil},
	} {
		got, err := r.Tags(ctx, u.A, c.after, c.n)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("Tags(after %q, %d) = %q, %v; want %q", c.after, c.n, got, err, c.want)
		}
	}
}

func testDeleteManifest(t *testing.T, u RecordsUnderTest) {
	ctx, r, m := t.Context(), u.Records, image()
	for _, tag := range []string{"a", "b"} {
		commit(t, r, u.A, oci.Change{Manifests: []oci.Manifest{m}, Tag: tag, Tagged: m.Digest})
	}
	if err := r.DeleteManifest(ctx, u.A, m.Digest); err != nil {
		t.Fatal(err)
	}
	if tags, _ := r.Tags(ctx, u.A, "", -1); len(tags) > 0 {
		t.Errorf("tags %q are left", tags)
	}
	wantNotFound(t, "DeleteManifest again", r.DeleteManifest(ctx, u.A, m.Digest))
}

func testReferrers(t *testing.T, u RecordsUnderTest) {
	ctx, r := t.Context(), u.Records
	_, subject := Random(4)
	m := image()
	m.Subject, m.ArtifactType, m.Annotations = subject, "application/x", map[string]string{"k": "v"}
	commit(t, r, u.A, oci.Change{Manifests: []oci.Manifest{m, image()}})
	got, err := r.Referrers(ctx, u.A, subject)
	if err != nil || !cmp.Equal(got, []oci.Manifest{m}) {
		t.Errorf("Referrers: %v\n%s", err, cmp.Diff([]oci.Manifest{m}, got))
	}
	if err := r.DeleteManifest(ctx, u.A, m.Digest); err != nil {
		t.Fatal(err)
	}
	if got, err = r.Referrers(ctx, u.A, subject); err != nil || len(got) > 0 {
		t.Errorf("Referrers after delete = %v, %v; want none", got, err)
	}
}

func testExpire(t *testing.T, u RecordsUnderTest) {
	ctx, r := t.Context(), u.Records
	used, fresh, old := blob(), blob(), blob()
	fresh.Expires = start.Add(3 * time.Hour)
	m := image(used.Digest)
	commit(t, r, u.A, oci.Change{Blobs: []oci.Blob{used, fresh, old}, Manifests: []oci.Manifest{m}})
	if err := r.Expire(ctx, start.Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	_, err := r.Blob(ctx, u.A, old.Digest)
	wantNotFound(t, "an expired blob", err)
	for _, b := range []oci.Blob{used, fresh} {
		if _, err := r.Blob(ctx, u.A, b.Digest); err != nil {
			t.Errorf("a blob that is to stay: %v", err)
		}
	}
}

func testUploads(t *testing.T, u RecordsUnderTest) {
	ctx, r, id := t.Context(), u.Records, NewID()
	if err := r.PutUpload(ctx, u.A, id); err != nil {
		t.Fatal(err)
	}
	if err := r.Upload(ctx, u.A, id); err != nil {
		t.Error(err)
	}
	wantNotFound(t, "an upload of another repository", r.Upload(ctx, u.B, id))
	all, err := r.Uploads(ctx)
	if err != nil || len(all) != 1 || all[0].ID != id || all[0].Repo != u.A || all[0].At.IsZero() {
		t.Errorf("Uploads = %v, %v", all, err)
	}
	b := blob()
	commit(t, r, u.A, oci.Change{Blobs: []oci.Blob{b}, Upload: id})
	wantNotFound(t, "a finished upload", r.Upload(ctx, u.A, id))
	for range 2 {
		if err := r.DeleteUpload(ctx, u.A, id); err != nil {
			t.Error(err)
		}
	}
}

func testTimes(t *testing.T, u RecordsUnderTest) {
	ctx, r, m := t.Context(), u.Records, image()
	commit(t, r, u.A, oci.Change{Manifests: []oci.Manifest{m}})
	at := start.Add(time.Minute)
	if err := r.Pulled(ctx, u.A, m.Digest, at); err != nil {
		t.Fatal(err)
	}
	again := m
	again.PushedAt = start.Add(time.Hour)
	commit(t, r, u.A, oci.Change{Manifests: []oci.Manifest{again}})
	got, err := r.Manifest(ctx, u.A, m.Digest)
	if err != nil || !got.PushedAt.Equal(start) || !got.PulledAt.Equal(at) {
		t.Errorf("manifest pushed %v, pulled %v, %v; want %v, %v", got.PushedAt, got.PulledAt, err, start, at)
	}
	_, gone := Random(3)
	if err := r.Pulled(ctx, u.A, gone, at); err != nil {
		t.Errorf("Pulled of a deleted manifest: %v, want nil", err)
	}
	_, err = r.Manifest(ctx, u.A, gone)
	wantNotFound(t, "a deleted manifest after Pulled", err)
}

func testMirror(t *testing.T, u RecordsUnderTest) {
	repo := oci.MirrorRepo("docker.io", "library/golang")
	for range 2 {
		if err := u.Records.Ensure(t.Context(), repo); err != nil {
			t.Fatal(err)
		}
	}
	m := image()
	commit(t, u.Records, repo, oci.Change{Manifests: []oci.Manifest{m}, Tag: "1", Tagged: m.Digest})
	if err := u.Records.Ensure(t.Context(), repo); err != nil {
		t.Fatal(err)
	}
	if d, err := u.Records.Tag(t.Context(), repo, "1"); err != nil || d != m.Digest {
		t.Errorf("Tag = %s, %v; want %s", d, err, m.Digest)
	}
}

func testMissingRepository(t *testing.T, u RecordsUnderTest) {
	ctx, r, b := t.Context(), u.Records, blob()
	commit(t, r, u.A, oci.Change{Blobs: []oci.Blob{b}})
	if err := r.PutUpload(ctx, u.A, NewID()); err != nil {
		t.Fatal(err)
	}
	u.Drop(u.A)
	var e *oci.Error
	for what, err := range map[string]error{
		"Exists":    r.Exists(ctx, u.A, oci.Push),
		"Commit":    r.Commit(ctx, u.A, oci.Change{Blobs: []oci.Blob{b}}),
		"PutUpload": r.PutUpload(ctx, u.A, NewID()),
	} {
		if !errors.As(err, &e) || e.Code != "NAME_UNKNOWN" || e.Status != 404 {
			t.Errorf("%s in a missing repository: %v, want 404 NAME_UNKNOWN", what, err)
		}
	}
	if un, err := r.Unrecorded(ctx, u.A, []digest.Digest{b.Digest}); err != nil || len(un) != 1 {
		t.Errorf("Unrecorded in a missing repository = %v, %v; want all", un, err)
	}
	if all, err := r.Uploads(ctx); err != nil || len(all) != 0 {
		t.Errorf("uploads of a missing repository are left: %v, %v", all, err)
	}
}
