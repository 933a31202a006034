package build

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	bkclient "github.com/moby/buildkit/client"
)

const (
	// readyTimeout is how long buildkitd may take to answer after its start; it takes 0.1 to 0.5 s.
	readyTimeout = 20 * time.Second

	// stopTimeout is how long it may take to end after SIGTERM, before SIGKILL.
	stopTimeout = 5 * time.Second

	defaultCache = 20 << 30 // bytes
	defaultIdle  = 10 * time.Minute
)

var errEnded = errors.New("the builder ended at its start")

// Network is what the RUN steps of a build can reach.
type Network string

const (
	// NetworkHost gives RUN steps the network of the machine. It is the zero value's meaning.
	NetworkHost Network = "host"

	// NetworkNone gives them a loopback device and nothing else. Nothing is downloaded either: images come from
	// the mirror alone, and ADD of a URL is refused.
	NetworkNone Network = "none"
)

// DaemonOptions are a Daemon's. Those up to CgroupParent are required.
type DaemonOptions struct {
	Binary       string // buildkitd
	Root         string // directory of its own, DIR/buildkit: cache records, log, temporary mounts
	RunDir       string // socket and pid file, /run/lotse/ID
	Containerd   string // containerd's socket
	Namespace    string // containerd's namespace, which holds the images too
	CgroupParent string // of RUN steps, beginning with a slash, "/lotse-ID/build"; removed by Stop

	Runc          string        // absolute path; empty: found in containerd's PATH
	RuncRoot      string        // runc's state directory; empty: containerd's default
	Mirror        string        // host:port/prefix of a registry asked first, over HTTP, for "prefix/library/golang"; empty: none
	RegistryHosts []string      // further names of that registry, "registry.example:4566"
	Network       Network       // empty: NetworkHost
	Cache         int64         // bytes that the build cache may take; 0: 20 GiB
	Idle          time.Duration // without a build after which it is stopped; 0: 10 minutes

	// RemoveContainers removes from containerd the containers of a buildkitd that was killed: those of Namespace
	// whose cgroup lies below the given one. Called only while no buildkitd runs. Nil: they stay.
	RemoveContainers func(ctx context.Context, cgroupParent string) error

	Log *slog.Logger // nil: none
}

// A Daemon runs buildkitd when builds need it. One that an earlier server left running is found again by its pid file.
//
// It never runs two: buildkitd locks its root.
type Daemon struct {
	o    DaemonOptions
	lock chan struct{} // holds one token while free; guards what follows and every start and stop
	proc *process      // the one known to run; nil: none known
	used int           // builds now
	last time.Time     // when the last of them ended
	wake chan struct{} // the idle clock is to be set anew
}

// NewDaemon starts nothing.
func NewDaemon(o DaemonOptions) (*Daemon, error) {
	for name, v := range map[string]string{"Binary": o.Binary, "Root": o.Root, "RunDir": o.RunDir, "Containerd": o.Containerd, "Namespace": o.Namespace, "CgroupParent": o.CgroupParent} {
		if v == "" {
			return nil, fmt.Errorf("build daemon: %s is required", name)
		}
	}
	if !filepath.IsAbs(o.CgroupParent) || filepath.Clean(o.CgroupParent) == "/" {
		return nil, fmt.Errorf("build daemon: cgroup parent %q must be an absolute path below the root", o.CgroupParent)
	}
	switch o.Network {
	case "":
		o.Network = NetworkHost
	case NetworkHost, NetworkNone:
	default:
		return nil, fmt.Errorf("build daemon: network %q: %s or %s", o.Network, NetworkHost, NetworkNone)
	}
	if o.Cache == 0 {
		o.Cache = defaultCache
	}
	if o.Idle == 0 {
		o.Idle = defaultIdle
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	d := &Daemon{o: o, lock: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
	if n := len(d.socket()); n > 107 {
		return nil, fmt.Errorf("build daemon: socket path %s has %d bytes, 107 are possible: choose a shorter run directory", d.socket(), n)
	}
	d.lock <- struct{}{}
	return d, nil
}

// Run stops buildkitd whenever it was idle for long, also one that an earlier server left. It leaves buildkitd running
// when ctx ends.
func (d *Daemon) Run(ctx context.Context) error {
	for {
		wait, err := d.stopIdle(ctx)
		if err != nil && ctx.Err() == nil {
			d.o.Log.Error("cannot stop the idle builder", "err", err)
			wait = time.Minute
		}
		var clock <-chan time.Time
		if wait > 0 {
			clock = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.wake:
		case <-clock:
		}
	}
}

// Acquire starts buildkitd if it doesn't run, and keeps it until release is called. The address is one for BuildKit's
// client, "unix:///run/lotse/ID/buildkitd.sock".
func (d *Daemon) Acquire(ctx context.Context) (address string, release func(), err error) {
	if err := d.hold(ctx); err != nil {
		return "", nil, err
	}
	defer d.free()
	if err := d.ensureLocked(ctx); err != nil {
		return "", nil, err
	}
	d.used++
	return d.address(), d.release, nil
}

// Running tells whether buildkitd runs.
func (d *Daemon) Running() bool {
	p, err := readProcess(d.pidFile())
	return err == nil && p.alive()
}

// Network is what RUN steps can reach.
func (d *Daemon) Network() Network { return d.o.Network }

// Stop ends buildkitd, and with it all builds, and removes what it has outside its root: mounts, cgroups, containers,
// socket and pid file. The cache stays. Harmless when nothing runs.
func (d *Daemon) Stop(ctx context.Context) error {
	if err := d.hold(ctx); err != nil {
		return err
	}
	defer d.free()
	return d.stopLocked(ctx)
}

// Private

func (d *Daemon) socket() string     { return filepath.Join(d.o.RunDir, "buildkitd.sock") }
func (d *Daemon) traceDir() string   { return filepath.Join(d.o.RunDir, "buildkitd-otel") }
func (d *Daemon) address() string    { return "unix://" + d.socket() }
func (d *Daemon) pidFile() string    { return filepath.Join(d.o.RunDir, "buildkitd.pid") }
func (d *Daemon) configFile() string { return filepath.Join(d.o.Root, "buildkitd.toml") }
func (d *Daemon) logFile() string    { return filepath.Join(d.o.Root, "buildkitd.log") }
func (d *Daemon) tmp() string        { return filepath.Join(d.o.Root, "tmp") }

func (d *Daemon) hold(ctx context.Context) error {
	select {
	case <-d.lock:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (d *Daemon) free() { d.lock <- struct{}{} }

func (d *Daemon) release() {
	<-d.lock
	d.used--
	d.last = time.Now()
	d.free()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// stopIdle stops an idle buildkitd, or tells how long to wait before asking again; 0: until woken.
func (d *Daemon) stopIdle(ctx context.Context) (wait time.Duration, err error) {
	if err := d.hold(ctx); err != nil {
		return 0, err
	}
	defer d.free()
	if d.used > 0 {
		return 0, nil
	}
	if d.proc == nil {
		p, err := readProcess(d.pidFile())
		if err != nil || !p.alive() {
			return 0, nil
		}
		d.proc, d.last = p, time.Now() // an earlier server's
	}
	if left := d.o.Idle - time.Since(d.last); left > 0 {
		return left, nil
	}
	d.o.Log.Info("stopping the idle builder")
	return 0, d.stopLocked(ctx)
}

// ensureLocked has buildkitd run with the present configuration and answer.
func (d *Daemon) ensureLocked(ctx context.Context) error {
	if d.proc == nil {
		d.proc, _ = readProcess(d.pidFile())
	}
	if d.proc != nil && d.proc.alive() && d.proc.Config == d.configHash() {
		if err := d.ready(ctx); !errors.Is(err, errEnded) {
			return err
		}
		// It was ending when it was looked at, as one that is killed does for some milliseconds.
	}
	// Killed, or with another configuration, or none: what it left goes first.
	if err := d.stopLocked(ctx); err != nil {
		return fmt.Errorf("start the builder: %w", err)
	}
	begin := time.Now()
	if err := d.startLocked(); err != nil {
		return fmt.Errorf("start the builder: %w", err)
	}
	if err := d.ready(ctx); err != nil {
		return errors.Join(err, d.stopLocked(context.WithoutCancel(ctx)))
	}
	d.o.Log.Info("builder started", "pid", d.proc.PID, "took", time.Since(begin).Round(time.Millisecond))
	return nil
}

func (d *Daemon) startLocked() error {
	// buildkitd makes its socket for traces 0666: the directory keeps it to us.
	for _, dir := range []string{d.tmp(), d.traceDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if err := os.WriteFile(d.configFile(), []byte(d.config()), 0o600); err != nil {
		return err
	}
	p, err := start(d.o.Binary, []string{"--config", d.configFile()}, d.environ(), d.logFile())
	if err != nil {
		return err
	}
	p.Config = d.configHash()
	if err := p.write(d.pidFile()); err != nil {
		return errors.Join(err, p.stop(context.Background(), stopTimeout))
	}
	d.proc = p
	return nil
}

// ready waits until buildkitd answers.
func (d *Daemon) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		err := ping(ctx, d.address())
		if err == nil {
			return nil
		}
		if !d.proc.alive() {
			return fmt.Errorf("%w. The end of %s:\n%s", errEnded, d.logFile(), tail(d.logFile(), 10))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the builder doesn't answer at %s: %w; see %s", d.socket(), err, d.logFile())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (d *Daemon) stopLocked(ctx context.Context) error {
	if d.proc == nil {
		d.proc, _ = readProcess(d.pidFile())
	}
	if d.proc != nil && d.proc.alive() {
		if err := d.proc.stop(ctx, stopTimeout); err != nil {
			return fmt.Errorf("stop the builder: %w", err)
		}
	}
	d.proc = nil
	if err := d.sweep(ctx); err != nil {
		return fmt.Errorf("clean up after the builder: %w", err)
	}
	return nil
}

// ping asks buildkitd for its version.
func ping(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := os.Stat(address[len("unix://"):]); err != nil {
		return err
	}
	c, err := bkclient.New(ctx, address)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Info(ctx)
	return err
}
