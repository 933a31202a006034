package daemon

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A process that ends again and again is told of with what it said last.
func TestGuardian_tellsWhyAProcessEnds(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	var log bytes.Buffer
	g := &guardian{name: "net", pidFile: filepath.Join(dir, "pid"), logFile: filepath.Join(dir, "log"), argv: []string{"/bin/sh", "-c", "echo starting; echo no such flag >&2; exit 1"},
		log: slog.New(slog.NewTextHandler(writer(func(b []byte) { log.Write(b); cancel() }), nil))}
	if err := g.run(ctx); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), `said="no such flag"`) {
		t.Errorf("log: %s", log.String())
	}
}

// A process is kept as long as it is what would be started, and replaced when its file or arguments are others. Without
// a file to start, what runs is kept.
func TestGuardian_replacesAnotherBuild(t *testing.T) {
	dir := t.TempDir()
	exe := filepath.Join(dir, "plane")
	install := func() {
		t.Helper()
		b, err := os.ReadFile("/bin/sleep")
		if err == nil {
			err = os.WriteFile(exe+".new", b, 0o755)
		}
		if err == nil {
			err = os.Rename(exe+".new", exe)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	install()
	g := &guardian{name: "lb", pidFile: filepath.Join(dir, "pid"), logFile: filepath.Join(dir, "log"), argv: []string{exe, "600"}, log: slog.New(slog.DiscardHandler)}
	t.Cleanup(func() { readPID(g.pidFile).kill() })
	var last process
	ensure := func(what string, another bool) {
		t.Helper()
		p, err := g.ensure()
		if err != nil || !p.alive() || readPID(g.pidFile) != p {
			t.Fatalf("%s: %v, %v", what, p, err)
		}
		if (p != last) != another {
			t.Errorf("%s: process %d after %d", what, p.PID, last.PID)
		}
		if another && last.alive() {
			t.Errorf("%s: both run", what)
		}
		last = p
	}
	ensure("first", true)
	ensure("again", false)
	install()
	ensure("another build", true)
	g.argv = []string{exe, "601"}
	ensure("other arguments", true)
	if err := os.Remove(exe); err != nil {
		t.Fatal(err)
	}
	ensure("no file", false)
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }
