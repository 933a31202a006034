package lb

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
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
	load    func(b *testing.B, c course, port uint16, d time.Duration) measured // nil: wrk
	path    string
	clients int
	round   time.Duration // 0: a second
	fresh   bool          // a connection for each request
	secure  bool
	tickets bool // of TLS sessions
	upgrade bool // to WebSocket
	rules   int  // that don't match, before the one that does
	targets int
	logs    bool // the access log
	idle    int  // open connections, for which the memory is measured; no load
}

var courses = []course{
	{name: "64 clients", clients: 64},
	{name: "1000 clients", clients: 1000, round: 2 * time.Second}, // to connect takes a part of it
	{name: "5000 clients", clients: 5000, round: 4 * time.Second},
	{name: "1 MiB", clients: 16, path: "/large"},
	{name: "new connections", clients: 64, fresh: true},
	{name: "TLS 64 clients", clients: 64, secure: true},
	{name: "TLS 1 MiB", clients: 16, path: "/large", secure: true},
	{name: "TLS new connections", clients: 64, fresh: true, secure: true},
	{name: "TLS resumed connections", clients: 16, secure: true, tickets: true, load: resuming},
	{name: "HTTP2", clients: 64, secure: true, load: h2load},
	{name: "WebSocket messages", clients: 64, upgrade: true, load: echoing},
	{name: "100 rules", clients: 64, rules: 100},
	{name: "200 targets", clients: 64, targets: 200},
	{name: "access log", clients: 64, logs: true},
	{name: "idle connections", idle: 5000},
}

// contestant starts a proxy on proxyCore that serves the course at the port, and returns its processes; none when it
// does not take part.
type contestant struct {
	name  string
	start func(b *testing.B, c course, port uint16, targets []netip.AddrPort) (pids []int)
}

// runner is a contestant in a course.
type runner struct {
	contestant
	port uint16
	pids []int
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
	{"caddy", startCaddy},
	{"ReverseProxy", startReverseProxy},
}

// BenchmarkCompare puts the engines beside nginx, HAProxy, Caddy and Go's ReverseProxy, those that are installed or named
// in LOTSE_BENCH_PROXIES (nginx,haproxy): in rounds of a second or more, as many as -benchtime says, since machines differ,
// and the same one from second to second. wrk makes most of the load. At the end there is a table of medians.
func BenchmarkCompare(b *testing.B) {
	needsRoot(b)
	if _, err := exec.LookPath("wrk"); err != nil {
		b.Skip("needs wrk")
	}
	if runtime.NumCPU() < 2 {
		b.Skip("needs two processors")
	}
	stayOn(b, loadCore)
	var rows []row
	for _, c := range courses {
		b.Run(c.name, func(b *testing.B) {
			if r := c.run(b); len(r.of) > 0 {
				rows = append(rows, r)
			}
			b.ReportMetric(0, "ns/op") // of all together; see the table
		})
	}
	fmt.Print(comparison(rows))
}

// run has the contestants take turns.
func (c course) run(b *testing.B) row {
	addr := bareTarget(b, "0.0.0.0:0")
	var targets []netip.AddrPort
	for i := range cmp.Or(c.targets, 2) {
		targets = append(targets, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 1)}), addr.Port()))
	}
	load, round := c.load, cmp.Or(c.round, time.Second)
	if load == nil {
		load = wrk
	}
	var all []runner
	only := strings.Split(os.Getenv("LOTSE_BENCH_PROXIES"), ",")
	for _, p := range contestants {
		if only[0] != "" && !slices.Contains(only, p.name) {
			continue
		}
		r := runner{contestant: p, port: freePort(b)}
		if r.pids = p.start(b, c, r.port, targets); r.pids == nil {
			continue
		}
		if all = append(all, r); c.idle == 0 {
			load(b, c, r.port, round) // connections to targets, and what is learnt
		}
	}
	out := row{course: c.name, of: map[string][]measured{}}
	for b.Loop() {
		for _, r := range all {
			var m measured
			if c.idle > 0 {
				m = c.hold(b, r.port, r.pids)
			} else {
				cpu := cpuTime(b, r.pids)
				m = load(b, c, r.port, round)
				m.cpu = float64((cpuTime(b, r.pids) - cpu).Microseconds()) / max(m.requests, 1)
			}
			out.of[r.name] = append(out.of[r.name], m)
		}
	}
	return out
}

func (c course) url(port uint16) string {
	scheme := "http"
	if c.secure {
		scheme = "https"
	}
	return scheme + "://" + local(port) + cmp.Or(c.path, "/index.html")
}

// hold opens connections, sends a request on each and reports what each takes of the memory.
func (c course) hold(b *testing.B, port uint16, pids []int) measured {
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
	return measured{memory: float64(memoryOf(b, pids)-before) / float64(c.idle)}
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
