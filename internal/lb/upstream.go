package lb

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// Source of the numbers: ALB user guide, quotas and troubleshooting.
const (
	connectTimeout    = 10 * time.Second
	maxResponseHeader = 32 << 10
)

// upstream is a balancer's way to one target: a pool of kept-alive connections, dialled from its ENI addresses.
type upstream struct {
	netns string
	enis  []netip.Addr
	idle  time.Duration
	host  string // the target's host:port
	wire  wire
	meter *meter // of the balancer at the target's group and zone

	dial      func(context.Context) (net.Conn, error)
	connect   func(context.Context) (net.Conn, error) // dials, and then what wire.connect does
	transport *http.Transport                         // of the engine on net/http
	kept      keptConns                               // of the fast one
	turn      atomic.Uint64
}

func newUpstream(s sockets, b *lbconfig.Balancer, to netip.AddrPort, speak wire, all, group *meter) *upstream {
	u := &upstream{netns: b.Netns, enis: b.ENIs, idle: b.Idle(), host: to.String(), wire: speak, meter: group}
	u.dial = func(ctx context.Context) (net.Conn, error) {
		c, err := s.dial(ctx, dialKey{u.netns, u.eni()}, to, false)
		var none noSocketError
		switch {
		case err == nil:
			c = newPlainConn(c)
			all.add(countConnections, 1)
		case !errors.As(err, &none) && !errors.Is(err, context.Canceled):
			all.add(countTargetErrors, 1)
			group.add(countTargetErrors, 1)
		}
		return c, err
	}
	u.connect = func(ctx context.Context) (net.Conn, error) {
		c, err := speak.connect(ctx, u.dial)
		var bad handshakeError
		if errors.As(err, &bad) {
			all.add(countTargetTLSErrors, 1)
			group.add(countTargetTLSErrors, 1)
		}
		return c, err
	}
	u.transport = speak.transport(u.connect)
	// Idle as long as the balancer's own connections.
	u.transport.IdleConnTimeout = u.idle
	return u
}

// fits says whether the upstream is still the one that the configuration asks for.
func (u *upstream) fits(b *lbconfig.Balancer, speak wire) bool {
	return u.netns == b.Netns && slices.Equal(u.enis, b.ENIs) && u.idle == b.Idle() && u.wire == speak
}

// eni is the address to send from: each in turn, the zero Addr when there is none.
func (u *upstream) eni() netip.Addr {
	if len(u.enis) == 0 {
		return netip.Addr{}
	}
	return u.enis[(u.turn.Add(1)-1)%uint64(len(u.enis))]
}

// closeIdle closes the connections that wait for a request.
func (u *upstream) closeIdle() {
	u.transport.CloseIdleConnections()
	u.kept.expire(0)
}

// retire is closeIdle for good: connections that come back are closed.
func (u *upstream) retire() {
	u.kept.retire()
	u.transport.CloseIdleConnections()
}
