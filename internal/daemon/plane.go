package daemon

import (
	"cmp"
	"context"
	"log/slog"

	"github.com/lotse-project/lotse/internal/lb"
	"github.com/lotse-project/lotse/internal/linklocal"
	"github.com/lotse-project/lotse/internal/network"
)

// LinkLocal is `lotse net`: resolver and task metadata of the VPCs of a server.
func LinkLocal(ctx context.Context, dir string, log *slog.Logger) error {
	p, err := NewPaths(cmp.Or(dir, DefaultDataDir))
	if err != nil {
		return err
	}
	return linklocal.Run(ctx, linklocal.Options{Snapshot: p.Names(), Socket: p.NamesSocket(), Control: network.Control, Log: log})
}

// Balancer is `lotse lb`: the privileged half of the load balancers.
func Balancer(ctx context.Context, dir string, log *slog.Logger) error {
	p, err := NewPaths(cmp.Or(dir, DefaultDataDir))
	if err != nil {
		return err
	}
	return lb.RunParent(ctx, lb.ParentOptions{RunDir: p.Run, SnapshotPath: p.Snapshot(), Command: []string{p.Self, "lb", "--worker", "--data-dir", p.Data}, Log: log})
}

// BalancerWorker is `lotse lb --worker`: the unprivileged half, which serves the requests.
func BalancerWorker(ctx context.Context, _ string, log *slog.Logger) error {
	return lb.RunWorker(ctx, lb.WorkerOptions{Inherited: true, Log: log})
}
