package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/lotse-project/lotse/internal/lb"
	"github.com/lotse-project/lotse/internal/network"
	"github.com/lotse-project/lotse/internal/runtime/ctrd"
)

// takeApart removes everything that a server left outside its data directory. Each part is
// tried, whatever became of those before it; doing it again is harmless.
func takeApart(ctx context.Context, p Paths) error {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if err := os.MkdirAll(p.Run, 0o711); err != nil {
		return err
	}
	readPID(p.PIDFile("lb")).terminate(5 * time.Second)
	readPID(filepath.Join(p.Run, lb.WorkerPIDFile)).terminate(2 * time.Second) // one whose parent was killed
	lb.EndRetired(p.Run, 2*time.Second)
	readPID(p.PIDFile("net")).terminate(2 * time.Second)
	c, err := ctrd.New(ctrd.Options{Dir: p.Data, RunDir: p.Run, ID: p.ID, BinDir: p.Bin, Log: log})
	if err != nil {
		return err
	}
	errs := []error{stopBuilder(ctx, p, c, log), c.Stop(ctx)}
	n, err := network.New(network.Options{RunDir: p.Run, ID: p.ID, Log: log})
	if err != nil {
		errs = append(errs, err)
	} else {
		errs = append(errs, n.RemoveAll(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := os.RemoveAll(p.Run); err != nil {
		return err
	}
	_ = os.Remove("/run/lotse") // the last server takes it away; others' keep it
	return nil
}

// stopBuilder ends buildkitd. What it has in containerd, containerd must be up to remove.
func stopBuilder(ctx context.Context, p Paths, c *ctrd.Supervisor, log *slog.Logger) error {
	b, err := newBuilder(p, c, "", nil, 0, log)
	if err != nil {
		return err
	}
	if !fileExists(filepath.Join(p.Data, "buildkit")) {
		return nil
	}
	running, end := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(running)
	}()
	defer func() { end(); <-done }()
	wait, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := c.Ready(wait); err != nil {
		return err
	}
	return b.Stop(ctx)
}
