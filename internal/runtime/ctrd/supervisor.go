// Package ctrd keeps a containerd of our own alive and runs tasks on it.
//
// containerd, its shims and all tasks outlive this process, however it ends. A Supervisor finds them again by pid file,
// starts containerd when it isn't there, and before every such start asks the shims how their containers ended, because
// containerd forgets those that end while it is away. Engine is runtime.Engine on top of it.
//
// Where things are, below the data directory DIR and the run directory RUN (which carries the server's id):
//
//	DIR/containerd/root          content store, snapshots, metadata
//	DIR/containerd/ledger        what containerd does not remember of our tasks
//	RUN/containerd{,.sock,.pid}  containerd's state, socket, pid file
//	RUN/s, RUN/runc, RUN/tasks   shim sockets, runc's state, files mounted into containers
//	/lotse-ID/TASK/CONTAINER     cgroups
package ctrd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
)

// ErrNotRunning: containerd is not up (yet, or just now); it is worth trying again in a moment.
var ErrNotRunning = errors.New("containerd is not running")

const (
	readyWithin = 15 * time.Second      // containerd answers so soon after its start; usually 50 ms
	restartMin  = 50 * time.Millisecond // pause before containerd is started again, doubled each time,
	restartMax  = 10 * time.Second      // up to this;
	restartCalm = 30 * time.Second      // back to the least after it ran so long
	stopWithin  = 10 * time.Second      // containerd ends so soon after SIGTERM, else SIGKILL
	logMax      = 8 << 20               // bytes; containerd's own log begins anew beyond it
	pollLog     = time.Minute           // how often its size is looked at
	pollReady   = 2 * time.Millisecond  // how often a starting containerd is asked
	maxRunDir   = 107 - len("/s/") - 64 // unix socket paths: RUN/s/ and 64 hex digits
)

// Options of a Supervisor.
type Options struct {
	Dir    string // data directory; ours is Dir/containerd
	RunDir string // "/run/lotse/ID": gone after a reboot, at most 40 bytes long
	ID     string // the server's short id
	BinDir string // has containerd, containerd-shim-runc-v2, runc and lotse-log
	Log    *slog.Logger
}

// Supervisor keeps containerd running.
type Supervisor struct {
	o      Options
	client *client.Client
	ledger *ledger
	groups cgroups
	limits limits
	tasks  keyLocks // by task ID
	execs  keyLocks // by container ID: one command runs in it at a time
	images keyLocks // by digest, for unpacking
	hints  broadcast

	mu    sync.Mutex
	up    bool
	ready chan struct{} // closed while containerd is up
}

// New returns a Supervisor that does nothing until Run.
func New(o Options) (*Supervisor, error) {
	if len(o.RunDir) > maxRunDir {
		return nil, fmt.Errorf("run directory %s is longer than %d bytes: unix sockets below it would have too long a path", o.RunDir, maxRunDir)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	for _, p := range []*string{&o.Dir, &o.RunDir, &o.BinDir} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return nil, err
		}
		*p = abs
	}
	s := &Supervisor{o: o, ready: make(chan struct{})}
	var err error
	if s.groups, err = findCgroups("/lotse-" + o.ID); err != nil {
		return nil, err
	}
	for _, d := range []string{s.root(), s.temp(), s.ledgerDir(), s.state(), s.sockets(), s.runcRoot(), s.taskFiles()} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return nil, fmt.Errorf("containerd's directories: %w", err)
		}
	}
	if s.ledger, err = openLedger(s.ledgerDir()); err != nil {
		return nil, err
	}
	s.limits = findLimits()
	// The client library mounts snapshots for a moment to look users up; below our directory a killed server's are found.
	mount.SetTempMountLocation(s.temp())
	s.client, err = client.New(s.Address(), client.WithDefaultNamespace(s.Namespace()), client.WithTimeout(readyWithin))
	if err != nil {
		return nil, fmt.Errorf("containerd client: %w", err)
	}
	return s, nil
}

// Namespace is the containerd namespace of everything this server keeps there.
func (s *Supervisor) Namespace() string { return "lotse-" + s.o.ID }

// Address is the path of containerd's socket.
func (s *Supervisor) Address() string { return filepath.Join(s.o.RunDir, "containerd.sock") }

// ContentDir is the directory of the content store's files: blobs/sha256/…
func (s *Supervisor) ContentDir() string {
	return filepath.Join(s.root(), "io.containerd.content.v1.content")
}

// Client returns the client, whose default namespace is ours, or ErrNotRunning. It stays the same and valid
// when containerd is restarted; calls under way then fail.
func (s *Supervisor) Client() (*client.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.up {
		return nil, ErrNotRunning
	}
	return s.client, nil
}

// Ready waits until containerd is up.
func (s *Supervisor) Ready(ctx context.Context) error {
	s.mu.Lock()
	ready := s.ready
	s.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrNotRunning, context.Cause(ctx))
	}
}

// Run finds or starts containerd and starts it again whenever it dies, until ctx ends. containerd is then left running.
// Errors in between are logged and tried again.
func (s *Supervisor) Run(ctx context.Context) error {
	pause := restartMin
	for ctx.Err() == nil {
		begun := time.Now()
		err := s.session(ctx)
		s.setUp(false)
		if ctx.Err() != nil {
			break
		}
		if time.Since(begun) > restartCalm {
			pause = restartMin
		}
		s.o.Log.Error("containerd is gone, starting it again", "pause", pause, "error", err, "log", s.logFile())
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, restartMax)
	}
	return nil
}

// Private

func (s *Supervisor) root() string      { return filepath.Join(s.o.Dir, "containerd", "root") }
func (s *Supervisor) temp() string      { return filepath.Join(s.o.Dir, "containerd", "tmp") }
func (s *Supervisor) ledgerDir() string { return filepath.Join(s.o.Dir, "containerd", "ledger") }
func (s *Supervisor) config() string    { return filepath.Join(s.o.Dir, "containerd", "config.toml") }
func (s *Supervisor) logFile() string   { return filepath.Join(s.o.Dir, "containerd", "containerd.log") }
func (s *Supervisor) state() string     { return filepath.Join(s.o.RunDir, "containerd") }
func (s *Supervisor) pidFile() string   { return filepath.Join(s.o.RunDir, "containerd.pid") }
func (s *Supervisor) sockets() string   { return filepath.Join(s.o.RunDir, "s") }
func (s *Supervisor) runcRoot() string  { return filepath.Join(s.o.RunDir, "runc") }

// taskFiles is where tasks have their volumes and their /etc/hosts: on the disk, not in the memory below /run.
func (s *Supervisor) taskFiles() string { return filepath.Join(s.o.Dir, "tasks") }

// bundles is where containerd keeps one directory per container that has a shim.
func (s *Supervisor) bundles() string {
	return filepath.Join(s.state(), "io.containerd.runtime.v2.task", s.Namespace())
}

// session is one life of containerd: it returns when containerd is dead or ctx ends.
func (s *Supervisor) session(ctx context.Context) error {
	p, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	s.setUp(true)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dead := make(chan struct{})
	go func() { p.wait(ctx); close(dead) }()
	listening := make(chan struct{})
	go func() { s.listen(ctx); close(listening) }()
	defer func() { cancel(); <-listening }()
	tick := time.NewTicker(pollLog)
	defer tick.Stop()
	for {
		select {
		case <-dead:
			return errors.New("containerd ended")
		case <-tick.C:
			s.trimLog()
		}
	}
}

// acquire finds containerd running, or starts it, and waits until it answers.
func (s *Supervisor) acquire(ctx context.Context) (process, error) {
	p, found := s.find()
	var watch *harvest
	if !found {
		watch = s.harvest(ctx)
		defer watch.close()
		var err error
		if p, err = s.spawn(); err != nil {
			return process{}, err
		}
	}
	if err := s.await(ctx, p); err != nil {
		return process{}, err
	}
	if watch != nil {
		watch.finish(ctx)
	}
	s.o.Log.Info("containerd is up", "pid", p.PID, "found", found)
	return p, nil
}

func (s *Supervisor) await(ctx context.Context, p process) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("containerd did not answer within %v, see %s", readyWithin, s.logFile()))
	defer cancel()
	if err := s.client.Reconnect(); err != nil {
		return err
	}
	for {
		if dial(s.Address()) == nil {
			if ok, err := s.client.IsServing(ctx); ok && err == nil {
				return nil
			}
		}
		if !p.alive() {
			return fmt.Errorf("containerd ended while starting, see %s", s.logFile())
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pollReady):
		}
	}
}

func (s *Supervisor) setUp(up bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.up == up {
		return
	}
	s.up = up
	if up {
		close(s.ready)
	} else {
		s.ready = make(chan struct{})
	}
}

func (s *Supervisor) trimLog() {
	if fi, err := os.Stat(s.logFile()); err == nil && fi.Size() > logMax {
		_ = os.Truncate(s.logFile(), 0) // containerd appends
	}
}
