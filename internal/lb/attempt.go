package lb

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
)

// errUnanswered is why a request that may have reached its target is not sent again.
var errUnanswered = errors.New("the target closed the connection before it answered")

// upstreamConn is a connection to a target. It counts what was sent.
type upstreamConn struct {
	net.Conn
	written atomic.Int64 // bytes
}

func (c *upstreamConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// CloseWrite passes on that a tunnel's client has nothing more to send.
func (c *upstreamConn) CloseWrite() error {
	if t, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return t.CloseWrite()
	}
	return nil
}

// attempt is a request on its way to the target. A target may close a kept-alive connection just when it is used
// again. If not a byte of the request was sent there, it is sent again, whatever its method; if one was, the target
// may have acted on it, and AWS answers 502.
type attempt struct {
	conn   *upstreamConn // nil before there is one
	before int64         // conn.written when the request got it
	reused bool
}

// replay is what GetConn panics with to keep Transport from sending a request a second time by itself: it would those
// of idempotent methods. It has no switch for that, and holds nothing when it calls the hook.
type replay struct{}

// roundTripper sends each request by its exchange's upstream.
type roundTripper struct{}

func (roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	x := exchangeOf(r.Context())
	if x.up.wire.multiplexed { // its targets say what they have not acted on, and Transport sends just that again
		return x.up.transport.RoundTrip(r)
	}
	for {
		a := &attempt{}
		resp, err := a.send(x.up.transport, r)
		body := x.body.Load()
		if err == nil || !a.reused || a.sent() || r.Context().Err() != nil || body != nil && body.begun.Load() {
			return resp, err
		}
	}
}

// Private

func (a *attempt) sent() bool { return a.conn != nil && a.conn.written.Load() != a.before }

func (a *attempt) send(t *http.Transport, r *http.Request) (resp *http.Response, err error) {
	defer func() {
		if v := recover(); v == (replay{}) {
			t.CancelRequest(r) // so that it forgets the request, which it does only when it returns
			resp, err = nil, errUnanswered
		} else if v != nil {
			panic(v)
		}
	}()
	// ReverseProxy has made a trace for this very request; another one in the context would be merged by reflection.
	if trace := httptrace.ContextClientTrace(r.Context()); trace != nil {
		trace.GetConn = a.getConn
		trace.GotConn = a.gotConn
	}
	return t.RoundTrip(r)
}

func (a *attempt) getConn(string) {
	if a.sent() {
		panic(replay{})
	}
}

func (a *attempt) gotConn(info httptrace.GotConnInfo) {
	c, ok := info.Conn.(*upstreamConn)
	if !ok {
		return
	}
	a.conn, a.before, a.reused = c, c.written.Load(), info.Reused
}
