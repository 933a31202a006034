package build

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
)

type staticKey struct{}

func (staticKey) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "secret"}, nil
}

func TestTunnel_Refused(t *testing.T) {
	var got *http.Request
	answer := http.StatusForbidden
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		http.Error(w, "The security token included in the request is invalid.", answer)
	}))
	defer srv.Close()
	c, err := NewClient(ClientOptions{Endpoint: srv.URL, Region: "eu-central-1", Credentials: staticKey{}, Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Context: contextDir(t, map[string]string{"Dockerfile": "FROM scratch\n"})}
	_, err = c.Build(t.Context(), o)
	var e *Error
	if err == nil || errors.As(err, &e) || !strings.Contains(err.Error(), "403 Forbidden: The security token included") {
		t.Errorf("Build() = %v, want the server's answer", err)
	}
	if got.Method != "POST" || got.URL.Path != Path || got.Header.Get("Upgrade") != protocol {
		t.Errorf("request %s %s, Upgrade %q", got.Method, got.URL.Path, got.Header.Get("Upgrade"))
	}
	auth := regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/\d{8}/eu-central-1/lotse/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=[0-9a-f]{64}$`)
	m := auth.FindStringSubmatch(got.Header.Get("Authorization"))
	if m == nil || !strings.Contains(m[1], "host;") || strings.Contains(m[1], "upgrade") || strings.Contains(m[1], "connection") {
		t.Errorf("Authorization = %q", got.Header.Get("Authorization"))
	}

	// A server without the path isn't Lotse's: then it is the next builder's turn, if there is one.
	answer = http.StatusNotFound
	t.Setenv("PATH", "")
	if _, err = c.Build(t.Context(), o); err == nil || !strings.Contains(err.Error(), "no builder") {
		t.Errorf("Build() = %v, want that there is no builder", err)
	}
	c.o.Builder = "lotse"
	if _, err = c.Build(t.Context(), o); !errors.Is(err, errNoBuilder) {
		t.Errorf("Build() = %v, want errNoBuilder when Lotse's was asked for", err)
	}
}

func TestTunnel_Cancelled(t *testing.T) {
	reached := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { close(reached); <-r.Context().Done() }))
	defer srv.Close()
	c, err := NewClient(ClientOptions{Endpoint: srv.URL, Region: "us-east-1", Credentials: staticKey{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-reached; cancel() }()
	_, err = c.Build(ctx, Options{Context: contextDir(t, map[string]string{"Dockerfile": "FROM scratch\n"})})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Build() = %v, want context.Canceled", err)
	}
}

func TestHandler_WithoutUpgrade(t *testing.T) {
	h := NewHandler(nil, HandlerOptions{})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", Path, nil))
	if w.Code != http.StatusUpgradeRequired || w.Header().Get("Upgrade") != protocol {
		t.Errorf("GET = %d, Upgrade %q", w.Code, w.Header().Get("Upgrade"))
	}
}

// A docker that behaves like buildx as far as we look at it.
const fakeDocker = `#!/bin/sh
echo "$@" >"$(dirname "$0")/args"
echo "WARNING: something" >&2
echo '{"vertexes":[{"digest":"sha256:01","name":"[1/1] RUN x","started":"2026-01-01T00:00:00Z"}]}' >&2
echo '{"logs":[{"vertex":"sha256:01","data":"b3V0cHV0Cg=="}]}' >&2
echo '{"vertexes":[{"digest":"sha256:01","name":"[1/1] RUN x","started":"2026-01-01T00:00:00Z","completed":"2026-01-01T00:00:01Z","error":"exit code: 1"}]}' >&2
echo 'ERROR: failed to solve: process "x" did not complete successfully: exit code: 1' >&2
exit 1
`

func TestBuildx_Failing(t *testing.T) {
	bin := t.TempDir()
	write(t, filepath.Join(bin, "docker"), fakeDocker)
	if err := os.Chmod(filepath.Join(bin, "docker"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	c, err := NewClient(ClientOptions{Builder: "docker"})
	if err != nil {
		t.Fatal(err)
	}
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM x\n"})
	_, err = c.Build(t.Context(), Options{Context: dir, Target: "t", Args: map[string]string{"B": "2", "A": "1"}, Archive: "/a.tar"})
	var e *Error
	if !errors.As(err, &e) || e.Step != "[1/1] RUN x" || len(e.Log) != 1 || e.Log[0] != "output" {
		t.Errorf("Build() = %#v", err)
	}
	b, _ := os.ReadFile(filepath.Join(bin, "args"))
	want := "buildx build --progress rawjson --provenance false --sbom false --file " + dir + "/Dockerfile --build-arg SOURCE_DATE_EPOCH=" + DefaultEpoch + " --output type=oci,oci-mediatypes=true,compression=zstd,rewrite-timestamp=true,dest=/a.tar --target t --build-arg A=1 --build-arg B=2 " + dir + "\n"
	if string(b) != want {
		t.Errorf("docker %s, want %s", b, want)
	}
}
