package network

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// open makes the VPC's namespace, or finds it, and remembers what is known of it.
func (v *vpc) open() error {
	if v.ns != nil && !v.ns.stale() {
		return nil
	}
	v.forget()
	if owner, err := v.m.claims.claimPool(v.m.pool); err != nil {
		return err
	} else if owner != "" {
		return fmt.Errorf("public pool %s: the server %s has taken it since this one gave it up", v.m.pool, owner)
	}
	v.load()
	path := v.m.VPCNetns(v.id)
	ns, err := openNS(path)
	if err != nil {
		// A new namespace counts its generations from the start, so the note must go first.
		v.record.Applied = nil
		if err := v.save(); err != nil {
			return err
		}
		if ns, err = createNS(path); err != nil {
			return err
		}
	}
	v.ns = ns
	if err := v.settings(); err != nil {
		v.forget()
		return err
	}
	v.recall()
	return nil
}

// openOnly opens the namespace if there is one.
func (v *vpc) openOnly() error {
	if v.ns != nil && !v.ns.stale() {
		return nil
	}
	ns, err := openNS(v.m.VPCNetns(v.id))
	if err != nil {
		return fmt.Errorf("%s: %w (%w)", v.id, errUnknownVPC, err)
	}
	v.forget()
	v.load()
	v.ns = ns
	v.recall()
	return nil
}

// recall finds the table again that a predecessor applied, if nobody has touched it since.
func (v *vpc) recall() {
	a := v.record.Applied
	if a == nil || a.Intent.validate(anywhere) != nil {
		return
	}
	g, err := generation(v.ns)
	if err != nil || g != a.Generation {
		return
	}
	if t := render(a.Intent); t.digest() == a.Digest {
		v.table, v.gen = t, g
	}
}

// settings of the namespace. rp_filter is strict: a source address is accepted only on the link
// that its route points at, also with the ruleset gone.
func (v *vpc) settings() error {
	err := v.ns.do(func() error {
		return adjust(
			setting{"ipv6/conf/all/disable_ipv6", "1"}, setting{"ipv6/conf/default/disable_ipv6", "1"},
			setting{"ipv4/conf/all/rp_filter", "1"}, setting{"ipv4/conf/default/rp_filter", "1"},
			setting{"ipv4/conf/all/accept_redirects", "0"}, setting{"ipv4/conf/default/accept_redirects", "0"},
			setting{"ipv4/conf/all/send_redirects", "0"}, setting{"ipv4/conf/default/send_redirects", "0"},
			setting{"ipv4/conf/all/route_localnet", "1"}, // answers to the host's clients, see uplink.go
			setting{"ipv4/ip_local_port_range", "1024 65535"},
			setting{"ipv4/tcp_tw_reuse", "1"}, // a balancer's ports are free after 1 s, not 60
		)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", v.id, err)
	}
	lo, err := linkByName(v.ns.nl, "lo")
	if err != nil {
		return err
	}
	return raise(v.ns.nl, lo)
}

// local puts the addresses that are to be on lo there, and no others. 127.0.0.0/8 is where the
// host's clients are, so lo gives it up.
func (v *vpc) local(in Intent) error {
	lo, err := linkByName(v.ns.nl, "lo")
	if err != nil {
		return err
	}
	want := map[netip.Prefix]bool{}
	for _, s := range in.services() {
		want[host(s.Addr)] = true
	}
	for _, e := range in.ENIs {
		if e.Local {
			want[host(e.Addr)] = true
		}
	}
	have, err := addresses(v.ns.nl, lo)
	if err != nil {
		return err
	}
	for p := range have {
		if !want[p] {
			if err := v.ns.nl.AddrDel(lo, &netlink.Addr{IPNet: ipnet(p)}); err != nil && !isGone(err) {
				return fmt.Errorf("take %s from lo: %w", p, err)
			}
		}
	}
	for p := range want {
		if !have[p] {
			if err := v.ns.nl.AddrReplace(lo, &netlink.Addr{IPNet: ipnet(p)}); err != nil {
				return fmt.Errorf("give %s to lo: %w", p, err)
			}
		}
	}
	return nil
}

// routes are the main table of the namespace: link index by destination, -1 for unreachable.
func (v *vpc) routes() (map[netip.Prefix]int, error) {
	rs, err := consistent(func() ([]netlink.Route, error) {
		return v.ns.nl.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	all := map[netip.Prefix]int{}
	for _, r := range rs {
		p, ok := prefix(r.Dst)
		if !ok {
			continue
		}
		all[p] = r.LinkIndex
		if r.Type == unix.RTN_UNREACHABLE {
			all[p] = -1
		}
	}
	return all, nil
}

// unreachable makes addresses without an ENI unreachable: a balancer learns at once. What the router
// would tell tasks is dropped by the ruleset.
func (v *vpc) unreachable(cidr netip.Prefix, have map[netip.Prefix]int) error {
	for p, link := range have {
		if link == -1 && p != cidr.Masked() {
			if err := v.ns.nl.RouteDel(&netlink.Route{Dst: ipnet(p), Type: unix.RTN_UNREACHABLE}); err != nil && !isGone(err) {
				return fmt.Errorf("remove the route for %s: %w", p, err)
			}
		}
	}
	if have[cidr.Masked()] == -1 {
		return nil
	}
	if err := v.ns.nl.RouteReplace(&netlink.Route{Dst: ipnet(cidr.Masked()), Type: unix.RTN_UNREACHABLE}); err != nil {
		return fmt.Errorf("route for %s: %w", cidr, err)
	}
	return nil
}

// isGone says that what was to be deleted was not there.
func isGone(err error) bool {
	return errors.Is(err, syscall.ESRCH) || errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.EADDRNOTAVAIL) || errors.As(err, &netlink.LinkNotFoundError{})
}
