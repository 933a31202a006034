package lb

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// table is a compiled snapshot. It is immutable; applying a snapshot swaps the pointer to it.
type table struct {
	rev   int64
	ports map[portKey]*entry
	dials map[dialKey]bool
}

// entry is what answers at one bound address.
type entry struct {
	port     uint16               // that clients connect to
	zone     string               // of the address; "" at a front
	meter    *meter               // of the balancer in the zone; nil at a front
	listener *listener            // nil at a front
	front    map[string]*listener // by name, in lower case
	judge    bool                 // the client's address must be admitted: by whom, the listener says
	idle     time.Duration
}

// listener is a compiled lbconfig.Listener.
type listener struct {
	arn      string
	port     uint16
	balancer *lbconfig.Balancer
	rules    []rule
	requests *counters
	meter    *meter      // without a zone
	tls      *tls.Config // nil: plain HTTP
	headers  lbconfig.Headers
}

// admits says whether a client may reach the listener through a judged address.
func (l *listener) admits(client netip.Addr) bool {
	for _, a := range l.balancer.Ingress {
		if a.Lo <= l.port && l.port <= a.Hi && a.From.Contains(client) {
			return true
		}
	}
	return false
}

// listenerFor is the listener that a request is for; nil when nobody answers to the host.
func (e *entry) listenerFor(host string) *listener {
	if e.listener != nil {
		return e.listener
	}
	return e.front[strings.ToLower(hostOnly(host))]
}

// meterOf counts a request at the address that is for the listener.
func (e *entry) meterOf(l *listener) *meter {
	if e.meter != nil {
		return e.meter
	}
	return l.meter
}

// portKeys are the addresses at which the snapshot's listeners want to be bound. The parent grants just these.
func portKeys(s *lbconfig.Snapshot) map[portKey][]portUse {
	out := map[portKey][]portUse{}
	for i := range s.Balancers {
		b := &s.Balancers[i]
		for j := range b.Listeners {
			l := &b.Listeners[j]
			for _, a := range b.ENIs {
				k := portKey{b.Netns, netip.AddrPortFrom(a, l.Port)}
				out[k] = append(out[k], portUse{b, l, false, false})
			}
			for _, a := range b.Public {
				k := portKey{"", netip.AddrPortFrom(a, l.Port)}
				out[k] = append(out[k], portUse{b, l, false, true})
			}
		}
		if l := frontListener(b); l != nil {
			k := portKey{"", netip.MustParseAddrPort(b.Front)}
			out[k] = append(out[k], portUse{b, l, true, true})
		}
	}
	return out
}

// dialKeys are the addresses at which connections to targets begin. The parent grants just these.
func dialKeys(s *lbconfig.Snapshot) map[dialKey]bool {
	out := map[dialKey]bool{}
	for _, b := range s.Balancers {
		for _, a := range b.ENIs {
			out[dialKey{b.Netns, a}] = true
		}
	}
	return out
}

// portUse is one listener at one address.
type portUse struct {
	balancer *lbconfig.Balancer
	listener *lbconfig.Listener
	front    bool
	judge    bool
}

// frontListener is the one that a balancer's front speaks for: that on port 80, else the lowest without TLS.
func frontListener(b *lbconfig.Balancer) *lbconfig.Listener {
	if b.Front == "" {
		return nil
	}
	var best *lbconfig.Listener
	for i := range b.Listeners {
		l := &b.Listeners[i]
		if l.TLS != nil { // the front has no certificates
			continue
		}
		if best == nil || l.Port == 80 || l.Port < best.Port && best.Port != 80 {
			best = l
		}
	}
	return best
}

// compile builds the table. groups are the living groups by ARN, ids the certificates; counts the living counters by listener ARN,
// meters those of balancers and groups.
func compile(s *lbconfig.Snapshot, groups map[string]*group, ids map[string]*identity, counts func(listenerARN string) *counters, meters func(meterKey) *meter) *table {
	t := &table{rev: s.Rev, ports: map[portKey]*entry{}, dials: dialKeys(s)}
	compiled := map[*lbconfig.Listener]*listener{}
	for key, uses := range portKeys(s) {
		e := &entry{port: key.Addr.Port()}
		for _, u := range uses {
			l := compiled[u.listener]
			if l == nil {
				l = &listener{u.listener.ARN, u.listener.Port, u.balancer, compileRules(u.listener.Rules, groups), counts(u.listener.ARN), meters(meterKey{balancer: u.balancer.ARN}), tlsConfig(u.listener.TLS, ids), u.listener.Headers}
				compiled[u.listener] = l
			}
			e.idle = max(e.idle, u.balancer.Idle())
			e.judge = e.judge || u.judge
			if !u.front {
				e.listener, e.zone = l, u.balancer.Zones[key.Addr.Addr()]
				e.meter = meters(meterKey{balancer: u.balancer.ARN, zone: e.zone})
				continue
			}
			if e.front == nil {
				e.front = map[string]*listener{}
			}
			for _, name := range u.balancer.Names {
				e.front[strings.ToLower(name)] = l
			}
		}
		t.ports[key] = e
	}
	return t
}

func compileRules(in []lbconfig.Rule, groups map[string]*group) []rule {
	out := make([]rule, len(in))
	for i, r := range in {
		out[i] = rule{arn: r.ARN, priority: r.Priority, nth: nth(i, len(in)), act: action{Action: r.Action}}
		out[i].host, out[i].url = compileRewrites(r.Rewrites)
		for _, c := range r.Conditions {
			out[i].conds = append(out[i].conds, compileCond(c))
		}
		if r.Action.Type == lbconfig.Forward {
			var to []*group
			var weights []int
			for _, g := range r.Action.Groups {
				to = append(to, groups[g.ARN])
				weights = append(weights, g.Weight)
			}
			out[i].act.forward = newSpread(to, weights)
		}
	}
	return out
}
