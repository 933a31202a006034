package lb

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// both are two balancers that differ in their engines only.
type both struct{ ports [2]uint16 }

func newBoth(t testing.TB, target netip.AddrPort) both {
	var b both
	for i, engine := range []string{lbconfig.EngineStd, lbconfig.EngineFast} {
		testEngine = engine
		r := newRig(t)
		testEngine = lbconfig.EngineStd
		b.ports[i] = freePort(t)
		s := site(b.ports[i], target)
		s.Groups[0].Health.Enabled = false
		s.Balancers[0].IdleTimeout = 300 * time.Millisecond // for requests that never end
		r.put(s)
	}
	return b
}

// compare sends the bytes to both and reports what the clients got differently. It asks again, because a target that
// closes its connection just when it is used again makes any engine answer 502.
func (b both) compare(t *testing.T, raw []byte) {
	t.Helper()
	var diff string
	for range 3 {
		var got [2][]string
		var wg sync.WaitGroup
		for i := range got {
			wg.Go(func() { got[i] = answersTo(t, b.ports[i], raw) })
		}
		wg.Wait()
		if diff = cmp.Diff(got[0], got[1]); diff == "" {
			return
		}
	}
	t.Errorf("%q: (-std +fast)\n%s", raw, diff)
}

// answersTo is all that comes back for the bytes, as far as both engines should agree on it.
func answersTo(t *testing.T, port uint16, raw []byte) (out []string) {
	c, err := net.Dial("tcp", local(port))
	if err != nil {
		t.Error(err)
		return nil
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	go c.Write(raw) // it may not be taken
	br := bufio.NewReader(c)
	for {
		method := http.MethodGet
		if len(out) == 0 && bytes.HasPrefix(raw, []byte("HEAD ")) {
			method = http.MethodHead
		}
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			return out
		}
		body, err := io.ReadAll(resp.Body)
		text := fmt.Sprintf("%d close=%v chunked=%v whole=%v\n", resp.StatusCode, resp.Close, len(resp.TransferEncoding) > 0, err == nil)
		resp.Header.Del("Date")
		if resp.StatusCode == http.StatusNotModified || resp.StatusCode == http.StatusNoContent {
			for _, name := range []string{"Content-Length", "Content-Type", "Trailer"} { // net/http has some of what tells of a body that is not there
				resp.Header.Del(name)
			}
		}
		if resp.Header.Get("Content-Type") == "text/x-mirror" {
			resp.Header.Del("Content-Length")
			body = canonical(body)
		}
		var head bytes.Buffer
		resp.Header.Write(&head)
		out = append(out, text+head.String()+string(body)+fmt.Sprint(resp.Trailer))
	}
}

// canonical is a request as the mirror got it, without what differs from one to the next, and without what engines may
// spell in their own ways: the names and the order of fields.
func canonical(raw []byte) []byte {
	line, rest, _ := strings.Cut(string(raw), "\r\n")
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET / HTTP/1.1\r\n" + rest)))
	if err != nil {
		return raw
	}
	if r.Header.Get("Content-Length") == "0" { // which says no more than none
		r.Header.Del("Content-Length")
	}
	r.Header.Del("X-Amzn-Trace-Id")
	r.Header.Del("X-Forwarded-Port")
	host, _, _ := strings.Cut(r.Host, ":") // the ports differ
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s %s\n", line, host)
	r.Header.Write(&out)
	body, err := io.ReadAll(r.Body)
	fmt.Fprintf(&out, "%q %v %v", body, err, r.Trailer)
	return out.Bytes()
}

const lastRequest = "GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

// FuzzEngines_SameRequests: whatever a client sends, both engines make the same of it.
func FuzzEngines_SameRequests(f *testing.F) {
	for _, c := range allBehaviours() {
		f.Add([]byte(strings.ReplaceAll(c.request, "{port}", "80")))
	}
	for _, s := range smuggling {
		f.Add([]byte(s))
	}
	for _, s := range []string{
		"DELETE /x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
		"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
		"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe",
		"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat("a", 20000),
		"GET /x\x0bHTTP/1.1\r\nHost: x\r\n\r\n",
		"GET //x/../y?a=b?c#d HTTP/1.1\r\nHost: x:y\r\nCookie: a=b\r\ncookie: c\r\n\r\n",
		"GET /\"\\^`{|}\x80 HTTP/1.1\r\nHost: [::1]:80\r\nAccept: \xff\r\nA: \r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nKeep-Alive: 1\r\nProxy-Connection: a\r\nProxy-Authorization: b\r\nUpgrade: c\r\nConnection: keep-alive\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nConnection: x-a, close\r\nX-A: b\r\nTe: trailers\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	b := newBoth(f, mirror(f, targetAnswers...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if bytes.Contains(bytes.ToLower(raw), []byte("upgrade")) && bytes.Contains(bytes.ToLower(raw), []byte("connection")) {
			raw = bytes.ReplaceAll(bytes.ToLower(raw), []byte("upgrade"), []byte("downgrade")) // the mirror has no other protocol
		}
		b.compare(t, append(slices.Clip(raw), lastRequest...))
	})
}

// FuzzEngines_SameAnswers: whatever a target sends, clients of both engines get the same.
func FuzzEngines_SameAnswers(f *testing.F) {
	for _, a := range targetAnswers {
		f.Add([]byte(a))
	}
	for _, head := range []string{
		"HTTP/1.1 200 OK\r\n", "HTTP/1.1 200\r\n", "HTTP/1.1 200 \r\n", "HTTP/1.0 200 OK\r\n", "HTTP/1.1  200 OK\r\n", "HTTP/1.1 20 OK\r\n", "HTTP/1.1 204 No\r\n", "HTTP/1.1 304 x\r\n",
		"HTTP/1.1 999 x\r\n", "HTTP/1.1 099 x\r\n", "HTTP/1.1 +00 x\r\n", "HTTP/1.1 -01 x\r\n", "HTTP/2.0 200 OK\r\n", "HTTP/1.1 101 x\r\n", "HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\n",
	} {
		for _, rest := range []string{
			"Content-Length: 3\r\n\r\nabc", "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", "Content-Length: +3\r\n\r\nabc",
			"Content-Length: 3\r\n\r\nabcd", "Content-Length: 3\r\n\r\nab", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
			"Transfer-Encoding: chunked\r\nTrailer: A\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
			"Content-Length: 3\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n3\r\na",
			"Transfer-Encoding: gzip\r\n\r\nabc", "\r\nabc", "Connection: close\r\n\r\nabc", "Connection: x-a\r\nX-A: b\r\nContent-Length: 0\r\n\r\n",
			"A : b\r\nContent-Length: 0\r\n\r\n", "A: b\r\n c\r\nContent-Length: 0\r\n\r\n", ": b\r\nContent-Length: 0\r\n\r\n", "A: b\nContent-Length: 0\n\n", "Set-Cookie: a\r\nset-cookie: b\r\nContent-Length: 0\r\n\r\n",
			"Keep-Alive: a\r\nUpgrade: b\r\nProxy-Authenticate: c\r\nDate: d\r\nServer: e\r\nContent-Type: f\r\nContent-Length: 0\r\n\r\n", "A: \x00\r\nContent-Length: 0\r\n\r\n", "A\r\n\r\n",
		} {
			f.Add([]byte(head + rest))
		}
	}
	f.Add([]byte("HTTP/1.1 103 Early\r\nTe: a\r\nConnection: x-a\r\nX-A: b\r\nTrailer: c\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 103 Early\r\n0 : a\r\nLink: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	f.Add([]byte("HTTP/0.0 100 0\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 \nTrAnsfer-EnCoding:Chunked\n\n"))
	f.Add([]byte("HTTP/1.1 103 Early\r\nA: b\r\nConnection: close\r\nContent-Length: 3\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	var answer atomic.Pointer[[]byte]
	s := newScripted(f, func(_ int, _ *http.Request, c net.Conn) bool {
		c.Write(*answer.Load())
		return false
	})
	b := newBoth(f, s.addr)
	f.Fuzz(func(t *testing.T, raw []byte) {
		answer.Store(&raw)
		b.compare(t, []byte(get1("/", "Connection: close")))
		if t.Failed() {
			t.Logf("after the answer %q", raw)
		}
	})
}

// FuzzOrdinary: what the fast engine takes for an ordinary head, net/http reads in the same way.
func FuzzOrdinary(f *testing.F) {
	for _, c := range allBehaviours() {
		f.Add([]byte(c.request))
	}
	for _, s := range smuggling {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		end := headEnd(raw)
		if end == 0 || raw[0] == '\r' || raw[0] == '\n' {
			return
		}
		h := parseHead(raw[:end])
		if !h.ordinary(raw) {
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			t.Fatalf("%q is no request: %v", raw, err)
		}
		if r.Method != h.method || r.RequestURI != h.target || r.Host != first(h, "Host") || max(r.ContentLength, 0) != h.framing.length || len(r.TransferEncoding) > 0 {
			t.Errorf("%q: %s %s %s with %d bytes, want %s %s %s with %d", raw, h.method, h.target, first(h, "Host"), h.framing.length, r.Method, r.RequestURI, r.Host, r.ContentLength)
		}
		for name, values := range r.Header {
			for i, v := range values {
				if got, _ := h.value(name, i); got != v {
					t.Errorf("%q: %s is %q, want %q", raw, name, got, v)
				}
			}
		}
	})
}

// FuzzAnswerHead: what is read as an ordinary head of an answer, net/http reads in the same way.
func FuzzAnswerHead(f *testing.F) {
	for _, a := range targetAnswers {
		f.Add([]byte(a))
	}
	f.Add([]byte("HTTP/1.1 200\r\nContent-Length: 0\r\nConnection: Close\r\nA:b\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		end := headEnd(raw)
		a := targetAnswer{length: -1}
		if end == 0 || !a.parsePlain(string(raw[:end])) {
			return
		}
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), &http.Request{Method: http.MethodPost})
		if err != nil {
			t.Fatalf("%q is no answer: %v", raw, err)
		}
		bodiless := a.status < 200 || a.status == 204 || a.status == 304
		if resp.StatusCode != a.status || !bodiless && (resp.ContentLength != a.length || a.chunked != (len(resp.TransferEncoding) > 0)) || !bodiless && (a.chunked || a.length >= 0) && resp.Close != a.closes {
			t.Errorf("%q: %d with %d bytes, chunked %v, closes %v, want %d with %d, %v, %v", raw, a.status, a.length, a.chunked, a.closes, resp.StatusCode, resp.ContentLength, resp.TransferEncoding, resp.Close)
		}
	})
}
