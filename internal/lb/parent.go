package lb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lotse-project/lotse/internal/proc"
	"github.com/lotse-project/lotse/internal/seal"
)

// What the parent keeps in the run directory, beside ControlSocket.
const (
	channelSocket = "lb-parent.sock" // where the worker waits for its parent
	homeDir       = "lb"             // the worker's own
	// WorkerPIDFile says which process the worker is: {"pid": …, "start": …}, start as in field 22 of /proc/PID/stat.
	// A worker outlives its parent if that is killed; who stops everything ends it by this file.
	WorkerPIDFile = "lb-worker.pid"
	// retiredPIDFile lists, in the same form, those that serve the connections they have, and no others: see EndRetired.
	retiredPIDFile = "lb-retired.pid"
)

// WorkerID is the default user and group of the worker, one that neither distributions nor systemd give to others.
// Source: systemd, Users, Groups, UIDs and GIDs on systemd Systems.
const WorkerID = 61173

// ParentOptions are for RunParent.
type ParentOptions struct {
	// RunDir holds the control socket, ControlSocket. The worker's user need not reach it.
	RunDir string
	// SnapshotPath is where the control plane saves snapshots. The worker gets only what it names.
	SnapshotPath string
	// KeyPath is the file of the key that the certificates' private keys are sealed with. The worker gets the key, over
	// the socket between them, and not the file. "", or a file that isn't there: there are no certificates.
	KeyPath string
	// Command starts the worker: a path and arguments, with which the process calls RunWorker, Inherited. The worker's
	// user must be allowed to execute the file, but not to reach it.
	Command []string
	// Env is the worker's environment, beside PATH and variables of the Go runtime.
	Env []string
	// UID and GID are the worker's. 0 is WorkerID. A parent without privileges starts it as itself.
	UID, GID int
	// StopTimeout is how long the worker gets to end after ctx has. 0 is 15 s.
	StopTimeout time.Duration
	Log         *slog.Logger // nil: slog.Default()
}

// RunParent keeps a worker running until ctx ends, and then ends it. A worker that a killed parent left is taken
// over; it serves on without noticing. Another parent with the same run directory is an error.
func RunParent(ctx context.Context, o ParentOptions) error {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.StopTimeout == 0 {
		o.StopTimeout = 15 * time.Second
	}
	if o.UID == 0 {
		o.UID = WorkerID
	}
	if o.GID == 0 {
		o.GID = WorkerID
	}
	if len(o.Command) == 0 {
		return errors.New("balancer: no command to start the worker with")
	}
	if _, err := ownNamespace(); err != nil {
		return fmt.Errorf("balancer: %w", err)
	}
	home, err := lockHome(o)
	if err != nil {
		return fmt.Errorf("balancer: %w", err)
	}
	defer home.Close()
	p := &parent{o: o, log: o.Log, held: map[portKey]heldSocket{}, wanted: wanted{path: o.SnapshotPath}}
	defer p.close()
	return p.run(ctx)
}

// lockHome makes the worker's directory and locks it against other parents, as long as the file is open.
func lockHome(o ParentOptions) (*os.File, error) {
	dir := filepath.Join(o.RunDir, homeDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, o.UID, o.GID); err != nil {
			return nil, err
		}
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("another balancer process is running for %s", o.RunDir)
		}
		return nil, err
	}
	return f, nil
}

// parent is the privileged process. One goroutine runs it all.
type parent struct {
	o       ParentOptions
	log     *slog.Logger
	wanted  wanted
	held    map[portKey]heldSocket // every listening socket of the worker
	channel *net.UnixListener      // nil until a worker is started: one that was taken over has its own
	control *net.UnixListener
	leaving []leaver
}

// Restarts: the first is at once; workers that live less than shortLife are started again ever more slowly.
const (
	shortLife   = time.Second
	firstPause  = 10 * time.Millisecond
	longestWait = 2 * time.Second
)

func (p *parent) run(ctx context.Context) error {
	w, conn := p.takeOver(ctx)
	wait, had := time.Duration(0), w != nil || len(p.leaving) > 0
	for ctx.Err() == nil {
		if w == nil {
			var err error
			if w, err = p.start(); err != nil {
				if !had {
					return fmt.Errorf("balancer: %w", err)
				}
				p.log.Error("worker not started", "err", err)
				wait = min(max(2*wait, firstPause), longestWait)
				pause(ctx, wait)
				continue
			}
			had = true
		}
		p.serve(ctx, w, conn)
		conn = nil
		if ctx.Err() != nil {
			break
		}
		p.log.Error("the balancer's worker ended; starting the next", "pid", w.pid, "lived", time.Since(w.born).Round(time.Millisecond))
		if time.Since(w.born) > shortLife {
			wait = 0
		} else if wait > 0 {
			pause(ctx, wait)
			wait = min(2*wait, longestWait)
		} else {
			wait = firstPause
		}
		w.close()
		w = nil
	}
	p.close() // or clients would wait at ports where nobody accepts any more
	if w != nil {
		w.end(p.o.StopTimeout)
		w.close()
	}
	p.forgetLeaving()
	EndRetired(p.o.RunDir, p.o.StopTimeout)
	for _, name := range []string{WorkerPIDFile, channelSocket, ControlSocket} {
		os.Remove(filepath.Join(p.o.RunDir, name))
	}
	return nil
}

// takeOver finds the worker that a killed parent left, takes what it holds, and returns it with the connection to it;
// nil without one. A worker of another build, or command, is to leave and is not returned: the next one begins with its
// sockets.
func (p *parent) takeOver(ctx context.Context) (*process, *net.UnixConn) {
	p.meetLeaving(ctx)
	e, err := p.meet(ctx, nil, channelSocket)
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ECONNREFUSED) {
			p.log.Error("the worker that is there does not answer; it is replaced", "err", err)
			endLeftover(filepath.Join(p.o.RunDir, WorkerPIDFile))
		}
		return nil, nil
	}
	w, err := openProcess(e.pid)
	if err != nil { // it has just ended
		closeFDs(e.fds)
		e.conn.Close()
		return nil, nil
	}
	p.take(e)
	if !e.current {
		p.log.Info("the worker is of another build, or has another engine; it is replaced", "pid", e.pid, "ports", len(p.held))
		e.conn.Close()
		p.leave(w)
		return nil, nil
	}
	p.log.Info("worker taken over", "pid", e.pid, "ports", len(p.held))
	p.note(w)
	p.dismiss() // it has their sockets
	return w, e.conn
}

// serve does what the worker asks for until it ends or ctx does. conn, unless nil, is a connection after its greeting.
func (p *parent) serve(ctx context.Context, w *process, conn *net.UnixConn) {
	for ctx.Err() == nil && !w.ended() {
		var err error
		if conn == nil {
			var e *encounter
			if e, err = p.meet(ctx, w, channelSocket); err == nil {
				conn = e.conn
				p.take(e)
				passing("greeted")
				p.dismiss()
			}
		}
		if conn != nil {
			stop := closeAfter(ctx, w, conn)
			err = p.answer(conn)
			stop()
			conn.Close()
			conn = nil
		}
		p.log.Debug("connection to the worker ended", "err", err)
		select {
		case <-ctx.Done():
		case <-w.gone:
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// encounter is a connection to the worker after the greeting, and what the worker said in it.
type encounter struct {
	conn *net.UnixConn
	received
	current bool // the worker runs what the parent would start
}

// meet connects to the worker and exchanges listening sockets with it: the parent gets what the worker holds, and
// sends what it holds itself and the worker does not. w is nil while the worker is not known yet. The name is that of the
// socket where the worker waits.
func (p *parent) meet(ctx context.Context, w *process, name string) (*encounter, error) {
	d := net.Dialer{Control: wantCredentials}
	c, err := d.Dial("unixpacket", filepath.Join(p.o.RunDir, name))
	if err != nil {
		return nil, err
	}
	e := &encounter{conn: c.(*net.UnixConn)}
	stop := closeAfter(ctx, w, c)
	err = p.greet(e)
	stop()
	if err != nil {
		closeFDs(e.fds)
		c.Close()
		return nil, err
	}
	return e, nil
}

// greet is the parent's side of parentSockets.greet.
func (p *parent) greet(e *encounter) (err error) {
	e.conn.SetDeadline(time.Now().Add(answerWithin))
	key, err := p.key()
	if err != nil { // the listeners without TLS must not wait for it
		p.log.Error("listeners with certificates can't serve", "err", err)
	}
	if err = send(e.conn, message{Op: opHello, Protocol: protocol, Key: key}); err != nil {
		return err
	}
	if e.received, err = receiveHeld(e.conn); err != nil {
		return err
	}
	theirs := map[portKey]bool{}
	for _, k := range e.keys {
		theirs[k.Key] = true
	}
	var mine []heldKey
	var out []int
	for k, h := range p.held {
		if !theirs[k] {
			mine, out = append(mine, heldKey{k, h.ns}), append(out, h.fd)
		}
	}
	e.current = proc.Runs(e.pid, p.o.Command)
	if err = sendHeld(e.conn, mine, out, !e.current); err != nil {
		return err
	}
	return e.conn.SetDeadline(time.Time{})
}

func (p *parent) key() ([]byte, error) {
	if p.o.KeyPath == "" {
		return nil, nil
	}
	key, err := seal.ReadKey(p.o.KeyPath)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return key, err
}

// closeAfter closes the connection when ctx or the worker ends, unless the returned function is called first. (That the
// worker ends closes no connection that it has not accepted yet.)
func closeAfter(ctx context.Context, w *process, c net.Conn) (stop func()) {
	if w == nil {
		stop := context.AfterFunc(ctx, func() { c.Close() })
		return func() { stop() }
	}
	quit := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-ctx.Done():
			c.Close()
		case <-w.gone:
			c.Close()
		case <-quit:
		}
	}()
	return func() { close(quit); <-done }
}

// take keeps the worker's listening sockets for its successor. The worker is not believed: a socket that is not what
// it says, or that the snapshot does not have, is dropped.
func (p *parent) take(e *encounter) {
	for i, k := range e.keys {
		_, have := p.held[k.Key]
		if have || !p.wanted.port(k.Key) || !isSocket(e.fds[i], k) {
			unix.Close(e.fds[i])
			continue
		}
		p.held[k.Key] = heldSocket{e.fds[i], k.NS}
	}
}

func isSocket(fd int, k heldKey) bool {
	addr, err := boundTo(fd)
	if err != nil || addr != k.Key.Addr {
		return false
	}
	ns, err := socketNamespace(fd)
	return err == nil && ns == k.NS
}

func (p *parent) close() {
	for k, h := range p.held {
		unix.Close(h.fd)
		delete(p.held, k)
	}
	for _, ln := range []*net.UnixListener{p.channel, p.control} {
		if ln != nil {
			ln.Close()
		}
	}
}

// wantCredentials makes the kernel say with every message which process sent it.
func wantCredentials(_, _ string, c syscall.RawConn) error {
	return control(c, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
}
