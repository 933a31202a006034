package daemon

import (
	"bytes"
	"context"
	"log/slog"
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

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }
