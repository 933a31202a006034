package lb

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
	programs "github.com/lotse-project/lotse/test/judge"
)

// program is a target in another language: it tells its port first, then what it takes for requests.
func program(t *testing.T, path string, arg ...string) (netip.AddrPort, <-chan string) {
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
			t.Fatalf("%s does not start", path)
		}
		return netip.MustParseAddrPort("127.0.0.1:" + port), lines
	case <-time.After(patience):
		t.Fatalf("%s has no port", path)
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

// nginxTarget is an nginx that reads each request to its end, to pass it on. It doesn't tell how long a body was.
func nginxTarget(t *testing.T) (netip.AddrPort, <-chan string) {
	path, err := filepath.Abs("../../.cache/nginx/root/usr/sbin/nginx") // see script/nginx
	if _, e := os.Stat(path); err != nil || e != nil {
		path = programs.Path(t, "nginx")
	}
	dir, port := t.TempDir(), freePort(t)
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;"
	}
	conf := fmt.Sprintf(`daemon off; master_process off; %[3]s pid %[1]s/pid; error_log stderr crit;
events { }
http { log_format request "$request_method $request_uri ?"; map $status $whole { 200 1; default 0; } access_log /dev/stdout request if=$whole; client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b;
fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
server { listen 127.0.0.1:%[2]d; location = /health { access_log off; return 200; } location / { proxy_pass http://unix:%[1]s/s; } }
server { listen unix:%[1]s/s; access_log off; return 200; } }`, dir, port, user)
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	return program(t, "/bin/sh", "-c", fmt.Sprintf("echo %d; exec %s -e stderr -p %s -c %s", port, path, dir, file))
}

// sameRequest compares "METHOD URL LENGTH"; the length "?" is any.
func sameRequest(got, want string) bool {
	if rest, ok := strings.CutSuffix(got, "?"); ok {
		return strings.HasPrefix(want, rest)
	}
	return got == want
}

// Whatever a client sends, no target sees a request that the balancer did not.
func TestSmuggling_TargetsSeeTheBalancersRequests(t *testing.T) {
	for name, start := range map[string]func(*testing.T) (netip.AddrPort, <-chan string){
		"go": goTarget,
		"python": func(t *testing.T) (netip.AddrPort, <-chan string) {
			return program(t, programs.Path(t, "python3"), "testdata/backend.py")
		},
		"node": func(t *testing.T) (netip.AddrPort, <-chan string) {
			return program(t, programs.Path(t, "node"), "testdata/backend.js")
		},
		"nginx": nginxTarget,
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
						if !slices.ContainsFunc(want, func(w string) bool { return sameRequest(got, w) }) {
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
