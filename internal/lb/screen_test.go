package lb

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// through is what net/http reads from a client's bytes behind a screen: requests with their bodies.
func through(raw []byte, wrap func(io.Reader) io.Reader) (out []string) {
	s := &screen{src: wrap(bytes.NewReader(raw))}
	br := bufio.NewReader(s)
	for {
		r, err := http.ReadRequest(br)
		if err != nil {
			if err != io.EOF {
				out = append(out, "no request")
			}
			return out
		}
		a := s.arrived()
		if a.refuse != 0 {
			return append(out, fmt.Sprint(a.refuse))
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return append(out, "broken body")
		}
		out = append(out, fmt.Sprintf("%s %s %q", r.Method, a.url(r.RequestURI), body))
		if a.upgrade {
			return out
		}
	}
}

func whole(r io.Reader) io.Reader { return r }

func TestScreen_FindsWhereRequestsEnd(t *testing.T) {
	const inner = "GET /inner HTTP/1.1\r\nHost: x\r\n\r\n"
	for _, c := range []struct {
		name, raw string
		want      []string
	}{
		{"pipelined", inner + inner, []string{`GET /inner ""`, `GET /inner ""`}},
		{"body that looks like a request", fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s%s", len(inner), inner, inner),
			[]string{fmt.Sprintf("POST / %q", inner), `GET /inner ""`}},
		{"CL.TE", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner, []string{`POST / ""`, `GET /inner ""`}},
		{"chunks", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: 1\r\n\r\n" + inner, []string{`POST / "abc"`, `GET /inner ""`}},
		{"nothing after what is refused", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n" + inner, []string{"400"}},
		{"nothing after a broken chunk", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n" + inner, []string{"broken body"}},
		{"bytes before an upgrade is answered are no request", "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n" + inner, []string{`GET / ""`}},
	} {
		for name, wrap := range map[string]func(io.Reader) io.Reader{"whole": whole, "by bytes": iotest.OneByteReader, "by halves": iotest.HalfReader} {
			if diff := cmp.Diff(c.want, through([]byte(c.raw), wrap)); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", c.name, name, diff)
			}
		}
	}
}

func TestHead_Verdict(t *testing.T) {
	for raw, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n":                                                                "Compliant",
		"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n":                                                             "Acceptable SpaceInUri",
		"GET / HTTP/1.1\r\nHost: x\r\nTransfer_Encoding: chunked\r\n\r\n":                                  "Ambiguous SuspiciousHeader",
		"GET / HTTP/1.1\r\nHost: x\r\ncontent.length: 1\r\n\r\n":                                           "Ambiguous SuspiciousHeader",
		"GET / HTTP/1.1\r\nHost: x\r\nContent-Length-X: 1\r\n\r\n":                                         "Compliant",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent_Length: 1\r\n\r\n":            "Severe SuspiciousTeClPresent",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n":                     "Severe MultipleContentLength",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n":                        "Severe MultipleTransferEncodingChunked",
		"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n":                                 "Ambiguous UndefinedTransferEncodingSemantics",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: x\r\n\r\n":                                       "Severe BadTransferEncoding",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\nContent-Length: 3\r\n\r\n":        "Ambiguous MultilineHeader",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n":  "Compliant",
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\n":           "Compliant",
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\nX: \x00\r\n\r\n": "Severe BadHeader",
	} {
		h := parseHead([]byte(raw))
		if got := strings.TrimSpace(h.verdict.class.String() + " " + h.verdict.reason); got != want {
			t.Errorf("%q is %s, want %s", raw, got, want)
		}
	}
}

var smuggling = []string{
	"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGPOST / HTTP/1.1\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\nTransfer-encoding: cow\r\n\r\n5c\r\nx\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\nContent-Length: 3\r\n\r\nabc",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\x0bchunked\r\nContent-Length: 3\r\n\r\nabc",
	"POST / HTTP/1.1\r\nHost: x\r\n Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
	"POST / HTTP/1.1\r\nHost: x\r\nX: y\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: x\r\nX: y\rTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding\r\n : chunked\r\nContent-Length: 3\r\n\r\nabc",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \"chunked\"\r\nContent-Length: 3\r\n\r\nabc",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 03\r\n\r\nabc",
	"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3,4\r\n\r\nabc",
	"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x3\r\n\r\nabc",
	"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3_0\r\n\r\nabc",
	"POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\nabc",
	"POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 3\r\n\r\nabc",
	"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=\"\r\n\"\r\nabc\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\rX0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1000000000000000000000003\r\nabc\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\nZ: 1\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
	"GET /a HTTP/1.1\r\nX: GET /b HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /\tHTTP/1.1\r\nHost: x\r\n\r\n", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.1\r\n\r\nHost: x\r\n\r\n", "\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\n",
}

// What the screen lets pass is read alike by net/http in whatever pieces it comes; and what it lets pass, written for
// a target, is one request to it.
func FuzzScreen(f *testing.F) {
	for _, s := range smuggling {
		f.Add([]byte(s + "GET /next HTTP/1.1\r\nHost: y\r\n\r\n"))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		all := through(raw, whole)
		if bytewise := through(raw, iotest.OneByteReader); !cmp.Equal(all, bytewise) {
			t.Errorf("%q is %q in one piece, byte by byte %q", raw, all, bytewise)
		}
		end := headEnd(raw)
		if end == 0 {
			return
		}
		h := parseHead(raw[:end])
		if h.refuse != 0 {
			return
		}
		again := parseHead(h.bytes())
		if again.refuse != 0 || again.framing != h.framing || again.method != h.method || again.verdict.class == severe {
			t.Errorf("%q becomes %q, which is another request: %+v, %+v", raw[:end], h.bytes(), h, again)
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(h.bytes())))
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", h.bytes(), err)
		}
		if h.framing.chunked != (len(r.TransferEncoding) > 0) || !h.framing.chunked && r.ContentLength != h.framing.length {
			t.Errorf("%q ends elsewhere for net/http: %v, %d", h.bytes(), r.TransferEncoding, r.ContentLength)
		}
	})
}

// Where both accept a chunked body, both see the same end.
func FuzzChunks(f *testing.F) {
	for _, s := range smuggling {
		if _, body, ok := strings.Cut(s, "\r\n\r\n"); ok {
			f.Add([]byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var c chunks
		n, err := c.end(raw)
		if err != nil || !c.done() {
			return
		}
		src := bufio.NewReader(bytes.NewReader(append([]byte("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"), raw...)))
		r, err := http.ReadRequest(src)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return // its trailers are none to net/http
		}
		rest, _ := io.ReadAll(src)
		if !bytes.Equal(rest, raw[n:]) {
			t.Errorf("after %q follows %q, for net/http %q", raw[:n], raw[n:], rest)
		}
	})
}
