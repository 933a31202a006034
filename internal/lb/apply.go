package lb

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// bindAgain is the time until listeners whose address or namespace was not there yet, or whose parent was away, are
// tried again. A port that somebody else holds is not: that is reported, and tried with the next snapshot.
const bindAgain = 500 * time.Millisecond

// apply puts a valid snapshot in force:
//
//  1. bind what is new: nobody accepts there yet
//  2. ways to every target of the new table; new members
//  3. publish who is eligible, draining targets no longer among them
//  4. swap the table
//  5. close draining and gone members to claims (see group.claim)
//  6. accept at new ports, close old ones; examine; cut what has no more time
//
// A request that was matched by the old table and finds its group or target gone is matched again by the new one.
func (w *worker) apply(ctx context.Context, s *lbconfig.Snapshot) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return errors.New("the balancer is stopping")
	}
	if w.snap != nil && s.Rev < w.snap.Rev {
		return fmt.Errorf("%w: %d, in force is %d", ErrStale, s.Rev, w.snap.Rev)
	}
	fresh, transient := w.bindLocked(ctx, s)
	gone := w.groupsLocked(s)
	w.identitiesLocked(s)
	t := compile(s, w.groups, w.identities, w.counter, w.minutes.meter)
	for _, g := range w.groups {
		if g.conf.ARN != "" {
			g.publishLocked()
		}
	}
	w.proxy.table.Store(t)
	w.snap = s
	for _, m := range gone {
		w.leaveLocked(m)
	}
	users := groupUsers(s)
	for arn, g := range w.groups {
		if g.conf.ARN == "" {
			g.eligible.Store(&roster{})
			delete(w.groups, arn)
		}
		for _, m := range g.members {
			w.settleLocked(m, users[arn])
		}
	}
	if w.portsLocked(t, fresh) || transient {
		w.again = time.AfterFunc(bindAgain, func() { w.apply(context.Background(), s) })
	}
	w.forgetCountersLocked(s)
	w.home.sockets.keep(t)
	w.saveLocked()
	w.hub.changed()
	return nil
}

// bindLocked binds what the snapshot wants and returns the new ports, and whether time may heal what went wrong.
func (w *worker) bindLocked(ctx context.Context, s *lbconfig.Snapshot) (fresh []*port, transient bool) {
	clear(w.portErrs)
	for key := range portKeys(s) {
		var have uint64
		if p := w.ports[key]; p != nil {
			have = p.ns
		}
		ln, ns, err := w.home.sockets.listen(ctx, key, have)
		var p *port
		if err == nil && ln != nil {
			if p, err = newPort(ln, key, ns, w.proxy); err != nil {
				ln.Close()
			}
		}
		if err != nil {
			var later transientError
			transient = transient || errors.As(err, &later)
			w.portErrs[key] = err
			w.log.Warn("listener not bound", "addr", key.String(), "err", err)
			continue
		}
		if p != nil {
			fresh = append(fresh, p)
		}
	}
	if w.again != nil {
		w.again.Stop()
		w.again = nil
	}
	return fresh, transient
}

// groupsLocked brings groups and members to what the snapshot says, and returns the members that are gone. Groups
// that are gone are marked by an empty configuration.
func (w *worker) groupsLocked(s *lbconfig.Snapshot) (gone []*member) {
	for _, g := range w.groups {
		g.conf, g.via = lbconfig.TargetGroup{}, nil
	}
	for i := range s.Groups {
		arn := s.Groups[i].ARN
		if w.groups[arn] == nil {
			w.groups[arn] = newGroup(arn)
		}
		w.groups[arn].conf = s.Groups[i]
	}
	users := groupUsers(s)
	for _, g := range w.groups {
		if u := users[g.arn]; len(u) > 0 {
			g.via = u[0]
		}
		there := map[netip.AddrPort]bool{}
		for _, t := range g.conf.Targets {
			there[t.Addr] = true
			m := g.members[t.Addr]
			if m == nil {
				m = w.newMemberLocked(g, t)
			}
			m.delay = g.conf.Deregistration
			m.become(t, g)
			m.reach(w.home.sockets, users[g.arn], wireOf(&g.conf), w.minutes.meter)
		}
		for addr, m := range g.members {
			if !there[addr] {
				gone = append(gone, m)
				delete(g.members, addr)
			}
		}
	}
	if w.snap == nil {
		w.memory = nil // what it said about this snapshot's targets is in their members
	}
	return gone
}

func (w *worker) newMemberLocked(g *group, t lbconfig.Target) *member {
	m := &member{group: g, addr: t.Addr, conf: t, drained: w.hub.changed}
	m.upstreams.Store(&map[string]*upstream{})
	if r, ok := w.memory[memberKey{g.arn, t.Addr}]; ok {
		m.health = r.health(t)
	}
	g.members[t.Addr] = m
	return m
}

// groupUsers are the balancers that forward to a group, in the snapshot's order, by the group's ARN.
func groupUsers(s *lbconfig.Snapshot) map[string][]*lbconfig.Balancer {
	out := map[string][]*lbconfig.Balancer{}
	for i := range s.Balancers {
		b := &s.Balancers[i]
		for _, l := range b.Listeners {
			for _, r := range l.Rules {
				for _, g := range r.Action.Groups {
					if !slices.Contains(out[g.ARN], b) {
						out[g.ARN] = append(out[g.ARN], b)
					}
				}
			}
		}
	}
	return out
}

// become makes the member what the snapshot says of it. A new registration of the address starts anew.
func (m *member) become(t lbconfig.Target, g *group) {
	old := m.conf
	m.conf = t
	switch {
	case t.Draining:
		m.health = fixedHealth(lbconfig.Draining, lbconfig.DeregistrationInProgress)
	case g.via == nil:
		m.health = fixedHealth(lbconfig.Unused, lbconfig.NotInUse)
	case g.outOfZones(t):
		m.health = fixedHealth(lbconfig.Unused, lbconfig.NotInUse)
		m.health.text = lbconfig.ZoneNotEnabled
	case !g.conf.Health.Enabled:
		m.health = fixedHealth(lbconfig.Unavailable, lbconfig.HealthCheckDisabled)
	case old.Draining, !old.Since.Equal(t.Since):
		m.health = newHealth()
	default:
		switch m.health.state {
		case lbconfig.Initial, lbconfig.Healthy, lbconfig.Unhealthy:
		default:
			m.health = newHealth()
		}
	}
}

// outOfZones: the balancer serves other zones than the target's.
func (g *group) outOfZones(t lbconfig.Target) bool {
	if g.via == nil || len(g.via.Zones) == 0 || t.Zone == "" {
		return false
	}
	for _, zone := range g.via.Zones {
		if zone == t.Zone {
			return false
		}
	}
	return true
}

// reach adds ways from the balancers to the target; those that are not used any more stay until settleLocked.
func (m *member) reach(s sockets, users []*lbconfig.Balancer, speak wire, meters func(meterKey) *meter) {
	ways := map[string]*upstream{}
	for arn, u := range *m.upstreams.Load() {
		ways[arn] = u
	}
	for _, b := range users {
		if u := ways[b.ARN]; u == nil || !u.fits(b, speak) {
			ways[b.ARN] = newUpstream(s, b, m.addr, speak, meters(meterKey{balancer: b.ARN, zone: m.conf.Zone}), meters(meterKey{b.ARN, m.group.arn, m.conf.Zone}))
			if u != nil {
				defer u.retire()
			}
		}
	}
	m.upstreams.Store(&ways)
}

// publishLocked sets who gets requests from now on.
func (g *group) publishLocked() {
	list := make([]*member, 0, len(g.members))
	for _, t := range g.conf.Targets {
		list = append(list, g.members[t.Addr])
		if !t.Draining {
			g.members[t.Addr].closed.Store(false)
			g.members[t.Addr].cut.Store(false)
		}
	}
	g.eligible.Store(g.rosterLocked(list))
}

// settleLocked makes a member that stays act on its configuration: drained or examined.
func (w *worker) settleLocked(m *member, users []*lbconfig.Balancer) {
	if m.cutoff != nil {
		m.cutoff.Stop()
		m.cutoff = nil
	}
	ways := map[string]*upstream{}
	for arn, u := range *m.upstreams.Load() {
		if slices.ContainsFunc(users, func(b *lbconfig.Balancer) bool { return b.ARN == arn }) {
			ways[arn] = u
		} else {
			u.retire()
		}
	}
	m.upstreams.Store(&ways)
	if m.conf.Draining {
		m.examine(nil)
		m.closed.Store(true)
		m.closeIdle()
		w.cutLocked(m)
		return
	}
	w.examineLocked(m)
}

// leaveLocked ends a member that the snapshot does not name any more. What is open there has as long as if the target
// had been deregistered now, or when it was: its group may just not be used any more.
func (w *worker) leaveLocked(m *member) {
	m.examine(nil)
	m.closed.Store(true)
	m.closeIdle()
	if !m.conf.Draining {
		m.conf.Draining, m.conf.Since = true, time.Now()
	}
	w.cutLocked(m)
}

// cutLocked ends what is open at a closed member when the deregistration delay is over.
func (w *worker) cutLocked(m *member) {
	if m.cutoff != nil {
		m.cutoff.Stop()
	}
	m.cutoff = time.AfterFunc(time.Until(m.conf.Since.Add(m.delay)), func() {
		w.proxy.conns.cut(m)
		w.hub.changed()
	})
}

// examineLocked sees that the member is examined as configured, or not.
func (w *worker) examineLocked(m *member) {
	g := m.group
	if g.via == nil || !g.conf.Health.Enabled || g.outOfZones(m.conf) {
		m.examine(nil)
		return
	}
	from := dialKey{Netns: g.via.Netns}
	if len(g.via.ENIs) > 0 {
		from.ENI = g.via.ENIs[0]
	}
	c := newCheck(from, m.addr, g.conf.Health)
	if m.probe != nil && m.probe.check.same(c) {
		if m.health.state == lbconfig.Initial && m.health.checks == 0 { // a new registration, or newly in use
			m.examine(nil)
		} else {
			return
		}
	}
	lead := time.Duration(0)
	if m.health.state != lbconfig.Initial {
		lead = jitter(min(g.conf.Health.Interval, time.Second))
	}
	m.examine(startProbe(&w.tasks, c, w.home.sockets, lead, func(p *probe, r result) time.Duration { return w.report(m, p, r) }))
}

// examine replaces the member's probe.
func (m *member) examine(p *probe) {
	if m.probe != nil {
		m.probe.stop()
	}
	m.probe = p
}

// report takes the result of a check and returns the time from its start to that of the next.
func (w *worker) report(m *member, p *probe, r result) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	hc := p.check.conf
	if m.probe != p {
		return hc.Interval // replaced; it is about to stop
	}
	old := m.health
	m.health = old.observe(r, hc)
	if old.state != m.health.state {
		w.log.Info("target health", "group", m.group.arn, "target", m.addr.String(), "from", old.state, "to", m.health.state, "reason", m.health.text)
		m.slowSince.Store(0)
		if now := clock(); m.health.state == lbconfig.Healthy && m.group.startSlowlyLocked(m, now) {
			m.slowSince.Store(max(int64(now), 1))
		}
		m.group.publishLocked()
	}
	if old.state != m.health.state || old.reason != m.health.reason || old.text != m.health.text {
		w.saveLocked()
		w.hub.changed()
	}
	return m.health.delay(hc)
}

// portsLocked accepts at new ports and closes those that nobody wants. It says whether time may heal what went wrong.
func (w *worker) portsLocked(t *table, fresh []*port) (transient bool) {
	for _, p := range fresh {
		if old := w.ports[p.key]; old != nil { // its namespace was made anew
			old.Close()
		}
		w.ports[p.key] = p
	}
	for key, p := range w.ports {
		e := t.ports[key]
		if e == nil {
			p.Close()
			delete(w.ports, key)
			w.home.sockets.forget(key)
			continue
		}
		if err := p.filter(w.home.sockets, e); err != nil {
			transient = transient || errors.Is(err, errAway)
			w.log.Warn("ingress rules not set on the socket; clients are judged after accept", "addr", key.String(), "err", err)
		}
	}
	for _, p := range fresh {
		w.serve(p)
	}
	return transient
}
