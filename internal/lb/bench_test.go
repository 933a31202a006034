package lb

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

const (
	benchAnswer  = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n"
	benchClients = 64
)

// bareTarget answers every request with 100 bytes, or 1 MiB on /large, and as little work as can be: it looks for empty
// lines.
func bareTarget(b testing.TB, at string) netip.AddrPort {
	ln, err := net.Listen("tcp4", at)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ln.Close() })
	answer := []byte(benchAnswer + strings.Repeat("x", 100))
	large := []byte(strings.Replace(benchAnswer, "100", strconv.Itoa(1<<20), 1) + strings.Repeat("x", 1<<20))
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for buf, n := make([]byte, 64<<10), 0; ; {
					m, err := c.Read(buf[n:])
					if err != nil {
						return
					}
					if n += m; bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
						end := n
						n = 0
						if bytes.Contains(bytes.ToLower(buf[:end]), []byte("\r\nupgrade:")) {
							io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
							io.Copy(c, c)
							return
						}
						if bytes.HasPrefix(buf, []byte("GET /large ")) {
							c.Write(large)
						} else {
							c.Write(answer)
						}
					}
				}
			}()
		}
	}()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// drive sends b.N requests from benchClients connections, or with a connection for each, and reports requests a second
// and the processor time that the processes took for each.
func drive(b *testing.B, addr string, keep bool, pids ...int) {
	request := []byte("GET /index.html HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: bench/1\r\nAccept: */*\r\n\r\n")
	if !keep {
		request = bytes.Replace(request, []byte("Accept"), []byte("Connection: close\r\nAccept"), 1)
	}
	b.SetParallelism(benchClients)
	cpu := cpuTime(b, pids)
	b.ResetTimer()
	began := time.Now()
	b.RunParallel(func(pb *testing.PB) {
		var c net.Conn
		var br *bufio.Reader
		for pb.Next() {
			if c == nil {
				var err error
				if c, err = net.Dial("tcp4", addr); err != nil {
					b.Error(err)
					return
				}
				br = bufio.NewReader(c)
			}
			c.Write(request)
			if err := readBare(br); err != nil {
				b.Error(err)
				return
			}
			if !keep {
				c.Close()
				c = nil
			}
		}
		if c != nil {
			c.Close()
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "requests/s")
	b.ReportMetric(float64((cpuTime(b, pids)-cpu).Microseconds())/float64(b.N), "cpu-µs/request")
}

// readBare reads an answer of 100 bytes.
func readBare(br *bufio.Reader) error {
	for first := true; ; first = false {
		line, err := br.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !bytes.Contains(line, []byte(" 200 ")) {
			return fmt.Errorf("answer %q", line)
		}
		if len(line) == 2 {
			_, err := br.Discard(100)
			return err
		}
	}
}

// cpuTime is the processor time of the processes, user and system. The kernel counts in ticks of 10 ms.
func cpuTime(b *testing.B, pids []int) (sum time.Duration) {
	b.Helper()
	for _, pid := range pids {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			b.Fatal(err)
		}
		f := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
		for _, i := range []int{11, 12} { // fields 14 and 15: utime, stime
			n, _ := strconv.Atoi(f[i])
			sum += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return sum
}

func BenchmarkProxy(b *testing.B) {
	p := newPair(b)
	x, y := bareTarget(b, "127.0.0.1:0"), bareTarget(b, "127.0.0.1:0")
	s := site(8000, x, y)
	s.Groups[0].Health.Enabled = false
	p.put(s)
	b.Run("keep-alive", func(b *testing.B) { drive(b, local(8000), true, p.worker()) })
	b.Run("new connections", func(b *testing.B) { drive(b, local(8000), false, p.worker()) })
}

// BenchmarkDirect is the bench's own limit: no proxy at all.
func BenchmarkDirect(b *testing.B) { drive(b, bareTarget(b, "127.0.0.1:0").String(), true) }

// BenchmarkThroughput is one large answer.
func BenchmarkThroughput(b *testing.B) {
	p := newPair(b)
	const size = 256 << 20
	target := backend(b, zeroHandler(size))
	s := site(8000, target)
	s.Groups[0].Health.Enabled = false
	p.put(s)
	b.SetBytes(size)
	for b.Loop() {
		resp, err := noKeepAlive.Get("http://" + local(8000) + "/")
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
			b.Fatal(n, err)
		}
		resp.Body.Close()
	}
}

func BenchmarkMatch(b *testing.B) {
	var rules []rule
	for i := range 100 { // as many as a listener may have
		rules = append(rules, rule{conds: []cond{{field: lbconfig.HostHeader, patterns: []string{"*.example.com"}}, {field: lbconfig.PathPattern, patterns: []string{fmt.Sprintf("/service%d/*", i)}}}})
	}
	rules = append(rules, rule{})
	b.ReportAllocs()
	for b.Loop() {
		match(rules, &question{host: "www.example.com", path: normalPath("/service99/users?x=y")})
	}
}

// BenchmarkApply puts a snapshot of 100 groups with 100 targets each in force again, with one target changed.
func BenchmarkApply(b *testing.B) {
	s := lbconfig.Snapshot{Rev: 1, Balancers: site(freePort(b)).Balancers}
	rules := []lbconfig.Rule{}
	for g := range 100 {
		arn := fmt.Sprintf("tg%d", g)
		rules = append(rules, lbconfig.Rule{ARN: "r" + arn, Action: forwardTo(arn), Conditions: []lbconfig.Condition{{Field: lbconfig.PathPattern, Values: []string{"/" + arn}}}})
		group := groupOf(arn)
		group.Health.Enabled = false
		for t := range 100 {
			group.Targets = append(group.Targets, lbconfig.Target{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(g), byte(t + 1)}), 80), Since: began})
		}
		s.Groups = append(s.Groups, group)
	}
	l := &s.Balancers[0].Listeners[0]
	l.Rules = append(rules, lbconfig.Rule{ARN: "default", Action: forwardTo("tg0")})
	w := newWorker(&home{sockets: ownSockets{}, dir: b.TempDir()}, testEngine, testLog())
	defer w.stop(0)
	n := 0
	for b.Loop() {
		next := s
		next.Rev++
		s.Rev++
		next.Groups = append([]lbconfig.TargetGroup{}, s.Groups...)
		next.Groups[0].Targets = append([]lbconfig.Target{}, s.Groups[0].Targets...)
		next.Groups[0].Targets[0].Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)}), 80)
		if n++; n == 1<<16 {
			n = 0
		}
		if err := w.apply(b.Context(), &next); err != nil {
			b.Fatal(err)
		}
	}
}
