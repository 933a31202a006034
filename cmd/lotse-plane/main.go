// Command lotse-plane is the data plane: what serves while the server is away. The server starts it.
//
//	lotse-plane lb --run DIR --snapshot FILE --key FILE --engine NAME --max-connections N
//	                                              the balancers' privileged half, which starts the other:
//	lotse-plane worker --engine NAME --max-connections N
//	                                              the one that speaks with the world
//	lotse-plane net --snapshot FILE --socket PATH resolver and task metadata
//
// It is a binary of its own because it runs three times: what only the server needs would be in
// memory as often. See doc/decision/0004-data-plane-binary.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/lotse-project/lotse/internal/lb"
	"github.com/lotse-project/lotse/internal/lbconfig"
	"github.com/lotse-project/lotse/internal/linklocal"
	"github.com/lotse-project/lotse/internal/network"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "lotse-plane:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("lb, worker or net? The server starts this program; see lotse server run --help")
	}
	f := flag.NewFlagSet(args[0], flag.ContinueOnError)
	dir := f.String("run", "", "the server's run directory")
	snapshot := f.String("snapshot", "", "what to serve")
	key := f.String("key", "", "what certificates' private keys are sealed with")
	engine := f.String("engine", lbconfig.DefaultEngine, "what serves HTTP/1.1")
	connections := f.Int("max-connections", 0, "clients' connections at once")
	socket := f.String("socket", "", "where to be told to read it again")
	f.SetOutput(io.Discard) // the error is said, and last
	if err := f.Parse(args[1:]); err != nil {
		return fmt.Errorf("%w: this program is older or newer than the server that starts it; build both anew, with make build", err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	switch args[0] {
	case "lb":
		self, err := os.Executable()
		if err != nil {
			return err
		}
		return lb.RunParent(ctx, lb.ParentOptions{RunDir: *dir, SnapshotPath: *snapshot, KeyPath: *key, Command: []string{self, "worker", "--engine", *engine, "--max-connections", strconv.Itoa(*connections)}, Log: log})
	case "worker":
		return lb.RunWorker(ctx, lb.WorkerOptions{Inherited: true, Engine: *engine, MaxConnections: *connections, Log: log})
	case "net":
		return linklocal.Run(ctx, linklocal.Options{Snapshot: *snapshot, Socket: *socket, Control: network.Control, Log: log})
	}
	return fmt.Errorf("unknown command %q: this program is older or newer than the server that starts it; build both anew, with make build", args[0])
}
