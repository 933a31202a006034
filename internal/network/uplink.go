package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// An uplink is the veth between the host's namespace and a VPC's. It is all that a VPC is in the
// host's namespace: the link with its address, and a route in the table "local" for every public
// address of a task, where a /32 wins over 127.0.0.0/8 on lo:
//
//	ip route add 127.64.17.5/32 via 169.254.131.7 dev lx-abcd2345-6t src 127.0.0.1 table local
//
// The VPC's ruleset translates the destination to the task's address. The answers come back here
// from the public address. route_localnet lets loopback addresses cross this one link;
// rp_filter lets nothing pass that was not translated, even if the VPC's ruleset is flushed.
type uplink struct {
	name      string
	host, vpc netip.Addr
	index     int // in the host's namespace
}

// linkPrefix is what links of a server in the host's namespace begin with.
func linkPrefix(id string) string { return "lx-" + id + "-" }

// uplinkAt names the uplink with this pair of addresses: at most 15 characters.
func uplinkAt(id string, pair netip.Prefix) uplink {
	n := (hostOrder(pair.Addr()) - hostOrder(uplinks.Addr())) / 2
	return uplink{name: linkPrefix(id) + strconv.FormatUint(uint64(n), 36), host: pair.Addr(), vpc: pair.Addr().Next()}
}

// uplink makes the VPC's uplink or mends it.
func (v *vpc) uplink(ctx context.Context, h *netlink.Handle) (uplink, error) {
	pair, err := v.m.claims.uplink(v.id, func(p netip.Prefix) (bool, error) { return vacant(h, p) })
	if err != nil {
		return uplink{}, err
	}
	u := uplinkAt(v.m.o.ID, pair)
	hl, err := linkByName(h, u.name)
	if err != nil {
		return u, err
	}
	up, err := linkByName(v.ns.nl, uplinkPeer)
	if err != nil {
		return u, err
	}
	if !paired(hl, up) { // none yet, or halves of others after somebody's hand
		if err := unlink(h, hl); err != nil {
			return u, err
		}
		if err := unlink(v.ns.nl, up); err != nil {
			return u, err
		}
		b := u.vpc.As4()
		if err := veth(h, u.name, uplinkPeer, v.ns.fd(), net.HardwareAddr{2, 1, b[0], b[1], b[2], b[3]}); err != nil {
			return u, err
		}
		if hl, err = h.LinkByName(u.name); err != nil {
			return u, fmt.Errorf("link %s: %w", u.name, err)
		}
		if up, err = v.ns.nl.LinkByName(uplinkPeer); err != nil {
			return u, fmt.Errorf("link %s: %w", uplinkPeer, err)
		}
	}
	u.index = hl.Attrs().Index
	return u, v.connect(ctx, h, u, hl, up)
}

// connect sets both ends of the uplink. The switches are looked at every time: some systems'
// sysctl daemons rewrite those of new links.
func (v *vpc) connect(ctx context.Context, h *netlink.Handle, u uplink, hl, up netlink.Link) error {
	steps := []func() error{
		func() error {
			return adjust(setting{"ipv4/conf/" + u.name + "/rp_filter", "1"}, setting{"ipv4/conf/" + u.name + "/route_localnet", "1"},
				setting{"ipv6/conf/" + u.name + "/disable_ipv6", "1"})
		},
		func() error { return raise(h, hl) },
		func() error { return raise(v.ns.nl, up) },
		func() error { return readyPair(ctx, h, hl, v.ns.nl, up) },
		func() error { return address(h, hl, netip.PrefixFrom(u.host, 31), 0) },
		func() error { return address(v.ns.nl, up, netip.PrefixFrom(u.vpc, 31), 0) },
	}
	for _, s := range steps {
		if err := s(); err != nil {
			return err
		}
	}
	return nil
}

// homeward sends what is for the host's clients to the host, and by default the rest, where the
// ruleset drops it: a task that calls the outside waits, as on AWS, instead of learning something.
func (v *vpc) homeward(u uplink, have map[netip.Prefix]int) error {
	up, err := v.ns.nl.LinkByName(uplinkPeer)
	if err != nil {
		return fmt.Errorf("link %s: %w", uplinkPeer, err)
	}
	for _, p := range []netip.Prefix{loopback, anywhere} {
		if have[p] == up.Attrs().Index {
			continue
		}
		if err := v.ns.nl.RouteReplace(&netlink.Route{Dst: ipnet(p), LinkIndex: up.Attrs().Index, Gw: u.host.AsSlice()}); err != nil {
			return fmt.Errorf("route for %s: %w", p, err)
		}
	}
	return nil
}

// published are the public addresses that lead into the VPC now.
func (u uplink) published(h *netlink.Handle) (map[netip.Addr]bool, error) {
	rs, err := consistent(func() ([]netlink.Route, error) {
		return h.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_LOCAL, LinkIndex: u.index}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_OIF)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes over %s: %w", u.name, err)
	}
	all := map[netip.Addr]bool{}
	for _, r := range rs {
		if p, ok := prefix(r.Dst); ok && r.Type == unix.RTN_UNICAST && p.Bits() == 32 {
			all[p.Addr()] = true
		}
	}
	return all, nil
}

// publish adds or removes the host's route for a public address.
func (u uplink) publish(h *netlink.Handle, a netip.Addr, on bool) error {
	r := &netlink.Route{Dst: ipnet(host(a)), LinkIndex: u.index, Gw: u.vpc.AsSlice(), Src: net.IPv4(127, 0, 0, 1), Table: unix.RT_TABLE_LOCAL}
	if !on {
		if err := h.RouteDel(r); err != nil && !isGone(err) {
			return fmt.Errorf("remove the route for %s: %w", a, err)
		}
		return nil
	}
	if err := h.RouteReplace(r); err != nil {
		return fmt.Errorf("route for %s over %s: %w", a, u.name, err)
	}
	return nil
}

// Private

// vacant says whether nothing in the host's namespace has the addresses or a way to just them.
func vacant(h *netlink.Handle, p netip.Prefix) (bool, error) {
	rs, err := consistent(func() ([]netlink.Route, error) {
		return h.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return false, fmt.Errorf("list the host's routes: %w", err)
	}
	for _, r := range rs {
		if d, ok := prefix(r.Dst); ok && d.Overlaps(p) && d.Bits() >= 24 { // 169.254.0.0/16 is many a host's
			return false, nil
		}
	}
	return true, nil
}

// uplinksOf are the links of the server in the host's namespace.
func uplinksOf(h *netlink.Handle, id string) ([]netlink.Link, error) {
	all, err := links(h)
	if err != nil {
		return nil, err
	}
	var ours []netlink.Link
	for name, l := range all {
		if strings.HasPrefix(name, linkPrefix(id)) {
			ours = append(ours, l)
		}
	}
	return ours, nil
}
