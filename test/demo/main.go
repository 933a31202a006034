// Command demo shows Lotse's whole story on this machine, for real: an example is built, deployed,
// looked at through its security groups, updated under traffic, and removed without a trace.
//
//	make demo
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lotse-project/lotse/test/server"
	"github.com/lotse-project/lotse/test/world"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

// A story is one run of the demo.
type story struct {
	dir    string // everything the demo writes
	app    string // the copy of examples/hello
	srv    *server.Server
	id     string // of the server, which everything it has outside its folder carries
	url    string
	phases []phase
}

type phase struct {
	name string
	took time.Duration
	aws  string // the time noted on AWS by hand
}

func run(ctx context.Context) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("run make demo: it gets root's rights")
	}
	dir, err := os.MkdirTemp("", "lotse-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &story{dir: dir, app: filepath.Join(dir, "hello"), srv: server.New(filepath.Join(dir, "data"), "--ephemeral")}
	if err := os.CopyFS(s.app, os.DirFS(filepath.Join(server.Root(), "examples", "hello"))); err != nil {
		return err
	}

	chapter(1, "Everything is built")
	if err := built(); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, filepath.Join(server.Root(), "script", "base-images")).CombinedOutput(); err != nil {
		return fmt.Errorf("base images: %w: %s", err, out)
	}
	before, err := picture(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.srv.Remove()) }()
	for i, c := range []struct {
		title string
		tell  func(context.Context) error
	}{
		{"A throw-away server", s.serve},
		{"lotse up: from a Dockerfile to a load-balanced URL", s.up},
		{"Both tasks answer", s.answers},
		{"Security groups", s.groups},
		{"lotse deploy: an update under traffic", s.update},
		{"Where the time goes", s.times},
		{"lotse destroy, lotse server stop --all: nothing is left", s.end},
	} {
		chapter(i+2, c.title)
		if err := c.tell(ctx); err != nil {
			return err
		}
	}
	after, err := picture(dir)
	if err != nil {
		return err
	}
	ours, others := world.Ours(world.Diff(before, after), dir, s.id)
	for _, k := range world.Kinds {
		fmt.Printf("  %-20s %5d before, %5d after\n", k, len(before[k]), len(after[k]))
	}
	for _, c := range ours {
		fmt.Println("   ", c)
	}
	if len(ours) > 0 {
		return fmt.Errorf("%d differences are left", len(ours))
	}
	fmt.Println("\n  No difference. That was all of it.")
	if len(others) > 0 {
		fmt.Printf("  (%d processes, sockets, cgroups or files of others on this machine came or went meanwhile; none carries this server's name.)\n", len(others))
	}
	return nil
}

func (s *story) serve(ctx context.Context) error {
	begin := time.Now()
	err := s.srv.Start(ctx)
	if err != nil {
		return err
	}
	if s.id, err = s.srv.ID(ctx); err != nil {
		return err
	}
	fmt.Printf("  ready after %s at %s, front %s\n", seconds(time.Since(begin)), s.srv.Endpoint, s.srv.Front)
	fmt.Println("  importing stand-ins for golang:1.26 and debian:bookworm-slim: builds reach no network here")
	return s.srv.ImportBases(ctx)
}

func (s *story) end(ctx context.Context) error {
	if _, err := s.lotse(ctx, "destroy", s.app, "--yes"); err != nil {
		return err
	}
	return s.srv.Remove()
}

func (s *story) times(context.Context) error {
	fmt.Printf("  %-34s %10s   %s\n", "", "Lotse", "noted on AWS, by hand")
	for _, p := range s.phases {
		fmt.Printf("  %-34s %10s   %s\n", p.name, seconds(p.took), p.aws)
	}
	return nil
}

// Private

// lotse runs bin/lotse before the reader's eyes and returns what it prints on standard output.
func (s *story) lotse(ctx context.Context, args ...string) (string, error) {
	fmt.Printf("  $ lotse %s\n", strings.ReplaceAll(strings.Join(args, " "), s.app, "examples/hello"))
	cmd := exec.CommandContext(ctx, server.Lotse(), args...)
	cmd.Env = append(os.Environ(), s.srv.Environ()...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("lotse %s: %w\n%s", args[0], err, s.srv.Log())
	}
	return strings.TrimSpace(string(out)), nil
}

func (s *story) note(name string, took time.Duration, aws string) {
	s.phases = append(s.phases, phase{name, took, aws})
}

func built() error {
	bin := filepath.Join(server.Root(), "bin")
	for _, f := range []string{"lotse", "runtime/containerd", "runtime/containerd-shim-runc-v2", "runtime/runc", "runtime/buildkitd"} {
		i, err := os.Stat(filepath.Join(bin, f))
		if err != nil {
			return fmt.Errorf("%w: run make build", err)
		}
		fmt.Printf("  bin/%-34s %4d MB\n", f, i.Size()>>20)
	}
	return nil
}

func picture(dir string) (world.Picture, error) {
	return world.Take([]string{"/run", "/tmp", "/var/lib", "/etc", "/root", "/home"}, []string{dir, server.Root(), os.Getenv("HOME") + "/.cache"})
}

func chapter(n int, title string) { fmt.Printf("\n%d. %s\n", n, title) }

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
