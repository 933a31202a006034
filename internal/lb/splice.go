package lb

import (
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// spliceFrom is the length of a body's rest from which splice(2) is worth its pipe.
	spliceFrom = 64 << 10
	// pipeSize is how much a pipe is asked to hold. The kernel may give less.
	pipeSize = 256 << 10
)

// pipe is what bytes go through from one socket to another, without ever being in the process's memory.
type pipe struct{ r, w int }

// pipes are empty ones to be used again.
var pipes = make(chan *pipe, 32)

func takePipe() (*pipe, error) {
	select {
	case p := <-pipes:
		return p, nil
	default:
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, pipeSize) // less is slower
	return &pipe{fds[0], fds[1]}, nil
}

// put gives an empty pipe back.
func (p *pipe) put() {
	select {
	case pipes <- p:
	default:
		p.close()
	}
}

func (p *pipe) close() {
	unix.Close(p.r)
	unix.Close(p.w)
}

// splice moves so many bytes from one socket to the other, and calls moved for those that have arrived there.
func splice(to, from *socket, length int64, moved func(n int)) error {
	p, err := takePipe()
	if err != nil {
		return err
	}
	var n int
	var errno error
	pull := func(fd uintptr) bool {
		n, errno = spliceNow(int(fd), p.w, int(min(length, pipeSize)))
		return errno != syscall.EAGAIN
	}
	push := func(fd uintptr) bool {
		for n > 0 {
			var m int
			if m, errno = spliceNow(p.r, int(fd), n); errno != nil {
				return errno != syscall.EAGAIN
			}
			n -= m
			length -= int64(m)
			moved(m)
		}
		return true
	}
	for length > 0 {
		if err = from.raw.Read(pull); err == nil {
			err = errno
		}
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil { // the pipe is empty
			p.put()
			return err
		}
		if err = to.raw.Write(push); err == nil {
			err = errno
		}
		if err != nil {
			p.close()
			return err
		}
	}
	p.put()
	return nil
}

func spliceNow(from, to, n int) (int, error) {
	for {
		m, _, errno := syscall.RawSyscall6(syscall.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		switch errno {
		case 0:
			return int(m), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
