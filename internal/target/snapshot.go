package target

import (
	"cmp"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
	"github.com/lotse-project/lotse/internal/state"
)

// settings is what a snapshot depends on besides the records.
type settings struct {
	netns  func(vpc string) string
	front  string
	strict bool
}

// snapshot is what the balancer should serve, but for its Rev. It is the same for the same
// records, and valid whatever they say: a rule that forwards to a group which is gone answers 503,
// as one whose group is empty.
//
// Groups that nobody uses are in it too: what is in flight to their targets when the last rule
// goes may then end in peace.
func snapshot(r records, o settings) lbconfig.Snapshot {
	s := lbconfig.Snapshot{Balancers: []lbconfig.Balancer{}, Groups: []lbconfig.TargetGroup{}}
	groups := map[string]bool{}
	for _, g := range r.groups {
		s.Groups = append(s.Groups, targetGroup(g, o.strict))
		groups[g.ARN()] = true
	}
	names := frontNames(r.balancers, o.front)
	for i, b := range r.balancers {
		out := lbconfig.Balancer{
			ARN: b.ARN(), Name: b.Name, DNSName: b.DNSName, Scheme: b.Scheme, Netns: o.netns(b.VPC), Names: names[i],
			Ingress: ingress(b.guards), IdleTimeout: time.Duration(b.IdleTimeout) * time.Second,
			KeepAlive: time.Duration(b.KeepAlive) * time.Second, Routing: lbconfig.Routing(b.Routing), AccessLogs: b.AccessLogs.Enabled, ConnectionLogs: b.ConnectionLogs.Enabled,
			Zones: map[netip.Addr]string{},
		}
		if len(out.Names) > 0 {
			out.Front = o.front
		}
		for _, e := range b.interfaces {
			out.ENIs = appendAddr(out.ENIs, e.Address)
			out.Public = appendAddr(out.Public, e.Public)
			for _, a := range appendAddr(appendAddr(nil, e.Address), e.Public) {
				out.Zones[a] = e.Zone
			}
		}
		for _, l := range b.listeners {
			x := lbconfig.Listener{ARN: l.ARN(), Port: uint16(l.Port), Rules: rules(l, groups),
				Headers: lbconfig.Headers{Response: l.Response, NoServer: l.NoServer, TLSVersion: l.TLSVersion, TLSCipher: l.TLSCipher}}
			if l.Protocol == "HTTPS" {
				if x.TLS = terminate(l.Listener, b.LoadBalancer, r.certificates); x.TLS == nil {
					continue
				}
			}
			out.Listeners = append(out.Listeners, x)
		}
		s.Balancers = append(s.Balancers, out)
	}
	s.Certificates = certificates(s.Balancers, r.certificates)
	return s
}

// Private

// frontNames are the hosts that each balancer answers for at the front: its own name and the
// hosts of its rules, those without wildcards. If two want the same, the older one has it.
func frontNames(balancers []balancer, front string) [][]string {
	out := make([][]string, len(balancers))
	if front == "" {
		return out
	}
	byAge := make([]int, len(balancers))
	for i := range byAge {
		byAge[i] = i
	}
	slices.SortStableFunc(byAge, func(a, b int) int { return balancers[a].CreatedAt.Compare(balancers[b].CreatedAt) })
	taken := map[string]bool{}
	for _, b := range balancers { // nobody takes another's own name
		taken[strings.ToLower(b.DNSName)] = true
	}
	for _, i := range byAge {
		b := balancers[i]
		if b.Scheme != state.InternetFacing {
			continue
		}
		out[i] = []string{b.DNSName}
		for _, host := range ruleHosts(b) {
			if !taken[host] {
				out[i] = append(out[i], host)
			}
			taken[host] = true
		}
	}
	return out
}

// ruleHosts are the hosts that a balancer's rules name, in lower case.
func ruleHosts(b balancer) (out []string) {
	for _, l := range b.listeners {
		for _, r := range l.rules {
			for _, c := range r.Conditions {
				for _, v := range c.Values {
					if c.Field == lbconfig.HostHeader && !strings.ContainsAny(v, "*?") {
						out = append(out, strings.ToLower(v))
					}
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ingress are the rules of security groups that admit addresses. A rule that admits a group's
// members says nothing about clients outside the VPC.
func ingress(guards []state.SecurityGroup) (out []lbconfig.Allow) {
	for _, g := range guards {
		for _, r := range g.Ingress {
			from, err := netip.ParsePrefix(r.CIDR)
			if err != nil || !from.Addr().Is4() {
				continue
			}
			a := lbconfig.Allow{From: from.Masked(), Lo: 0, Hi: 65535}
			switch r.Protocol {
			case "-1":
			case "tcp", "6":
				if r.From >= 0 {
					a.Lo, a.Hi = port(int(r.From)), port(int(r.To))
				}
			default:
				continue
			}
			if a.Lo <= a.Hi {
				out = append(out, a)
			}
		}
	}
	return out
}

func rules(l listener, groups map[string]bool) (out []lbconfig.Rule) {
	byPriority := slices.SortedStableFunc(slices.Values(l.rules), func(a, b state.Rule) int { return cmp.Compare(a.Priority, b.Priority) })
	for _, r := range byPriority {
		x := lbconfig.Rule{ARN: r.ARN(), Priority: r.Priority, Action: action(r.Actions, groups)}
		for _, c := range r.Conditions {
			y := lbconfig.Condition{Field: c.Field, Name: c.Name, Values: c.Values, Regex: c.Regex}
			for _, q := range c.Query {
				y.Query = append(y.Query, lbconfig.Parameter(q))
			}
			x.Conditions = append(x.Conditions, y)
		}
		for _, t := range r.Transforms {
			if x.Action.Type == lbconfig.Forward { // its groups may have gone
				x.Rewrites = append(x.Rewrites, lbconfig.Rewrite{Kind: t.Type, Regex: t.Regex, Replace: t.Replace})
			}
		}
		out = append(out, x)
	}
	return append(out, lbconfig.Rule{ARN: l.DefaultRuleARN(), Action: action(l.Default, groups)})
}

func action(actions []state.Action, groups map[string]bool) lbconfig.Action {
	unavailable := lbconfig.Action{Type: lbconfig.FixedResponse, Fixed: lbconfig.Fixed{Status: http.StatusServiceUnavailable}}
	if len(actions) == 0 {
		return unavailable
	}
	a := actions[len(actions)-1]
	out := lbconfig.Action{Type: a.Type}
	switch a.Type {
	case lbconfig.Forward:
		for _, g := range a.Groups {
			if groups[g.ARN] {
				out.Groups = append(out.Groups, lbconfig.Weighted{ARN: g.ARN, Weight: g.Weight})
			}
		}
		if len(out.Groups) == 0 {
			return unavailable
		}
		if a.Sticky.Enabled {
			out.Sticky = time.Duration(a.Sticky.Seconds) * time.Second
		}
	case lbconfig.FixedResponse:
		out.Fixed = lbconfig.Fixed(a.Fixed)
	case lbconfig.RedirectTo:
		out.Redirect = lbconfig.Redirect(a.Redirect)
	}
	return out
}

func targetGroup(g group, strict bool) lbconfig.TargetGroup {
	h := g.Health
	out := lbconfig.TargetGroup{
		ARN: g.ARN(), Name: g.Name, Deregistration: time.Duration(g.DeregistrationDelay) * time.Second,
		Secure: g.Protocol == "HTTPS", Version: g.ProtocolVersion,
		Health: lbconfig.HealthCheck{Enabled: true, Version: g.ProtocolVersion, Protocol: h.Protocol, Port: h.Port, Path: h.Path, Matcher: h.Matcher,
			Interval: time.Duration(h.Interval) * time.Second, Timeout: time.Duration(h.Timeout) * time.Second,
			Healthy: h.Healthy, Unhealthy: h.Unhealthy, Strict: strict},
	}
	out.Algorithm, out.Mitigate, out.SlowStart = g.Algorithm, g.Mitigate, time.Duration(g.SlowStart)*time.Second
	out.MinHealthy, out.MinHealthyPercent, out.Zonal = g.MinHealthy, g.MinHealthyPercent, g.CrossZone == "false"
	if out.FailoverPercent = g.FailoverPercent; !g.NoFailover {
		out.Failover = max(g.Failover, 1)
	}
	if st := g.Stickiness; st.Enabled {
		out.Stickiness = lbconfig.Stickiness{Type: lbconfig.BalancerCookie, Duration: time.Duration(st.Duration()) * time.Second}
		if st.Type == lbconfig.ApplicationCookie {
			out.Stickiness.Type, out.Stickiness.Cookie = st.Type, st.Cookie
		}
	}
	for _, t := range g.targets {
		if x, ok := targetOf(t); ok {
			out.Targets = append(out.Targets, x)
		}
	}
	return out
}

// targetOf is a target as the balancer sees it; a registration, or a drain, is known by its time.
func targetOf(t state.Target) (lbconfig.Target, bool) {
	a, err := netip.ParseAddr(t.Address)
	out := lbconfig.Target{Addr: netip.AddrPortFrom(a, port(t.Port)), Zone: t.Zone, Since: t.RegisteredAt}
	if out.Zone == state.AllZones {
		out.Zone = ""
	}
	if !t.DeregisteredAt.IsZero() {
		out.Draining, out.Since = true, t.DeregisteredAt
	}
	return out, err == nil && a.Is4() && out.Addr.Port() != 0
}

func appendAddr(list []netip.Addr, s string) []netip.Addr {
	if a, err := netip.ParseAddr(s); err == nil && a.Is4() {
		return append(list, a)
	}
	return list
}

func port(n int) uint16 { return uint16(min(max(n, 0), 65535)) }
