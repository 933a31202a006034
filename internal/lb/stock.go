package lb

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// How many unconnected sockets are kept in stock for each address that connections begin at, so that targets can be
// reached for a while without the parent, and without asking it each time.
const (
	stockFull   = 64
	stockLow    = 48 // below it more are fetched
	stockSpared = 24 // health checks leave these to requests while the parent is away
)

// stock keeps sockets made inside namespaces for connections to come.
type stock struct {
	fetch func(ctx context.Context, key dialKey, n int, have uint64) (fds []int, ns uint64, err error)
	low   chan struct{}

	mu      sync.Mutex
	shelves map[dialKey]*shelf
}

// shelf is the stock for one address.
type shelf struct {
	ns    uint64
	fds   []int
	added chan struct{} // closed when some are added
	err   error         // of the last fetch
}

func newStock(fetch func(context.Context, dialKey, int, uint64) ([]int, uint64, error)) *stock {
	return &stock{fetch: fetch, low: make(chan struct{}, 1), shelves: map[dialKey]*shelf{}}
}

// take returns a socket; it waits for one as long as ctx lasts.
func (s *stock) take(ctx context.Context, key dialKey, spare bool) (int, error) {
	for {
		s.mu.Lock()
		sh := s.shelves[key]
		if sh == nil {
			sh = &shelf{added: make(chan struct{})}
			s.shelves[key] = sh
		}
		n := len(sh.fds)
		if n > 0 && !(spare && n <= stockSpared && sh.err != nil) {
			fd := sh.fds[n-1]
			sh.fds = sh.fds[:n-1]
			s.mu.Unlock()
			if n <= stockLow {
				s.wake()
			}
			return fd, nil
		}
		added, err := sh.added, sh.err
		s.mu.Unlock()
		s.wake()
		if spare && err != nil {
			return -1, noSocketError{err}
		}
		select {
		case <-ctx.Done():
			return -1, noSocketError{errors.Join(ctx.Err(), err)}
		case <-added:
		}
	}
}

// wake says that some shelf may be low.
func (s *stock) wake() {
	select {
	case s.low <- struct{}{}:
	default:
	}
}

// run fills shelves that are low until ctx ends.
func (s *stock) run(ctx context.Context) {
	defer s.keep(nil)
	for ctx.Err() == nil {
		failed := false
		for _, key := range s.lowShelves() {
			if s.fill(ctx, key) != nil {
				failed = true
			}
		}
		if failed {
			pause(ctx, 100*time.Millisecond)
			continue
		}
		select {
		case <-ctx.Done():
		case <-s.low:
		}
	}
}

// keep drops the shelves of other keys.
func (s *stock) keep(keys map[dialKey]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, sh := range s.shelves {
		if !keys[key] {
			closeFDs(sh.fds)
			delete(s.shelves, key)
		}
	}
	for key := range keys {
		if s.shelves[key] == nil && key.Netns != "" {
			s.shelves[key] = &shelf{added: make(chan struct{})}
		}
	}
	s.wake()
}

func (s *stock) lowShelves() (keys []dialKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, sh := range s.shelves {
		if len(sh.fds) <= stockLow {
			keys = append(keys, key)
		}
	}
	return keys
}

// fill fetches sockets for one shelf. Those of a namespace that is not at its path any more are dropped.
func (s *stock) fill(ctx context.Context, key dialKey) error {
	s.mu.Lock()
	sh := s.shelves[key]
	if sh == nil {
		s.mu.Unlock()
		return nil
	}
	n, have := min(stockFull-len(sh.fds), maxFDs), sh.ns
	s.mu.Unlock()
	fds, ns, err := s.fetch(ctx, key, n, have)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shelves[key] != sh { // dropped meanwhile
		closeFDs(fds)
		return nil
	}
	sh.err = err
	if err != nil {
		return err
	}
	if ns != sh.ns {
		closeFDs(sh.fds)
		sh.fds, sh.ns = nil, ns
	}
	sh.fds = append(sh.fds, fds...)
	close(sh.added)
	sh.added = make(chan struct{})
	return nil
}

// fetchPatience is how long a fetch waits for a parent that is away, before shelves are marked as not filling.
const fetchPatience = 50 * time.Millisecond

func (s *parentSockets) dialSockets(ctx context.Context, key dialKey, n int, have uint64) ([]int, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchPatience)
	defer cancel()
	reply, fds, err := s.request(ctx, message{Op: opDial, Dial: key, N: n, Have: have})
	if err != nil {
		closeFDs(fds)
		return nil, 0, err
	}
	return fds, reply.NS, nil
}

func (s *parentSockets) keep(t *table) {
	s.stock.keep(t.dials)
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, h := range s.parked {
		if t.ports[k] == nil {
			unix.Close(h.fd)
			delete(s.parked, k)
		}
	}
}

// dial connects with a socket from stock: it takes the place of the one that net made (see Control in net.Dialer),
// so that deadlines, contexts and the poller work as ever.
func (s *parentSockets) dial(ctx context.Context, key dialKey, to netip.AddrPort, spare bool) (net.Conn, error) {
	if key.Netns == "" {
		return ownSockets{}.dial(ctx, key, to, spare)
	}
	var none error
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		fd, err := s.stock.take(ctx, key, spare)
		if err != nil {
			none = err
			return err
		}
		defer unix.Close(fd)
		return control(c, func(old int) error { return unix.Dup3(fd, old, unix.O_CLOEXEC) })
	}}
	conn, err := d.DialContext(ctx, "tcp4", to.String())
	if none != nil {
		return nil, none
	}
	return conn, err
}
