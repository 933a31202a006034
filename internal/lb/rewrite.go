package lb

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// rewrite is a compiled lbconfig.Rewrite; its zero value changes nothing.
type rewrite struct {
	re       *regexp.Regexp
	template string // Go's
}

// compileRewrites takes valid rewrites.
func compileRewrites(in []lbconfig.Rewrite) (host, url rewrite) {
	for _, w := range in {
		re, err := lbconfig.ParseRegex(w.Regex)
		if err != nil {
			continue // the snapshot is valid
		}
		if r := (rewrite{re, expandable(w.Replace, re.NumSubexp())}); w.Kind == lbconfig.RewriteHost {
			host = r
		} else {
			url = r
		}
	}
	return host, url
}

// of rewrites the first match in s. ok is false when the outcome can't be sent, which AWS answers with 500.
// Source: ALB user guide, transforms; that it is the first match only is not verified.
func (w rewrite) of(s string, valid func(string) bool) (out string, ok bool) {
	if w.re == nil {
		return s, true
	}
	at := w.re.FindStringSubmatchIndex(s)
	if at == nil {
		return s, true
	}
	b := append([]byte{}, s[:at[0]]...)
	b = w.re.ExpandString(b, w.template, s, at)
	out = string(b) + s[at[1]:]
	return out, valid(out)
}

// expandable makes AWS's replacement Go's: $1 is a group, as far as the digits name one; any other $ is itself.
func expandable(s string, groups int) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' {
			b.WriteByte(s[i])
			continue
		}
		end := i + 1
		for end < len(s) && '0' <= s[end] && s[end] <= '9' {
			if n, err := strconv.Atoi(s[i+1 : end+1]); err != nil || n > groups {
				break
			}
			end++
		}
		if end == i+1 {
			b.WriteString("$$")
			continue
		}
		b.WriteString("${" + s[i+1:end] + "}")
		i = end - 1
	}
	return b.String()
}

func validURL(s string) bool {
	return strings.HasPrefix(s, "/") && len(s) <= maxRequestLine && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' })
}

func validHost(s string) bool {
	return s != "" && len(s) <= 253 && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._[]:", r))
	})
}
