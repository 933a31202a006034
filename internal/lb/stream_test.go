package lb

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// What a target sends goes on at once, and what a client sends too; neither is collected.
func TestStream_BothWaysAtOnce(t *testing.T) {
	r, port := newRig(t), freePort(t)
	target := backend(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex()
		for line, br := "", bufio.NewReader(req.Body); ; {
			var err error
			if line, err = br.ReadString('\n'); err != nil {
				return
			}
			io.WriteString(w, "got "+line)
			rc.Flush()
		}
	}))
	r.put(site(port, target))
	r.wait("tg", target, lbconfig.Healthy)
	pr, pw := io.Pipe()
	req, _ := http.NewRequest("POST", "http://"+local(port)+"/", pr)
	go io.WriteString(pw, "0\n")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	br := bufio.NewReader(resp.Body)
	for n := range 5 {
		line, err := br.ReadString('\n')
		if want := fmt.Sprintf("got %d\n", n); line != want || err != nil {
			t.Fatalf("line %q, %v, want %q", line, err, want)
		}
		fmt.Fprintf(pw, "%d\n", n+1)
	}
	pw.Close()
}

// 256 MB each way leave no trace in memory, and arrive.
func TestStream_LargeBodies(t *testing.T) {
	const size = 256 << 20
	r, port := newRig(t), freePort(t)
	target := backend(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/health" {
			return
		}
		h := sha256.New()
		n, _ := io.Copy(h, req.Body)
		w.Header().Set("X-Sum", fmt.Sprintf("%d %x", n, h.Sum(nil)))
		io.CopyN(w, zeros{}, size)
	}))
	r.put(site(port, target))
	r.wait("tg", target, lbconfig.Healthy)
	runtime.GC() // what was before is none of it
	var peak atomic.Uint64
	stop := make(chan struct{})
	go func() {
		for m := (runtime.MemStats{}); ; {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				runtime.ReadMemStats(&m)
				peak.Store(max(peak.Load(), m.HeapAlloc))
			}
		}
	}()
	defer close(stop)
	h := sha256.New()
	resp, err := http.Post("http://"+local(port)+"/", "x/y", io.TeeReader(io.LimitReader(zeros{}, size), h))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, want := resp.Header.Get("X-Sum"), fmt.Sprintf("%d %x", size, h.Sum(nil)); got != want {
		t.Errorf("the target received %s, want %s", got, want)
	}
	if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
		t.Errorf("the client received %d bytes, %v", n, err)
	}
	if p := peak.Load(); p > 64<<20 {
		t.Errorf("%d MB of heap", p>>20)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestStream_Upgrade(t *testing.T) {
	t.Parallel()
	r, port := newRig(t), freePort(t)
	closed := make(chan struct{})
	target := backend(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Upgrade") != "echo" || req.Header.Get("Connection") != "Upgrade" {
			return
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer close(closed)
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		io.Copy(c, rw)
	}))
	s := site(port, target)
	r.put(s)
	r.wait("tg", target, lbconfig.Healthy)
	c, err := net.Dial("tcp", local(port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, get1("/", "Connection: Upgrade", "Upgrade: echo"))
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "echo" {
		t.Fatalf("%+v, %v", resp, err)
	}
	for n := range 3 {
		msg := fmt.Sprintf("hello %d", n)
		io.WriteString(c, msg)
		got := make([]byte, len(msg))
		if _, err := io.ReadFull(br, got); err != nil || string(got) != msg {
			t.Fatalf("echo %q, %v", got, err)
		}
	}
	waitTarget(t, r.client, "tg", target, func(s lbconfig.TargetStatus) bool { return s.InFlight == 1 })

	// It counts as in flight, and is cut when the deregistration delay is over.
	s.Groups[0].Targets[0].Draining, s.Groups[0].Targets[0].Since = true, time.Now()
	s.Groups[0].Deregistration = 100 * time.Millisecond
	r.put(s)
	if n, err := br.Read(make([]byte, 1)); err == nil {
		t.Errorf("the tunnel goes on: %d bytes", n)
	}
	waitTarget(t, r.client, "tg", target, drained)
	<-closed
}

func TestStream_ExpectContinue(t *testing.T) {
	r, port := newRig(t), freePort(t)
	target := backend(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if v := req.Header.Get("Expect"); v != "" {
			t.Errorf("the target got Expect: %s", v)
		}
		io.Copy(w, req.Body)
	}))
	r.put(site(port, target))
	r.wait("tg", target, lbconfig.Healthy)
	c, err := net.Dial("tcp", local(port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	br := bufio.NewReader(c)
	if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 100 {
		t.Fatalf("%+v, %v", resp, err)
	}
	io.WriteString(c, "hello")
	if resp, body := readAnswer(t, br); resp.StatusCode != 200 || body != "hello" {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
}

// Two requests in one packet are two requests; a body is not taken for one.
// What comes before an answer is not for clients of HTTP/1.0. Source: RFC 9110, 15.2.
func TestStream_InterimAnswers(t *testing.T) {
	r, port := newRig(t), freePort(t)
	target := backend(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/health" {
			w.Header().Set("Link", "</a>")
			w.WriteHeader(http.StatusEarlyHints)
		}
		io.WriteString(w, "hello")
	}))
	r.put(site(port, target))
	r.wait("tg", target, lbconfig.Healthy)
	for version, want := range map[string]int{"1.1": 103, "1.0": 200} {
		if resp, _ := raw(t, local(port), "GET / HTTP/"+version+"\r\nHost: x\r\n\r\n"); resp.StatusCode != want || resp.Header.Get("Link") != "</a>" {
			t.Errorf("HTTP/%s: the first is %d %v, want %d", version, resp.StatusCode, resp.Header, want)
		}
	}
}

func TestStream_Framing(t *testing.T) {
	r, port := newRig(t), freePort(t)
	var paths atomic.Pointer[[]string]
	paths.Store(&[]string{})
	target := backend(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		if req.URL.Path != "/health" {
			next := append(append([]string{}, *paths.Load()...), fmt.Sprintf("%s %q", req.URL.Path, body))
			paths.Store(&next)
		}
	}))
	r.put(site(port, target))
	r.wait("tg", target, lbconfig.Healthy)
	inner := "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	// With both headers the coding wins (RFC 9112, 6.3), and the target is told so: it gets one framing only.
	both := "POST /both HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
	length := fmt.Sprintf("POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(inner), inner)
	c, err := net.Dial("tcp", local(port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, get1("/one")+get1("/two")+length+both)
	br := bufio.NewReader(c)
	for range 4 {
		readAnswer(t, br)
	}
	want := fmt.Sprintf("%q", []string{`/one ""`, `/two ""`, fmt.Sprintf("/length %q", inner), `/both ""`})
	if got := fmt.Sprintf("%q", *paths.Load()); got != want {
		t.Errorf("the target saw %s\nwant %s", got, want)
	}
}

// Failures of targets, with AWS's answers.
func TestFailure_OfTargets(t *testing.T) {
	answers := map[string]string{
		"/nonsense":  "hello\r\n\r\n",
		"/close":     "",
		"/cuthead":   "HTTP/1.1 200 OK\r\nContent-Le",
		"/bighead":   "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 40<<10) + "\r\nContent-Length: 0\r\n\r\n",
		"/bothframe": "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
	}
	r, port := newRig(t), freePort(t)
	s := newScripted(t, func(_ int, req *http.Request, c net.Conn) bool {
		io.WriteString(c, answers[req.URL.Path])
		return false
	})
	r.put(site(port, s.addr))
	r.wait("tg", s.addr, lbconfig.Healthy)
	for path := range answers {
		if resp, body := raw(t, local(port), get1(path)); resp.StatusCode != 502 || body != page(502) {
			t.Errorf("%s: %d %q, want 502", path, resp.StatusCode, body)
		}
	}
	// Once the header is on its way to the client, all that is left is to cut the answer.
	answers["/cutbody"] = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"
	c, err := net.Dial("tcp", local(port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	io.WriteString(c, get1("/cutbody"))
	all, _ := io.ReadAll(c)
	if !bytes.HasPrefix(all, []byte("HTTP/1.1 200 OK\r\n")) || !bytes.HasSuffix(all, []byte("\r\n\r\nabc")) {
		t.Errorf("cut body: %q", all)
	}
	// Nobody there: refused is 502 at once.
	gone := site(port)
	gone.Groups[0] = groupOf("tg", backendGone(t))
	gone.Groups[0].Health.Enabled = false
	r.put(gone)
	if resp, _ := raw(t, local(port), get1("/")); resp.StatusCode != 502 {
		t.Errorf("refused: %d, want 502", resp.StatusCode)
	}
}

func backendGone(t testing.TB) netip.AddrPort {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

func TestFailure_IdleTimeouts(t *testing.T) {
	t.Parallel()
	r, port := newRig(t), freePort(t)
	target := backend(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/silent":
			<-req.Context().Done()
		case "/stalls":
			io.WriteString(w, "abc")
			http.NewResponseController(w).Flush()
			<-req.Context().Done()
		case "/slow": // longer than the timeout in all, but never silent for so long
			for range 6 {
				io.WriteString(w, "x")
				http.NewResponseController(w).Flush()
				time.Sleep(150 * time.Millisecond)
			}
		case "/upload":
			io.Copy(io.Discard, req.Body)
		}
	}))
	s := site(port, target)
	s.Balancers[0].IdleTimeout = 700 * time.Millisecond
	r.put(s)
	r.wait("tg", target, lbconfig.Healthy)
	for name, c := range map[string]struct {
		request string
		status  int
		body    string
	}{
		"silent target":         {get1("/silent"), 504, page(504)},
		"slow target":           {get1("/slow"), 200, "xxxxxx"},
		"target that stalls":    {get1("/stalls"), 200, "abc"},
		"body that stays away":  {"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc", 408, page(408)},
		"header that stays off": {"GET / HTTP/1.1\r\nHost:", 408, page(408)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if resp, body := raw(t, local(port), c.request); resp.StatusCode != c.status || body != c.body {
				t.Errorf("%d %q, want %d %q", resp.StatusCode, body, c.status, c.body)
			}
		})
	}
	t.Run("kept alive, ends in silence", func(t *testing.T) {
		t.Parallel()
		c, err := net.Dial("tcp", local(port))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		io.WriteString(c, get1("/"))
		br := bufio.NewReader(c)
		readAnswer(t, br)
		if b, err := br.ReadByte(); err != io.EOF {
			t.Errorf("%q, %v, want EOF", b, err)
		}
	})
}

// The client going away ends the request at the target.
func TestFailure_ClientGoesAway(t *testing.T) {
	r, port := newRig(t), freePort(t)
	came, went := make(chan struct{}), make(chan struct{})
	target := backend(t, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/health" {
			return
		}
		close(came)
		<-req.Context().Done()
		close(went)
	}))
	r.put(site(port, target))
	r.wait("tg", target, lbconfig.Healthy)
	c, err := net.Dial("tcp", local(port))
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, get1("/"))
	<-came
	c.Close()
	select {
	case <-went:
	case <-time.After(patience):
		t.Error("the target was not told")
	}
	eventually(t, "nothing is in flight", func() bool {
		st, err := r.client.Status(t.Context(), 0)
		return err == nil && st.Targets[0].InFlight == 0
	})
}

// A client that takes nothing does not hold up the end of the deregistration delay.
func TestFailure_ClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	r, port := newRig(t), freePort(t)
	target := backend(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/health" {
			io.Copy(w, zeros{})
		}
	}))
	s := site(port, target)
	s.Balancers[0].IdleTimeout = 300 * time.Millisecond
	r.put(s)
	r.wait("tg", target, lbconfig.Healthy)
	c, err := net.Dial("tcp", local(port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, get1("/"))
	inFlight := func(n int) func() bool { // its changes alone wake nobody
		return func() bool {
			st, err := r.client.Status(t.Context(), 0)
			return err == nil && len(st.Targets) == 1 && st.Targets[0].InFlight == n
		}
	}
	eventually(t, "the request is in flight", inFlight(1))
	eventually(t, "it is not any more", inFlight(0))
}
