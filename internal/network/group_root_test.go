package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
)

func TestGroups_Reachability(t *testing.T) {
	l := newLab(t)
	l.serveTask("web", "0.0.0.0:8080")
	l.serveTask("db", "0.0.0.0:5432")
	l.serveTask("mute", "0.0.0.0:80")

	l.allowed(l.as("web"), "10.0.1.20:5432", "10.0.1.10")
	l.dropped(l.as("db"), "10.0.1.10:8080")
	l.dropped(l.as("db"), "10.0.1.10:8081")
	l.allowed(l.as("web"), "10.0.1.40:80", "10.0.1.10")
	l.dropped(l.as("mute"), "10.0.1.20:5432") // no egress
	l.dropped(l.as("web"), "10.0.77.77:80")   // no ENI: a task learns nothing
	l.dropped(l.as("web"), "192.0.2.1:80")    // no egress out of the VPC

	l.allowed(l.balancer(), "10.0.1.10:8080", "10.0.1.5")
	l.dropped(l.balancer(), "10.0.1.20:5432")
	if _, _, err := dial(l.balancer(), "10.0.77.77:80"); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("balancer to an address without ENI: %v, want no route to host", err)
	}
	// An internal balancer, judged by its own group.
	l.serve(l.vpc(), "10.0.1.5:443")
	l.dropped(l.as("web"), "10.0.1.5:443")
	l.group("sg-lb").In = []Rule{tcpFrom(443, "sg-web")}
	l.apply()
	l.allowed(l.as("web"), "10.0.1.5:443", "10.0.1.10")
	l.dropped(l.as("db"), "10.0.1.5:443")
}

func TestGroups_MembershipChanges(t *testing.T) {
	l := newLab(t)
	l.serveTask("web", "0.0.0.0:8080")
	l.dropped(l.as("mute"), "10.0.1.10:8080")
	l.in.ENIs[4].Groups = []string{"sg-mute", "sg-lb"}
	l.apply()
	l.allowed(l.as("mute"), "10.0.1.10:8080", "10.0.1.40")
	l.in.ENIs[4].Groups = []string{"sg-mute"}
	l.apply()
	l.dropped(l.as("mute"), "10.0.1.10:8080")
}

func TestServices_NeedNoGroup(t *testing.T) {
	l := newLab(t)
	l.serve(l.vpc(), "169.254.170.2:80")
	l.serve(l.vpc(), "10.0.0.2:53")
	l.serve(l.vpc(), "169.254.169.253:53")
	l.serve(l.vpc(), "169.254.170.2:81")
	for _, to := range []string{"169.254.170.2:80", "10.0.0.2:53", "169.254.169.253:53"} {
		l.allowed(l.as("web"), to, "10.0.1.10")
		l.allowed(l.as("mute"), to, "10.0.1.40")
	}
	l.dropped(l.as("mute"), "169.254.170.2:81")
}

func TestPublicAddress_JudgedByClient(t *testing.T) {
	l := newLab(t)
	l.serveTask("pub", "0.0.0.0:8080")
	from := func(a string) *net.Dialer { return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(a)}} }
	at := func(port uint16) string { return netip.AddrPortFrom(l.public(), port).String() }
	l.allowed(from("127.0.0.9"), at(8080), "10.0.0.1")
	l.dropped(from("127.0.0.1"), at(8080))
	l.dropped(&net.Dialer{}, at(8080))
	l.dropped(from("127.0.0.9"), at(8081))

	l.group("sg-pub").In = []Rule{{Proto: tcp, Lo: 8080, Hi: 8080, CIDR: anywhere}}
	l.apply()
	c := l.allowed(&net.Dialer{}, at(8080), "10.0.0.1")
	l.group("sg-pub").In = []Rule{tcpFrom(8080, "sg-lb")}
	l.apply()
	l.dropped(&net.Dialer{}, at(8080))
	l.dropped(from("127.0.0.9"), at(8080))
	l.allowed(l.balancer(), "10.0.1.30:8080", "10.0.1.5")
	if echo(c) == nil {
		t.Error("an untracked connection goes on after its rule is gone")
	}

	// The host's own services stay out of reach, and other addresses of the pool are the host's.
	ln := l.serve("", "127.0.0.1:0")
	for _, task := range []string{"web", "pub", "mute"} {
		if _, _, err := dial(l.as(task), ln.Addr().String()); err == nil {
			t.Errorf("%s reaches the host's loopback", task)
		}
	}
	if _, _, err := dial(DialerIn(l.vpc(), netip.Addr{}), ln.Addr().String()); err == nil {
		t.Error("the VPC reaches the host's loopback")
	}
	balancer := l.serve("", offset(l.m.PublicPool().Addr(), 77).String()+":0")
	if _, c, err := dial(&net.Dialer{}, balancer.Addr().String()); err != nil {
		t.Errorf("a balancer in the host: %v", err)
	} else {
		c.Close()
	}
}

func TestPublicAddress_UDP(t *testing.T) {
	l := newLab(t)
	lc := net.ListenConfig{Control: Control(l.m.TaskNetns("pub"))}
	pc, err := lc.ListenPacket(context.Background(), "udp4", "0.0.0.0:53")
	l.ok(err)
	defer pc.Close()
	go func() {
		b := make([]byte, 100)
		for {
			n, a, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			pc.WriteTo(b[:n], a)
		}
	}()
	c, err := net.Dial("udp4", netip.AddrPortFrom(l.public(), 53).String())
	l.ok(err)
	defer c.Close()
	if err := echo(c); err != nil || c.LocalAddr().(*net.UDPAddr).IP.String() != "127.0.0.1" {
		t.Errorf("from %s: %v", c.LocalAddr(), err)
	}
}
