package ctrd

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/api/runtime/task/v3"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/ttrpc"
)

// shimWithin is how long one shim may take to answer.
const shimWithin = 2 * time.Second

// harvest is taken while containerd is down and held until it is up again: the exits of all containers that ended or
// end before containerd has attached itself to their shims go into the ledger. containerd itself removes a shim whose
// container ended while it was away and forgets the exit.
type harvest struct {
	s       *Supervisor
	cancel  context.CancelFunc
	pending sync.WaitGroup
	shims   []*shim
}

// shim is the connection to the shim of one container that was still alive when first asked.
type shim struct {
	id   string
	conn *ttrpc.Client
	done chan struct{} // closed when its exit is recorded or waiting was given up
}

func (s *Supervisor) harvest(ctx context.Context) *harvest {
	ctx, cancel := context.WithCancel(ctx)
	h := &harvest{s: s, cancel: cancel}
	dirs, _ := filepath.Glob(filepath.Join(s.bundles(), "*"))
	for _, dir := range dirs {
		id := filepath.Base(dir)
		conn, err := dialShim(dir)
		if err != nil {
			// The shim is dead. containerd will remove what it left; its last words may be in the bundle.
			if x, err := readExit(dir); err == nil {
				h.record(id, x)
			}
			continue
		}
		sh := &shim{id: id, conn: conn, done: make(chan struct{})}
		if x, ended := sh.ended(ctx); ended {
			h.record(id, x)
			conn.Close()
			continue
		}
		h.shims = append(h.shims, sh)
		h.pending.Add(1)
		go h.watch(ctx, sh)
	}
	return h
}

// watch waits for the exit of a container that runs, up to cancellation.
func (h *harvest) watch(ctx context.Context, sh *shim) {
	defer h.pending.Done()
	defer close(sh.done)
	r, err := task.NewTTRPCTaskClient(sh.conn).Wait(ctx, &task.WaitRequest{ID: sh.id})
	if err == nil {
		h.record(sh.id, exit{Code: int(r.ExitStatus), At: r.ExitedAt.AsTime()})
	}
}

// finish is called when containerd is up: it now knows all that still run. Those that ended meanwhile are recorded.
func (h *harvest) finish(ctx context.Context) {
	for _, sh := range h.shims {
		if running, _ := sh.running(ctx); running {
			continue
		}
		select { // the answer to Wait is on its way
		case <-sh.done:
		case <-time.After(shimWithin):
		}
	}
}

// close ends the waiting.
func (h *harvest) close() {
	h.cancel()
	for _, sh := range h.shims {
		sh.conn.Close()
	}
	h.pending.Wait()
}

func (h *harvest) record(id string, x exit) {
	if x.Code == 137 {
		x.OOM = h.s.groups.oom(id)
	}
	h.s.o.Log.Info("container ended while containerd was away", "container", id, "exit", x.Code)
	if err := h.s.ledger.update(id, func(c *containerEntry) { c.Exit = &x }); err != nil {
		h.s.o.Log.Error("exit of a container is lost", "container", id, "error", err)
	}
}

func (sh *shim) state(ctx context.Context) (*task.StateResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, shimWithin)
	defer cancel()
	return task.NewTTRPCTaskClient(sh.conn).State(ctx, &task.StateRequest{ID: sh.id})
}

func (sh *shim) ended(ctx context.Context) (exit, bool) {
	r, err := sh.state(ctx)
	if err != nil || r.Status != tasktypes.Status_STOPPED {
		return exit{}, false
	}
	return exit{Code: int(r.ExitStatus), At: r.ExitedAt.AsTime()}, true
}

func (sh *shim) running(ctx context.Context) (bool, error) {
	r, err := sh.state(ctx)
	if err != nil {
		return false, err
	}
	return r.Status != tasktypes.Status_STOPPED, nil
}

// dialShim connects to the shim of a bundle. Several bundles of a task have the same shim.
func dialShim(bundle string) (*ttrpc.Client, error) {
	address, err := shimAddress(bundle)
	if err != nil {
		return nil, err
	}
	conn, err := net.DialTimeout("unix", address, shimWithin)
	if err != nil {
		return nil, err
	}
	return ttrpc.NewClient(conn), nil
}

// shimAddress is the path of the socket of a bundle's shim. Source: bootstrap.json as containerd 2.x writes it.
func shimAddress(bundle string) (string, error) {
	b, err := os.ReadFile(filepath.Join(bundle, "bootstrap.json"))
	if err != nil {
		return "", err
	}
	var boot struct{ Address, Protocol string }
	if err := json.Unmarshal(b, &boot); err != nil {
		return "", fmt.Errorf("%s/bootstrap.json: %w", bundle, err)
	}
	return strings.TrimPrefix(boot.Address, "unix://"), nil
}

// readExit reads what a shim wrote when its container ended. Source: exit.json of the runc shim since containerd 2.4.
func readExit(bundle string) (exit, error) {
	b, err := os.ReadFile(filepath.Join(bundle, "exit.json"))
	if err != nil {
		return exit{}, err
	}
	var e struct {
		Timestamp   time.Time
		Pid, Status int
	}
	if err := json.Unmarshal(b, &e); err != nil || e.Pid <= 0 {
		return exit{}, fmt.Errorf("%s/exit.json: %q", bundle, b)
	}
	return exit{Code: e.Status, At: e.Timestamp}, nil
}
