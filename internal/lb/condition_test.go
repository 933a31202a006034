package lb

import (
	"fmt"
	"testing"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// Each case is a rule's conditions and a request. Source: ALB user guide, rule condition types.
func TestConditions(t *testing.T) {
	one := func(field string, values ...string) []lbconfig.Condition {
		return []lbconfig.Condition{{Field: field, Values: values}}
	}
	header := func(name string, values ...string) lbconfig.Condition {
		return lbconfig.Condition{Field: lbconfig.HTTPHeader, Name: name, Values: values}
	}
	query := func(kv ...string) lbconfig.Condition {
		c := lbconfig.Condition{Field: lbconfig.QueryString}
		for i := 0; i < len(kv); i += 2 {
			c.Query = append(c.Query, lbconfig.Parameter{Key: kv[i], Value: kv[i+1]})
		}
		return c
	}
	regex := func(field, name string, values ...string) []lbconfig.Condition {
		return []lbconfig.Condition{{Field: field, Name: name, Regex: values}}
	}
	for i, c := range []struct {
		conds   []lbconfig.Condition
		request string
		want    bool
	}{
		{one("http-request-method", "GET", "PUT"), get1("/"), true},
		{one("http-request-method", "PUT"), get1("/"), false},
		{one("http-request-method", "GET"), "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", false}, // GET is not HEAD
		{one("http-request-method", "PURGE"), "PURGE / HTTP/1.1\r\nHost: x\r\n\r\n", true},
		{one("http-request-method", "GET"), "get / HTTP/1.1\r\nHost: x\r\n\r\n", false},
		{one("source-ip", "10.0.0.0/8", "127.0.0.0/8"), get1("/"), true},
		{one("source-ip", "127.0.0.1/32"), get1("/"), true},
		{one("source-ip", "10.0.0.0/8"), get1("/", "X-Forwarded-For: 10.0.0.1"), false}, // the peer counts
		{one("source-ip", "::/0"), get1("/"), false},
		{[]lbconfig.Condition{header("User-Agent", "*Chrome*", "*Safari*")}, get1("/", "User-Agent: Mozilla safari/1"), true},
		{[]lbconfig.Condition{header("user-agent", "*Chrome*")}, get1("/", "USER-AGENT: a CHROME b"), true}, // no case in names and values
		{[]lbconfig.Condition{header("User-Agent", "Chrome")}, get1("/", "User-Agent: Chrome/1"), false},    // the whole value
		{[]lbconfig.Condition{header("X-A", "b")}, get1("/", "X-A: a", "X-A: b"), true},                     // one line after the other
		{[]lbconfig.Condition{header("X-A", "a, b")}, get1("/", "X-A: a", "X-A: b"), false},
		{[]lbconfig.Condition{header("X-A", "*")}, get1("/"), false},
		{[]lbconfig.Condition{header("X-A", "*")}, get1("/", "X-A:"), true},
		{[]lbconfig.Condition{header("X-A", "?")}, get1("/", "X-A:"), false},
		{[]lbconfig.Condition{header("X-A", "1"), header("X-B", "2")}, get1("/", "X-A: 1"), false},
		{[]lbconfig.Condition{header("X-A", "1"), header("X-B", "2")}, get1("/", "X-A: 1", "X-B: 2"), true},
		{[]lbconfig.Condition{query("version", "v1")}, get1("/?a=b&version=v1"), true},
		{[]lbconfig.Condition{query("version", "v1")}, get1("/?version=v12"), false},
		{[]lbconfig.Condition{query("version", "v1")}, get1("/?VERSION=V1"), true}, // no case
		{[]lbconfig.Condition{query("version", "v*")}, get1("/?version=v12"), true},
		{[]lbconfig.Condition{query("", "*example*")}, get1("/?a=b&c=myexample1"), true}, // any key
		{[]lbconfig.Condition{query("", "example")}, get1("/?example=1"), false},         // the key is no value
		{[]lbconfig.Condition{query("a", "1", "b", "2")}, get1("/?b=2"), true},           // one of them
		{[]lbconfig.Condition{query("a", "1"), query("b", "2")}, get1("/?b=2"), false},
		{[]lbconfig.Condition{query("a", "1"), query("b", "2")}, get1("/?b=2&a=1"), true},
		{[]lbconfig.Condition{query("a", `\*`)}, get1("/?a=b"), false}, // a star itself
		{[]lbconfig.Condition{query("a", `\*`)}, get1("/?a=*"), true},
		{[]lbconfig.Condition{query("a", `b c`)}, get1("/?a=b%20c"), true},
		{[]lbconfig.Condition{query("a", `b`)}, get1("/b"), false},
		{[]lbconfig.Condition{query("a", `*`)}, get1("/?b&a&c"), true},
		{regex("path-pattern", "", `^/api/v[0-9]+/?$`), get1("/api/v12"), true},
		{regex("path-pattern", "", `^/api/v[0-9]+/?$`), get1("/api/v12?x=y"), true}, // the query is no path
		{regex("path-pattern", "", `^/api/v[0-9]+/?$`), get1("/API/v12"), false},
		{regex("path-pattern", "", `^/x$`, `v1`), get1("/api/v12"), true}, // found anywhere unless anchored
		{regex("host-header", "", `^(www|api)\.example\.com$`), "GET / HTTP/1.1\r\nHost: API.example.com:80\r\n\r\n", true},
		{regex("host-header", "", `^(www|api)\.example\.com$`), "GET / HTTP/1.1\r\nHost: x.example.com\r\n\r\n", false},
		{regex("http-header", "X-Version", `^[0-9]+\.[0-9]+$`), get1("/", "X-Version: 1.10"), true},
		{regex("http-header", "X-Version", `^[0-9]+\.[0-9]+$`), get1("/", "X-Version: 1.x"), false},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			s := site(1)
			l := &s.Balancers[0].Listeners[0]
			l.Rules = append([]lbconfig.Rule{{ARN: "r", Conditions: c.conds, Action: lbconfig.Action{Type: lbconfig.FixedResponse, Fixed: lbconfig.Fixed{Status: 299}}}}, l.Rules...)
			s.Rev = 1
			if err := s.Validate(); err != nil {
				t.Fatal(err)
			}
			rules := compileRules(l.Rules, map[string]*group{"tg": newGroup("tg")})
			req := parse(t, c.request)
			a := newRequest(req)
			q := newQuestion(&a, req.RequestURI, loopback)
			if got := match(rules, &q) == &rules[0]; got != c.want {
				t.Errorf("conditions %+v hold for %q: %v, want %v", c.conds, c.request, got, c.want)
			}
		})
	}
}
