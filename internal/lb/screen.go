package lb

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// arrival is what a screen knows of a request that net/http does not.
type arrival struct {
	verdict verdict
	refuse  int // status to answer it with; what net/http is given is a stand-in
	// Of a refused request, and the target of one that net/http gets in another form.
	method, target, host string
	names                []string     // of fields, where they are not written as net/http writes them
	upgrade              bool         // to another protocol
	invalidName          bool         // some field has one, by validName
	received             atomic.Int64 // bytes of head and body so far
	broken               atomic.Bool  // the body ended in what is no chunk; net/http takes it for the client's leaving
}

// standIn is what net/http gets in the place of a request that is refused. It answers in its turn, and closes.
const standIn = "GET / HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n"

// What the bytes that a screen reads next belong to.
const (
	atHead  = iota
	inBody  // of a length
	inChunk // of a chunked body
	waiting // nothing: the request asks for another protocol
	ended   // nothing will follow
)

// maxEarly is how much a client may send before its upgrade is answered.
const maxEarly = 64 << 10

// screen stands between a client's connection and net/http, and sees every byte of requests. It finds where they
// begin and end, judges them, and passes each on in a form that can be read in one way only: what it can't tell for
// sure is refused. Most requests pass as they came, without being copied.
//
// It returns bytes of one request at a time.
type screen struct {
	src io.Reader
	// How an upgrade was answered: the bytes are no HTTP any more, or they still are.
	tunnel, declined atomic.Bool
	// over: a request was answered before its body was read to the end, and nothing that follows is read any more. Whoever
	// still read of the body may have left net/http's decoder in the middle of it, and net/http takes what is there for the
	// next request.
	over atomic.Bool

	state  int
	in     []byte // read and not yet looked at
	out    []byte // of a head, to be returned
	left   int64  // of a body
	chunks chunks
	now    *arrival // whose body is read

	mu    sync.Mutex
	queue []*arrival // whose heads were returned and whose handlers have not asked
}

var errEarly = errors.New("the client sent too much before its upgrade was answered")

// Read returns the next bytes for net/http.
func (s *screen) Read(p []byte) (int, error) {
	for {
		if s.over.Load() {
			return 0, io.EOF
		}
		if len(s.out) > 0 {
			n := copy(p, s.out)
			s.out = s.out[n:]
			return n, nil
		}
		if s.tunnel.Load() && len(p) > 1 { // net/http looks for the end of the connection byte by byte
			n, err := s.fetch(p)
			s.now.received.Add(int64(n))
			return n, err
		}
		switch s.state {
		case ended:
			return 0, io.EOF
		case waiting:
			if s.declined.Load() {
				s.state = atHead
				continue
			}
			if err := s.early(); err != nil {
				return 0, err
			}
		case inBody:
			return s.body(p)
		case inChunk:
			return s.chunk(p)
		default:
			if n, err := s.head(p); n > 0 || err != nil {
				return n, err
			}
		}
	}
}

// arrived is what is known of the request that net/http has handed over. nil: nothing.
func (s *screen) arrived() *arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return nil
	}
	a := s.queue[0]
	s.queue = s.queue[1:]
	return a
}

// Private

// take moves bytes that were read before to p.
func (s *screen) take(p []byte) int {
	n := copy(p, s.in)
	if s.in = s.in[n:]; len(s.in) == 0 {
		s.in = nil
	}
	return n
}

// fetch is take, or else Read.
func (s *screen) fetch(p []byte) (int, error) {
	if len(s.in) > 0 {
		return s.take(p), nil
	}
	return s.src.Read(p)
}

func (s *screen) early() error {
	if len(s.in) > maxEarly {
		return errEarly
	}
	return s.more()
}

// more reads more bytes into in.
func (s *screen) more() error {
	if cap(s.in)-len(s.in) < 512 {
		s.in = append(make([]byte, 0, max(2*len(s.in), 4096)), s.in...)
	}
	n, err := s.src.Read(s.in[len(s.in):cap(s.in)])
	s.in = s.in[:len(s.in)+n]
	if n > 0 {
		return nil
	}
	return err
}

// head reads the next request's head. It may return it right away.
func (s *screen) head(p []byte) (int, error) {
	if len(s.in) == 0 && len(p) > 1 { // most heads come in one piece, and pass as they are
		n, err := s.src.Read(p)
		if n == 0 {
			return 0, err
		}
		if end := headEnd(p[:n]); end > 0 && p[0] != '\r' && p[0] != '\n' {
			if h := parseHead(p[:end]); h.plain && h.refuse == 0 {
				s.in = append([]byte(nil), p[end:n]...)
				s.pass(h, end)
				return end, nil
			}
		}
		s.in = append(make([]byte, 0, max(n+512, 4096)), p[:n]...)
	}
	for {
		s.in = s.in[blank(s.in):]
		if end := headEnd(s.in); end > 0 {
			s.accept(end)
			return 0, nil
		}
		if len(s.in) > maxRequestLine+2 && bytes.IndexByte(s.in[:maxRequestLine+2], '\n') < 0 {
			s.refuse(&head{refuse: http.StatusRequestURITooLong}, len(s.in))
			return 0, nil
		}
		if len(s.in) > maxRequestLine+maxHeaders {
			s.refuse(&head{refuse: http.StatusBadRequest}, len(s.in))
			return 0, nil
		}
		if err := s.more(); err != nil {
			return 0, err
		}
	}
}

// blank counts the empty lines before a request (RFC 9112, 2.2). A CR without its LF may still get it.
func blank(p []byte) int {
	n := 0
	for {
		switch {
		case bytes.HasPrefix(p[n:], []byte("\r\n")):
			n += 2
		case bytes.HasPrefix(p[n:], []byte("\n")):
			n++
		default:
			return n
		}
	}
}

// headEnd is the length of a head that p begins with, with its empty line. 0: it is not all there.
func headEnd(p []byte) int {
	for at := 0; ; {
		i := bytes.IndexByte(p[at:], '\n')
		if i < 0 {
			return 0
		}
		at += i + 1
		switch rest := p[at:]; {
		case bytes.HasPrefix(rest, []byte("\n")):
			return at + 1
		case bytes.HasPrefix(rest, []byte("\r\n")):
			return at + 2
		}
	}
}

// accept takes the head of so many bytes out of in.
func (s *screen) accept(end int) {
	raw := s.in[:end]
	h := parseHead(raw)
	if line := bytes.IndexByte(raw, '\n'); h.refuse == 0 && end-line > maxHeaders {
		h.refuse = http.StatusBadRequest
	}
	if h.refuse != 0 {
		s.refuse(h, end)
		return
	}
	if s.out = raw; !h.plain {
		s.out = h.bytes()
	}
	if s.in = s.in[end:]; len(s.in) == 0 {
		s.in = nil
	}
	s.pass(h, end)
}

// pass announces a request and goes on to its body.
func (s *screen) pass(h *head, size int) {
	a := h.arrival(size)
	switch {
	case h.upgrade:
		s.declined.Store(false)
		s.state = waiting
	case h.framing.chunked:
		s.state, s.chunks = inChunk, chunks{}
	case h.framing.length > 0:
		s.state, s.left = inBody, h.framing.length
	}
	s.announce(a)
}

func (s *screen) refuse(h *head, size int) {
	s.in, s.out, s.state = nil, []byte(standIn), ended
	a := h.arrival(size)
	a.refuse, a.method, a.target = h.refuse, h.method, h.target
	for _, f := range h.fields {
		if len(f.name) == len("Host") && bytes.EqualFold([]byte(f.name), []byte("Host")) {
			a.host = f.value
		}
	}
	s.announce(a)
}

func (s *screen) announce(a *arrival) {
	s.now = a
	s.mu.Lock()
	s.queue = append(s.queue, a)
	s.mu.Unlock()
}

func (s *screen) body(p []byte) (int, error) {
	n, err := s.fetch(p[:min(int64(len(p)), s.left)])
	s.now.received.Add(int64(n))
	if s.left -= int64(n); s.left == 0 {
		s.state = atHead
	}
	return n, err
}

func (s *screen) chunk(p []byte) (int, error) {
	n, err := s.fetch(p)
	end, bad := s.chunks.end(p[:n])
	s.now.received.Add(int64(end))
	switch {
	case bad != nil:
		s.now.broken.Store(true)
		s.state = ended
		if end == 0 {
			return 0, bad
		}
		return end, nil
	case s.chunks.done():
		s.state = atHead
		if end < n { // what follows is the next request's
			s.in = append(append(make([]byte, 0, n-end+len(s.in)), p[end:n]...), s.in...)
		}
		return end, nil
	}
	return n, err
}

// arrival is what is worth remembering of a head of so many bytes.
func (h *head) arrival(size int) *arrival {
	a := &arrival{verdict: h.verdict, upgrade: h.upgrade, invalidName: h.invalidName}
	a.received.Store(int64(size))
	if h.refuse == 0 && !h.plain && escapeTarget(h.target, true) != h.target {
		a.target = h.target
	}
	for _, f := range h.fields {
		if !f.drop && http.CanonicalHeaderKey(f.name) != f.name {
			a.names = append(a.names, f.name)
		}
	}
	return a
}

// url is path and query as the client sent them, but for what would break a request line.
func (a *arrival) url(target string) string {
	t := target
	if a.target != "" {
		t = escapeTarget(a.target, false)
	}
	if strings.HasPrefix(t, "/") || t == "*" {
		return t
	}
	if _, rest, ok := strings.Cut(t, "://"); ok {
		if t = rest[len(authority(rest)):]; !strings.HasPrefix(t, "/") {
			t = "/" + t
		}
	}
	return t
}
