package lb

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// roster is who may get requests, and how they are chosen. It is immutable.
type roster struct {
	members   []*member
	turn      *atomic.Uint64
	zones     map[string]*roster // nil: all zones are one
	sticky    lbconfig.Stickiness
	algorithm string
	slow      time.Duration
	version   string // of HTTP, that members speak
	open      bool   // too few are healthy: unhealthy ones are among them
}

// nobody is the roster of a zone without targets.
var nobody = &roster{}

// at is the roster for what came in at a zone; "" is none.
func (r *roster) at(zone string) *roster {
	if r.zones == nil || zone == "" {
		return r
	}
	return cmp.Or(r.zones[zone], nobody)
}

// choose is the member whose turn it is, out of at least one. now is of clock.
// Source: ALB user guide, target group attributes.
func (r *roster) choose(now time.Duration) *member {
	switch r.algorithm {
	case lbconfig.LeastOutstanding:
		return r.leastOutstanding()
	case lbconfig.WeightedRandom:
		return r.weighted()
	}
	m := r.inTurn()
	if r.slow > 0 {
		// One that starts slowly lets some of its turns pass. If all did, this goes on until each had two.
		for range 2 * len(r.members) {
			if s := m.share(now, r.slow); s >= 1 || rand.Float64() < s {
				break
			}
			m = r.inTurn()
		}
	}
	return m
}

// share is the part of its full share that the member should get: it grows evenly over the duration.
func (m *member) share(now, slow time.Duration) float64 {
	since := time.Duration(m.slowSince.Load())
	if since == 0 || now >= since+slow {
		return 1
	}
	return float64(now-since) / float64(slow)
}

// startSlowly says whether a target of the group that has become healthy starts slowly: only when another one is there
// that has its full share. Source: ALB user guide, slow start mode.
func (g *group) startSlowlyLocked(m *member, now time.Duration) bool {
	if g.conf.SlowStart == 0 {
		return false
	}
	for _, o := range g.members {
		if o != m && !o.conf.Draining && o.health.state == lbconfig.Healthy && o.share(now, g.conf.SlowStart) >= 1 {
			return true
		}
	}
	return false
}

// routable are the members that get requests: the healthy ones; if they are too few, all unhealthy ones as well (AWS
// fails open); unexamined ones always. New ones wait for their first success. count and percent are the fewest healthy
// ones; 0 is one, and no percentage.
// Source: ALB user guide, target group health checks, and target group health.
func routable(members []*member, count, percent int) (out []*member, open bool) {
	var good, all []*member
	total := 0
	for _, m := range members {
		if m.conf.Draining {
			continue
		}
		total++
		switch m.health.state {
		case lbconfig.Healthy, lbconfig.Unavailable:
			good, all = append(good, m), append(all, m)
		case lbconfig.Unhealthy:
			all = append(all, m)
		}
	}
	if len(good) < max(count, 1) || 100*len(good) < percent*total {
		return all, len(all) > 0
	}
	return good, false
}

// rosterLocked is that of the group, of all members in its order.
func (g *group) rosterLocked(members []*member) *roster {
	r := g.zoneLocked("", members)
	if !g.conf.Zonal || g.via == nil {
		return r
	}
	r.zones = map[string]*roster{}
	for _, zone := range g.via.Zones {
		if r.zones[zone] == nil {
			r.zones[zone] = g.zoneLocked(zone, slices.DeleteFunc(slices.Clone(members), func(m *member) bool { return m.conf.Zone != zone && m.conf.Zone != "" }))
		}
	}
	return r
}

// Private

// zoneLocked is the roster of the members given, with the turn of their zone.
func (g *group) zoneLocked(zone string, members []*member) *roster {
	c := &g.conf
	if g.turns[zone] == nil {
		g.turns[zone] = &atomic.Uint64{}
	}
	out, open := routable(members, c.MinHealthy, c.MinHealthyPercent)
	return &roster{members: out, open: open, turn: g.turns[zone], sticky: c.Stickiness, algorithm: c.Algorithm, slow: c.SlowStart, version: c.Version}
}

func (r *roster) inTurn() *member {
	return r.members[(r.turn.Add(1)-1)%uint64(len(r.members))]
}

// leastOutstanding is the member with the fewest requests in flight; of several, the next in turn.
func (r *roster) leastOutstanding() *member {
	start := int((r.turn.Add(1) - 1) % uint64(len(r.members)))
	var best *member
	var fewest int64
	for i := range r.members {
		m := r.members[(start+i)%len(r.members)]
		if n := m.inflight.Load(); best == nil || n < fewest {
			best, fewest = m, n
		}
	}
	return best
}
