package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) historyCommand() *cobra.Command {
	var cluster string
	var since time.Duration
	c := &cobra.Command{Use: "history [SERVICE]", Short: "What was done to a service and its tasks, why, and how long each step took", Args: cobra.MaximumNArgs(1),
		Example: "  lotse history\n  lotse history shop --cluster lotse-local --since 24h",
		Long: `Shows the log of a service's deployments and tasks: the service's events, each task that the scheduler
started or stopped with its reason, and each step of a task's life with how long it took. Without SERVICE
it is the service of the application in the current folder.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			t, err := a.target(ctx)
			if err != nil {
				return err
			}
			if t.local == nil {
				return fmt.Errorf("%s is no Lotse server", t.banner())
			}
			service := ""
			if len(args) > 0 {
				service, cluster = args[0], cmp.Or(cluster, "lotse-"+a.flags.env)
			} else {
				w, _, err := a.workflow(ctx, ".", quiet{})
				if err != nil {
					return err
				}
				service, cluster = w.App.Service(), cmp.Or(cluster, w.App.Cluster())
			}
			q := url.Values{"cluster": {cluster}, "service": {service}, "since": {time.Now().Add(-since).Format(time.RFC3339Nano)}}
			var entries []struct {
				At                          time.Time
				Deployment, Task, What, Why string
				Took                        time.Duration
			}
			if err := t.local.call(ctx, http.MethodGet, "/_lotse/history?"+q.Encode(), nil, &entries); err != nil {
				return err
			}
			if a.flags.output == "json" {
				return json.NewEncoder(a.out).Encode(entries)
			}
			for _, e := range entries {
				took := ""
				if e.Took > 0 {
					took = e.Took.Round(time.Millisecond).String()
				}
				fmt.Fprintf(a.out, "%s  %-8.8s  %-10s %8s  %s\n", e.At.Local().Format("2006-01-02 15:04:05.000"), e.Task, e.What, took, e.Why)
			}
			return nil
		}}
	c.Flags().StringVar(&cluster, "cluster", "", "the service's cluster (default that of the environment)")
	c.Flags().DurationVar(&since, "since", 24*time.Hour, "how far back")
	return c
}
