package test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lotse-project/lotse/test/server"
)

// small starts a server whose data directory is a disk of its own, of so many MiB.
func small(t *testing.T, mib int, args ...string) *server.Server {
	t.Helper()
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("runs a server as root")
	}
	dir, err := os.MkdirTemp("", "lotse-test-")
	if err != nil {
		t.Fatal(err)
	}
	s := server.New(dir, args...)
	if err := syscall.Mount("lotse-test", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0700", mib)); err != nil {
		t.Skip("cannot mount a small disk: ", err)
	}
	t.Cleanup(func() {
		if err := s.RemoveKeepingFolder(); err != nil {
			t.Error("removing the server:", err)
		}
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error("unmount:", err, syscall.Unmount(dir, syscall.MNT_DETACH))
		}
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the server's log:\n%s", s.Log())
		}
	})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// A full disk refuses pushes and harms nothing else: what runs runs on and is reached, what is there can be read, and
// once there is room pushes are taken.
func TestPushToFullDisk(t *testing.T) {
	s := small(t, 160, "--keep-free", "32MiB")
	dir := hello(t, "hello")
	lotse(t, s, "up", dir, "--image", importHello(t, s, "v1"))
	end := traffic(t, s, "hello.localhost")
	w := newRegistryWork(t, s)
	repository(t, s, "app")
	if err := w.pushImage(t.Context(), "app", "kept", w.old); err != nil {
		t.Fatal(err)
	}

	before := freeOf(t, s.Dir)
	// Of unknown length, so that nobody can tell beforehand.
	resp, err := w.must(t.Context(), 202, "POST", "/v2/app/blobs/uploads/", nil)
	if err != nil {
		t.Fatal(err)
	}
	status, text := w.stream(resp.Header.Get("Location"), io.LimitReader(zeros{}, 400<<20))
	if status != 507 || !strings.Contains(text, "no space left on the registry's disk") {
		t.Errorf("more than the disk has: %d %s", status, text)
	}
	// Nothing of it stays: containerd ends the upload in the background.
	eventually(t, 20*time.Second, func() error {
		if free := freeOf(t, s.Dir); free < before-(8<<20) {
			return fmt.Errorf("the refused push left %d of %d MiB", free>>20, before>>20)
		}
		return nil
	})

	// Somebody else takes the rest.
	ballast := filepath.Join(s.Dir, "ballast")
	fill(t, ballast)
	if _, err := w.must(t.Context(), 507, "POST", "/v2/app/blobs/uploads/", nil); err != nil {
		t.Error(err)
	}
	if out, errs, err := s.Run(t.Context(), "image", "import", "example.com/x:1", helloImage(t, "v2")); err == nil || !strings.Contains(errs, "no space left") {
		t.Errorf("import: %v\n%s%s", err, out, errs)
	}
	for _, lost := range w.lost(t.Context()) {
		t.Errorf("with a full disk: %s", lost)
	}
	if got := aws(t, s, "ecr", "describe-images", "--repository-name", "app", "--query", "imageDetails[].imageTags[]"); got != "kept" {
		t.Errorf("describe-images: %s", got)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := w.pushImage(t.Context(), "app", "new", w.pushed); err != nil {
		t.Error(err)
	}
	lotse(t, s, "deploy", dir, "--image", importHello(t, s, "v2"))
	sum := end()
	t.Logf("%d requests, %d failed", sum.Sent, sum.Failed)
}

// stream sends content of unknown length.
func (w *registryWork) stream(path string, r io.Reader) (int, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), "PATCH", w.s.Endpoint+path, struct{ io.Reader }{r})
	if err != nil {
		w.t.Fatal(err)
	}
	req.SetBasicAuth("AWS", w.password)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func freeOf(t *testing.T, dir string) int64 {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize
}
