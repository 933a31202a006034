package lb

import (
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// maxHeld is how many connections of clients that are not admitted are held at once; more are closed.
const maxHeld = 1024

// proxy answers requests by the table in force.
type proxy struct {
	table    atomic.Pointer[table]
	conns    *conns
	tls      *terminator
	trace    ring
	held     atomic.Int64
	retiring atomic.Bool // answers end their connections
	jar      *jar
	access   *accessLog
	forward  *httputil.ReverseProxy
	log      *slog.Logger
}

func newProxy(l *slog.Logger) *proxy {
	p := &proxy{conns: newConns(), jar: randomJar(), access: newAccessLog(), log: l}
	p.table.Store(&table{})
	p.conns.late = p.late
	p.tls = newTerminator(p.conns, p.access, p.entryAt)
	p.forward = &httputil.ReverseProxy{
		Rewrite:        p.rewrite,
		Transport:      roundTripper{},
		FlushInterval:  -1, // what a target sends is passed on at once
		ModifyResponse: p.answered,
		ErrorHandler:   p.failed,
		BufferPool:     &buffers{},
		ErrorLog:       log.New(io.Discard, "", 0), // failures are counted and traced; clients that go away are no news
	}
	return p
}

// entryAt is what answers at a bound address, nil when its listener has gone.
func (p *proxy) entryAt(k portKey) *entry { return p.table.Load().ports[k] }

// ServeHTTP serves one request that net/http has read.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancelCause(r.Context())
	x := &exchange{conn: connOf(ctx), cancel: cancel, request: newRequest(r)}
	x.arrival = x.conn.arrived()
	if x.conn.multiplexed() {
		x.control = http.NewResponseController(w)
		for name := range r.Header {
			x.arrival.invalidName = x.arrival.invalidName || !validName(name)
		}
		x.arrival.received.Store(headSize(r.Header) + int64(len(r.Method)+len(r.RequestURI)+len(r.Host)))
		x.touch()
	}
	if x.arrival.refuse != 0 { // what net/http has is a stand-in
		x.request.method, x.request.host = x.arrival.method, x.arrival.host
	}
	p.begin(x)
	defer func() {
		p.end(x)
		cancel(nil)
	}()
	a := &answer{ResponseWriter: w, x: x}
	switch own, err := p.decide(x); {
	case errors.Is(err, errNotAdmitted):
		p.hold(ctx)
		panic(http.ErrAbortHandler)
	case err != nil:
		panic(http.ErrAbortHandler)
	case own != nil:
		a.reply(own)
	default:
		p.send(a, r.WithContext(context.WithValue(ctx, exchangeKey{}, x)), x)
	}
}

// Private

func (p *proxy) send(w *answer, r *http.Request, x *exchange) {
	if r.ContentLength != 0 {
		http.NewResponseController(w).EnableFullDuplex() // HTTP/1 always can
		if strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
			w.WriteHeader(http.StatusContinue)
		}
		b := &requestBody{Reader: r.Body, x: x}
		r.Body = b
		x.body.Store(b)
		if cause := context.Cause(r.Context()); cause != nil {
			x.conn.abort(x, cause) // who aborted before did not know of the body
		}
	}
	x.sentAt = time.Now()
	defer func() {
		if v := recover(); v != nil { // the target broke off: what it has answered goes to the client, who sees that it isn't whole
			if x.status != 0 {
				w.FlushError()
			}
			panic(v)
		}
	}()
	p.forward.ServeHTTP(w, r)
	if x.incomplete() && x.conn.screen != nil {
		x.body.Load().stop()
		x.conn.screen.over.Store(true)
	}
}

// rewrite makes the request for the target. ReverseProxy has removed hop-by-hop headers, and X-Forwarded headers,
// which are made from the client's; what AWS lets pass comes back.
func (p *proxy) rewrite(pr *httputil.ProxyRequest) {
	x := exchangeOf(pr.In.Context())
	in, out := pr.In.Header, pr.Out.Header
	pr.Out.URL = targetURL(x.up.wire.scheme(), x.url, x.up.host)
	pr.Out.Trailer = pr.In.Trailer // which is filled in when the body has been read
	b := x.listener.balancer
	pr.Out.Host = string(x.appendHost(nil))
	pr.Out.Close = x.arrival.verdict.closes(b.Routing.Desync)
	for _, name := range []string{"Forwarded", "X-Forwarded-Host"} {
		if v, ok := in[name]; ok {
			out[name] = v
		}
	}
	x.setForwarded(out, in)
	if b.Routing.TLSHeaders {
		for _, f := range x.conn.session.told(x.listener.headers) {
			out.Set(f.name, f.value)
		}
	}
	out.Set("X-Amzn-Trace-Id", x.trace)
	out.Del("Expect")                                                 // answered already
	if strings.Contains(strings.ToLower(out.Get("Upgrade")), "h2c") { // its requests would pass unseen: no rules, no log
		out.Del("Upgrade")
		out.Del("Connection")
	}
	if b.Routing.DropInvalidHeaders {
		dropInvalid(out)
	}
	respell(out, x.arrival.names)
}

// answered runs when the target's header is there and nothing has gone to the client.
func (p *proxy) answered(resp *http.Response) error {
	if resp.StatusCode < 100 {
		return errAnswer
	}
	for name := range resp.Header {
		if !isToken(name) {
			return errAnswer
		}
	}
	x := exchangeOf(resp.Request.Context())
	x.answeredBy(resp.StatusCode)
	x.record(0)
	x.bodiless = resp.ContentLength == 0
	for _, c := range p.cookies(x, httpFields(resp.Header)) {
		resp.Header.Add("Set-Cookie", c)
	}
	return nil
}

func (p *proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r.Context())
	x.answered = 0 // with an upgrade to what nobody asked for
	status := x.failure(context.Cause(r.Context()), err)
	if status == 0 {
		panic(http.ErrAbortHandler)
	}
	p.log.Debug("request failed", "target", x.up.host, "status", status, "err", err)
	if status == http.StatusBadRequest || context.Cause(r.Context()) != nil || x.incomplete() {
		w.Header().Set("Connection", "close")
	}
	w.(*answer).reply(errorPage(status))
}

// hold keeps a client that is not admitted waiting, as a dropped packet would.
func (p *proxy) hold(ctx context.Context) {
	if p.held.Add(1) <= maxHeld {
		<-ctx.Done()
	}
	p.held.Add(-1)
}

// targetURL asks the target for just that path and query, byte by byte.
func targetURL(scheme, s, host string) *url.URL {
	path, query, asks := strings.Cut(s, "?")
	u := &url.URL{Scheme: scheme, Host: host, RawQuery: query, ForceQuery: asks}
	if !strings.HasPrefix(path, "//") {
		u.Opaque = path
	} else if plain, err := url.PathUnescape(path); err == nil { // Opaque would take it for a host
		u.Path, u.RawPath = plain, path
	} else {
		u.Path = path
	}
	return u
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout() || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, syscall.ETIMEDOUT)
}

// buffers are for copying bodies.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[32 << 10]byte); ok {
		return p[:]
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(p []byte) { b.pool.Put((*[32 << 10]byte)(p)) }
