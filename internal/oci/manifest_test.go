package oci

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	d1 = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	d2 = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

func TestParseManifest_Refuses(t *testing.T) {
	config := `"config":{"digest":"` + d1 + `","size":1}`
	for _, c := range []struct{ mediaType, raw, want string }{
		{ocispec.MediaTypeImageManifest, ``, "not JSON"},
		{ocispec.MediaTypeImageManifest, `[]`, "not JSON"},
		{ocispec.MediaTypeImageManifest, `{"schemaVersion":2,` + config + `}{}`, "follows"},
		{ocispec.MediaTypeImageManifest, `{"schemaVersion":1,` + config + `}`, "schemaVersion"},
		{ocispec.MediaTypeImageManifest, `{"schemaVersion":2}`, "no config"},
		{ocispec.MediaTypeImageManifest, `{"schemaVersion":2,"config":{"digest":"sha256:1","size":1}}`, "config"},
		{ocispec.MediaTypeImageManifest, `{"schemaVersion":2,"config":{"digest":"` + d1 + `","size":-1}}`, "negative"},
		{ocispec.MediaTypeImageManifest, `{"schemaVersion":2,` + config + `,"layers":[{"digest":"md5:1"}]}`, "layers[0]"},
		{ocispec.MediaTypeImageManifest, `{"schemaVersion":2,` + config + `,"manifests":[{"digest":"` + d1 + `"}]}`, "must not have manifests"},
		{ocispec.MediaTypeImageManifest, `{"schemaVersion":2,"mediaType":"` + DockerManifest + `",` + config + `}`, "says that it is"},
		{ocispec.MediaTypeImageIndex, `{"schemaVersion":2,` + config + `}`, "must not have config"},
		{ocispec.MediaTypeImageIndex, `{"schemaVersion":2,"manifests":[{}]}`, "manifests[0]"},
		{"", `{"schemaVersion":2,` + config + `}`, "mediatype not provided"},
		{"text/plain", `{"schemaVersion":2}`, "not supported"},
		{"a b", `{"schemaVersion":2}`, "media type"},
	} {
		_, _, err := ParseManifest([]byte(c.raw), c.mediaType, digest.SHA256)
		var e *Error
		if !errors.As(err, &e) || e.Code != "MANIFEST_INVALID" || !strings.Contains(e.Message, c.want) {
			t.Errorf("ParseManifest(%s, %s) = %v, want MANIFEST_INVALID with %q", c.mediaType, c.raw, err, c.want)
		}
	}
}

func TestMirrorName(t *testing.T) {
	for in, want := range map[string]string{
		"mirror/library/golang":      "mirror/docker.io/library/golang",
		"mirror.ghcr.io/owner/app":   "mirror/ghcr.io/owner/app",
		"mirror.nohost/app":          "",
		"mirror":                     "",
		"mirrors/library/golang":     "",
		"000000000000.us-east-1/app": "",
	} {
		got, ok := MirrorName(in)
		if ok != (want != "") || ok && got != want {
			t.Errorf("MirrorName(%q) = %q, %v; want %q", in, got, ok, want)
		}
	}
}

// What passes must be consistent with itself: that is what records and leases are made from.
func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"`+d1+`","size":1},"layers":[{"digest":"`+d2+`","size":2,"urls":["x"]}]}`), ocispec.MediaTypeImageManifest)
	f.Add([]byte(`{"schemaVersion":2,"mediaType":"`+DockerIndex+`","manifests":[{"digest":"`+d1+`","size":1}],"subject":{"digest":"`+d2+`"}}`), "")
	f.Add([]byte(`{"schemaVersion":2,"manifests":null,"annotations":{"a":"b"}}`), ocispec.MediaTypeImageIndex+"; charset=utf-8")
	f.Fuzz(func(t *testing.T, raw []byte, mediaType string) {
		m, foreign, err := ParseManifest(raw, mediaType, digest.SHA256)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Status < 400 || e.Status > 499 {
				t.Fatalf("error %v is not for the client", err)
			}
			return
		}
		if !json.Valid(raw) || m.Digest != digest.FromBytes(raw) || m.Size != int64(len(raw)) {
			t.Fatalf("accepted %q as %+v", raw, m)
		}
		for _, d := range m.children() {
			if d.Validate() != nil {
				t.Fatalf("child %q", d)
			}
		}
		if m.Index() && len(m.Blobs)+len(foreign) > 0 || !m.Index() && (len(m.Manifests) > 0 || len(m.Blobs) == 0) {
			t.Fatalf("neither image nor index: %+v", m)
		}
	})
}

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"golang", "golang:1.26", "ghcr.io/o/a@" + d1, "localhost:4566/x/y:z", "127.0.0.1:1/a", "A", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseReference(s)
		if err != nil {
			return
		}
		again, err := ParseReference(r.String())
		if err != nil || again != r {
			t.Fatalf("%q -> %+v -> %q -> %+v, %v", s, r, r.String(), again, err)
		}
	})
}
