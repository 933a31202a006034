package lb

import (
	"context"
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

	transport *http.Transport
	turn      atomic.Uint64
}

func newUpstream(s sockets, b *lbconfig.Balancer, to netip.AddrPort) *upstream {
	u := &upstream{netns: b.Netns, enis: b.ENIs, idle: b.Idle(), host: to.String()}
	u.transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, connectTimeout)
			defer cancel()
			c, err := s.dial(ctx, dialKey{u.netns, u.eni()}, to, false)
			if err != nil {
				return nil, err
			}
			return &upstreamConn{Conn: c}, nil
		},
		// Idle as long as the balancer's own connections.
		IdleConnTimeout:        u.idle,
		MaxIdleConnsPerHost:    1024,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxResponseHeader,
		WriteBufferSize:        16 << 10,
		ReadBufferSize:         16 << 10,
	}
	return u
}

// fits says whether the upstream is still the one that the balancer's configuration asks for.
func (u *upstream) fits(b *lbconfig.Balancer) bool {
	return u.netns == b.Netns && slices.Equal(u.enis, b.ENIs) && u.idle == b.Idle()
}

// eni is the address to send from: each in turn, the zero Addr when there is none.
func (u *upstream) eni() netip.Addr {
	if len(u.enis) == 0 {
		return netip.Addr{}
	}
	return u.enis[(u.turn.Add(1)-1)%uint64(len(u.enis))]
}
