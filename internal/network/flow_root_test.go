package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestFlows_TrackedGoOn(t *testing.T) {
	l := newLab(t)
	l.serveTask("db", "0.0.0.0:5432")
	c := l.allowed(l.as("web"), "10.0.1.20:5432", "10.0.1.10")
	was := l.group("sg-db").In
	l.group("sg-db").In = nil
	l.apply()
	if err := echo(c); err != nil {
		t.Errorf("a tracked connection ended with its rule: %v", err)
	}
	l.dropped(l.as("web"), "10.0.1.20:5432")

	// Until it is forgotten; another's is not.
	l.serve(l.vpc(), "169.254.170.2:80")
	other := l.allowed(l.as("web"), "169.254.170.2:80", "10.0.1.10")
	l.ok(l.m.ForgetFlows(context.Background(), l.in.ID, ip("10.0.1.20")))
	l.ok(echo(other))
	if echo(c) == nil {
		t.Error("a forgotten connection that isn't allowed goes on")
	}
	// One that is allowed is picked up again.
	l.group("sg-db").In = was
	l.apply()
	c = l.allowed(l.as("web"), "10.0.1.20:5432", "10.0.1.10")
	l.ok(l.m.ForgetFlows(context.Background(), l.in.ID, ip("10.0.1.20")))
	if err := echo(c); err != nil {
		t.Errorf("a forgotten connection that is allowed ended: %v", err)
	}
}

func TestFlows_UntrackedEnd(t *testing.T) {
	l := newLab(t)
	l.serveTask("db", "0.0.0.0:5432")
	l.serveTask("db", "0.0.0.0:80")
	wide := Rule{Proto: tcp, Lo: 80, Hi: 80, CIDR: anywhere}
	l.group("sg-db").In = append(l.group("sg-db").In, wide)
	l.apply()
	tracked := l.allowed(l.as("web"), "10.0.1.20:5432", "10.0.1.10")
	untracked := l.allowed(l.as("web"), "10.0.1.20:80", "10.0.1.10")
	l.group("sg-db").In = nil
	l.apply()
	if err := echo(tracked); err != nil {
		t.Errorf("a tracked connection ended with its rule: %v", err)
	}
	if echo(untracked) == nil {
		t.Error("an untracked connection goes on without a rule")
	}

	// Nor does AWS track one by a wide rule if answers are not free: it goes on.
	l.group("sg-db").In, l.group("sg-db").Out = []Rule{wide}, nil
	l.group("sg-web").Out = []Rule{{CIDR: l.in.CIDR}}
	l.apply()
	c := l.allowed(l.as("web"), "10.0.1.20:80", "10.0.1.10")
	l.group("sg-db").In = nil
	l.apply()
	if err := echo(c); err != nil {
		t.Errorf("a connection that AWS tracks ended with its rule: %v", err)
	}
}

// TestFlows_EndWithTheirENI: the next holder of an address does not inherit them.
func TestFlows_EndWithTheirENI(t *testing.T) {
	l := newLab(t)
	l.serveTask("db", "0.0.0.0:5432")
	l.allowed(l.as("web"), "10.0.1.20:5432", "10.0.1.10")
	with := l.in
	l.in = l.in.clone()
	l.in.ENIs = append(l.in.ENIs[:2:2], l.in.ENIs[3:]...)
	l.apply()
	if n := l.flowsOf("10.0.1.20"); n != 0 {
		t.Errorf("%d connections left", n)
	}
	if _, err := os.Stat(l.m.TaskNetns("db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the task's namespace: %v, want it gone", err)
	}
	l.dropped(l.as("web"), "10.0.1.20:5432")

	// The same address, held by another ENI.
	l.in = with.clone()
	l.in.ENIs[2].ID, l.in.ENIs[2].Task = "eni-db2", "db2"
	l.apply()
	l.serveTask("db2", "0.0.0.0:5432")
	l.allowed(l.as("web"), "10.0.1.20:5432", "10.0.1.10")
	// And at once, with no moment in between.
	l.in = with
	l.apply()
	l.serveTask("db", "0.0.0.0:5432")
	l.allowed(l.as("web"), "10.0.1.20:5432", "10.0.1.10")
}

func TestForgetFlows_SlowWay(t *testing.T) {
	l := newLab(t)
	l.serveTask("db", "0.0.0.0:5432")
	l.allowed(l.as("web"), "10.0.1.20:5432", "10.0.1.10")
	ns, err := openNS(l.vpc())
	l.ok(err)
	defer ns.close()
	l.ok(cutFlows(ns, func(f flow) bool { return f.server == ip("10.0.1.21") }))
	if n := l.flowsOf("10.0.1.20"); n == 0 {
		t.Error("another's connections were cut")
	}
	l.ok(cutFlows(ns, func(f flow) bool { return f.client == ip("10.0.1.10") && f.port == 5432 && f.proto == tcp }))
	if n := l.flowsOf("10.0.1.20"); n != 0 {
		t.Errorf("%d connections left", n)
	}
}

func (l *lab) flowsOf(a string) (n int) {
	l.Helper()
	ns, err := openNS(l.vpc())
	l.ok(err)
	defer ns.close()
	l.ok(cutFlows(ns, func(f flow) bool {
		if f.client == ip(a) || f.server == ip(a) {
			n++
		}
		return false
	}))
	return n
}

// TestApply_LosesNoPacket: rules change all the time while connections are made.
func TestApply_LosesNoPacket(t *testing.T) {
	l := newLab(t)
	l.serveTask("web", "0.0.0.0:8080")
	l.allowed(l.balancer(), "10.0.1.10:8080", "10.0.1.5")
	stop, slow, made := make(chan bool), atomic.Int64{}, atomic.Int64{}
	done := make(chan bool)
	for range 2 {
		go func() {
			defer func() { done <- true }()
			d := l.balancer()
			d.Timeout = 3 * time.Second
			for {
				select {
				case <-stop:
					return
				default:
				}
				s := time.Now()
				c, err := d.Dial("tcp4", "10.0.1.10:8080")
				if err != nil {
					t.Error(err)
					return
				}
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
				if made.Add(1); time.Since(s) > 900*time.Millisecond { // a SYN is sent again after 1 s
					slow.Add(1)
				}
			}
		}()
	}
	const changes = 16
	for i := range changes {
		in := crowd(l.in, 10+10*(i%2))
		in.Groups[1].In = append(in.Groups[1].In, tcpFrom(uint16(9000+i), "sg-db"))
		l.ok(l.m.Apply(context.Background(), in))
	}
	close(stop)
	<-done
	<-done
	t.Logf("%d connections during %d changes", made.Load(), changes)
	if slow.Load() > 0 {
		t.Errorf("%d of %d connections lost a SYN", slow.Load(), made.Load())
	}
}

func TestCounters(t *testing.T) {
	l := newLab(t)
	l.serveTask("web", "0.0.0.0:8080")
	get := func(what func(Counter) bool) (n uint64) {
		t.Helper()
		all, err := l.m.Counters(context.Background(), l.in.ID)
		l.ok(err)
		for _, c := range all {
			if what(c) {
				n += c.Packets
			}
		}
		return n
	}
	droppedIn := func(a string) uint64 {
		return get(func(c Counter) bool { return c.Drop && c.In && c.Addr == ip(a) })
	}
	droppedOut := func(a string) uint64 {
		return get(func(c Counter) bool { return c.Drop && !c.In && c.Addr == ip(a) })
	}
	admitted := func() uint64 {
		return get(func(c Counter) bool {
			return c.Group == "sg-web" && c.In && !c.Drop && strings.Contains(c.Rule, "@m_sg-lb")
		})
	}
	l.allowed(l.balancer(), "10.0.1.10:8080", "10.0.1.5")
	if a, b := admitted(), droppedIn("10.0.1.10"); a != 1 || b != 0 {
		t.Errorf("after one connection: %d admitted, %d dropped", a, b)
	}
	l.dropped(l.as("db"), "10.0.1.10:8080")
	l.dropped(l.as("mute"), "10.0.1.10:8080")
	if a, b, c := droppedIn("10.0.1.10"), droppedOut("10.0.1.40"), droppedIn("10.0.1.20"); a != 1 || b != 1 || c != 0 {
		t.Errorf("dropped: %d towards web, %d from mute, %d towards db; want 1, 1, 0", a, b, c)
	}
	l.frame("web", nil, 0x0800, datagram("8.8.8.8", "10.0.1.20", 7))
	if n := get(func(c Counter) bool { return c.Chain == "spoof" }); n != 1 {
		t.Errorf("%d forged packets counted, want 1", n)
	}

	// Changes keep them: of the group, of others, and by another process.
	l.group("sg-web").In = append(l.group("sg-web").In, tcpFrom(9090, "sg-db"))
	l.apply()
	m, err := New(l.m.o)
	l.ok(err)
	l.m = m
	l.ok(l.m.Apply(context.Background(), task(l.in, 1)))
	if a, b := admitted(), droppedIn("10.0.1.10"); a != 1 || b != 1 {
		t.Errorf("after changes: %d admitted, %d dropped; want 1 and 1", a, b)
	}
}

// TestGroups_ICMP: types and codes, by echo requests of a user other than root.
func TestGroups_ICMP(t *testing.T) {
	l := newLab(t)
	ping := func(from, to string) bool {
		t.Helper()
		answered := false
		l.inNS(l.m.TaskNetns(from), func() error {
			s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP) // ping_group_range
			if err != nil {
				return err
			}
			defer unix.Close(s)
			tv := unix.NsecToTimeval(int64(100 * time.Millisecond))
			if err := unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
				return err
			}
			if err := unix.Sendto(s, []byte{8, 0, 0, 0, 0, 0, 0, 1, 'x'}, 0, &unix.SockaddrInet4{Addr: ip(to).As4()}); err != nil {
				return err
			}
			n, _, err := unix.Recvfrom(s, make([]byte, 100), 0)
			answered = err == nil && n > 0
			return nil
		})
		return answered
	}
	for _, c := range []struct {
		rule Rule
		want bool
	}{
		{Rule{Proto: icmp, Lo: anyICMP, Hi: anyICMP, Group: "sg-web"}, true},
		{Rule{Proto: icmp, Lo: 8, Hi: anyICMP, CIDR: anywhere}, true},
		{Rule{Proto: icmp, Lo: 8, Hi: 0, CIDR: anywhere}, true},
		{Rule{Proto: icmp, Lo: 8, Hi: 1, CIDR: anywhere}, false},
		{Rule{Proto: icmp, Lo: 0, Hi: anyICMP, CIDR: anywhere}, false},
		{Rule{Proto: tcp, Lo: 0, Hi: 65535, CIDR: anywhere}, false},
		{Rule{CIDR: anywhere}, true},
	} {
		l.group("sg-db").In = []Rule{c.rule}
		l.apply()
		l.ok(l.m.ForgetFlows(context.Background(), l.in.ID, ip("10.0.1.20")))
		if got := ping("web", "10.0.1.20"); got != c.want {
			t.Errorf("ping by %+v: answered is %v, want %v", c.rule, got, c.want)
		}
	}
}

// TestGroups_Matrix: the kernel decides as groups are defined.
func TestGroups_Matrix(t *testing.T) {
	l := newLab(t)
	names := []string{"web", "db", "pub", "mute"}
	ports := []uint16{80, 8080, 5432}
	for _, n := range names {
		for _, p := range ports {
			l.serveTask(n, fmt.Sprintf("0.0.0.0:%d", p))
		}
	}
	l.group("sg-mute").Out = []Rule{{Proto: tcp, Lo: 80, Hi: 6000, Group: "sg-db"}, {Proto: tcp, Lo: 80, Hi: 80, CIDR: cidr("10.0.1.8/29")}}
	l.group("sg-web").In = append(l.group("sg-web").In, Rule{Group: "sg-mute"}, tcpFrom(80, "sg-gone"))
	l.group("sg-db").In = append(l.group("sg-db").In, Rule{Proto: tcp, Lo: 80, Hi: 80, CIDR: cidr("10.0.1.40/32")})
	l.in.ENIs[3].Groups = []string{"sg-pub", "sg-lb"}
	l.apply()
	j := newJudge(l.in)
	type result struct {
		text      string
		got, want bool
	}
	results := make(chan result)
	count := 0
	for _, from := range append(names, "") {
		for i, to := range l.in.ENIs[1:] {
			if names[i] == from {
				continue
			}
			for _, p := range ports {
				count++
				go func() {
					d, src := l.balancer(), ip("10.0.1.5")
					if from != "" {
						d = l.as(from)
						for _, e := range l.in.ENIs {
							if e.Task == from {
								src = e.Addr
							}
						}
					}
					_, c, err := dial(d, fmt.Sprintf("%s:%d", to.Addr, p))
					if err == nil {
						c.Close()
					}
					results <- result{fmt.Sprintf("%s → %s:%d", src, to.Addr, p), err == nil, j.allows(flow{src, to.Addr, tcp, p})}
				}()
			}
		}
	}
	through := 0
	for range count {
		r := <-results
		if r.got != r.want {
			t.Errorf("%s: connected is %v, want %v", r.text, r.got, r.want)
		}
		if r.got {
			through++
		}
	}
	if through == 0 || through == count {
		t.Errorf("%d of %d connect: this test proves nothing", through, count)
	}
}

// TestApply_ReadyAtOnce: the first packet of a new task gets through, also while links are being
// removed, which keeps the kernel from starting those that come.
func TestApply_ReadyAtOnce(t *testing.T) {
	l := newLab(t)
	l.group("sg-web").In = []Rule{all}
	for i := range 20 {
		in := task(l.in, i)
		l.ok(l.m.Apply(context.Background(), in))
		l.serveTask(fmt.Sprint(i), "0.0.0.0:80")
		l.allowed(l.balancer(), fmt.Sprintf("%s:80", in.ENIs[5].Addr), "10.0.1.5")
	}
}
