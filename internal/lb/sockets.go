package lb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// portKey names a listening socket: an address in the namespace at a path, "" for the host's.
type portKey struct {
	Netns string
	Addr  netip.AddrPort
}

func (k portKey) String() string {
	if k.Netns == "" {
		return k.Addr.String()
	}
	return k.Addr.String() + " in " + k.Netns
}

// dialKey names where a connection to a target begins. ENI may be the zero Addr in the host's namespace.
type dialKey struct {
	Netns string
	ENI   netip.Addr
}

// sockets makes sockets. The worker has two: parentSockets asks the privileged parent, ownSockets makes them itself.
type sockets interface {
	// listen returns the listening socket, or nil when the caller's, which is in namespace number have, is still the
	// right one. It also returns the namespace's number. A transient error is worth trying again without being asked.
	listen(ctx context.Context, key portKey, have uint64) (net.Listener, uint64, error)
	// filter puts the ingress rules on the socket itself.
	filter(key portKey, ln net.Listener, prefixes []netip.Prefix, all bool) error
	// forget says that the caller has closed the socket.
	forget(key portKey)
	// dial connects. A spare dial (a health check) is refused when sockets are short.
	dial(ctx context.Context, key dialKey, to netip.AddrPort, spare bool) (net.Conn, error)
	// keep says what the table in force uses; what is kept for others may go.
	keep(t *table)
	// release closes what is kept of listening sockets.
	release()
}

// transientError marks an error that time may heal: the address or the namespace is not there yet.
type transientError struct{ error }

func (e transientError) Unwrap() error { return e.error }

// noSocketError says that a connection was not even tried. It tells nothing about the target.
type noSocketError struct{ error }

func (e noSocketError) Unwrap() error { return e.error }

// ownSockets makes sockets in the process's own namespace: for use without a parent.
type ownSockets struct{}

func (ownSockets) listen(ctx context.Context, key portKey, have uint64) (net.Listener, uint64, error) {
	if key.Netns != "" {
		return nil, 0, fmt.Errorf("listen on %s: only the privileged parent enters namespaces", key)
	}
	if have != 0 {
		return nil, have, nil
	}
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(ctx, "tcp4", key.Addr.String())
	return ln, 1, err
}

func (ownSockets) filter(_ portKey, ln net.Listener, prefixes []netip.Prefix, all bool) error {
	sc, ok := ln.(syscall.Conn)
	if !ok {
		return errors.New("the listener has no socket")
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	return control(raw, func(fd int) error { return setIngressFilter(fd, prefixes, all) })
}

func (ownSockets) forget(portKey) {}

func (ownSockets) keep(*table) {}

func (ownSockets) release() {}

func (ownSockets) dial(ctx context.Context, key dialKey, to netip.AddrPort, _ bool) (net.Conn, error) {
	if key.Netns != "" {
		return nil, noSocketError{fmt.Errorf("dial from %s: only the privileged parent enters namespaces", key.Netns)}
	}
	d := net.Dialer{Control: bindNoPort}
	if key.ENI.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(key.ENI, 0))
	}
	return d.DialContext(ctx, "tcp4", to.String())
}

// bindNoPort makes the kernel choose the source port in connect, per destination, rather than in bind.
func bindNoPort(_, _ string, c syscall.RawConn) error {
	return control(c, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
}

func control(c syscall.RawConn, fn func(fd int) error) error {
	var err error
	if e := c.Control(func(fd uintptr) { err = fn(int(fd)) }); e != nil {
		return e
	}
	return err
}
