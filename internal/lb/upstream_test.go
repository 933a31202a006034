package lb

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// scripted is a target that counts connections and handles each request with a function, by number, that may return
// false to close the connection without an answer.
type scripted struct {
	addr  netip.AddrPort
	conns atomic.Int32

	mu   sync.Mutex
	seen []string // methods
}

func newScripted(t testing.TB, serve func(n int, r *http.Request, c net.Conn) (goOn bool)) *scripted {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	s := &scripted{addr: ln.Addr().(*net.TCPAddr).AddrPort()}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				counted := false
				for br := bufio.NewReader(c); ; {
					r, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					if strings.HasPrefix(r.UserAgent(), "ELB-HealthChecker") {
						io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
						return
					}
					if !counted {
						counted = true
						s.conns.Add(1)
					}
					io.Copy(io.Discard, r.Body)
					s.mu.Lock()
					n := len(s.seen)
					s.seen = append(s.seen, r.Method)
					s.mu.Unlock()
					if !serve(n, r, c) {
						return
					}
				}
			}()
		}
	}()
	return s
}

func (s *scripted) methods() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

func ok(c net.Conn) bool {
	io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	return true
}

func TestUpstream_ConnectionsAreKept(t *testing.T) {
	r, port := newRig(t), freePort(t)
	s := newScripted(t, func(_ int, _ *http.Request, c net.Conn) bool { return ok(c) })
	r.put(site(port, s.addr))
	r.wait("tg", s.addr, lbconfig.Healthy)
	for range 50 { // a new client connection each
		if resp, _ := raw(t, local(port), get1("/")); resp.StatusCode != 200 {
			t.Fatalf("status %d", resp.StatusCode)
		}
	}
	if n := s.conns.Load(); n != 1 {
		t.Errorf("50 requests took %d connections to the target, want 1", n)
	}
}

// A request that reached the target is never sent again, not even a GET on a connection that had been idle.
func TestUpstream_NoReplay(t *testing.T) {
	r, port := newRig(t), freePort(t)
	s := newScripted(t, func(n int, _ *http.Request, c net.Conn) bool { return n%2 == 0 && ok(c) })
	r.put(site(port, s.addr))
	r.wait("tg", s.addr, lbconfig.Healthy)
	for _, want := range []int{200, 502, 200, 502} {
		if resp, body := raw(t, local(port), get1("/")); resp.StatusCode != want || want == 502 && body != page(502) {
			t.Errorf("status %d, want %d: %q", resp.StatusCode, want, body)
		}
	}
	if seen := s.methods(); len(seen) != 4 {
		t.Errorf("the target saw %v, want 4 requests", seen)
	}
}

// deadSockets dials connections that, once broken is set, fail when they are written to.
type deadSockets struct {
	ownSockets
	broken atomic.Bool
}

type deadConn struct {
	net.Conn
	dead *atomic.Bool // nil: a connection made after the break
}

func (s *deadSockets) dial(ctx context.Context, k dialKey, to netip.AddrPort, spare bool) (net.Conn, error) {
	c, err := s.ownSockets.dial(ctx, k, to, spare)
	if err != nil || s.broken.Load() {
		return c, err
	}
	return &deadConn{c, &s.broken}, nil
}

func (c *deadConn) Write(p []byte) (int, error) {
	if c.dead.Load() {
		return 0, errors.New("broken pipe")
	}
	return c.Conn.Write(p)
}

// A request of which no byte was sent, because the idle connection had died, is sent on another, whatever its method.
func TestUpstream_RetryOfTheUnsent(t *testing.T) {
	target := newScripted(t, func(_ int, _ *http.Request, c net.Conn) bool { return ok(c) })
	sockets := &deadSockets{}
	port := freePort(t)
	w := newWorker(&home{sockets: sockets, dir: t.TempDir()}, testEngine, slog.New(slog.DiscardHandler))
	defer w.stop(0)
	s := site(port, target.addr)
	s.Rev = 1
	s.Groups[0].Health.Enabled = false
	if err := w.apply(t.Context(), &s); err != nil {
		t.Fatal(err)
	}
	for _, request := range []string{get1("/"), "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", get1("/")} {
		sockets.broken.Store(false)
		if resp, _ := raw(t, local(port), get1("/")); resp.StatusCode != 200 {
			t.Fatalf("status %d", resp.StatusCode)
		}
		sockets.broken.Store(true)
		if resp, _ := raw(t, local(port), request); resp.StatusCode != 200 {
			t.Errorf("%s: status %d", request[:4], resp.StatusCode)
		}
		for _, m := range w.groups["tg"].members {
			m.closeIdle()
		}
	}
	if seen := target.methods(); len(seen) != 6 {
		t.Errorf("the target saw %v, want 6 requests", seen)
	}
}
