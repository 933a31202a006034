package lb

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket reads and writes a TCP connection of net's with system calls that Go's scheduler is not told of. They never
// wait: the connection is non-blocking, and net's poller waits. So sysmon has no processor to take away from a thread in
// a system call, which costs more than the call; and nothing is held while a read waits.
//
// One may read while another one writes.
type socket struct {
	raw      syscall.RawConn
	in, out  transfer
	waited   bool // the last write, for room in the kernel's buffer
	last     bool // nothing is written after what is being written
	readFn   func(fd uintptr) bool
	writeFn  func(fd uintptr) bool
	askFn    func(fd uintptr) bool
	answer   landing // of askFn
	asking   bool    // askFn has not written
	wary     bool    // askFn is to look first
	full     bool    // for askFn to write
	peekFn   func(fd uintptr)
	peekByte [1]byte
	quiet    bool // by peekFn
}

// transfer is one read or write.
type transfer struct {
	p     []byte
	n     int
	errno syscall.Errno
}

// landing is where an answer goes. It need be there only when something has come.
type landing interface {
	room() []byte
	vacate() // nothing has come, and room is asked for again
}

// plainConn is a connection of net's that is read and written by its socket.
type plainConn struct {
	net.Conn
	*socket
}

// newPlainConn is the connection itself when it is not plain TCP.
func newPlainConn(c net.Conn) net.Conn {
	if s := socketOf(c); s != nil {
		return &plainConn{c, s}
	}
	return c
}

func (c *plainConn) Read(p []byte) (int, error) { return c.socket.Read(p) }

func (c *plainConn) Write(p []byte) (int, error) { return c.socket.Write(p) }

// socketOf is nil when the connection is not plain TCP.
func socketOf(c net.Conn) *socket {
	switch t := c.(type) {
	case *plainConn:
		return t.socket
	case *clientSocket:
		return t.socket
	}
	t, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return nil
	}
	return newSocket(raw)
}

func newSocket(raw syscall.RawConn) *socket {
	s := &socket{raw: raw}
	s.readFn, s.writeFn, s.askFn, s.peekFn = s.tryRead, s.tryWrite, s.tryAsk, s.peek
	return s
}

// Read is io.Reader's.
func (s *socket) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.in = transfer{p: p}
	err := s.raw.Read(s.readFn)
	n, errno := s.in.n, s.in.errno
	s.in.p = nil
	switch {
	case err != nil:
		return 0, opError("read", err)
	case errno != 0:
		return 0, opError("read", errno)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write is io.Writer's.
func (s *socket) Write(p []byte) (int, error) {
	return s.write(p, false)
}

// CloseWrite ends the sending side.
func (s *socket) CloseWrite() error {
	err := control(s.raw, func(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) })
	if err != nil {
		err = opError("shutdown", err)
	}
	return err
}

// writeLast writes p and ends the sending side, in one packet if p fits.
func (s *socket) writeLast(p []byte) error {
	_, err := s.write(p, true)
	return err
}

func (s *socket) write(p []byte, last bool) (int, error) {
	s.out, s.waited, s.last = transfer{p: p}, false, last
	err := s.raw.Write(s.writeFn)
	n, errno := s.out.n, s.out.errno
	s.out.p = nil
	switch {
	case err != nil:
		err = opError("write", err)
	case errno != 0:
		err = opError("write", errno)
	}
	return n, err
}

// ask writes out and reads some of the answer, in one go: net's poller is told to wait for an answer before out is
// written, so that there need be no read that finds nothing. Nothing may have come before. The answer's room is vacated
// while it is waited for, and out with it. When it is wary, nothing is written if something has come all the same, be it
// the end. read is 0 when out did not fit into the kernel's buffer at once, and was written
// all the same.
func (s *socket) ask(out []byte, answer landing, wary bool) (written, read int, err error) {
	s.out, s.in, s.asking, s.wary, s.full, s.answer = transfer{p: out}, transfer{}, true, wary, false, answer
	err = s.raw.Read(s.askFn)
	if err == nil && s.full {
		err = s.raw.Write(s.writeFn)
	}
	written, read = s.out.n, s.in.n
	switch {
	case err != nil:
	case s.out.errno != 0:
		err = s.out.errno
	case s.in.errno != 0:
		err = s.in.errno
	case read == 0 && !s.full:
		err = io.EOF
	}
	s.out.p, s.in.p, s.answer = nil, nil, nil
	return written, read, err
}

// silent says whether nothing has come, not even the end.
func (s *socket) silent() bool {
	s.quiet = false
	return s.raw.Control(s.peekFn) == nil && s.quiet
}

// Private

// opError is what net has in an error's place: others look at its type.
func opError(op string, err error) error {
	var of *net.OpError
	var errno syscall.Errno
	switch {
	case errors.As(err, &of):
		return err
	case errors.As(err, &errno):
		err = os.NewSyscallError(op, errno)
	case !errors.Is(err, os.ErrDeadlineExceeded):
		err = net.ErrClosed
	}
	return &net.OpError{Op: op, Net: "tcp", Err: err}
}

func (s *socket) tryRead(fd uintptr) bool {
	s.in.n, s.in.errno = readNow(fd, s.in.p)
	return s.in.errno != syscall.EAGAIN
}

func (s *socket) tryAsk(fd uintptr) bool {
	if s.asking {
		s.asking = false
		if s.wary {
			if s.peek(fd); !s.quiet {
				s.out.errno = syscall.EPIPE
				return true
			}
		}
		if s.full = !s.tryWrite(fd); s.full || s.out.errno != 0 {
			return true
		}
		s.out.p = nil
		s.answer.vacate()
		return false
	}
	s.in.p = s.answer.room()
	if s.tryRead(fd) {
		return true
	}
	s.in.p = nil
	s.answer.vacate()
	return false
}

// readNow reads what is there. recv(2) is shorter than read(2) within the kernel.
func readNow(fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), 0
	}
}

func (s *socket) tryWrite(fd uintptr) bool {
	t, flags := &s.out, uintptr(syscall.MSG_NOSIGNAL)
	if s.last {
		flags |= unix.MSG_MORE // until the end is there
	}
	for t.n < len(t.p) {
		rest := t.p[t.n:]
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(rest))), uintptr(len(rest)), flags, 0, 0)
		switch errno {
		case 0:
			t.n += int(n)
		case syscall.EINTR:
		case syscall.EAGAIN:
			s.waited = true
			return false
		default:
			t.errno = errno
			return true
		}
	}
	if s.last {
		syscall.RawSyscall(syscall.SYS_SHUTDOWN, fd, unix.SHUT_WR, 0)
	}
	return true
}

func (s *socket) peek(fd uintptr) {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&s.peekByte)), 1, syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
	s.quiet = errno == syscall.EAGAIN
}
