package ocitest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lotse-project/lotse/internal/oci"
)

// A StoreUnderTest is what TestBlobStore needs to know of a store.
type StoreUnderTest struct {
	Store oci.BlobStore
	// Collected waits until the store has removed what nobody holds, or for as long as that may take.
	Collected func()
}

// TestBlobStore is the contract of oci.BlobStore. The store may hold other things, too.
func TestBlobStore(t *testing.T, s StoreUnderTest) {
	prefix := "000000000000/us-east-1/suite-" + NewID()[:8]
	a, b := prefix+"/a", prefix+"/b"
	for name, test := range map[string]func(*testing.T, StoreUnderTest, string, string){
		"AnUploadedBlobIsReadBack":         testUpload,
		"AnUploadGoesOnAfterClose":         sized(testResume, 2<<20),
		"ALargeUploadGoesOnAfterClose":     sized(testResume, large),
		"WrongDigestIsRefused":             sized(testWrongDigest, 1000),
		"WrongDigestOfMuchIsRefused":       sized(testWrongDigest, large),
		"TheSameBlobTwice":                 sized(testTwice, 50_000),
		"TheSameLargeBlobTwice":            sized(testTwice, large),
		"SHA512":                           sized(testSHA512, 70_000),
		"SHA512OfMuch":                     sized(testSHA512, large),
		"AnAbortedUploadIsGone":            testAbort,
		"HeldBlobsStayOthersGo":            testHolds,
		"MissingThingsAreErrNotFound":      testMissing,
		"ManifestsAreHeldWithTheirContent": testManifest,
		"ABlobReadWhileItGoes":             testReadWhileGone,
		"DiscardedBlobsComeAgain":          testDiscard,
	} {
		t.Run(name, func(t *testing.T) { test(t, s, a, b) })
	}
}

// large is more than a store may want to keep in one piece.
const large = 11<<20 + 7

func sized(test func(t *testing.T, s StoreUnderTest, a, b string, size int), size int) func(*testing.T, StoreUnderTest, string, string) {
	return func(t *testing.T, s StoreUnderTest, a, b string) { test(t, s, a, b, size) }
}

// NewID makes an id for an upload.
func NewID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// Random makes content that no store has.
func Random(n int) ([]byte, digest.Digest) {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b, digest.FromBytes(b)
}

// Upload brings content into a store.
func Upload(t *testing.T, s oci.BlobStore, repo string, content []byte) digest.Digest {
	t.Helper()
	u, err := s.Begin(t.Context(), repo, NewID())
	if err != nil {
		t.Fatalf("Begin: %v", err)
	}
	if _, err := io.Copy(u, bytes.NewReader(content)); err != nil {
		t.Fatalf("Write: %v", err)
	}
	d := digest.FromBytes(content)
	if err := u.Commit(t.Context(), d); err != nil {
		t.Fatalf("Commit: %v", err)
	}
	t.Cleanup(func() { _ = s.Release(context.Background(), repo, d) })
	return d
}

// Private

func read(t *testing.T, s oci.BlobStore, d digest.Digest) []byte {
	t.Helper()
	f, err := s.Open(t.Context(), d)
	if err != nil {
		t.Fatalf("Open(%s): %v", d, err)
	}
	defer f.Close()
	got, err := io.ReadAll(f)
	if err != nil {
		t.Fatalf("read %s: %v", d, err)
	}
	return got
}

func testUpload(t *testing.T, s StoreUnderTest, a, _ string) {
	for _, n := range []int{0, 1, 100_000, 3 << 20} {
		content, d := Random(n)
		u, err := s.Store.Begin(t.Context(), a, NewID())
		if err != nil {
			t.Fatal(err)
		}
		for chunk := range slices.Chunk(content, 1<<20+7) {
			if _, err := io.Copy(u, bytes.NewReader(chunk)); err != nil {
				t.Fatal(err)
			}
		}
		if u.Offset() != int64(n) {
			t.Errorf("Offset() = %d, want %d", u.Offset(), n)
		}
		if err := u.Commit(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if size, err := s.Store.Stat(t.Context(), d); err != nil || size != int64(n) {
			t.Errorf("Stat = %d, %v; want %d", size, err, n)
		}
		s.Collected()
		if !bytes.Equal(read(t, s.Store, d), content) {
			t.Errorf("blob of %d bytes is not what was written", n)
		}
		if err := s.Store.Release(t.Context(), a, d); err != nil {
			t.Error(err)
		}
	}
}

func testResume(t *testing.T, s StoreUnderTest, a, _ string, size int) {
	content, d := Random(size)
	id := NewID()
	u, err := s.Store.Begin(t.Context(), a, id)
	if err != nil {
		t.Fatal(err)
	}
	half := len(content)/2 + 13
	if _, err := io.Copy(u, bytes.NewReader(content[:half])); err != nil {
		t.Fatal(err)
	}
	if err := u.Close(); err != nil {
		t.Fatal(err)
	}
	s.Collected()
	ups, err := s.Store.Uploads(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(ups, func(u oci.UploadInfo) bool { return u.ID == id }); i < 0 || ups[i].Size != int64(half) || ups[i].Updated.IsZero() {
		t.Errorf("Uploads() = %v, want %s with %d bytes in it", ups, id, half)
	}
	u, err = s.Store.Resume(t.Context(), a, id)
	if err != nil {
		t.Fatal(err)
	}
	if u.Offset() != int64(half) {
		t.Fatalf("Offset after Resume = %d, want %d", u.Offset(), half)
	}
	if _, err := io.Copy(u, bytes.NewReader(content[half:])); err != nil {
		t.Fatal(err)
	}
	if err := u.Commit(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, s.Store, d), content) {
		t.Error("blob is not what was written in two parts")
	}
	release(t, s.Store, a, d)
}

func testWrongDigest(t *testing.T, s StoreUnderTest, a, _ string, size int) {
	content, _ := Random(size)
	_, other := Random(size)
	id := NewID()
	u, err := s.Store.Begin(t.Context(), a, id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := u.Commit(t.Context(), other); !errors.Is(err, oci.ErrDigestMismatch) {
		t.Errorf("Commit of another digest: %v, want ErrDigestMismatch", err)
	}
	_ = s.Store.Abort(t.Context(), id)
	if _, err := s.Store.Stat(t.Context(), other); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("Stat of what was never there: %v, want ErrNotFound", err)
	}
	release(t, s.Store, a, other)
}

func testTwice(t *testing.T, s StoreUnderTest, a, b string, size int) {
	content, _ := Random(size)
	d := Upload(t, s.Store, a, content)
	Upload(t, s.Store, a, content)
	Upload(t, s.Store, b, content)
	release(t, s.Store, a, d)
	s.Collected()
	if !bytes.Equal(read(t, s.Store, d), content) {
		t.Error("the blob that b holds is not what was written")
	}
	release(t, s.Store, b, d)
}

func testSHA512(t *testing.T, s StoreUnderTest, a, _ string, size int) {
	content, _ := Random(size)
	d := digest.SHA512.FromBytes(content)
	u, err := s.Store.Begin(t.Context(), a, NewID())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := u.Commit(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, s.Store, d), content) {
		t.Error("sha512 blob is not what was written")
	}
	release(t, s.Store, a, d)
}

func testAbort(t *testing.T, s StoreUnderTest, a, _ string) {
	id := NewID()
	u, err := s.Store.Begin(t.Context(), a, id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Write([]byte("some")); err != nil {
		t.Fatal(err)
	}
	_ = u.Close()
	if err := s.Store.Abort(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Store.Resume(t.Context(), a, id); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("Resume after Abort: %v, want ErrNotFound", err)
	}
}

func testHolds(t *testing.T, s StoreUnderTest, a, b string) {
	content, _ := Random(20_000)
	d := Upload(t, s.Store, a, content)
	for range 2 {
		if err := s.Store.Hold(t.Context(), b, d); err != nil {
			t.Fatalf("Hold: %v", err)
		}
	}
	holds, err := s.Store.Holds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(holds[a], d) || !slices.Contains(holds[b], d) {
		t.Errorf("Holds() = %v, want %s in %s and %s", holds, d, a, b)
	}
	release(t, s.Store, a, d)
	release(t, s.Store, a, d)
	s.Collected()
	if !bytes.Equal(read(t, s.Store, d), content) {
		t.Error("a held blob changed")
	}
	release(t, s.Store, b, d)
	s.Collected()
	if _, err := s.Store.Stat(t.Context(), d); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("Stat of a blob that nobody holds: %v, want ErrNotFound", err)
	}
	for _, repo := range []string{a, b, b} {
		if err := s.Store.Forget(t.Context(), repo); err != nil {
			t.Errorf("Forget: %v", err)
		}
	}
	if holds, err = s.Store.Holds(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok := holds[b]; ok {
		t.Errorf("Holds() has %s after Forget", b)
	}
	// A forgotten repository may come back.
	release(t, s.Store, a, Upload(t, s.Store, a, content))
}

func testMissing(t *testing.T, s StoreUnderTest, a, _ string) {
	_, d := Random(10)
	if _, err := s.Store.Open(t.Context(), d); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("Open: %v, want ErrNotFound", err)
	}
	if _, err := s.Store.Stat(t.Context(), d); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("Stat: %v, want ErrNotFound", err)
	}
	if err := s.Store.Hold(t.Context(), a, d); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("Hold: %v, want ErrNotFound", err)
	}
	if _, err := s.Store.Resume(t.Context(), a, NewID()); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("Resume: %v, want ErrNotFound", err)
	}
	if err := s.Store.Abort(t.Context(), NewID()); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("Abort: %v, want ErrNotFound", err)
	}
	if err := s.Store.Release(t.Context(), a, d); err != nil {
		t.Errorf("Release: %v, want nil", err)
	}
}

func testManifest(t *testing.T, s StoreUnderTest, a, _ string) {
	content, _ := Random(5000)
	layer := Upload(t, s.Store, a, content)
	raw := []byte(`{"schemaVersion":2,"note":"` + NewID() + `"}`)
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	for range 2 {
		if err := s.Store.PutManifest(t.Context(), a, desc, raw, []digest.Digest{layer}); err != nil {
			t.Fatalf("PutManifest: %v", err)
		}
	}
	s.Collected()
	if got := read(t, s.Store, desc.Digest); !bytes.Equal(got, raw) {
		t.Errorf("manifest = %q, want %q", got, raw)
	}
	if !bytes.Equal(read(t, s.Store, layer), content) {
		t.Error("the layer changed")
	}
	release(t, s.Store, a, desc.Digest)
	release(t, s.Store, a, layer)
	s.Collected()
	if _, err := s.Store.Stat(t.Context(), desc.Digest); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("Stat of a released manifest: %v, want ErrNotFound", err)
	}
}

func testReadWhileGone(t *testing.T, s StoreUnderTest, a, _ string) {
	content, _ := Random(1 << 20)
	d := Upload(t, s.Store, a, content)
	f, err := s.Store.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	release(t, s.Store, a, d)
	s.Collected()
	got, err := io.ReadAll(f)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("reading a blob that went meanwhile: %d bytes, %v; want all %d", len(got), err, len(content))
	}
}

func release(t *testing.T, s oci.BlobStore, repo string, d digest.Digest) {
	t.Helper()
	if err := s.Release(t.Context(), repo, d); err != nil {
		t.Errorf("Release: %v", err)
	}
}

func testDiscard(t *testing.T, s StoreUnderTest, a, _ string) {
	content, d := Random(100_000)
	Upload(t, s.Store, a, content)
	if err := s.Store.Discard(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Store.Stat(t.Context(), d); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("Stat of a discarded blob: %v", err)
	}
	if _, err := s.Store.Open(t.Context(), d); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("Open of a discarded blob: %v", err)
	}
	if err := s.Store.Discard(t.Context(), d); err != nil {
		t.Errorf("a second Discard: %v", err)
	}
	Upload(t, s.Store, a, content)
	s.Collected()
	if got := read(t, s.Store, d); !bytes.Equal(got, content) {
		t.Error("it came again as something else")
	}
}
