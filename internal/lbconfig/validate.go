package lbconfig

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Validate says what is wrong with the snapshot, all of it.
func (s *Snapshot) Validate() error {
	v := validator{groups: map[string]bool{}, certificates: map[string]bool{}, seen: map[string]bool{}}
	if s.Rev < 1 {
		v.bad("snapshot", "Rev %d: must be at least 1", s.Rev)
	}
	for i := range s.Groups {
		v.group(&s.Groups[i])
	}
	for i := range s.Certificates {
		v.certificate(&s.Certificates[i])
	}
	for i := range s.Balancers {
		v.balancer(&s.Balancers[i])
	}
	return errors.Join(v.errs...)
}

// Private

type validator struct {
	groups       map[string]bool // ARNs
	certificates map[string]bool // ARNs
	seen         map[string]bool // ARNs of everything, to find doubles
	errs         []error
}

func (v *validator) bad(what, format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf("%s: "+format, append([]any{what}, args...)...))
}

func (v *validator) arn(arn string) {
	if arn == "" {
		v.bad("snapshot", "an ARN is missing")
	} else if v.seen[arn] {
		v.bad(arn, "occurs twice")
	}
	v.seen[arn] = true
}

func (v *validator) group(g *TargetGroup) {
	v.arn(g.ARN)
	v.groups[g.ARN] = true
	if g.Deregistration < 0 || g.Deregistration > time.Hour {
		v.bad(g.ARN, "deregistration delay %s: must be from 0 to 3600 s", g.Deregistration)
	}
	v.stickiness(g.ARN, g.Stickiness)
	switch g.Algorithm {
	case "", RoundRobin, LeastOutstanding, WeightedRandom:
	default:
		v.bad(g.ARN, "algorithm %q: must be %s, %s or %s", g.Algorithm, RoundRobin, LeastOutstanding, WeightedRandom)
	}
	v.version(g.ARN, g.Version)
	if g.Mitigate && g.Algorithm != WeightedRandom {
		v.bad(g.ARN, "anomalies can be mitigated with %s only", WeightedRandom)
	}
	if g.SlowStart < 0 || g.SlowStart > MaxSlowStart || g.SlowStart > 0 && g.Algorithm != "" && g.Algorithm != RoundRobin {
		v.bad(g.ARN, "slow start of %s: must be at most %s, and with %s", g.SlowStart, MaxSlowStart, RoundRobin)
	}
	if g.MinHealthy < 0 || g.MinHealthyPercent < 0 || g.MinHealthyPercent > 100 {
		v.bad(g.ARN, "at least %d and %d %% healthy: must be a number and a percentage", g.MinHealthy, g.MinHealthyPercent)
	}
	if g.Health.Enabled {
		v.health(g.ARN, &g.Health)
	}
	addrs := map[netip.AddrPort]bool{}
	for _, t := range g.Targets {
		switch {
		case !t.Addr.IsValid() || !t.Addr.Addr().Is4() || t.Addr.Port() == 0:
			v.bad(g.ARN, "target %s: want an IPv4 address and a port", t.Addr)
		case addrs[t.Addr]:
			v.bad(g.ARN, "target %s occurs twice", t.Addr)
		case t.Since.IsZero():
			v.bad(g.ARN, "target %s: Since is missing", t.Addr)
		}
		addrs[t.Addr] = true
	}
}

func (v *validator) stickiness(arn string, s Stickiness) {
	switch s.Type {
	case "":
		return
	case BalancerCookie, ApplicationCookie:
	default:
		v.bad(arn, "stickiness %q: must be %s or %s", s.Type, BalancerCookie, ApplicationCookie)
	}
	if s.Duration < time.Second || s.Duration > MaxSticky {
		v.bad(arn, "stickiness of %s: must be from 1 s to %s", s.Duration, MaxSticky)
	}
	if (s.Cookie != "") != (s.Type == ApplicationCookie) {
		v.bad(arn, "stickiness %s with the cookie %q: only %s has one", s.Type, s.Cookie, ApplicationCookie)
	}
}

func (v *validator) health(arn string, h *HealthCheck) {
	switch h.Protocol {
	case "TCP":
	case "HTTP", "HTTPS":
		if !strings.HasPrefix(h.Path, "/") || strings.ContainsAny(h.Path, " \r\n") {
			v.bad(arn, "health check path %q: must begin with / and have no spaces", h.Path)
		}
		if _, err := h.Codes(); err != nil {
			v.bad(arn, "health check %w", err)
		}
	default:
		v.bad(arn, "health check protocol %q: must be HTTP, HTTPS or TCP", h.Protocol)
	}
	v.version(arn, h.Version)
	if p, err := strconv.Atoi(h.Port); h.Port != "traffic-port" && (err != nil || p < 1 || p > 65535) {
		v.bad(arn, `health check port %q: must be "traffic-port" or 1 to 65535`, h.Port)
	}
	if h.Interval <= 0 || h.Timeout <= 0 {
		v.bad(arn, "health check interval %s and timeout %s: must be above 0", h.Interval, h.Timeout)
	}
	if h.Healthy < 1 || h.Unhealthy < 1 {
		v.bad(arn, "health check thresholds %d and %d: must be at least 1", h.Healthy, h.Unhealthy)
	}
}

func (v *validator) version(arn, version string) {
	switch version {
	case "", HTTP1, HTTP2, GRPC:
	default:
		v.bad(arn, "protocol version %q: must be %s, %s or %s", version, HTTP1, HTTP2, GRPC)
	}
}

func (v *validator) balancer(b *Balancer) {
	v.arn(b.ARN)
	if b.Netns != "" && !filepath.IsAbs(b.Netns) {
		v.bad(b.ARN, "namespace %q: must be an absolute path", b.Netns)
	}
	for _, a := range append(append([]netip.Addr{}, b.ENIs...), b.Public...) {
		if !a.Is4() {
			v.bad(b.ARN, "address %s: must be IPv4", a)
		}
	}
	if b.Netns != "" && len(b.ENIs) == 0 {
		v.bad(b.ARN, "has a namespace and no address in it")
	}
	if b.IdleTimeout < 0 {
		v.bad(b.ARN, "idle timeout %s: must not be negative", b.IdleTimeout)
	}
	if b.KeepAlive < 0 {
		v.bad(b.ARN, "client keep-alive %s: must not be negative", b.KeepAlive)
	}
	v.routing(b.ARN, b.Routing)
	if b.Front != "" {
		if ap, err := netip.ParseAddrPort(b.Front); err != nil || !ap.Addr().Is4() || ap.Port() == 0 {
			v.bad(b.ARN, "front %q: must be an IPv4 address and a port", b.Front)
		}
		if len(b.Names) == 0 {
			v.bad(b.ARN, "is behind the front %s and has no names to be told apart by", b.Front)
		}
	}
	for _, a := range b.Ingress {
		if !a.From.IsValid() || a.Lo > a.Hi {
			v.bad(b.ARN, "ingress %s ports %d to %d: not a range", a.From, a.Lo, a.Hi)
		}
	}
	ports := map[uint16]bool{}
	for i := range b.Listeners {
		l := &b.Listeners[i]
		if l.Port == 0 || ports[l.Port] {
			v.bad(b.ARN, "listener port %d: must be from 1 to 65535 and there once", l.Port)
		}
		ports[l.Port] = true
		v.listener(l)
	}
}

func (v *validator) listener(l *Listener) {
	v.arn(l.ARN)
	v.tls(l.ARN, l.TLS)
	v.headers(l.ARN, l.Headers)
	if n := len(l.Rules); n == 0 || len(l.Rules[n-1].Conditions) != 0 {
		v.bad(l.ARN, "its last rule must be the default, without conditions")
	}
	for i := range l.Rules {
		r := &l.Rules[i]
		v.arn(r.ARN)
		if i < len(l.Rules)-1 && len(r.Conditions) == 0 {
			v.bad(r.ARN, "has no condition and is not the last")
		}
		values := 0
		for _, c := range r.Conditions {
			values += len(c.Values) + len(c.Regex) + len(c.Query)
			v.condition(r.ARN, &c)
		}
		if values > MaxConditionValues {
			v.bad(r.ARN, "%d condition values: at most %d", values, MaxConditionValues)
		}
		v.rewrites(r)
		v.action(r.ARN, &r.Action)
	}
}

func (v *validator) rewrites(r *Rule) {
	if len(r.Rewrites) > 0 && r.Action.Type != Forward {
		v.bad(r.ARN, "rewrites requests that it does not forward")
	}
	seen := map[string]bool{}
	for _, w := range r.Rewrites {
		if w.Kind != RewriteHost && w.Kind != RewriteURL || seen[w.Kind] {
			v.bad(r.ARN, "rewrite %q: must be %s or %s, once", w.Kind, RewriteHost, RewriteURL)
		}
		seen[w.Kind] = true
		if w.Regex == "" || len(w.Regex) > MaxRewrite || len(w.Replace) > MaxRewrite {
			v.bad(r.ARN, "rewrite of %d to %d bytes: must be at most %d", len(w.Regex), len(w.Replace), MaxRewrite)
		} else if _, err := ParseRegex(w.Regex); err != nil {
			v.bad(r.ARN, "rewrite: %w", err)
		}
	}
}

func (v *validator) action(arn string, a *Action) {
	if a.Sticky != 0 && (a.Type != Forward || a.Sticky < time.Second || a.Sticky > MaxSticky) {
		v.bad(arn, "%s sticky for %s: must be %s, and from 1 s to %s", a.Type, a.Sticky, Forward, MaxSticky)
	}
	switch a.Type {
	case Forward:
		if len(a.Groups) == 0 || len(a.Groups) > MaxForwardGroups {
			v.bad(arn, "forwards to %d target groups: must be 1 to %d", len(a.Groups), MaxForwardGroups)
		}
		for _, g := range a.Groups {
			if !v.groups[g.ARN] {
				v.bad(arn, "forwards to %q, which the snapshot does not have", g.ARN)
			}
			if g.Weight < 0 || g.Weight > MaxWeight {
				v.bad(arn, "weight %d: must be 0 to %d", g.Weight, MaxWeight)
			}
		}
	case FixedResponse:
		if c := a.Fixed.Status / 100; c != 2 && c != 4 && c != 5 {
			v.bad(arn, "fixed response %d: must be 2xx, 4xx or 5xx", a.Fixed.Status)
		}
	case RedirectTo:
		if a.Redirect.Status != 301 && a.Redirect.Status != 302 {
			v.bad(arn, "redirect status %d: must be 301 or 302", a.Redirect.Status)
		}
	default:
		v.bad(arn, "action %q: must be %s, %s or %s", a.Type, Forward, FixedResponse, RedirectTo)
	}
}
