package daemon

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/awswire/wiretest"
	"github.com/lotse-project/lotse/internal/network"
)

// closed is a server whose API can be asked while nothing of it runs.
func closed(t *testing.T) *server {
	t.Helper()
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("", "lotse-auth-") // short: sockets' paths
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPaths(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.make(); err != nil {
		t.Fatal(err)
	}
	o := Options{DataDir: dir, Listen: "127.0.0.1:0", Account: "000000000000", Region: "us-east-1", Egress: "none", Front: "127.0.0.1:0",
		DefaultVPC: netip.MustParsePrefix("172.31.0.0/16"), TokenTTL: time.Hour, History: time.Hour, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	l, err := listen("--listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	s, err := newServer(o, p, l.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.close()
		n, err := network.New(network.Options{RunDir: p.Run, ID: p.ID})
		if err == nil {
			err = n.RemoveAll(context.Background())
		}
		if err != nil {
			t.Error(err)
		}
		os.RemoveAll(p.Run)
		os.Remove("/run/lotse")
		os.RemoveAll(dir)
	})
	return s
}

// Every operation there is, unsigned and signed with wrong keys, is refused with the error of its
// protocol, and nothing is written.
func TestEveryOperationIsSigned(t *testing.T) {
	s := closed(t)
	web := httptest.NewServer(s.handler())
	defer web.Close()
	before, err := s.db.Rev(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]aws.Credentials{
		"unsigned":        {},
		"unknown key":     {AccessKeyID: "AKIAAAAAAAAAAAAAAAAA", SecretAccessKey: "x"},
		"another secret":  {AccessKeyID: rootKeyOf(t, s).AccessKeyID, SecretAccessKey: "x"},
		"another service": {AccessKeyID: rootKeyOf(t, s).AccessKeyID, SecretAccessKey: rootKeyOf(t, s).SecretAccessKey},
	}
	want := map[awswire.Protocol]map[string][]string{
		awswire.JSON11:   {"unsigned": {"MissingAuthenticationToken"}, "unknown key": {"UnrecognizedClientException"}, "another secret": {"InvalidSignatureException"}, "another service": {"InvalidSignatureException"}},
		awswire.RestJSON: {"unsigned": {"MissingAuthenticationToken"}, "unknown key": {"UnrecognizedClientException"}, "another secret": {"InvalidSignatureException"}, "another service": {"InvalidSignatureException"}},
		awswire.Query:    {"unsigned": {"MissingAuthenticationToken"}, "unknown key": {"InvalidClientTokenId"}, "another secret": {"SignatureDoesNotMatch"}, "another service": {"SignatureDoesNotMatch"}},
		awswire.EC2:      {"unsigned": {"MissingAuthenticationToken", "AuthFailure"}, "unknown key": {"AuthFailure"}, "another secret": {"AuthFailure", "SignatureDoesNotMatch"}, "another service": {"AuthFailure", "SignatureDoesNotMatch"}},
	}
	n := 0
	for api, op := range s.api.Operations() {
		for how, key := range keys {
			r := wiretest.Request(t, web.URL, api, op)
			sign(t, r, key, map[bool]string{true: "lambda", false: api.SigningName}[how == "another service"])
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			known := false
			for _, code := range want[api.Protocol][how] {
				known = known || strings.Contains(string(b)+resp.Header.Get("X-Amzn-Errortype"), code)
			}
			if resp.StatusCode < 400 || resp.StatusCode > 403 || !known {
				t.Errorf("%s %s, %s: %s %s", api.SigningName, op, how, resp.Status, b)
			}
			n++
		}
	}
	if n < 400 {
		t.Errorf("only %d requests were tried", n)
	}
	if after, _ := s.db.Rev(t.Context()); after != before {
		t.Errorf("the store went from revision %d to %d", before, after)
	}
}

// Lotse's own paths and the registry let nobody in either.
func TestOwnPathsAreSigned(t *testing.T) {
	s := closed(t)
	web := httptest.NewServer(s.handler())
	defer web.Close()
	for _, c := range [][2]string{{"POST", "/_lotse/build"}, {"POST", "/_lotse/builds/prune"}, {"POST", "/_lotse/adopt"}, {"GET", "/_lotse/trace?id=x"}, {"GET", "/_lotse/counters"},
		{"POST", "/_lotse/images?name=x"}, {"POST", "/_lotse/reset"}, {"GET", "/v2/"}, {"GET", "/v2/x/tags/list"}, {"PUT", "/v2/x/manifests/y"}, {"POST", "/v2/x/blobs/uploads/"}} {
		r, _ := http.NewRequest(c[0], web.URL+c[1], strings.NewReader("{}"))
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		want := http.StatusForbidden
		if strings.HasPrefix(c[1], "/v2/") {
			want = http.StatusUnauthorized
		}
		if resp.StatusCode != want && !(want == http.StatusForbidden && resp.StatusCode == http.StatusBadRequest) {
			t.Errorf("%s %s: %s", c[0], c[1], resp.Status)
		}
	}
}

func rootKeyOf(t *testing.T, s *server) Credentials {
	t.Helper()
	c, err := LoadCredentials(s.p)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func sign(t *testing.T, r *http.Request, key aws.Credentials, service string) {
	t.Helper()
	if key.AccessKeyID == "" {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if err := v4.NewSigner().SignHTTP(t.Context(), key, r, sha256Of(body), service, "us-east-1", time.Now()); err != nil {
		t.Fatal(err)
	}
}
