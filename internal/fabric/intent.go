package fabric

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/lotse-project/lotse/internal/linklocal"
	"github.com/lotse-project/lotse/internal/network"
	"github.com/lotse-project/lotse/internal/state"
)

// anyICMP is network's word for all ICMP types or codes; EC2's is -1.
const anyICMP = 65535

// intent says what the network of a VPC is to be. Public addresses outside the server's pool (it
// may have another one than when they were given) are left out: the host can't route them.
func intent(r records, pool netip.Prefix) (network.Intent, error) {
	in := network.Intent{ID: r.vpc.ID, Services: []network.Service{{Addr: linklocal.MetadataAddr, Proto: 6, Port: linklocal.APIPort}}}
	var err error
	if in.CIDR, err = netip.ParsePrefix(r.vpc.CIDR); err != nil {
		return in, err
	}
	subnets := map[string]netip.Prefix{}
	for _, s := range r.subnets {
		p, err := netip.ParsePrefix(s.CIDR)
		if err != nil {
			return in, fmt.Errorf("%s: %w", s.ID, err)
		}
		subnets[s.ID] = p
		in.Subnets = append(in.Subnets, p)
	}
	known := map[string]bool{}
	for _, g := range r.groups {
		n := network.Group{ID: g.ID}
		if n.In, err = rules(g.Ingress); err != nil {
			return in, fmt.Errorf("%s: %w", g.ID, err)
		}
		if n.Out, err = rules(g.Egress); err != nil {
			return in, fmt.Errorf("%s: %w", g.ID, err)
		}
		in.Groups = append(in.Groups, n)
		known[g.ID] = true
	}
	for _, e := range r.interfaces {
		n, err := eni(e, subnets, pool)
		if err != nil {
			return in, err
		}
		// A group that is gone allowed nothing more when it went: without it the interface is as closed.
		n.Groups = slices.DeleteFunc(n.Groups, func(id string) bool { return !known[id] })
		in.ENIs = append(in.ENIs, n)
	}
	return in, nil
}

// Private

func eni(e state.NetworkInterface, subnets map[string]netip.Prefix, pool netip.Prefix) (network.ENI, error) {
	n := network.ENI{ID: e.ID, Subnet: subnets[e.Subnet], Groups: slices.Clone(e.Groups), Task: e.Task, Local: e.Task == ""}
	if !n.Subnet.IsValid() {
		return n, fmt.Errorf("%s: there is no subnet %s", e.ID, e.Subnet)
	}
	var err error
	if n.Addr, err = netip.ParseAddr(e.Address); err != nil {
		return n, fmt.Errorf("%s: %w", e.ID, err)
	}
	if public, err := netip.ParseAddr(e.Public); err == nil && pool.Contains(public) {
		n.Public = public
	}
	return n, nil
}

func rules(in []state.SecurityGroupRule) ([]network.Rule, error) {
	var out []network.Rule
	for _, r := range in {
		n, err := rule(r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.ID, err)
		}
		out = append(out, n)
	}
	return out, nil
}

func rule(r state.SecurityGroupRule) (n network.Rule, err error) {
	n.Group = r.Group
	if r.Group == "" {
		if n.CIDR, err = netip.ParsePrefix(r.CIDR); err != nil {
			return n, err
		}
	}
	switch r.Protocol {
	case "-1":
	case "tcp":
		n.Proto, n.Lo, n.Hi = 6, uint16(r.From), uint16(r.To)
	case "udp":
		n.Proto, n.Lo, n.Hi = 17, uint16(r.From), uint16(r.To)
	case "icmp":
		n.Proto, n.Lo, n.Hi = 1, icmp(r.From), icmp(r.To)
	default:
		p, err := strconv.ParseUint(r.Protocol, 10, 8)
		if err != nil || p == 0 { // 0 would mean all
			return n, fmt.Errorf("protocol %q is not -1, tcp, udp, icmp or a number from 1 to 255", r.Protocol)
		}
		n.Proto = uint8(p)
	}
	return n, nil
}

func icmp(n int32) uint16 {
	if n < 0 {
		return anyICMP
	}
	return uint16(n)
}
