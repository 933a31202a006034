package linklocal

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// Options are a server's.
type Options struct {
	Snapshot string // file
	Socket   string // unix socket on which POST /reload has the file read again
	// Control puts a socket of package net into a network namespace before it is bound.
	Control func(netns string) func(network, address string, c syscall.RawConn) error
	Log     *slog.Logger
}

// Run serves until ctx ends.
func Run(ctx context.Context, o Options) error {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	s := &server{o: o, vpcs: map[string]*vpcServer{}, stats: newSampler("/sys/fs/cgroup", "/proc")}
	defer s.closeAll()
	if err := s.reload(); err != nil {
		o.Log.Error("snapshot", "err", err)
	}
	_ = os.Remove(o.Socket)
	l, err := net.Listen("unix", o.Socket)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, _ *http.Request) {
		if err := s.reload(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		srv.Close()
	}()
	go s.retry(ctx)
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Reload asks the process at socket to read its snapshot again.
func Reload(ctx context.Context, socket string) error {
	c := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://net/reload", nil)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New("reload: " + resp.Status)
	}
	return nil
}

// Private

// retryEvery is how often VPCs whose sockets could not be made are tried again.
const retryEvery = time.Second

type server struct {
	o    Options
	mu   sync.Mutex
	vpcs map[string]*vpcServer
	api  atomic.Pointer[string] // Snapshot.API

	storage atomic.Pointer[string] // Snapshot.Storage
	stats   *sampler
}

// A vpcServer holds the sockets of one VPC and what they answer from.
type vpcServer struct {
	vpc     atomic.Pointer[VPC]
	api     *atomic.Pointer[string]
	storage *atomic.Pointer[string]
	stats   *sampler
	inode   uint64 // of the namespace: another one under the same path wants new sockets
	close   []func() error
}

func (s *server) retry(ctx context.Context) {
	t := time.NewTicker(retryEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := s.reload(); err != nil {
				s.o.Log.Warn("not all VPCs are served", "err", err)
			}
		}
	}
}

// reload brings the sockets in line with the snapshot file.
func (s *server) reload() error {
	snap, err := Read(s.o.Snapshot)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.api.Store(&snap.API)
	s.storage.Store(&snap.Storage)
	s.stats.under(snap.Cgroups)
	keep := map[string]bool{}
	var errs []error
	for i := range snap.VPCs {
		v := &snap.VPCs[i]
		keep[v.ID] = true
		ino := inode(v.Netns)
		if vs, ok := s.vpcs[v.ID]; ok && vs.inode == ino {
			vs.vpc.Store(v)
			continue
		} else if ok {
			vs.stop()
			delete(s.vpcs, v.ID)
		}
		vs := &vpcServer{inode: ino, api: &s.api, storage: &s.storage, stats: s.stats}
		vs.vpc.Store(v)
		if err := vs.listen(s.o.Control(v.Netns), v.Resolver); err != nil {
			vs.stop()
			errs = append(errs, err)
			continue
		}
		s.vpcs[v.ID] = vs
	}
	for id, vs := range s.vpcs {
		if !keep[id] {
			vs.stop()
			delete(s.vpcs, id)
		}
	}
	return errors.Join(errs...)
}

func (s *server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, vs := range s.vpcs {
		vs.stop()
	}
}

// listen opens resolver and metadata endpoint in the VPC's namespace.
func (v *vpcServer) listen(control func(string, string, syscall.RawConn) error, resolver netip.Addr) error {
	lc := net.ListenConfig{Control: control}
	lc.SetMultipathTCP(false)
	ctx := context.Background()
	h := dns.HandlerFunc(v.answer)
	for _, at := range []netip.Addr{resolver, ResolverAddr} {
		udp, err := lc.ListenPacket(ctx, "udp4", netip.AddrPortFrom(at, 53).String())
		if err != nil {
			return err
		}
		u := &dns.Server{PacketConn: udp, Handler: h}
		v.close = append(v.close, udp.Close, u.Shutdown)
		tcp, err := lc.Listen(ctx, "tcp4", netip.AddrPortFrom(at, 53).String())
		if err != nil {
			return err
		}
		t := &dns.Server{Listener: tcp, Handler: h}
		v.close = append(v.close, tcp.Close, t.Shutdown)
		go u.ActivateAndServe()
		go t.ActivateAndServe()
	}
	for port, h := range map[uint16]http.Handler{80: v.handler(), APIPort: v.relay()} {
		l, err := lc.Listen(ctx, "tcp4", netip.AddrPortFrom(MetadataAddr, port).String())
		if err != nil {
			return err
		}
		web := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 30 * time.Second}
		go web.Serve(l)
		v.close = append(v.close, l.Close, web.Close)
	}
	return nil
}

func (v *vpcServer) stop() {
	for _, c := range v.close {
		_ = c()
	}
}

func inode(path string) uint64 {
	var st syscall.Stat_t
	if syscall.Stat(path, &st) != nil {
		return 0
	}
	return st.Ino
}
