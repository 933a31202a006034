package network

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestApply_TwiceChangesNothing(t *testing.T) {
	l := newLab(t)
	l.serveTask("db", "0.0.0.0:5432")
	c := l.allowed(l.as("web"), "10.0.1.20:5432", "10.0.1.10")
	g, w := l.generation(), l.world()
	l.apply()
	m, err := New(l.m.o) // a new process
	l.ok(err)
	l.m = m
	l.apply()
	if l.generation() != g {
		t.Error("the ruleset was touched though nothing changed")
	}
	if d := cmp.Diff(w, l.world()); d != "" {
		t.Errorf("the world changed (-before +after):\n%s", d)
	}
	l.ok(echo(c))
	// The new process goes on with deltas.
	l.group("sg-db").In = nil
	l.apply()
	if got := l.generation(); got != g+1 {
		t.Errorf("one change, %d generations", got-g)
	}
	l.ok(echo(c))
}

// TestApply_Repairs: what others break is mended, and connections go on.
func TestApply_Repairs(t *testing.T) {
	l := newLab(t)
	l.serveTask("db", "0.0.0.0:5432")
	l.serveTask("web", "0.0.0.0:8080")
	l.serveTask("pub", "0.0.0.0:8080")
	vpc, err := openNS(l.vpc())
	l.ok(err)
	defer vpc.close()
	del := func(h *netlink.Handle, name string) {
		t.Helper()
		k, err := h.LinkByName(name)
		l.ok(err)
		l.ok(h.LinkDel(k))
	}
	host, err := netlink.NewHandle()
	l.ok(err)
	defer host.Close()
	c := l.allowed(l.as("web"), "10.0.1.20:5432", "10.0.1.10")
	for what, breakIt := range map[string]func(){
		"the ruleset is flushed": l.flush,
		"a table of somebody else's": func() {
			n, err := nftables.New(nftables.WithNetNSFd(vpc.fd()))
			l.ok(err)
			n.AddTable(&nftables.Table{Name: "other", Family: nftables.TableFamilyIPv4})
			l.ok(n.Flush())
		},
		"a task's link is gone": func() { del(vpc.nl, l.in.ENIs[2].link()) },
		"the uplink is gone":    func() { del(host, l.uplink().name) },
		"a task's link is down": func() { k, _ := vpc.nl.LinkByName(l.in.ENIs[2].link()); l.ok(vpc.nl.LinkSetDown(k)) },
		"a balancer's address": func() {
			k, _ := vpc.nl.LinkByName("lo")
			l.ok(vpc.nl.AddrDel(k, &netlink.Addr{IPNet: ipnet(cidr("10.0.1.5/32"))}))
		},
		"a public address": func() {
			u := l.uplink()
			k, _ := host.LinkByName(u.name)
			u.index = k.Attrs().Index
			l.ok(u.publish(host, l.public(), false))
		},
		"a route": func() {
			l.ok(vpc.nl.RouteDel(&netlink.Route{Dst: ipnet(cidr("10.0.1.20/32")), Scope: netlink.SCOPE_LINK}))
		},
		"the unreachable route":  func() { l.ok(vpc.nl.RouteDel(&netlink.Route{Dst: ipnet(l.in.CIDR), Type: unix.RTN_UNREACHABLE})) },
		"a switch of the uplink": func() { l.ok(adjust(setting{"ipv4/conf/" + l.uplink().name + "/route_localnet", "0"})) },
		"a link nobody knows":    func() { l.ok(veth(vpc.nl, "e00000000000000", "x", vpc.fd(), MACOf(ip("10.0.1.99")))) },
		"forwarding is off":      func() { l.ok(vpc.do(func() error { return adjust(setting{"ipv4/ip_forward", "0"}) })) },
		"a record that is rubbish": func() {
			l.ok(os.WriteFile(filepath.Join(l.m.o.RunDir, recordDir, l.in.ID+".json"), []byte("{"), 0o600))
			m, err := New(l.m.o)
			l.ok(err)
			l.m = m
		},
	} {
		breakIt()
		l.apply()
		if err := echo(c); err != nil {
			t.Errorf("%s: a connection ended: %v", what, err)
		}
		l.allowed(l.as("web"), "10.0.1.20:5432", "10.0.1.10").Close()
		l.dropped(l.as("db"), "10.0.1.10:8080")
		l.allowed(l.balancer(), "10.0.1.10:8080", "10.0.1.5").Close()
		if _, _, err := dial(l.balancer(), "10.0.77.77:80"); !errors.Is(err, syscall.EHOSTUNREACH) {
			t.Errorf("%s: balancer to nobody: %v", what, err)
		}
		from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
		l.allowed(from, netip.AddrPortFrom(l.public(), 8080).String(), "10.0.0.1").Close()
		if t.Failed() {
			t.Fatal("after:", what)
		}
	}
	// Pins that are gone: everything is made anew.
	for _, path := range []string{l.vpc(), l.m.TaskNetns("db")} {
		l.ok(unix.Unmount(path, unix.MNT_DETACH))
	}
	l.apply()
	l.serveTask("db", "0.0.0.0:5432")
	l.allowed(l.as("web"), "10.0.1.20:5432", "10.0.1.10")
}

// TestApply_KilledAnywhere: processes that apply ever other intents are killed at moments of
// chance; the next Apply, of another process, converges, and RemoveAll leaves nothing.
func TestApply_KilledAnywhere(t *testing.T) {
	needsRoot(t)
	dir := t.TempDir()
	before := worldOf(t, dir)
	for round := range 12 {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{childVariable + "=apply", "RUN_DIR=" + filepath.Join(dir, "kill"), fmt.Sprint("SEED=", round)}
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(10+rand.IntN(150)) * time.Millisecond)
		cmd.Process.Kill()
		if cmd.Wait(); out.Len() > 0 {
			t.Fatal(out.String())
		}
		if round%4 == 3 { // sometimes nothing but the removal comes after
			m, err := New(Options{RunDir: filepath.Join(dir, "kill"), ID: "kill"})
			if err != nil {
				t.Fatal(err)
			}
			if err := m.RemoveAll(context.Background()); err != nil {
				t.Fatal(err)
			}
			os.Remove(filepath.Join(dir, "kill"))
			if d := cmp.Diff(before, worldOf(t, dir)); d != "" {
				t.Fatalf("left behind after a kill (-before +after):\n%s", d)
			}
			continue
		}
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			m, err := New(Options{RunDir: filepath.Join(dir, "kill"), ID: "kill"})
			l := &lab{TB: t, m: m}
			l.ok(err)
			l.in = labIntent(m.PublicPool())
			l.apply()
			l.serveTask("db", "0.0.0.0:5432")
			l.serveTask("pub", "0.0.0.0:8080")
			l.allowed(l.as("web"), "10.0.1.20:5432", "10.0.1.10")
			l.dropped(l.as("db"), "10.0.1.10:8080")
			l.allowed(&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}, netip.AddrPortFrom(l.public(), 8080).String(), "10.0.0.1")
			// Nothing of the other intents is left.
			pins, _ := os.ReadDir(filepath.Join(dir, "kill", netnsDir))
			if len(pins) != 5 {
				t.Errorf("pins: %v", pins)
			}
		})
	}
	m, err := New(Options{RunDir: filepath.Join(dir, "kill"), ID: "kill"})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.RemoveAll(context.Background()); err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(dir, "kill"))
	if d := cmp.Diff(before, worldOf(t, dir)); d != "" {
		t.Errorf("left behind (-before +after):\n%s", d)
	}
}

// applyForEver is the process that is killed.
func applyForEver() {
	m, err := New(Options{RunDir: os.Getenv("RUN_DIR"), ID: "kill"})
	for i := 0; err == nil; i++ {
		in := labIntent(m.PublicPool())
		if i%3 == 1 {
			in.ENIs = in.ENIs[:2]
		}
		for j := range i % 4 {
			in = task(in, 10*i%40+j)
		}
		err = m.Apply(context.Background(), in)
		if i%7 == 6 && err == nil {
			err = m.Remove(context.Background(), in.ID)
		}
	}
	fmt.Println(err)
	os.Exit(1)
}

func TestRemoveAll_LeavesNothing(t *testing.T) {
	needsRoot(t)
	dir := t.TempDir()
	before, files := worldOf(t, dir), openFiles()
	l := newLabAt(t, dir, "gone")
	second := l.in.clone()
	second.ID = "vpc-2"
	for i := range second.ENIs {
		e := &second.ENIs[i]
		if e.Public = (netip.Addr{}); e.Task != "" {
			e.Task += "2"
		}
	}
	l.ok(l.m.Apply(context.Background(), second))
	// A socket that stays open, a pin of no record, a file from between create and mount.
	l.serveTask("web", "0.0.0.0:80")
	l.serve(l.vpc(), "10.0.1.5:80")
	_, err := createNS(l.m.TaskNetns("lost"))
	l.ok(err)
	l.ok(os.WriteFile(l.m.TaskNetns("torn"), nil, 0o600))
	if cmp.Diff(before, worldOf(t, dir)) == "" {
		t.Fatal("no difference while all is there: this test proves nothing")
	}
	other, err := New(Options{RunDir: l.m.o.RunDir, ID: "gone"})
	l.ok(err)
	l.ok(other.Remove(context.Background(), "vpc-nobody"))
	l.ok(other.RemoveAll(context.Background()))
	l.ok(l.m.RemoveAll(context.Background()))
	l.ok(os.Remove(filepath.Join(dir, "gone")))
	if d := cmp.Diff(before, worldOf(t, dir)); d != "" {
		t.Errorf("left behind (-before +after):\n%s", d)
	}
	if n := openFiles() - files - 4; n > 0 { // two listeners and what the poller needs
		t.Errorf("%d files stay open", n)
	}
	// The first Manager, whose world went without its knowledge, makes it anew.
	l.apply()
	l.serveTask("db", "0.0.0.0:5432")
	l.allowed(l.as("web"), "10.0.1.20:5432", "10.0.1.10")
}

func TestServers_SideBySide(t *testing.T) {
	needsRoot(t)
	dir := t.TempDir()
	a, b := newLabAt(t, dir, "a"), newLabAt(t, dir, "b")
	if a.m.PublicPool() == b.m.PublicPool() {
		t.Fatal("both have the pool", a.m.PublicPool())
	}
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
	for i, l := range []*lab{a, b} {
		l.serveTask("pub", "0.0.0.0:8080")
		l.serveTask("db", "0.0.0.0:5432")
		_, c, err := dial(from, netip.AddrPortFrom(l.public(), 8080).String())
		l.ok(err)
		c.Close()
		l.allowed(l.as("web"), "10.0.1.20:5432", "10.0.1.10")
		if n := l.flowsOf("10.0.1.30"); n != 1 {
			t.Errorf("server %d: %d connections of its public address, want its own", i, n)
		}
	}
	l := a.allowed(from, netip.AddrPortFrom(a.public(), 8080).String(), "10.0.0.1")
	b.ok(b.m.RemoveAll(context.Background()))
	if err := echo(l); err != nil {
		t.Errorf("the other server's removal ended a connection: %v", err)
	}
	a.allowed(a.as("web"), "10.0.1.20:5432", "10.0.1.10")
	a.apply()
	if _, c, err := dial(from, netip.AddrPortFrom(b.public(), 8080).String()); err == nil {
		c.Close()
		t.Error("a removed server's public address answers")
	}
}

// TestTable_TextAndMessages: nft makes of the text what the messages make.
func TestTable_TextAndMessages(t *testing.T) {
	l := newLab(t)
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("no nft to compare with")
	}
	l.in.ENIs[4].Groups = []string{"sg-web", "sg-mute"}
	l.group("sg-lb").In = []Rule{{Proto: icmp, Lo: 8, Hi: 0, CIDR: anywhere}, {Proto: icmp, Lo: anyICMP, Hi: anyICMP, Group: "sg-db"}, {Proto: 50, CIDR: cidr("192.0.2.0/24")}, {Proto: tcp, Lo: 1000, Hi: 2000, CIDR: anywhere}}
	l.apply()
	l.ok(l.m.Apply(context.Background(), crowd(l.in, 30))) // there and back by deltas
	l.apply()
	list := func() (s string) {
		l.inNS(l.vpc(), func() error {
			out, err := exec.Command("nft", "-s", "list", "ruleset").CombinedOutput()
			f := strings.FieldsFunc(string(out), func(r rune) bool { return strings.ContainsRune("{},\n\t", r) })
			for i := range f {
				f[i] = strings.TrimSpace(f[i])
			}
			slices.Sort(f) // the order of chains and elements is of no account
			s = strings.TrimSpace(strings.Join(f, "\n"))
			return err
		})
		return s
	}
	messages := list()
	l.inNS(l.vpc(), func() error {
		c := exec.Command("nft", "-f", "-")
		c.Stdin = strings.NewReader(render(l.in).text())
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	if d := cmp.Diff(list(), messages); d != "" {
		t.Errorf("tables differ (-text +messages):\n%s", d)
	}
}

// TestTable_ManyElements: an attribute over 64 KiB is cut short without an error.
func TestTable_ManyElements(t *testing.T) {
	l := newLab(t)
	in := crowd(l.in, 3000)
	l.ok(l.m.Apply(context.Background(), in))
	ns, err := openNS(l.vpc())
	l.ok(err)
	defer ns.close()
	c, err := nftables.New(nftables.WithNetNSFd(ns.fd()))
	l.ok(err)
	s := render(in).named["ein"]
	el, err := c.GetSetElements(s.s)
	l.ok(err)
	if len(el) != len(s.elements) {
		t.Errorf("%d of %d elements are in the kernel", len(el), len(s.elements))
	}
}

// TestTable_BrokenBatch: what the kernel refuses changes nothing.
func TestTable_BrokenBatch(t *testing.T) {
	l := newLab(t)
	l.serveTask("db", "0.0.0.0:5432")
	g := l.generation()
	ns, err := openNS(l.vpc())
	l.ok(err)
	defer ns.close()
	bad := render(l.in)
	bad.named["ein"].jump(ip("10.0.9.9"), "nowhere")
	if err := bad.delta(ns, render(l.in)); err == nil {
		t.Error("a broken delta was accepted")
	}
	if err := bad.replace(ns); err == nil {
		t.Error("a broken table was accepted")
	}
	if l.generation() != g {
		t.Error("a broken batch changed something")
	}
	l.apply()
	l.allowed(l.as("web"), "10.0.1.20:5432", "10.0.1.10")
}

func openFiles() int {
	es, _ := os.ReadDir("/proc/self/fd")
	return len(es)
}

// world is all that can be seen from the host.
func (l *lab) world() []string { return worldOf(l, filepath.Dir(l.m.o.RunDir)) }

func worldOf(t testing.TB, dir string) (all []string) {
	t.Helper()
	add := func(kind string, err error, items ...string) {
		if err != nil {
			t.Fatal(kind, err)
		}
		for _, i := range items {
			all = append(all, kind+" "+i)
		}
	}
	ls, err := netlink.LinkList()
	for _, l := range ls {
		add("link", err, l.Attrs().Name)
		as, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		for _, a := range as {
			add("address", err, a.String())
		}
	}
	rs, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	for _, r := range rs {
		add("route", err, r.String())
	}
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	ts, err := c.ListTables()
	for _, x := range ts {
		add("table", err, x.Name)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	for s := bufio.NewScanner(bytes.NewReader(mounts)); s.Scan(); {
		f := strings.Fields(s.Text())
		add("mount", err, f[4])
	}
	err = filepath.WalkDir("/proc/sys/net", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(path, "conntrack_count") || strings.Contains(path, "/neigh/") {
			return err
		}
		b, _ := os.ReadFile(path) // some are for writing only
		add("sysctl", nil, path+" = "+strings.TrimSpace(string(b)))
		return nil
	})
	add("sysctl", err)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !strings.HasSuffix(path, ".json") {
			add("file", nil, path)
		}
		return err
	})
	add("file", err)
	slices.Sort(all)
	return all
}
