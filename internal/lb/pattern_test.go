package lb

import (
	"net/netip"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

func TestMatchPattern(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		fold, want bool
	}{
		{"/img/*", "/img/a/b.png", false, true}, {"/img/*", "/img", false, false}, {"/img/*", "/IMG/a", false, false},
		{"*", "", false, true}, {"?", "", false, false}, {"/a?c", "/abc", false, true}, {"/a?c", "/ac", false, false},
		{"*.example.com", "www.EXAMPLE.com", true, true}, {"*.example.com", "example.com", true, false},
		{"/*/x/*/y", "/1/x/2/x/3/y", false, true}, {"/a*", "/a*", false, true},
	} {
		if got := matchPattern(c.pattern, c.s, c.fold); got != c.want {
			t.Errorf("matchPattern(%q, %q, %v) = %v, want %v", c.pattern, c.s, c.fold, got, c.want)
		}
	}
}

// A regular expression is the judge.
func FuzzMatchPattern(f *testing.F) {
	f.Add("/a*b?", "/axxbc", false)
	f.Add("*a*a*a*b", "aaaaaaaaaaaa", true)
	f.Fuzz(func(t *testing.T, pattern, s string, fold bool) {
		for _, x := range []string{pattern, s} {
			if len(x) > 64 || strings.ContainsFunc(x, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Skip()
			}
		}
		expr := strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(pattern))
		if fold {
			expr = "(?i)" + expr
		}
		if got, want := matchPattern(pattern, s, fold), regexp.MustCompile(`^(?:`+expr+`)$`).MatchString(s); got != want {
			t.Errorf("matchPattern(%q, %q, %v) = %v, want %v", pattern, s, fold, got, want)
		}
	})
}

func TestMatchEscaped(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{`v1`, "V1", true}, {`*x*`, "axb", true}, {`\*`, "*", true}, {`\*`, "a", false}, {`a\?`, "a?", true}, {`a\?`, "ab", false}, {`\\`, `\`, true},
		{`*\*`, "ab*", true}, {`*\*`, "ab", false}, {`a\`, `a\`, true}, {``, "", true}, {``, "a", false}, {`\a`, "A", true},
	} {
		if got := matchEscaped(c.pattern, c.s); got != c.want {
			t.Errorf("matchEscaped(%q, %q) = %v, want %v", c.pattern, c.s, got, c.want)
		}
	}
}

// A regular expression is the judge.
func FuzzMatchEscaped(f *testing.F) {
	f.Add(`/a*b?\*`, "/axxbc*")
	f.Add(`*a*a*\?*b`, "aaaaa?aaaaaaa")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		for _, x := range []string{pattern, s} {
			if len(x) > 64 || strings.ContainsFunc(x, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Skip()
			}
		}
		var expr strings.Builder
		for i := 0; i < len(pattern); i++ {
			switch c := pattern[i]; {
			case c == '\\' && i+1 < len(pattern):
				i++
				expr.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
			case c == '*':
				expr.WriteString(".*")
			case c == '?':
				expr.WriteString(".")
			default:
				expr.WriteString(regexp.QuoteMeta(string(c)))
			}
		}
		if got, want := matchEscaped(pattern, s), regexp.MustCompile(`^(?i:`+expr.String()+`)$`).MatchString(s); got != want {
			t.Errorf("matchEscaped(%q, %q) = %v, want %v", pattern, s, got, want)
		}
	})
}

func TestNormalPath(t *testing.T) {
	for in, want := range map[string]string{
		"/": "/", "": "/", "/a?b": "/a", "/a/../b": "/b", "/a/./b": "/a/b", "/../../x": "/x", "/a/..": "/", "/a/.": "/a/",
		"/%7Euser": "/~user", "/%2f": "/%2F", "/a%zz": "/a%zz", "/.well-known/x": "/.well-known/x", "/a//b": "/a//b", "/%2e%2e/x": "/x",
	} {
		if got := normalPath(in); got != want {
			t.Errorf("normalPath(%q) = %q, want %q", in, got, want)
		}
	}
}

// Matching and choosing allocate nothing.
func TestRoute_AllocatesNothing(t *testing.T) {
	rules := []rule{{conds: []cond{{field: lbconfig.HostHeader, patterns: []string{"*.example.com"}}, {field: lbconfig.PathPattern, patterns: []string{"/api/*", "/v?/*"}},
		{field: lbconfig.HTTPHeader, name: "User-Agent", patterns: []string{"*chrome*"}}, {field: lbconfig.RequestMethod, patterns: []string{"GET"}},
		{field: lbconfig.SourceIP, prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, {field: lbconfig.QueryString, query: []lbconfig.Parameter{{Key: "x", Value: "y*"}}}}}, {}}
	header := httpFields{"User-Agent": {"Mozilla Chrome/1"}}
	g := newGroup("tg")
	m := &member{group: g}
	g.eligible.Store(&roster{members: []*member{m}, turn: &atomic.Uint64{}})
	sp := newSpread([]*group{g, g}, []int{3, 1})
	if n := testing.AllocsPerRun(100, func() {
		q := question{host: "www.example.com", path: normalPath("/v1/users?x=y"), query: "a=b&X=y1", method: "GET", fields: header, peer: netip.MustParseAddr("10.1.2.3")}
		if match(rules, &q) != &rules[0] {
			t.Fatal("no match")
		}
		sp.pick().claim("").inflight.Add(-1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
