package lb

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"net/http"
	"slices"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// statusIncompatible is the answer to a request in a version of HTTP that the target group doesn't have.
// Source: ALB user guide, troubleshooting, HTTP 464.
const statusIncompatible = 464

// maxUnread is how many bytes a stream of HTTP/2 holds that one side sent and the other has not taken yet. A connection
// to a target has no limit of its own: a client that takes nothing must not hold up the others.
const maxUnread = 256 << 10

// wire is how targets are spoken with.
type wire struct {
	secure      bool // TLS
	multiplexed bool // HTTP/2
}

func wireOf(g *lbconfig.TargetGroup) wire {
	return wire{g.Secure, g.Version == lbconfig.HTTP2 || g.Version == lbconfig.GRPC}
}

func (w wire) scheme() string {
	if w.secure {
		return "https"
	}
	return "http"
}

// connect makes what dial gave a connection to speak so.
func (w wire) connect(ctx context.Context, dial func(context.Context) (net.Conn, error)) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	c, err := dial(ctx)
	if err != nil || !w.secure {
		return c, err
	}
	proto := "http/1.1"
	if w.multiplexed {
		proto = "h2"
	}
	t := tls.Client(c, targetTLS(proto))
	if err := t.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, handshakeError{err}
	}
	if got := t.ConnectionState().NegotiatedProtocol; w.multiplexed && got != proto {
		c.Close()
		return nil, errNoHTTP2
	}
	return t, nil
}

// handshakeError is a target that doesn't speak TLS as it should.
type handshakeError struct{ error }

// Unwrap is the handshake's own error.
func (e handshakeError) Unwrap() error { return e.error }

// transport sends requests so, over connections that make gives, which speak so.
func (w wire) transport(make func(context.Context) (net.Conn, error)) *http.Transport {
	connect := func(ctx context.Context, _, _ string) (net.Conn, error) { return w.counted(make(ctx)) }
	t := &http.Transport{
		DialContext:            connect,
		DialTLSContext:         connect,
		MaxIdleConnsPerHost:    1024,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxResponseHeader,
		WriteBufferSize:        16 << 10,
		ReadBufferSize:         16 << 10,
		Protocols:              new(http.Protocols),
	}
	t.Protocols.SetHTTP1(!w.multiplexed)
	if w.multiplexed {
		t.Protocols.SetHTTP2(w.secure)
		t.Protocols.SetUnencryptedHTTP2(!w.secure)
		t.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: maxUnread}
	}
	return t
}

var errNoHTTP2 = errors.New("the target does not speak HTTP/2")

// counted is the connection as Transport gets it: with HTTP/2 it must see TLS itself.
func (w wire) counted(c net.Conn, err error) (net.Conn, error) {
	if err != nil || w.multiplexed {
		return c, err
	}
	return &upstreamConn{Conn: c}, nil
}

// targetTLS is how the balancer speaks TLS with targets: whatever version they have, and whoever they are.
// Source: ALB user guide, security policies: ELBSecurityPolicy-TLS13-1-0-2021-06 for targets.
func targetTLS(proto string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, CipherSuites: targetSuites, NextProtos: []string{proto}}
}

var targetSuites = slices.Sorted(maps.Values(suites))

// compatible says whether a request may go to targets of a version. Source: ALB user guide, target groups, protocol
// version: HTTP/1.1 goes to HTTP1 only, gRPC not to HTTP1, and to GRPC nothing but POST.
func compatible(a *request, version string) bool {
	switch version {
	case lbconfig.HTTP2:
		return a.major == 2
	case lbconfig.GRPC:
		return a.major == 2 && a.method == http.MethodPost
	}
	return !a.isGRPC()
}
