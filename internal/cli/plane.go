package cli

import (
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/lotse-project/lotse/internal/daemon"
)

// lbCommand and netCommand are the data plane's processes. The server starts them; they outlive it.

func (a *app) lbCommand() *cobra.Command {
	var dir string
	var worker bool
	c := &cobra.Command{Use: "lb", Short: "The load balancers' process; the server starts it", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := slog.New(slog.NewTextHandler(a.err, nil))
			if worker {
				return daemon.BalancerWorker(cmd.Context(), dir, log)
			}
			return daemon.Balancer(cmd.Context(), dir, log)
		}}
	c.Flags().StringVar(&dir, "data-dir", daemon.DefaultDataDir, "the server's data directory")
	c.Flags().BoolVar(&worker, "worker", false, "the unprivileged half")
	return c
}

func (a *app) netCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{Use: "net", Short: "Resolver and task metadata of the VPCs; the server starts it", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return daemon.LinkLocal(cmd.Context(), dir, slog.New(slog.NewTextHandler(a.err, nil)))
		}}
	c.Flags().StringVar(&dir, "data-dir", daemon.DefaultDataDir, "the server's data directory")
	return c
}
