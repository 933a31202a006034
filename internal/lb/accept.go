package lb

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// keepAlive is how soon, and how often, the kernel asks a silent client whether it is there, as net has it.
const keepAlive = 15 // seconds

// deferAccept is how long a client is not worth a wake-up that sends nothing. Then it is accepted like any other. Nearly all
// have sent their request when they are accepted, so that it is read at once: a fifth of a new connection's processor time.
const deferAccept = 1 // seconds; the kernel knows no less

// acceptor accepts connections with one system call each. net takes seven, to ask for what accept4(2) has told, and to set
// what a socket has from the one that listens.
type acceptor struct {
	file *os.File // of the listening socket, a descriptor of its own
	raw  syscall.RawConn
	at   net.Addr

	tryFn func(fd uintptr) bool
	// Of the call under way.
	fd    uintptr
	peer  unix.RawSockaddrInet4
	errno syscall.Errno
}

func newAcceptor(ln net.Listener) (*acceptor, error) {
	l, ok := ln.(*net.TCPListener)
	if !ok {
		return nil, errors.New("not a listener of TCP")
	}
	f, err := l.File()
	if err != nil {
		return nil, err
	}
	a := &acceptor{file: f, at: ln.Addr()}
	a.tryFn = a.try
	if a.raw, err = f.SyscallConn(); err == nil {
		err = control(a.raw, func(fd int) error {
			return errors.Join(
				unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
				unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1),
				unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepAlive),
				unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepAlive),
				unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, deferAccept),
			)
		})
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return a, nil
}

// accept waits for the next connection. One may wait at a time.
func (a *acceptor) accept() (*clientSocket, error) {
	err := a.raw.Read(a.tryFn)
	switch {
	case err != nil:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: a.at, Err: net.ErrClosed}
	case a.errno != 0:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: a.at, Err: os.NewSyscallError("accept4", a.errno)}
	}
	port := (*[2]byte)(unsafe.Pointer(&a.peer.Port))
	peer := netip.AddrPortFrom(netip.AddrFrom4(a.peer.Addr), uint16(port[0])<<8|uint16(port[1]))
	return newClientSocket(os.NewFile(a.fd, "client"), a.at, peer)
}

func (a *acceptor) close() { a.file.Close() }

// Private

// try is false when nobody is there.
func (a *acceptor) try(fd uintptr) bool {
	for {
		size := uint32(unix.SizeofSockaddrInet4)
		a.fd, _, a.errno = syscall.RawSyscall6(syscall.SYS_ACCEPT4, fd, uintptr(unsafe.Pointer(&a.peer)), uintptr(unsafe.Pointer(&size)),
			syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0, 0)
		if a.errno != syscall.EINTR && a.errno != syscall.ECONNABORTED {
			return a.errno != syscall.EAGAIN
		}
	}
}

// clientSocket is a connection that an acceptor has accepted.
type clientSocket struct {
	*socket
	file  *os.File // so that the runtime's poller waits
	local net.Addr
	peer  netip.AddrPort
}

func newClientSocket(f *os.File, local net.Addr, peer netip.AddrPort) (*clientSocket, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &clientSocket{newSocket(raw), f, local, peer}, nil
}

func (c *clientSocket) Close() error { return c.wrap("close", c.file.Close()) }

func (c *clientSocket) LocalAddr() net.Addr { return c.local }

func (c *clientSocket) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.peer) }

func (c *clientSocket) SetDeadline(t time.Time) error { return c.wrap("set", c.file.SetDeadline(t)) }

func (c *clientSocket) SetReadDeadline(t time.Time) error {
	return c.wrap("set", c.file.SetReadDeadline(t))
}

func (c *clientSocket) SetWriteDeadline(t time.Time) error {
	return c.wrap("set", c.file.SetWriteDeadline(t))
}

// wrap makes an error what net has in its place: others look at its type.
func (c *clientSocket) wrap(op string, err error) error {
	var of *fs.PathError
	if err == nil || !errors.As(err, &of) {
		return err
	}
	cause := of.Err
	if errors.Is(cause, os.ErrClosed) {
		cause = net.ErrClosed
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.RemoteAddr(), Err: cause}
}
