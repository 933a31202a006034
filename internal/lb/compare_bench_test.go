package lb

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// The comparison gives the proxy the first processor, and the load and the targets the second.
const (
	proxyCore = 0
	loadCore  = 1
)

// course is one row of the comparison: what is configured, and what is asked.
type course struct {
	name    string
	path    string
	clients int
	fresh   bool // a connection for each request
	secure  bool
	rules   int // that don't match, before the one that does
	targets int
	logs    bool // the access log
	idle    int  // open connections, for which the memory is measured; no load
}

var courses = []course{
	{name: "64 clients", clients: 64},
	{name: "1000 clients", clients: 1000},
	{name: "1 MiB", clients: 16, path: "/large"},
	{name: "new connections", clients: 64, fresh: true},
	{name: "TLS 64 clients", clients: 64, secure: true},
	{name: "TLS 1 MiB", clients: 16, path: "/large", secure: true},
	{name: "TLS new connections", clients: 64, fresh: true, secure: true},
	{name: "100 rules", clients: 64, rules: 100},
	{name: "200 targets", clients: 64, targets: 200},
	{name: "access log", clients: 64, logs: true},
	{name: "idle connections", idle: 2000},
}

// contestant starts a proxy on proxyCore that serves the course at the port, and returns its processes. It is not there
// when it is not installed.
type contestant struct {
	name  string
	start func(b *testing.B, c course, port uint16, targets []netip.AddrPort) (pids []int)
}

var contestants = []contestant{
	{"lotse-std", func(b *testing.B, c course, port uint16, targets []netip.AddrPort) []int {
		return startLotse(b, lbconfig.EngineStd, c, port, targets)
	}},
	{"lotse-fast", func(b *testing.B, c course, port uint16, targets []netip.AddrPort) []int {
		return startLotse(b, lbconfig.EngineFast, c, port, targets)
	}},
	{"nginx", startNginx},
	{"haproxy", startHAProxy},
	{"ReverseProxy", startReverseProxy},
}

// BenchmarkCompare puts the engines beside nginx, HAProxy and Go's ReverseProxy: everything in one run, since machines
// differ, and the same one from hour to hour. wrk makes the load.
func BenchmarkCompare(b *testing.B) {
	needsRoot(b)
	if _, err := exec.LookPath("wrk"); err != nil {
		b.Skip("needs wrk")
	}
	if runtime.NumCPU() < 2 {
		b.Skip("needs two processors")
	}
	stayOn(b, loadCore)
	for _, c := range courses {
		for _, p := range contestants {
			b.Run(c.name+"/"+p.name, func(b *testing.B) { c.run(b, p) })
		}
	}
}

func (c course) run(b *testing.B, p contestant) {
	addr, port := bareTarget(b, "0.0.0.0:0"), freePort(b)
	var targets []netip.AddrPort
	for i := range cmp.Or(c.targets, 2) {
		targets = append(targets, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 1)}), addr.Port()))
	}
	pids := p.start(b, c, port, targets)
	scheme := "http"
	if c.secure {
		scheme = "https"
	}
	at := scheme + "://" + local(port) + cmp.Or(c.path, "/index.html")
	for b.Loop() {
		if c.idle > 0 {
			c.hold(b, port, pids)
			continue
		}
		wrk(b, at, c, "1s")
		cpu := cpuTime(b, pids)
		r := wrk(b, at, c, "3s")
		b.ReportMetric(float64((cpuTime(b, pids)-cpu).Microseconds())/float64(max(r.requests, 1)), "cpu-µs/request")
		b.ReportMetric(r.perSecond, "requests/s")
		b.ReportMetric(r.p50, "p50-µs")
		b.ReportMetric(r.p99, "p99-µs")
		b.ReportMetric(r.p999, "p99.9-µs")
		b.ReportMetric(r.wrong, "wrong")
	}
	b.ReportMetric(0, "ns/op")
}

// hold opens connections, sends a request on each and reports what each takes of the memory.
func (c course) hold(b *testing.B, port uint16, pids []int) {
	before := memoryOf(b, pids)
	conns := make([]net.Conn, c.idle)
	for i := range conns {
		var err error
		if conns[i], err = net.Dial("tcp4", local(port)); err != nil {
			b.Fatal(err)
		}
		defer conns[i].Close()
		conns[i].Write([]byte(get1("/index.html")))
		if _, err := conns[i].Read(make([]byte, 4096)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(memoryOf(b, pids)-before)/float64(c.idle), "bytes/connection")
}

// wrkResult is what wrk measured; times are in µs.
type wrkResult struct {
	requests, perSecond, p50, p99, p999, wrong float64
}

// wrk asks again and again on one thread.
func wrk(b *testing.B, url string, c course, d string) (r wrkResult) {
	b.Helper()
	script := filepath.Join(b.TempDir(), "done.lua")
	if err := os.WriteFile(script, []byte(`done = function(s, latency, requests)
  local e = s.errors
  io.write(string.format("RESULT %d %f %f %f %f %d\n", s.requests, s.requests / s.duration * 1e6, latency:percentile(50), latency:percentile(99),
    latency:percentile(99.9), e.connect + e.read + e.write + e.status + e.timeout))
end`), 0o600); err != nil {
		b.Fatal(err)
	}
	args := []string{"-t1", "-c" + strconv.Itoa(c.clients), "-d" + d, "-s", script, "-H", "Host: www.example.com"}
	if c.fresh {
		args = append(args, "-H", "Connection: close")
	}
	out, err := exec.Command("wrk", append(args, url)...).CombinedOutput()
	if err != nil {
		b.Fatalf("wrk: %v: %s", err, out)
	}
	_, line, _ := strings.Cut(string(out), "RESULT ")
	if n, _ := fmt.Sscan(line, &r.requests, &r.perSecond, &r.p50, &r.p99, &r.p999, &r.wrong); n != 6 {
		b.Fatalf("wrk says %s", out)
	}
	return r
}

// stayOn keeps this process, and those it starts, on one processor.
func stayOn(b *testing.B, core int) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		b.Fatal(err)
	}
	procs := runtime.GOMAXPROCS(1)
	pinThreads(b, oneCore(core))
	b.Cleanup(func() {
		pinThreads(b, &all)
		runtime.GOMAXPROCS(procs)
	})
}

func oneCore(core int) *unix.CPUSet {
	var set unix.CPUSet
	set.Set(core)
	return &set
}

func pinThreads(b *testing.B, set *unix.CPUSet) {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		b.Fatal(err)
	}
	for _, t := range threads {
		id, _ := strconv.Atoi(t.Name())
		if err := unix.SchedSetaffinity(id, set); err != nil && err != unix.ESRCH {
			b.Fatal(err)
		}
	}
}

// onProxyCore has whatever process start starts stay there.
func onProxyCore(b *testing.B, start func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.SchedSetaffinity(0, oneCore(proxyCore)); err != nil {
		b.Fatal(err)
	}
	defer unix.SchedSetaffinity(0, oneCore(loadCore))
	start()
}

// launch starts a proxy of its own on proxyCore, and waits until it listens.
func launch(b *testing.B, port uint16, cmd *exec.Cmd) {
	b.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	var err error
	if onProxyCore(b, func() { err = cmd.Start() }); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if b.Failed() {
			b.Log(out.String())
		}
	})
	eventually(b, cmd.Path+" listens", func() bool {
		conn, err := net.Dial("tcp4", local(port))
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func startLotse(b *testing.B, engine string, c course, port uint16, targets []netip.AddrPort) []int {
	b.Setenv("LB_TEST_ENGINE", engine)
	var p *pair
	onProxyCore(b, func() { p = newPair(b) })
	s := site(port, targets...)
	s.Groups[0].Health.Enabled = false
	s.Balancers[0].AccessLogs = c.logs
	l := &s.Balancers[0].Listeners[0]
	for i := range c.rules {
		l.Rules = append([]lbconfig.Rule{{ARN: fmt.Sprint("rule-", i), Priority: i + 1, Conditions: paths(rulePath(i)), Action: forwardTo("tg")}}, l.Rules...)
	}
	if c.secure {
		s = secure(s, newTestPair(b, nil, "www.example.com").sealed(b, p.dir, "cert"))
		p.stop() // the next parent has the key
		onProxyCore(b, p.start)
	}
	p.put(s)
	return []int{p.worker()}
}

func rulePath(i int) string { return fmt.Sprintf("/service%d/*", i) }

// installed is the program's path. Without the program, the contestant does not take part.
func installed(b *testing.B, name string) string {
	b.Helper()
	bin, err := exec.LookPath(name)
	if err != nil {
		b.Skipf("%s is not installed", name)
	}
	return bin
}

func startNginx(b *testing.B, c course, port uint16, targets []netip.AddrPort) []int {
	bin, dir := installed(b, "nginx"), b.TempDir()
	var servers, locations, tls strings.Builder
	for _, t := range targets {
		fmt.Fprintf(&servers, "server %s; ", t)
	}
	const pass = `proxy_pass http://t; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;`
	for i := range c.rules { // a prefix would be found in a tree; AWS's patterns are tried in turn
		fmt.Fprintf(&locations, "location ~ ^/service%d/ { %s }\n", i, pass)
	}
	log, secure := "off", ""
	if c.logs {
		log = dir + "/access.log combined buffer=64k"
	}
	if c.secure {
		secure = " ssl"
		fmt.Fprintf(&tls, "ssl_protocols TLSv1.3; ssl_certificate %[1]s; ssl_certificate_key %[1]s;", certificateFile(b, dir))
	}
	file := filepath.Join(dir, "nginx.conf")
	conf := fmt.Sprintf(`daemon off; pid %[1]s/pid; error_log stderr crit; worker_processes 1; worker_rlimit_nofile 20000;
events { worker_connections 8192; }
http { access_log %[2]s; keepalive_requests 1000000000; client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
proxy_max_temp_file_size 0; proxy_buffers 8 64k;
upstream t { %[3]s keepalive 1024; keepalive_requests 1000000000; }
server { listen 127.0.0.1:%[4]d%[5]s backlog=4096; %[6]s
%[7]s
location / { %[8]s } } }`, dir, log, &servers, port, secure, &tls, &locations, pass)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(bin, "-p", dir, "-c", file)
	launch(b, port, cmd)
	worker := 0
	eventually(b, "nginx has a worker", func() bool {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", cmd.Process.Pid))
		worker, _ = strconv.Atoi(strings.TrimSpace(string(children)))
		return worker != 0
	})
	return []int{worker}
}

func startHAProxy(b *testing.B, c course, port uint16, targets []netip.AddrPort) []int {
	if c.logs {
		b.Skip("it logs over the network only")
	}
	bin, dir := installed(b, "haproxy"), b.TempDir()
	var conf strings.Builder
	tls := ""
	if c.secure {
		tls = " ssl crt " + certificateFile(b, dir) + " ssl-min-ver TLSv1.3"
	}
	fmt.Fprintf(&conf, `global
  nbthread 1
  maxconn 4000
  ssl-default-bind-options no-tls-tickets
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option http-keep-alive
  option splice-auto
  http-reuse always
frontend f
  bind 127.0.0.1:%d%s backlog 4096
  option forwardfor
  http-request set-header X-Forwarded-Proto http
`, port, tls)
	for i := range c.rules {
		fmt.Fprintf(&conf, "  use_backend t if { path_beg /service%d/ }\n", i)
	}
	conf.WriteString("  default_backend t\nbackend t\n  balance roundrobin\n")
	for i, t := range targets {
		fmt.Fprintf(&conf, "  server s%d %s\n", i, t)
	}
	file := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(bin, "-db", "-f", file)
	launch(b, port, cmd)
	return []int{cmd.Process.Pid}
}

// startReverseProxy is httputil.ReverseProxy as its documentation has it, with enough idle connections.
func startReverseProxy(b *testing.B, c course, port uint16, targets []netip.AddrPort) []int {
	if c.secure || c.rules > 0 || c.logs {
		b.Skip("it has none")
	}
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), roleEnv+"=reverseproxy", "LB_TEST_LISTEN="+local(port), fmt.Sprint("LB_TEST_TARGETS=", targets))
	launch(b, port, cmd)
	return []int{cmd.Process.Pid}
}

// reverseProxy is the process that startReverseProxy starts.
func reverseProxy(ctx context.Context, listen, targets string) error {
	var to []*url.URL
	for _, t := range strings.Fields(strings.Trim(targets, "[]")) {
		to = append(to, &url.URL{Scheme: "http", Host: t})
	}
	next := 0
	turn := make(chan *url.URL, 1024)
	go func() {
		for ; ; next++ {
			turn <- to[next%len(to)]
		}
	}()
	s := &http.Server{Addr: listen, Handler: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(<-turn)
			r.SetXForwarded()
		},
		Transport:  &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true},
		BufferPool: &buffers{},
	}}
	defer context.AfterFunc(ctx, func() { s.Close() })()
	if err := s.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// certificateFile holds a new certificate and its key.
func certificateFile(b *testing.B, dir string) string {
	path := filepath.Join(dir, "cert.pem")
	if err := os.WriteFile(path, newTestPair(b, nil, "www.example.com").pem(b), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

// memoryOf is the resident memory of the processes, in bytes.
func memoryOf(b *testing.B, pids []int) (sum int64) {
	time.Sleep(500 * time.Millisecond) // what is freed late
	for _, pid := range pids {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			b.Fatal(err)
		}
		_, line, _ := strings.Cut(string(data), "VmRSS:")
		var kb int64
		fmt.Sscan(line, &kb)
		sum += kb << 10
	}
	return sum
}
