package lbconfig

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func sample() Snapshot {
	return Snapshot{
		Rev: 3,
		Balancers: []Balancer{{
			ARN: "lb", Name: "web", Netns: "/run/vpc", ENIs: []netip.Addr{netip.MustParseAddr("10.0.1.5")},
			Public: []netip.Addr{netip.MustParseAddr("127.64.0.1")}, Front: "127.0.0.1:80", Names: []string{"web.elb.localhost"},
			Ingress: []Allow{{netip.MustParsePrefix("0.0.0.0/0"), 80, 80}},
			Listeners: []Listener{{ARN: "li", Port: 80, Rules: []Rule{
				{ARN: "r1", Conditions: []Condition{{Field: PathPattern, Values: []string{"/a*"}}}, Action: Action{Type: Forward, Groups: []Weighted{{"tg", 1}}}},
				{ARN: "r2", Conditions: []Condition{{Field: HostHeader, Values: []string{"*.x.org"}}}, Action: Action{Type: RedirectTo, Redirect: Redirect{Status: 301, Port: "8080"}}},
				{ARN: "rd", Action: Action{Type: FixedResponse, Fixed: Fixed{Status: 404}}},
			}}},
		}},
		Groups: []TargetGroup{{
			ARN: "tg", Name: "web", Deregistration: 300 * time.Second,
			Health:  HealthCheck{Enabled: true, Protocol: "HTTP", Port: "traffic-port", Path: "/", Matcher: "200", Interval: 30 * time.Second, Timeout: 5 * time.Second, Healthy: 5, Unhealthy: 2},
			Targets: []Target{{Addr: netip.MustParseAddrPort("10.0.1.10:8080"), Since: time.Unix(1, 0).UTC()}},
		}},
	}
}

func TestSave_AndLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "snapshot.json")
	want := sample()
	for range 2 {
		if err := Save(path, want); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(&want, got, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{})); d != "" {
		t.Errorf("Load(Save(s)) differs (-want +got):\n%s", d)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode of %s = %v, %v, want 0600", path, st.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".snapshot-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		change     func(*Snapshot)
	}{
		{"rev", "Rev 0", func(s *Snapshot) { s.Rev = 0 }},
		{"double ARN", "tg: occurs twice", func(s *Snapshot) { s.Balancers[0].ARN = "tg" }},
		{"no default", "last rule must be the default", func(s *Snapshot) { l := &s.Balancers[0].Listeners[0]; l.Rules = l.Rules[:2] }},
		{"no rules", "last rule must be the default", func(s *Snapshot) { s.Balancers[0].Listeners[0].Rules = nil }},
		{"default first", "has no condition and is not the last", func(s *Snapshot) { s.Balancers[0].Listeners[0].Rules[0].Conditions = nil }},
		{"unknown group", `forwards to "nope"`, func(s *Snapshot) { s.Balancers[0].Listeners[0].Rules[0].Action.Groups[0].ARN = "nope" }},
		{"weight", "weight 1000", func(s *Snapshot) { s.Balancers[0].Listeners[0].Rules[0].Action.Groups[0].Weight = 1000 }},
		{"action", `action "drop"`, func(s *Snapshot) { s.Balancers[0].Listeners[0].Rules[0].Action.Type = "drop" }},
		{"field", `condition field "source"`, func(s *Snapshot) { s.Balancers[0].Listeners[0].Rules[0].Conditions[0].Field = "source" }},
		{"source", `condition value "10.0.0.1"`, func(s *Snapshot) { condition(s, Condition{Field: SourceIP, Values: []string{"10.0.0.1"}}) }},
		{"regex", `condition value "(?=x)"`, func(s *Snapshot) { condition(s, Condition{Field: PathPattern, Regex: []string{"(?=x)"}}) }},
		{"regex with values", `go with`, func(s *Snapshot) {
			condition(s, Condition{Field: PathPattern, Values: []string{"/"}, Regex: []string{"x"}})
		}},
		{"regex of a method", `go with`, func(s *Snapshot) { condition(s, Condition{Field: RequestMethod, Regex: []string{"x"}}) }},
		{"header without a name", `has a name of 0 bytes`, func(s *Snapshot) { condition(s, Condition{Field: HTTPHeader, Values: []string{"x"}}) }},
		{"query with values", `parameters are for`, func(s *Snapshot) { condition(s, Condition{Field: QueryString, Values: []string{"x"}}) }},
		{"no value", "has no value", func(s *Snapshot) { s.Balancers[0].Listeners[0].Rules[0].Conditions[0].Values = nil }},
		{"long value", "129 bytes", func(s *Snapshot) {
			s.Balancers[0].Listeners[0].Rules[0].Conditions[0].Values[0] = strings.Repeat("x", 129)
		}},
		{"redirect", "redirect status 307", func(s *Snapshot) { s.Balancers[0].Listeners[0].Rules[1].Action.Redirect.Status = 307 }},
		{"fixed", "fixed response 301", func(s *Snapshot) { s.Balancers[0].Listeners[0].Rules[2].Action.Fixed.Status = 301 }},
		{"port twice", "listener port 80", func(s *Snapshot) {
			l := s.Balancers[0].Listeners[0]
			s.Balancers[0].Listeners = append(s.Balancers[0].Listeners, l)
		}},
		{"front", `front "localhost:80"`, func(s *Snapshot) { s.Balancers[0].Front = "localhost:80" }},
		{"front without names", "no names", func(s *Snapshot) { s.Balancers[0].Names = nil }},
		{"namespace without address", "no address in it", func(s *Snapshot) { s.Balancers[0].ENIs = nil }},
		{"relative namespace", "absolute", func(s *Snapshot) { s.Balancers[0].Netns = "vpc" }},
		{"IPv6", "must be IPv4", func(s *Snapshot) { s.Balancers[0].Public[0] = netip.MustParseAddr("::1") }},
		{"health protocol", `protocol "UDP"`, func(s *Snapshot) { s.Groups[0].Health.Protocol = "UDP" }},
		{"health path", "health check path", func(s *Snapshot) { s.Groups[0].Health.Path = "/a b" }},
		{"health port", "health check port", func(s *Snapshot) { s.Groups[0].Health.Port = "0" }},
		{"matcher", "matcher", func(s *Snapshot) { s.Groups[0].Health.Matcher = "20x" }},
		{"interval", "interval", func(s *Snapshot) { s.Groups[0].Health.Interval = 0 }},
		{"target twice", "occurs twice", func(s *Snapshot) { s.Groups[0].Targets = append(s.Groups[0].Targets, s.Groups[0].Targets[0]) }},
		{"target since", "Since", func(s *Snapshot) { s.Groups[0].Targets[0].Since = time.Time{} }},
		{"delay", "deregistration delay", func(s *Snapshot) { s.Groups[0].Deregistration = 2 * time.Hour }},
		{"ingress", "not a range", func(s *Snapshot) { s.Balancers[0].Ingress[0].Lo = 81 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := sample()
			tc.change(&s)
			if err := s.Validate(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Validate() = %v, want one with %q", err, tc.want)
			}
		})
	}
	s := sample()
	if err := s.Validate(); err != nil {
		t.Errorf("Validate(sample) = %v", err)
	}
}

func condition(s *Snapshot, c Condition) {
	s.Balancers[0].Listeners[0].Rules[0].Conditions = []Condition{c}
}

func TestParseRegex(t *testing.T) {
	for _, good := range []string{`^/a/(.+)$`, `(?i)x`, `[[:alpha:]]`, `\d+`, `a|b`} {
		if _, err := ParseRegex(good); err != nil {
			t.Errorf("ParseRegex(%q): %v", good, err)
		}
	}
	for _, bad := range []string{`(?=a)`, `(?!a)`, `(?<=a)b`, `(a)\1`, `(?>a)`, `a++`, `(?R)`, `\p{L}`, `(`} {
		if _, err := ParseRegex(bad); err == nil {
			t.Errorf("ParseRegex(%q) is no error", bad)
		}
	}
}

func TestParseCodes(t *testing.T) {
	for _, tc := range []struct {
		in      string
		in3, no []int
	}{
		{"200", []int{200}, []int{199, 201, 404}},
		{"200,202", []int{200, 202}, []int{201, 203}},
		{"200-399", []int{200, 302, 399}, []int{400}},
		{"200-299,404", []int{204, 404}, []int{300, 403}},
	} {
		c, err := ParseCodes(tc.in)
		if err != nil {
			t.Errorf("ParseCodes(%q): %v", tc.in, err)
		}
		for _, n := range tc.in3 {
			if !c.Contains(n) {
				t.Errorf("ParseCodes(%q).Contains(%d) = false", tc.in, n)
			}
		}
		for _, n := range tc.no {
			if c.Contains(n) {
				t.Errorf("ParseCodes(%q).Contains(%d) = true", tc.in, n)
			}
		}
	}
	for _, bad := range []string{"", "abc", "199", "500", "200,", "300-200", "200-", "-200", "+200", "200 ,201", "0200"} {
		if c, err := ParseCodes(bad); err == nil {
			t.Errorf("ParseCodes(%q) = %v, want an error", bad, c)
		}
	}
}
