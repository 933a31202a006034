package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
)

// crowd adds n local ENIs, ten to a group of ten rules: rules and sets as with tasks, without
// their links.
func crowd(in Intent, n int) Intent {
	in = in.clone()
	for i := range (n + 9) / 10 {
		g := Group{ID: fmt.Sprintf("sg-%04d", i), Out: []Rule{all}}
		for j := range 10 {
			g.In = append(g.In, tcpFrom(uint16(9000+j), "sg-lb"))
		}
		in.Groups = append(in.Groups, g)
	}
	for i := range n {
		a := netip.AddrFrom4([4]byte{10, 0, byte(16 + i/250), byte(i%250 + 3)})
		in.ENIs = append(in.ENIs, ENI{ID: fmt.Sprintf("eni-%d", i), Addr: a, Subnet: cidr("10.0.16.0/20"), Groups: []string{fmt.Sprintf("sg-%04d", i/10)}, Local: true})
	}
	return in
}

func benchLab(b *testing.B) *lab {
	needsRoot(b)
	m, err := New(Options{RunDir: filepath.Join(b.TempDir(), "bench"), ID: "bench"})
	l := &lab{TB: b, m: m}
	l.ok(err)
	b.Cleanup(func() { l.ok(m.RemoveAll(context.Background())) })
	l.in = labIntent(m.PublicPool())
	return l
}

// task is the i-th further task of a known service.
func task(in Intent, i int) Intent {
	in = in.clone()
	in.ENIs = append(in.ENIs, ENI{ID: fmt.Sprintf("eni-task-%d", i), Addr: offset(ip("10.0.2.10"), uint32(i)), Subnet: cidr("10.0.2.0/24"), Groups: []string{"sg-web"}, Task: fmt.Sprint(i)})
	return in
}

func BenchmarkApply(b *testing.B) {
	for _, n := range []int{0, 200, 1000} {
		b.Run(fmt.Sprintf("task added/%d", n), func(b *testing.B) {
			l := benchLab(b)
			l.in = crowd(l.in, n)
			l.apply()
			for i := 0; b.Loop(); i++ {
				l.ok(l.m.Apply(context.Background(), task(l.in, i%200)))
				b.StopTimer()
				l.apply()
				b.StartTimer()
			}
		})
		b.Run(fmt.Sprintf("task removed/%d", n), func(b *testing.B) {
			l := benchLab(b)
			l.in = crowd(l.in, n)
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				l.ok(l.m.Apply(context.Background(), task(l.in, i%200)))
				b.StartTimer()
				l.apply()
			}
		})
		b.Run(fmt.Sprintf("rule changed/%d", n), func(b *testing.B) {
			l := benchLab(b)
			l.in = crowd(l.in, n)
			for i := 0; b.Loop(); i++ {
				l.group("sg-web").In = []Rule{tcpFrom(uint16(8080+i%2), "sg-lb")}
				l.apply()
			}
		})
		b.Run(fmt.Sprintf("nothing to do/%d", n), func(b *testing.B) {
			l := benchLab(b)
			l.in = crowd(l.in, n)
			l.apply()
			for b.Loop() {
				l.apply()
			}
		})
	}
}

func BenchmarkApply_FirstVPC(b *testing.B) {
	l := benchLab(b)
	for b.Loop() {
		l.apply()
		b.StopTimer()
		l.ok(l.m.Remove(context.Background(), l.in.ID))
		b.StartTimer()
	}
}

func BenchmarkDial(b *testing.B) {
	l := benchLab(b)
	l.apply()
	ln := l.serve(l.m.TaskNetns("web"), "10.0.1.10:8080")
	d := l.balancer()
	for b.Loop() {
		c, err := d.Dial("tcp4", ln.Addr().String())
		l.ok(err)
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
}
