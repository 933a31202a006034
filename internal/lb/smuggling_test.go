package lb

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// program is a target in another language: it tells its port first, then what it takes for requests.
func program(t *testing.T, name string, arg ...string) (netip.AddrPort, <-chan string) {
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	cmd := exec.Command(path, arg...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1024)
	done := make(chan struct{})
	t.Cleanup(func() { cmd.Process.Kill(); <-done; cmd.Wait() })
	go func() {
		defer close(done)
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	select {
	case port, ok := <-lines:
		if !ok {
			t.Skipf("%s does not start", name)
		}
		return netip.MustParseAddrPort("127.0.0.1:" + port), lines
	case <-time.After(patience):
		t.Fatalf("%s has no port", name)
	}
	return netip.AddrPort{}, nil
}

func goTarget(t *testing.T) (netip.AddrPort, <-chan string) {
	lines := make(chan string, 1024)
	return backend(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if r.URL.Path != "/health" && err == nil {
			lines <- fmt.Sprintf("%s %s %d", r.Method, r.RequestURI, n)
		}
	})), lines
}

// Whatever a client sends, no target sees a request that the balancer did not.
func TestSmuggling_TargetsSeeTheBalancersRequests(t *testing.T) {
	for name, start := range map[string]func(*testing.T) (netip.AddrPort, <-chan string){
		"go": goTarget,
		"python": func(t *testing.T) (netip.AddrPort, <-chan string) {
			return program(t, "python3", "testdata/backend.py")
		},
		"node": func(t *testing.T) (netip.AddrPort, <-chan string) { return program(t, "node", "testdata/backend.js") },
	} {
		t.Run(name, func(t *testing.T) {
			addr, lines := start(t)
			for _, mode := range []string{lbconfig.Defensive, lbconfig.Monitor} {
				r, port := newRig(t), freePort(t)
				s := site(port, addr)
				s.Balancers[0].Routing.Desync = mode
				s.Balancers[0].IdleTimeout = 200 * time.Millisecond // for those that never end
				r.put(s)
				r.wait("tg", addr, lbconfig.Healthy)
				for i, attack := range smuggling {
					raw := attack + getOf("/next", "Connection: close")
					seen := attackWith(t, port, raw, lines, fmt.Sprintf("/sentinel-%d", i))
					var want []string
					for _, q := range through([]byte(raw), whole) {
						var method, url, body string
						if n, _ := fmt.Sscanf(q, "%s %s %q", &method, &url, &body); n == 3 {
							want = append(want, fmt.Sprintf("%s %s %d", method, url, len(body)))
						}
					}
					for _, got := range seen {
						if !slices.Contains(want, got) {
							t.Errorf("%s: after %q the target saw %q, the balancer %q", mode, raw, seen, want)
						}
					}
					if len(seen) > len(want) {
						t.Errorf("%s: after %q the target saw %q, the balancer %q", mode, raw, seen, want)
					}
				}
				r.stop()
			}
		})
	}
}

// attackWith sends the bytes on a connection of its own, and returns what the target says it got.
func attackWith(t *testing.T, port uint16, raw string, lines <-chan string, sentinel string) (seen []string) {
	c, err := net.Dial("tcp", local(port))
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, raw)
	io.Copy(io.Discard, c)
	c.Close()
	resp, err := noKeepAlive.Get("http://" + local(port) + sentinel)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	for {
		select {
		case l := <-lines:
			if strings.Contains(l, sentinel) {
				return seen
			}
			seen = append(seen, l)
		case <-time.After(patience):
			t.Fatalf("the target did not see %s", sentinel)
		}
	}
}
