package fabric

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
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/lotse-project/lotse/internal/linklocal"
	"github.com/lotse-project/lotse/internal/network"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// As root, the tests run in a network and mount namespace of their own: that is "the host". No
// packet can leave the machine and nothing is left behind.
const childVariable = "LOTSE_FABRIC_TEST"

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	if os.Getenv(childVariable) == "" {
		c := exec.Command("/proc/self/exe", os.Args[1:]...)
		c.Env = append(os.Environ(), childVariable+"=1")
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
		if err := c.Run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
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
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo)
}

// lab is a controller with the real network and the real resolver.
type lab struct {
	*bench
	m *network.Manager
}

func newLab(t *testing.T) *lab {
	t.Helper()
	needsRoot(t)
	l := &lab{bench: newBench(t)}
	dir := filepath.Join(t.TempDir(), "fabric")
	m, err := network.New(network.Options{RunDir: dir, ID: "fabric"})
	if err != nil {
		t.Fatal(err)
	}
	file, socket := filepath.Join(dir, "names.json"), filepath.Join(dir, "net.sock")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- linklocal.Run(ctx, linklocal.Options{Snapshot: file, Socket: socket, Control: network.Control})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := m.RemoveAll(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for range 100 {
		if exists(socket) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	l.m = m
	l.Controller = New(Options{DB: l.db, Net: m, Names: func(ctx context.Context, s linklocal.Snapshot) error {
		if err := s.Write(file); err != nil {
			return err
		}
		return linklocal.Reload(ctx, socket)
	}})
	return l
}

func (l *lab) group(vpc, id string, in ...state.SecurityGroupRule) {
	l.t.Helper()
	l.update(func(tx *store.WriteTx) error {
		o, err := state.SecurityGroups.Get(tx, testScope.Key(id))
		if err != nil {
			o.Val = state.SecurityGroup{Scope: testScope, ID: id, VPC: vpc, Name: id, Egress: []state.SecurityGroupRule{state.AllEgress()}}
		}
		o.Val.Ingress = in
		return state.SecurityGroups.Put(tx, &o)
	})
}

func (l *lab) member(sn state.Subnet, group, task string) state.NetworkInterface {
	l.t.Helper()
	var e state.NetworkInterface
	l.update(func(tx *store.WriteTx) (err error) {
		e, err = state.NewInterface(tx, state.NewInterfaceInput{Scope: testScope, Subnet: sn.ID, Groups: []string{group}, Task: task, Cluster: "main"})
		return err
	})
	return e
}

// reaches tries a connection from a namespace, bound to an address there ("" for any).
func (l *lab) reaches(netns, from, to string, port int) bool {
	l.t.Helper()
	d := net.Dialer{Timeout: 300 * time.Millisecond, Control: network.Control(netns)}
	d.SetMultipathTCP(false)
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	c, err := d.DialContext(l.t.Context(), "tcp4", netip.AddrPortFrom(addr(to), uint16(port)).String())
	if err != nil {
		return false
	}
	c.Close()
	return true
}

func TestRoot_RecordsBecomeANetwork(t *testing.T) {
	l := newLab(t)
	sn := l.subnet(testScope)
	l.group(sn.VPC, "sg-lb")
	fromLB := state.SecurityGroupRule{ID: "sgr-1", Protocol: "tcp", From: 8080, To: 8080, Group: "sg-lb"}
	l.group(sn.VPC, "sg-web", fromLB)
	lb, web, other := l.member(sn, "sg-lb", ""), l.member(sn, "sg-web", "t1"), l.member(sn, "sg-web", "t2")
	l.update(func(tx *store.WriteTx) error {
		b := state.LoadBalancer{Scope: testScope, Name: "app", ID: "0", DNSName: "app-1.eu-west-1.elb.localhost", VPC: sn.VPC, ENIs: []string{lb.ID}}
		if err := state.LoadBalancers.Put(tx, &store.Object[state.LoadBalancer]{Key: b.Key(), Val: b}); err != nil {
			return err
		}
		tk := state.Task{Scope: testScope, ID: "t1", Cluster: "main", TaskDefinitionARN: "arn:aws:ecs:eu-west-1:000000000000:task-definition/web:7"}
		if err := state.Tasks.Put(tx, &store.Object[state.Task]{Key: tk.Key(), Val: tk}); err != nil {
			return err
		}
		st := state.TaskStatus{LastStatus: "PENDING", Containers: []state.ContainerStatus{{Name: "app"}}}
		return state.TaskStatuses.Put(tx, &store.Object[state.TaskStatus]{Key: tk.Key(), Val: st})
	})
	l.apply(sn)

	lc := net.ListenConfig{Control: network.Control(l.m.TaskNetns("t1"))}
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(t.Context(), "tcp4", "0.0.0.0:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	router, t2 := l.m.VPCNetns(sn.VPC), l.m.TaskNetns("t2")
	if !l.reaches(router, lb.Address, web.Address, 8080) {
		t.Error("the balancer does not reach the task")
	}
	if l.reaches(t2, "", web.Address, 8080) {
		t.Error("a task of no admitted group reaches the task")
	}
	l.group(sn.VPC, "sg-web", fromLB, state.SecurityGroupRule{ID: "sgr-2", Protocol: "tcp", From: 8080, To: 8080, Group: "sg-web"})
	l.apply(sn)
	if !l.reaches(t2, "", web.Address, 8080) {
		t.Error("a task of an admitted group does not reach the task")
	}
	l.askNames(other, lb, sn)
	l.askMetadata(sn)

	l.update(func(tx *store.WriteTx) error { return state.ReleaseInterface(tx, testScope, web.ID) })
	l.apply(sn)
	if exists(l.m.TaskNetns("t1")) || !exists(t2) {
		t.Error("the released task's namespace is there, or another's went")
	}
}

// askNames resolves the balancer's names from within a task.
func (l *lab) askNames(e, lb state.NetworkInterface, sn state.Subnet) {
	l.t.Helper()
	for _, name := range []string{"app-1.eu-west-1.elb.localhost.", "APP-1.eu-west-1.elb.amazonaws.com.", state.PrivateDNSName("eu-west-1", lb.Address) + "."} {
		d := net.Dialer{Timeout: time.Second, Control: network.Control(l.m.TaskNetns(e.Task))}
		c := dns.Client{Dialer: &d, Net: "udp4"}
		q := new(dns.Msg)
		q.SetQuestion(name, dns.TypeA)
		a, _, err := c.ExchangeContext(l.t.Context(), q, "10.0.0.2:53")
		if err != nil || len(a.Answer) != 1 || !strings.HasSuffix(a.Answer[0].String(), lb.Address) {
			l.t.Errorf("%s: %v, %v, want %s", name, a, err, lb.Address)
		}
	}
}

// askMetadata asks as the task's container would, before it is known to run.
func (l *lab) askMetadata(sn state.Subnet) {
	l.t.Helper()
	d := net.Dialer{Timeout: time.Second, Control: network.Control(l.m.TaskNetns("t1"))}
	d.SetMultipathTCP(false)
	hc := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, a string) (net.Conn, error) {
		return d.DialContext(ctx, "tcp4", a)
	}}}
	r, err := hc.Get("http://169.254.170.2/v4/" + runtimeID("t1", state.ContainerStatus{Name: "app"}) + "/task")
	if err != nil {
		l.t.Error(err)
		return
	}
	defer r.Body.Close()
	var m linklocal.TaskMetadata
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil || m.Family != "web" || m.VPCID != sn.VPC {
		l.t.Errorf("metadata = %+v, %v", m, err)
	}
}
