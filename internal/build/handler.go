package build

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Path is where the server serves the Handler.
const Path = "/_lotse/build"

// protocol is what the connection is upgraded to: gRPC over HTTP/2 without TLS, services moby.buildkit.v1.Control.
const protocol = "lotse-build"

// maxMessage is the greatest gRPC message, as in BuildKit and containerd, in bytes.
const maxMessage = 16 << 20

// An Image is what a build left in the content store.
type Image struct {
	Name      string // what the client calls it, unchecked; may be empty
	Digest    string // of the manifest
	MediaType string // of the manifest
	Size      int64  // of the manifest, bytes
	Record    string // containerd's image record that holds it, to be deleted once something else does
}

// HandlerOptions are a Handler's.
type HandlerOptions struct {
	// Built is called with the context of the client's request (the caller is in it) when an image was built, before
	// the client hears of it; an error becomes the build's. It adopts the image and deletes its record. Records that
	// a killed server didn't get to are those whose names begin with "lotse.build/". Nil: the record stays.
	Built func(ctx context.Context, img Image) error

	// Hold has a record hold an image that an earlier build left; false when it isn't whole any more. With it, times
	// in an image are rewritten once, not in each build. Nil: in each.
	Hold func(ctx context.Context, record string, img Image) (bool, error)

	// Imported tells the registries of which images are in the mirror, such as "quay.io". Nil: those that the daemon
	// knows a mirror of.
	Imported func(ctx context.Context) ([]string, error)

	Log *slog.Logger // nil: none
}

// A Handler gives clients BuildKit's API as far as it builds Dockerfiles: Solve, Status and Session. Nothing else of
// it can be reached: no other builds, no cache, no workers. A request is to be authenticated before it comes here.
//
// It takes no account of who may build: whoever gets here may, may use what other builds cached, and runs the steps as
// root of a container.
type Handler struct {
	daemon    *Daemon
	o         HandlerOptions
	rewritten rewritten

	mu      sync.Mutex
	closed  bool
	tunnels map[net.Conn]struct{}
	done    sync.WaitGroup
}

// NewHandler serves builds by a daemon.
func NewHandler(d *Daemon, o HandlerOptions) *Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Handler{daemon: d, o: o, rewritten: rewritten{hold: o.Hold, results: map[string]map[string]string{}}, tunnels: map[net.Conn]struct{}{}}
}

// ServeHTTP upgrades the connection and serves it until the client closes it.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || !strings.EqualFold(r.Header.Get("Upgrade"), protocol) {
		w.Header().Set("Upgrade", protocol)
		http.Error(w, "builds need POST with Upgrade: "+protocol, http.StatusUpgradeRequired)
		return
	}
	var imported []string
	if h.o.Imported != nil {
		var err error
		if imported, err = h.o.Imported(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
	}
	address, release, err := h.daemon.Acquire(r.Context())
	if err != nil {
		h.o.Log.Error("builder not available", "err", err)
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer release()
	backend, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("localhost"),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)))
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer backend.Close()

	conn, err := upgrade(w)
	if err != nil {
		h.o.Log.Error("cannot upgrade to a build connection", "err", err)
		return
	}
	if !h.enter(conn) {
		conn.Close()
		return
	}
	defer h.leave(conn)
	l := limits{net: h.daemon.Network(), names: h.daemon.registryNames(r.Host, imported)}
	h.serve(context.WithoutCancel(r.Context()), conn, backend, l)
}

// Close ends all builds' connections, which ends the builds, and waits for them.
func (h *Handler) Close() error {
	h.mu.Lock()
	h.closed = true
	for c := range h.tunnels {
		c.Close()
	}
	h.mu.Unlock()
	h.done.Wait()
	return nil
}

// Private

// serve speaks gRPC on a connection until it ends. Calls get the values of ctx.
func (h *Handler) serve(ctx context.Context, conn net.Conn, backend *grpc.ClientConn, limits limits) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage), grpc.WaitForHandlers(true))
	controlapi.RegisterControlServer(s, &control{caller: ctx, backend: backend, limits: limits, built: h.o.Built, rewritten: &h.rewritten, log: h.o.Log})
	l := newOneListener(conn)
	_ = s.Serve(l) // always ends with the listener's io.EOF
	s.Stop()
}

func (h *Handler) enter(c net.Conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.tunnels[c] = struct{}{}
	h.done.Add(1)
	return true
}

func (h *Handler) leave(c net.Conn) {
	c.Close()
	h.mu.Lock()
	delete(h.tunnels, c)
	h.mu.Unlock()
	h.done.Done()
}

// upgrade answers 101 and takes the connection over.
func upgrade(w http.ResponseWriter) (net.Conn, error) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "this connection cannot be upgraded: HTTP/1.1 is needed", http.StatusHTTPVersionNotSupported)
		return nil, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+protocol+"\r\n\r\n"); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &bufferedConn{Conn: conn, r: rw.Reader}, nil
}

// A bufferedConn reads first what was read ahead.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(b []byte) (int, error) { return c.r.Read(b) }

// A oneListener accepts one connection, and then waits until that is closed.
type oneListener struct {
	conn net.Conn
	once chan struct{}
	end  chan struct{}
	stop sync.Once
}

func newOneListener(c net.Conn) *oneListener {
	l := &oneListener{conn: c, once: make(chan struct{}, 1), end: make(chan struct{})}
	l.once <- struct{}{}
	return l
}

func (l *oneListener) Accept() (net.Conn, error) {
	select {
	case <-l.once:
		return &notifyingConn{l.conn, l}, nil
	case <-l.end:
		return nil, io.EOF
	}
}

func (l *oneListener) Close() error   { l.stop.Do(func() { close(l.end) }); return nil }
func (l *oneListener) Addr() net.Addr { return l.conn.LocalAddr() }

// A notifyingConn ends its listener when it is closed.
type notifyingConn struct {
	net.Conn
	l *oneListener
}

func (c *notifyingConn) Close() error { c.l.Close(); return c.Conn.Close() }
