package target

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/lbconfig"
	"github.com/lotse-project/lotse/internal/state"
)

var anyScope = arn.Scope{Account: "000000000000", Region: "us-east-1"}

func testSettings() settings {
	return settings{netns: func(vpc string) string { return "/run/" + vpc }, front: "127.0.0.1:80"}
}

// randomRecords are such as the API lets through, with dangling references among them.
func randomRecords(r *rand.Rand) (out records) {
	hex := func() string { return fmt.Sprintf("%016x", r.Uint64()) }
	var arns []string
	for i := range r.IntN(4) {
		g := group{TargetGroup: state.TargetGroup{Scope: anyScope, Name: fmt.Sprintf("g%d", i), ID: hex(), VPC: "vpc-1", DeregistrationDelay: r.IntN(3601),
			Stickiness: []state.Stickiness{{}, {Enabled: true}, {Enabled: true, Type: "app_cookie", Cookie: "S", ApplicationSeconds: 1 + r.IntN(604800)}, {Enabled: true, Type: "lb_cookie", BalancerSeconds: 604800, Cookie: "left"}}[r.IntN(4)],
			MinHealthy: r.IntN(3), MinHealthyPercent: r.IntN(101), Algorithm: []string{"", "round_robin", "weighted_random", "least_outstanding_requests"}[r.IntN(4)],
			Health: state.HealthCheck{Protocol: "HTTP", Port: []string{"traffic-port", "9090"}[r.IntN(2)], Path: "/health?x", Matcher: []string{"200", "200-399,404"}[r.IntN(2)],
				Interval: 5 + r.IntN(296), Timeout: 2 + r.IntN(3), Healthy: 2 + r.IntN(9), Unhealthy: 2 + r.IntN(9)}}}
		for j := range r.IntN(4) {
			t := state.Target{Group: g.ARN(), Address: fmt.Sprintf("172.31.0.%d", 10+j), Port: 1 + r.IntN(65535), RegisteredAt: time.Unix(int64(1+r.IntN(1e9)), 0).UTC()}
			if r.IntN(3) == 0 {
				t.DeregisteredAt = t.RegisteredAt.Add(time.Second)
			}
			g.targets = append(g.targets, t)
		}
		out.groups, arns = append(out.groups, g), append(arns, g.ARN())
	}
	arns = append(arns, anyScope.ARN("elasticloadbalancing", "targetgroup/gone/0000000000000000"))
	act := func() []state.Action {
		switch r.IntN(3) {
		case 0:
			a := state.Action{Type: "forward"}
			for _, g := range arns[:1+r.IntN(len(arns))] {
				a.Groups = append(a.Groups, state.WeightedGroup{ARN: g, Weight: r.IntN(1000)})
			}
			return []state.Action{a}
		case 1:
			return []state.Action{{Type: "fixed-response", Fixed: state.FixedResponse{Status: 404, ContentType: "text/plain", Body: "no"}}}
		}
		return []state.Action{{Type: "redirect", Redirect: state.Redirect{Protocol: "HTTPS", Host: "#{host}", Port: "443", Path: "/#{path}", Query: "#{query}", Status: 301}}}
	}
	for i := range r.IntN(4) {
		b := balancer{LoadBalancer: state.LoadBalancer{Scope: anyScope, Name: fmt.Sprintf("b%d", i), ID: hex(), DNSName: fmt.Sprintf("b%d-1.elb.localhost", i), VPC: "vpc-1",
			Scheme: []string{state.InternetFacing, state.Internal}[r.IntN(2)], IdleTimeout: 1 + r.IntN(4000), CreatedAt: time.Unix(int64(r.IntN(1000)), 0)}}
		for j := range 1 + r.IntN(3) {
			e := state.NetworkInterface{Address: fmt.Sprintf("172.31.%d.%d", j, 4+i)}
			if b.Scheme == state.InternetFacing && r.IntN(2) == 0 {
				e.Public = fmt.Sprintf("127.64.0.%d", 1+8*i+j)
			}
			b.interfaces = append(b.interfaces, e)
		}
		for range r.IntN(3) {
			b.guards = append(b.guards, state.SecurityGroup{Ingress: []state.SecurityGroupRule{
				{Protocol: "-1", From: -1, To: -1, Group: "sg-1"}, {Protocol: "-1", From: -1, To: -1, CIDR: "10.0.0.1/8"}, {Protocol: "tcp", From: int32(r.IntN(100)), To: int32(r.IntN(100)), CIDR: "0.0.0.0/0"},
				{Protocol: "udp", From: 1, To: 2, CIDR: "0.0.0.0/0"}, {Protocol: "icmp", From: 8, To: -1, CIDR: "0.0.0.0/0"}}})
		}
		for p := range r.IntN(3) {
			l := listener{Listener: state.Listener{Scope: anyScope, Balancer: b.Name + "/" + b.ID, ID: hex(), DefaultRuleID: hex(), Port: 80 + p, Default: act()}}
			for _, prio := range r.Perm(r.IntN(5)) {
				l.rules = append(l.rules, state.Rule{Scope: anyScope, Listener: l.Balancer + "/" + l.ID, ID: hex(), Priority: prio + 1, Actions: act(), Transforms: []state.Transform{{Type: "host-header-rewrite", Regex: "^a", Replace: "b"}, {Type: "url-rewrite", Regex: "^/(.*)$", Replace: "/x/$1"}}[:r.IntN(3)], Conditions: []state.Condition{
					{Field: "host-header", Values: []string{fmt.Sprintf("H%d.example.com", r.IntN(3)), "*.example.com"}}, {Field: "path-pattern", Values: []string{"/a", "/a/*"}}, otherCondition(r)}})
			}
			b.listeners = append(b.listeners, l)
		}
		out.balancers = append(out.balancers, b)
	}
	return out
}

func otherCondition(r *rand.Rand) state.Condition {
	return []state.Condition{
		{Field: "http-header", Name: "User-Agent", Values: []string{"*x*"}}, {Field: "http-header", Name: "X-A", Regex: []string{"^x"}}, {Field: "http-request-method", Values: []string{"GET"}},
		{Field: "source-ip", Values: []string{"10.0.0.1/8"}}, {Field: "query-string", Query: []state.QueryParameter{{Key: "a", Value: "*"}}}}[r.IntN(5)]
}

func TestSnapshot_IsAlwaysValidAndTheSame(t *testing.T) {
	for seed := range uint64(2000) {
		r := randomRecords(rand.New(rand.NewPCG(seed, 1)))
		s := snapshot(r, testSettings())
		s.Rev = 1
		if err := s.Validate(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		again := snapshot(r, testSettings())
		if again.Rev = 1; !same(s, again) {
			t.Fatalf("seed %d: the same records give another snapshot", seed)
		}
		fronts := map[string]bool{}
		for i, b := range s.Balancers {
			if internal := b.Scheme == state.Internal; internal && (b.Front != "" || len(b.Public) > 0) {
				t.Fatalf("seed %d: internal balancer %s has front %q and public addresses %v", seed, b.Name, b.Front, b.Public)
			}
			for _, n := range b.Names {
				if fronts[n] {
					t.Fatalf("seed %d: two balancers answer for %s", seed, n)
				}
				fronts[n] = true
			}
			for j, l := range b.Listeners {
				if got, want := len(l.Rules), len(r.balancers[i].listeners[j].rules)+1; got != want {
					t.Fatalf("seed %d: %d rules, want %d", seed, got, want)
				}
			}
		}
		for i, g := range s.Groups {
			if len(g.Targets) != len(r.groups[i].targets) {
				t.Fatalf("seed %d: %d targets, want %d", seed, len(g.Targets), len(r.groups[i].targets))
			}
			for j, x := range g.Targets {
				if x.Draining != !r.groups[i].targets[j].DeregisteredAt.IsZero() {
					t.Fatalf("seed %d: target %s draining %v", seed, x.Addr, x.Draining)
				}
			}
		}
	}
}

func TestSnapshot_FrontNames(t *testing.T) {
	b := func(name, scheme string, age int64, hosts ...string) balancer {
		return balancer{LoadBalancer: state.LoadBalancer{Scope: anyScope, Name: name, DNSName: name + ".elb.localhost", Scheme: scheme, CreatedAt: time.Unix(age, 0)},
			listeners: []listener{{rules: []state.Rule{{Conditions: []state.Condition{{Field: "host-header", Values: hosts}, {Field: "path-pattern", Values: []string{"/x"}}}}}}}}
	}
	got := frontNames([]balancer{
		b("new", state.InternetFacing, 2, "web.localhost", "new.localhost", "old.elb.localhost"),
		b("old", state.InternetFacing, 1, "WEB.localhost", "*.example.com"),
		b("internal", state.Internal, 0, "new.localhost"),
	}, "127.0.0.1:80")
	want := [][]string{{"new.elb.localhost", "new.localhost"}, {"old.elb.localhost", "web.localhost"}, nil}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("names (-want +got):\n%s", d)
	}
	if got := frontNames([]balancer{b("old", state.InternetFacing, 1)}, ""); got[0] != nil {
		t.Errorf("names without a front: %v", got[0])
	}
}

func TestSnapshot_Rules(t *testing.T) {
	r := records{balancers: []balancer{{LoadBalancer: state.LoadBalancer{Scope: anyScope, Name: "b", ID: "1", DNSName: "b.x"}, interfaces: []state.NetworkInterface{{Address: "172.31.0.4"}},
		listeners: []listener{{state.Listener{Scope: anyScope, Balancer: "b/1", ID: "2", Port: 80, DefaultRuleID: "9", Default: []state.Action{{Type: "forward", Groups: []state.WeightedGroup{{ARN: "gone", Weight: 1}}}}}, []state.Rule{
			{Scope: anyScope, Listener: "b/1/2", ID: "3", Priority: 20, Actions: []state.Action{{Type: "fixed-response", Fixed: state.FixedResponse{Status: 200}}}},
			{Scope: anyScope, Listener: "b/1/2", ID: "4", Priority: 3, Actions: []state.Action{{Type: "fixed-response", Fixed: state.FixedResponse{Status: 201}}}},
		}}}}}}
	rules := snapshot(r, testSettings()).Balancers[0].Listeners[0].Rules
	var got []int
	for _, x := range rules {
		got = append(got, x.Action.Fixed.Status)
	}
	if !slices.Equal(got, []int{201, 200, 503}) {
		t.Errorf("rules answer %v, want 201, 200 by priority, and 503 for the group that is gone", got)
	}
}

func TestIngress(t *testing.T) {
	got := ingress([]state.SecurityGroup{{Ingress: []state.SecurityGroupRule{
		{Protocol: "tcp", From: 80, To: 81, CIDR: "203.0.113.7/24"}, {Protocol: "-1", From: -1, To: -1, CIDR: "10.0.0.0/8"},
		{Protocol: "-1", From: -1, To: -1, Group: "sg-1"}, {Protocol: "udp", From: 80, To: 80, CIDR: "0.0.0.0/0"},
	}}})
	want := []lbconfig.Allow{{From: netip.MustParsePrefix("203.0.113.0/24"), Lo: 80, Hi: 81}, {From: netip.MustParsePrefix("10.0.0.0/8"), Lo: 0, Hi: 65535}}
	if !slices.Equal(got, want) {
		t.Errorf("ingress = %v, want %v", got, want)
	}
}
