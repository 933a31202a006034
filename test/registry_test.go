package test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lotse-project/lotse/test/judge"
	"github.com/lotse-project/lotse/test/server"
)

// registry is a bare client of /v2/.
type registry struct {
	t        *testing.T
	endpoint string
	password string
}

func newRegistry(t *testing.T, s *server.Server) *registry {
	return &registry{t, s.Endpoint, password(t, s)}
}

// ask sends a request; headers are given as pairs.
func (r *registry) ask(method, path string, body []byte, headers ...string) (*http.Response, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.endpoint+path, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.SetBasicAuth("AWS", r.password)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp, string(b)
}

// want fails the test unless the answer has the status and its body all of the words.
func (r *registry) want(resp *http.Response, body string, status int, words ...string) {
	r.t.Helper()
	if resp.StatusCode != status {
		r.t.Errorf("%s %s: %s, want %d: %s", resp.Request.Method, resp.Request.URL.Path, resp.Status, status, body)
	}
	for _, w := range words {
		if !strings.Contains(body, w) {
			r.t.Errorf("%s %s: %q is not in: %s", resp.Request.Method, resp.Request.URL.Path, w, body)
		}
	}
}

// blob pushes content and returns its digest.
func (r *registry) blob(repo string, content []byte) string {
	r.t.Helper()
	d := sha256Of(content)
	resp, body := r.ask("POST", "/v2/"+repo+"/blobs/uploads/?digest="+d, content, "Content-Type", "application/octet-stream")
	r.want(resp, body, 201)
	return d
}

func sha256Of(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

const ociManifest = "application/vnd.oci.image.manifest.v1+json"

func manifestOf(config, layer []byte) []byte {
	desc := func(mediaType string, b []byte) map[string]any {
		return map[string]any{"mediaType": mediaType, "digest": sha256Of(b), "size": len(b)}
	}
	m, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": ociManifest,
		"config": desc("application/vnd.oci.image.config.v1+json", config),
		"layers": []any{desc("application/vnd.oci.image.layer.v1.tar", layer)}})
	return m
}

// A manifest whose content isn't there is refused, and leaves nothing behind.
func TestSparseManifest(t *testing.T) {
	s := start(t)
	repository(t, s, "app")
	r := newRegistry(t, s)
	config, layer := []byte(`{"os":"linux"}`), []byte("layer")
	m := manifestOf(config, layer)
	r.blob("app", config)
	resp, body := r.ask("PUT", "/v2/app/manifests/v1", m, "Content-Type", ociManifest)
	r.want(resp, body, 404, "MANIFEST_BLOB_UNKNOWN", sha256Of(layer))
	resp, body = r.ask("GET", "/v2/app/manifests/v1", nil)
	r.want(resp, body, 404, "MANIFEST_UNKNOWN")
	r.blob("app", layer)
	resp, body = r.ask("PUT", "/v2/app/manifests/v1", m, "Content-Type", ociManifest)
	r.want(resp, body, 201)
}

// What the official suite does not ask.
func TestRegistry(t *testing.T) {
	s := start(t)
	repository(t, s, "app")
	r := newRegistry(t, s)
	config, layer := []byte(`{"os":"linux"}`), bytes.Repeat([]byte("0123456789"), 1000)
	m := manifestOf(config, layer)
	r.blob("app", config)
	d := r.blob("app", layer)
	resp, body := r.ask("PUT", "/v2/app/manifests/v1", m, "Content-Type", ociManifest)
	r.want(resp, body, 201)

	t.Run("a missing repository says how to make it", func(t *testing.T) {
		for _, path := range []string{"/v2/team/none/blobs/uploads/", "/v2/team/none/blobs/uploads/?mount=" + d + "&from=app"} {
			resp, body := r.ask("POST", path, nil)
			r.want(resp, body, 404, "NAME_UNKNOWN", "The repository with name 'team/none' does not exist in the registry with id '000000000000'",
				"aws ecr create-repository --repository-name team/none --region us-east-1")
		}
		resp, body := r.ask("GET", "/v2/none/manifests/v1", nil)
		r.want(resp, body, 404, "NAME_UNKNOWN")
		if strings.Contains(body, "create-repository") {
			t.Errorf("a pull is told to make a repository: %s", body)
		}
	})
	t.Run("conditions", func(t *testing.T) {
		for path, etag := range map[string]string{
			"/v2/app/manifests/v1":             `"` + sha256Of(m) + `"`,
			"/v2/app/manifests/" + sha256Of(m): `"` + sha256Of(m) + `"`,
			"/v2/app/blobs/" + d:               `"` + d + `"`,
		} {
			for _, method := range []string{"GET", "HEAD"} {
				resp, body := r.ask(method, path, nil)
				r.want(resp, body, 200)
				if got := resp.Header.Get("Etag"); got != etag {
					t.Errorf("%s %s: ETag %s, want %s", method, path, got, etag)
				}
				resp, body = r.ask(method, path, nil, "If-None-Match", etag)
				r.want(resp, body, 304)
				if body != "" {
					t.Errorf("%s %s: 304 with a body: %s", method, path, body)
				}
				resp, body = r.ask(method, path, nil, "If-None-Match", `"sha256:other"`)
				r.want(resp, body, 200)
			}
		}
	})
	t.Run("ranges", func(t *testing.T) {
		for _, c := range []struct {
			ask    string
			status int
			body   string
			got    string
		}{
			{"bytes=0-3", 206, "0123", "bytes 0-3/10000"},
			{"bytes=9995-", 206, "56789", "bytes 9995-9999/10000"},
			{"bytes=-2", 206, "89", "bytes 9998-9999/10000"},
			{"bytes=10000-", 416, "", "bytes */10000"},
		} {
			resp, body := r.ask("GET", "/v2/app/blobs/"+d, nil, "Range", c.ask)
			if resp.StatusCode != c.status || resp.Header.Get("Content-Range") != c.got || c.status == 206 && body != c.body {
				t.Errorf("%s: %s, %s, %q", c.ask, resp.Status, resp.Header.Get("Content-Range"), body)
			}
		}
	})
	t.Run("large manifests", func(t *testing.T) {
		big := append(bytes.Clone(m), bytes.Repeat([]byte(" "), 4<<20)...)
		resp, body := r.ask("PUT", "/v2/app/manifests/big", big, "Content-Type", ociManifest)
		r.want(resp, body, 413, "4194304")
	})
	t.Run("without a login", func(t *testing.T) {
		resp, err := http.Get(s.Endpoint + "/v2/app/manifests/v1")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if want := fmt.Sprintf(`Basic realm="https://%s/",service="ecr.amazonaws.com"`, host(s)); resp.StatusCode != 401 || resp.Header.Get("Www-Authenticate") != want {
			t.Errorf("%s, %s", resp.Status, resp.Header.Get("Www-Authenticate"))
		}
	})
}

// skopeo pushes, pulls, copies, inspects and deletes.
func TestSkopeo(t *testing.T) {
	judge.Path(t, "skopeo")
	s := start(t)
	repository(t, s, "app")
	repository(t, s, "team/copy")
	auth := filepath.Join(t.TempDir(), "auth.json")
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "skopeo", args...)
		cmd.Env = append(os.Environ(), "REGISTRY_AUTH_FILE="+auth)
		cmd.Stdin = strings.NewReader(password(t, s))
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("skopeo %s: %v\n%s", strings.Join(args, " "), err, errs.String())
		}
		return strings.TrimSpace(string(out))
	}
	app, team := "docker://"+host(s)+"/app", "docker://"+host(s)+"/team/copy"
	run("login", "--tls-verify=false", "--username", "AWS", "--password-stdin", host(s))
	image := helloImage(t, "v1")

	// An image of its own: skopeo takes a layer that it has pushed in another compression as it is.
	run("copy", "--insecure-policy", "--dest-tls-verify=false", "docker-archive:"+helloImage(t, "v2"), app+":zstd", "--format", "oci", "--dest-compress-format", "zstd")
	run("copy", "--insecure-policy", "--dest-tls-verify=false", "docker-archive:"+image, app+":oci", "--format", "oci")
	run("copy", "--insecure-policy", "--dest-tls-verify=false", "docker-archive:"+image, app+":docker", "--format", "v2s2")
	run("copy", "--insecure-policy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", app+":docker", team+":v1")

	var info struct {
		Digest, Name     string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal([]byte(run("inspect", "--tls-verify=false", app+":oci")), &info); err != nil {
		t.Fatal(err)
	}
	if info.Name != host(s)+"/app" || strings.Join(info.RepoTags, " ") != "docker oci zstd" || len(info.Layers) != 1 {
		t.Errorf("inspect: %+v", info)
	}
	for tag, mediaType := range map[string]string{"oci": ociManifest, "docker": "application/vnd.docker.distribution.manifest.v2+json", "zstd": "vnd.oci.image.layer.v1.tar+zstd"} {
		if raw := run("inspect", "--raw", "--tls-verify=false", app+":"+tag); !strings.Contains(raw, mediaType) {
			t.Errorf("%s: %s is not in %s", tag, mediaType, raw)
		}
	}
	if a, b := run("inspect", "--raw", "--tls-verify=false", app+":docker"), run("inspect", "--raw", "--tls-verify=false", team+":v1"); a != b {
		t.Errorf("the copy differs:\n%s\n%s", a, b)
	}
	if out := run("list-tags", "--tls-verify=false", app); !strings.Contains(out, `"zstd"`) {
		t.Errorf("list-tags: %s", out)
	}
	for _, to := range []string{"dir:" + t.TempDir(), "oci:" + filepath.Join(t.TempDir(), "layout") + ":v1"} {
		run("copy", "--insecure-policy", "--src-tls-verify=false", app+":zstd", to)
	}
	run("delete", "--tls-verify=false", team+":v1")
	if out := refusedSkopeo(t, auth, "inspect", "--tls-verify=false", team+":v1"); !strings.Contains(out, "Requested image not found") {
		t.Errorf("after delete: %s", out)
	}
	if out := refusedSkopeo(t, auth, "copy", "--insecure-policy", "--dest-tls-verify=false", "docker-archive:"+image, "docker://"+host(s)+"/nowhere:v1"); !strings.Contains(out, "aws ecr create-repository --repository-name nowhere") {
		t.Errorf("push to a missing repository: %s", out)
	}
	run("logout", host(s))
	if out := refusedSkopeo(t, auth, "inspect", "--tls-verify=false", app+":oci"); !strings.Contains(out, "unauthorized") && !strings.Contains(out, "Not Authorized") && !strings.Contains(out, "authentication required") {
		t.Errorf("after logout: %s", out)
	}
}

// refusedSkopeo runs skopeo, which must fail, and returns what it said.
func refusedSkopeo(t *testing.T, auth string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "skopeo", args...)
	cmd.Env = append(os.Environ(), "REGISTRY_AUTH_FILE="+auth)
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("skopeo %s: it went through: %s", strings.Join(args, " "), out)
	}
	return string(out)
}
