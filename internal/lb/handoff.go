package lb

import (
	"net"
	"sync"
)

// handoff is a listener whose connections come from within: those whose handshake of TLS is done.
type handoff struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newHandoff() *handoff { return &handoff{conns: make(chan net.Conn), closed: make(chan struct{})} }

// give hands a connection over, and is false when nobody takes it any more.
func (h *handoff) give(c net.Conn) bool {
	select {
	case <-h.closed:
		return false
	case h.conns <- c:
		return true
	}
}

// Accept is net.Listener's.
func (h *handoff) Accept() (net.Conn, error) {
	select {
	case <-h.closed:
		return nil, net.ErrClosed
	case c := <-h.conns:
		return c, nil
	}
}

// Close is net.Listener's.
func (h *handoff) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr is net.Listener's; there is none.
func (h *handoff) Addr() net.Addr { return &net.TCPAddr{} }
