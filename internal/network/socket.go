package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Control is for net.Dialer and net.ListenConfig, in a process that may enter namespaces: before
// bind and connect it puts a socket made inside the namespace at netnsPath in the place of the one
// that package net made. Deadlines, contexts and the poller work as ever, no thread is held while
// a connection is being made, and the connection may be used by any goroutine.
//
// Networks are tcp4 and udp4; addresses must be literal, since a name would be looked up outside.
// The path is opened for every socket: a namespace that was made anew is found, and none is kept
// alive. (A cached handle would save 3 µs of 12.)
func Control(netnsPath string) func(network, address string, c syscall.RawConn) error {
	return func(network, _ string, c syscall.RawConn) error {
		typ := unix.SOCK_STREAM
		if network == "udp4" {
			typ = unix.SOCK_DGRAM
		} else if network != "tcp4" {
			return fmt.Errorf("network %s: sockets in a VPC are tcp4 or udp4", network)
		}
		s, err := socketIn(netnsPath, typ)
		if err != nil {
			return err
		}
		defer unix.Close(s)
		var dup error
		err = c.Control(func(fd uintptr) { dup = unix.Dup3(s, int(fd), unix.O_CLOEXEC) })
		return errors.Join(err, dup)
	}
}

// ListenIn listens inside a namespace, on a literal address such as 10.0.1.5:80.
func ListenIn(ctx context.Context, netnsPath string, at netip.AddrPort) (net.Listener, error) {
	lc := net.ListenConfig{Control: Control(netnsPath)}
	lc.SetMultipathTCP(false) // which Go would try first
	return lc.Listen(ctx, "tcp4", at.String())
}

// DialerIn dials "tcp4" or "udp4" from inside a namespace. A source address, if valid, is where
// TCP connections come from; their port is chosen for each target anew.
func DialerIn(netnsPath string, source netip.Addr) *net.Dialer {
	d := &net.Dialer{Control: Control(netnsPath)}
	if source.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: source.AsSlice()}
	}
	return d
}

// Private

// socketIn makes a socket inside the namespace at path.
func socketIn(path string, typ int) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return -1, err
	}
	defer f.Close()
	fd := -1
	err = inside(int(f.Fd()), func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return os.NewSyscallError("socket", err)
	})
	if err != nil {
		return -1, err
	}
	// The choice of a port is left to connect, so that every target has the whole range. Listeners
	// want REUSEADDR, which package net had set on the socket that is replaced; with UDP it would
	// let two have one port.
	err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	if typ == unix.SOCK_STREAM {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
