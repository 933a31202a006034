package lb

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// TestChanges_LoseNothing changes targets and rules, and a certificate, under requests of all kinds: HTTP/1.1 on kept and
// on new connections, HTTP/2, gRPC, echoes over an upgraded connection, long uploads and downloads. Not one may fail, nor
// have another body than it should. With LOTSE_SOAK there are 200 changes of each at some 2,000 requests a second.
func TestChanges_LoseNothing(t *testing.T) {
	changes, long, each, many, period := 15, time.Second, 10*time.Millisecond, 4, time.Millisecond
	if os.Getenv("LOTSE_SOAK") != "" {
		changes, long, each, many, period = 200, 10*time.Second, 200*time.Millisecond, 20, 20*time.Millisecond
	}
	r := newRig(t)
	plain, secured := freePort(t), freePort(t)
	before, after := newTestPair(t, nil, "a.example.com"), newTestPair(t, nil, "a.example.com")
	var web, calls []netip.AddrPort
	for range 5 {
		web, calls = append(web, backend(t, http.HandlerFunc(anyBody))), append(calls, grpcBackend(t))
	}
	s := secure(site(secured, web...), before.sealed(t, r.dir, "before"), after.sealed(t, r.dir, "after"))
	l := &s.Balancers[0].Listeners[0]
	l.TLS.Certificates = []string{"before"}
	s.Groups = append(s.Groups, groupOf("calls", calls...))
	g := &s.Groups[1]
	g.Version, g.Health.Version, g.Health.Path, g.Health.Matcher = lbconfig.GRPC, lbconfig.GRPC, "/grpc.health.v1.Health/Check", "0"
	own := lbconfig.Rule{ARN: "calls rule", Priority: 1, Conditions: paths("/grpc.health.v1.Health/*"), Action: forwardTo("calls")}
	l.Rules = append([]lbconfig.Rule{own}, l.Rules...)
	http1 := site(plain).Balancers[0].Listeners[0]
	http1.ARN, http1.Rules[0].ARN = "plain", "plain default"
	s.Balancers[0].Listeners = append(s.Balancers[0].Listeners, http1)
	l = &s.Balancers[0].Listeners[0]
	r.put(s)
	for _, a := range web {
		r.wait("tg", a, lbconfig.Healthy)
	}
	for _, a := range calls {
		r.wait("calls", a, lbconfig.Healthy)
	}

	c := newClients(t, local(plain), local(secured), long, before, after)
	for range many {
		c.start("kept", period, c.kept)
		c.start("HTTP/2", period, c.http2)
	}
	c.start("new", period, c.fresh)
	c.start("call", period, c.call)
	c.start("echo", period, c.echo)
	c.start("upload", 0, c.upload)
	c.start("download", 0, c.download)

	rnd := rand.New(rand.NewPCG(1, uint64(os.Getpid())))
	for n := range changes {
		for i := range s.Groups {
			change(rnd, &s.Groups[i])
		}
		l.Rules = append([]lbconfig.Rule{own}, l.Rules[len(l.Rules)-1])
		for k := range rnd.IntN(20) {
			l.Rules = append([]lbconfig.Rule{{ARN: fmt.Sprint("rule ", n, " ", k), Priority: 100 - k, Action: forwardTo("tg"),
				Conditions: paths([]string{"/no", "/h*", "/*"}[rnd.IntN(3)] + strconv.Itoa(k))}}, l.Rules...)
		}
		if n == changes/2 {
			l.TLS.Certificates = []string{"after"}
		}
		r.put(s)
		time.Sleep(each)
	}
	c.finish(t)
}

// change drains a target, gives one that was drained back, or registers one anew; two at least stay.
func change(rnd *rand.Rand, g *lbconfig.TargetGroup) {
	i := rnd.IntN(len(g.Targets))
	serving := 0
	for _, x := range g.Targets {
		if !x.Draining {
			serving++
		}
	}
	x := g.Targets[i]
	g.Targets = append([]lbconfig.Target(nil), g.Targets...)
	switch {
	case x.Draining:
		x.Draining, x.Since = false, time.Now()
		g.Targets[i] = x
	case serving > 2:
		x.Draining, x.Since = true, time.Now()
		g.Targets[i] = x
	}
}

// anyBody is a target: an echo over an upgrade; the sum of what is uploaded; bytes that can be checked.
func anyBody(w http.ResponseWriter, req *http.Request) {
	switch {
	case req.Header.Get("Upgrade") == "echo":
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		io.Copy(c, rw)
	case req.Method == http.MethodPost:
		h := sha256.New()
		n, err := io.Copy(h, req.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprintf(w, "%d %x", n, h.Sum(nil))
	case req.URL.Path == "/long":
		within, _ := time.ParseDuration(req.URL.Query().Get("in"))
		for n := range longPieces {
			w.Write(piece(n))
			http.NewResponseController(w).Flush()
			time.Sleep(within / longPieces)
		}
	default:
		w.Write(piece(len(req.URL.Path)))
	}
}

const longPieces = 50

func piece(n int) []byte { return bytes.Repeat([]byte{byte(n)}, 1000+n) }

func grpcBackend(t *testing.T) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, grpchealth.NewServer())
	go server.Serve(ln)
	t.Cleanup(server.Stop)
	return netip.MustParseAddrPort(ln.Addr().String())
}

// clients send requests until they are told to finish; what they have begun they end.
type clients struct {
	plain, secured string
	long           time.Duration
	one, two, each *http.Client
	conn           *grpc.ClientConn
	ws             net.Conn
	wsIn           *bufio.Reader

	began   time.Time
	stop    chan struct{}
	running sync.WaitGroup
	mu      sync.Mutex
	sent    map[string]int
	wrong   []string
}

func newClients(t *testing.T, plain, secured string, long time.Duration, trusted ...*testPair) *clients {
	t.Helper()
	roots := x509.NewCertPool()
	for _, p := range trusted {
		roots.AddCert(p.x)
	}
	c := &clients{plain: plain, secured: secured, long: long, one: trusting(1, trusted...), two: trusting(2, trusted...),
		each: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}, began: time.Now(), stop: make(chan struct{}), sent: map[string]int{}}
	c.one.Timeout, c.two.Timeout = time.Minute, time.Minute
	c.one.Transport.(*http.Transport).MaxIdleConnsPerHost = 16
	var err error
	c.conn, err = grpc.NewClient(secured, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: "a.example.com"})), grpc.WithDisableRetry())
	if err != nil {
		t.Fatal(err)
	}
	if c.ws, err = net.Dial("tcp", plain); err != nil {
		t.Fatal(err)
	}
	io.WriteString(c.ws, get1("/", "Connection: Upgrade", "Upgrade: echo"))
	c.wsIn = bufio.NewReader(c.ws)
	if resp, err := http.ReadResponse(c.wsIn, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("no upgrade: %+v, %v", resp, err)
	}
	t.Cleanup(func() {
		c.halt()
		c.conn.Close()
		c.ws.Close()
		for _, h := range []*http.Client{c.one, c.two, c.each} {
			h.CloseIdleConnections()
		}
	})
	return c
}

// start has one client more ask, once in each period, or as soon as the answer before is there.
func (c *clients) start(kind string, period time.Duration, ask func(n int) error) {
	c.running.Go(func() {
		for n, next := 0, time.Now(); ; n, next = n+1, next.Add(period) {
			select {
			case <-c.stop:
				return
			case <-time.After(time.Until(next)):
			}
			if c.stopped() {
				return
			}
			err := ask(n)
			c.mu.Lock()
			c.sent[kind]++
			if err != nil && len(c.wrong) < 10 {
				c.wrong = append(c.wrong, fmt.Sprintf("%s %d after %s: %v", kind, n, time.Since(c.began).Round(time.Millisecond), err))
			}
			c.mu.Unlock()
		}
	})
}

func (c *clients) stopped() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}

func (c *clients) halt() {
	if !c.stopped() {
		close(c.stop)
	}
	c.running.Wait()
}

func (c *clients) finish(t *testing.T) {
	t.Helper()
	c.halt()
	sum := 0
	for _, n := range c.sent {
		sum += n
	}
	t.Logf("%d requests in %s: %v", sum, time.Since(c.began).Round(time.Millisecond), c.sent)
	for _, w := range c.wrong {
		t.Error(w)
	}
	for _, kind := range []string{"kept", "new", "HTTP/2", "call", "echo", "upload", "download"} {
		if c.sent[kind] == 0 {
			t.Errorf("there was no %s", kind)
		}
	}
}

func (c *clients) kept(n int) error  { return c.get(c.one, "https://"+c.secured, n) }
func (c *clients) http2(n int) error { return c.get(c.two, "https://"+c.secured, n) }
func (c *clients) fresh(n int) error { return c.get(c.each, "http://"+c.plain, n) }

func (c *clients) get(h *http.Client, base string, n int) error {
	path := "/h" + strconv.Itoa(n%30)
	return c.expect(h.Get(base + path))(piece(len(path)))
}

func (c *clients) expect(resp *http.Response, err error) func(want []byte) error {
	return func(want []byte) error {
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK || !bytes.Equal(body, want) {
			return fmt.Errorf("%s, %d bytes of %d, %v", resp.Status, len(body), len(want), err)
		}
		return nil
	}
}

func (c *clients) call(int) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := healthpb.NewHealthClient(c.conn).Check(ctx, &healthpb.HealthCheckRequest{})
	return err
}

func (c *clients) echo(n int) error {
	c.ws.SetDeadline(time.Now().Add(time.Minute))
	if _, err := c.ws.Write(piece(n % 100)); err != nil {
		return err
	}
	got := make([]byte, len(piece(n%100)))
	if _, err := io.ReadFull(c.wsIn, got); err != nil || !bytes.Equal(got, piece(n%100)) {
		return fmt.Errorf("another echo: %v", err)
	}
	return nil
}

// upload and download take a while, in turn over HTTP/1.1 and HTTP/2.
func (c *clients) upload(n int) error {
	h, base := c.way(n)
	r, w := io.Pipe()
	sum, size := sha256.New(), 0
	for k := range longPieces {
		sum.Write(piece(k))
		size += len(piece(k))
	}
	go func() {
		for k := range longPieces {
			if _, err := w.Write(piece(k)); err != nil {
				return
			}
			time.Sleep(c.long / longPieces)
		}
		w.Close()
	}()
	return c.expect(h.Post(base+"/upload", "application/octet-stream", r))(fmt.Appendf(nil, "%d %x", size, sum.Sum(nil)))
}

func (c *clients) download(n int) error {
	h, base := c.way(n)
	var want []byte
	for k := range longPieces {
		want = append(want, piece(k)...)
	}
	return c.expect(h.Get(base + "/long?in=" + c.long.String()))(want)
}

func (c *clients) way(n int) (*http.Client, string) {
	if n%2 == 0 {
		return c.two, "https://" + c.secured
	}
	return c.each, "http://" + c.plain
}
