package network

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
)

// A Counter is how often a rule was met. For a group's rule only the first packet of a connection
// counts, since the others pass as part of it; every dropped packet counts.
type Counter struct {
	Chain string // in the VPC's table
	Rule  string // as nft prints it, or "drop"
	// Group is the group whose rule accepted, "" for others.
	Group string
	// Addr is the ENI's address whose groups dropped, invalid for others.
	Addr netip.Addr
	// In: towards the ENI or the group's members; else from them.
	In             bool
	Drop           bool
	Packets, Bytes uint64
}

// Counters are the VPC's counters: what each rule of each group let pass, and what was dropped for
// each ENI and direction, and for other reasons (forged, unknown sender). They are lost when a
// table has to be replaced as a whole; those of a rule end with the rule.
func (m *Manager) Counters(_ context.Context, vpcID string) ([]Counter, error) {
	v := m.lock(vpcID)
	defer v.mu.Unlock()
	if err := v.openOnly(); err != nil {
		return nil, fmt.Errorf("network: %w", err)
	}
	all, err := v.counters()
	if err != nil {
		return nil, fmt.Errorf("network: counters of %s: %w", vpcID, err)
	}
	slices.SortStableFunc(all, func(a, b Counter) int {
		return cmp.Or(strings.Compare(a.Chain, b.Chain), a.Addr.Compare(b.Addr))
	})
	return all, nil
}

// Private

func (v *vpc) counters() (all []Counter, err error) {
	c, err := nftables.New(nftables.WithNetNSFd(v.ns.fd()))
	if err != nil {
		return nil, err
	}
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return nil, err
	}
	t := newTable()
	for _, ch := range chains {
		if ch.Table.Name != tableName {
			continue
		}
		rules, err := c.GetRules(t.t, ch)
		if err != nil {
			return nil, err
		}
		for _, r := range rules {
			if n, ok := counterOf(ch.Name, r); ok {
				all = append(all, n)
			}
		}
	}
	for _, s := range []*set{t.tally("drop_in"), t.tally("drop_out")} {
		el, err := c.GetSetElements(s.s)
		if err != nil {
			return nil, err
		}
		for _, e := range el {
			if a, ok := netip.AddrFromSlice(e.Key); ok && e.Counter != nil {
				all = append(all, Counter{Chain: s.name, Rule: "drop", Addr: a, In: s.name == "drop_in", Drop: true, Packets: e.Counter.Packets, Bytes: e.Counter.Bytes})
			}
		}
	}
	return all, nil
}

func counterOf(chain string, r *nftables.Rule) (n Counter, ok bool) {
	for _, e := range r.Exprs {
		if c, is := e.(*expr.Counter); is {
			n.Packets, n.Bytes, ok = c.Packets, c.Bytes, true
		}
	}
	n.Chain, n.Rule = chain, string(userdata.Get(r.UserData, textData))
	n.Drop = strings.HasSuffix(n.Rule, " drop")
	if kind, group, is := strings.Cut(chain, "_"); is && (kind == "i" || kind == "o") {
		n.Group, n.In = group, kind == "i"
	}
	return n, ok
}
