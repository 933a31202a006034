package lb

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	// maxStreams is how many requests a client's connection carries at once. Source: ALB user guide, listeners.
	maxStreams = 128
	// maxRequests is how many it carries in all; then the client is told to make another one. Source: ALB user guide, quotas.
	maxRequests = 10000
	// maxFrame is the largest frame that clients may send: the least there is. Source: RFC 9113, 4.2.
	maxFrame = 16 << 10
	// maxUnreadClient is how many bytes a client's connection holds that targets have not taken yet.
	maxUnreadClient = 2 << 20
)

// multiplexer serves the connections that speak HTTP/2, agreed upon in the handshake of TLS, with net/http's server.
// That knows one idle timeout for all its connections, so there is a server for each.
type multiplexer struct {
	proxy *proxy

	mu      sync.Mutex
	stopped bool
	servers map[time.Duration]*h2server
}

type h2server struct {
	*http.Server
	in   *handoff
	done chan struct{}
}

// at is where connections go whose idle timeout is the given one.
func (m *multiplexer) at(idle time.Duration) *handoff {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.servers[idle]
	if s == nil {
		s = &h2server{newServer(m.proxy), newHandoff(), make(chan struct{})}
		s.IdleTimeout = idle
		s.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: maxStreams, MaxReadFrameSize: maxFrame, MaxReceiveBufferPerStream: maxUnread, MaxReceiveBufferPerConnection: maxUnreadClient}
		s.Protocols = new(http.Protocols)
		s.Protocols.SetUnencryptedHTTP2(true) // TLS is done with
		if m.stopped {
			s.in.Close()
			return s.in
		}
		go func() {
			defer close(s.done)
			s.Serve(s.in)
		}()
		m.servers[idle] = s
	}
	return s.in
}

// stop says goodbye (GOAWAY) on all connections, and closes them when their requests are answered or ctx is done.
func (m *multiplexer) stop(ctx context.Context) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopped = true
	var wg sync.WaitGroup
	for _, s := range m.servers {
		wg.Go(func() {
			s.Shutdown(ctx)
			s.Close()
			<-s.done
		})
	}
	wg.Wait()
}

// multiplexed says whether the connection carries many requests at once.
func (c *clientConn) multiplexed() bool { return c.session != nil && c.session.http2 }

// scheme is what the client calls the connection's protocol.
func (c *clientConn) scheme() string {
	if c.session != nil {
		return "https"
	}
	return "http"
}

// streams are the exchanges of a connection that carries many. Each has an idle timeout of its own.
type streams struct {
	mu   sync.Mutex
	all  map[*exchange]struct{}
	seen int // in all
}

func (s *streams) add(x *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[*exchange]struct{}{}
	}
	s.all[x] = struct{}{}
	s.seen++
}

func (s *streams) remove(x *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, x)
}

func (s *streams) list() []*exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.all))
}

// worn says that the connection has carried as many requests as it may.
func (s *streams) worn() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen >= maxRequests
}

// abort is clientConn.abort for one stream: the others go on.
func (s *streams) abort(x *exchange, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.all[x]; !there {
		return
	}
	x.cancel(cause)
	if !x.aborted {
		x.aborted = true
		x.control.SetWriteDeadline(time.Now().Add(abortTime))
	}
	if b := x.body.Load(); b != nil && !b.done.Load() {
		x.control.SetReadDeadline(past)
	}
}

// sweep aborts what has been idle for too long.
func (s *streams) sweep(idle time.Duration) {
	now := clock()
	for _, x := range s.list() {
		if idle > 0 && now-time.Duration(x.last.Load()) > idle {
			s.abort(x, errIdle)
		}
	}
}

// headSize is how many bytes the fields of a head have that HTTP/2 has sent: before they were compressed, for nobody
// tells how many it took.
func headSize(h http.Header) int64 {
	n := 0
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(v)
		}
	}
	return int64(n)
}

// touch notes that a byte went either way.
func (x *exchange) touch() { x.last.Store(int64(clock())) }
