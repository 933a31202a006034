package logpattern

import (
	"strings"
	"testing"
)

const (
	apache = `127.0.0.1 Prod frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534`
	trail  = `{"eventType":"UpdateTrail","sourceIPAddress":"111.111.111.111","arrayKey":["value","another value"],` +
		`"objectList":[{"name":"a","id":1},{"name":"b","id":2}],"SomeObject":null,"ThisFlag":true,"Off":false,` +
		`"latency":6.5E-2,"status":"500","code":500,"user":{"id":"x","cluster.name":"c","e-mail":"John.Doe@x.org"}}`
)

// Source of most cases: CloudWatch Logs User Guide, filter pattern syntax, whose examples they are.
func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, message string
		want             bool
	}{
		{"", "anything", true},
		{"   ", "anything", true},
		{"ERROR", "[ERROR 400] BAD REQUEST", true},
		{"ERROR", "an Error", false},
		{"ERROR ARGUMENTS", "[ERROR 419] MISSING ARGUMENTS", true},
		{"ERROR ARGUMENTS", "[ERROR 400] BAD REQUEST", false},
		{"?ERROR ?ARGUMENTS", "MISSING ARGUMENTS", true},
		{"?ERROR ?ARGUMENTS", "nothing", false},
		{"?ERROR REQUEST", "BAD REQUEST", true},
		{`"INTERNAL SERVER ERROR"`, "[ERROR 500] INTERNAL SERVER ERROR", true},
		{`"INTERNAL ERROR"`, "[ERROR 500] INTERNAL SERVER ERROR", false},
		{"ERROR -ARGUMENTS", "[ERROR 419] MISSING ARGUMENTS", false},
		{`"a \"b\" \\"`, `x a "b" \ y`, true},
		{"%AUTHORIZED%", "[ERROR 401] UNAUTHORIZED REQUEST", true},
		{"%^AUTHORIZED%", "[ERROR 401] UNAUTHORIZED REQUEST", false},
		{`-%4\d\d%`, "[ERROR 401]", false},

		{`{ $.eventType = "UpdateTrail" }`, trail, true},
		{`{$.eventType="UpdateTrail"}`, trail, true},
		{`{ $.eventType = UpdateTrail }`, trail, true},
		{`{ $.eventType = "Update*" }`, trail, true},
		{`{ $.eventType = "Update\*" }`, trail, false},
		{`{ $.eventType = %^Up.*l$% }`, trail, true},
		{`{ $.sourceIPAddress != 123.123.* }`, trail, true},
		{`{ $.sourceIPAddress != 111.111.* }`, trail, false},
		{`{ $.arrayKey[0] = "value" }`, trail, true},
		{`{ $.arrayKey[7] = "value" }`, trail, false},
		{`{ $.objectList[1].id = 2 }`, trail, true},
		{`{ $.objectList[*].id = 1 }`, trail, true},
		{`{ $.SomeObject IS NULL }`, trail, true},
		{`{ $.SomeOtherObject IS NULL }`, trail, false},
		{`{ $.SomeOtherObject NOT EXISTS }`, trail, true},
		{`{ $.SomeObject NOT EXISTS }`, trail, false},
		{`{ $.ThisFlag IS TRUE && $.Off  IS   FALSE }`, trail, true},
		{`{ $.Off IS TRUE }`, trail, false},
		{`{ $.latency > 0.05 }`, trail, true},
		{`{ $.latency >= 6.5e-2 }`, trail, true},
		{`{ $.latency < 0.05 }`, trail, false},
		{`{ $.code = 5* }`, trail, true},
		{`{ $.code <= 500 && $.code != 400 }`, trail, true},
		{`{ $.code = "500" }`, trail, false},
		{`{ $.status = "500" }`, trail, true},
		{`{ $.user = "x" }`, trail, false},
		{`{ $.user != "x" }`, trail, false},
		{`{ $.gone != "x" }`, trail, false},
		{`{ $.user.['cluster.name'] = "c" }`, trail, true},
		{`{ $.user['cluster.name'] = "c" }`, trail, true},
		{`{ $.user.e-mail = "John*" }`, trail, true},
		{`{ ($.code = 1 || $.code = 500) && ($.user.id = "x") }`, trail, true},
		{`{ $.code = 500 || $.code = 1 && $.user.id = "y" }`, trail, true},
		{`{ ($.code = 500 || $.code = 1) && $.user.id = "y" }`, trail, false},
		{`{ $.a = 1 }`, "no json", false},
		{`{ $.a NOT EXISTS }`, "no json", false},
		{`{ $.a NOT EXISTS }`, `{"b":1} more`, false},

		{`[ip, user, username, timestamp, request =*.html*, status_code = 4*, bytes]`, apache, true},
		{`[ip, user, username, timestamp, request, status_code = 404 || status_code = 410, bytes]`, apache, true},
		{`[ip, user, username, timestamp, request, status_code = 5*, bytes]`, apache, false},
		{`[..., status_code >= 400 && status_code < 500, bytes > 1000]`, apache, true},
		{`[..., bytes < 1000]`, apache, false},
		{`[ip=%127\.0\.0\.[1-9]%, ...]`, apache, true},
		{`[ip, ..., bytes = 1534]`, apache, true},
		{`[ip,,,, request = "GET /index.html HTTP/1.0",,]`, apache, true},
		{`[a, b, c, d, e, f, g, h]`, apache, false},
		{`[w1=ERROR, w2]`, "ERROR 09/25/2014 12:00:02 Failed to process request", true},
		{`[w1=ERROR]`, "ERROR 09/25/2014 12:00:02 Failed to process request", false},
		{`[w1=ERROR, w2]`, "ERROR", false},
		{`[w1!=ERROR && w1!=WARNING, w2]`, "WARNING 09/25/2014 Invalid user request", false},
		{`[w1=ERROR, ..., last="x y"]`, `ERROR a b "x y"`, true},
		{`[]`, apache, true},
	} {
		p, err := Parse(c.pattern)
		if err != nil {
			t.Errorf("Parse(%s): %v", c.pattern, err)
		} else if got := p.Match([]byte(c.message)); got != c.want {
			t.Errorf("%s of %s = %v, want %v", c.pattern, c.message, got, c.want)
		}
	}
}

func TestParse_Refuses(t *testing.T) {
	for _, s := range []string{
		"a.b", `"open`, `""`, "-", "?", "%open", "%(a|b)%", "%something!%", "%[%", strings.Repeat("a", MaxLength+1),
		"{", "{}", "{ $ = 1 }", "{ $.a }", "{ $.a = }", "{ $.a == 1 ", "{ $.a = 1 } x", "{ $.a EXISTS }", "{ $.a IS NOT NULL }", "{ !($.a = 1) }",
		"{ $.a > \"x\" }", "{ $.a > x }", "{ $..a = 1 }", "{ $.a[-1] = 1 }", "{ $.a[*].* = 1 }", "{ ($.a = 1 }", `{ "v": [1] }`, "{ $.a[ = 1 }", "{ $.a['x = 1 }",
		"{ $.a = %a% && $.b = %b% && $.c = %c% }", "{ $.a > 0 AND $.b < 2 }", "{ $.a NOT EXISTSx }",
		"[", "[a", "[a, ..., b, ...]", "[a = ]", "[a b]", "[a = 1 || b = 2]", "[a] x", "[a=1 && ]", "[...x]", "[= 1]",
	} {
		if _, err := Parse(s); err == nil {
			t.Errorf("Parse(%s): no error", s)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`{ ($.a[0] = "x*" || $.b IS NULL) && $.c.* > 1e3 }`, "[a, ..., b = 4* && b != %x%]", `a -b ?c "d" %e%`} {
		f.Add(s, trail)
		f.Add(s, apache)
	}
	f.Fuzz(func(_ *testing.T, pattern, message string) {
		if p, err := Parse(pattern); err == nil {
			p.Match([]byte(message))
		}
	})
}
