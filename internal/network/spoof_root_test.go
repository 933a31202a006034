package network

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// datagram makes an IPv4 packet with one byte for a UDP port.
func datagram(src, dst string, port uint16) []byte {
	b := make([]byte, 29)
	b[0], b[3], b[8], b[9] = 0x45, 29, 64, udp
	copy(b[12:], ip(src).AsSlice())
	copy(b[16:], ip(dst).AsSlice())
	var s uint32
	for i := 0; i < 20; i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	s = s&0xffff + s>>16
	binary.BigEndian.PutUint16(b[10:], ^uint16(s))
	binary.BigEndian.PutUint16(b[20:], 999)
	binary.BigEndian.PutUint16(b[22:], port)
	b[25], b[28] = 9, 'x'
	return b
}

// frame sends a frame of any kind out of a task's eth0, as one with CAP_NET_RAW may. mac is the
// sender's, nil: its own.
func (l *lab) frame(task string, mac net.HardwareAddr, proto uint16, payload []byte) {
	l.Helper()
	l.inNS(l.m.TaskNetns(task), func() error {
		wire := proto<<8 | proto>>8
		s, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, int(wire))
		if err != nil {
			return err
		}
		defer unix.Close(s)
		i, err := net.InterfaceByName(taskLink)
		if err != nil {
			return err
		}
		if mac == nil {
			mac = i.HardwareAddr
		}
		h := append(append([]byte{}, i.HardwareAddr...), mac...)
		h = append(h, byte(proto>>8), byte(proto))
		return unix.Sendto(s, append(h, payload...), 0, &unix.SockaddrLinklayer{Protocol: wire, Ifindex: i.Index})
	})
}

// flush is what an administrator's slip does.
func (l *lab) flush() {
	l.Helper()
	ns, err := openNS(l.vpc())
	l.ok(err)
	defer ns.close()
	c, err := nftables.New(nftables.WithNetNSFd(ns.fd()))
	l.ok(err)
	c.FlushRuleset()
	l.ok(c.Flush())
}

func TestSpoofing(t *testing.T) {
	l := newLab(t)
	l.group("sg-db").In = []Rule{all}
	l.apply()
	lc := net.ListenConfig{Control: Control(l.m.TaskNetns("db"))}
	pc, err := lc.ListenPacket(context.Background(), "udp4", "10.0.1.20:7")
	l.ok(err)
	defer pc.Close()
	try := func(src, want string, mac net.HardwareAddr) {
		t.Helper()
		l.frame("web", mac, 0x0800, datagram(src, "10.0.1.20", 7))
		pc.SetReadDeadline(time.Now().Add(60 * time.Millisecond))
		got := ""
		if _, a, err := pc.ReadFrom(make([]byte, 9)); err == nil {
			got = a.(*net.UDPAddr).IP.String()
		}
		if got != want {
			t.Errorf("source %s got through as %q, want %q", src, got, want)
		}
	}
	forged := []string{"10.0.1.30", "10.0.1.5", "10.0.77.77", "8.8.8.8", "127.0.0.1", "169.254.170.2", "0.0.0.0", "10.0.0.1"}
	try("10.0.1.10", "10.0.1.10", nil)
	for _, s := range forged {
		try(s, "", nil)
		try(s, "", MACOf(ip("10.0.1.30"))) // with the other's hardware address as well
	}

	// The ruleset alone.
	l.inNS(l.vpc(), func() error {
		return adjust(setting{"ipv4/conf/all/rp_filter", "0"}, setting{"ipv4/conf/" + l.in.ENIs[1].link() + "/rp_filter", "0"})
	})
	for _, s := range forged {
		try(s, "", nil)
	}
	l.inNS(l.vpc(), func() error { return adjust(setting{"ipv4/conf/all/rp_filter", "1"}) })

	// The kernel's own filter alone.
	l.flush()
	try("10.0.1.10", "10.0.1.10", nil)
	for _, s := range forged {
		try(s, "", nil)
	}
	l.apply()

	// ARP for somebody else's address changes nothing.
	ns, err := openNS(l.vpc())
	l.ok(err)
	defer ns.close()
	neighbours := func() int { n, err := ns.nl.NeighList(0, unix.AF_INET); l.ok(err); return len(n) }
	before := neighbours()
	arp := make([]byte, 28)
	copy(arp, []byte{0, 1, 8, 0, 6, 4, 0, 2, 2, 9, 9, 9, 9, 9, 10, 0, 1, 20})
	l.frame("web", nil, 0x0806, arp)
	if n := neighbours(); n != before {
		t.Errorf("%d neighbours after forged ARP, %d before", n, before)
	}
	try("10.0.1.10", "10.0.1.10", nil)
}

// TestSpoofing_HostLoopback: what a task forges towards 127.0.0.1 does not reach the host's own
// services, with the ruleset and without.
func TestSpoofing_HostLoopback(t *testing.T) {
	l := newLab(t)
	a := netlink.NewLinkAttrs()
	a.Name = "wan1" // a host has a default route
	l.ok(netlink.LinkAdd(&netlink.Veth{LinkAttrs: a, PeerName: "wan2"}))
	for _, n := range []string{"wan2", "wan1"} {
		k, err := netlink.LinkByName(n)
		l.ok(err)
		l.ok(netlink.LinkSetUp(k))
		if n == "wan1" {
			defer netlink.LinkDel(k)
			l.ok(netlink.RouteAdd(&netlink.Route{Dst: ipnet(anywhere), LinkIndex: k.Attrs().Index, Scope: netlink.SCOPE_LINK}))
		}
	}
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	l.ok(err)
	defer pc.Close()
	port := uint16(pc.LocalAddr().(*net.UDPAddr).Port)
	u := l.uplink()
	try := func() (arrived []string) {
		for _, src := range []string{"10.0.1.10", "10.0.1.5", u.vpc.String(), u.host.String(), "127.0.0.9", "127.0.0.1", l.public().String()} {
			l.frame("web", nil, 0x0800, datagram(src, "127.0.0.1", port))
			pc.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if _, a, err := pc.ReadFrom(make([]byte, 9)); err == nil {
				arrived = append(arrived, a.String())
			}
		}
		return arrived
	}
	if a := try(); a != nil {
		t.Errorf("with the ruleset arrived %v", a)
	}
	l.flush()
	if a := try(); a != nil {
		t.Errorf("without the ruleset arrived %v", a)
	}
	l.ok(adjust(setting{"ipv4/conf/" + u.name + "/rp_filter", "0"}, setting{"ipv4/conf/all/rp_filter", "0"}))
	if a := try(); a == nil {
		t.Error("without ruleset and rp_filter nothing arrived either: this test proves nothing")
	}
	l.apply() // which mends both
	if a := try(); a != nil {
		t.Errorf("after repair arrived %v", a)
	}
}

func TestTask_Namespace(t *testing.T) {
	l := newLab(t)
	l.inNS(l.m.TaskNetns("web"), func() error {
		i, err := net.InterfaceByName(taskLink)
		if err != nil {
			return err
		}
		as, err := i.Addrs()
		if err != nil {
			return err
		}
		if len(as) != 1 || as[0].String() != "10.0.1.10/24" || i.HardwareAddr.String() != "02:00:0a:00:01:0a" {
			t.Errorf("eth0: %v, %s", as, i.HardwareAddr)
		}
		rs, err := netlink.RouteList(nil, netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		if len(rs) != 1 || rs[0].Gw.String() != "10.0.1.1" {
			t.Errorf("routes: %v", rs)
		}
		for _, a := range []string{"[::]:8081", "[::1]:8082", "127.0.0.1:8083"} { // as if there were a normal machine
			ln, err := net.Listen("tcp", a)
			if err != nil {
				return err
			}
			ln.Close()
		}
		return nil
	})
	for _, path := range []string{l.vpc(), l.m.TaskNetns("web")} {
		l.inNS(path, func() error {
			as, err := net.InterfaceAddrs()
			for _, a := range as {
				if strings.Contains(a.String(), ":") && a.String() != "::1/128" {
					t.Errorf("%s has the IPv6 address %s", path, a)
				}
			}
			return err
		})
	}
}

// uplink is the VPC's.
func (l *lab) uplink() uplink {
	l.Helper()
	for name, owner := range l.m.claims.list(linksDir) {
		if owner == l.m.o.ID+"/"+l.in.ID {
			return uplinkAt(l.m.o.ID, netip.PrefixFrom(ip(name), 31))
		}
	}
	l.Fatal("no uplink is claimed")
	return uplink{}
}
