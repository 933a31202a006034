package lb

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Why the balancer itself ends a request.
var (
	errIdle     = errors.New("idle timeout")
	errDrainEnd = errors.New("deregistration delay is over")
	errLeft     = errors.New("the client has left")
)

// past is a deadline that ends waiting reads and writes at once.
var past = time.Unix(1, 0)

// clock tells the time since the process started, monotonic.
var clock = func() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}()

// clientConn is a client's connection. It notes when bytes last went either way, so that one sweep over all
// connections (conns.sweep) replaces a timer per request.
type clientConn struct {
	net.Conn
	key  portKey
	peer netip.Addr
	// from is the peer in text.
	from string
	// peerPort is the client's.
	peerPort uint16
	born     time.Duration
	owner    *conns
	// session is that of TLS, under which all of this happens; nil without.
	session *session
	streams streams
	last    atomic.Int64 // clock() of the last byte
	// partial: bytes have come since the last request was handed over, so a request has begun.
	partial  atomic.Bool
	began    atomic.Int64 // clock() when partial became true
	watched  atomic.Bool  // nobody reads while a request is served, so the sweep looks whether the client has left
	own      atomic.Int32 // status of an answer of the balancer's own about to be written, 0 for others
	screen   *screen
	sent     atomic.Int64           // bytes written
	received atomic.Int64           // bytes read
	metered  atomic.Int64           // of both, by unmetered
	meter    atomic.Pointer[meter]  // of the balancer of the last request; nil before one
	flushed  atomic.Pointer[func()] // to be called when the answer has been written
	id       string                 // in logs, "" until needed; belongs to mu
	mu       sync.Mutex             // to change active, and to abort it
	active   atomic.Pointer[exchange]
}

// Read returns what has passed the screen.
func (c *clientConn) Read(p []byte) (int, error) {
	if c.screen == nil {
		return rawConn{c}.Read(p)
	}
	if c.screen.over.Load() { // net/http has written all of the answer before it reads again
		c.linger()
	}
	return c.screen.Read(p)
}

// lingerTime is how long a client whose request was not read to its end may take to notice that it is answered. A
// connection closed with bytes unread is reset, and the answer may be lost.
const lingerTime = 500 * time.Millisecond

// linger lets the client read an answer that it did not wait for.
func (c *clientConn) linger() {
	c.CloseWrite()
	c.SetReadDeadline(time.Now().Add(lingerTime))
	io.Copy(io.Discard, io.LimitReader(c.Conn, 1<<20))
}

// arrived is what is known of the request whose handler begins.
func (c *clientConn) arrived() *arrival {
	if c.screen != nil {
		if a := c.screen.arrived(); a != nil {
			return a
		}
	}
	return &arrival{}
}

// rawConn reads a client's bytes as they come.
type rawConn struct{ c *clientConn }

func (r rawConn) Read(p []byte) (int, error) {
	n, err := r.c.Conn.Read(p)
	if n > 0 {
		r.c.noteRead(n)
	}
	return n, err
}

// noteRead notes that so many bytes have come.
func (c *clientConn) noteRead(n int) {
	now := int64(clock())
	c.last.Store(now)
	c.received.Add(int64(n))
	if c.active.Load() == nil && !c.multiplexed() && !c.partial.Load() {
		c.began.Store(now)
		c.partial.Store(true)
	}
}

func (c *clientConn) Write(p []byte) (int, error) {
	c.touch()
	c.sent.Add(int64(len(p)))
	if c.active.Load() == nil && !c.multiplexed() { // no handler is running, so net/http itself is complaining
		if status := complaint(p); status != 0 {
			return c.writeInstead(p, []byte(rawReply(status)))
		}
	}
	if status := c.own.Swap(0); status != 0 {
		return c.writeInstead(p, withReason(p, int(status)))
	}
	n, err := c.Conn.Write(p)
	if n > 0 {
		c.touch()
	}
	return n, err
}

// writeInstead writes another answer than net/http's.
func (c *clientConn) writeInstead(theirs, ours []byte) (int, error) {
	c.sent.Add(int64(len(ours) - len(theirs)))
	if _, err := c.Conn.Write(ours); err != nil {
		return 0, err
	}
	return len(theirs), nil
}

func (c *clientConn) Close() error {
	c.flush()
	c.meter.Load().add(countBytes, c.unmetered())
	c.owner.remove(c)
	return c.Conn.Close()
}

// CloseWrite lets net/http send FIN first and linger, so that an early answer is not lost in a reset.
func (c *clientConn) CloseWrite() error {
	switch t := c.Conn.(type) {
	case *tls.Conn:
		return errors.Join(t.CloseWrite(), t.NetConn().(*handshaking).CloseWrite())
	case interface{ CloseWrite() error }:
		return t.CloseWrite()
	}
	return nil
}

func (c *clientConn) touch() { c.last.Store(int64(clock())) }

// abortTime is how long the answer to an aborted request may take to be written.
const abortTime = time.Second

// begin and end enclose the handler of a request.
func (c *clientConn) begin(x *exchange) {
	if c.multiplexed() {
		c.streams.add(x)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active.Store(x)
	c.partial.Store(false)
}

func (c *clientConn) end(x *exchange) {
	c.last.Store(int64(x.endedAt))
	if c.multiplexed() {
		c.streams.remove(x)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active.Store(nil)
	if x.arrival.upgrade {
		c.screen.declined.Store(true)
	}
	if x.aborted {
		c.SetDeadline(time.Time{}) // it was finished all the same
	}
}

// abort is abortIf whatever the request is about.
func (c *clientConn) abort(x *exchange, cause error) {
	c.abortIf(x, cause, func() bool { return true })
}

// abortIf ends a request from outside its handler, which answers if nothing was answered yet, and the connection with
// it. The handler may be waiting for the client to send, or to receive: so reading ends, and writing soon. Again is
// harmless. The fast engine uses an exchange again: so holds is asked when it is sure that it is about the request that is
// ended.
func (c *clientConn) abortIf(x *exchange, cause error, holds func() bool) {
	if c.multiplexed() {
		if holds() {
			c.streams.abort(x, cause)
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active.Load() != x || !holds() {
		return
	}
	x.cancel(cause)
	if !x.aborted {
		x.aborted = true
		c.SetWriteDeadline(time.Now().Add(abortTime))
	}
	if b := x.body.Load(); b != nil && !b.done.Load() {
		c.SetReadDeadline(past)
	}
}

// left says whether the client has closed the connection, or its sending side, which net/http takes for the same.
func (c *clientConn) left() bool {
	if s, ok := c.Conn.(*tls.Conn); ok {
		return closedByPeer(s.NetConn().(*handshaking).Conn)
	}
	return closedByPeer(c.Conn)
}

// closedByPeer says whether the other side of a TCP connection has closed it.
func closedByPeer(c net.Conn) bool {
	const stands = 1 // Source: linux/include/net/tcp_states.h, TCP_ESTABLISHED
	s := socketOf(c)
	if s == nil {
		return false
	}
	closed := true
	s.raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		closed = err != nil || info.State != stands
	})
	return closed
}

// complaint recognises the answers that net/http writes to a request it could not parse, and says which status AWS
// gives. They all are one write that begins so; an answer from a handler never lacks a Date.
func complaint(p []byte) int {
	const begin, tail = "HTTP/1.1 ", "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
	if len(p) <= len(begin) || p[len(begin)] < '4' { // nearly all answers
		return 0
	}
	head, _, ok := strings.Cut(string(p[:min(len(p), 256)]), tail)
	if !ok || !strings.HasPrefix(head, begin) || strings.Contains(head, "\r\n") {
		return 0
	}
	switch status := head[len(begin):]; {
	case strings.HasPrefix(status, "501"):
		return http.StatusNotImplemented
	case strings.HasPrefix(status, "505"):
		return http.StatusHTTPVersionNotSupported
	case strings.HasPrefix(status, "4"), strings.HasPrefix(status, "5"):
		return http.StatusBadRequest // also 431: AWS answers headers that are too large with 400
	}
	return 0
}

// conns are all open client connections.
type conns struct {
	max int // of them; 0: no limit
	// late is told of a client whose head did not come in time, and of how many bytes it got for it.
	late func(c *clientConn, sent int64)
	mu   sync.Mutex
	all  map[*clientConn]struct{}
}

// full says whether there is no room for another one beside so many that are not yet among them.
func (cs *conns) full(others int) bool {
	if cs.max == 0 {
		return false
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return len(cs.all)+others >= cs.max
}

func newConns() *conns {
	return &conns{all: map[*clientConn]struct{}{}, late: func(*clientConn, int64) {}}
}

func (cs *conns) add(c net.Conn, key portKey, peer netip.AddrPort) *clientConn {
	return cs.addSecured(c, key, peer, nil)
}

// addSecured is add for a connection within TLS.
func (cs *conns) addSecured(c net.Conn, key portKey, peer netip.AddrPort, s *session) *clientConn {
	cc := &clientConn{Conn: c, key: key, peer: peer.Addr().Unmap(), from: peer.Addr().Unmap().String(), peerPort: peer.Port(), born: clock(), owner: cs, session: s}
	if !cc.multiplexed() {
		cc.screen = &screen{src: rawConn{cc}}
	}
	cc.touch()
	cs.mu.Lock()
	cs.all[cc] = struct{}{}
	cs.mu.Unlock()
	return cc
}

func (cs *conns) remove(c *clientConn) {
	cs.mu.Lock()
	delete(cs.all, c)
	cs.mu.Unlock()
}

func (cs *conns) list() []*clientConn {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	out := make([]*clientConn, 0, len(cs.all))
	for c := range cs.all {
		out = append(out, c)
	}
	return out
}

// sweep ends what has been idle for too long: a waiting connection silently, a request whose header stays away, or takes as
// long as that in all, with 408, a running one by its context, with which the handler answers 504 or 408.
func (cs *conns) sweep(idle func(portKey) time.Duration) {
	now := clock()
	for _, c := range cs.list() {
		if x := c.active.Load(); x != nil && c.watched.Load() && c.left() {
			c.abort(x, errLeft)
			continue
		}
		d := idle(c.key)
		if c.multiplexed() {
			c.streams.sweep(d)
			continue
		}
		isIdle := func() bool { return now-time.Duration(c.last.Load()) > d }
		x := c.active.Load()
		slow := x == nil && c.partial.Load() && now-time.Duration(c.began.Load()) > d // however diligently it trickles
		if d <= 0 || !slow && !isIdle() {
			continue
		}
		switch {
		case x != nil:
			c.abortIf(x, errIdle, isIdle)
		case c.partial.Load():
			reply := rawReply(http.StatusRequestTimeout)
			c.Conn.SetWriteDeadline(time.Now().Add(time.Second))
			c.Conn.Write([]byte(reply))
			c.sent.Add(int64(len(reply)))
			cs.late(c, int64(len(reply)))
			go c.Close()
		default:
			go c.Close() // which waits for a request of the fast engine's that has come just now
		}
	}
}

// cut cancels all requests at the member.
func (cs *conns) cut(m *member) {
	m.cut.Store(true)
	for _, c := range cs.list() {
		for _, x := range c.exchanges() {
			c.abortIf(x, errDrainEnd, func() bool { return x.member.Load() == m })
		}
	}
}

// exchanges are those that are going on.
func (c *clientConn) exchanges() []*exchange {
	if c.multiplexed() {
		return c.streams.list()
	}
	if x := c.active.Load(); x != nil {
		return []*exchange{x}
	}
	return nil
}

type connKey struct{}

func connOf(ctx context.Context) *clientConn { return ctx.Value(connKey{}).(*clientConn) }
