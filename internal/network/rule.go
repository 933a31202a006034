package network

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A rule grows from left to right, as one reads it: c.rule().from("up0").count().drop().
type rule struct {
	words []string
	ex    []expr.Any
}

// A field is an address in the IPv4 header, by its place there.
type field uint32

const (
	source      field = 12
	destination field = 16
)

func (f field) String() string {
	if f == source {
		return "saddr"
	}
	return "daddr"
}

func (c *chain) rule() *rule { r := &rule{}; c.rules = append(c.rules, r); return r }

func (r *rule) String() string { return strings.Join(r.words, " ") }

func (r *rule) put(words string, ex ...expr.Any) *rule {
	if words != "" {
		r.words = append(r.words, words)
	}
	r.ex = append(r.ex, ex...)
	return r
}

// Matches. Register 1 is the one for single values; 8, 9 … are the 32-bit ones for concatenations.

func (r *rule) from(link string) *rule {
	return r.put(fmt.Sprintf("iifname %q", link), &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, equal(linkName(link)))
}

func (r *rule) notFrom(link string) *rule {
	return r.put(fmt.Sprintf("iifname != %q", link), &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, unequal(linkName(link)))
}

// in compares an address with a block; everything is in 0.0.0.0/0.
func (r *rule) in(f field, p netip.Prefix) *rule { return r.block(f, p, "", equal) }

func (r *rule) notIn(f field, p netip.Prefix) *rule { return r.block(f, p, "!= ", unequal) }

func (r *rule) block(f field, p netip.Prefix, op string, compare func([]byte) expr.Any) *rule {
	if p.Bits() == 0 {
		return r
	}
	p = p.Masked()
	shown := p.String()
	if p.Bits() == 32 {
		shown = p.Addr().String()
	}
	r.put(fmt.Sprintf("ip %s %s%s", f, op, shown), f.load(1))
	if p.Bits() < 32 {
		mask := binary.BigEndian.AppendUint32(nil, ^uint32(0)<<(32-p.Bits()))
		r.put("", &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)})
	}
	return r.put("", compare(p.Addr().AsSlice()))
}

// among matches members of a set.
func (r *rule) among(f field, s *set) *rule {
	return r.put(fmt.Sprintf("ip %s @%s", f, s.name), f.load(1), &expr.Lookup{SourceRegister: 1, SetName: s.name, SetID: s.s.ID})
}

// fromLinkOf matches packets whose source address belongs to their link.
func (r *rule) fromLinkOf(s *set) *rule {
	return r.put("iifname . ip saddr @"+s.name, &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 8}, source.load(12),
		&expr.Lookup{SourceRegister: 8, SetName: s.name, SetID: s.s.ID})
}

func (r *rule) toService(s *set) *rule {
	return r.put("ip daddr . meta l4proto . th dport @"+s.name, destination.load(8), &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 9},
		&expr.Payload{DestRegister: 10, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: 8, SetName: s.name, SetID: s.s.ID})
}

func (r *rule) known() *rule   { return r.ct("state established,related", expr.CtKeySTATE, 2|4) }
func (r *rule) invalid() *rule { return r.ct("state invalid", expr.CtKeySTATE, 1) }

// published matches packets whose destination was a public address.
func (r *rule) published() *rule { return r.ct("status dnat", expr.CtKeySTATUS, 1<<5) }

func (r *rule) ct(words string, key expr.CtKey, bits uint32) *rule {
	return r.put("ct "+words, &expr.Ct{Register: 1, Key: key},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		unequal(make([]byte, 4)))
}

// hostUnreachable matches the answer of the router that an address has no ENI.
func (r *rule) hostUnreachable() *rule {
	return r.put("icmp type destination-unreachable icmp code host-unreachable", protocol(), equal([]byte{icmp}), transport(0, 2), equal([]byte{3, 1}))
}

// traffic matches the protocol and ports of a security group's rule.
func (r *rule) traffic(g Rule) *rule {
	switch {
	case g.Proto == 0:
		return r
	case g.Proto == icmp:
		return r.icmp(g.Lo, g.Hi)
	}
	r.put(fmt.Sprintf("meta l4proto %d", g.Proto), protocol(), equal([]byte{g.Proto}))
	if g.Proto != tcp && g.Proto != udp || g.Lo == 0 && g.Hi == 65535 {
		return r
	}
	lo, hi := binary.BigEndian.AppendUint16(nil, g.Lo), binary.BigEndian.AppendUint16(nil, g.Hi)
	if g.Lo == g.Hi {
		return r.put(fmt.Sprintf("th dport %d", g.Lo), transport(2, 2), equal(lo))
	}
	return r.put(fmt.Sprintf("th dport %d-%d", g.Lo, g.Hi), transport(2, 2), &expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: lo, ToData: hi})
}

func (r *rule) icmp(typ, code uint16) *rule {
	r.put("meta l4proto 1", protocol(), equal([]byte{icmp}))
	if typ != anyICMP {
		r.put(fmt.Sprintf("@th,0,8 %d", typ), transport(0, 1), equal([]byte{byte(typ)}))
		if code != anyICMP {
			r.put(fmt.Sprintf("@th,8,8 %d", code), transport(1, 1), equal([]byte{byte(code)}))
		}
	}
	return r
}

// Statements.

func (r *rule) count() *rule  { return r.put("counter", &expr.Counter{}) }
func (r *rule) accept() *rule { return r.put("accept", &expr.Verdict{Kind: expr.VerdictAccept}) }
func (r *rule) drop() *rule   { return r.put("drop", &expr.Verdict{Kind: expr.VerdictDrop}) }

func (r *rule) jump(to string) *rule {
	return r.put("jump "+to, &expr.Verdict{Kind: expr.VerdictJump, Chain: to})
}

func (r *rule) goTo(to string) *rule {
	return r.put("goto "+to, &expr.Verdict{Kind: expr.VerdictGoto, Chain: to})
}

// jumpBy goes where the map of addresses says; a chain that returns, or none, goes on with the next rule.
func (r *rule) jumpBy(f field, s *set) *rule {
	return r.put(fmt.Sprintf("ip %s vmap @%s", f, s.name), f.load(1),
		&expr.Lookup{SourceRegister: 1, IsDestRegSet: true, SetName: s.name, SetID: s.s.ID})
}

func (r *rule) snat(to netip.Addr) *rule {
	return r.put("snat to "+to.String(), &expr.Immediate{Register: 1, Data: to.AsSlice()},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1})
}

// dnatBy changes the destination as the map says.
func (r *rule) dnatBy(s *set) *rule {
	return r.put("dnat to ip daddr map @"+s.name, destination.load(1),
		&expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: s.name, SetID: s.s.ID},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1})
}

// Private

func (f field) load(register uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: uint32(f), Len: 4}
}

func transport(offset, n uint32) expr.Any {
	return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: n}
}

func protocol() expr.Any { return &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1} }

func equal(d []byte) expr.Any   { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: d} }
func unequal(d []byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: d} }

// linkName is a link's name as the kernel holds it.
func linkName(s string) []byte { b := make([]byte, 16); copy(b, s); return b }
