package lb

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

func TestProxy_TargetsTakeTurns(t *testing.T) {
	r, port := newRig(t), freePort(t)
	a, b, c := backend(t, named("a")), backend(t, named("b")), backend(t, named("c"))
	r.put(site(port, a, b, c))
	for _, x := range []netip.AddrPort{a, b, c} {
		r.wait("tg", x, lbconfig.Healthy)
	}
	count := map[string]int{}
	for range 30 {
		resp, body := raw(t, local(port), get1("/"))
		if resp.StatusCode != 200 {
			t.Fatalf("status %d", resp.StatusCode)
		}
		count[body]++
	}
	if diff := cmp.Diff(map[string]int{"a": 10, "b": 10, "c": 10}, count); diff != "" {
		t.Errorf("requests by target (-want +got):\n%s", diff)
	}
}

func TestProxy_Rules(t *testing.T) {
	r, port := newRig(t), freePort(t)
	web, api, admin := backend(t, named("web")), backend(t, named("api")), backend(t, named("admin"))
	s := site(port, web)
	s.Groups = append(s.Groups, groupOf("api", api), groupOf("admin", admin), groupOf("empty"))
	path := func(v ...string) lbconfig.Condition {
		return lbconfig.Condition{Field: lbconfig.PathPattern, Values: v}
	}
	host := func(v ...string) lbconfig.Condition { return lbconfig.Condition{Field: lbconfig.HostHeader, Values: v} }
	l := &s.Balancers[0].Listeners[0]
	l.Rules = append([]lbconfig.Rule{
		{ARN: "r1", Conditions: []lbconfig.Condition{path("/api/*", "/v?/api")}, Action: forwardTo("api")},
		{ARN: "r2", Conditions: []lbconfig.Condition{host("admin.*.com"), path("/in/*")}, Action: forwardTo("admin")},
		{ARN: "r3", Conditions: []lbconfig.Condition{path("/fixed")}, Action: lbconfig.Action{Type: lbconfig.FixedResponse,
			Fixed: lbconfig.Fixed{Status: 418 - 14, ContentType: "application/json", Body: "{}"}}},
		{ARN: "r4", Conditions: []lbconfig.Condition{path("/bare")}, Action: lbconfig.Action{Type: lbconfig.FixedResponse, Fixed: lbconfig.Fixed{Status: 503}}},
		{ARN: "r5", Conditions: []lbconfig.Condition{path("/old/*")}, Action: lbconfig.Action{Type: lbconfig.RedirectTo,
			Redirect: lbconfig.Redirect{Protocol: "HTTPS", Port: "443", Path: "/new/#{path}", Status: 301}}},
		{ARN: "r6", Conditions: []lbconfig.Condition{path("/nobody")}, Action: forwardTo("empty")},
	}, l.Rules...)
	r.put(s)
	for g, a := range map[string]netip.AddrPort{"tg": web, "api": api, "admin": admin} {
		r.wait(g, a, lbconfig.Healthy)
	}
	for _, c := range []struct {
		host, path, want string
	}{
		{"x.com", "/", "200 web"},
		{"x.com", "/api/users", "200 api"},
		{"x.com", "/api/a/b?q=1", "200 api"},
		{"x.com", "/api", "200 web"},
		{"x.com", "/API/users", "200 web"}, // case counts in paths
		{"x.com", "/v2/api", "200 api"},
		{"x.com", "/v22/api", "200 web"},
		{"x.com", "/x?/api/y", "200 web"},        // the query is no path
		{"x.com", "/in/../api/y", "200 api"},     // normalised first
		{"x.com", "/%61pi/y", "200 api"},         // so too
		{"ADMIN.x.com:99", "/in/y", "200 admin"}, // no case in hosts, no port
		{"admin.x.com", "/out", "200 web"},
		{"x.com", "/in/y", "200 web"},
		{"x.com", "/fixed", "404 {}"},
		{"x.com", "/bare", "503 "},
		{"x.com", "/nobody", "503 " + page(503)},
		{"x.com", "/old/a?b=c", "301 " + page(301)},
	} {
		resp, body := raw(t, local(port), "GET "+c.path+" HTTP/1.1\r\nHost: "+c.host+"\r\n\r\n")
		if got := fmt.Sprintf("%d %s", resp.StatusCode, body); got != c.want {
			t.Errorf("GET %s%s = %q, want %q", c.host, c.path, got, c.want)
		}
		switch c.path {
		case "/fixed":
			if got := resp.Header.Get("Content-Type"); got != "application/json; charset=utf-8" {
				t.Errorf("fixed response has type %q", got)
			}
		case "/old/a?b=c":
			if got, want := resp.Header.Get("Location"), "https://x.com:443/new/old/a?b=c"; got != want {
				t.Errorf("Location %q, want %q", got, want)
			}
		}
	}
}

func TestProxy_WeightsAreShares(t *testing.T) {
	r, port := newRig(t), freePort(t)
	a, b := backend(t, named("a")), backend(t, named("b"))
	s := site(port, a)
	s.Groups = append(s.Groups, groupOf("tg2", b))
	s.Balancers[0].Listeners[0].Rules[0].Action.Groups = []lbconfig.Weighted{{ARN: "tg", Weight: 3}, {ARN: "tg2", Weight: 1}}
	r.put(s)
	r.wait("tg", a, lbconfig.Healthy)
	r.wait("tg2", b, lbconfig.Healthy)
	var got strings.Builder
	for range 8 {
		_, body := raw(t, local(port), get1("/"))
		got.WriteString(body)
	}
	if got.String() != "aabaaaba" {
		t.Errorf("weights 3 and 1 gave %s, want aabaaaba", got.String())
	}
}

// The balancer's own answers are AWS's, byte by byte.
func TestProxy_OwnAnswers(t *testing.T) {
	for status, size := range map[int]int{400: 122, 403: 118, 405: 122, 408: 132, 413: 148, 414: 142, 500: 142, 501: 130, 502: 122, 503: 162, 504: 132, 301: 134, 302: 110} {
		if got := len(page(status)); got != size {
			t.Errorf("page %d has %d bytes, want %d", status, got, size)
		}
	}
	r, port := newRig(t), freePort(t)
	r.put(site(port))
	resp, body := raw(t, local(port), get1("/"))
	if resp.Status != "503 Service Temporarily Unavailable" {
		t.Errorf("status %q", resp.Status)
	}
	if body != page(503) {
		t.Errorf("body %q", body)
	}
	if resp.Header.Get("Date") == "" {
		t.Error("no Date")
	}
	resp.Header.Del("Date")
	want := http.Header{"Server": {"awselb/2.0"}, "Content-Type": {"text/html"}, "Content-Length": {"162"}, "Connection": {"keep-alive"}}
	if diff := cmp.Diff(want, resp.Header); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

func TestProxy_HeadersForTheTarget(t *testing.T) {
	r, port := newRig(t), freePort(t)
	seen := make(chan *http.Request, 1)
	target := backend(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/health" {
			seen <- req
		}
		w.Header().Set("Connection", "X-Private")
		w.Header().Set("X-Private", "1")
		w.Header().Set("Server", "mine")
	}))
	r.put(site(port, target))
	r.wait("tg", target, lbconfig.Healthy)

	resp, _ := raw(t, local(port), get1("/a%2Fb//c?x=1&y;z", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "X-Forwarded-Port: 1",
		"Connection: keep-alive, X-Hop", "X-Hop: 1", "Keep-Alive: 5", "Te: gzip", "Proxy-Connection: x", "X-Kept: 1", "Cookie: a=b"))
	req := <-seen
	if req.RequestURI != "/a%2Fb//c?x=1&y;z" {
		t.Errorf("target got %s", req.RequestURI)
	}
	if want := "example.com" + fmt.Sprintf(":%d", port); req.Host != want {
		t.Errorf("Host %q, want %q", req.Host, want)
	}
	if got := req.Header.Get("X-Amzn-Trace-Id"); !regexp.MustCompile(`^Root=1-[0-9a-f]{8}-[0-9a-f]{24}$`).MatchString(got) {
		t.Errorf("X-Amzn-Trace-Id %q", got)
	}
	req.Header.Del("X-Amzn-Trace-Id")
	want := http.Header{"X-Forwarded-For": {"1.2.3.4, 127.0.0.1"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Port": {fmt.Sprint(port)},
		"X-Kept": {"1"}, "Cookie": {"a=b"}}
	if diff := cmp.Diff(want, req.Header); diff != "" {
		t.Errorf("headers at the target (-want +got):\n%s", diff)
	}
	if resp.Header.Get("Server") != "mine" || resp.Header.Get("X-Private") != "" || resp.Header.Get("X-Amzn-Trace-Id") != "" {
		t.Errorf("headers at the client: %v", resp.Header)
	}

	// A root that came in stays, and the balancer puts itself in front.
	raw(t, local(port), get1("/", "X-Amzn-Trace-Id: Self=1-1-1;Root=1-67891233-abcdef012345678912345678;CalledFrom=app"))
	req = <-seen
	if got := req.Header.Get("X-Amzn-Trace-Id"); !regexp.MustCompile(`^Self=1-[0-9a-f]{8}-[0-9a-f]{24};Root=1-67891233-abcdef012345678912345678;CalledFrom=app$`).MatchString(got) {
		t.Errorf("X-Amzn-Trace-Id %q", got)
	}
	found, err := r.client.Trace(t.Context(), "1-67891233-abcdef012345678912345678")
	if err != nil || len(found) != 1 || found[0].Target != target.String() || found[0].Status != 200 || found[0].Rule != "default" {
		t.Errorf("Trace = %+v, %v", found, err)
	}

	// HTTP/1.0 without a host gets the balancer's name.
	raw(t, local(port), "GET / HTTP/1.0\r\n\r\n")
	if req = <-seen; req.Host != fmt.Sprintf("lb-1.elb.localhost:%d", port) {
		t.Errorf("Host %q", req.Host)
	}
}

func TestProxy_RefusesWhatAWSRefuses(t *testing.T) {
	t.Parallel()
	r, port := newRig(t), freePort(t)
	target := backend(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		io.Copy(w, req.Body)
	}))
	r.put(site(port, target))
	r.wait("tg", target, lbconfig.Healthy)
	for _, c := range []struct {
		name, request string
		want          int
	}{
		{"TRACE", "TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 405},
		{"own method", "PURGE / HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		{"long request line", "GET /" + strings.Repeat("a", 17<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", 414},
		{"request line just right", "GET /" + strings.Repeat("a", 15<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", 200},
		{"long header", get1("/", "X: "+strings.Repeat("a", 17<<10)), 400},
		{"many headers", get1("/", strings.Repeat("X: "+strings.Repeat("a", 8<<10)+"\r\n", 12)+"Y: 1"), 400},
		{"31 addresses", get1("/", "X-Forwarded-For: "+strings.Repeat("1.1.1.1,", 30)+"1.1.1.1"), 463},
		{"no host", "GET / HTTP/1.1\r\n\r\n", 400},
		{"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
		{"two lengths", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400},
		{"negative length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400},
		{"signed length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc", 400},
		{"unknown coding", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
		{"obscured coding", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400},
		{"space before colon", "GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", 200},
		{"folded header", "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 200},
		{"version 3", "GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505},
		{"nonsense", "hello\r\n\r\n", 400},
		{"bad chunk", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
	} {
		resp, body := raw(t, local(port), c.request)
		if resp.StatusCode != c.want {
			t.Errorf("%s: status %d, want %d", c.name, resp.StatusCode, c.want)
		}
		if reason := reasons[c.want]; c.want >= 400 && reason != "" && resp.Status != fmt.Sprintf("%d %s", c.want, reason) {
			t.Errorf("%s: status %q", c.name, resp.Status)
		}
		if c.want >= 400 && body != page(c.want) {
			t.Errorf("%s: body %q", c.name, body)
		}
	}
}
