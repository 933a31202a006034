package lb

import (
	"net/netip"
	"net/textproto"
	"regexp"
	"slices"
	"strings"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// question is what the conditions of rules are asked about: one request.
type question struct {
	host   string // without a port
	path   string // normalised
	query  string // as sent, without '?'
	method string
	fields fields
	peer   netip.Addr // who is connected, whatever X-Forwarded-For says
}

// newQuestion takes path and query, as the client sent them, apart from the request.
func newQuestion(a *request, url string, peer netip.Addr) question {
	path, query, _ := strings.Cut(url, "?")
	return question{host: hostOnly(a.host), path: normalPath(path), query: query, method: a.method, fields: a.fields, peer: peer}
}

// cond is a compiled lbconfig.Condition.
type cond struct {
	field    string
	name     string // of a header, canonical
	patterns []string
	regex    []*regexp.Regexp
	prefixes []netip.Prefix
	query    []lbconfig.Parameter
}

// compileCond takes a valid condition.
func compileCond(c lbconfig.Condition) cond {
	out := cond{field: c.Field, name: textproto.CanonicalMIMEHeaderKey(c.Name), patterns: c.Values, query: c.Query}
	for _, s := range c.Regex {
		if c.Field == lbconfig.HostHeader {
			s = "(?i)" + s // hosts have no case
		}
		re, err := lbconfig.ParseRegex(s)
		if err != nil {
			continue // the snapshot is valid
		}
		out.regex = append(out.regex, re)
	}
	if c.Field == lbconfig.SourceIP {
		for _, s := range c.Values {
			if p, err := netip.ParsePrefix(s); err == nil {
				out.prefixes = append(out.prefixes, p.Masked())
			}
		}
	}
	return out
}

// holds says whether the request fulfils the condition. Source: ALB user guide, rule condition types.
func (c *cond) holds(q *question) bool {
	switch c.field {
	case lbconfig.HostHeader:
		return c.describes(q.host, true)
	case lbconfig.PathPattern:
		return c.describes(q.path, false)
	case lbconfig.HTTPHeader:
		for i := 0; ; i++ {
			v, ok := q.fields.value(c.name, i)
			if !ok {
				return false
			}
			if c.describes(v, true) {
				return true
			}
		}
	case lbconfig.RequestMethod:
		return slices.Contains(c.patterns, q.method)
	case lbconfig.SourceIP:
		for _, p := range c.prefixes {
			if p.Contains(q.peer) {
				return true
			}
		}
	case lbconfig.QueryString:
		return c.asks(q.query)
	}
	return false
}

// Private

func (c *cond) describes(s string, fold bool) bool {
	for _, p := range c.patterns {
		if matchPattern(p, s, fold) {
			return true
		}
	}
	for _, re := range c.regex {
		if re.MatchString(s) {
			return true
		}
	}
	return false
}

// asks looks for the parameters in a query string. A value without a key may be any parameter's.
func (c *cond) asks(query string) bool {
	for query != "" {
		var field string
		field, query, _ = strings.Cut(query, "&")
		key, value, _ := strings.Cut(field, "=")
		key, value = unescape(key), unescape(value)
		for i := range c.query {
			p := &c.query[i]
			if (p.Key == "" || matchEscaped(p.Key, key)) && matchEscaped(p.Value, value) {
				return true
			}
		}
	}
	return false
}

// unescape decodes what is percent-encoded. It allocates only then. What is wrongly encoded stays as it is.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if hi, lo := unhex(s[i+1]), unhex(s[i+2]); hi >= 0 && lo >= 0 {
				out = append(out, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		out = append(out, s[i])
	}
	return string(out)
}
