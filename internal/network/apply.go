package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Apply makes the VPC what the intent says: namespaces, links, routes, rules and public addresses.
// ENIs that are not in the intent go, with their namespaces and connections. Repeating it is
// harmless and cheap, and mends what others have changed; after an error, or when the process was
// killed half-way, the next Apply goes on from there.
//
// Connections that groups no longer allow go on if they are tracked and end at once if they are
// not, as on AWS; see cut.go for which is which.
func (m *Manager) Apply(ctx context.Context, in Intent) error {
	if err := in.validate(m.pool); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	v := m.lock(in.ID)
	defer v.mu.Unlock()
	if err := v.apply(ctx, in); err != nil {
		return fmt.Errorf("network: apply %s: %w", in.ID, err)
	}
	return nil
}

// ForgetFlows makes the VPC forget the connections of an address: those that groups still allow
// are picked up again with the next packet, others end.
func (m *Manager) ForgetFlows(_ context.Context, vpcID string, a netip.Addr) error {
	v := m.lock(vpcID)
	defer v.mu.Unlock()
	if err := v.openOnly(); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	return forgetFlows(v.ns, a)
}

// Private

// apply's order is the order of safety: what goes is cut off first, packets pass only once the
// rules are in place, and the host learns of a public address last.
func (v *vpc) apply(ctx context.Context, in Intent) error {
	if err := v.open(); err != nil {
		return err
	}
	gone, err := v.plan(in)
	if err != nil {
		return err
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	u, err := v.uplink(ctx, h)
	if err != nil {
		return err
	}
	published, err := v.unpublish(h, u, in)
	if err != nil {
		return err
	}
	if err := v.wire(ctx, in, u); err != nil {
		return err
	}
	if err := v.rule(in); err != nil {
		return err
	}
	for _, e := range gone {
		if err := v.bury(in, e); err != nil {
			return err
		}
	}
	for _, e := range in.ENIs {
		if e.published() && !published[e.Public] {
			if err := u.publish(h, e.Public, true); err != nil {
				return err
			}
		}
	}
	return v.done(in)
}

// unpublish takes away the routes of public addresses that are no longer there, or lead nowhere.
func (v *vpc) unpublish(h *netlink.Handle, u uplink, in Intent) (map[netip.Addr]bool, error) {
	have, err := u.published(h)
	if err != nil {
		return nil, err
	}
	want := map[netip.Addr]bool{}
	for _, e := range in.ENIs {
		if e.published() {
			want[e.Public] = true
		}
	}
	for a := range have {
		if !want[a] {
			if err := u.publish(h, a, false); err != nil {
				return nil, err
			}
		}
	}
	return have, nil
}

// wire makes links and routes, and removes those of ENIs that go.
func (v *vpc) wire(ctx context.Context, in Intent, u uplink) error {
	have, err := links(v.ns.nl)
	if err != nil {
		return err
	}
	want := map[string]bool{uplinkPeer: true}
	for _, e := range in.ENIs {
		if !e.Local {
			want[e.link()] = true
		}
	}
	var stray []netlink.Link
	for name, l := range have {
		if !want[name] && strings.HasPrefix(name, "e") {
			stray = append(stray, l)
		}
	}
	if err := v.ns.unlink(stray...); err != nil {
		return err
	}
	if err := v.local(in); err != nil {
		return err
	}
	routes, err := v.routes()
	if err != nil {
		return err
	}
	if err := errors.Join(v.unreachable(in.CIDR, routes), v.homeward(u, routes)); err != nil {
		return err
	}
	for _, e := range in.ENIs {
		if e.Local {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := v.join(ctx, e, have, routes); err != nil {
			return fmt.Errorf("%s: %w", e.ID, err)
		}
	}
	return nil
}

// rule brings the table in line and then lets packets through.
func (v *vpc) rule(in Intent) error {
	t := render(in)
	if err := v.settle(t); err != nil {
		v.table = nil
		v.m.o.Log.Error("rules were refused", "vpc", v.id, "err", err, "table", t.text())
		return err
	}
	if err := v.cut(in); err != nil {
		return err
	}
	return v.ns.do(func() error { return adjust(setting{"ipv4/ip_forward", "1"}) })
}

// settle makes t the kernel's table. Each change of ours raises the generation by one; any other
// number says that somebody else had a hand in it.
func (v *vpc) settle(t *table) error {
	for range 3 {
		g, err := generation(v.ns)
		if err != nil {
			return err
		}
		switch {
		case v.table == nil:
			err = t.replace(v.ns)
		case g != v.gen:
			v.m.o.Log.Warn("somebody changed nftables in the VPC's namespace: replacing the table", "vpc", v.id)
			err = t.replace(v.ns)
		case t.digest() == v.table.digest():
			return nil
		default:
			if err = t.delta(v.ns, v.table); err != nil { // of which the outcome may be unknown
				v.m.o.Log.Error("a change of rules was refused: replacing the table", "vpc", v.id, "err", err)
				v.table = nil
				continue
			}
		}
		if err != nil {
			return err
		}
		v.table, v.gen = t, g+1
	}
	return errors.New("somebody changes nftables in the VPC's namespace all the time")
}

// bury removes what is left of an ENI whose link and rules are gone: its connections, so that the
// next holder of the address doesn't inherit them, and its task's namespace.
func (v *vpc) bury(in Intent, gone made) error {
	for _, e := range in.ENIs {
		if e.Addr.String() == gone.Addr && e.ID == gone.ID {
			continue
		}
		if e.Task != "" && e.Task == gone.Task {
			gone.Task = "" // moved to another ENI
		}
	}
	if a, err := netip.ParseAddr(gone.Addr); err == nil {
		if err := forgetFlows(v.ns, a); err != nil {
			return fmt.Errorf("forget connections of %s: %w", a, err)
		}
	}
	delete(v.joined, gone.ID)
	if gone.Task == "" {
		return nil
	}
	return unpin(v.m.TaskNetns(gone.Task))
}
