package oci_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lotse-project/lotse/internal/oci"
)

// A file of a tar; content "-> x" is a symbolic link, "=> x" a hard link, "/" a directory.
type file struct{ name, content string }

func tarOf(files ...file) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: 0o644, Typeflag: tar.TypeReg, Size: int64(len(f.content))}
		switch {
		case f.content == "/":
			h.Typeflag, h.Size = tar.TypeDir, 0
		case strings.HasPrefix(f.content, "-> "):
			h.Typeflag, h.Size, h.Linkname = tar.TypeSymlink, 0, f.content[3:]
		case strings.HasPrefix(f.content, "=> "):
			h.Typeflag, h.Size, h.Linkname = tar.TypeLink, 0, f.content[3:]
		}
		if err := w.WriteHeader(h); err != nil {
			panic(err)
		}
		if h.Size > 0 {
			if _, err := io.WriteString(w, f.content); err != nil {
				panic(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

func zstded(b []byte) []byte {
	w, _ := zstd.NewWriter(nil)
	return w.EncodeAll(b, nil)
}

func js(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func hex(content string) string { return digest.FromString(content).Encoded() }

var layerTar = string(tarOf(file{"bin/app", "#!"}))

// saved is an image as docker save writes it: the manifest last.
func saved(layers ...string) []file {
	cfg := ocispec.Image{Config: ocispec.ImageConfig{Cmd: []string{"/bin/app"}}, RootFS: ocispec.RootFS{Type: "layers"}}
	var files []file
	var names []string
	for _, l := range layers {
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, digest.FromString(l))
		names = append(names, hex(l)+"/layer.tar")
		files = append(files, file{hex(l) + "/", "/"}, file{hex(l) + "/VERSION", "1.0"}, file{hex(l) + "/layer.tar", l})
	}
	c := js(cfg)
	return append(files, file{hex(c) + ".json", c},
		file{"manifest.json", js([]any{map[string]any{"Config": hex(c) + ".json", "RepoTags": []string{"app:1"}, "Layers": names}})},
		file{"repositories", "{}"})
}

// layout is an image as an OCI layout.
func layout(annotations map[string]string) []file {
	c := js(ocispec.Image{RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromString(layerTar)}}})
	m := js(map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
		"config": ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromString(c), Size: int64(len(c))},
		"layers": []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString(layerTar), Size: int64(len(layerTar))}}})
	idx := js(map[string]any{"schemaVersion": 2, "manifests": []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(m), Size: int64(len(m)), Annotations: annotations}}})
	return []file{{"blobs/", "/"}, {"blobs/sha256/", "/"}, {"blobs/sha256/" + hex(c), c}, {"blobs/sha256/" + hex(layerTar), layerTar},
		{"blobs/sha256/" + hex(m), m}, {"index.json", idx}, {"oci-layout", `{"imageLayoutVersion":"1.0.0"}`}}
}

func TestImport(t *testing.T) {
	rootfs := []file{{"./", "/"}, {"./bin/", "/"}, {"./bin/sh", "#!"}, {"./bin/bash", "=> ./bin/sh"}, {"./lib", "-> usr/lib"}, {"./etc/manifest.json", "[]"}}
	dotted := layout(nil)
	for i := range dotted {
		dotted[i].name = "./" + dotted[i].name
	}
	kaniko := func() []file { // a compressed layer
		l := string(gzipped([]byte(layerTar)))
		c := js(ocispec.Image{RootFS: ocispec.RootFS{DiffIDs: []digest.Digest{digest.FromString(layerTar)}}})
		return []file{{"sha256:" + hex(c), c}, {hex(l) + ".tar.gz", l},
			{"manifest.json", js([]any{map[string]any{"Config": "sha256:" + hex(c), "Layers": []string{hex(l) + ".tar.gz"}}})}}
	}()
	twice := saved(layerTar)
	twice = append([]file{{"0000000000000000000000000000000000000000000000000000000000000000/layer.tar", "-> ../" + hex(layerTar) + "/layer.tar"}}, twice...)

	for _, c := range []struct {
		name   string
		tar    []byte
		layers int
		layer  string // media type
	}{
		{"docker save", tarOf(saved(layerTar, string(tarOf(file{"etc/x", "y"})))...), 2, ocispec.MediaTypeImageLayer},
		{"docker save, gzip", gzipped(tarOf(saved(layerTar)...)), 1, ocispec.MediaTypeImageLayer},
		{"docker save with links", tarOf(twice...), 1, ocispec.MediaTypeImageLayer},
		{"compressed layers", tarOf(kaniko...), 1, ocispec.MediaTypeImageLayerGzip},
		{"layout", tarOf(layout(nil)...), 1, ocispec.MediaTypeImageLayer},
		{"layout, zstd", zstded(tarOf(layout(nil)...)), 1, ocispec.MediaTypeImageLayer},
		{"layout below a dot", tarOf(append([]file{{"./", "/"}}, dotted...)...), 1, ocispec.MediaTypeImageLayer},
		{"docker save since 25: both", tarOf(append(layout(nil), file{"manifest.json", "[]"})...), 1, ocispec.MediaTypeImageLayer},
		{"root file system", tarOf(rootfs...), 1, ocispec.MediaTypeImageLayer},
		{"root file system, gzip", gzipped(tarOf(rootfs...)), 1, ocispec.MediaTypeImageLayer},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			m, err := b.g.Import(t.Context(), "golang:1.26", bytes.NewReader(c.tar))
			if err != nil {
				t.Fatal(err)
			}
			b.collect(t)
			res := b.do(t, "reader", "GET", "/v2/mirror/library/golang/manifests/1.26", nil, "")
			raw := text(res)
			if res.StatusCode != 200 || digest.FromString(raw) != m.Digest {
				t.Fatalf("GET of the imported manifest: %s %s", res.Status, raw)
			}
			var got ocispec.Manifest
			if err := json.Unmarshal([]byte(raw), &got); err != nil {
				t.Fatal(err)
			}
			if len(got.Layers) != c.layers || got.Layers[0].MediaType != c.layer {
				t.Errorf("manifest %s, want %d layers of %s", raw, c.layers, c.layer)
			}
			for _, l := range append(got.Layers, got.Config) {
				if s := text(b.do(t, "reader", "GET", "/v2/mirror/library/golang/blobs/"+l.Digest.String(), nil, "")); digest.FromString(s) != l.Digest || int64(len(s)) != l.Size {
					t.Errorf("blob %s has %d bytes", l.Digest, len(s))
				}
			}
			again, err := b.g.Import(t.Context(), "docker.io/library/golang:1.26", bytes.NewReader(c.tar))
			if err != nil || again.Digest != m.Digest {
				t.Errorf("Import again = %s, %v; want the same %s", again.Digest, err, m.Digest)
			}
		})
	}
}

func TestImport_RootFSIsOneLayerAsItIs(t *testing.T) {
	b := newBench(t)
	raw := tarOf(file{"usr/", "/"}, file{"usr/x", strings.Repeat("y", 3000)})
	m, err := b.g.Import(t.Context(), "ghcr.io/owner/base", bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if got := text(b.do(t, "reader", "GET", "/v2/mirror.ghcr.io/owner/base/blobs/"+digest.FromBytes(raw).String(), nil, "")); got != string(raw) {
		t.Error("the layer is not the tar")
	}
	cfg := text(b.do(t, "reader", "GET", "/v2/mirror.ghcr.io/owner/base/blobs/"+m.Blobs[0].Digest.String(), nil, ""))
	if !strings.Contains(cfg, `"diff_ids":["`+digest.FromBytes(raw).String()+`"]`) || !strings.Contains(cfg, `"os":"linux"`) {
		t.Errorf("config = %s", cfg)
	}
	if d, err := b.records.Tag(t.Context(), "mirror/ghcr.io/owner/base", "latest"); err != nil || d != m.Digest {
		t.Errorf("latest = %s, %v", d, err)
	}
}

func TestImport_ChoosesByName(t *testing.T) {
	b := newBench(t)
	one, two := saved(layerTar), saved(string(tarOf(file{"etc/two", "2"})))
	var entries []json.RawMessage
	var files []file
	for i, img := range [][]file{one, two} {
		for _, f := range img {
			if f.name == "manifest.json" {
				var e []map[string]any
				_ = json.Unmarshal([]byte(f.content), &e)
				e[0]["RepoTags"] = []string{fmt.Sprintf("app:%d", i+1)}
				entries = append(entries, json.RawMessage(js(e[0])))
				continue
			}
			files = append(files, f)
		}
	}
	archive := tarOf(append(files, file{"manifest.json", js(entries)})...)
	m, err := b.g.Import(t.Context(), "app:2", bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	if m.Blobs[1].Digest != digest.FromBytes(tarOf(file{"etc/two", "2"})) {
		t.Error("the wrong image was imported")
	}
	if _, err := b.g.Import(t.Context(), "app:3", bytes.NewReader(archive)); err == nil || !strings.Contains(err.Error(), "app:1, app:2") {
		t.Errorf("Import of a name that is not there: %v", err)
	}
}

func TestImport_Refuses(t *testing.T) {
	good := saved(layerTar)
	broken := append([]file{}, good...)
	broken[2].content = string(tarOf(file{"bin/app", "#?"}))
	bad := layout(nil)
	bad[3].content = "other"
	cut := tarOf(layout(nil)...)
	for _, c := range []struct {
		name, ref string
		tar       []byte
		want      string
	}{
		{"nothing", "app", nil, "neither an image archive"},
		{"text", "app", []byte("hello, this is no tar but quite a long text"), "neither an image archive"},
		{"an empty tar", "app", tarOf(), "neither an image archive"},
		{"source code", "app", tarOf(file{"main.go", "package main"}), "none of the directories of a root file system"},
		{"no manifest", "app", tarOf(good[:3]...), "neither manifest.json"},
		{"missing layer", "app", tarOf(good[3:]...), "no such file"},
		{"wrong layer", "app", tarOf(broken...), "which the config names"},
		{"wrong digest", "app", tarOf(bad...), "its content has digest"},
		{"cut off", "app", cut[:2100], "unexpected EOF"},
		{"path that leads out", "app", tarOf(append([]file{{"blobs/../../x", "y"}}, layout(nil)...)...), "leads out of it"},
		{"path that leads out of a root", "app", tarOf(file{"bin/", "/"}, file{"bin/../../x", "y"}), "leads out of it"},
		{"link that leads out of a root", "app", tarOf(file{"bin/", "/"}, file{"bin/x", "=> ../../etc/shadow"}), "leads out of it"},
		{"link that leads out of an archive", "app", tarOf(file{hex("x") + "/layer.tar", "-> ../../../etc/shadow"}), "leads out of it"},
		{"link in a circle", "app", tarOf(file{"index.json", `{"manifests":[{"digest":"` + missingDigest + `"}]}`}, file{"oci-layout", `{"imageLayoutVersion":"1.0.0"}`}, file{"blobs/sha256/" + missingDigest[7:], "-> " + missingDigest[7:]}), "no such file"},
		{"a layer", "app", tarOf(file{"bin/.wh.sh", ""}), "whiteout"},
		{"another digest", "app@" + missingDigest, tarOf(good...), "the archive's image is sha256:"},
		{"own registry", "localhost:4566/app", tarOf(good...), "pushed, not imported"},
		{"ECR", "000000000000.dkr.ecr.us-east-1.amazonaws.com/app", tarOf(good...), "pushed, not imported"},
		{"no name", "App!", tarOf(good...), "image name"},
		{"version", "app", tarOf(file{"oci-layout", `{"imageLayoutVersion":"9"}`}, file{"index.json", "{}"}), "version"},
		{"empty layout", "app", tarOf(file{"oci-layout", `{"imageLayoutVersion":"1.0.0"}`}, file{"index.json", "{}"}), "names no image"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			_, err := b.g.Import(t.Context(), c.ref, bytes.NewReader(c.tar))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("Import = %v, want %q", err, c.want)
			}
			if ups, _ := b.store.Uploads(t.Context()); len(ups) != 0 {
				t.Errorf("uploads %v are left", ups)
			}
			if tags, _ := b.records.Tags(t.Context(), oci.MirrorRepo("docker.io", "library/app"), "", -1); len(tags) != 0 {
				t.Errorf("tags %v are there", tags)
			}
		})
	}
}

func FuzzImport(f *testing.F) {
	f.Add(tarOf(saved(layerTar)...))
	f.Add(tarOf(layout(nil)...))
	f.Add(tarOf(file{"bin/sh", "x"}))
	f.Fuzz(func(t *testing.T, archive []byte) {
		b := newBench(t)
		m, err := b.g.Import(t.Context(), "app", bytes.NewReader(archive))
		if err == nil && m.Digest.Validate() != nil {
			t.Fatalf("imported %+v", m)
		}
	})
}
