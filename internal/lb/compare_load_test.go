package lb

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// measured is what a proxy did in a course; times are in µs.
type measured struct {
	requests, perSecond, p50, p99, p999, wrong float64
	cpu                                        float64 // of the proxy for each request
	memory                                     float64 // bytes for each idle connection
}

// row is a course with what each proxy did in its rounds.
type row struct {
	course string
	of     map[string][]measured
}

// median is that of each figure, and the sum of what went wrong.
func median(all []measured) (m measured) {
	for _, f := range []struct {
		to *float64
		of func(measured) float64
	}{
		{&m.requests, func(x measured) float64 { return x.requests }}, {&m.perSecond, func(x measured) float64 { return x.perSecond }},
		{&m.p50, func(x measured) float64 { return x.p50 }}, {&m.p99, func(x measured) float64 { return x.p99 }}, {&m.p999, func(x measured) float64 { return x.p999 }},
		{&m.cpu, func(x measured) float64 { return x.cpu }}, {&m.memory, func(x measured) float64 { return x.memory }},
	} {
		*f.to = middle(all, f.of)
	}
	for _, x := range all {
		m.wrong += x.wrong
	}
	return m
}

func middle[T any](all []T, of func(T) float64) float64 {
	var list []float64
	for _, x := range all {
		list = append(list, of(x))
	}
	slices.Sort(list)
	n := len(list)
	if n == 0 {
		return 0
	}
	return (list[(n-1)/2] + list[n/2]) / 2
}

// comparison is the rows in Markdown: processor time, or bytes, of each proxy, the fast engine's as a part of the better of
// nginx's and HAProxy's; then requests a second and percentiles.
func comparison(rows []row) string {
	var out strings.Builder
	cell := func(format string, v float64) string {
		if v == 0 {
			return ""
		}
		return fmt.Sprintf(format, v)
	}
	out.WriteString("\n| µs of processor time |")
	for _, p := range contestants {
		fmt.Fprintf(&out, " %s |", p.name)
	}
	out.WriteString(" fast ÷ the better of nginx and HAProxy |\n|---" + strings.Repeat("|---", len(contestants)+1) + "|\n")
	for _, r := range rows {
		fmt.Fprintf(&out, "| %s |", r.course)
		for _, p := range contestants {
			m := median(r.of[p.name])
			fmt.Fprintf(&out, " %s |", cell("%.1f", m.cpu)+cell("%.0f", m.memory))
		}
		fmt.Fprintf(&out, " %s |\n", cell("%.2f", r.ratio()))
	}
	out.WriteString("\n| requests/s; p50, p99, p99.9 in ms |")
	for _, p := range contestants {
		fmt.Fprintf(&out, " %s |", p.name)
	}
	out.WriteString("\n|---" + strings.Repeat("|---", len(contestants)) + "|\n")
	for _, r := range rows {
		fmt.Fprintf(&out, "| %s |", r.course)
		for _, p := range contestants {
			if m := median(r.of[p.name]); m.perSecond > 0 {
				fmt.Fprintf(&out, " %.0f; %.1f, %.1f, %.1f%s |", m.perSecond, m.p50/1000, m.p99/1000, m.p999/1000, cell("; %.0f wrong", m.wrong))
			} else {
				out.WriteString(" |")
			}
		}
		out.WriteString("\n")
	}
	return out.String()
}

// ratio is what the fast engine takes of what nginx or HAProxy does, whichever takes less: the median of rounds, in each of
// which they ran one after the other.
func (r row) ratio() (worst float64) {
	of := func(m measured) float64 { return m.cpu + m.memory }
	fast := r.of["lotse-fast"]
	for _, name := range []string{"nginx", "haproxy"} {
		var rounds []float64
		for i, m := range r.of[name] {
			if i < len(fast) && of(m) > 0 {
				rounds = append(rounds, of(fast[i])/of(m))
			}
		}
		worst = max(worst, middle(rounds, func(x float64) float64 { return x }))
	}
	return worst
}

// byClients has each client go on for d, and measures each time that it asks. ask is called with the client's number, and
// again and again what it returns, which asks once.
func byClients(b *testing.B, c course, d time.Duration, client func() (ask func() error, end func(), err error)) (m measured) {
	b.Helper()
	var mu sync.Mutex
	var all []float64
	var running sync.WaitGroup
	began := time.Now()
	for range c.clients {
		running.Go(func() {
			var times []float64
			wrong := 0
			ask, end, err := client()
			if err == nil {
				defer end()
				for time.Since(began) < d && err == nil {
					at := time.Now()
					if err = ask(); err == nil {
						times = append(times, float64(time.Since(at).Microseconds()))
					}
				}
			}
			if err != nil {
				b.Log(err)
				wrong++
			}
			mu.Lock()
			all, m.wrong = append(all, times...), m.wrong+float64(wrong)
			mu.Unlock()
		})
	}
	running.Wait()
	m.count(all, time.Since(began))
	return m
}

// count fills in what follows from the times.
func (m *measured) count(times []float64, d time.Duration) {
	slices.Sort(times)
	at := func(part float64) float64 {
		if len(times) == 0 {
			return 0
		}
		return times[min(int(part*float64(len(times))), len(times)-1)]
	}
	m.requests, m.perSecond = float64(len(times)), float64(len(times))/d.Seconds()
	m.p50, m.p99, m.p999 = at(0.5), at(0.99), at(0.999)
}

// resuming makes a connection for each request that goes on with the TLS session of the one before.
func resuming(b *testing.B, c course, port uint16, d time.Duration) measured {
	request := []byte("GET /index.html HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\n\r\n")
	return byClients(b, c, d, func() (func() error, func(), error) {
		conf := &tls.Config{InsecureSkipVerify: true, ServerName: "www.example.com", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		first := true
		return func() error {
			conn, err := tls.Dial("tcp4", local(port), conf)
			if err != nil {
				return err
			}
			defer conn.Close()
			if _, err := conn.Write(request); err != nil {
				return err
			}
			if _, err := io.Copy(io.Discard, conn); err != nil {
				return err
			}
			if !first && !conn.ConnectionState().DidResume {
				return fmt.Errorf("a full handshake")
			}
			first = false
			return nil
		}, func() {}, nil
	})
}

// echoing sends messages of 100 bytes through upgraded connections, each when the one before has come back.
func echoing(b *testing.B, c course, port uint16, d time.Duration) measured {
	request := "GET / HTTP/1.1\r\nHost: www.example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	return byClients(b, c, d, func() (func() error, func(), error) {
		conn, err := net.Dial("tcp4", local(port))
		if err != nil {
			return nil, nil, err
		}
		io.WriteString(conn, request)
		in := bufio.NewReader(conn)
		if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			conn.Close()
			return nil, nil, fmt.Errorf("no upgrade: %+v, %v", resp, err)
		}
		message, got := make([]byte, 100), make([]byte, 100)
		return func() error {
			if _, err := conn.Write(message); err != nil {
				return err
			}
			_, err := io.ReadFull(in, got)
			return err
		}, func() { conn.Close() }, nil
	})
}

// h2load asks over HTTP/2, eight streams on each of an eighth as many connections.
func h2load(b *testing.B, c course, port uint16, d time.Duration) (m measured) {
	bin, err := exec.LookPath("h2load")
	if err != nil {
		b.Skip("needs h2load, of nghttp2-client")
	}
	file := filepath.Join(b.TempDir(), "requests")
	out, err := exec.Command(bin, "-t1", "-m8", "-c"+strconv.Itoa(c.clients/8), "-D"+strconv.Itoa(int(d.Seconds())), "--log-file="+file, "-H", ":authority: www.example.com", c.url(port)).CombinedOutput()
	if err != nil {
		b.Fatalf("h2load: %v: %s", err, out)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	defer os.Remove(file)
	var times []float64
	for line := range bytes.Lines(data) {
		f := strings.Fields(string(line))
		if len(f) != 3 {
			continue
		}
		took, _ := strconv.ParseFloat(f[2], 64)
		times = append(times, took)
		if f[1] != "200" {
			m.wrong++
		}
	}
	if !strings.Contains(string(out), "Application protocol: h2\n") || len(times) == 0 {
		b.Fatalf("h2load says %s", out)
	}
	m.count(times, d)
	return m
}

// wrk asks again and again on one thread.
func wrk(b *testing.B, c course, port uint16, d time.Duration) (m measured) {
	b.Helper()
	script := filepath.Join(b.TempDir(), "done.lua")
	if err := os.WriteFile(script, []byte(`done = function(s, latency, requests)
  local e = s.errors
  io.write(string.format("RESULT %d %f %f %f %f %d\n", s.requests, s.requests / s.duration * 1e6, latency:percentile(50), latency:percentile(99),
    latency:percentile(99.9), e.connect + e.read + e.write + e.status + e.timeout))
end`), 0o600); err != nil {
		b.Fatal(err)
	}
	args := []string{"-t1", "-c" + strconv.Itoa(c.clients), "-d" + d.String(), "-s", script, "-H", "Host: www.example.com"}
	if c.fresh {
		args = append(args, "-H", "Connection: close")
	}
	out, err := exec.Command("wrk", append(args, c.url(port))...).CombinedOutput()
	if err != nil {
		b.Fatalf("wrk: %v: %s", err, out)
	}
	_, line, _ := strings.Cut(string(out), "RESULT ")
	if n, _ := fmt.Sscan(line, &m.requests, &m.perSecond, &m.p50, &m.p99, &m.p999, &m.wrong); n != 6 {
		b.Fatalf("wrk says %s", out)
	}
	return m
}
