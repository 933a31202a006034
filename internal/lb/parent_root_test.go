package lb

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
	"github.com/lotse-project/lotse/internal/proc"
)

func TestParent_WorkerHasNoPrivileges(t *testing.T) {
	p := newPair(t)
	pid := p.worker()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprint(WorkerID)
	for _, want := range []string{
		"Name:\tlotse-lb\n",
		"Uid:\t" + strings.Join([]string{id, id, id, id}, "\t") + "\n", "Gid:\t" + strings.Join([]string{id, id, id, id}, "\t") + "\n", "Groups:\t",
		"CapInh:\t0000000000000000\n", "CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n", "CapBnd:\t0000000000000000\n",
		"CapAmb:\t0000000000000000\n", "NoNewPrivs:\t1\n",
	} {
		if !strings.Contains(string(status), want) {
			t.Errorf("status of the worker lacks %q:\n%s", want, status)
		}
	}
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil || bytes.Contains(env, []byte("SECRET")) {
		t.Errorf("environment of the worker: %q, %v", env, err)
	}
}

func TestParent_ServesInsideAVPCAndAtPublicAddresses(t *testing.T) {
	p, v := newPair(t), newVPC(t)
	seen := &remotes{}
	target, _ := v.task(seen)
	p.put(v.inside(site(8000, target)))
	p.wait("tg", target, lbconfig.Healthy)
	for range 10 {
		if resp, _ := raw(t, local(8000), get1("/")); resp.StatusCode != 200 {
			t.Fatalf("status %d", resp.StatusCode)
		}
	}
	_, other := v.task(http.NotFoundHandler())
	c, err := dialIn(other, "", "10.0.0.5:8000")
	if err != nil {
		t.Fatalf("a task reaches no balancer in its VPC: %v", err)
	}
	c.Close()
	seen.mu.Lock()
	defer seen.mu.Unlock()
	if len(seen.seen) != 1 || seen.seen[eni.String()] < 11 {
		t.Errorf("requests came from %v, want all from %s", seen.seen, eni)
	}
}

// A target that answers everybody but the balancer's address isn't healthy.
func TestParent_HealthChecksComeFromTheBalancersAddress(t *testing.T) {
	p, v := newPair(t), newVPC(t)
	target, path := v.task(named("x"))
	ip(t, path, "route add blackhole 10.0.0.5/32")
	c, err := dialIn(v.path, "10.0.0.1", target.String())
	if err != nil {
		t.Fatalf("the target does not answer from elsewhere: %v", err)
	}
	c.Close()
	s := v.inside(site(8000, target))
	hc := &s.Groups[0].Health
	hc.Interval, hc.Timeout = 200*time.Millisecond, 100*time.Millisecond
	p.put(s)
	if st := p.wait("tg", target, lbconfig.Unhealthy); st.Reason != lbconfig.Timeout {
		t.Errorf("reason %s, want %s", st.Reason, lbconfig.Timeout)
	}
	ip(t, path, "route del blackhole 10.0.0.5/32")
	p.wait("tg", target, lbconfig.Healthy)
}

func TestParent_WorkerKilledUnderLoad(t *testing.T) {
	p, v := newPair(t), newVPC(t)
	a, _ := v.task(named("a"))
	b, _ := v.task(named("b"))
	p.put(v.inside(site(8000, a, b)))
	p.wait("tg", a, lbconfig.Healthy)
	p.wait("tg", b, lbconfig.Healthy)
	l := startLoad(t, local(8000), 8)
	l.progress(100)
	const kills = 5
	var slowest time.Duration
	for range kills {
		old := p.worker()
		began := time.Now()
		syscall.Kill(old, syscall.SIGKILL)
		// Connections made from now on are all answered, the first by the next worker.
		if resp, _ := raw(t, local(8000), get1("/")); resp.StatusCode != 200 {
			t.Errorf("status %d after the worker was killed", resp.StatusCode)
		}
		slowest = max(slowest, time.Since(began))
		eventually(t, "another worker", func() bool { return p.worker() != old })
		l.progress(100)
	}
	l.stop()
	t.Logf("slowest answer after a kill: %s; of %d requests %d were cut", slowest, l.sent, l.lost)
	if l.refused > 0 {
		t.Errorf("%d connections were refused", l.refused)
	}
	if l.lost > kills*8 { // one for each client and kill: what was open then
		t.Errorf("%d requests were lost with %d kills of 8 clients: %v", l.lost, kills, l.wrong)
	}
	if slowest > 2*time.Second {
		t.Errorf("the worker took %s to be back", slowest)
	}
}

func TestParent_KilledUnderLoad(t *testing.T) {
	p, v := newPair(t), newVPC(t)
	target, _ := v.task(named("a"))
	s := v.inside(site(8000, target))
	p.put(s)
	p.wait("tg", target, lbconfig.Healthy)
	worker := p.worker()
	l := startLoad(t, local(8000), 4)
	l.progress(100)
	p.killParent()
	l.progress(200)

	// Without a parent there are no new ports, and that is said.
	s.Balancers[0].Listeners = append(s.Balancers[0].Listeners, lbconfig.Listener{ARN: "second", Port: 8001,
		Rules: []lbconfig.Rule{{ARN: "second default", Action: forwardTo("tg")}}})
	bound := func(st lbconfig.Status) (n int) {
		for _, ls := range st.Listeners {
			if ls.Error == "" {
				n++
			}
		}
		return n
	}
	if st := p.put(s); bound(st) != 2 || len(st.Listeners) != 4 {
		t.Errorf("without a parent: %+v", st.Listeners)
	}
	p.start()
	eventually(t, "the new port is bound", func() bool {
		st, err := p.client.Status(context.Background(), 0)
		return err == nil && bound(st) == 4
	})
	if got := p.worker(); got != worker {
		t.Errorf("the worker is %d, was %d: not taken over", got, worker)
	}
	if resp, _ := raw(t, local(8001), get1("/")); resp.StatusCode != 200 {
		t.Errorf("status %d at the new port", resp.StatusCode)
	}
	l.progress(100)
	l.none(400)

	// The parent that took over has the sockets: the next worker begins with them.
	syscall.Kill(worker, syscall.SIGKILL)
	for _, port := range []uint16{8000, 8001} {
		if resp, _ := raw(t, local(port), get1("/")); resp.StatusCode != 200 {
			t.Errorf("status %d", resp.StatusCode)
		}
	}
	if p.worker() == worker {
		t.Error("no new worker")
	}
}

func TestParent_BothKilled(t *testing.T) {
	p, v := newPair(t), newVPC(t)
	target, _ := v.task(named("a"))
	p.put(v.inside(site(8000, target)))
	p.wait("tg", target, lbconfig.Healthy)
	worker := p.worker()
	p.killParent()
	syscall.Kill(worker, syscall.SIGKILL)
	eventually(t, "the worker is gone", func() bool { return proc.Start(worker) == 0 })
	p.start() // and nobody puts a snapshot
	eventually(t, "the saved snapshot is in force", func() bool {
		st, err := p.client.Status(t.Context(), 0)
		return err == nil && st.Rev == 1
	})
	if resp, _ := raw(t, local(8000), get1("/")); resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestParent_StopLeavesNothing(t *testing.T) {
	p := newPair(t)
	p.put(site(8000))
	worker := p.worker()
	if err := RunParent(t.Context(), ParentOptions{RunDir: p.dir, Command: []string{"x"}}); err == nil || !strings.Contains(err.Error(), "another") {
		t.Errorf("a second parent: %v", err)
	}
	p.stop()
	if proc.Start(worker) != 0 {
		t.Error("the worker is still there")
	}
	left, err := fs.Glob(os.DirFS(p.dir), "*")
	if err != nil || strings.Join(left, " ") != "lb snapshot.json" {
		t.Errorf("left in the run directory: %v, %v", left, err)
	}
	if _, err := net.Dial("tcp", local(8000)); err == nil {
		t.Error("the port still accepts")
	}
}

func TestParent_NamespaceMadeAnew(t *testing.T) {
	p, v := newPair(t), newVPC(t)
	target, _ := v.task(named("a"))
	p.put(v.inside(site(8000, target)))
	p.wait("tg", target, lbconfig.Healthy)
	if err := syscall.Unmount(v.path, syscall.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	namespace(t, v.path)
	st := p.put(v.inside(site(8000, target))) // its address is not there yet: tried again until it is
	if len(st.Listeners) != 2 || st.Listeners[0].Error == "" {
		t.Errorf("without the address: %+v", st.Listeners)
	}
	v.address()
	eventually(t, "the balancer listens in the new namespace", func() bool {
		c, err := dialIn(v.path, "", "10.0.0.5:8000")
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func TestParent_TakenPortNamesItsOwner(t *testing.T) {
	p := newPair(t)
	ln, err := net.Listen("tcp4", "127.0.0.1:8000")
	if err != nil {
		t.Fatal(err)
	}
	st := p.put(site(8000))
	want := fmt.Sprintf("(pid %d)", os.Getpid())
	if len(st.Listeners) != 1 || !strings.Contains(st.Listeners[0].Error, want) {
		t.Errorf("%+v lacks %s", st.Listeners, want)
	}
	ln.Close()
	if st = p.put(site(8000)); st.Listeners[0].Error != "" {
		t.Errorf("after the port got free: %+v", st.Listeners)
	}
}

// The worker gets what the saved snapshot has, and nothing else.
func TestParent_GrantsOnlyWhatTheSnapshotNames(t *testing.T) {
	needsRoot(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "snapshot.json")
	s := site(8000)
	s.Rev = 1
	if err := lbconfig.Save(path, s); err != nil {
		t.Fatal(err)
	}
	p := &parent{o: ParentOptions{SnapshotPath: path}, log: testLog(), held: map[portKey]heldSocket{}, wanted: wanted{path: path}}
	defer p.close()
	at := func(s string) portKey { return portKey{Addr: netip.MustParseAddrPort(s)} }
	for _, m := range []message{
		{Op: opListen, Port: at("127.0.0.1:8001")},
		{Op: opListen, Port: at("127.0.0.2:8000")},
		{Op: opListen, Port: portKey{Netns: "/proc/1/ns/net", Addr: netip.MustParseAddrPort("127.0.0.1:8000")}},
		{Op: opDial, Dial: dialKey{ENI: netip.MustParseAddr("127.0.0.2")}, N: 1},
		{Op: "shell"},
	} {
		if _, fds, _, err := p.grant(m); err == nil || fds != nil {
			t.Errorf("%+v was granted", m)
		}
	}
	if _, fds, _, err := p.grant(message{Op: opListen, Port: at("127.0.0.1:8000")}); err != nil || len(fds) != 1 {
		t.Errorf("the listener was not granted: %v", err)
	}
	p.grant(message{Op: opForget, Port: at("127.0.0.1:8000")})
	if len(p.held) != 1 {
		t.Error("a wanted socket was forgotten")
	}
	if err := lbconfig.Save(path, lbconfig.Snapshot{Rev: 2}); err != nil {
		t.Fatal(err)
	}
	p.grant(message{Op: opForget, Port: at("127.0.0.1:8000")})
	if len(p.held) != 0 {
		t.Error("a socket that nobody wants is kept")
	}
}

// A parent that finds a worker of another build starts its own on the same sockets, and lets the other finish.
func TestParent_ReplacesAWorkerOfAnotherBuild(t *testing.T) {
	p := newPair(t)
	p.stop()
	p.install()
	p.start()
	g := newGate(t)
	s := site(8000, g.addr)
	s.Groups[0].Health.Enabled = false
	p.put(s)
	answer := ask(8000)
	<-g.came
	old := p.worker()
	p.killParent()
	p.install()
	p.start()
	// Both listen until the old one has heard; neither refuses.
	eventually(t, "another worker", func() bool { return p.worker() != old })
	eventually(t, "the snapshot is in force", func() bool {
		st, err := p.client.Status(t.Context(), 0)
		return err == nil && st.Rev == p.rev
	})
	second := ask(8000)
	<-g.came
	g.release()
	for _, a := range []<-chan asked{answer, second} {
		if got := <-a; got.status != 200 || got.body != "done" {
			t.Errorf("answer %+v", got)
		}
	}
	eventually(t, "the old worker is gone", func() bool { return proc.Start(old) == 0 })
}

// A worker told to end finishes what is open.
func TestParent_StopFinishesRequests(t *testing.T) {
	p := newPair(t)
	g := newGate(t)
	s := site(8000, g.addr)
	s.Groups[0].Health.Enabled = false
	p.put(s)
	answer := ask(8000)
	<-g.came
	stopped := make(chan struct{})
	go func() { p.stop(); close(stopped) }()
	eventually(t, "nobody accepts", func() bool {
		c, err := net.Dial("tcp4", local(8000))
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	g.release()
	if a := <-answer; a.status != 200 {
		t.Errorf("answer %+v", a)
	}
	<-stopped
}
