package linklocal

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestCredentials_OnlyATasksOwn(t *testing.T) {
	key := func(id string) *Credentials {
		return &Credentials{RoleARN: "arn:role", AccessKeyID: "ASIA" + id, SecretAccessKey: "s", Token: "t", Expiration: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	}
	s := served(t, VPC{Tasks: map[netip.Addr]Task{
		netip.MustParseAddr("172.31.0.5"): {CredentialsID: "one", Credentials: key("1")},
		netip.MustParseAddr("172.31.0.6"): {CredentialsID: "two", Credentials: key("2")},
		netip.MustParseAddr("172.31.0.7"): {CredentialsID: "three"},
		netip.MustParseAddr("172.31.0.8"): {},
	}})
	for _, tc := range []struct {
		from, path string
		status     int
		body       string
	}{
		{"172.31.0.5:1", "/v2/credentials/one", 200, `{"RoleArn":"arn:role","AccessKeyId":"ASIA1","SecretAccessKey":"s","Token":"t","Expiration":"2026-01-02T03:04:05Z"}`},
		{"172.31.0.6:1", "/v2/credentials/two", 200, `"AccessKeyId":"ASIA2"`},
		{"172.31.0.6:1", "/v2/credentials/one", 400, `{"code":"InvalidIdInRequest","message":"CredentialsV2Request: Credentials not found","HTTPErrorCode":400}`},
		{"172.31.0.9:1", "/v2/credentials/one", 400, "InvalidIdInRequest"},
		{"172.31.0.8:1", "/v2/credentials/", 400, "NoIdInRequest"},
		{"172.31.0.7:1", "/v2/credentials/three", 503, "CredentialsUninitialized"},
	} {
		r := httptest.NewRequest(http.MethodGet, tc.path, nil)
		r.RemoteAddr = tc.from
		w := httptest.NewRecorder()
		s.handler().ServeHTTP(w, r)
		if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.body) {
			t.Errorf("%s from %s: %d %s, want %d %s", tc.path, tc.from, w.Code, w.Body, tc.status, tc.body)
		}
	}
}

// What was signed arrives as it was signed; what is the operator's doesn't.
func TestRelay(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_ = json.NewEncoder(w).Encode([]string{r.Host, r.URL.RequestURI(), r.Header.Get("Authorization"), r.Header.Get("X-Forwarded-For"), string(b)})
	}))
	s := served(t, VPC{})
	addr := strings.TrimPrefix(api.URL, "http://")
	s.api.Store(&addr)
	ask := func(path string) (int, string) {
		r := httptest.NewRequest(http.MethodPost, "http://169.254.170.2:4566"+path, strings.NewReader("body"))
		r.Header.Set("Authorization", "AWS4 x")
		w := httptest.NewRecorder()
		s.relay().ServeHTTP(w, r)
		return w.Code, strings.TrimSpace(w.Body.String())
	}
	if code, body := ask("/v2/a%2Fb?x=1"); code != 200 || body != `["169.254.170.2:4566","/v2/a%2Fb?x=1","AWS4 x","","body"]` {
		t.Errorf("%d %s", code, body)
	}
	for _, path := range []string{"/_lotse/health", "/metrics"} {
		if code, _ := ask(path); code != 404 {
			t.Errorf("%s: %d, want 404", path, code)
		}
	}
	api.Close()
	if code, body := ask("/"); code != 503 || !strings.Contains(body, "ServiceUnavailableException") {
		t.Errorf("without a server: %d %s", code, body)
	}
}
