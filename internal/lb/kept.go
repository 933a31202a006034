package lb

import (
	"crypto/tls"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

// maxKept is how many idle connections to a target are kept.
const maxKept = 1024

// targetConn is a connection of the fast engine to a target.
type targetConn struct {
	net.Conn
	sock  *socket       // nil when it isn't plain TCP
	since time.Duration // by clock, when it became idle
}

func newTargetConn(c net.Conn) *targetConn { return &targetConn{Conn: c, sock: socketOf(c)} }

// ask writes a request and, if it can do that at once, reads some of the answer. A connection that was idle must be usable.
func (t *targetConn) ask(request []byte, answer landing, wasIdle bool) (written, read int, err error) {
	if t.sock != nil {
		return t.sock.ask(request, answer, wasIdle)
	}
	if wasIdle && !t.usable() {
		return 0, 0, syscall.EPIPE
	}
	written, err = t.Conn.Write(request)
	return written, 0, err
}

// usable says whether an idle connection can take a request: the target has neither closed it, nor sent what nobody
// asked for. Within TLS only the former shows: what is there may be a session ticket.
func (t *targetConn) usable() bool {
	if t.sock != nil {
		return t.sock.silent()
	}
	s, ok := t.Conn.(*tls.Conn)
	return !ok || !closedByPeer(s.NetConn())
}

// keptConns are idle connections to a target. The last one that came back is the first to go.
type keptConns struct {
	mu      sync.Mutex
	conns   []*targetConn
	retired bool
}

// take returns one that may be usable, nil without one.
func (k *keptConns) take() *targetConn {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := len(k.conns)
	if n == 0 {
		return nil
	}
	t := k.conns[n-1]
	k.conns[n-1] = nil
	k.conns = k.conns[:n-1]
	return t
}

func (k *keptConns) put(t *targetConn) {
	t.since = clock()
	k.mu.Lock()
	full := k.retired || len(k.conns) >= maxKept
	if !full {
		k.conns = append(k.conns, t)
	}
	k.mu.Unlock()
	if full {
		t.Close()
	}
}

// expire closes those that have been idle for as long.
func (k *keptConns) expire(idle time.Duration) {
	now := clock()
	k.mu.Lock()
	n := 0 // the first ones have been idle for longest
	for n < len(k.conns) && now-k.conns[n].since >= idle {
		n++
	}
	old := slices.Clone(k.conns[:n])
	k.conns = slices.Delete(k.conns, 0, n)
	k.mu.Unlock()
	for _, t := range old {
		t.Close()
	}
}

func (k *keptConns) retire() {
	k.mu.Lock()
	k.retired = true
	k.mu.Unlock()
	k.expire(0)
}
