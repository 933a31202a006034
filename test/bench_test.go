package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lotse-project/lotse/test/server"
)

// samples are what one figure measured, in the order of the runs.
type samples []float64

func (s *samples) add(d time.Duration) { *s = append(*s, d.Seconds()) }

// report writes the median and the 90th percentile as metrics of the benchmark, instead of the
// time of an iteration, which has the preparation in it.
func (s samples) report(b *testing.B, name, unit string) {
	b.Helper()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(s.quantile(0.5), name+"-median-"+unit)
	b.ReportMetric(s.quantile(0.9), name+"-p90-"+unit)
}

func (s samples) quantile(q float64) float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[int(q*float64(len(sorted)-1)+0.5)]
}

// benchServer is a server that has not been started yet; at the end no trace of it is left.
func benchServer(b *testing.B, args ...string) *server.Server {
	b.Helper()
	if os.Geteuid() != 0 {
		b.Skip("needs root")
	}
	dir, err := os.MkdirTemp("", "lotse-bench-")
	if err != nil {
		b.Fatal(err)
	}
	s := server.New(dir, args...)
	b.Cleanup(func() {
		if err := s.Remove(); err != nil {
			b.Error("removing the server:", err)
		}
		if b.Failed() {
			b.Logf("the server's log:\n%s", s.Log())
		}
	})
	return s
}

// benchApp starts a server that runs examples/hello with two tasks, and returns the folder.
func benchApp(b *testing.B, args ...string) (*server.Server, string) {
	b.Helper()
	s := benchServer(b, args...)
	if err := s.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	if err := s.ImportBases(b.Context()); err != nil {
		b.Fatal(err)
	}
	dir := filepath.Join(b.TempDir(), "hello")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(server.Root(), "examples", "hello"))); err != nil {
		b.Fatal(err)
	}
	benchCommand(b, s, "up", dir)
	return s, dir
}

// benchCommand runs the command line and returns how long it took, its start included.
func benchCommand(b *testing.B, s *server.Server, args ...string) time.Duration {
	b.Helper()
	began := time.Now()
	if out, errs, err := s.Run(b.Context(), args...); err != nil {
		b.Fatalf("lotse %s: %v\n%s%s", strings.Join(args, " "), err, out, errs)
	}
	return time.Since(began)
}

// until asks every 5 ms until f says that it is so.
func until(b *testing.B, what string, f func() (bool, error)) {
	b.Helper()
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		is, err := f()
		if err != nil {
			b.Fatal(fmt.Errorf("%s: %w", what, err))
		}
		if is {
			return
		}
	}
	b.Fatal(what + ": not within 3 minutes")
}
