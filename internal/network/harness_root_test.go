package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The tests that need root run in a network and mount namespace of their own: that is "the host".
// No packet can leave the machine and nothing is left behind.
const childVariable = "LOTSE_NETWORK_TEST"

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	switch os.Getenv(childVariable) {
	case "":
		c := exec.Command("/proc/self/exe", os.Args[1:]...)
		c.Env = append(os.Environ(), childVariable+"=1")
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
		if err := c.Run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case "apply": // see TestApply_KilledAnywhere
		applyForEver()
	}
	for _, err := range []error{
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("tmpfs", "/run", "tmpfs", 0, ""), // run directories are there
		os.Setenv("TMPDIR", "/run"),
		loopbackUp(),
	} {
		if err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func needsRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("needs root")
	}
}

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

var (
	ip   = netip.MustParseAddr
	cidr = netip.MustParsePrefix
	all  = Rule{CIDR: anywhere}
)

func tcpFrom(port uint16, group string) Rule {
	return Rule{Proto: tcp, Lo: port, Hi: port, Group: group}
}

// lab is a Manager with one VPC: a balancer and tasks web, db, pub and mute.
type lab struct {
	testing.TB
	m  *Manager
	in Intent
}

func newLab(t testing.TB) *lab {
	needsRoot(t)
	return newLabAt(t, t.TempDir(), "test1")
}

func newLabAt(t testing.TB, dir, id string) *lab {
	t.Helper()
	m, err := New(Options{RunDir: filepath.Join(dir, id), ID: id})
	l := &lab{TB: t, m: m}
	l.ok(err)
	t.Cleanup(func() { l.ok(m.RemoveAll(context.Background())) })
	l.in = labIntent(m.PublicPool())
	l.apply()
	return l
}

func labIntent(pool netip.Prefix) Intent {
	public := offset(pool.Addr(), 5)
	sub := cidr("10.0.1.0/24")
	eni := func(name, a string, local bool, groups ...string) ENI {
		e := ENI{ID: "eni-" + name, Addr: ip(a), Subnet: sub, Groups: groups, Local: local}
		if !local {
			e.Task = name
		}
		return e
	}
	in := Intent{
		ID: "vpc-1", CIDR: cidr("10.0.0.0/16"), Subnets: []netip.Prefix{sub, cidr("10.0.2.0/24"), cidr("10.0.16.0/20")},
		Groups: []Group{
			{ID: "sg-lb", Out: []Rule{all}},
			{ID: "sg-web", In: []Rule{tcpFrom(8080, "sg-lb")}, Out: []Rule{all}},
			{ID: "sg-db", In: []Rule{tcpFrom(5432, "sg-web")}, Out: []Rule{all}},
			{ID: "sg-pub", In: []Rule{{Proto: tcp, Lo: 8080, Hi: 8080, CIDR: cidr("127.0.0.9/32")}, {Proto: udp, Lo: 53, Hi: 53, CIDR: loopback}}, Out: []Rule{all}},
			{ID: "sg-mute", In: []Rule{all}},
		},
		ENIs: []ENI{
			eni("lb", "10.0.1.5", true, "sg-lb"), eni("web", "10.0.1.10", false, "sg-web"), eni("db", "10.0.1.20", false, "sg-db"),
			eni("pub", "10.0.1.30", false, "sg-pub"), eni("mute", "10.0.1.40", false, "sg-mute"),
		},
	}
	in.ENIs[3].Public = public
	return in
}

func (l *lab) ok(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func (l *lab) apply() {
	l.Helper()
	l.ok(l.m.Apply(context.Background(), l.in))
}

func (l *lab) group(id string) *Group {
	for i := range l.in.Groups {
		if l.in.Groups[i].ID == id {
			return &l.in.Groups[i]
		}
	}
	l.Fatal("no group", id)
	return nil
}

func (l *lab) public() netip.Addr { return l.in.ENIs[3].Public }
func (l *lab) vpc() string        { return l.m.VPCNetns(l.in.ID) }

// as is a dialer of a task.
func (l *lab) as(task string) *net.Dialer { return DialerIn(l.m.TaskNetns(task), netip.Addr{}) }

// balancer dials from an address on the VPC's lo.
func (l *lab) balancer() *net.Dialer { return DialerIn(l.vpc(), ip("10.0.1.5")) }

// serve answers every connection with the peer's address, then echoes. "" is the host.
func (l *lab) serve(netns, at string) net.Listener {
	l.Helper()
	var ln net.Listener
	var err error
	if netns == "" {
		ln, err = net.Listen("tcp4", at)
	} else {
		ln, err = ListenIn(context.Background(), netns, netip.MustParseAddrPort(at))
	}
	l.ok(err)
	l.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				fmt.Fprintf(c, "%-21s", c.RemoteAddr())
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	return ln
}

func (l *lab) serveTask(task, at string) { l.Helper(); l.serve(l.m.TaskNetns(task), at) }

// patience is how long a packet may take that is let through; what is dropped takes this long.
const patience = 250 * time.Millisecond

// dial says who the server thinks the client is.
func dial(d *net.Dialer, to string) (string, net.Conn, error) {
	e := *d
	e.Timeout = patience
	c, err := e.Dial("tcp4", to)
	if err != nil {
		return "", nil, err
	}
	b := make([]byte, 21)
	c.SetDeadline(time.Now().Add(time.Second))
	if _, err = io.ReadFull(c, b); err != nil {
		c.Close()
		return "", nil, err
	}
	h, _, _ := net.SplitHostPort(string(b))
	return h, c, nil
}

func echo(c net.Conn) error {
	c.SetDeadline(time.Now().Add(500 * time.Millisecond))
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err := c.Read(make([]byte, 1))
	return err
}

// allowed dials and wants to be seen under an address.
func (l *lab) allowed(d *net.Dialer, to, as string) net.Conn {
	l.Helper()
	h, c, err := dial(d, to)
	if err != nil || h != as {
		l.Errorf("dial %s: seen as %q, %v; want to be seen as %s", to, h, err, as)
		return nil
	}
	l.Cleanup(func() { c.Close() })
	return c
}

// dropped wants a timeout.
func (l *lab) dropped(d *net.Dialer, to string) {
	l.Helper()
	_, c, err := dial(d, to)
	var ne net.Error
	if err == nil {
		c.Close()
		l.Errorf("dial %s: connected, want a drop", to)
	} else if !errors.As(err, &ne) || !ne.Timeout() {
		l.Errorf("dial %s: %v, want a timeout", to, err)
	}
}

// in runs fn inside a namespace.
func (l *lab) inNS(path string, fn func() error) {
	l.Helper()
	ns, err := openNS(path)
	l.ok(err)
	defer ns.close()
	l.ok(ns.do(fn))
}

func (l *lab) generation() uint32 {
	l.Helper()
	ns, err := openNS(l.vpc())
	l.ok(err)
	defer ns.close()
	g, err := generation(ns)
	l.ok(err)
	return g
}
