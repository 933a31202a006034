package ecr

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lotse-project/lotse/internal/oci/ocitest"
	"github.com/lotse-project/lotse/internal/runtime"
	"github.com/lotse-project/lotse/internal/runtime/ctrd"
)

func needsRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("needs root: containerd")
	}
}

// containerd starts one in directories of its own and ends it with the test.
func containerd(t testing.TB) (*ctrd.Supervisor, string) {
	t.Helper()
	needsRoot(t)
	bin, err := filepath.Abs("../../bin/runtime")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(bin, "containerd")); err != nil {
		t.Skip("bin/runtime/containerd is not built: run make runtime")
	}
	b := make([]byte, 4)
	rand.Read(b)
	id := "t" + hex.EncodeToString(b)
	run := "/run/lotse/" + id
	sup, err := ctrd.New(ctrd.Options{Dir: t.TempDir(), RunDir: run, ID: id, BinDir: bin, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- sup.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v", err)
		}
		if err := sup.Stop(context.Background()); err != nil {
			t.Errorf("Stop() = %v", err)
		}
		if _, err := os.Stat(run); err == nil {
			t.Errorf("%s is left over", run)
		}
		os.Remove("/run/lotse")
	})
	ready, cancel2 := context.WithTimeout(ctx, 20*time.Second)
	defer cancel2()
	if err := sup.Ready(ready); err != nil {
		t.Fatal(err)
	}
	return sup, run
}

// served is a lab whose registry listens.
type served struct {
	*lab
	sup  *ctrd.Supervisor
	run  string // run directory of containerd
	host string
	auth string // skopeo's file of logins
}

func serve(t testing.TB) *served {
	t.Helper()
	sup, run := containerd(t)
	s := &served{sup: sup, run: run, auth: filepath.Join(t.TempDir(), "auth.json")}
	s.lab = newLabOn(t, ctrd.NewBlobs(sup.Client, sup.Namespace(), sup.ContentDir()))
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.registry.ServeHTTP(w, r) }))
	t.Cleanup(h.Close)
	s.host = strings.TrimPrefix(h.URL, "http://")
	return s
}

// skopeo runs it; words is what a failing one must say, "" for one that must not fail.
func (s *served) skopeo(stdin, words string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command("skopeo", args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if (err != nil) != (words != "") || !strings.Contains(string(out), words) {
		s.t.Fatalf("skopeo %s: %v, want words %q\n%s", strings.Join(args, " "), err, words, out)
	}
	return string(out)
}

func (s *served) logIn(password, words string) {
	s.t.Helper()
	s.skopeo(password, words, "login", "--authfile", s.auth, "--tls-verify=false", "--username", "AWS", "--password-stdin", s.host)
}

func (s *served) copy(words, from, to string) {
	s.t.Helper()
	s.skopeo("", words, "--insecure-policy", "copy", "--authfile", s.auth, "--src-tls-verify=false", "--dest-tls-verify=false", "--preserve-digests", from, to)
}

// layout is an image in a directory, with one layer of the given size in bytes.
func layout(t testing.TB, size int) (dir string, manifest digest.Digest) {
	t.Helper()
	dir = t.TempDir()
	put := func(mediaType string, b []byte) ocispec.Descriptor {
		d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
		name := filepath.Join(dir, "blobs", "sha256", d.Digest.Encoded())
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return d
	}
	layer := tarOf(t, size)
	l := put(ocispec.MediaTypeImageLayer, layer)
	c := put(ocispec.MediaTypeImageConfig, asJSON(ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: goruntime.GOARCH},
		RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{l.Digest}}}))
	m := put(ocispec.MediaTypeImageManifest, asJSON(ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest, Config: c, Layers: []ocispec.Descriptor{l}}))
	for name, v := range map[string]any{
		"oci-layout": ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion},
		"index.json": ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{m}},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), asJSON(v), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, m.Digest
}

// tarOf is a layer with one file.
func tarOf(t testing.TB, size int) []byte {
	t.Helper()
	content, _ := ocitest.Random(size)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := w.WriteHeader(&tar.Header{Name: "file", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(size)})
	if err == nil {
		_, err = w.Write(content)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A pushed image is pulled back as it was, shown by the API, and unpacked for tasks without being pulled.
func TestRegistry_Skopeo(t *testing.T) {
	if _, err := exec.LookPath("skopeo"); err != nil {
		t.Skip("skopeo is not installed")
	}
	s := serve(t)
	s.create("team/app")
	src, d := layout(t, 3<<20)
	at := func(name string) string { return "docker://" + s.host + "/" + name }

	s.copy("authentication required", "oci:"+src, at("team/app:v1")) // before the login
	s.logIn("garbage", "invalid")
	s.logIn(s.login(as(home)), "")
	s.copy("", "oci:"+src, at("team/app:v1"))
	back := t.TempDir()
	s.copy("", at("team/app:v1"), "oci:"+back)
	if _, err := os.Stat(filepath.Join(back, "blobs", "sha256", d.Encoded())); err != nil {
		t.Errorf("the pulled image has another manifest than the pushed one: %v", err)
	}
	out, err := s.DescribeImages(as(home), &ecr.DescribeImagesInput{RepositoryName: str("team/app")})
	if err != nil || len(out.ImageDetails) != 1 || *out.ImageDetails[0].ImageDigest != d.String() || out.ImageDetails[0].LastRecordedPullTime == nil || *out.ImageDetails[0].ImageSizeInBytes < 3<<20 {
		t.Errorf("DescribeImages() = %+v, %v", out.ImageDetails, err)
	}
	img, err := s.Resolve(t.Context(), "localhost:4566/team/app:v1", home)
	if err != nil {
		t.Fatal(err)
	}
	if err := ctrd.NewEngine(s.sup).Prepare(t.Context(), runtime.Image(img)); err != nil {
		t.Errorf("Prepare() = %v", err)
	}

	t.Run("MissingRepository", func(t *testing.T) {
		s.copy("The repository with name 'nope' does not exist in the registry with id '000000000000'", "oci:"+src, at("nope:v1"))
		s.copy("The repository with name 'nope' does not exist in the registry with id '000000000000'", at("nope:v1"), "oci:"+t.TempDir())
	})
	t.Run("ImmutableTag", func(t *testing.T) {
		if _, err := s.PutImageTagMutability(as(home), &ecr.PutImageTagMutabilityInput{RepositoryName: str("team/app"), ImageTagMutability: types.ImageTagMutabilityImmutable}); err != nil {
			t.Fatal(err)
		}
		other, _ := layout(t, 1000)
		s.copy("The image tag 'v1' already exists in the 'team/app' repository and cannot be overwritten because the tag is immutable.", "oci:"+other, at("team/app:v1"))
		s.copy("", "oci:"+other, at("team/app:v2"))
		s.copy("", "oci:"+src, at("team/app:v1")) // the same again
	})
	t.Run("OtherRepositoryMounts", func(t *testing.T) {
		s.create("copy")
		before := s.blobs(t)
		s.copy("", at("team/app:v1"), at("copy:v1"))
		if after := s.blobs(t); after != before {
			t.Errorf("content store: %s after a push to another repository, %s before", after, before)
		}
	})
	t.Run("ExpiredLogin", func(t *testing.T) {
		s.advance(13 * time.Hour)
		s.copy("Your authorization token has expired. Reauthenticate and try again.", at("team/app:v1"), "oci:"+t.TempDir())
	})
}

// blobs is what the content store's directory holds, in words.
func (s *served) blobs(t testing.TB) string {
	t.Helper()
	var n, size int64
	err := filepath.Walk(filepath.Join(s.sup.ContentDir(), "blobs"), func(_ string, fi os.FileInfo, err error) error {
		if err == nil && fi.Mode().IsRegular() {
			n, size = n+1, size+fi.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d files, %d bytes", n, size)
}

// Adopting an image of 64 MiB that a build left in the store moves no layer: neither this process nor containerd
// reads or writes more than records and manifests.
func TestAdopt_CopiesNothing(t *testing.T) {
	const size = 64 << 20
	s := serve(t)
	s.create("app")
	built := home.Key("built-here") // stands for the builder: whoever holds what it made
	content, layer := ocitest.Random(size)
	d := s.built(built, content)
	ids := map[string]int{"this process": os.Getpid(), "containerd": s.daemon(t)}
	before, blobs := map[string]int64{}, s.blobs(t)
	for who, pid := range ids {
		before[who] = moved(t, pid)
	}
	begun := time.Now()
	s.adopt("app", "v1", d)
	took := time.Since(begun)
	for who, pid := range ids {
		n := moved(t, pid) - before[who]
		t.Logf("%s read and wrote %d bytes", who, n)
		if n > 1<<20 {
			t.Errorf("%s read and wrote %d bytes, want less than 1 MiB", who, n)
		}
	}
	t.Logf("took %v", took)
	if after := s.blobs(t); after != blobs {
		t.Errorf("content store: %s after, %s before", after, blobs)
	}
	// It is the repository's own now.
	for _, x := range []digest.Digest{d, layer} {
		if err := s.o.Blobs.Release(t.Context(), built, x); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.registry.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := s.get("/v2/app/blobs/"+layer.String(), "AWS", s.login(as(home)))
	if !bytes.Equal(w.Body.Bytes(), content) {
		t.Errorf("the adopted layer has %d bytes, status %d; want the %d built", w.Body.Len(), w.Code, size)
	}
}

// built is an image of one layer, in the store.
func (s *served) built(repo string, layer []byte) digest.Digest {
	l := s.blob(repo, layer)
	c := s.blob(repo, asJSON(ocispec.Image{RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{l.Digest}}}))
	l.MediaType, c.MediaType = ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageConfig
	return s.blob(repo, asJSON(ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest, Config: c, Layers: []ocispec.Descriptor{l}})).Digest
}

// daemon is containerd's process id.
func (s *served) daemon(t testing.TB) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.run, "containerd.pid"))
	var p struct{ PID int }
	if err != nil || json.Unmarshal(b, &p) != nil || p.PID == 0 {
		t.Fatalf("containerd's pid file: %v %q", err, b)
	}
	return p.PID
}

// moved is how many bytes a process has read and written so far, also by sockets and from the page cache.
func moved(t testing.TB, pid int) (n int64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if k == "rchar" || k == "wchar" {
			x, _ := strconv.ParseInt(v, 10, 64)
			n += x
		}
	}
	return n
}
