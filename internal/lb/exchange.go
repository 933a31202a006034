package lb

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// exchange is one request and its answer.
type exchange struct {
	conn     *clientConn
	request  request
	arrival  *arrival
	entry    *entry
	listener *listener
	rule     *rule
	group    *group                 // that the rule chose
	member   atomic.Pointer[member] // claimed; the conns' sweeper reads it
	up       *upstream
	mismatch bool // the group's targets don't speak the client's version of HTTP
	grpc     bool
	session  bool // the client brought a cookie that binds it to a target
	unstuck  bool // the group is sticky, and no cookie led to its target
	// failedOpen: too few targets were healthy, so that the others got requests, too.
	failedOpen bool
	// What the target is asked: the Host value, and path and query.
	host, url string
	cancel    func(cause error)
	close     bool                        // the connection ends with the answer
	bodiless  bool                        // the target's answer is a head alone
	aborted   bool                        // by conn.abort; belongs to conn.mu, or to that of its streams
	body      atomic.Pointer[requestBody] // nil without a body
	control   *http.ResponseController    // with HTTP/2
	last      atomic.Int64                // clock() of the last byte either way; with HTTP/2

	started, sentAt, answeredAt time.Time
	startedAt, endedAt          time.Duration // by clock
	sentBefore                  int64         // conn.sent when it began
	sent                        atomic.Int64  // bytes of its own to the client; with HTTP/2, see headSize
	location                    string        // of a redirect
	original                    string        // path and query before the rule's rewrites
	transform                   string        // how those went; "" without any
	trace                       string        // X-Amzn-Trace-Id for the target
	status                      int           // to the client; 0 while nothing was answered
	answered                    int           // by the target
	noted                       *traced
	number                      uint64 // of noted
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange { return ctx.Value(exchangeKey{}).(*exchange) }

// path is the path that the client asked for, decoded.
func (x *exchange) path() string {
	path, _, _ := strings.Cut(x.original, "?")
	return unescape(path)
}

// How a rule's rewrites went. Source: ALB user guide, access log entries, request_transform_status.
const (
	transformDone    = "TransformSuccess"
	transformBadHost = "TransformInvalidHost"
	transformBadPath = "TransformInvalidPath"
)

// rewrite sets what the target is asked. It is false when the rule's rewrites make nothing of it that can be sent.
func (x *exchange) rewrite() bool {
	x.host, x.url, x.transform = x.request.host, x.original, ""
	if x.rule.host.re == nil && x.rule.url.re == nil {
		return true
	}
	x.transform = transformDone
	bare := hostOnly(x.host)
	host, ok := x.rule.host.of(bare, validHost)
	if !ok {
		x.transform = transformBadHost
		return false
	}
	if host != bare {
		x.host = host + x.host[len(bare):]
	}
	if x.url, ok = x.rule.url.of(x.url, validURL); !ok {
		x.transform = transformBadPath
	}
	return ok
}

// now is the time of day, which began with the exchange.
func (x *exchange) now() time.Time { return x.started.Add(clock() - x.startedAt) }

// finish gives the claim back and counts.
func (x *exchange) finish() {
	x.endedAt = clock()
	took := x.endedAt - x.startedAt
	if m := x.member.Load(); m != nil {
		m.release()
		m.group.requests.count(x.answered, took)
		m.note(x.answered, x.status)
	}
	if x.listener != nil {
		x.listener.requests.count(x.status, took)
		x.measure()
		x.record(took)
	}
}

// incomplete: the client's body has not been read to its end.
func (x *exchange) incomplete() bool {
	b := x.body.Load()
	return b != nil && !b.done.Load()
}

// failure is the status for a target that did not answer properly, 0 when the client is gone and nobody would read
// it. cause is why the balancer ended it, if it did. Source: ALB user guide, troubleshooting.
func (x *exchange) failure(cause, err error) int {
	body := x.body.Load()
	switch {
	case x.arrival.broken.Load():
		return http.StatusBadRequest
	case errors.Is(cause, errIdle) && x.incomplete():
		return http.StatusRequestTimeout
	case errors.Is(cause, errIdle):
		return http.StatusGatewayTimeout
	case errors.Is(cause, errDrainEnd):
		return http.StatusBadGateway
	case cause != nil:
		return 0
	case body != nil && body.broken.Load():
		return http.StatusBadRequest
	case isTimeout(err):
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}

// requestBody notes how far the client came with its body.
type requestBody struct {
	io.Reader
	x      *exchange
	begun  atomic.Bool // reading began
	done   atomic.Bool // read to the end
	mu     sync.Mutex  // held while it is read
	over   bool        // nobody reads it any more; belongs to mu
	broken atomic.Bool // the client sent something that is no body, or ended early
}

// Close does nothing: another attempt may need the body, and net/http's server closes it after all.
func (b *requestBody) Close() error { return nil }

func (b *requestBody) Read(p []byte) (int, error) {
	b.begun.Store(true)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.Reader.Read(p)
	if n > 0 && b.x.control != nil {
		b.x.touch()
		b.x.arrival.received.Add(int64(n))
	}
	switch {
	case err == io.EOF:
		b.done.Store(true)
	case err != nil && !errors.Is(err, http.ErrBodyReadAfterClose):
		b.broken.Store(true)
	}
	return n, err
}

// stop ends the reading for the target, also where it waits for the client. The connection's reader is then net/http's alone.
func (b *requestBody) stop() {
	c := b.x.conn
	c.SetReadDeadline(past)
	b.mu.Lock()
	b.over = true
	b.mu.Unlock()
	c.SetReadDeadline(time.Time{})
}

// answer is the ResponseWriter of an exchange: it notes the status and keeps net/http from guessing a Content-Type.
type answer struct {
	http.ResponseWriter
	x *exchange
}

func (a *answer) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		a.x.status = status
		h := a.Header()
		if _, ok := h["Content-Type"]; !ok {
			h["Content-Type"] = nil
		}
		if l := a.x.listener; l != nil {
			modify(h, l.headers, a.x.answered == 0)
		}
		if a.x.close && status != http.StatusSwitchingProtocols {
			h.Set("Connection", "close")
		}
	} else if a.x.request.proto == "HTTP/1.0" { // has none of these. Source: RFC 9110, 15.2
		return
	} else {
		dropHopByHop(a.Header()) // ReverseProxy does so for final answers only
	}
	if a.x.control != nil {
		a.x.sent.Add(headSize(a.Header()))
	}
	a.ResponseWriter.WriteHeader(status)
}

// Hijack takes the connection for another protocol.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if a.x.conn.screen == nil {
		return nil, nil, http.ErrNotSupported
	}
	a.x.conn.screen.tunnel.Store(true)
	return http.NewResponseController(a.ResponseWriter).Hijack()
}

func (a *answer) Write(p []byte) (int, error) {
	if a.x.control != nil {
		a.x.touch()
		a.x.sent.Add(int64(len(p)))
	}
	return a.ResponseWriter.Write(p)
}

// FlushError keeps the head of an answer without a body until its end, so that both are one frame of HTTP/2: the status of
// a gRPC call that failed is in a head that ends the stream, and clients take it for lost in any other.
func (a *answer) FlushError() error {
	if a.x.bodiless {
		return nil
	}
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
