// Package cli is lotse's command line. Application verbs (up, deploy, status …) are clients of
// the AWS API; the verbs under `lotse server` run and stop the server itself.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/aws/smithy-go"
	"github.com/spf13/cobra"

	"github.com/lotse-project/lotse/internal/deploy"
)

// Version is stamped in by the build.
var Version = "dev"

// An app is one run of the command line.
type app struct {
	in       io.Reader
	out, err io.Writer
	flags    flags
	inputs   buildInputs
	tmp      string // scratch's; empty: none yet
}

// flags are those of every command.
type flags struct {
	profile, region, endpoint, env, progress, output string
	yes, verbose, noColor                            bool
}

// usageError is a command line that can't be understood: exit 64.
type usageError struct{ error }

// interrupted is a command that was told to end, and what became of it.
type interrupted struct{ what string }

func (e interrupted) Error() string { return "interrupted: " + e.what }

// Main runs the command line and returns the process's exit code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{in: stdin, out: stdout, err: stderr}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := root.ExecuteContext(ctx)
	if a.tmp != "" {
		err = errors.Join(err, os.RemoveAll(a.tmp))
	}
	return a.exit(ctx, err)
}

// Private

// scratch is a directory that is removed in the end.
func (a *app) scratch() (dir string, err error) {
	if a.tmp == "" {
		a.tmp, err = os.MkdirTemp("", "lotse-")
	}
	return a.tmp, err
}

func (a *app) root() *cobra.Command {
	c := &cobra.Command{
		Use:   "lotse",
		Short: "Amazon's ECR, ECS and Application Load Balancer on one Linux machine",
		Long: `lotse takes a folder with a Dockerfile to a URL, and through updates without losing a request.

Everyday:
  lotse up            build, push, create everything, wait, print the URL
  lotse deploy        build, push, new revision, rolling update
  lotse status        one screen: URL, revision, tasks with their health
  lotse logs -f       what the containers write
  lotse destroy       take everything of the application away

The server, once on this machine, as root:
  lotse server run    serve the AWS API on 127.0.0.1:4566`,
		Example:       "  sudo lotse server run &\n  eval \"$(sudo lotse server env)\"\n  lotse up examples/hello",
		SilenceErrors: true, SilenceUsage: true,
		Version: Version,
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	p := c.PersistentFlags()
	p.StringVar(&a.flags.profile, "profile", "", "AWS profile (else AWS_PROFILE, then lotse)")
	p.StringVar(&a.flags.region, "region", "", "region")
	p.StringVar(&a.flags.endpoint, "endpoint-url", "", "where the AWS API is, such as http://127.0.0.1:4566")
	p.StringVarP(&a.flags.env, "stage", "e", "local", "environment of lotse.yml")
	p.StringVar(&a.flags.progress, "progress", "auto", "auto, tty, plain, json or quiet")
	p.StringVarP(&a.flags.output, "output", "o", "text", "text or json")
	p.BoolVarP(&a.flags.yes, "yes", "y", false, "ask nothing")
	p.BoolVarP(&a.flags.verbose, "verbose", "v", false, "say more: all that a build prints")
	p.BoolVar(&a.flags.noColor, "no-color", os.Getenv("NO_COLOR") != "", "no colours")
	c.AddCommand(a.upCommand(), a.deployCommand(), a.statusCommand(), a.logsCommand(), a.urlCommand(), a.destroyCommand(),
		a.buildCommand(), a.imageCommand(), a.networkCommand(), a.historyCommand(), a.serverCommand())
	return c
}

// exit shows an error and finds its exit code.
func (a *app) exit(ctx context.Context, err error) int {
	if err == nil {
		return 0
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintln(a.err, "interrupted; what was begun on the server goes on: lotse status")
		return deploy.ExitInterrupted
	}
	var gone interrupted
	if errors.As(err, &gone) {
		fmt.Fprintln(a.err, gone)
		return deploy.ExitInterrupted
	}
	var f *deploy.Failure
	var ce *deploy.ConfigError
	var ue usageError
	switch {
	case errors.As(err, &f):
		a.showFailure(f)
		return f.Exit
	case errors.As(err, &ce):
		fmt.Fprintln(a.err, "lotse:", ce.Reason)
		return deploy.ExitUsage
	case errors.As(err, &ue), strings.HasPrefix(err.Error(), "unknown command"), strings.HasPrefix(err.Error(), "if any flags in the group"):
		fmt.Fprintf(a.err, "lotse: %v\nlotse --help lists the commands.\n", err)
		return deploy.ExitUsage
	}
	fmt.Fprintln(a.err, "lotse:", reason(err))
	return deploy.ExitUnexpected
}

// reason is an error without what the SDK says of an AWS error's way: status codes, request ids.
func reason(err error) string {
	var op *smithy.OperationError
	var ae smithy.APIError
	text := err.Error()
	if !errors.As(err, &op) || !errors.As(op, &ae) {
		return text
	}
	return strings.Replace(text, op.Error(), fmt.Sprintf("%s %s: %s: %s", op.Service(), op.Operation(), ae.ErrorCode(), ae.ErrorMessage()), 1)
}

// showFailure puts the cause first, then evidence, then the fix.
func (a *app) showFailure(f *deploy.Failure) {
	fmt.Fprintf(a.err, " ✘ failed (exit %d)\n\n", f.Exit)
	fmt.Fprintf(a.err, " Cause   %s\n", strings.TrimSpace(f.Code+"  "+f.Cause))
	if f.Err != nil {
		fmt.Fprintf(a.err, "         %s\n", reason(f.Err))
	}
	for i, k := range f.Known {
		fmt.Fprintf(a.err, " %-7s %s\n", label(i, "Known"), k)
	}
	if f.Fix != "" {
		fmt.Fprintf(a.err, " Fix     %s\n", f.Fix)
	}
	for i, l := range f.Logs {
		fmt.Fprintf(a.err, " %-7s %s\n", label(i, "Logs"), l)
	}
}

func label(i int, s string) string {
	if i > 0 {
		return ""
	}
	return s
}
