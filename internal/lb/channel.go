package lb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lotse-project/lotse/internal/seal"
)

// The descriptors that a worker inherits.
const (
	channelFD = 3 // unix socket where the parent, or the next one, connects
	controlFD = 4 // the control socket
	homeFD    = 5 // directory that the worker may write in
	exeFD     = 6 // the program, of no use once it runs
)

// inheritedHome is the home of a worker that RunParent started.
func inheritedHome(l *slog.Logger) (*home, error) {
	channelLn, err := inheritedListener(channelFD)
	if err != nil {
		return nil, err
	}
	control, err := inheritedListener(controlFD)
	if err != nil {
		return nil, err
	}
	unix.CloseOnExec(homeFD)
	unix.Close(exeFD)
	os.WriteFile("/proc/self/comm", []byte("lotse-lb"), 0) // else it is the number of exeFD
	ps := newParentSockets(channelLn.(*net.UnixListener), l)
	return &home{
		sockets: ps,
		// The directory can't be reached by name: its parents are closed to this user.
		dir:       filepath.Join("/proc/self/fd", fmt.Sprint(homeFD)),
		control:   control,
		snapshot:  ps.snapshot,
		open:      ps.open,
		serve:     ps.run,
		succeeded: ps.succeeded,
	}, nil
}

func inheritedListener(fd int) (net.Listener, error) {
	f := os.NewFile(uintptr(fd), fmt.Sprintf("inherited descriptor %d", fd))
	defer f.Close()
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("%s: not started by the balancer's parent? %w", f.Name(), err)
	}
	return ln, nil
}

// parentSockets asks the parent for sockets. While there is none, requests wait for it, or fail with their context;
// what is in stock goes on being used.
type parentSockets struct {
	ln    *net.UnixListener
	log   *slog.Logger
	stock *stock

	call sync.Mutex // one request at a time

	retire   atomic.Bool // the last parent has another worker to come
	retiring atomic.Bool // and has said so with SIGTERM

	mu     sync.Mutex
	conn   *net.UnixConn // nil while the parent is away
	left   time.Time     // when conn became nil
	came   chan struct{} // closed when conn is set
	key    *seal.Key     // nil until a parent brought it
	mine   map[portKey]heldSocket
	parked map[portKey]heldSocket // from the parent, not yet asked for
}

// heldSocket is a listening socket by descriptor.
type heldSocket struct {
	fd int
	ns uint64
}

func newParentSockets(ln *net.UnixListener, l *slog.Logger) *parentSockets {
	s := &parentSockets{ln: ln, log: l, left: time.Now(), came: make(chan struct{}), mine: map[portKey]heldSocket{}, parked: map[portKey]heldSocket{}}
	s.stock = newStock(s.dialSockets)
	return s
}

// run takes parents as they come, until ctx ends.
func (s *parentSockets) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { s.ln.Close() })
	defer stop()
	wg.Go(func() { s.stock.run(ctx) })
	for {
		c, err := s.ln.AcceptUnix()
		if err != nil {
			return
		}
		if err := s.greet(c); err != nil {
			s.log.Warn("parent turned away", "err", err)
			c.Close()
		}
	}
}

// answerWithin is how long either side waits for the other's message.
const answerWithin = 5 * time.Second

// greet exchanges listening sockets with a new parent.
func (s *parentSockets) greet(c *net.UnixConn) error {
	if err := trusted(c); err != nil {
		return err
	}
	c.SetDeadline(time.Now().Add(answerWithin))
	hello, fds, _, err := receive(c)
	closeFDs(fds)
	if err != nil {
		return err
	}
	if hello.Op != opHello {
		return fmt.Errorf("greeting begins with %q", hello.Op)
	}
	if len(hello.Key) > 0 {
		key, err := seal.New(hello.Key)
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.key = key
		s.mu.Unlock()
	}
	s.call.Lock() // no request is under way with the old one
	defer s.call.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []heldKey
	var out []int
	for _, all := range []map[portKey]heldSocket{s.mine, s.parked} {
		for k, h := range all {
			keys, out = append(keys, heldKey{k, h.ns}), append(out, h.fd)
		}
	}
	if err := sendHeld(c, keys, out, s.retiring.Load()); err != nil {
		return err
	}
	theirs, err := receiveHeld(c)
	if err != nil {
		return err
	}
	for i, k := range theirs.keys {
		if old, ok := s.parked[k.Key]; ok {
			unix.Close(old.fd)
		}
		if _, ok := s.mine[k.Key]; ok {
			unix.Close(theirs.fds[i])
			continue
		}
		s.parked[k.Key] = heldSocket{theirs.fds[i], k.NS}
	}
	s.retire.Store(theirs.retire)
	c.SetDeadline(time.Time{})
	if s.conn != nil {
		s.conn.Close()
	}
	s.conn = c
	close(s.came)
	s.came = make(chan struct{})
	s.stock.wake()
	s.log.Debug("parent is there", "held", len(s.mine), "received", len(theirs.keys), "retire", theirs.retire)
	return nil
}

// succeeded is home's.
func (s *parentSockets) succeeded() bool {
	s.retiring.Store(s.retire.Load())
	return s.retire.Load()
}

// open is an opener.
func (s *parentSockets) open(sealed, record string) ([]byte, error) {
	s.mu.Lock()
	key := s.key
	s.mu.Unlock()
	if key == nil {
		return nil, errors.New("the parent has brought no key")
	}
	return key.Open(sealed, record)
}

// trusted: the parent is root, or as unprivileged as we are.
func trusted(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return control(raw, func(fd int) error {
		cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err == nil && cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
			err = fmt.Errorf("uid %d connected", cred.Uid)
		}
		return err
	})
}

// errAway is the error of requests that no parent took.
var errAway = errors.New("the privileged parent of the balancer is away")

// request sends a message and returns the reply. It waits for a parent as long as ctx lasts.
func (s *parentSockets) request(ctx context.Context, m message) (message, []int, error) {
	for {
		conn, came := s.parent()
		if conn == nil {
			select {
			case <-ctx.Done():
				return message{}, nil, transientError{errAway}
			case <-came:
				continue
			}
		}
		s.call.Lock()
		conn.SetDeadline(time.Now().Add(answerWithin))
		err := send(conn, m)
		var reply message
		var fds []int
		if err == nil {
			reply, fds, _, err = receive(conn)
		}
		s.call.Unlock()
		if err == nil {
			return reply, fds, reply.failure()
		}
		closeFDs(fds)
		s.lost(conn, err)
	}
}

// failure is the error that a reply carries.
func (m message) failure() error {
	switch {
	case m.Error == "":
		return nil
	case m.NotExist:
		return fmt.Errorf("%s: %w", m.Error, fs.ErrNotExist)
	case m.Transient:
		return transientError{errors.New(m.Error)}
	}
	return errors.New(m.Error)
}

func (s *parentSockets) parent() (*net.UnixConn, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn, s.came
}

func (s *parentSockets) lost(c *net.UnixConn, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == c {
		s.log.Warn("the privileged parent is gone; new ports have to wait for the next", "err", err)
		s.conn, s.left = nil, time.Now()
		c.Close()
	}
}

func (s *parentSockets) snapshot(ctx context.Context) (io.ReadCloser, error) {
	_, fds, err := s.request(ctx, message{Op: opSnapshot})
	if err != nil || len(fds) != 1 {
		closeFDs(fds)
		return nil, errors.Join(err, oneSocket(fds, err))
	}
	return os.NewFile(uintptr(fds[0]), "snapshot"), nil
}

// listenPatience is how long ports wait for a parent, counted from its end: one that is being started anew is waited
// for, one that has been away for long is not.
const listenPatience = bindAgain

func (s *parentSockets) patient(ctx context.Context) (context.Context, context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return context.WithDeadline(ctx, s.left.Add(listenPatience))
}

func (s *parentSockets) listen(ctx context.Context, key portKey, have uint64) (net.Listener, uint64, error) {
	ctx, cancel := s.patient(ctx)
	defer cancel()
	s.mu.Lock()
	parked, ok := s.parked[key] // stays there until it is another's, or nobody's: a parent that comes meanwhile must get it
	s.mu.Unlock()
	if ok && have == 0 {
		have = parked.ns
	}
	reply, fds, err := s.request(ctx, message{Op: opListen, Port: key, Have: have})
	parked, ok = s.unpark(key)
	switch {
	case errors.Is(err, errAway) && have != 0: // what we have is as good as it was
		reply.NS = have
	case err != nil:
		closeFDs(fds)
		if ok {
			unix.Close(parked.fd)
		}
		return nil, 0, err
	}
	if len(fds) == 1 {
		if ok {
			unix.Close(parked.fd)
		}
		return s.adopt(key, heldSocket{fds[0], reply.NS})
	}
	if ok {
		return s.adopt(key, parked)
	}
	if have == 0 {
		closeFDs(fds)
		return nil, 0, oneSocket(fds, nil)
	}
	return nil, have, nil
}

func (s *parentSockets) unpark(key portKey) (heldSocket, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok := s.parked[key]
	delete(s.parked, key)
	return h, ok
}

// adopt makes a listener of a socket. The descriptor stays, for the next parent.
func (s *parentSockets) adopt(key portKey, h heldSocket) (net.Listener, uint64, error) {
	dup, err := unix.FcntlInt(uintptr(h.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		unix.Close(h.fd)
		return nil, 0, err
	}
	f := os.NewFile(uintptr(dup), key.String())
	defer f.Close()
	ln, err := net.FileListener(f)
	if err != nil {
		unix.Close(h.fd)
		return nil, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.mine[key]; ok {
		unix.Close(old.fd)
	}
	s.mine[key] = h
	return ln, h.ns, nil
}

func (s *parentSockets) filter(key portKey, _ net.Listener, _ []netip.Prefix, _ bool) error {
	ctx, cancel := s.patient(context.Background())
	defer cancel()
	_, _, err := s.request(ctx, message{Op: opFilter, Port: key})
	return err
}

func (s *parentSockets) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, all := range []map[portKey]heldSocket{s.mine, s.parked} {
		for k, h := range all {
			unix.Close(h.fd)
			delete(all, k)
		}
	}
}

func (s *parentSockets) forget(key portKey) {
	s.mu.Lock()
	if h, ok := s.mine[key]; ok {
		unix.Close(h.fd)
		delete(s.mine, key)
	}
	s.mu.Unlock()
	ctx, cancel := s.patient(context.Background())
	defer cancel()
	s.request(ctx, message{Op: opForget, Port: key}) // without a parent: the next one asks what we hold
}

func oneSocket(fds []int, err error) error {
	if err != nil {
		return nil
	}
	return fmt.Errorf("the parent sent %d descriptors, want 1", len(fds))
}
