package lb

import (
	"bytes"
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
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

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
func installed(b *testing.B, name string) (bin string, ok bool) {
	bin, err := exec.LookPath(name)
	if err != nil {
		b.Logf("%s is not installed", name)
	}
	return bin, err == nil
}

func startNginx(b *testing.B, c course, port uint16, targets []netip.AddrPort) []int {
	bin, ok := installed(b, "nginx")
	if !ok {
		return nil
	}
	dir := b.TempDir()
	var servers, locations, tls strings.Builder
	for _, t := range targets {
		fmt.Fprintf(&servers, "server %s; ", t)
	}
	connection := `""`
	if c.upgrade {
		connection = "upgrade; proxy_set_header Upgrade $http_upgrade"
	}
	pass := `proxy_pass http://t; proxy_http_version 1.1; proxy_set_header Connection ` + connection + `; proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;`
	for i := range c.rules { // a prefix would be found in a tree; AWS's patterns are tried in turn
		fmt.Fprintf(&locations, "location ~ ^/service%d/ { %s }\n", i, pass)
	}
	log, secure := "off", ""
	if c.logs {
		log = dir + "/access.log combined buffer=64k"
	}
	if c.secure {
		secure = " ssl http2"
		fmt.Fprintf(&tls, "ssl_protocols TLSv1.3; keepalive_requests 1000000000; ssl_certificate %[1]s; ssl_certificate_key %[1]s;", certificateFile(b, dir))
	}
	file := filepath.Join(dir, "nginx.conf")
	conf := fmt.Sprintf(`daemon off; pid %[1]s/pid; error_log stderr crit; worker_processes 1; worker_rlimit_nofile 20000;
events { worker_connections 16384; }
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
		return nil // it logs over the network only
	}
	bin, ok := installed(b, "haproxy")
	if !ok {
		return nil
	}
	dir := b.TempDir()
	var conf strings.Builder
	tls := ""
	if c.secure {
		tls = " ssl crt " + certificateFile(b, dir) + " ssl-min-ver TLSv1.3 alpn h2,http/1.1"
		if !c.tickets {
			tls += " no-tls-tickets"
		}
	}
	fmt.Fprintf(&conf, `global
  nbthread 1
  maxconn 6000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 60s
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

func startCaddy(b *testing.B, c course, port uint16, targets []netip.AddrPort) []int {
	bin, ok := installed(b, "caddy")
	if !ok {
		return nil
	}
	dir := b.TempDir()
	var conf strings.Builder
	conf.WriteString("{\n admin off\n auto_https off\n log {\n  level ERROR\n }\n}\n")
	scheme, tls := "http", ""
	if c.secure {
		scheme, tls = "https", " tls "+certificateFile(b, dir)+" "+filepath.Join(dir, "cert.pem")+"\n"
	}
	fmt.Fprintf(&conf, "%s://:%d {\n bind 127.0.0.1\n%s", scheme, port, tls)
	if c.logs {
		fmt.Fprintf(&conf, " log {\n  output file %s/access.log\n }\n", dir)
	}
	pass := " reverse_proxy"
	for _, t := range targets {
		pass += " " + t.String()
	}
	pass += " {\n  lb_policy round_robin\n  transport http {\n   keepalive_idle_conns_per_host 1024\n  }\n }\n"
	for i := range c.rules {
		fmt.Fprintf(&conf, " handle /service%d/* {\n %s }\n", i, pass)
	}
	fmt.Fprintf(&conf, " handle {\n %s }\n}\n", pass)
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(bin, "run", "--config", file, "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	launch(b, port, cmd)
	return []int{cmd.Process.Pid}
}

// startReverseProxy is httputil.ReverseProxy as its documentation has it, with enough idle connections.
func startReverseProxy(b *testing.B, c course, port uint16, targets []netip.AddrPort) []int {
	if c.secure || c.rules > 0 || c.logs {
		return nil // it has none
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
