package lb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lotse-project/lotse/internal/lbconfig"
	"github.com/lotse-project/lotse/internal/seal"
)

// ControlSocket is the worker's control socket in the run directory.
const ControlSocket = "lb.sock"

// ErrStale is the refusal of a snapshot older than the one in force.
var ErrStale = errors.New("snapshot is older than the one in force")

// WorkerOptions are for RunWorker.
type WorkerOptions struct {
	// Inherited: the process was started by RunParent, from which it has its sockets. RunDir, SnapshotPath and KeyPath are
	// ignored then.
	Inherited bool
	// Engine is one of lbconfig's. "" is lbconfig.DefaultEngine.
	Engine string
	// RunDir holds the control socket and the file of last known states.
	RunDir string
	// SnapshotPath is read at start; it may be missing.
	SnapshotPath string
	// KeyPath is the file of the key that private keys are sealed with. "": there are none.
	KeyPath string
	// StopTimeout is how long open requests may go on after ctx ends. 0 is 10 s.
	StopTimeout time.Duration
	// MaxConnections is how many clients' connections there may be at once, and so what bounds memory; more are closed at
	// once, and counted as RejectedConnectionCount. 0 is as many as half of the process's files.
	MaxConnections int
	Log            *slog.Logger // nil: slog.Default()
}

// RunWorker serves HTTP until ctx ends, then lets open requests finish. It needs no privileges. Without a parent it
// binds its ports itself, in its own namespace only.
func RunWorker(ctx context.Context, o WorkerOptions) error {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.StopTimeout == 0 {
		o.StopTimeout = 10 * time.Second
	}
	h, err := newHome(o)
	if err != nil {
		return fmt.Errorf("balancer: %w", err)
	}
	w := newWorker(h, cmp.Or(o.Engine, lbconfig.DefaultEngine), o.Log)
	w.proxy.conns.max = cmp.Or(o.MaxConnections, halfOfTheFiles())
	return w.run(ctx, o.StopTimeout)
}

// halfOfTheFiles leaves each client's connection one to a target. 0: there is no limit of open files.
func halfOfTheFiles() int {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil || l.Cur > math.MaxInt32 {
		return 0
	}
	return int(l.Cur) / 2
}

// home is where a worker lives: what it has from its parent, or makes itself.
type home struct {
	sockets  sockets
	dir      string // of the memory file
	control  net.Listener
	snapshot func(context.Context) (io.ReadCloser, error) // fs.ErrNotExist without one
	open     opener                                       // of private keys; nil: there are none
	serve    func(context.Context)                        // what has to run beside, nil for nothing
	// succeeded: another worker has the ports from now on, so the clients that are there are left in peace. nil: never.
	succeeded func() bool
}

func newHome(o WorkerOptions) (*home, error) {
	if o.Inherited {
		return inheritedHome(o.Log)
	}
	path := filepath.Join(o.RunDir, ControlSocket)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	h := &home{sockets: ownSockets{}, dir: o.RunDir, control: ln,
		snapshot: func(context.Context) (io.ReadCloser, error) { return os.Open(o.SnapshotPath) }}
	if o.KeyPath != "" {
		key, err := seal.Open(o.KeyPath)
		if err != nil {
			ln.Close()
			return nil, err
		}
		h.open = key.Open
	}
	return h, nil
}

// worker applies snapshots and serves by them.
type worker struct {
	home      *home
	log       *slog.Logger
	proxy     *proxy
	server    *http.Server
	fast      *fastEngine // nil: server has it all
	multiplex *multiplexer
	hub       *hub
	tasks     sync.WaitGroup // probes and accept loops

	mu         sync.Mutex
	stopped    bool
	snap       *lbconfig.Snapshot // nil before the first
	groups     map[string]*group  // by ARN
	ports      map[portKey]*port
	portErrs   map[portKey]error
	tlsErrs    map[string]error     // by listener ARN
	identities map[string]*identity // by ARN
	counts     map[string]*counters // by listener ARN
	minutes    *minutes
	memory     map[memberKey]remembered
	saved      []remembered // what the memory file says
	again      *time.Timer  // binds again what time may have healed
}

func newWorker(h *home, engine string, l *slog.Logger) *worker {
	w := &worker{home: h, log: l, proxy: newProxy(l), hub: newHub(), groups: map[string]*group{},
		ports: map[portKey]*port{}, portErrs: map[portKey]error{}, tlsErrs: map[string]error{}, counts: map[string]*counters{}, minutes: newMinutes()}
	w.server = newServer(w.proxy)
	w.multiplex = &multiplexer{proxy: w.proxy, servers: map[time.Duration]*h2server{}}
	w.proxy.tls.http2 = w.multiplex.at
	if engine == lbconfig.EngineFast {
		w.fast = newFastEngine(w.proxy, l)
		w.tasks.Go(func() { w.server.Serve(w.fast.other) })
		w.tasks.Go(func() { w.fast.accept(w.proxy.tls.http1) })
	} else {
		w.tasks.Go(func() { w.server.Serve(w.proxy.tls.http1) })
	}
	return w
}

// newServer is net/http's, for connections of this balancer's.
func newServer(p *proxy) *http.Server {
	return &http.Server{
		Handler:                      p,
		MaxHeaderBytes:               maxRequestLine + maxHeaders - 4096, // net/http adds as much
		DisableGeneralOptionsHandler: true,
		ConnState:                    answerWritten,
		ErrorLog:                     log.New(io.Discard, "", 0),
		ConnContext:                  func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
}

// answerWritten notes that net/http has written all of an answer.
func answerWritten(c net.Conn, s http.ConnState) {
	if cc, ok := c.(*clientConn); ok && s == http.StateIdle {
		cc.flush()
	}
}

func (w *worker) run(ctx context.Context, stopTimeout time.Duration) error {
	var beside sync.WaitGroup
	defer beside.Wait()
	side, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	if w.home.serve != nil {
		beside.Go(func() { w.home.serve(side) })
	}
	memory, err := loadMemory(w.home.dir)
	if err != nil {
		w.log.Warn("last known states of the targets are lost", "err", err)
	}
	w.memory = memory
	if j, err := openJar(w.home.dir); err != nil {
		w.log.Warn("cookies of stickiness end with this process: their key can't be kept", "err", err)
	} else {
		w.proxy.jar = j
	}
	beside.Go(func() { w.sweep(side) })
	beside.Go(func() { w.measure(side) })
	beside.Go(func() { w.judge(side) })
	beside.Go(func() {
		// The parent may be away: then the first snapshot is the one it reads when it is back, or one that is put.
		if err := w.reload(ctx); err != nil && !errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil {
			w.log.Error("snapshot not loaded", "err", err)
		}
	})
	beside.Go(func() { w.inherit(side) })
	control := w.controlServer(ctx)
	beside.Go(func() { control.Serve(w.home.control) })
	<-ctx.Done()
	endControl(control)
	defer w.leave()
	if w.home.succeeded != nil && w.home.succeeded() {
		w.close()
		w.retire(side)
	}
	w.stop(stopTimeout)
	return nil
}

// endControl lets answers be read to their end, in a second: what was given to nobody goes to another worker.
func endControl(s *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s.Shutdown(ctx)
	s.Close()
}

// reload applies the saved snapshot.
func (w *worker) reload(ctx context.Context) error {
	f, err := w.home.snapshot(ctx)
	if err != nil {
		return err
	}
	defer f.Close()
	s, err := lbconfig.Read(f)
	if err != nil {
		return err
	}
	return w.apply(ctx, s)
}

// close ends accepting: whoever was accepted is among the connections when it returns, or in a handshake. Answers say from now on that they are the last on their connection. Again is harmless.
func (w *worker) close() {
	w.proxy.retiring.Store(true)
	w.mu.Lock()
	w.stopped = true
	if w.again != nil {
		w.again.Stop()
	}
	for _, p := range w.ports {
		p.Close()
		defer p.accepting.Wait()
	}
	w.home.sockets.release()
	for _, g := range w.groups {
		for _, m := range g.members {
			m.examine(nil)
		}
	}
	w.mu.Unlock()
}

// stop closes, lets requests finish, and ends everything.
func (w *worker) stop(timeout time.Duration) {
	w.close()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var beside sync.WaitGroup
	beside.Go(func() { w.multiplex.stop(ctx) })
	if w.fast != nil {
		w.proxy.tls.http1.Close()
		w.fast.stop(ctx) // first: it may still hand over to server
	}
	w.server.Shutdown(ctx)
	beside.Wait()
	if w.fast != nil {
		w.fast.kill()
	}
	for _, c := range w.proxy.conns.list() { // tunnels, and what did not finish
		c.Close()
	}
	w.server.Close()
	w.tasks.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, g := range w.groups {
		for _, m := range g.members {
			m.closeIdle()
			if m.cutoff != nil {
				m.cutoff.Stop()
			}
		}
	}
}

// sweep ends idle connections, and upstream connections that came back after their target began to drain.
func (w *worker) sweep(ctx context.Context) {
	for {
		t := w.proxy.table.Load()
		tick := time.Second
		for _, e := range t.ports {
			tick = min(tick, max(e.idle/8, 5*time.Millisecond))
		}
		if !pause(ctx, tick) {
			return
		}
		w.proxy.conns.sweep(func(k portKey) time.Duration {
			if e := w.proxy.table.Load().ports[k]; e != nil {
				return e.idle
			}
			return lbconfig.DefaultIdleTimeout
		})
		w.mu.Lock()
		for _, g := range w.groups {
			for _, m := range g.members {
				if m.closed.Load() {
					m.closeIdle()
				}
				for _, u := range *m.upstreams.Load() {
					u.kept.expire(u.idle)
				}
			}
		}
		w.mu.Unlock()
	}
}

// serve accepts at a port until it is closed.
func (w *worker) serve(p *port) {
	p.accepting.Add(1)
	w.tasks.Go(func() {
		defer p.accepting.Done()
		serve := w.server.Serve
		if w.fast != nil {
			serve = w.fast.accept
		}
		if err := serve(p); !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
			w.log.Error("listener ended", "addr", p.key.String(), "err", err)
		}
	})
}

// saveLocked writes the states down if they differ from what was written last.
func (w *worker) saveLocked() {
	list := []remembered{}
	for _, g := range w.groups {
		for _, m := range g.members {
			if m.conf.Draining {
				continue
			}
			list = append(list, remembered{g.arn, m.addr, m.conf.Since, m.health.state, m.health.reason, m.health.text})
		}
	}
	sortRemembered(list)
	if sameRemembered(list, w.saved) {
		return
	}
	if err := saveMemory(w.home.dir, list); err != nil {
		w.log.Warn("states of the targets not saved", "err", err)
		return
	}
	w.saved = list
}

func (w *worker) counter(listener string) *counters {
	c := w.counts[listener]
	if c == nil {
		c = &counters{}
		w.counts[listener] = c
	}
	return c
}

// forgetCountersLocked drops the counters of listeners that are gone.
func (w *worker) forgetCountersLocked(s *lbconfig.Snapshot) {
	there := map[string]bool{}
	for _, b := range s.Balancers {
		for _, l := range b.Listeners {
			there[l.ARN] = true
		}
	}
	maps.DeleteFunc(w.counts, func(arn string, _ *counters) bool { return !there[arn] })
}
