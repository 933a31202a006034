package oci_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lotse-project/lotse/internal/oci"
	"github.com/lotse-project/lotse/internal/oci/ocitest"
)

// A bench is a registry in memory. The repositories foo and foo/bar are there; user "reader" may only
// pull, user "" nothing, everybody else all.
type bench struct {
	g       *oci.Registry
	url     string
	records *ocitest.Records
	store   *ocitest.DirStore
	dir     string
	now     time.Time
	room    int64
}

const scope = "000000000000/us-east-1/"

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{room: 1 << 40, records: ocitest.NewRecords(scope+"foo", scope+"foo/bar"), dir: t.TempDir(), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	b.store = ocitest.NewDirStore(b.dir)
	b.g = b.registry()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.g.ServeHTTP(w, r) }))
	t.Cleanup(srv.Close)
	b.url = srv.URL
	return b
}

// registry makes a registry on the same state, as after a restart.
func (b *bench) registry() *oci.Registry {
	return oci.New(oci.Options{
		Blobs: b.store, Records: b.records, Authorizer: users{}, MaxBlob: 128 << 10,
		Resolve: func(_ *http.Request, name string) (string, error) {
			if repo, ok := oci.MirrorName(name); ok {
				return repo, nil
			}
			if strings.HasPrefix(name, "bad/") {
				return "", &oci.Error{Status: 400, Code: "NAME_INVALID", Message: "bad"}
			}
			return scope + name, nil
		},
		Room: func(context.Context, string, int64) (int64, *oci.Error, error) {
			return b.room, &oci.Error{Status: 507, Code: "DENIED", Message: "disk low"}, nil
		},
		Now: func() time.Time { return b.now },
		Log: slog.New(slog.DiscardHandler),
	})
}

type users struct{}

func (users) Authorize(r *http.Request, repo string, action oci.Action) error {
	user, _, ok := r.BasicAuth()
	if !ok || user == "" {
		return &oci.Error{Status: 401, Message: "Not Authorized\n", Header: http.Header{"Www-Authenticate": {`Basic realm="x"`}}}
	}
	if user == "reader" && action > oci.Pull {
		return &oci.Error{Status: 403, Code: "DENIED", Message: user + " may not " + action.String() + " " + repo}
	}
	return nil
}

func (b *bench) do(t *testing.T, user, method, path string, header map[string]string, body string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	if header["Transfer-Encoding"] != "" {
		req.ContentLength = -1
	}
	if user != "" {
		req.SetBasicAuth(user, "x")
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	res.Body = io.NopCloser(bytes.NewReader(raw))
	return res
}

func text(res *http.Response) string {
	raw, _ := io.ReadAll(res.Body)
	return string(raw)
}

// push brings a blob in, in one request.
func (b *bench) push(t *testing.T, name, content string) ocispec.Descriptor {
	t.Helper()
	d := digest.FromString(content)
	res := b.do(t, "admin", "POST", "/v2/"+name+"/blobs/uploads/?digest="+d.String(), nil, content)
	if res.StatusCode != 201 {
		t.Fatalf("push of a blob: %s %s", res.Status, text(res))
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: d, Size: int64(len(content))}
}

// image pushes an image under a tag.
func (b *bench) image(t *testing.T, name, tag string, contents ...string) ocispec.Descriptor {
	t.Helper()
	raw := b.manifest(t, name, contents...)
	res := b.do(t, "admin", "PUT", "/v2/"+name+"/manifests/"+tag, map[string]string{"Content-Type": ocispec.MediaTypeImageManifest}, raw)
	if res.StatusCode != 201 {
		t.Fatalf("push of a manifest: %s %s", res.Status, text(res))
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(raw), Size: int64(len(raw))}
}

// manifest pushes blobs, and returns a manifest of them: the first is the config.
func (b *bench) manifest(t *testing.T, name string, contents ...string) string {
	t.Helper()
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{}}
	m.SchemaVersion = 2
	for i, c := range contents {
		d := b.push(t, name, c)
		if i == 0 {
			d.MediaType = ocispec.MediaTypeImageConfig
			m.Config = d
			continue
		}
		m.Layers = append(m.Layers, d)
	}
	return marshal(t, m)
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

const (
	oneDigest     = "sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed" // of "one"
	missingDigest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
)

// TestCalls reads as requests and their answers, each to a registry with the blob "one" and the image v1
// in the repository foo.
func TestCalls(t *testing.T) {
	for _, c := range []struct {
		name   string
		user   string // default "admin"
		method string // default GET
		path   string
		header map[string]string
		body   string

		status int
		want   map[string]string // headers
		text   string            // part of the body
	}{
		{name: "ping", path: "/v2/", status: 200, want: map[string]string{"Docker-Distribution-Api-Version": "registry/2.0"}},
		{name: "ping without login", user: "-", path: "/v2/", status: 401, want: map[string]string{"Www-Authenticate": `Basic realm="x"`, "Docker-Distribution-Api-Version": "registry/2.0"}, text: "Not Authorized\n"},
		{name: "without login", user: "-", path: "/v2/foo/manifests/v1", status: 401, text: "Not Authorized\n"},
		{name: "nonsense without login", user: "-", path: "/v2/Foo!/x", status: 401},
		{name: "a bad name without login", user: "-", path: "/v2/FOO/tags/list", status: 401},
		{name: "no such path", path: "/v2/foo", status: 404, text: "UNSUPPORTED"},
		{name: "bad name", path: "/v2/FOO/tags/list", status: 400, text: "NAME_INVALID"},
		{name: "name that leads out", path: "/v2/foo/..%2f..%2fx/tags/list", status: 400, text: "NAME_INVALID"},
		{name: "unresolvable name", path: "/v2/bad/foo/tags/list", status: 400, text: "NAME_INVALID"},
		{name: "bad method", method: "POST", path: "/v2/foo/tags/list", status: 405},
		{name: "missing repository", path: "/v2/nope/tags/list", status: 404, text: "NAME_UNKNOWN"},
		{name: "push to a missing repository", method: "POST", path: "/v2/nope/blobs/uploads/", status: 404, text: "The repository with name 'nope' does not exist in the registry with id '000000000000'"},

		{name: "blob", path: "/v2/foo/blobs/" + oneDigest, status: 200, text: "one", want: map[string]string{"Docker-Content-Digest": oneDigest, "Content-Length": "3", "Content-Type": "application/octet-stream"}},
		{name: "blob head", method: "HEAD", path: "/v2/foo/blobs/" + oneDigest, status: 200, want: map[string]string{"Content-Length": "3"}},
		{name: "blob range", path: "/v2/foo/blobs/" + oneDigest, header: map[string]string{"Range": "bytes=1-"}, status: 206, text: "ne", want: map[string]string{"Content-Range": "bytes 1-2/3"}},
		{name: "blob of another repository", path: "/v2/foo/bar/blobs/" + oneDigest, status: 404, text: "BLOB_UNKNOWN"},
		{name: "missing blob", path: "/v2/foo/blobs/" + missingDigest, status: 404, text: "BLOB_UNKNOWN"},
		{name: "blob by no digest", path: "/v2/foo/blobs/sha256:zz", status: 400, text: "DIGEST_INVALID"},
		{name: "blob delete as reader", user: "reader", method: "DELETE", path: "/v2/foo/blobs/" + oneDigest, status: 403, text: "DENIED"},
		{name: "blob delete", method: "DELETE", path: "/v2/foo/blobs/" + oneDigest, status: 202},

		{name: "upload begins", method: "POST", path: "/v2/foo/blobs/uploads/", status: 202, want: map[string]string{"Range": "0-0"}},
		{name: "upload as reader", user: "reader", method: "POST", path: "/v2/foo/blobs/uploads/", status: 403, text: "reader may not push " + scope + "foo"},
		{name: "upload at once", method: "POST", path: "/v2/foo/blobs/uploads/?digest=" + digest.FromString("x").String(), body: "x", status: 201, want: map[string]string{"Docker-Content-Digest": digest.FromString("x").String(), "Location": "/v2/foo/blobs/" + digest.FromString("x").String()}},
		{name: "upload with wrong digest", method: "POST", path: "/v2/foo/blobs/uploads/?digest=" + oneDigest, body: "two", status: 400, text: "DIGEST_INVALID"},
		{name: "unknown upload", method: "PATCH", path: "/v2/foo/blobs/uploads/nope", status: 404, text: "BLOB_UPLOAD_UNKNOWN"},
		{name: "upload too large", method: "POST", path: "/v2/foo/blobs/uploads/?digest=" + oneDigest, body: strings.Repeat("x", 128<<10+1), status: 413, text: "SIZE_INVALID"},
		{name: "mount", method: "POST", path: "/v2/foo/bar/blobs/uploads/?mount=" + oneDigest + "&from=foo", status: 201, want: map[string]string{"Location": "/v2/foo/bar/blobs/" + oneDigest}},
		{name: "mount from anywhere", method: "POST", path: "/v2/foo/bar/blobs/uploads/?mount=" + oneDigest, status: 201},
		{name: "mount of what isn't there", method: "POST", path: "/v2/foo/bar/blobs/uploads/?mount=" + missingDigest + "&from=foo", status: 202},
		{name: "mount from a missing repository", method: "POST", path: "/v2/foo/bar/blobs/uploads/?mount=" + oneDigest + "&from=nope", status: 202},

		{name: "manifest by tag", path: "/v2/foo/manifests/v1", status: 200, want: map[string]string{"Content-Type": ocispec.MediaTypeImageManifest}, text: `"schemaVersion":2`},
		{name: "manifest head", method: "HEAD", path: "/v2/foo/manifests/v1", status: 200, want: map[string]string{"Content-Type": ocispec.MediaTypeImageManifest}},
		{name: "missing tag", path: "/v2/foo/manifests/v2", status: 404, text: `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"Requested image not found"}]}`},
		{name: "missing digest", path: "/v2/foo/manifests/" + missingDigest, status: 404, text: "MANIFEST_UNKNOWN"},
		{name: "bad digest", path: "/v2/foo/manifests/sha256:1", status: 400, text: "DIGEST_INVALID"},
		{name: "manifest of nothing", method: "PUT", path: "/v2/foo/manifests/v2", header: map[string]string{"Content-Type": ocispec.MediaTypeImageManifest}, body: "{}", status: 400, text: "MANIFEST_INVALID"},
		{name: "manifest without type", method: "PUT", path: "/v2/foo/manifests/v2", body: `{"schemaVersion":2}`, status: 400, text: "mediatype not provided"},
		{name: "manifest of schema 1", method: "PUT", path: "/v2/foo/manifests/v2", header: map[string]string{"Content-Type": "application/vnd.docker.distribution.manifest.v1+json"}, body: `{"schemaVersion":1}`, status: 400, text: "not supported"},
		{name: "manifest with missing layer", method: "PUT", path: "/v2/foo/manifests/v2", header: map[string]string{"Content-Type": ocispec.MediaTypeImageManifest},
			body: `{"schemaVersion":2,"config":{"digest":"` + missingDigest + `","size":1}}`, status: 404, text: "MANIFEST_BLOB_UNKNOWN"},
		{name: "manifest with wrong size", method: "PUT", path: "/v2/foo/manifests/v2", header: map[string]string{"Content-Type": ocispec.MediaTypeImageManifest},
			body: `{"schemaVersion":2,"config":{"digest":"` + oneDigest + `","size":4}}`, status: 400, text: "it has 3"},
		{name: "index with missing manifest", method: "PUT", path: "/v2/foo/manifests/v2", header: map[string]string{"Content-Type": ocispec.MediaTypeImageIndex},
			body: `{"schemaVersion":2,"manifests":[{"digest":"` + missingDigest + `","size":1}]}`, status: 404, text: "MANIFEST_BLOB_UNKNOWN"},
		{name: "manifest under another digest", method: "PUT", path: "/v2/foo/manifests/" + missingDigest, header: map[string]string{"Content-Type": ocispec.MediaTypeImageManifest},
			body: `{"schemaVersion":2,"config":{"digest":"` + oneDigest + `","size":3}}`, status: 400, text: "DIGEST_INVALID"},
		{name: "manifest with foreign layer", method: "PUT", path: "/v2/foo/manifests/v2", header: map[string]string{"Content-Type": ocispec.MediaTypeImageManifest},
			body: `{"schemaVersion":2,"config":{"digest":"` + oneDigest + `","size":3},"layers":[{"digest":"` + missingDigest + `","size":4,"urls":["https://example.com"]}]}`, status: 201},
		{name: "manifest with subject", method: "PUT", path: "/v2/foo/manifests/v2", header: map[string]string{"Content-Type": ocispec.MediaTypeImageManifest},
			body: `{"schemaVersion":2,"config":{"digest":"` + oneDigest + `","size":3},"subject":{"digest":"` + missingDigest + `","size":4}}`, status: 201, want: map[string]string{"OCI-Subject": missingDigest}},
		{name: "bad tag", method: "PUT", path: "/v2/foo/manifests/.x", body: `{}`, status: 400, text: "TAG_INVALID"},
		{name: "too large a manifest", method: "PUT", path: "/v2/foo/manifests/v2", body: strings.Repeat(" ", 4<<20+1), status: 413, text: "SIZE_INVALID"},
		{name: "manifest delete by tag", method: "DELETE", path: "/v2/foo/manifests/v1", status: 202},
		{name: "manifest delete of a missing tag", method: "DELETE", path: "/v2/foo/manifests/v2", status: 404},

		{name: "tags", path: "/v2/foo/tags/list", status: 200, text: `{"name":"foo","tags":["v1"]}`},
		{name: "tags of nothing", path: "/v2/foo/bar/tags/list", status: 200, text: `{"name":"foo/bar","tags":[]}`},
		{name: "no tags wanted", path: "/v2/foo/tags/list?n=0", status: 200, text: `"tags":[]`},
		{name: "bad number of tags", path: "/v2/foo/tags/list?n=x", status: 400},
		{name: "referrers of the unknown", path: "/v2/foo/referrers/" + missingDigest, status: 200, text: `"manifests":[]`, want: map[string]string{"Content-Type": ocispec.MediaTypeImageIndex}},
		{name: "referrers by type", path: "/v2/foo/referrers/" + missingDigest + "?artifactType=x", status: 200, want: map[string]string{"OCI-Filters-Applied": "artifactType"}},
		{name: "referrers of no digest", path: "/v2/foo/referrers/x", status: 400},

		{name: "push to the mirror", method: "POST", path: "/v2/mirror/library/golang/blobs/uploads/", status: 405, text: "lotse image import"},
		{name: "missing image of the mirror", path: "/v2/mirror/library/golang/manifests/1", status: 404, text: "NAME_UNKNOWN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.push(t, "foo", "one")
			b.image(t, "foo", "v1", "config", "layer")
			if c.user == "" {
				c.user = "admin"
			}
			if c.method == "" {
				c.method = "GET"
			}
			res := b.do(t, strings.TrimPrefix(c.user, "-"), c.method, c.path, c.header, c.body)
			body := text(res)
			if res.StatusCode != c.status {
				t.Fatalf("%s %s = %d %s, want %d", c.method, c.path, res.StatusCode, body, c.status)
			}
			for k, v := range c.want {
				if got := res.Header.Get(k); got != v {
					t.Errorf("header %s = %q, want %q", k, got, v)
				}
			}
			if !strings.Contains(body, c.text) {
				t.Errorf("body %q does not hold %q", body, c.text)
			}
		})
	}
}

func TestUpload_InChunksOverARestart(t *testing.T) {
	b := newBench(t)
	content := strings.Repeat("0123456789", 1000)
	d := digest.FromString(content)
	loc := b.do(t, "admin", "POST", "/v2/foo/blobs/uploads/", nil, "").Header.Get("Location")

	res := b.do(t, "admin", "PATCH", loc, map[string]string{"Content-Range": "0-3999"}, content[:4000])
	if res.StatusCode != 202 || res.Header.Get("Range") != "0-3999" {
		t.Fatalf("first chunk: %s, Range %q", res.Status, res.Header.Get("Range"))
	}
	b.g = b.registry()
	res = b.do(t, "admin", "PATCH", loc, map[string]string{"Content-Range": "5000-5999"}, content[5000:6000])
	if res.StatusCode != 416 || res.Header.Get("Range") != "0-3999" || res.Header.Get("Location") != loc {
		t.Errorf("chunk out of order: %s, Range %q, Location %q", res.Status, res.Header.Get("Range"), res.Header.Get("Location"))
	}
	res = b.do(t, "admin", "PATCH", loc, map[string]string{"Content-Range": "x"}, "y")
	if res.StatusCode != 400 {
		t.Errorf("chunk with bad range: %s", res.Status)
	}
	res = b.do(t, "admin", "PATCH", loc, map[string]string{"Content-Range": "4000-5999"}, content[4000:6000])
	if res.StatusCode != 202 {
		t.Fatalf("second chunk: %s %s", res.Status, text(res))
	}
	res = b.do(t, "admin", "GET", loc, nil, "")
	if res.StatusCode != 204 || res.Header.Get("Range") != "0-5999" {
		t.Errorf("status: %s, Range %q", res.Status, res.Header.Get("Range"))
	}
	if res = b.do(t, "admin", "PUT", strings.Replace(loc, "/foo/", "/foo/bar/", 1)+"?digest="+d.String(), nil, ""); res.StatusCode != 404 {
		t.Errorf("finish through another repository: %s", res.Status)
	}
	res = b.do(t, "admin", "PUT", loc+"?digest="+d.String(), nil, content[6000:])
	if res.StatusCode != 201 {
		t.Fatalf("finish: %s %s", res.Status, text(res))
	}
	if got := text(b.do(t, "admin", "GET", "/v2/foo/blobs/"+d.String(), nil, "")); got != content {
		t.Errorf("blob has %d bytes, not the %d that were sent", len(got), len(content))
	}
	if res = b.do(t, "admin", "GET", loc, nil, ""); res.StatusCode != 404 {
		t.Errorf("status of a finished upload: %s", res.Status)
	}
}

func TestUpload_OneRequestAtATime(t *testing.T) {
	b := newBench(t)
	loc := b.do(t, "admin", "POST", "/v2/foo/blobs/uploads/", nil, "").Header.Get("Location")
	pr, pw := io.Pipe()
	req, _ := http.NewRequestWithContext(t.Context(), "PATCH", b.url+loc, pr)
	req.SetBasicAuth("admin", "x")
	done := make(chan error, 1)
	go func() {
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			res.Body.Close()
			if res.StatusCode != 202 {
				err = fmt.Errorf("first request: %s", res.Status)
			}
		}
		done <- err
	}()
	_, _ = pw.Write([]byte("slow"))
	for range 200 { // the first request has the upload once it has read what we wrote
		if res := b.do(t, "admin", "PATCH", loc, nil, ""); res.StatusCode == 409 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if res := b.do(t, "admin", "DELETE", loc, nil, ""); res.StatusCode != 409 {
		t.Errorf("a second request: %s, want 409", res.Status)
	}
	pw.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if res := b.do(t, "admin", "DELETE", loc, nil, ""); res.StatusCode != 204 {
		t.Errorf("cancel: %s", res.Status)
	}
	if ups, _ := b.store.Uploads(t.Context()); len(ups) != 0 {
		t.Errorf("uploads %v are left", ups)
	}
}

func TestUpload_RefusedWhenThereIsNoRoom(t *testing.T) {
	b := newBench(t)
	begin := func() *http.Response { return b.do(t, "admin", "POST", "/v2/foo/blobs/uploads/", nil, "") }
	upload := begin().Header.Get("Location")
	for room, want := range map[int64]int{4: 507, 5: 202} {
		b.room = room
		if res := b.do(t, "admin", "PATCH", upload, nil, "12345"); res.StatusCode != want {
			t.Errorf("5 bytes with room for %d: %s", room, res.Status)
		}
	}
	// Of unknown length: what came is thrown away, for it takes the room of others.
	b.room = 4
	long := begin().Header.Get("Location")
	if res := b.do(t, "admin", "PATCH", long, map[string]string{"Transfer-Encoding": "chunked"}, "12345"); res.StatusCode != 507 {
		t.Errorf("5 bytes of unknown number with room for 4: %s", res.Status)
	}
	if res := b.do(t, "admin", "GET", long, nil, ""); res.StatusCode != 404 {
		t.Errorf("the upload afterwards: %s", res.Status)
	}
	b.room = 0
	res := begin()
	if res.StatusCode != 507 || !strings.Contains(text(res), "disk low") {
		t.Errorf("upload on a full disk: %s", res.Status)
	}
}

// An upload that was to come whole and didn't can be gone on with.
func TestUpload_BrokenOffGoesOn(t *testing.T) {
	b := newBench(t)
	at := b.do(t, "admin", "POST", "/v2/foo/blobs/uploads/", nil, "").Header.Get("Location")
	d := digest.FromString("0123456789")
	if res := b.do(t, "admin", "PUT", at+"?digest="+d.String(), map[string]string{"Content-Range": "5-9"}, "56789"); res.StatusCode != 416 {
		t.Errorf("the second half first: %s", res.Status)
	}
	pr, pw := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), "PUT", b.url+at+"?digest="+d.String(), pr)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = 10
	req.SetBasicAuth("admin", "x")
	go func() {
		_, _ = pw.Write([]byte("01234"))
		_ = pw.CloseWithError(io.ErrUnexpectedEOF)
	}()
	if res, err := http.DefaultClient.Do(req); err == nil {
		t.Fatalf("half of it: %s", res.Status)
	}
	var have string
	for range 100 { // the server has yet to notice
		if have = b.do(t, "admin", "GET", at, nil, "").Header.Get("Range"); have == "0-4" {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if have != "0-4" {
		t.Fatalf("half of it has come; the upload has %s", have)
	}
	b.g = b.registry() // and a restart in between
	if res := b.do(t, "admin", "PUT", at+"?digest="+d.String(), nil, "56789"); res.StatusCode != 201 {
		t.Errorf("the rest: %s %s", res.Status, text(res))
	}
}

func TestImmutableTag(t *testing.T) {
	b := newBench(t)
	b.image(t, "foo", "v1", "c1", "l1")
	b.records.SetImmutable(scope+"foo", true)
	b.image(t, "foo", "v1", "c1", "l1") // the same again
	raw := b.manifest(t, "foo", "c2", "l2")
	res := b.do(t, "admin", "PUT", "/v2/foo/manifests/v1", map[string]string{"Content-Type": ocispec.MediaTypeImageManifest}, raw)
	if res.StatusCode != 400 || !strings.Contains(text(res), "TAG_INVALID") {
		t.Errorf("moving an immutable tag: %s", res.Status)
	}
	d := digest.FromString(raw)
	if _, err := b.g.Adopt(t.Context(), scope+"foo", "v1", b.image(t, "foo", "v2", "c2", "l2").Digest); err == nil {
		t.Errorf("Adopt moved an immutable tag to %s", d)
	}
}

func TestIndexAndReferrers(t *testing.T) {
	b := newBench(t)
	one, two := b.image(t, "foo", "one", "c1", "l1"), b.image(t, "foo", "two", "c2", "l1")
	idx := marshal(t, map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": []ocispec.Descriptor{one, two}})
	if res := b.do(t, "admin", "PUT", "/v2/foo/manifests/latest", nil, idx); res.StatusCode != 201 {
		t.Fatalf("index: %s %s", res.Status, text(res))
	}
	res := b.do(t, "admin", "GET", "/v2/foo/manifests/latest", nil, "")
	if got := text(res); got != idx || res.Header.Get("Content-Type") != ocispec.MediaTypeImageIndex {
		t.Errorf("index = %s %q", res.Header.Get("Content-Type"), got)
	}
	cfg := b.push(t, "foo", "{}")
	cfg.MediaType = "application/x-signature"
	sig := marshal(t, ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: cfg, Subject: &one, Annotations: map[string]string{"a": "b"}})
	sig = strings.Replace(sig, `"schemaVersion":0`, `"schemaVersion":2`, 1)
	if res := b.do(t, "admin", "PUT", "/v2/foo/manifests/"+digest.FromString(sig).String(), nil, sig); res.StatusCode != 201 || res.Header.Get("OCI-Subject") != one.Digest.String() {
		t.Fatalf("signature: %s %s", res.Status, text(res))
	}
	var got ocispec.Index
	if err := json.Unmarshal([]byte(text(b.do(t, "admin", "GET", "/v2/foo/referrers/"+one.Digest.String()+"?artifactType=application/x-signature", nil, ""))), &got); err != nil {
		t.Fatal(err)
	}
	want := []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(sig), Size: int64(len(sig)), ArtifactType: "application/x-signature", Annotations: map[string]string{"a": "b"}}}
	if d := cmp.Diff(want, got.Manifests); d != "" {
		t.Error(d)
	}
}

func TestTagPages(t *testing.T) {
	b := newBench(t)
	for _, tag := range []string{"c", "a", "b"} {
		b.image(t, "foo", tag, "c")
	}
	res := b.do(t, "admin", "GET", "/v2/foo/tags/list?n=2", nil, "")
	if got, link := text(res), res.Header.Get("Link"); got != `{"name":"foo","tags":["a","b"]}` || link != `</v2/foo/tags/list?n=2&last=b>; rel="next"` {
		t.Errorf("first page = %s, Link %q", got, link)
	}
	res = b.do(t, "admin", "GET", "/v2/foo/tags/list?n=2&last=b", nil, "")
	if got, link := text(res), res.Header.Get("Link"); got != `{"name":"foo","tags":["c"]}` || link != "" {
		t.Errorf("second page = %s, Link %q", got, link)
	}
}

// A file is sent with sendfile only if nothing wraps the response's writer on the way.
func TestBlobsAreSentFromTheFile(t *testing.T) {
	b := newBench(t)
	b.push(t, "foo", "one")
	w := &readFrom{ResponseRecorder: httptest.NewRecorder()}
	r := httptest.NewRequest("GET", "/v2/foo/blobs/"+oneDigest, nil)
	r.SetBasicAuth("admin", "x")
	b.g.ServeHTTP(w, r)
	if !w.used || w.Body.String() != "one" {
		t.Errorf("ReadFrom used: %v, body %q", w.used, w.Body)
	}
}

type readFrom struct {
	*httptest.ResponseRecorder
	used bool
}

func (w *readFrom) ReadFrom(r io.Reader) (int64, error) {
	w.used = true
	return io.Copy(w.ResponseRecorder, r)
}
