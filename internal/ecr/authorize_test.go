package ecr

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
)

// login is the password that GetAuthorizationToken gives.
func (l *lab) login(ctx context.Context) string {
	l.t.Helper()
	out, err := l.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		l.t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(*out.AuthorizationData[0].AuthorizationToken)
	if err != nil {
		l.t.Fatal(err)
	}
	user, password, _ := strings.Cut(string(raw), ":")
	if user != "AWS" {
		l.t.Errorf("user = %q, want AWS", user)
	}
	return password
}

func (l *lab) get(path, user, password string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "http://localhost:4566"+path, nil)
	if password != "" {
		r.SetBasicAuth(user, password)
	}
	w := httptest.NewRecorder()
	l.registry.ServeHTTP(w, r)
	return w
}

func TestAuthorize(t *testing.T) {
	l := newLab(t)
	l.create("app")
	d := l.push("app", "one", "v1")
	mine, theirs := l.login(as(home)), l.login(as(arn.Scope{Account: "111122223333", Region: "us-east-1"}))
	abroad := l.login(as(arn.Scope{Account: home.Account, Region: "eu-west-1"}))
	foreign := New(Options{DB: l.o.DB, Blobs: l.o.Blobs, Scope: home, RegistryHost: "localhost:4566", Secret: []byte("other")})
	forged, _ := foreign.token(awsauth.CallerFrom(as(home)))
	for _, test := range []struct {
		name, path, user, password string
		status                     int
		words                      string
	}{
		{"Anonymous", "/v2/", "", "", 401, "Not Authorized\n"},
		{"AnonymousPull", "/v2/app/manifests/v1", "", "", 401, "Not Authorized\n"},
		{"AnonymousMissing", "/v2/nope/manifests/v1", "", "", 401, "Not Authorized\n"},
		{"AnonymousMirror", "/v2/mirror/library/golang/manifests/1", "", "", 401, "Not Authorized\n"},
		{"Login", "/v2/", "AWS", mine, 200, ""},
		{"Pull", "/v2/app/manifests/v1", "AWS", mine, 200, ""},
		{"PullByScope", "/v2/000000000000.us-east-1/app/manifests/" + d.String(), "AWS", mine, 200, ""},
		{"PullFromOtherRegion", "/v2/app/manifests/v1", "AWS", abroad, 200, ""},
		{"Missing", "/v2/nope/manifests/v1", "AWS", mine, 404, "The repository with name 'nope' does not exist in the registry with id '000000000000'"},
		{"MissingTag", "/v2/app/manifests/v2", "AWS", mine, 404, "Requested image not found"},
		{"NotImported", "/v2/mirror/library/golang/manifests/1", "AWS", mine, 404, "lotse image import docker.io/library/golang"},
		{"OtherAccount", "/v2/app/manifests/v1", "AWS", theirs, 403, "User: arn:aws:iam::111122223333:user/u is not authorized to perform: ecr:BatchGetImage on resource: arn:aws:ecr:us-east-1:000000000000:repository/app"},
		{"WrongUser", "/v2/", "root", mine, 400, "DENIED"},
		{"Garbage", "/v2/", "AWS", "x.y", 400, "invalid"},
		{"Forged", "/v2/", "AWS", forged, 400, "invalid"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := l.get(test.path, test.user, test.password)
			if w.Code != test.status || !strings.Contains(w.Body.String(), test.words) {
				t.Errorf("GET %s = %d %q, want %d with %q", test.path, w.Code, w.Body, test.status, test.words)
			}
			got, want := w.Header().Get("Www-Authenticate"), ""
			if test.status == 401 {
				want = `Basic realm="https://localhost:4566/",service="ecr.amazonaws.com"`
			}
			if got != want {
				t.Errorf("Www-Authenticate = %q, want %q", got, want)
			}
		})
	}
	l.advance(12 * time.Hour)
	w := l.get("/v2/app/manifests/v1", "AWS", mine)
	if w.Code != 403 || !strings.Contains(w.Body.String(), "Your authorization token has expired. Reauthenticate and try again.") {
		t.Errorf("expired login: %d %s", w.Code, w.Body)
	}
}

func TestGetAuthorizationToken(t *testing.T) {
	l := newLab(t)
	out, err := l.GetAuthorizationToken(as(home), &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		t.Fatal(err)
	}
	a := out.AuthorizationData[0]
	if want := l.now.Add(12 * time.Hour).Truncate(time.Second); !a.ExpiresAt.Equal(want) || *a.ProxyEndpoint != "https://localhost:4566" {
		t.Errorf("token for %s until %v, want https://localhost:4566 until %v", *a.ProxyEndpoint, a.ExpiresAt, want)
	}
	c := awsauth.CallerFrom(as(home))
	c.Expires = l.now.Add(time.Hour).Truncate(time.Second)
	out, err = l.GetAuthorizationToken(awsauth.WithCaller(t.Context(), c), &ecr.GetAuthorizationTokenInput{RegistryIds: []string{"000000000000"}})
	if err != nil || !out.AuthorizationData[0].ExpiresAt.Equal(c.Expires) {
		t.Errorf("token of a temporary key ends %v, %v; want %v, when the key does", out.AuthorizationData[0].ExpiresAt, err, c.Expires)
	}
	_, err = l.GetAuthorizationToken(as(home), &ecr.GetAuthorizationTokenInput{RegistryIds: []string{"x"}})
	wantCode(t, err, "InvalidParameterException", "registryIds")
}

func FuzzVerify(f *testing.F) {
	l := newLab(f)
	good := l.login(as(home))
	f.Add(good)
	f.Add(".")
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := l.verify(token); err == nil && token != good {
			t.Errorf("verify(%q) = nil, want an error", token)
		}
	})
}
