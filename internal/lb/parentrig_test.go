package lb

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

func needsRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("needs root")
	}
}

// pair is a parent with its worker, processes of their own.
type pair struct {
	t      testing.TB
	dir    string
	client *lbconfig.Client
	rev    int64
	parent *exec.Cmd // nil when it is not running
	exe    string    // "" is this program
	dies   string    // the step of a take-over at which the next parent is killed; it is not waited for
}

func newPair(t testing.TB) *pair {
	t.Helper()
	needsRoot(t)
	dir, err := os.MkdirTemp("", "lb") // a short path, for the sockets
	if err != nil {
		t.Fatal(err)
	}
	p := &pair{t: t, dir: dir, client: lbconfig.NewClient(filepath.Join(dir, ControlSocket))}
	t.Cleanup(func() {
		p.client.Close()
		p.stop()
		endLeftover(filepath.Join(dir, WorkerPIDFile))
		os.RemoveAll(dir)
	})
	p.start()
	return p
}

func (p *pair) start() {
	p.t.Helper()
	exe := p.exe
	if exe == "" {
		var err error
		if exe, err = os.Executable(); err != nil {
			p.t.Fatal(err)
		}
	}
	c := exec.Command(exe)
	c.Env = append(os.Environ(), roleEnv+"=parent", "LB_TEST_DIR="+p.dir, "LB_TEST_SECRET=1", "LB_TEST_DIES="+p.dies)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Start(); err != nil {
		p.t.Fatal(err)
	}
	if p.dies != "" {
		if err := c.Wait(); err == nil || c.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			p.t.Fatalf("the parent that is to die at %q: %v", p.dies, err)
		}
		return
	}
	p.parent = c
	eventually(p.t, "the control socket answers", func() bool {
		_, err := p.client.Status(context.Background(), 0)
		return err == nil
	})
}

// stop ends the parent as the control plane does.
func (p *pair) stop() {
	p.t.Helper()
	if p.parent != nil {
		p.parent.Process.Signal(syscall.SIGTERM)
		if err := p.parent.Wait(); err != nil {
			p.t.Errorf("parent: %v", err)
		}
		p.parent = nil
	}
}

func (p *pair) killParent() {
	p.t.Helper()
	p.parent.Process.Kill()
	p.parent.Wait()
	p.parent = nil
}

// worker is the number of the worker.
func (p *pair) worker() int {
	p.t.Helper()
	var f pidFile
	eventually(p.t, "the worker is noted", func() bool { // which it is after it was started, and may answer before
		data, err := os.ReadFile(filepath.Join(p.dir, WorkerPIDFile))
		return err == nil && json.Unmarshal(data, &f) == nil
	})
	return f.PID
}

// save writes the snapshot down, as the control plane does before it tells the balancer.
func (p *pair) save(s lbconfig.Snapshot) lbconfig.Snapshot {
	p.t.Helper()
	p.rev++
	s.Rev = p.rev
	if err := lbconfig.Save(filepath.Join(p.dir, "snapshot.json"), s); err != nil {
		p.t.Fatal(err)
	}
	return s
}

func (p *pair) put(s lbconfig.Snapshot) lbconfig.Status {
	p.t.Helper()
	st, err := p.client.Put(context.Background(), p.save(s))
	if err != nil {
		p.t.Fatal(err)
	}
	return st
}

func (p *pair) wait(group string, addr netip.AddrPort, state string) lbconfig.TargetStatus {
	p.t.Helper()
	return waitTarget(p.t, p.client, group, addr, func(s lbconfig.TargetStatus) bool { return s.State == state })
}

// namespace makes a network namespace pinned at a path of the test's.
func namespace(t testing.TB, path string) string {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	errs := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = loopbackUp()
		}
		if err == nil {
			err = unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
		}
		errs <- err
	}()
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
	return path
}

// ip runs commands of iproute2 inside the namespace at path.
func ip(t testing.TB, path string, commands ...string) {
	t.Helper()
	tool, err := exec.LookPath("ip")
	if err != nil {
		t.Skip("needs iproute2")
	}
	for _, c := range commands {
		if _, err := inNamespace(path, func() error {
			out, err := exec.Command(tool, strings.Fields(c)...).CombinedOutput()
			if err != nil {
				return fmt.Errorf("ip %s: %w: %s", c, err, out)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// vpc is a namespace with a balancer's address on lo, 10.0.0.5, and tasks 10.0.1.N routed to it.
type vpc struct {
	t    testing.TB
	path string
	n    int
}

var eni = netip.MustParseAddr("10.0.0.5")

func newVPC(t testing.TB) *vpc {
	t.Helper()
	needsRoot(t)
	v := &vpc{t: t, path: namespace(t, filepath.Join(t.TempDir(), "vpc"))}
	v.address()
	return v
}

func (v *vpc) address() {
	ip(v.t, v.path, "addr add 10.0.0.1/32 dev lo", "addr add "+eni.String()+"/32 dev lo")
}

// task makes a namespace joined to the VPC's and serves there.
func (v *vpc) task(h http.Handler) (addr netip.AddrPort, path string) {
	v.t.Helper()
	v.n++
	path = namespace(v.t, fmt.Sprintf("%s-task%d", v.path, v.n))
	a := fmt.Sprintf("10.0.1.%d", v.n)
	dev := fmt.Sprintf("t%d", v.n)
	ip(v.t, v.path, "link add "+dev+" type veth peer name eth0 netns "+path, "link set "+dev+" up", "route add "+a+" dev "+dev)
	ip(v.t, path, "addr add "+a+"/32 dev eth0", "link set eth0 up", "route add 10.0.0.0/16 dev eth0 src "+a)
	addr = netip.MustParseAddrPort(a + ":80")
	var ln net.Listener
	if _, err := inNamespace(path, func() (err error) {
		ln, err = net.Listen("tcp4", addr.String())
		return err
	}); err != nil {
		v.t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	go s.Serve(ln)
	v.t.Cleanup(func() { s.Close() })
	return addr, path
}

// inside is the site with its balancer in the VPC too.
func (v *vpc) inside(s lbconfig.Snapshot) lbconfig.Snapshot {
	b := &s.Balancers[0]
	b.Public, b.ENIs, b.Netns = b.ENIs, []netip.Addr{eni}, v.path
	b.Ingress = []lbconfig.Allow{{From: netip.MustParsePrefix("127.0.0.0/8"), Hi: 65535}}
	return s
}

// dialIn connects from inside a namespace, from an address.
func dialIn(path, from, to string) (net.Conn, error) {
	var c net.Conn
	_, err := inNamespace(path, func() error {
		d := net.Dialer{Timeout: 2 * time.Second}
		if from != "" {
			d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
		}
		var err error
		c, err = d.Dial("tcp4", to)
		return err
	})
	return c, err
}

// remotes collects where requests come from.
type remotes struct {
	mu   sync.Mutex
	seen map[string]int // address → requests
}

func (r *remotes) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	host, _, _ := net.SplitHostPort(req.RemoteAddr)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[string]int{}
	}
	r.seen[host]++
}
