package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lotse-project/lotse/internal/deploy"
)

// folder is the application's: the argument, else the current one.
func folder(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return "."
}

func (a *app) upCommand() *cobra.Command {
	c := &cobra.Command{Use: "up [DIR]", Short: "Build, push, create everything, wait, print the URL; again: update", Args: cobra.MaximumNArgs(1),
		Example: "  lotse up\n  lotse up examples/hello"}
	a.deploying(c)
	return c
}

func (a *app) deployCommand() *cobra.Command {
	c := &cobra.Command{Use: "deploy [DIR]", Short: "Build, push, new revision, rolling update without losing a request", Args: cobra.MaximumNArgs(1),
		Example: "  lotse deploy\n  lotse deploy --image localhost:4566/shop:1.4\n  lotse deploy --force"}
	a.deploying(c)
	return c
}

func (a *app) deploying(c *cobra.Command) {
	var image string
	var force bool
	var count int32
	var timeout time.Duration
	c.Flags().StringVar(&image, "image", "", "deploy this image; build nothing")
	c.Flags().BoolVar(&force, "force", false, "a new deployment although nothing changed")
	c.Flags().Int32Var(&count, "count", -1, "how many tasks from now on")
	a.inputs.flags(c.Flags())
	c.Flags().StringVar(&a.inputs.file, "file", "", "the Dockerfile (default DIR/Dockerfile)")
	c.Flags().DurationVar(&timeout, "timeout", 0, "give up waiting after this long (default 10m)")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		r, err := a.reporter()
		if err != nil {
			return err
		}
		w, t, err := a.workflow(ctx, folder(args), r)
		if err != nil {
			return err
		}
		if image != "" {
			w.Image = image
		}
		if count >= 0 {
			w.Count = &count
		}
		if timeout > 0 {
			w.App.Deployment.Timeout = deploy.Duration(timeout)
		}
		w.Force = force
		fmt.Fprintf(a.err, "target   %s  cluster %s\napp      %s\n\n", t.banner(), w.App.Cluster(), w.App.Name)
		res, err := w.Up(ctx)
		if err != nil {
			return err
		}
		return a.result(w, res)
	}
}

// result prints the URL on standard output and the timing table on standard error.
func (a *app) result(w *deploy.Workflow, res deploy.Result) error {
	switch a.flags.progress {
	case "json":
		timings := map[string]int64{}
		for _, t := range w.Timings {
			timings[t.Phase] = t.Took.Milliseconds()
		}
		return json.NewEncoder(a.out).Encode(map[string]any{"type": "result", "outcome": "ok", "url": res.URL, "revision": res.Revision,
			"deployment": res.Deployment, "image": res.Image, "unchanged": res.Unchanged, "timings": timings})
	case "quiet":
	default:
		a.table(w.Timings, res.Total)
		fmt.Fprintln(a.err)
		if res.Unchanged {
			fmt.Fprintf(a.err, " nothing changed: %s serves already\n\n", res.Revision[strings.LastIndexByte(res.Revision, '/')+1:])
		}
	}
	fmt.Fprintln(a.out, res.URL)
	return nil
}

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{Use: "status [DIR]", Short: "URL, revision, tasks with their health, what failed last", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			w, t, err := a.workflow(cmd.Context(), folder(args), quiet{})
			if err != nil {
				return err
			}
			s, err := w.Status(cmd.Context())
			if err != nil {
				return err
			}
			if a.flags.output == "json" {
				return json.NewEncoder(a.out).Encode(s)
			}
			a.showStatus(t, s)
			return nil
		}}
}

func (a *app) showStatus(t *target, s deploy.Status) {
	fmt.Fprintf(a.out, "%s\n%s  %s  revision %s  %d of %d tasks running, %d pending\n", t.banner(), s.URL, s.State, s.Revision, s.Running, s.Desired, s.Pending)
	for _, d := range s.Deployments {
		fmt.Fprintf(a.out, "  deployment %s  %s  %s  %s\n", d.ID, d.Revision, d.State, d.Reason)
	}
	for _, k := range s.Tasks {
		fmt.Fprintf(a.out, "  task %s  %s  %-12s %-15s %s\n", k.ID, k.Revision, k.Status, k.Address, k.Health)
	}
	for _, k := range s.Stopped {
		fmt.Fprintf(a.out, "  stopped %s  %s  %s\n", k.ID, k.Revision, k.Reason)
	}
	for _, e := range s.Events {
		fmt.Fprintf(a.out, "  %s\n", e)
	}
}

func (a *app) logsCommand() *cobra.Command {
	var o deploy.LogOptions
	var since time.Duration
	var access bool
	c := &cobra.Command{Use: "logs [DIR]", Short: "What the containers write", Args: cobra.MaximumNArgs(1),
		Example: "  lotse logs -f\n  lotse logs --since 10m --task 5ac1\n  lotse logs --access -f",
		RunE: func(cmd *cobra.Command, args []string) error {
			w, _, err := a.workflow(cmd.Context(), folder(args), quiet{})
			if err != nil {
				return err
			}
			if access {
				return w.AccessLog(cmd.Context(), o.Follow, func(line string) { fmt.Fprintln(a.out, line) })
			}
			if since > 0 {
				o.Since = time.Now().Add(-since)
			}
			return w.Logs(cmd.Context(), o, func(at time.Time, task, text string) {
				fmt.Fprintf(a.out, "%s %.8s %s\n", at.Local().Format("15:04:05.000"), task, text)
			})
		}}
	c.Flags().BoolVarP(&o.Follow, "follow", "f", false, "go on as lines come")
	c.Flags().DurationVar(&since, "since", 0, "only lines younger than this")
	c.Flags().StringVar(&o.Task, "task", "", "only this task: its id or the beginning of it")
	c.Flags().BoolVar(&access, "access", false, "the load balancer's access log of its requests instead, in ALB's format: the last lines since the server's start")
	c.MarkFlagsMutuallyExclusive("access", "since")
	c.MarkFlagsMutuallyExclusive("access", "task")
	return c
}

func (a *app) urlCommand() *cobra.Command {
	return &cobra.Command{Use: "url [DIR]", Short: "Print the URL and nothing else", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			w, _, err := a.workflow(cmd.Context(), folder(args), quiet{})
			if err != nil {
				return err
			}
			u, err := w.URL(cmd.Context())
			if err != nil {
				return err
			}
			fmt.Fprintln(a.out, u)
			return nil
		}}
}

func (a *app) destroyCommand() *cobra.Command {
	return &cobra.Command{Use: "destroy [DIR]", Short: "Take everything of the application away", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := a.reporter()
			if err != nil {
				return err
			}
			w, t, err := a.workflow(cmd.Context(), folder(args), r)
			if err != nil {
				return err
			}
			if err := a.confirm(cmd.Context(), fmt.Sprintf("Destroy %s at %s?", w.App.Name, t.banner()), t.local != nil); err != nil {
				return err
			}
			return w.Destroy(cmd.Context())
		}}
}

// confirm asks before something is lost on AWS. A Lotse server is asked nothing of the kind.
func (a *app) confirm(_ context.Context, question string, local bool) error {
	if a.flags.yes || local {
		return nil
	}
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	var answer string
	if _, err := fmt.Fscanln(a.in, &answer); err != nil || (answer != "y" && answer != "yes") {
		return &deploy.Failure{Exit: deploy.ExitRefused, Cause: "Not confirmed: nothing was changed.", Fix: "Pass --yes."}
	}
	return nil
}
