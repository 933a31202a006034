package ctrd

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lotse-project/lotse/internal/runtime"
)

func layerOf(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		text := h.PAXRecords["text"]
		h.PAXRecords, h.Size = nil, int64(len(text))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(w, text)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What an image has where it declares a VOLUME is in the volume that is mounted there.
func TestVolume_HasWhatTheImageHas(t *testing.T) {
	l := newLab(t)
	file := func(name, text string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o640, Uid: 1000, Gid: 1001, PAXRecords: map[string]string{"text": text}}
	}
	dir := func(name string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o750, Uid: 1000, Gid: 1001}
	}
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to, Mode: 0o777}
	}
	base := testImage(t)[0].data
	image := l.importImage(t, newImage(ocispec.ImageConfig{
		Entrypoint: []string{"/program"}, Cmd: []string{"serve"},
		Volumes: map[string]struct{}{"/data/": {}, "/empty": {}, "/out": {}, "/none": {}},
	}, base,
		layerOf(t, dir("data/"), file("data/kept", "lower"), file("data/gone", "x"), file("data/changed", "old"), dir("data/sub/"), file("data/sub/f", "sub"), link("data/link", "kept"), dir("empty/"), dir("plain/"), file("plain/f", "x"), link("out", "/etc")),
		layerOf(t, file("data/.wh.gone", ""), file("data/changed", "new")),
	))
	spec := l.Spec(t, []string{"serve"}, []string{"serve"})
	spec.Volumes = []string{"data", "empty", "plain", "out", "none"}
	for i := range spec.Containers {
		spec.Containers[i].Image = image
	}
	spec.Containers[0].Mounts = []runtime.Mount{{Volume: "data", Path: "/data"}, {Volume: "empty", Path: "/empty"}, {Volume: "plain", Path: "/plain"}, {Volume: "out", Path: "/out"}, {Volume: "none", Path: "/none"}}
	spec.Containers[1].Mounts = []runtime.Mount{{Volume: "data", Path: "/data"}}
	part := l.engine.volume(spec.ID, "data") + ".part"
	if err := os.MkdirAll(filepath.Join(part, "junk"), 0o755); err != nil { // of a copy that was broken off
		t.Fatal(err)
	}
	l.launch(t, spec)
	in := func(volume, path string) string { return filepath.Join(l.engine.volume(spec.ID, volume), path) }
	for path, want := range map[string]string{"kept": "lower", "changed": "new", "sub/f": "sub", "link": "lower"} {
		if got := read(t, in("data", path)); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	for _, path := range []string{"gone", "junk"} {
		if _, err := os.Lstat(in("data", path)); err == nil {
			t.Errorf("%s is there", path)
		}
	}
	for path, want := range map[string]uint32{in("data", ""): 0o750, in("data", "kept"): 0o640, in("empty", ""): 0o750} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != 1000 || st.Gid != 1001 || st.Mode&0o777 != want {
			t.Errorf("%s: %d:%d %o, want 1000:1001 %o", path, st.Uid, st.Gid, st.Mode&0o777, want)
		}
	}
	for _, volume := range []string{"plain", "none"} { // not declared; declared, and not in the image
		if found, err := os.ReadDir(in(volume, "")); err != nil || len(found) > 0 {
			t.Errorf("volume %s has %v, %v", volume, found, err)
		}
	}
	// /out leads to /etc: the image's, not the machine's.
	if found, err := os.ReadDir(in("out", "")); err != nil || len(found) != 2 {
		t.Errorf("volume out has %v, %v, want the image's passwd and group", found, err)
	}
	if _, err := os.Stat(part); err == nil {
		t.Error("a part of a copy is left")
	}
}
