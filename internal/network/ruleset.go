package network

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
)

// The links of a VPC's namespace: up0 to the host, lo where balancers live, e… to tasks.
const uplinkPeer = "up0"

// render makes the VPC's table from the intent. It is pure; testdata/ruleset.golden shows a result.
//
// Security groups allow and never deny, so order does not matter: a chain per group and direction
// has the group's rules, a chain per combination of groups that some ENI has jumps to each of
// them, and a map leads from the address to the combination. A further task of a known service
// is six elements of sets and no rule. The sender's egress, when it allows, continues in the
// receiver's ingress (goto ingress), so that one packet must please both. The same maps judge
// task → task (forward), balancer → task (output) and task → balancer (input).
//
// What is dropped is counted for each ENI and direction (out, in), whose elements outlive changes
// of rules.
func render(in Intent) *table {
	t := newTable()
	spoof := t.hook("spoof", "filter", "prerouting", -300) // before conntrack, so that nobody moves another's flow
	pre := t.hook("pre", "nat", "prerouting", -100)
	post := t.hook("post", "nat", "postrouting", 100)
	via := t.hook("via", "filter", "forward", 0)
	into := t.hook("into", "filter", "input", 0)
	from := t.hook("from", "filter", "output", 0)
	ingress := t.chain("ingress")

	src := t.set("src", must(nftables.ConcatSetType(nftables.TypeIFName, nftables.TypeIPAddr)))
	svc := t.set("svc", must(nftables.ConcatSetType(nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService)))
	eout := t.set("eout", nftables.TypeIPAddr, nftables.TypeVerdict)
	ein := t.set("ein", nftables.TypeIPAddr, nftables.TypeVerdict)
	public := t.set("public", nftables.TypeIPAddr, nftables.TypeIPAddr)
	dropOut, dropIn := t.tally("drop_out"), t.tally("drop_in")

	// Only the host's clients have loopback addresses, and only tasks the VPC's.
	spoof.rule().notFrom(uplinkPeer).in(destination, loopback).count().drop()
	spoof.rule().fromLinkOf(src).accept()
	spoof.rule().from(uplinkPeer).notIn(source, in.CIDR).accept()
	spoof.rule().from("lo").accept()
	spoof.rule().count().drop()

	pre.rule().from(uplinkPeer).dnatBy(public)
	// A loopback source cannot enter a task's namespace. Groups have judged it by now.
	post.rule().from(uplinkPeer).in(source, loopback).snat(in.gateway())

	from.rule().hostUnreachable().drop() // tasks wait for an address without ENI, as on AWS
	for _, c := range []*chain{via, into, from} {
		c.rule().known().accept()
		c.rule().invalid().count().drop()
		if c == into {
			c.rule().toService(svc).accept()
		}
		if c != from {
			c.rule().from(uplinkPeer).published().goTo("ingress")
		}
		c.rule().jumpBy(source, eout)
		c.rule().count().drop()
	}
	ingress.rule().jumpBy(destination, ein)
	ingress.rule().count().drop()

	members := map[string]*set{}
	for _, g := range in.Groups {
		members[g.ID] = t.set("m_"+g.ID, nftables.TypeIPAddr)
	}
	for _, g := range in.Groups {
		allow(t.chain("i_"+g.ID), g.In, members, source, func(r *rule) { r.accept() })
		allow(t.chain("o_"+g.ID), g.Out, members, destination, func(r *rule) { r.goTo("ingress") })
	}
	combined := map[string]bool{}
	for _, e := range in.ENIs {
		if !e.Local {
			src.link(e.link(), e.Addr)
		}
		if e.published() {
			public.pair(e.Public, e.Addr)
		}
		c := combination(e.Groups)
		ein.jump(e.Addr, "ei_"+c)
		eout.jump(e.Addr, "eo_"+c)
		dropIn.addr(e.Addr)
		dropOut.addr(e.Addr)
		for _, g := range e.Groups {
			members[g].addr(e.Addr)
		}
		if combined[c] {
			continue
		}
		combined[c] = true
		ci, co := t.chain("ei_"+c), t.chain("eo_"+c)
		for _, g := range groupSet(e.Groups) {
			ci.rule().jump("i_" + g)
			co.rule().jump("o_" + g)
		}
		ci.rule().among(destination, dropIn).drop()
		co.rule().among(source, dropOut).drop()
		ci.rule().count().drop() // unreachable while the sets are complete
		co.rule().count().drop()
	}
	for _, s := range in.services() {
		svc.service(s)
	}
	return t
}

// Private

// allow adds a group's rules for one direction.
func allow(c *chain, rules []Rule, members map[string]*set, peer field, verdict func(*rule)) {
	for _, g := range rules {
		if g.Group != "" && members[g.Group] == nil {
			continue // a stale rule: its group is gone
		}
		r := c.rule()
		if g.Group != "" {
			r.among(peer, members[g.Group])
		} else {
			r.in(peer, g.CIDR)
		}
		verdict(r.traffic(g).count())
	}
}

// combination names a set of groups, whatever their order.
func combination(groups []string) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(groupSet(groups), ","))))[:12]
}

func groupSet(groups []string) []string {
	gs := slices.Clone(groups)
	slices.Sort(gs)
	return slices.Compact(gs)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // only for types known here
	}
	return v
}
