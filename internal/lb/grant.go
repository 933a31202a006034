package lb

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// answer grants the worker's requests, one after the other, until the connection ends.
func (p *parent) answer(c *net.UnixConn) error {
	for {
		m, fds, _, err := receive(c)
		closeFDs(fds)
		if err != nil {
			return err
		}
		reply, out, keep, err := p.grant(m)
		if err != nil {
			var later transientError
			reply = message{Error: err.Error(), Transient: errors.As(err, &later), NotExist: errors.Is(err, fs.ErrNotExist) && m.Op == opSnapshot}
			out = nil
		}
		err = send(c, reply, out...)
		if !keep {
			closeFDs(out)
		}
		if err != nil {
			return err
		}
	}
}

// grant does what the worker asks for. The descriptors are closed after they have been sent, unless kept.
func (p *parent) grant(m message) (reply message, fds []int, keep bool, err error) {
	switch m.Op {
	case opListen:
		reply, fds, err = p.listen(m.Port, m.Have)
		return reply, fds, true, err
	case opForget:
		if h, ok := p.held[m.Port]; ok && !p.wanted.port(m.Port) {
			unix.Close(h.fd)
			delete(p.held, m.Port)
		}
		return message{}, nil, false, nil
	case opFilter:
		return message{}, nil, false, p.filter(m.Port)
	case opDial:
		reply, fds, err = p.dial(m.Dial, m.N)
		return reply, fds, false, err
	case opSnapshot:
		fd, err := unix.Open(p.o.SnapshotPath, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return message{}, nil, false, &fs.PathError{Op: "open", Path: p.o.SnapshotPath, Err: err}
		}
		return message{}, []int{fd}, false, nil
	}
	return message{}, nil, false, fmt.Errorf("request %q is unknown", m.Op)
}

// listen returns the listening socket for a port that the saved snapshot has, unless the worker's, in namespace
// number have, is the right one.
func (p *parent) listen(key portKey, have uint64) (message, []int, error) {
	if !p.wanted.port(key) {
		return message{}, nil, fmt.Errorf("the saved snapshot has no listener at %s", key)
	}
	number, err := inNamespace(key.Netns, func() error { return nil })
	if err != nil {
		return message{}, nil, err
	}
	if have == number {
		return message{NS: number}, nil, nil
	}
	if h, ok := p.held[key]; ok {
		if h.ns == number {
			return message{NS: number}, []int{h.fd}, nil
		}
		unix.Close(h.fd) // the namespace was made anew
		delete(p.held, key)
	}
	prefixes, all := p.wanted.admitted(key)
	fd := -1
	number, err = inNamespace(key.Netns, func() (err error) {
		fd, err = listenSocket(key.Addr, prefixes, all)
		return err
	})
	if err != nil {
		if errors.Is(err, unix.EADDRINUSE) && key.Netns == "" {
			err = fmt.Errorf("%s is taken%s", key, portOwner(key.Addr))
		}
		return message{}, nil, err
	}
	p.held[key] = heldSocket{fd, number}
	return message{NS: number}, []int{fd}, nil
}

// filter puts the saved snapshot's ingress rules on a listening socket. The worker could not on every kernel.
func (p *parent) filter(key portKey) error {
	h, ok := p.held[key]
	if !ok || !p.wanted.port(key) {
		return fmt.Errorf("there is no listening socket at %s", key)
	}
	prefixes, all := p.wanted.admitted(key)
	return setIngressFilter(h.fd, prefixes, all)
}

// dial returns n unconnected sockets on an ENI address that the saved snapshot has.
func (p *parent) dial(key dialKey, n int) (message, []int, error) {
	if !p.wanted.dial(key) {
		return message{}, nil, fmt.Errorf("the saved snapshot has no balancer with %s in %q", key.ENI, key.Netns)
	}
	var fds []int
	number, err := inNamespace(key.Netns, func() error {
		for range min(max(n, 1), maxFDs) {
			fd, err := dialSocket(key.ENI)
			if err != nil {
				return err
			}
			fds = append(fds, fd)
		}
		return nil
	})
	if err != nil {
		closeFDs(fds)
		return message{}, nil, err
	}
	return message{NS: number}, fds, nil
}

// wanted is what the saved snapshot names. It is read again when the file has been replaced.
type wanted struct {
	path  string
	inode uint64
	mtime time.Time
	ports map[portKey][]portUse
	dials map[dialKey]bool
}

func (w *wanted) port(k portKey) bool {
	w.refresh()
	return len(w.ports[k]) > 0
}

func (w *wanted) dial(k dialKey) bool {
	w.refresh()
	return w.dials[k]
}

// admitted are the client prefixes for a port's socket; see entry.admitted.
func (w *wanted) admitted(k portKey) (prefixes []netip.Prefix, all bool) {
	for _, u := range w.ports[k] {
		if u.judge && !u.front {
			return admitted(u.balancer.Ingress, u.listener.Port)
		}
	}
	return nil, true
}

// refresh keeps what it has when the file is missing or broken.
func (w *wanted) refresh() {
	fi, err := os.Stat(w.path)
	if err != nil {
		return
	}
	var inode uint64
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		inode = st.Ino
	}
	if inode == w.inode && fi.ModTime().Equal(w.mtime) && w.ports != nil {
		return
	}
	s, err := lbconfig.Load(w.path)
	if err != nil {
		return
	}
	w.inode, w.mtime = inode, fi.ModTime()
	w.ports, w.dials = portKeys(s), dialKeys(s)
}
