package lb

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// group is a target group. It lives as long as snapshots name it, so that turns and counts go on across them.
type group struct {
	arn      string
	hash     [16]byte               // names it in cookies
	eligible atomic.Pointer[roster] // never nil
	requests counters

	// What follows belongs to the worker's mutex.
	conf    lbconfig.TargetGroup
	members map[netip.AddrPort]*member
	turns   map[string]*atomic.Uint64 // by zone
	via     *lbconfig.Balancer        // examines the targets; nil when no listener uses the group
}

func newGroup(arn string) *group {
	g := &group{arn: arn, hash: groupHash(arn), members: map[netip.AddrPort]*member{}, turns: map[string]*atomic.Uint64{}}
	g.eligible.Store(&roster{})
	return g
}

// member is a target of one group. Health, draining and open requests belong to the pair: the same address in two
// groups is two members.
type member struct {
	group    *group
	addr     netip.AddrPort
	inflight atomic.Int64 // claims not released
	closed   atomic.Bool  // draining or gone: no new claims
	cut      atomic.Bool  // its open requests have been cancelled, and whoever still comes is too
	// slowSince is when it began to start slowly, by clock; 0: it did not.
	slowSince atomic.Int64
	tally     tally
	lost      atomic.Int64 // of its share, out of fullShare, while an anomaly is mitigated
	drained   func()       // called when the last claim of a closed member is released; must not block
	// upstreams by the ARN of the balancer that sends; replaced as a whole.
	upstreams atomic.Pointer[map[string]*upstream]

	// What follows belongs to the worker's mutex.
	conf   lbconfig.Target
	health health
	// anomalous is what it was judged when its tally was that of judged.
	anomalous bool
	judged    conduct
	probe     *probe        // nil while it is not examined
	delay     time.Duration // the deregistration delay
	cutoff    *time.Timer   // ends it
}

// claim counts a request in, which came in at the zone, at the target whose turn it is. The caller releases it. nil:
// nobody is eligible.
//
// A drain must see every request that was ever assigned. So a claim counts first and looks at closed second, while
// whoever drains publishes the list without the member, sets closed, and only then looks at the count: either the
// claim sees closed, and finds a list without the member, or the drain sees the claim.
func (g *group) claim(zone string) *member {
	for {
		r := g.eligible.Load().at(zone)
		if len(r.members) == 0 {
			return nil
		}
		m := r.choose(clock())
		m.inflight.Add(1)
		if !m.closed.Load() {
			return m
		}
		m.release()
	}
}

// claimAt is claim for the target at one address, nil if it is not eligible.
func (g *group) claimAt(zone string, addr netip.AddrPort) *member {
	for _, m := range g.eligible.Load().at(zone).members {
		if m.addr != addr {
			continue
		}
		m.inflight.Add(1)
		if !m.closed.Load() {
			return m
		}
		m.release()
		return nil
	}
	return nil
}

// release gives a claim back.
func (m *member) release() {
	if m.inflight.Add(-1) == 0 && m.closed.Load() {
		m.closeIdle()
		m.drained()
	}
}

// upstream is the way from the balancer to this target.
func (m *member) upstream(balancer string) *upstream {
	return (*m.upstreams.Load())[balancer]
}

func (m *member) closeIdle() {
	for _, u := range *m.upstreams.Load() {
		u.closeIdle()
	}
}
