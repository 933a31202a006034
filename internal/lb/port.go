package lb

import (
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// holdFor is how long a client that is not admitted is kept waiting: as long as Linux tries to connect.
const holdFor = 130 * time.Second

// port is one bound address. It is a net.Listener for net/http.
type port struct {
	net.Listener
	from  *acceptor // of the listener's socket
	key   portKey
	ns    uint64 // number of its namespace
	conns *conns
	tls   *terminator
	entry func(portKey) *entry
	log   *accessLog

	// What the socket's filter admits, once filtered is set. Belongs to the worker's mutex.
	filtered, all bool
	prefixes      []netip.Prefix

	accepting sync.WaitGroup // the loop that calls Accept

	held    *atomic.Int64
	holding sync.WaitGroup
	close   sync.Once
	closed  chan struct{}
}

func newPort(ln net.Listener, key portKey, ns uint64, p *proxy) (*port, error) {
	from, err := newAcceptor(ln)
	if err != nil {
		return nil, err
	}
	return &port{Listener: ln, from: from, key: key, ns: ns, conns: p.conns, tls: p.tls, held: &p.held, closed: make(chan struct{}),
		entry: p.entryAt, log: p.access}, nil
}

// Accept waits for a client that is admitted. Those that speak TLS go another way: see terminator.
func (p *port) Accept() (net.Conn, error) {
	for {
		c, err := p.from.accept()
		if err != nil {
			return nil, err
		}
		peer := c.peer.Addr()
		e := p.entry(p.key)
		if p.conns.full(int(p.tls.busy.Load())) {
			if e != nil && e.listener != nil {
				e.meter.add(countRejected, 1)
			}
			c.Close()
			continue
		}
		if e != nil && e.judge && e.listener != nil && !e.listener.admits(peer) {
			p.hold(c, e.meter)
			continue
		}
		if e != nil && e.listener != nil && e.listener.tls != nil {
			p.tls.busy.Add(1)
			go p.tls.take(c, p.key, c.peer) // ends in time, or with the connection
			continue
		}
		cc := p.conns.add(c, p.key, c.peer)
		p.log.connected(cc, e, 0)
		return cc, nil
	}
}

// Close stops accepting. Connections that were accepted go on.
func (p *port) Close() error {
	err := net.ErrClosed
	p.close.Do(func() {
		close(p.closed)
		err = p.Listener.Close()
		p.from.close()
		p.holding.Wait()
	})
	return err
}

// hold answers nothing, as if the packets had been dropped, until the client gives up. The packet filter on the
// socket (ingressfilter.go) drops them for real; only what came before it was set arrives here.
func (p *port) hold(c net.Conn, m *meter) {
	if p.held.Add(1) > maxHeld {
		p.held.Add(-1)
		m.add(countRejected, 1)
		c.Close()
		return
	}
	p.holding.Go(func() {
		defer p.held.Add(-1)
		defer c.Close()
		done := make(chan struct{})
		defer close(done)
		go func() {
			select {
			case <-p.closed:
				c.SetDeadline(past)
			case <-done:
			}
		}()
		c.SetDeadline(time.Now().Add(holdFor))
		io.Copy(io.Discard, c)
	})
}

// filter puts the rules of the entry on the socket itself, if they are not the ones it has.
func (p *port) filter(s sockets, e *entry) error {
	prefixes, all := e.admitted()
	if p.filtered && all == p.all && slices.Equal(prefixes, p.prefixes) {
		return nil
	}
	if err := s.filter(p.key, p.Listener, prefixes, all); err != nil {
		return err
	}
	p.filtered, p.all, p.prefixes = true, all, prefixes
	return nil
}

// admitted are the client prefixes that some listener of the address admits; all is true when nobody is judged.
func (e *entry) admitted() (prefixes []netip.Prefix, all bool) {
	if !e.judge || e.listener == nil { // at a front, the request's host decides
		return nil, true
	}
	return admitted(e.listener.balancer.Ingress, e.listener.port)
}
