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

	"github.com/lotse-project/lotse/internal/lbconfig"
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
	p.tls = newTerminator(p.conns, p.entryAt)
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

// ServeHTTP serves one request: listener, rule, action.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancelCause(r.Context())
	x := &exchange{conn: connOf(ctx), cancel: cancel, started: time.Now(), slot: p.trace.reserve()}
	x.arrival, x.grpc = x.conn.arrived(), isGRPC(r)
	if x.conn.multiplexed() {
		x.control = http.NewResponseController(w)
		x.touch()
	}
	x.sentBefore = x.conn.sent.Load()
	x.conn.begin(x)
	defer func() {
		x.finish(r)
		p.logged(x, r)
		x.conn.end(x)
		cancel(nil)
	}()
	x.original = x.arrival.url(r)
	if x.url = x.original; x.arrival.refuse != 0 { // what net/http has is a stand-in
		r.Method, r.Host = x.arrival.method, x.arrival.host
	}
	a := &answer{ResponseWriter: w, x: x, close: p.retiring.Load() || x.conn.streams.worn()}
	p.serve(a, r.WithContext(context.WithValue(ctx, exchangeKey{}, x)), x)
}

func (p *proxy) serve(w *answer, r *http.Request, x *exchange) {
	for {
		t := p.table.Load()
		if x.entry = t.ports[x.conn.key]; x.entry == nil {
			panic(http.ErrAbortHandler) // the listener has gone
		}
		if x.listener = x.entry.listenerFor(r.Host); x.listener == nil && x.arrival.refuse != 0 {
			replyPage(w, x.arrival.refuse)
			return
		} else if x.listener == nil {
			reply(w, http.StatusNotFound, "text/plain; charset=utf-8", "No load balancer answers to this host name.\n")
			return
		}
		if x.entry.judge && !x.listener.admits(x.conn.peer) {
			p.hold(r.Context())
		}
		b := x.listener.balancer
		w.close = w.close || clock()-x.conn.born > b.Life() || x.arrival.verdict.closes(b.Routing.Desync)
		if status := x.refusal(r); status != 0 {
			replyPage(w, status)
			return
		}
		q := newQuestion(r, x.url, x.conn.peer)
		x.rule = match(x.listener.rules, &q)
		switch x.rule.act.Type {
		case lbconfig.FixedResponse:
			replyFixed(w, x.rule.act.Fixed)
			return
		case lbconfig.RedirectTo:
			_, x.location = replyRedirect(w, r.Host, x.url, x.conn.scheme(), x.entry.port, x.rule.act.Redirect)
			return
		}
		if !x.rewrite(r) {
			replyPage(w, http.StatusInternalServerError)
			return
		}
		if p.claim(r, x) {
			p.send(w, r, x)
			return
		}
		if x.mismatch {
			replyPage(w, statusIncompatible)
			return
		}
		if p.table.Load() == t { // else the group may have gone with the snapshot it came from
			replyPage(w, http.StatusServiceUnavailable)
			return
		}
	}
}

// Private

// claim chooses a group and a target and counts the request in there.
func (p *proxy) claim(r *http.Request, x *exchange) bool {
	g := p.stuckGroup(r, x)
	if g == nil {
		g = x.rule.act.forward.pick()
	}
	if g == nil {
		return false
	}
	if x.mismatch = !compatible(r, g.eligible.Load().version); x.mismatch {
		return false
	}
	m := p.claimStuck(r, x, g)
	if m == nil {
		m = g.claim()
	}
	if m == nil {
		return false
	}
	if x.up = m.upstream(x.listener.balancer.ARN); x.up == nil { // the balancer has just lost the group
		m.release()
		return false
	}
	x.member.Store(m)
	if m.cut.Load() {
		x.conn.abort(x, errDrainEnd)
	}
	return true
}

func (p *proxy) send(w http.ResponseWriter, r *http.Request, x *exchange) {
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
	x.trace = traceID(r.Header.Get("X-Amzn-Trace-Id"), x.started)
	x.sentAt = time.Now()
	p.forward.ServeHTTP(w, r)
}

// rewrite makes the request for the target. ReverseProxy has removed hop-by-hop headers, and X-Forwarded headers,
// which are made from the client's; what AWS lets pass comes back.
func (p *proxy) rewrite(pr *httputil.ProxyRequest) {
	x := exchangeOf(pr.In.Context())
	in, out := pr.In.Header, pr.Out.Header
	pr.Out.URL = targetURL(x.up.wire.scheme(), x.url, x.up.host)
	pr.Out.Trailer = pr.In.Trailer // which is filled in when the body has been read
	b := x.listener.balancer
	if pr.Out.Host = x.host; !b.Routing.PreserveHost || x.host == "" {
		pr.Out.Host = forwardedHost(x.host, x.entry.port, b.DNSName)
	}
	pr.Out.Close = x.arrival.verdict.closes(b.Routing.Desync)
	for _, name := range []string{"Forwarded", "X-Forwarded-Host"} {
		if v, ok := in[name]; ok {
			out[name] = v
		}
	}
	setForwarded(out, in, x.conn, x.entry.port, b.Routing)
	if b.Routing.TLSHeaders {
		x.conn.session.tell(out, x.listener.headers)
	}
	out.Set("X-Amzn-Trace-Id", x.trace)
	out.Del("Expect") // answered already
	if b.Routing.DropInvalidHeaders {
		dropInvalid(out)
	}
	respell(out, x.arrival.names)
}

// answered runs when the target's header is there and nothing has gone to the client.
func (p *proxy) answered(resp *http.Response) error {
	x := exchangeOf(resp.Request.Context())
	x.answeredAt = time.Now()
	x.answered, x.status = resp.StatusCode, resp.StatusCode
	p.stick(x, resp)
	x.record(resp.Request, 0)
	return nil
}

func (p *proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r.Context())
	status := x.failure(r.Context(), err)
	if status == 0 {
		panic(http.ErrAbortHandler)
	}
	p.log.Debug("request failed", "target", x.up.host, "status", status, "err", err)
	if status == http.StatusBadRequest || context.Cause(r.Context()) != nil {
		w.Header().Set("Connection", "close")
	}
	replyPage(w, status)
}

// hold keeps a client that is not admitted waiting, as a dropped packet would, and never returns.
func (p *proxy) hold(ctx context.Context) {
	if p.held.Add(1) <= maxHeld {
		<-ctx.Done()
	}
	p.held.Add(-1)
	panic(http.ErrAbortHandler)
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
