package network

import (
	"net/netip"
	"slices"
)

// Which connections end when a group changes? AWS tracks connections, and tracked ones go on
// until they end by themselves. It does not track TCP and UDP that a rule for 0.0.0.0/0 lets
// in while the other direction is open for everything, and the reverse: such a connection ends
// as soon as the rule that allows it is gone.
// Source: Amazon VPC User Guide, "Security group connection tracking", Untracked connections.
//
// Here all are tracked, and those that AWS would not track are looked for after a change of rules.

// cut ends the connections that AWS would not have tracked under the rules before and that the
// new ones do not allow.
func (v *vpc) cut(in Intent) error {
	a := v.record.Applied
	if a == nil || a.Digest == v.table.digest() {
		return nil
	}
	was, is := newJudge(a.Intent), newJudge(in)
	if !was.otherwise(is) { // reading the connections out takes 9 ms where there are none
		return nil
	}
	return cutFlows(v.ns, func(f flow) bool { return was.untracked(f) && !is.allows(f) })
}

// A judge says what groups allow, one packet at a time: what the ruleset is to do, in plain words.
type judge struct {
	in     Intent
	byAddr map[netip.Addr]ENI
	groups map[string]Group
}

func newJudge(in Intent) judge {
	j := judge{in: in, byAddr: map[netip.Addr]ENI{}, groups: map[string]Group{}}
	for _, e := range in.ENIs {
		j.byAddr[e.Addr] = e
	}
	for _, g := range in.Groups {
		j.groups[g.ID] = g
	}
	return j
}

// allows says whether a new connection may be opened. A client that is no ENI is the host's, which
// reaches published ENIs only.
func (j judge) allows(f flow) bool {
	for _, s := range j.in.services() {
		if s.Addr == f.server && s.Proto == f.proto && s.Port == f.port {
			return true
		}
	}
	server, ok := j.byAddr[f.server]
	if !ok {
		return false
	}
	if _, inside := j.byAddr[f.client]; inside {
		if !j.matches(j.byAddr[f.client], false, f, nil) {
			return false
		}
	} else if !server.published() {
		return false
	}
	return j.matches(server, true, f, nil)
}

// untracked says whether AWS would not have tracked the connection, on either side.
func (j judge) untracked(f flow) bool {
	if f.proto != tcp && f.proto != udp {
		return false
	}
	wide := func(r Rule) bool { return r.Group == "" && r.CIDR.Bits() == 0 }
	side := func(a netip.Addr, in bool) bool {
		e, ok := j.byAddr[a]
		return ok && j.matches(e, in, f, wide) && j.open(e, !in, f.proto)
	}
	return side(f.server, true) || side(f.client, false)
}

// otherwise says whether an ENI that stays is judged by other rules than before. New ENIs and
// new members of groups only ever add to what is allowed; connections of ENIs that go end anyhow.
func (j judge) otherwise(is judge) bool {
	for a, e := range j.byAddr {
		n, stays := is.byAddr[a]
		if !stays || n.ID != e.ID {
			continue
		}
		if !slices.Equal(groupSet(e.Groups), groupSet(n.Groups)) || e.published() != n.published() {
			return true
		}
		for _, id := range e.Groups {
			was, now := j.groups[id], is.groups[id]
			if !slices.Equal(was.In, now.In) || !slices.Equal(was.Out, now.Out) {
				return true
			}
		}
	}
	return false
}

// open says whether the ENI's groups allow everything of a protocol in one direction.
func (j judge) open(e ENI, in bool, proto uint8) bool {
	for _, r := range j.rules(e, in) {
		if r.Group == "" && r.CIDR.Bits() == 0 && (r.Proto == 0 || r.Proto == proto && r.Lo == 0 && r.Hi == 65535) {
			return true
		}
	}
	return false
}

// matches says whether some rule of the ENI's groups, of those that only chooses, allows the flow.
func (j judge) matches(e ENI, in bool, f flow, only func(Rule) bool) bool {
	peer := f.server
	if in {
		peer = f.client
	}
	for _, r := range j.rules(e, in) {
		if (only == nil || only(r)) && j.matchesPeer(r, peer) && r.matches(f) {
			return true
		}
	}
	return false
}

func (j judge) rules(e ENI, in bool) (all []Rule) {
	for _, id := range e.Groups {
		if g := j.groups[id]; in {
			all = append(all, g.In...)
		} else {
			all = append(all, g.Out...)
		}
	}
	return all
}

func (j judge) matchesPeer(r Rule, peer netip.Addr) bool {
	if r.Group == "" {
		return r.CIDR.Contains(peer)
	}
	if _, exists := j.groups[r.Group]; !exists {
		return false
	}
	for _, g := range j.byAddr[peer].Groups {
		if g == r.Group {
			return true
		}
	}
	return false
}

// matches compares protocol and port. For ICMP the port of a flow is type and code: type<<8 + code.
func (r Rule) matches(f flow) bool {
	switch {
	case r.Proto == 0:
		return true
	case r.Proto != f.proto:
		return false
	case r.Proto == icmp:
		return r.Lo == anyICMP || r.Lo == f.port>>8 && (r.Hi == anyICMP || r.Hi == f.port&0xff)
	case r.Proto == tcp || r.Proto == udp:
		return r.Lo <= f.port && f.port <= r.Hi
	}
	return true
}
