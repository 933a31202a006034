package network

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	mdl "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// linkByName gives nil if there is none.
func linkByName(h *netlink.Handle, name string) (netlink.Link, error) {
	l, err := h.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("link %s: %w", name, err)
	}
	return l, nil
}

// links are the veths of a namespace by name.
func links(h *netlink.Handle) (map[string]netlink.Link, error) {
	ls, err := consistent(h.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	all := map[string]netlink.Link{}
	for _, l := range ls {
		if l.Type() == "veth" {
			all[l.Attrs().Name] = l
		}
	}
	return all, nil
}

// consistent asks again when what is listed changed meanwhile.
func consistent[T any](list func() ([]T, error)) (all []T, err error) {
	for range 10 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return all, err
}

// paired says whether two links are the ends of one veth.
func paired(a, b netlink.Link) bool {
	return a != nil && b != nil && a.Attrs().ParentIndex == b.Attrs().Index && b.Attrs().ParentIndex == a.Attrs().Index
}

// unlink deletes links one after the other: the kernel waits for readers on each, 20 to 30 ms.
func unlink(h *netlink.Handle, ls ...netlink.Link) error {
	for _, l := range ls {
		if l == nil {
			continue
		}
		if err := h.LinkDel(l); err != nil && !isGone(err) {
			return fmt.Errorf("delete link %s: %w", l.Attrs().Name, err)
		}
	}
	return nil
}

// doomed is the group of links that unlink deletes; 0 is where all links are.
const doomed = 0x6c6f7473

// unlink deletes links of a namespace, which takes as long for many as for one.
func (n *namespace) unlink(ls ...netlink.Link) error {
	if len(ls) < 2 {
		return unlink(n.nl, ls...)
	}
	for _, l := range ls {
		if err := n.nl.LinkSetGroup(l, doomed); err != nil && !isGone(err) {
			return fmt.Errorf("delete link %s: %w", l.Attrs().Name, err)
		}
	}
	c, err := mdl.Dial(unix.NETLINK_ROUTE, &mdl.Config{NetNS: n.fd()})
	if err != nil {
		return err
	}
	defer c.Close()
	group, err := mdl.MarshalAttributes([]mdl.Attribute{{Type: unix.IFLA_GROUP, Data: binary.NativeEndian.AppendUint32(nil, doomed)}})
	if err != nil {
		return err
	}
	_, err = c.Execute(mdl.Message{
		Header: mdl.Header{Type: unix.RTM_DELLINK, Flags: mdl.Request | mdl.Acknowledge},
		Data:   append(make([]byte, unix.SizeofIfInfomsg), group...)})
	if err != nil && !isGone(err) {
		return fmt.Errorf("delete %d links: %w", len(ls), err)
	}
	return nil
}

// veth makes a pair: name in the namespace of h, peer in the one of fd. Both have one hardware
// address and no ARP, so that there is nothing to look up, to drift, or to forge.
func veth(h *netlink.Handle, name, peer string, fd int, mac net.HardwareAddr) error {
	a := netlink.NewLinkAttrs()
	a.Name, a.HardwareAddr = name, mac
	if err := h.LinkAdd(&netlink.Veth{LinkAttrs: a, PeerName: peer, PeerHardwareAddr: mac, PeerNamespace: netlink.NsFd(fd)}); err != nil {
		return fmt.Errorf("make link %s: %w", name, err)
	}
	return nil
}

// raise turns ARP off and the link on.
func raise(h *netlink.Handle, l netlink.Link) error {
	if l.Attrs().RawFlags&unix.IFF_NOARP == 0 && l.Type() == "veth" {
		if err := h.LinkSetARPOff(l); err != nil {
			return fmt.Errorf("turn ARP off on %s: %w", l.Attrs().Name, err)
		}
	}
	if l.Attrs().RawFlags&unix.IFF_UP == 0 {
		if err := h.LinkSetUp(l); err != nil {
			return fmt.Errorf("turn %s on: %w", l.Attrs().Name, err)
		}
	}
	return nil
}

// isUp says whether there is nothing for raise to do.
func isUp(l netlink.Link) bool {
	const want = unix.IFF_UP | unix.IFF_NOARP
	return l.Attrs().RawFlags&want == want && l.Attrs().OperState == netlink.OperUp
}

// ready waits until both ends of a veth carry packets. Once they are up the kernel still has to
// start their queues, at a time of its own; a SYN sent before is lost and costs a second. Asking
// makes it do so at once since Linux 6.8; before, the state follows a moment later.
func ready(ctx context.Context, h *netlink.Handle, l netlink.Link) error {
	for wait := 100 * time.Microsecond; ; wait = min(2*wait, 20*time.Millisecond) {
		now, err := h.LinkByIndex(l.Attrs().Index)
		if err != nil {
			return fmt.Errorf("link %s: %w", l.Attrs().Name, err)
		}
		if now.Attrs().OperState == netlink.OperUp {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("link %s is %s: %w", l.Attrs().Name, now.Attrs().OperState, context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}

// upWithin is how long the kernel may take for that: events of links are worked off once a second.
const upWithin = 3 * time.Second

// readyPair waits for both ends.
func readyPair(ctx context.Context, h *netlink.Handle, l netlink.Link, ph *netlink.Handle, peer netlink.Link) error {
	ctx, cancel := context.WithTimeoutCause(ctx, upWithin, errors.New("it did not come up in time"))
	defer cancel()
	if err := ready(ctx, h, l); err != nil {
		return err
	}
	return ready(ctx, ph, peer)
}

// address makes sure that the link has the address.
func address(h *netlink.Handle, l netlink.Link, p netip.Prefix, flags int) error {
	have, err := addresses(h, l)
	if err != nil {
		return err
	}
	if have[p] {
		return nil
	}
	if err := h.AddrReplace(l, &netlink.Addr{IPNet: ipnet(p), Flags: flags}); err != nil {
		return fmt.Errorf("give %s to %s: %w", p, l.Attrs().Name, err)
	}
	return nil
}

// addresses are the link's IPv4 addresses.
func addresses(h *netlink.Handle, l netlink.Link) (map[netip.Prefix]bool, error) {
	as, err := consistent(func() ([]netlink.Addr, error) { return h.AddrList(l, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("addresses of %s: %w", l.Attrs().Name, err)
	}
	all := map[netip.Prefix]bool{}
	for _, a := range as {
		if p, ok := prefix(a.IPNet); ok {
			all[p] = true
		}
	}
	return all, nil
}

func ipnet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, 32) }

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP.To4())
	ones, bits := n.Mask.Size()
	return netip.PrefixFrom(a, ones), ok && bits == 32
}
