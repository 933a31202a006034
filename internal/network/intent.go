package network

import (
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// An Intent is all there is to be of one VPC. What is not in it goes.
type Intent struct {
	ID       string // vpc-…, names the namespace
	CIDR     netip.Prefix
	Subnets  []netip.Prefix
	Groups   []Group
	ENIs     []ENI
	Services []Service // beside the resolver and the metadata endpoint, which are always there
	// NAT would let tasks out of the VPC. It is refused: there is no egress.
	NAT bool
}

// A Group is a security group: a list of what is allowed. Nothing else is.
type Group struct {
	ID      string // sg-…
	In, Out []Rule
}

// A Rule allows one kind of traffic from, or to, a CIDR or the members of a group.
type Rule struct {
	Proto uint8 // IANA number, 0: all protocols, whatever Lo and Hi say
	// Lo to Hi are the destination ports for TCP and UDP. For ICMP Lo is the type and Hi the
	// code, 65535: any. For other protocols they have no meaning, as on AWS.
	Lo, Hi uint16
	CIDR   netip.Prefix // when Group is ""
	Group  string       // a group that isn't in the intent matches nobody
}

// An ENI is an elastic network interface: an address and its groups.
type ENI struct {
	ID     string // eni-…
	Addr   netip.Addr
	Subnet netip.Prefix
	Groups []string
	// Public is the address of the pool under which the host reaches the ENI, zero: none. For a
	// Local ENI nothing is made of it: who serves a balancer listens on it in the host.
	Public netip.Addr
	Local  bool   // lives on lo of the VPC: a balancer's
	Task   string // names the task's namespace; "" for Local
}

// A Service is something that every ENI reaches whatever its groups say.
type Service struct {
	Addr  netip.Addr
	Proto uint8 // 6 or 17
	Port  uint16
}

const (
	icmp = 1
	tcp  = 6
	udp  = 17

	anyICMP = 65535 // type or code
)

var (
	loopback = netip.MustParsePrefix("127.0.0.0/8")
	anywhere = netip.MustParsePrefix("0.0.0.0/0")

	// Source: Amazon VPC User Guide, "DNS attributes for your VPC".
	resolverAddr = netip.MustParseAddr("169.254.169.253")
	// Source: Amazon ECS Developer Guide, "Task metadata endpoint version 4".
	metadataAddr = netip.MustParseAddr("169.254.170.2")
)

// MACOf is the hardware address of the ENI with this IPv4 address: locally administered, and the
// same on both ends of its veth, so that neither needs ARP to know the other.
func MACOf(a netip.Addr) net.HardwareAddr {
	b := a.As4()
	return net.HardwareAddr{2, 0, b[0], b[1], b[2], b[3]}
}

// Private

// link is the name of the router's end of the ENI's veth: 15 characters, the same after a restart.
func (e ENI) link() string { return "e" + fmt.Sprintf("%x", sha256.Sum256([]byte(e.ID)))[:14] }

// resolver is the VPC's own resolver, base plus two.
func (in Intent) resolver() netip.Addr { return in.CIDR.Masked().Addr().Next().Next() }

// gateway is what tasks see instead of a client in the host's namespace.
func (in Intent) gateway() netip.Addr { return in.CIDR.Masked().Addr().Next() }

// services are all that groups do not judge, as on AWS.
// Source: Amazon VPC User Guide, "Security group rules".
func (in Intent) services() []Service {
	return append([]Service{
		{in.resolver(), udp, 53}, {in.resolver(), tcp, 53},
		{resolverAddr, udp, 53}, {resolverAddr, tcp, 53},
		{metadataAddr, tcp, 80},
	}, in.Services...)
}

// published says whether the host reaches the ENI through the kernel.
func (e ENI) published() bool { return e.Public.IsValid() && !e.Local }

func (in Intent) validate(pool netip.Prefix) error {
	if !plainID.MatchString(in.ID) || strings.HasPrefix(in.ID, "task-") {
		return fmt.Errorf("VPC id %q: want letters, digits, - and _, not beginning with task-", in.ID)
	}
	if !in.CIDR.IsValid() || !in.CIDR.Addr().Is4() || in.CIDR.Bits() < 8 || in.CIDR.Bits() > 28 {
		return fmt.Errorf("CIDR %s: want an IPv4 block of /8 to /28", in.CIDR)
	}
	if in.NAT {
		return fmt.Errorf("egress by NAT is not offered: tasks reach their VPC only; leave NAT unset")
	}
	for _, s := range in.Subnets {
		if !s.IsValid() || s.Bits() < in.CIDR.Bits() || !in.CIDR.Contains(s.Addr()) {
			return fmt.Errorf("subnet %s is not inside %s", s, in.CIDR)
		}
	}
	groups := map[string]bool{}
	for _, g := range in.Groups {
		if !plainID.MatchString(g.ID) || groups[g.ID] {
			return fmt.Errorf("group id %q: want letters, digits, - and _, each id once", g.ID)
		}
		groups[g.ID] = true
		for _, r := range append(append([]Rule{}, g.In...), g.Out...) {
			if err := r.validate(); err != nil {
				return fmt.Errorf("group %s: %w", g.ID, err)
			}
		}
	}
	for _, s := range in.Services {
		if !s.Addr.Is4() || (s.Proto != tcp && s.Proto != udp) {
			return fmt.Errorf("service %v: want an IPv4 address and protocol 6 or 17", s)
		}
	}
	return in.validateENIs(groups, pool)
}

func (in Intent) validateENIs(groups map[string]bool, pool netip.Prefix) error {
	taken := map[any]string{}
	once := func(e ENI, what any) error {
		if o, dup := taken[what]; dup {
			return fmt.Errorf("%s and %s both have %v", o, e.ID, what)
		}
		taken[what] = e.ID
		return nil
	}
	for _, e := range in.ENIs {
		if !plainID.MatchString(e.ID) {
			return fmt.Errorf("ENI id %q: want letters, digits, - and _", e.ID)
		}
		if !e.Addr.Is4() || !in.CIDR.Contains(e.Addr) || !e.Subnet.IsValid() || !e.Subnet.Contains(e.Addr) {
			return fmt.Errorf("%s: address %s is not inside its subnet %s of %s", e.ID, e.Addr, e.Subnet, in.CIDR)
		}
		if !slices.Contains(in.Subnets, e.Subnet) {
			return fmt.Errorf("%s: its subnet %s is not one of the VPC's", e.ID, e.Subnet)
		}
		if e.Addr == e.Subnet.Masked().Addr().Next() || e.Addr == in.resolver() {
			return fmt.Errorf("%s: address %s is reserved for the VPC's router or resolver", e.ID, e.Addr)
		}
		if e.Local != (e.Task == "") || (e.Task != "" && !plainID.MatchString(e.Task)) {
			return fmt.Errorf("%s: task %q: want a plain name, and none exactly for a local ENI", e.ID, e.Task)
		}
		for _, g := range e.Groups {
			if !groups[g] {
				return fmt.Errorf("%s: its group %s is not in the intent", e.ID, g)
			}
		}
		keys := []any{e.ID, e.Addr}
		if e.Task != "" {
			keys = append(keys, "task "+e.Task)
		}
		if e.Public.IsValid() {
			if !pool.Contains(e.Public) {
				return fmt.Errorf("%s: public address %s is not in the pool %s", e.ID, e.Public, pool)
			}
			keys = append(keys, e.Public)
		}
		for _, k := range keys {
			if err := once(e, k); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r Rule) validate() error {
	switch {
	case r.Group != "" && !plainID.MatchString(r.Group):
		return fmt.Errorf("rule for group %q: want letters, digits, - and _", r.Group)
	case r.Group == "" && (!r.CIDR.IsValid() || !r.CIDR.Addr().Is4()):
		return fmt.Errorf("rule for %s: want an IPv4 CIDR or a group", r.CIDR)
	case (r.Proto == tcp || r.Proto == udp) && r.Lo > r.Hi:
		return fmt.Errorf("ports %d-%d: the first is greater than the last", r.Lo, r.Hi)
	case r.Proto == icmp && ((r.Lo > 255 && r.Lo != anyICMP) || (r.Hi > 255 && r.Hi != anyICMP)):
		return fmt.Errorf("ICMP type %d, code %d: want 0 to 255, or 65535 for any", r.Lo, r.Hi)
	}
	return nil
}

// clone shares nothing with in that a caller may change later.
func (in Intent) clone() Intent {
	in.Subnets, in.Services = slices.Clone(in.Subnets), slices.Clone(in.Services)
	in.Groups, in.ENIs = slices.Clone(in.Groups), slices.Clone(in.ENIs)
	for i := range in.Groups {
		g := &in.Groups[i]
		g.In, g.Out = slices.Clone(g.In), slices.Clone(g.Out)
	}
	for i := range in.ENIs {
		in.ENIs[i].Groups = slices.Clone(in.ENIs[i].Groups)
	}
	return in
}
