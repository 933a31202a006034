package network

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// joined is a task's ENI as this process found or made it; what does not match is looked at again.
type joined struct {
	link   int    // index of the router's end
	netns  uint64 // inode of the task's namespace
	addr   netip.Addr
	subnet netip.Prefix
}

// taskLink is the task's end.
const taskLink = "eth0"

// join connects a task's namespace with the router:
//
//	router: e1f0… ── eth0 in the task, 172.31.0.5/20, default via 172.31.0.1 onlink
//	        172.31.0.5/32 dev e1f0…
//
// Both ends are made where they belong; in the host's namespace there is nothing, not for a moment.
func (v *vpc) join(ctx context.Context, e ENI, have map[string]netlink.Link, routes map[netip.Prefix]int) error {
	l, path := have[e.link()], v.m.TaskNetns(e.Task)
	if l != nil && !bytes.Equal(l.Attrs().HardwareAddr, MACOf(e.Addr)) {
		if err := unlink(v.ns.nl, l); err != nil {
			return err
		}
		l = nil
	}
	if l != nil {
		j := joined{l.Attrs().Index, inode(path), e.Addr, e.Subnet}
		if v.joined[e.ID] == j && isUp(l) {
			return v.toENI(e, l, routes)
		}
	}
	delete(v.joined, e.ID)
	task, err := createNS(path)
	if err != nil {
		return err
	}
	defer task.close()
	if l, err = v.pair(e, task, l); err != nil {
		return err
	}
	eth, err := dress(e, task)
	if err != nil {
		return err
	}
	if err := raise(v.ns.nl, l); err != nil {
		return err
	}
	if err := readyPair(ctx, v.ns.nl, l, task.nl, eth); err != nil {
		return err
	}
	if err := v.toENI(e, l, routes); err != nil {
		return err
	}
	v.joined[e.ID] = joined{l.Attrs().Index, task.ino, e.Addr, e.Subnet}
	return nil
}

// pair gives the router's end of the ENI's veth, whose other end is the task's; l is what has its
// name now, or nil.
func (v *vpc) pair(e ENI, task *namespace, l netlink.Link) (netlink.Link, error) {
	eth, err := linkByName(task.nl, taskLink)
	if err != nil {
		return nil, err
	}
	if paired(l, eth) {
		return l, nil
	}
	if err := unlink(v.ns.nl, l); err != nil {
		return nil, err
	}
	if err := unlink(task.nl, eth); err != nil {
		return nil, err
	}
	if err := veth(v.ns.nl, e.link(), taskLink, task.fd(), MACOf(e.Addr)); err != nil {
		return nil, err
	}
	if l, err = v.ns.nl.LinkByName(e.link()); err != nil {
		return nil, fmt.Errorf("link %s: %w", e.link(), err)
	}
	return l, nil
}

// dress sets the task's end and gives it. The address has the subnet's length, as on AWS, but no route for
// it: neighbours are reached through the router as well. Users other than root may listen on all
// ports and ping, as in Docker and on Fargate.
func dress(e ENI, task *namespace) (netlink.Link, error) {
	err := task.do(func() error {
		return adjust(setting{"ipv6/conf/" + taskLink + "/disable_ipv6", "1"}, // ::1 and [::] stay
			setting{"ipv4/ip_unprivileged_port_start", "0"}, setting{"ipv4/ping_group_range", "0 2147483647"})
	})
	if err != nil {
		return nil, err
	}
	lo, err := linkByName(task.nl, "lo")
	if err != nil {
		return nil, err
	}
	if err := raise(task.nl, lo); err != nil {
		return nil, err
	}
	eth, err := task.nl.LinkByName(taskLink)
	if err != nil {
		return nil, fmt.Errorf("link %s of task %s: %w", taskLink, e.Task, err)
	}
	if err := raise(task.nl, eth); err != nil {
		return nil, err
	}
	if err := address(task.nl, eth, netip.PrefixFrom(e.Addr, e.Subnet.Bits()), unix.IFA_F_NOPREFIXROUTE); err != nil {
		return nil, err
	}
	gw := e.Subnet.Masked().Addr().Next()
	if err := task.nl.RouteReplace(&netlink.Route{Dst: ipnet(anywhere), LinkIndex: eth.Attrs().Index, Gw: gw.AsSlice(), Flags: int(netlink.FLAG_ONLINK)}); err != nil {
		return nil, fmt.Errorf("default route of task %s via %s: %w", e.Task, gw, err)
	}
	return eth, nil
}

// toENI is the router's route.
func (v *vpc) toENI(e ENI, l netlink.Link, routes map[netip.Prefix]int) error {
	if routes[host(e.Addr)] == l.Attrs().Index {
		return nil
	}
	if err := v.ns.nl.RouteReplace(&netlink.Route{Dst: ipnet(host(e.Addr)), LinkIndex: l.Attrs().Index, Scope: netlink.SCOPE_LINK}); err != nil {
		return fmt.Errorf("route to %s: %w", e.Addr, err)
	}
	return nil
}
