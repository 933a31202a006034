package state

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/store"
)

// The virtual networks' records. All of them are intent, written by the APIs and, for interfaces
// of tasks, by the controller of tasks. What the kernel makes of them is fabric's and network's.
var (
	VPCs              = store.NewTable[VPC]("vpc.vpc")                            // scope/id
	Subnets           = store.NewTable[Subnet]("vpc.subnet")                      // scope/id
	SecurityGroups    = store.NewTable[SecurityGroup]("vpc.security-group")       // scope/id
	NetworkInterfaces = store.NewTable[NetworkInterface]("vpc.network-interface") // scope/id
	lastAddresses     = store.NewTable[lastAddress]("vpc.last-address")           // scope/subnet, or public/pool
)

// defaultGroup is the name of the group that every VPC has. Source: VPC user guide.
const defaultGroup = "default"

// A NoFreeAddressError is a subnet whose addresses are all taken, in AWS's words
// (InsufficientFreeAddressesInSubnet).
type NoFreeAddressError struct{ Subnet string }

func (e *NoFreeAddressError) Error() string {
	return "The specified subnet does not have enough free addresses to satisfy the request."
}

// A NoPublicAddressError is a pool of public addresses that are all taken.
type NoPublicAddressError struct{ Pool netip.Prefix }

func (e *NoPublicAddressError) Error() string {
	return fmt.Sprintf("The maximum number of addresses has been reached: all public addresses of the server's pool %s are in use. Stop a task with assignPublicIp or delete an internet-facing load balancer.", e.Pool)
}

// A VPC is a virtual network: addresses of its own, that meet no other VPC's.
type VPC struct {
	Scope     arn.Scope
	ID        string // vpc-<17 hex>
	CIDR      string
	Default   bool
	Assoc     string // id of the CIDR's association, vpc-cidr-assoc-<17 hex>
	DHCP      string // id of the DHCP options, dopt-<17 hex>
	Tags      map[string]string
	CreatedAt time.Time
}

// A Subnet is a part of a VPC's addresses, in one zone.
type Subnet struct {
	Scope     arn.Scope
	ID        string // subnet-<17 hex>
	VPC, CIDR string
	Zone      string // us-east-1a
	ZoneID    string // use1-az1
	Default   bool   // the zone's default subnet
	MapPublic bool   // mapPublicIpOnLaunch
	Tags      map[string]string
	CreatedAt time.Time
}

// ARN names the subnet.
func (s Subnet) ARN() string { return s.Scope.ARN("ec2", "subnet/"+s.ID) }

// Capacity is how many addresses the subnet has for interfaces: all but five. Source: VPC user
// guide: network, router, resolver, reserved, broadcast.
func (s Subnet) Capacity() int {
	p, err := netip.ParsePrefix(s.CIDR)
	if err != nil {
		return 0
	}
	return max(0, 1<<(32-p.Bits())-5)
}

// A SecurityGroup says who may talk to the interfaces that carry it, and whom they may talk to.
type SecurityGroup struct {
	Scope             arn.Scope
	ID                string // sg-<17 hex>
	VPC               string
	Name, Description string
	Ingress, Egress   []SecurityGroupRule
	Default           bool // the VPC's own, which can't be deleted
	Tags              map[string]string
	CreatedAt         time.Time
}

// ARN names the group.
func (g SecurityGroup) ARN() string { return g.Scope.ARN("ec2", "security-group/"+g.ID) }

// A SecurityGroupRule admits one source (ingress) or destination (egress): CIDR or Group.
type SecurityGroupRule struct {
	ID          string // sgr-<17 hex>
	Protocol    string // -1 (all), tcp, udp, icmp
	From, To    int32  // ports, for icmp type and code; -1 for all
	CIDR        string // of IPv4 addresses
	Group       string // sg-…, instead of CIDR
	Description string
	Tags        map[string]string
}

// Same reports whether two rules admit the same.
func (r SecurityGroupRule) Same(o SecurityGroupRule) bool {
	return r.Protocol == o.Protocol && r.From == o.From && r.To == o.To && r.CIDR == o.CIDR && r.Group == o.Group
}

// A NetworkInterface is an address in a subnet with the groups that guard it.
type NetworkInterface struct {
	Scope       arn.Scope
	ID          string // eni-<17 hex>
	VPC, Subnet string
	Zone        string
	Address     string // private IPv4
	Public      string // public IPv4; "" for none
	Groups      []string
	Task        string // 32 hex of the task that has it; "" for a load balancer's or mount target's
	Cluster     string // the task's
	Description string
	RequesterID string // who asked EC2 for it: ecs-tasks, amazon-elb or amazon-efs
	Attachment  string // eni-attach-<17 hex>
	Tags        map[string]string
	CreatedAt   time.Time
}

// lastAddress is the address given last, so that the next one given is another: a client that
// still talks to the former holder must not reach somebody else.
type lastAddress struct{ Address string }

// NewInterfaceInput is what an interface needs. No groups: the VPC's default group.
type NewInterfaceInput struct {
	Scope         arn.Scope
	Subnet        string
	Groups        []string
	Task, Cluster string
	Description   string
	Requester     string // "" = ecs-tasks for a task's, else amazon-elb
}

// NewInterface makes an interface with the first free address after the one that the subnet
// gave last. It is an error for which errors.Is(err, store.ErrNotFound) when the subnet or a group
// is not there, and a *NoFreeAddressError when all addresses are taken.
func NewInterface(tx *store.WriteTx, in NewInterfaceInput) (NetworkInterface, error) {
	sn, err := Subnets.Get(tx, in.Scope.Key(in.Subnet))
	if err != nil {
		return NetworkInterface{}, err
	}
	groups, err := interfaceGroups(tx, in, sn.Val.VPC)
	if err != nil {
		return NetworkInterface{}, err
	}
	address, err := nextAddress(tx, sn.Val)
	if err != nil {
		return NetworkInterface{}, err
	}
	requester := in.Requester
	switch {
	case requester != "":
	case in.Task != "":
		requester = "ecs-tasks"
	default:
		requester = "amazon-elb"
	}
	e := NetworkInterface{
		Scope: in.Scope, ID: NewEC2ID("eni"), VPC: sn.Val.VPC, Subnet: sn.Val.ID, Zone: sn.Val.Zone, Address: address, Groups: groups,
		Task: in.Task, Cluster: in.Cluster, Description: in.Description, RequesterID: requester, Attachment: NewEC2ID("eni-attach"), CreatedAt: tx.Now(),
	}
	return e, NetworkInterfaces.Put(tx, &store.Object[NetworkInterface]{Key: in.Scope.Key(e.ID), Val: e})
}

// ReleaseInterface gives an interface and its addresses back. One that is gone is no error.
func ReleaseInterface(tx *store.WriteTx, sc arn.Scope, eni string) error {
	err := NetworkInterfaces.Delete(tx, sc.Key(eni), 0)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// ClaimPublic gives an interface a free address of the server's pool, in which accounts and
// regions share. An interface that has one of the pool keeps it. Addresses that end in 0 or 255
// are not given: some clients take them for networks and broadcasts.
func ClaimPublic(tx *store.WriteTx, sc arn.Scope, eni string, pool netip.Prefix) (string, error) {
	e, err := NetworkInterfaces.Get(tx, sc.Key(eni))
	if err != nil {
		return "", err
	}
	if a, err := netip.ParseAddr(e.Val.Public); err == nil && pool.Contains(a) {
		return e.Val.Public, nil
	}
	taken := map[string]bool{}
	for o, err := range NetworkInterfaces.List(tx, "") {
		if err != nil {
			return "", err
		}
		taken[o.Val.Public] = true
	}
	pool = pool.Masked()
	first, n := pool.Addr(), 1<<(32-pool.Bits())
	a, err := after(tx, "public/"+pool.String(), first, n, func(a netip.Addr) bool {
		last := a.As4()[3]
		return last != 0 && last != 255 && !taken[a.String()]
	})
	if err != nil {
		return "", err
	}
	if a == "" {
		return "", &NoPublicAddressError{pool}
	}
	e.Val.Public = a
	return a, NetworkInterfaces.Put(tx, &e)
}

// EnsureDefaultVPC gives an account its default VPC in a region, as AWS does: a subnet in each
// of three zones (a /20 each of a /16, else a quarter of the range) and the default group. One that is there, of whatever range, stays.
func EnsureDefaultVPC(tx *store.WriteTx, sc arn.Scope, cidr netip.Prefix) error {
	if has, err := HasDefaultVPC(tx, sc); has || err != nil {
		return err
	}
	if !cidr.Addr().Is4() || cidr.Bits() < 16 || cidr.Bits() > 26 {
		return fmt.Errorf("default VPC %s: the range must be IPv4, between /16 and /26, so that three subnets fit", cidr)
	}
	cidr = cidr.Masked()
	v := VPC{Scope: sc, ID: NewEC2ID("vpc"), CIDR: cidr.String(), Default: true, Assoc: NewEC2ID("vpc-cidr-assoc"), DHCP: NewEC2ID("dopt"), CreatedAt: tx.Now()}
	if err := VPCs.Put(tx, &store.Object[VPC]{Key: sc.Key(v.ID), Val: v}); err != nil {
		return err
	}
	bits := cidr.Bits() + 2
	if cidr.Bits() == 16 {
		bits = 20
	}
	for i, p := range parts(cidr, bits, len(Zones(sc.Region))) {
		z := Zones(sc.Region)[i]
		s := Subnet{Scope: sc, ID: NewEC2ID("subnet"), VPC: v.ID, CIDR: p.String(), Zone: z.Name, ZoneID: z.ID, Default: true, MapPublic: true, CreatedAt: tx.Now()}
		if err := Subnets.Put(tx, &store.Object[Subnet]{Key: sc.Key(s.ID), Val: s}); err != nil {
			return err
		}
	}
	id := NewEC2ID("sg")
	g := SecurityGroup{
		Scope: sc, ID: id, VPC: v.ID, Name: defaultGroup, Description: "default VPC security group", Default: true, CreatedAt: tx.Now(),
		Ingress: []SecurityGroupRule{{ID: NewEC2ID("sgr"), Protocol: "-1", From: -1, To: -1, Group: id}},
		Egress:  []SecurityGroupRule{AllEgress()},
	}
	return SecurityGroups.Put(tx, &store.Object[SecurityGroup]{Key: sc.Key(g.ID), Val: g})
}

// HasDefaultVPC reports whether the account has its default VPC in the region.
func HasDefaultVPC(tx store.Reader, sc arn.Scope) (bool, error) {
	for v, err := range VPCs.List(tx, sc.Key()) {
		if err != nil || v.Val.Default {
			return err == nil, err
		}
	}
	return false, nil
}

// DefaultSecurityGroup is the id of a VPC's default group; store.ErrNotFound without such a VPC.
func DefaultSecurityGroup(tx store.Reader, sc arn.Scope, vpc string) (id string, err error) {
	for g, err := range SecurityGroups.List(tx, sc.Key()) {
		if err != nil {
			return "", err
		}
		if g.Val.VPC == vpc && g.Val.Default {
			return g.Val.ID, nil
		}
	}
	return "", fmt.Errorf("default security group of %s: %w", vpc, store.ErrNotFound)
}

// AllEgress is the rule that every new group begins with: everything may go out.
func AllEgress() SecurityGroupRule {
	return SecurityGroupRule{ID: NewEC2ID("sgr"), Protocol: "-1", From: -1, To: -1, CIDR: "0.0.0.0/0"}
}

// A Zone is an availability zone.
type Zone struct{ Name, ID string }

// Zones are the three zones that Lotse gives every region: us-east-1a, use1-az1 and so on.
func Zones(region string) []Zone {
	var out []Zone
	for i, letter := range "abc" {
		out = append(out, Zone{region + string(letter), fmt.Sprintf("%s-az%d", shortRegion(region), i+1)})
	}
	return out
}

// NewEC2ID makes an id such as vpc-0f3b… : prefix and 17 hex digits.
func NewEC2ID(prefix string) string {
	b := make([]byte, 9)
	rand.Read(b)
	b[0] &= 0x0f // AWS's begin with 0, too
	return prefix + "-" + hex.EncodeToString(b)[1:]
}

// MACOf is the hardware address of the interface that has address: both ends of its link carry
// it, so that no ARP is needed. "" for what is not an IPv4 address.
func MACOf(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil || !a.Is4() {
		return ""
	}
	b := a.As4()
	return net.HardwareAddr{2, 0, b[0], b[1], b[2], b[3]}.String()
}

// PrivateDNSName is an address's name within its VPC. Source: VPC user guide, DNS hostnames.
func PrivateDNSName(region, address string) string {
	zone := region + ".compute.internal"
	if region == "us-east-1" {
		zone = "ec2.internal"
	}
	return "ip-" + strings.ReplaceAll(address, ".", "-") + "." + zone
}

// Private

// interfaceGroups are the interface's groups, which must belong to its VPC.
func interfaceGroups(tx store.Reader, in NewInterfaceInput, vpc string) ([]string, error) {
	if len(in.Groups) == 0 {
		id, err := DefaultSecurityGroup(tx, in.Scope, vpc)
		return []string{id}, err
	}
	for _, id := range in.Groups {
		g, err := SecurityGroups.Get(tx, in.Scope.Key(id))
		if err != nil {
			return nil, err
		}
		if g.Val.VPC != vpc {
			return nil, fmt.Errorf("security group %s and subnet %s belong to different networks: %w", id, in.Subnet, store.ErrNotFound)
		}
	}
	return slices.Clone(in.Groups), nil
}

// nextAddress takes a subnet's first free address after the one given last. The first four and
// the last are AWS's. Source: VPC user guide, subnet sizing.
func nextAddress(tx *store.WriteTx, sn Subnet) (string, error) {
	p, err := netip.ParsePrefix(sn.CIDR)
	if err != nil {
		return "", fmt.Errorf("subnet %s: %w", sn.ID, err)
	}
	taken := map[string]bool{}
	for e, err := range NetworkInterfaces.List(tx, sn.Scope.Key()) {
		if err != nil {
			return "", err
		}
		if e.Val.Subnet == sn.ID {
			taken[e.Val.Address] = true
		}
	}
	a, err := after(tx, sn.Scope.Key(sn.ID), addrAt(p.Masked().Addr(), 4), sn.Capacity(), func(a netip.Addr) bool { return !taken[a.String()] })
	if err == nil && a == "" {
		return "", &NoFreeAddressError{sn.ID}
	}
	return a, err
}

// after finds the first free address behind the one given last, among n from first on and
// around, and notes it as given. "": none is free.
func after(tx *store.WriteTx, key string, first netip.Addr, n int, free func(netip.Addr) bool) (string, error) {
	last, err := lastAddresses.Get(tx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", err
	}
	start := 0
	if a, err := netip.ParseAddr(last.Val.Address); err == nil {
		if i := int(number(a)) - int(number(first)); i >= 0 && i < n {
			start = i + 1
		}
	}
	for i := range n {
		a := addrAt(first, (start+i)%n)
		if free(a) {
			last.Val.Address = a.String()
			return a.String(), lastAddresses.Put(tx, &last)
		}
	}
	return "", nil
}

// parts are the first n subnets of a range with that many bits.
func parts(cidr netip.Prefix, bits, n int) []netip.Prefix {
	var out []netip.Prefix
	for i := range n {
		out = append(out, netip.PrefixFrom(addrAt(cidr.Addr(), i<<(32-bits)), bits))
	}
	return out
}

func number(a netip.Addr) uint32 { b := a.As4(); return binary.BigEndian.Uint32(b[:]) }

func addrAt(first netip.Addr, i int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], number(first)+uint32(i))
	return netip.AddrFrom4(b)
}

// shortRegion is a region's short form in zone ids: us-east-1 → use1, ap-southeast-2 → apse2.
func shortRegion(region string) string {
	var b strings.Builder
	for i, w := range strings.Split(region, "-") {
		switch {
		case i == 0 || w != "" && w[0] >= '0' && w[0] <= '9':
			b.WriteString(w)
		case strings.HasPrefix(w, "north") || strings.HasPrefix(w, "south"):
			b.WriteString(w[:1])
			if len(w) > 5 {
				b.WriteString(w[5:6])
			}
		case w != "":
			b.WriteString(w[:1])
		}
	}
	return b.String()
}
