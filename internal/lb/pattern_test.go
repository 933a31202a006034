package lb

import (
	"regexp"
	"strings"
	"testing"
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
	rules := []rule{{conds: []cond{{host: true, patterns: []string{"*.example.com"}}, {patterns: []string{"/api/*", "/v?/*"}}}}, {}}
	g := newGroup("tg")
	m := &member{group: g}
	g.eligible.Store(&[]*member{m})
	sp := newSpread([]*group{g, g}, []int{3, 1})
	if n := testing.AllocsPerRun(100, func() {
		if match(rules, "www.example.com", normalPath("/v1/users?x=y")) != &rules[0] {
			t.Fatal("no match")
		}
		sp.pick().claim().inflight.Add(-1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
