package lb

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// backlog is how many connections wait at a port while nobody accepts, as when the worker is being replaced. The
// kernel caps it at net.core.somaxconn.
const backlog = 65535

// nsfsMagic is the file system of namespaces.
const nsfsMagic = 0x6e736673

// ownNamespace is the namespace the process was started in, opened before any thread of it has left.
var ownNamespace = sync.OnceValues(func() (*os.File, error) { return os.Open("/proc/thread-self/ns/net") })

// inNamespace runs fn on a thread inside the network namespace at path ("" for the process's own) and returns the
// namespace's number. fn must not start goroutines. What it opens can be used everywhere.
func inNamespace(path string, fn func() error) (number uint64, err error) {
	own, err := ownNamespace()
	if err != nil {
		return 0, err
	}
	if path == "" {
		number, err = namespaceNumber(own)
		return number, errors.Join(err, fn())
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, transientError{err}
	}
	defer f.Close()
	if number, err = namespaceNumber(f); err != nil {
		return 0, err
	}
	runtime.LockOSThread()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return 0, fmt.Errorf("enter %s: %w", path, err)
	}
	err = fn()
	if e := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); e != nil {
		panic(e) // a thread in a wrong namespace must not be used again
	}
	runtime.UnlockOSThread()
	return number, err
}

// namespaceNumber is the number of the namespace that the file stands for.
func namespaceNumber(f *os.File) (uint64, error) {
	var sfs unix.Statfs_t
	var st unix.Stat_t
	if err := errors.Join(unix.Fstatfs(int(f.Fd()), &sfs), unix.Fstat(int(f.Fd()), &st)); err != nil {
		return 0, err
	}
	if sfs.Type != nsfsMagic { // a file left between create and mount, or after a reboot
		return 0, transientError{fmt.Errorf("%s is not a namespace", f.Name())}
	}
	return st.Ino, nil
}

// socketNamespace is the number of the namespace that a socket is in. It needs CAP_NET_ADMIN there.
func socketNamespace(fd int) (uint64, error) {
	ns, err := unix.IoctlRetInt(fd, unix.SIOCGSKNS)
	if err != nil {
		return 0, fmt.Errorf("namespace of a socket: %w", err)
	}
	f := os.NewFile(uintptr(ns), "namespace of a socket")
	defer f.Close()
	return namespaceNumber(f)
}

// listenSocket makes a listening socket in the current namespace, with the ingress rules on it from the beginning.
func listenSocket(addr netip.AddrPort, prefixes []netip.Prefix, all bool) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP)
	if err != nil {
		return -1, err
	}
	for _, step := range []func() error{
		func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) },
		func() error { return setIngressFilter(fd, prefixes, all) },
		func() error { return unix.Bind(fd, sockaddr(addr)) },
		func() error { return unix.Listen(fd, backlog) },
	} {
		if err := step(); err != nil {
			unix.Close(fd)
			if errors.Is(err, unix.EADDRNOTAVAIL) {
				err = transientError{err}
			}
			return -1, err
		}
	}
	return fd, nil
}

// dialSocket makes an unconnected socket in the current namespace, bound to an address but to no port: connect
// chooses one, free for that destination.
func dialSocket(from netip.Addr) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP)
	if err != nil {
		return -1, err
	}
	err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	if err == nil {
		err = unix.Bind(fd, sockaddr(netip.AddrPortFrom(from, 0)))
	}
	if err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.EADDRNOTAVAIL) {
			err = transientError{err}
		}
		return -1, err
	}
	return fd, nil
}

// boundTo is the IPv4 address and port of a listening socket.
func boundTo(fd int) (netip.AddrPort, error) {
	if n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || n == 0 {
		return netip.AddrPort{}, errors.Join(errors.New("not a listening socket"), err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, err
	}
	sa4, ok := sa.(*unix.SockaddrInet4)
	if !ok {
		return netip.AddrPort{}, errors.New("not an IPv4 socket")
	}
	return netip.AddrPortFrom(netip.AddrFrom4(sa4.Addr), uint16(sa4.Port)), nil
}

func sockaddr(a netip.AddrPort) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
}
