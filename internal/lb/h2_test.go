package lb

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// TestH2Spec has the conformance suite of HTTP/2 judge the balancer.
func TestH2Spec(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the suite")
	}
	bin := filepath.Join(t.TempDir(), "h2spec")
	build := exec.CommandContext(t.Context(), "go", "build", "-modfile=tools/go.mod", "-o", bin, "github.com/summerwind/h2spec/cmd/h2spec")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r, port, pair := newRig(t), freePort(t), newTestPair(t, nil, "a.example.com")
	target := backend(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "hello, this is the target of the suite's requests")
	}))
	r.put(secure(site(port, target), pair.sealed(t, r.dir, "cert")))
	r.wait("tg", target, lbconfig.Healthy)
	out, err := exec.CommandContext(t.Context(), bin, "-h", "127.0.0.1", "-p", fmt.Sprint(port), "-t", "-k", "-o", "5").CombinedOutput()
	_, failures, _ := strings.Cut(string(out), "Failures:")
	for line := range strings.Lines(failures) {
		name := strings.TrimSpace(line)
		if strings.HasPrefix(name, "×") && !slices.ContainsFunc(otherwise, func(o string) bool { return strings.HasSuffix(name, o) }) {
			t.Errorf("%s", name)
		}
	}
	if !bytes.Contains(out, []byte("145 tests")) {
		t.Errorf("%v\n%s", err, out)
	}
	if t.Failed() {
		t.Logf("%s", failures)
	}
}

// otherwise are the cases that net/http's server treats in another way, which is allowed.
var otherwise = []string{
	// It ends the connection at any setting that is there twice, as a precaution against floods.
	"Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE",
	// It answers 400. RFC 9113, 8.1.1: a server may send a response to a malformed request.
	"Sends a HEADERS frame that contains the connection-specific header field",
	"Sends a HEADERS frame that contains the TE header field with any value other than \"trailers\"",
}

// framer speaks HTTP/2 frame by frame.
type framer struct {
	*http2.Framer
	conn net.Conn
	enc  *hpack.Encoder
	head bytes.Buffer
}

func newFramer(t testing.TB, port uint16) *framer {
	t.Helper()
	c, err := tls.Dial("tcp", local(port), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, http2.ClientPreface)
	f := &framer{Framer: http2.NewFramer(c, c), conn: c}
	f.enc = hpack.NewEncoder(&f.head)
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return f
}

// block is a header block of a GET.
func (f *framer) block(more ...string) []byte {
	f.head.Reset()
	for _, kv := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "a.example.com"}, {":path", "/"}} {
		f.enc.WriteField(hpack.HeaderField{Name: kv[0], Value: kv[1]})
	}
	for i := 0; i < len(more); i += 2 {
		f.enc.WriteField(hpack.HeaderField{Name: more[i], Value: more[i+1]})
	}
	return bytes.Clone(f.head.Bytes())
}

func (f *framer) get(stream uint32) error {
	return f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: f.block(), EndStream: true, EndHeaders: true})
}

// served checks that another client is answered.
func served(t *testing.T, port uint16, pair *testPair) {
	t.Helper()
	for _, version := range []int{1, 2} {
		c := trusting(version, pair)
		resp, err := c.Get("https://" + local(port) + "/other")
		if err != nil {
			t.Errorf("another client of HTTP/%d: %v", version, err)
			continue
		}
		resp.Body.Close()
		c.CloseIdleConnections()
	}
}

// TestHTTP2_RapidReset begins requests and takes them back at once, again and again (CVE-2023-44487). The target is asked
// no more than a connection may at once, and others are served.
func TestHTTP2_RapidReset(t *testing.T) {
	r, port, pair := newRig(t), freePort(t), newTestPair(t, nil, "a.example.com")
	var now, most atomic.Int64
	target := backend(t, http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		if q.URL.Path != "/" {
			return
		}
		for n := now.Add(1); ; {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		<-q.Context().Done()
		now.Add(-1)
	}))
	r.put(secure(site(port, target), pair.sealed(t, r.dir, "cert")))
	r.wait("tg", target, lbconfig.Healthy)
	f := newFramer(t, port)
	go func() { // or its answers would fill the connection
		for {
			if _, err := f.ReadFrame(); err != nil {
				return
			}
		}
	}()
	sent := 0
	for id := uint32(1); id < 40000; id += 2 {
		if f.get(id) != nil || f.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			break // the balancer has had enough
		}
		sent++
	}
	served(t, port, pair)
	if n := most.Load(); n > 2*maxStreams { // a target hears of a reset a moment later
		t.Errorf("the target had %d requests at once", n)
	}
	t.Logf("%d requests taken back, at most %d at the target at once", sent, most.Load())
}

// TestHTTP2_ContinuationFlood sends a header that never ends (CVE-2023-45288).
func TestHTTP2_ContinuationFlood(t *testing.T) {
	r, port, pair := newRig(t), freePort(t), newTestPair(t, nil, "a.example.com")
	target := backend(t, named("here"))
	r.put(secure(site(port, target), pair.sealed(t, r.dir, "cert")))
	r.wait("tg", target, lbconfig.Healthy)
	f := newFramer(t, port)
	if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.block()}); err != nil {
		t.Fatal(err)
	}
	f.head.Reset()
	f.enc.WriteField(hpack.HeaderField{Name: "x-more", Value: strings.Repeat("x", 8<<10), Sensitive: true})
	more := bytes.Clone(f.head.Bytes())
	sent, ended := 0, false
	for ; sent < 64<<20 && !ended; sent += len(more) {
		ended = f.WriteContinuation(1, false, more) != nil
	}
	if !ended {
		t.Error("64 MiB of one header were taken")
	}
	served(t, port, pair)
	t.Logf("cut after %d KiB", sent>>10)
}

func TestHTTP2_MaxConcurrentStreams(t *testing.T) {
	r, port, pair := newRig(t), freePort(t), newTestPair(t, nil, "a.example.com")
	target := backend(t, named("here"))
	r.put(secure(site(port, target), pair.sealed(t, r.dir, "cert")))
	f := newFramer(t, port)
	for {
		fr, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := fr.(*http2.SettingsFrame); ok && !s.IsAck() {
			if n, ok := s.Value(http2.SettingMaxConcurrentStreams); !ok || n != 128 {
				t.Errorf("SETTINGS_MAX_CONCURRENT_STREAMS = %d, want 128", n)
			}
			return
		}
	}
}

// TestHTTP2_HeadersTooLarge: one header is larger than a balancer takes.
func TestHTTP2_HeadersTooLarge(t *testing.T) {
	r, port, pair := newRig(t), freePort(t), newTestPair(t, nil, "a.example.com")
	target := backend(t, named("here"))
	r.put(secure(site(port, target), pair.sealed(t, r.dir, "cert")))
	r.wait("tg", target, lbconfig.Healthy)
	c := trusting(2, pair)
	defer c.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+local(port)+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Large", strings.Repeat("x", maxHeader+1))
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 400 {
		t.Errorf("a header of %d bytes = %d, want 400", maxHeader+1, resp.StatusCode)
	}
}

// TestHTTP2_IdleStream: a request whose target says nothing ends by itself; the others of its connection go on.
func TestHTTP2_IdleStream(t *testing.T) {
	r, port, pair := newRig(t), freePort(t), newTestPair(t, nil, "a.example.com")
	target := backend(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch q.URL.Path {
		case "/silent":
			<-q.Context().Done()
		case "/slow": // longer than the timeout, but never silent for so long
			for range 15 {
				io.WriteString(w, ".")
				http.NewResponseController(w).Flush()
				time.Sleep(20 * time.Millisecond)
			}
		}
	}))
	s := secure(site(port, target), pair.sealed(t, r.dir, "cert"))
	s.Balancers[0].IdleTimeout = 200 * time.Millisecond
	r.put(s)
	r.wait("tg", target, lbconfig.Healthy)
	c := trusting(2, pair)
	defer c.CloseIdleConnections()
	var wg sync.WaitGroup
	for path, want := range map[string]string{"/silent": "504", "/slow": "200 ..............."} {
		wg.Go(func() {
			resp, err := c.Get("https://" + local(port) + path)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				return
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if got := fmt.Sprintf("%d %s", resp.StatusCode, body); err != nil || !strings.HasPrefix(got, want) {
				t.Errorf("%s = %q (%v), want %q", path, got, err, want)
			}
		})
	}
	wg.Wait()
}

// TestHTTP2_DrainEnd: what is open at a target when its deregistration delay is over is cut, stream by stream.
func TestHTTP2_DrainEnd(t *testing.T) {
	r, port, pair := newRig(t), freePort(t), newTestPair(t, nil, "a.example.com")
	held := newHolder(t)
	s := secure(site(port, held.addr), pair.sealed(t, r.dir, "cert"))
	r.put(s)
	r.wait("tg", held.addr, lbconfig.Healthy)
	c := trusting(2, pair)
	defer c.CloseIdleConnections()
	status := make(chan int, 1)
	go func() {
		resp, err := c.Get("https://" + local(port) + "/")
		if err != nil {
			t.Error(err)
			status <- 0
			return
		}
		resp.Body.Close()
		status <- resp.StatusCode
	}()
	<-held.arrived
	other := backend(t, named("other"))
	g := &s.Groups[0]
	g.Deregistration = 0
	g.Targets = []lbconfig.Target{{Addr: held.addr, Draining: true, Since: time.Now()}, {Addr: other, Since: began}}
	r.put(s)
	if got := <-status; got != http.StatusBadGateway {
		t.Errorf("the request at the draining target: %d, want 502", got)
	}
	r.wait("tg", other, lbconfig.Healthy)
	resp, err := c.Get("https://" + local(port) + "/") // the connection lives
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	held.release()
}

// TestHTTP2_WorkerStops: a worker that ends says goodbye, and requests that are under way are answered.
func TestHTTP2_WorkerStops(t *testing.T) {
	r, port, pair := newRig(t), freePort(t), newTestPair(t, nil, "a.example.com")
	held := newHolder(t)
	r.put(secure(site(port, held.addr), pair.sealed(t, r.dir, "cert")))
	r.wait("tg", held.addr, lbconfig.Healthy)
	f := newFramer(t, port)
	if err := f.get(1); err != nil {
		t.Fatal(err)
	}
	<-held.arrived
	stopped := make(chan struct{})
	go func() { defer close(stopped); r.stop() }()
	goodbye, body := false, ""
	for {
		fr, err := f.ReadFrame()
		if err != nil {
			break
		}
		switch fr := fr.(type) {
		case *http2.GoAwayFrame:
			if !goodbye {
				goodbye = true
				held.release()
			}
		case *http2.DataFrame:
			body += string(fr.Data())
		}
	}
	if !goodbye || body != "held" {
		t.Errorf("GOAWAY %v, body %q; want both", goodbye, body)
	}
	<-stopped
}
