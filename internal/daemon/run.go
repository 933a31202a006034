// Package daemon puts the server together and takes it apart again: which parts there are, in
// which order they start, what outlives what.
package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

// shutdown is how long requests under way get when the server stops.
const shutdown = 3 * time.Second

// marker is the file that tells a data directory made by --ephemeral.
const marker = "ephemeral"

// Run serves until ctx ends. Tasks and balancers go on then, unless the server is ephemeral:
// that one leaves nothing.
func Run(ctx context.Context, o Options) (err error) {
	if err := o.complete(); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("the server must run as root: it makes network namespaces, mounts and cgroups; try sudo lotse server run")
	}
	if o.Ephemeral {
		if o.DataDir, err = ephemeralDir(o.DataDir); err != nil {
			return err
		}
	}
	p, err := NewPaths(cmp.Or(o.DataDir, DefaultDataDir))
	if err != nil {
		return err
	}
	if err := p.checkBinaries(); err != nil {
		return err
	}
	if err := p.make(); err != nil {
		return err
	}
	held, err := lock(p)
	if err != nil {
		return err
	}
	defer held.Close()
	if err := noteHolder(held); err != nil {
		return err
	}
	if o.Ephemeral {
		defer func() {
			held.Close() // for Stop
			err = errors.Join(err, Stop(context.WithoutCancel(ctx), p.Data, true))
		}()
	}
	l, err := listen("--listen", o.Listen)
	if err != nil {
		return err
	}
	defer l.Close()
	s, err := newServer(o, p, l.Addr().(*net.TCPAddr))
	if err != nil {
		return err
	}
	defer s.close()
	return s.serve(ctx, l)
}

// serve runs everything until ctx ends or a part fails for good.
func (s *server) serve(ctx context.Context, l net.Listener) error {
	web := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 30 * time.Second, ErrorLog: nil}
	// The parts that others stand on outlive the requests and the controllers.
	base, endBase := context.WithCancel(context.WithoutCancel(ctx))
	defer endBase()
	ground, base := errgroup.WithContext(base)
	ground.Go(func() error { return s.containerd.Run(base) })
	ground.Go(func() error { return s.builder.Run(base) })
	ground.Go(func() error { return s.lb.run(base) })
	ground.Go(func() error { return s.net.run(base) })

	upper, working := errgroup.WithContext(ctx)
	upper.Go(func() error {
		<-base.Done() // one of the ground's failed
		if err := context.Cause(base); !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	})
	upper.Go(func() error { return s.control(working) })
	upper.Go(func() error {
		if err := web.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	go func() {
		<-working.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdown)
		defer cancel()
		_ = web.Shutdown(end)
		_ = s.builds.Close()
		_ = web.Close()
		endBase()
	}()
	r := record{self(), s.endpoint, s.front, s.o.Account, s.o.Region, s.o.Ephemeral}
	if err := writeRecord(s.p, r); err != nil {
		return err
	}
	s.o.Log.Info("lotse is up", "endpoint", s.endpoint, "front", s.front, "account", s.o.Account, "region", s.o.Region, "data", s.p.Data, "id", s.p.ID)
	err := errors.Join(upper.Wait(), ground.Wait())
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil
	}
	return err
}

// Stop ends the server with this data directory. With all, also what outlives a server: tasks,
// balancers, resolver, containerd, builder, networks, mounts; the data stays, unless the server
// was ephemeral. It works for what killed servers left, too.
func Stop(ctx context.Context, dir string, all bool) error {
	p, err := NewPaths(cmp.Or(dir, DefaultDataDir))
	if err != nil {
		return err
	}
	if _, err := os.Stat(p.Data); err != nil {
		return fmt.Errorf("no server has run with the data directory %s", p.Data)
	}
	r, err := readRecord(p)
	if err != nil {
		return err
	}
	// The record is written when the server is up; who holds the lock, from the beginning.
	for _, running := range []process{r.process, readPID(p.Lock())} {
		if running.alive() && running.PID != os.Getpid() {
			running.terminate(shutdown + 7*time.Second)
		}
	}
	if _, err := os.Stat(p.Data); err != nil {
		return nil // an ephemeral server that removed itself
	}
	if !all && !r.Ephemeral {
		return nil
	}
	held, err := lock(p)
	if err != nil {
		return err
	}
	defer held.Close()
	if err := takeApart(ctx, p); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(p.Data, marker)); err == nil {
		return os.RemoveAll(p.Data)
	}
	return nil
}

// Private

// ephemeralDir makes a data directory for one run. A directory that was named must be new or empty.
func ephemeralDir(named string) (string, error) {
	dir := named
	if dir == "" || dir == DefaultDataDir {
		d, err := os.MkdirTemp("", "lotse-")
		if err != nil {
			return "", err
		}
		dir = d
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	es, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, e := range es {
		if e.Name() != marker && !fileExists(filepath.Join(dir, marker)) {
			return "", fmt.Errorf("%s is not empty: an ephemeral server removes its data directory at the end", dir)
		}
	}
	return dir, os.WriteFile(filepath.Join(dir, marker), nil, 0o600)
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// chooseFront picks the address of the shared front: the one asked for, the one that the
// balancer's process serves already, or the first that is free.
func chooseFront(p Paths, asked string) (string, error) {
	if readPID(p.PIDFile("lb")).alive() {
		if r, err := readRecord(p); err == nil && r.Front != "" && (asked == "" || asked == r.Front || anyPort(asked, r.Front)) {
			return r.Front, nil
		}
	}
	try := []string{asked}
	if asked == "" {
		try = []string{"127.0.0.1:80", "127.0.0.1:8080"}
	}
	var first error
	for _, a := range try {
		l, err := listen("--front", a)
		if err == nil {
			l.Close()
			return l.Addr().String(), nil
		}
		first = cmp.Or(first, err)
	}
	return "", first
}

// anyPort reports whether asked leaves the port to us, on the host of address.
func anyPort(asked, address string) bool {
	host, port, err := net.SplitHostPort(asked)
	if err != nil || port != "0" {
		return false
	}
	other, _, err := net.SplitHostPort(address)
	return err == nil && host == other
}
