package lb

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unsafe"
)

// workspace is what passing a request or an answer on takes. Few are in use, since nobody has one while he waits: so
// what is in them is in the processor's cache.
type workspace struct {
	out    [40 << 10]byte // a head with the beginning of a body
	in     [32 << 10]byte // from a target
	fields []field        // of a head in there
}

var workspaces = sync.Pool{New: func() any { return new(workspace) }}

// targetAnswer is a target's answer on its way to the client.
type targetAnswer struct {
	e     *fastExchange
	t     *targetConn
	space *workspace // nil while the target thinks
	buf   []byte     // of it
	r, w  int        // what has been read and not passed on: buf[r:w]

	status  int
	list    []field // also of space
	chunked bool
	chunks  chunks
	length  int64 // of the body; -1: as long as the connection, unless it is chunked
	closes  bool  // the connection, after it
	whole   bool  // all of it has been read
}

// value is that of fields, an interface.
func (a *targetAnswer) value(name string, i int) (string, bool) { return valueIn(a.list, name, i) }

// room is landing's.
func (a *targetAnswer) room() []byte {
	if a.space == nil {
		a.space = workspaces.Get().(*workspace)
		a.buf, a.list = a.space.in[:], a.space.fields
	}
	return a.buf
}

// vacate is landing's.
func (a *targetAnswer) vacate() {
	if a.space != nil {
		a.space.fields = a.list[:0]
		workspaces.Put(a.space)
		a.space, a.buf, a.list = nil, nil, nil
	}
}

// release gives the connection back, or closes it if it can't take another request. Again is harmless.
func (a *targetAnswer) release() {
	e, t := a.e, a.t
	if t == nil {
		return
	}
	a.t = nil
	e.waitFor(nil)
	e.endUpload(t)
	if a.whole && !a.closes && a.r == a.w && e.aborted() == nil && (e.uploaded == nil || e.body.done.Load()) {
		e.up.kept.put(t)
	} else {
		t.Close()
	}
}

// readHead reads the head of the answer. Interim ones before it are passed on.
func (a *targetAnswer) readHead() error {
	a.room()
	for {
		end, err := a.fetchHead()
		if err != nil {
			return err
		}
		if err := a.parse(a.buf[a.r:end]); err != nil {
			return err
		}
		switch {
		case a.status >= 200:
			a.r = end
			return nil
		case a.status == http.StatusSwitchingProtocols: // nobody asked for it
			return errAnswer
		}
		if err := a.e.fc.send(a.interim()); err != nil {
			return err
		}
		a.r = end
	}
}

// pass passes the answer on.
func (a *targetAnswer) pass() error {
	e := a.e
	e.answeredBy(a.status)
	head := a.head(a.space.out[:0], e.fc.engine.proxy.cookies(&e.exchange, a))
	body, err := a.framed(a.buf[a.r:a.w])
	e.begun = true
	if len(head)+len(body) <= len(a.space.out) {
		head = append(head, body...)
		body = nil
	}
	if a.whole {
		a.release() // before the client can ask again
	} else {
		e.record(0) // it may take long
	}
	if a.whole && e.close && len(body) == 0 {
		return e.fc.sendLast(head)
	}
	if err := e.fc.send(head); err != nil {
		return err
	}
	for {
		if len(body) > 0 {
			if err := e.fc.send(body); err != nil {
				return err
			}
		}
		if a.whole || err != nil {
			return err
		}
		if a.length >= spliceFrom && !a.chunked && a.t.sock != nil && e.fc.sock != nil {
			return a.splice()
		}
		n, readErr := a.t.Read(a.buf)
		a.r, a.w = 0, n
		switch {
		case n > 0:
			body, err = a.framed(a.buf[:n])
		case readErr == io.EOF && a.length < 0 && !a.chunked:
			body, a.whole = []byte("0\r\n\r\n"), true
		default:
			return readErr
		}
		if a.whole {
			a.release()
		}
	}
}

// splice passes on the rest of a body within the kernel.
func (a *targetAnswer) splice() error {
	c := a.e.conn
	if err := splice(a.e.fc.sock, a.t.sock, a.length, func(n int) {
		c.touch()
		c.sent.Add(int64(n))
	}); err != nil {
		return err
	}
	a.r, a.w, a.whole = 0, 0, true
	a.release()
	return nil
}

// Private

// fetchHead reads until a whole head is there, and returns its end in buf.
func (a *targetAnswer) fetchHead() (end int, err error) {
	for {
		if n := headEnd(a.buf[a.r:a.w]); n > 0 {
			return a.r + n, nil
		}
		if a.w == len(a.buf) { // the limit is for interim ones and the head together
			return 0, errAnswer
		}
		n, err := a.t.Read(a.buf[a.w:])
		if a.w += n; n == 0 {
			return 0, err
		}
	}
}

// parse reads a head. What is out of the ordinary is read by net/http, as the other engine has it.
func (a *targetAnswer) parse(raw []byte) error {
	a.list, a.chunked, a.length, a.closes = a.list[:0], false, -1, false
	if !a.parsePlain(unsafe.String(&raw[0], len(raw))) { // the buffer is as it is while the head is in use
		if err := a.parseByLibrary(raw); err != nil {
			return err
		}
	}
	if a.e.request.method == http.MethodHead || a.status < 200 || a.status == http.StatusNoContent || a.status == http.StatusNotModified {
		a.chunked, a.length = false, 0
	}
	return nil
}

// parsePlain is false when the head is out of the ordinary.
func (a *targetAnswer) parsePlain(text string) bool {
	const version, status = "HTTP/1.1 ", "HTTP/1.1 200"
	line, rest, ok := strings.Cut(text, "\r\n")
	if !ok || len(line) < len(status) || line[:len(version)] != version || len(line) > len(status) && line[len(status)] != ' ' || line[len(version)] == '0' || hasControl(line) {
		return false
	}
	a.status = 0
	for _, c := range []byte(line[len(version):len(status)]) {
		if !isDigit(c) {
			return false
		}
		a.status = 10*a.status + int(c-'0')
	}
	lengths := 0
	for {
		if line, rest, ok = strings.Cut(rest, "\r\n"); !ok {
			return false
		}
		if line == "" {
			return true
		}
		name, value, ok := strings.Cut(line, ":")
		if value = strings.Trim(value, " \t"); !ok || !isToken(name) || hasControl(value) {
			return false
		}
		switch len(name) {
		case len(contentLength):
			if strings.EqualFold(name, contentLength) {
				n, err := strconv.ParseUint(value, 10, 63)
				if lengths++; err != nil || lengths > 1 || a.chunked || !isDigit(value[0]) {
					return false
				}
				a.length = int64(n)
			}
		case len(transferEncoding):
			if strings.EqualFold(name, transferEncoding) {
				if !strings.EqualFold(value, "chunked") || a.chunked || lengths > 0 {
					return false
				}
				a.chunked = true
			}
		case len("Connection"):
			if strings.EqualFold(name, "Connection") {
				switch {
				case strings.EqualFold(value, "close"):
					a.closes = true
				case !strings.EqualFold(value, "keep-alive"):
					return false
				}
			}
		}
		a.list = append(a.list, field{name: name, value: value})
	}
}

// parseByLibrary reads a head as net/http does.
func (a *targetAnswer) parseByLibrary(raw []byte) error {
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), &http.Request{Method: a.e.request.method})
	if err != nil || resp.StatusCode < 100 {
		return errAnswer
	}
	named := ""
	for _, v := range resp.Header["Connection"] {
		named += "," + v
	}
	a.list = a.list[:0]
	for name, values := range resp.Header {
		if !isToken(name) {
			if resp.StatusCode < 200 { // which loses it
				continue
			}
			return errAnswer
		}
		for _, v := range values {
			if hasControl(v) {
				return errAnswer
			}
			if !slices.ContainsFunc(strings.Split(named, ","), func(n string) bool { return strings.EqualFold(strings.TrimSpace(n), name) }) {
				a.list = append(a.list, field{name: name, value: v})
			}
		}
	}
	a.status, a.closes = resp.StatusCode, resp.Close
	a.length, a.chunked = resp.ContentLength, slices.Equal(resp.TransferEncoding, []string{"chunked"})
	for name := range resp.Trailer {
		a.list = append(a.list, field{name: "Trailer", value: name})
	}
	return nil
}
