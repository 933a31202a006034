package lb

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// patience is how long tests wait for what must come.
const patience = 10 * time.Second

// testEngine is the rigs' engine.
var testEngine = lbconfig.EngineStd

// rig is a worker in this process, with its control client.
type rig struct {
	t      testing.TB
	dir    string
	client *lbconfig.Client
	rev    int64
	max    int    // of connections, from the next start on
	stop   func() // ends the worker; again is harmless
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir()}
	r.start()
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *rig) start() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- RunWorker(ctx, WorkerOptions{RunDir: r.dir, SnapshotPath: filepath.Join(r.dir, "snapshot.json"),
			KeyPath: filepath.Join(r.dir, "key"), StopTimeout: time.Second, Engine: testEngine, MaxConnections: r.max, Log: testLog()})
	}()
	r.client = lbconfig.NewClient(filepath.Join(r.dir, ControlSocket))
	r.stop = func() {
		cancel()
		r.client.Close()
		if err := <-done; err != nil {
			r.t.Errorf("RunWorker: %v", err)
		}
		r.stop = func() {}
	}
	eventually(r.t, "the control socket answers", func() bool {
		_, err := r.client.Status(context.Background(), 0)
		return err == nil
	})
}

// put applies the balancers and groups with the next revision.
func (r *rig) put(s lbconfig.Snapshot) lbconfig.Status {
	r.t.Helper()
	r.rev++
	s.Rev = r.rev
	if err := lbconfig.Save(filepath.Join(r.dir, "snapshot.json"), s); err != nil {
		r.t.Fatal(err)
	}
	st, err := r.client.Put(context.Background(), s)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, l := range st.Listeners {
		if l.Error != "" {
			r.t.Fatalf("listener %s: %s", l.Addr, l.Error)
		}
	}
	return st
}

// wait waits until the target is in the state.
func (r *rig) wait(group string, addr netip.AddrPort, state string) lbconfig.TargetStatus {
	r.t.Helper()
	return waitTarget(r.t, r.client, group, addr, func(s lbconfig.TargetStatus) bool { return s.State == state })
}

func waitTarget(t testing.TB, c *lbconfig.Client, group string, addr netip.AddrPort, ok func(lbconfig.TargetStatus) bool) lbconfig.TargetStatus {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var seq int64
	var last lbconfig.TargetStatus
	for {
		st, err := c.Status(ctx, seq)
		if ctx.Err() != nil {
			t.Fatalf("target %s of %s remained %+v", addr, group, last)
		}
		if err != nil { // the worker may be on its way back
			time.Sleep(5 * time.Millisecond)
			continue
		}
		seq = st.Seq
		for _, ts := range st.Targets {
			if ts.Group == group && ts.Addr == addr {
				if last = ts; ok(ts) {
					return ts
				}
			}
		}
	}
}

// needsPools skips a test of allocations under the race detector, with which sync.Pool drops what it is given.
func needsPools(t *testing.T) {
	t.Helper()
	if b, ok := debug.ReadBuildInfo(); ok && slices.Contains(b.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector empties pools")
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func testLog() *slog.Logger {
	if os.Getenv("LB_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

// nextPort counts below the range that connections choose from.
var nextPort atomic.Uint32

// freePort is a port of 127.0.0.1 that nobody has.
func freePort(t testing.TB) uint16 {
	t.Helper()
	for {
		port := uint16(10000 + (uint32(os.Getpid())*31+nextPort.Add(1))%20000)
		ln, err := net.Listen("tcp4", local(port))
		if err == nil {
			ln.Close()
			return port
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
}

// backend is a target on 127.0.0.1.
func backend(t testing.TB, h http.Handler) netip.AddrPort {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

// named answers with its name, to health checks too.
func named(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, name) })
}

// holder is a target that holds requests, but not checks, until it is released, at the latest when the test ends.
type holder struct {
	addr          netip.AddrPort
	arrived, free chan struct{}
	release       func()
}

func newHolder(t testing.TB) *holder {
	h := &holder{arrived: make(chan struct{}, 64), free: make(chan struct{})}
	h.release = sync.OnceFunc(func() { close(h.free) })
	h.addr = backend(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/health" {
			h.arrived <- struct{}{}
			<-h.free
		}
		io.WriteString(w, "held")
	}))
	t.Cleanup(h.release) // before the server waits for them
	return h
}

var loopback = netip.MustParseAddr("127.0.0.1")

// site is one balancer at 127.0.0.1 whose only listener forwards to the group "tg".
func site(port uint16, targets ...netip.AddrPort) lbconfig.Snapshot {
	return lbconfig.Snapshot{
		Balancers: []lbconfig.Balancer{{ARN: "lb", Name: "lb", DNSName: "lb-1.elb.localhost", Scheme: "internal", ENIs: []netip.Addr{loopback},
			Listeners: []lbconfig.Listener{{ARN: "listener", Port: port, Rules: []lbconfig.Rule{{ARN: "default", Action: forwardTo("tg")}}}}}},
		Groups: []lbconfig.TargetGroup{groupOf("tg", targets...)},
	}
}

func forwardTo(groups ...string) lbconfig.Action {
	a := lbconfig.Action{Type: lbconfig.Forward}
	for _, g := range groups {
		a.Groups = append(a.Groups, lbconfig.Weighted{ARN: g, Weight: 1})
	}
	return a
}

// began is when all targets of the tests were registered.
var began = time.Now().Add(-time.Minute)

func groupOf(arn string, targets ...netip.AddrPort) lbconfig.TargetGroup {
	g := lbconfig.TargetGroup{ARN: arn, Name: arn, Deregistration: 5 * time.Minute,
		Health: lbconfig.HealthCheck{Enabled: true, Protocol: "HTTP", Port: "traffic-port", Path: "/health", Matcher: "200",
			Interval: 10 * time.Second, Timeout: time.Second, Healthy: 5, Unhealthy: 2}}
	for _, a := range targets {
		g.Targets = append(g.Targets, lbconfig.Target{Addr: a, Since: began})
	}
	return g
}

// raw sends the bytes on a new connection and reads one answer, with its body.
func raw(t testing.TB, addr, request string) (*http.Response, string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	return readAnswer(t, bufio.NewReader(c))
}

func readAnswer(t testing.TB, r *bufio.Reader) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	return resp, string(body)
}

func get1(path string, headers ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: example.com\r\n" + strings.Join(append(headers, ""), "\r\n") + "\r\n"
}

// parse is the request as the server would hand it over.
func parse(t testing.TB, request string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(request)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func local(port uint16) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// zeroHandler answers with so many bytes.
func zeroHandler(size int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.CopyN(w, zeros{}, size) })
}

var noKeepAlive = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
