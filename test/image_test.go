package test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/lotse-project/lotse/test/server"
)

// helloImage makes an archive as docker save does, of examples/hello in the given version: a static
// binary and nothing else.
func helloImage(t *testing.T, version string) string {
	t.Helper()
	src := t.TempDir()
	if err := os.CopyFS(src, os.DirFS(filepath.Join(server.Root(), "examples", "hello"))); err != nil {
		t.Fatal(err)
	}
	write(t, src, "VERSION", version+"\n")
	bin := filepath.Join(t.TempDir(), "hello")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s", "-o", bin, ".")
	cmd.Dir = src
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return imageOf(t, bin, map[string]any{"Entrypoint": []string{"/hello"}, "User": "65534:65534", "ExposedPorts": map[string]any{"8080/tcp": struct{}{}}})
}

// imageOf makes an archive of an image that has one file and the given config.
func imageOf(t *testing.T, file string, config map[string]any) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	layer := tarOf(t, entry{filepath.Base(file), b, 0o755})
	sum := sha256.Sum256(layer)
	conf, _ := json.Marshal(map[string]any{"architecture": runtime.GOARCH, "os": "linux", "config": config,
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}}})
	confSum := sha256.Sum256(conf)
	name := hex.EncodeToString(confSum[:]) + ".json"
	manifest, _ := json.Marshal([]map[string]any{{"Config": name, "Layers": []string{"layer.tar"}, "RepoTags": []string{}}})
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(path, tarOf(t, entry{"manifest.json", manifest, 0o644}, entry{name, conf, 0o644}, entry{"layer.tar", layer, 0o644}), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

type entry struct {
	name string
	data []byte
	mode int64
}

func tarOf(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		if err := w.WriteHeader(&tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
