package lb

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// Source: ALB user guide, transforms for listener rules.
func TestRewrite(t *testing.T) {
	for _, c := range []struct {
		regex, replace, in, want string // want "": 500
	}{
		{`^/dp/([A-Za-z0-9]+)/?$`, `/product.php?id=$1`, "/dp/B09G3HRMW", "/product.php?id=B09G3HRMW"},
		{`^/dp/([A-Za-z0-9]+)/?$`, `/product.php?id=$1`, "/other", "/other"},
		{`^/api(/.*)?$`, `$1`, "/api/users?a=b", "/users?a=b"},
		{`^/api(/.*)?$`, `$1`, "/api", ""}, // no path is left
		{`a`, `b`, "/aa", "/ba"},
		{`(a)(b)`, `$2$1$$`, "/ab", "/ba$$"},
		{`(a)`, `$10`, "/a", "/a0"}, // there is no tenth group
		{`(a)`, `${1}`, "/a", "/${1}"},
		{`/a`, `/a b`, "/a", ""},
		{`/a`, `/a#b`, "/a", ""},
		{`/a`, "/a\r\nX: y", "/a", ""},
		{`q=[^&]*`, ``, "/a?q=1&r=2", "/a?&r=2"},
	} {
		_, w := compileRewrites([]lbconfig.Rewrite{{Kind: lbconfig.RewriteURL, Regex: c.regex, Replace: c.replace}})
		got, ok := w.of(c.in, validURL)
		if !ok {
			got = ""
		}
		if got != c.want {
			t.Errorf("%s → %s of %s = %q, want %q", c.regex, c.replace, c.in, got, c.want)
		}
	}
}

// Whatever a rule makes of a request, it is one request line or none.
func FuzzRewrite(f *testing.F) {
	f.Add(`^/(.*)$`, `/x/$1`, "/a?b")
	f.Add(`.`, "$0\n", "/")
	f.Fuzz(func(t *testing.T, regex, replace, in string) {
		if _, err := lbconfig.ParseRegex(regex); err != nil || len(regex) > 100 || !validURL(in) {
			t.Skip()
		}
		_, w := compileRewrites([]lbconfig.Rewrite{{Kind: lbconfig.RewriteURL, Regex: regex, Replace: replace}})
		out, ok := w.of(in, validURL)
		if !ok {
			return
		}
		var b strings.Builder
		if err := (&http.Request{Method: "GET", URL: targetURL("http", out, "h"), Host: "h"}).Write(&b); err != nil {
			return
		}
		if line, _, _ := strings.Cut(b.String(), "\r\n"); line != "GET "+out+" HTTP/1.1" {
			t.Errorf("%q → %q of %q makes the request line %q", regex, replace, in, line)
		}
	})
}

func TestProxy_Rewrites(t *testing.T) {
	r, port := newRig(t), freePort(t)
	echo := backend(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { io.WriteString(w, req.Host+req.RequestURI) }))
	s := site(port, echo)
	l := &s.Balancers[0].Listeners[0]
	rule := func(arn, path string, rewrites ...lbconfig.Rewrite) lbconfig.Rule {
		return lbconfig.Rule{ARN: arn, Conditions: []lbconfig.Condition{{Field: lbconfig.PathPattern, Values: []string{path}}}, Rewrites: rewrites, Action: forwardTo("tg")}
	}
	l.Rules = append([]lbconfig.Rule{
		rule("both", "/both/*", lbconfig.Rewrite{Kind: lbconfig.RewriteHost, Regex: `^mywebsite-(.+).com$`, Replace: "internal.dev.$1.myweb.com"},
			lbconfig.Rewrite{Kind: lbconfig.RewriteURL, Regex: `^/both/(.*)$`, Replace: "/api/$1"}),
		rule("bad", "/bad", lbconfig.Rewrite{Kind: lbconfig.RewriteURL, Regex: `^/`, Replace: ""}),
		rule("slashes", "/slashes", lbconfig.Rewrite{Kind: lbconfig.RewriteURL, Regex: `^/slashes`, Replace: "//x//%2f"}),
	}, l.Rules...)
	r.put(s)
	r.wait("tg", echo, lbconfig.Healthy)
	for _, c := range []struct{ host, path, want string }{
		{"mywebsite-example.com", "/both/a%20b?c=d", "200 internal.dev.example.myweb.com:PORT/api/a%20b?c=d"},
		{"mywebsite-example.com:81", "/both/a?", "200 internal.dev.example.myweb.com:81/api/a?"},
		{"other.com", "/both/a", "200 other.com:PORT/api/a"},
		{"other.com", "/both", "200 other.com:PORT/both"},
		{"other.com", "/bad", "500 " + page(500)},
		{"other.com", "/slashes?x", "200 other.com:PORT//x//%2f?x"},
	} {
		resp, body := raw(t, local(port), "GET "+c.path+" HTTP/1.1\r\nHost: "+c.host+"\r\n\r\n")
		if got, want := fmt.Sprintf("%d %s", resp.StatusCode, body), strings.ReplaceAll(c.want, "PORT", fmt.Sprint(port)); got != want {
			t.Errorf("GET %s%s = %q, want %q", c.host, c.path, got, want)
		}
	}
}

// Source: ELBv2 API, RedirectActionConfig.
func TestProxy_RedirectVariables(t *testing.T) {
	for _, c := range []struct {
		d                   lbconfig.Redirect
		request, want, code string
	}{
		{lbconfig.Redirect{Protocol: "HTTPS", Port: "443"}, get1("/a/b?c=d"), "https://example.com:443/a/b?c=d", "301"},
		{lbconfig.Redirect{Path: "/new/#{path}"}, get1("/a/b"), "http://example.com:8080/new/a/b", "301"},
		{lbconfig.Redirect{Host: "example.#{host}"}, get1("/"), "http://example.example.com:8080/", "301"},
		{lbconfig.Redirect{Path: "/#{host}/#{port}/#{path}"}, get1("/x"), "http://example.com:8080/example.com/8080/x", "301"},
		{lbconfig.Redirect{Query: "#{query}&value=xyz"}, get1("/?a=b"), "http://example.com:8080/?a=b&value=xyz", "301"},
		{lbconfig.Redirect{Query: "from=#{protocol}-#{host}-#{port}-#{path}"}, get1("/p"), "http://example.com:8080/p?from=http-example.com-8080-p", "301"},
		{lbconfig.Redirect{Host: "h", Status: 302}, get1("/%41?b%20c"), "http://h:8080/%41?b%20c", "302"},
		{lbconfig.Redirect{Host: "h"}, "GET http://abs.example.com/z?y HTTP/1.1\r\nHost: example.com\r\n\r\n", "http://h:8080/z?y", "301"},
		{lbconfig.Redirect{Path: "/#{path}/#{path}"}, get1("/" + strings.Repeat("a", 5000)), "", "507"},
	} {
		r, port := parse(t, c.request), uint16(8080)
		if c.d.Status == 0 {
			c.d.Status = 301
		}
		o, _ := redirectAnswer(r.Host, (&arrival{}).url(r.RequestURI), "http", port, c.d)
		if o.location != c.want || fmt.Sprint(o.status) != c.code {
			t.Errorf("%+v of %q: %d %s, want %s %s", c.d, c.request, o.status, o.location, c.code, c.want)
		}
	}
}
