package accesslog

import (
	"compress/gzip"
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/lbconfig"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// balancer says what it has from a number on, and then nothing.
type balancer struct{ entries []lbconfig.LogEntry }

func (b balancer) AccessLog(ctx context.Context, from int64) (lbconfig.LogBatch, error) {
	if from >= int64(len(b.entries)) {
		<-ctx.Done()
		return lbconfig.LogBatch{}, ctx.Err()
	}
	return lbconfig.LogBatch{Next: int64(len(b.entries)), Entries: b.entries[from:]}, nil
}

var (
	scope = arn.Scope{Account: "000000000000", Region: "us-east-1"}
	web   = state.LoadBalancer{Scope: scope, Name: "web", ID: "0123456789abcdef", AccessLogs: state.LogFiles{Enabled: true, Bucket: "logs", Prefix: "a/b"},
		ConnectionLogs: state.LogFiles{Enabled: true, Bucket: "connections"}}
	quiet = state.LoadBalancer{Scope: scope, Name: "quiet", ID: "0123456789abcdef"}
)

func newDB(t *testing.T) *store.DB {
	db, err := store.Open(filepath.Join(t.TempDir(), "lotse.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	err = db.Update(t.Context(), func(tx *store.WriteTx) error {
		for _, b := range []state.LoadBalancer{web, quiet} {
			if err := state.LoadBalancers.Put(tx, &store.Object[state.LoadBalancer]{Key: b.Key(), Val: b}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// files are the directory's, by path, with what is in them.
func files(t *testing.T, dir string) map[string]string {
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		var r io.Reader = f
		if strings.HasSuffix(path, ".gz") {
			if r, err = gzip.NewReader(f); err != nil {
				return err
			}
		}
		data, err := io.ReadAll(r)
		rel, _ := filepath.Rel(dir, path)
		out[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWriter_FilesOfFiveMinutes(t *testing.T) {
	at := func(s string) time.Time {
		out, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	w := New(Options{DB: newDB(t), Dir: t.TempDir(), Client: balancer{[]lbconfig.LogEntry{
		{Balancer: web.ARN(), Time: at("2026-01-31T23:54:59Z"), Line: "one"},
		{Balancer: web.ARN(), Time: at("2026-01-31T23:55:00Z"), Line: "two"},
		{Balancer: quiet.ARN(), Time: at("2026-01-31T23:55:00Z"), Line: "not logged"},
		{Balancer: web.ARN() + "0", Time: at("2026-01-31T23:55:00Z"), Line: "gone"},
		{Balancer: web.ARN(), Time: at("2026-01-31T23:59:59Z"), Line: "three"},
		{Balancer: web.ARN(), Time: at("2026-01-31T23:54:59Z"), Line: "connected", Connection: true},
		{Balancer: quiet.ARN(), Time: at("2026-01-31T23:54:59Z"), Line: "not logged", Connection: true},
	}}})
	next, err := w.pull(t.Context(), 0)
	if err != nil || next != 7 {
		t.Fatalf("next %d, %v, want 7", next, err)
	}
	if got := New(w.o).position(); got != 7 {
		t.Errorf("the next server begins at %d, want 7", got)
	}
	if err := finish(w.o.Dir, at("2026-01-31T23:59:59Z"), 1<<20); err != nil {
		t.Fatal(err)
	}
	const stem = "000000000000_elasticloadbalancing_us-east-1_app.web.0123456789abcdef_"
	const first = "logs/a/b/AWSLogs/000000000000/elasticloadbalancing/us-east-1/2026/01/31/" + stem + "20260131T2355Z_0.0.0.0_"
	const second = "logs/a/b/AWSLogs/000000000000/elasticloadbalancing/us-east-1/2026/02/01/" + stem + "20260201T0000Z_0.0.0.0_"
	const connections = "connections/AWSLogs/000000000000/elasticloadbalancing/us-east-1/2026/01/31/conn_log." + stem + "20260131T2355Z_0.0.0.0_"
	got := map[string]string{}
	for path, text := range files(t, w.o.Dir) {
		for _, stem := range []string{first, second, connections} {
			if i := strings.Index(path, stem); i >= 0 { // but for the random part
				path = path[:i] + stem + path[i+len(stem)+8:]
			}
		}
		got[path] = text
	}
	want := map[string]string{first + ".log.gz": "one\n", ".open/" + second + ".log": "two\nthree\n", ".open/position": "7",
		connections + ".log.gz": "connected\n"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if err := finish(w.o.Dir, at("2026-02-01T00:00:00Z"), 1<<20); err != nil {
		t.Fatal(err)
	}
	if got := files(t, w.o.Dir); len(got) != 4 {
		t.Errorf("files %v, want both finished", got)
	}
}

// A server that died between making a file and removing its lines leaves nothing to worry about.
func TestFinish_Again(t *testing.T) {
	dir := t.TempDir()
	name := "b/AWSLogs/x_20260131T2355Z_0.0.0.0_1.log"
	now := time.Now()
	for range 2 {
		if err := appendTo(filepath.Join(dir, openDir, name), "line\n"); err != nil {
			t.Fatal(err)
		}
		if err := finish(dir, now, 1<<20); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{name + ".gz": "line\n"}, files(t, dir)); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
	}
}

func TestTrim_OldestFirst(t *testing.T) {
	dir := t.TempDir()
	for _, end := range []string{"20260131T2355Z", "20260201T0000Z", "20251231T2355Z"} {
		if err := appendTo(filepath.Join(dir, "b", "x_"+end+"_1.log.gz"), strings.Repeat("x", 100)); err != nil {
			t.Fatal(err)
		}
	}
	if err := trim(dir, 250); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "b", "*"))
	for i := range left {
		left[i] = filepath.Base(left[i])
	}
	if want := []string{"x_20260131T2355Z_1.log.gz", "x_20260201T0000Z_1.log.gz"}; err != nil || !slices.Equal(left, want) {
		t.Errorf("left %v, %v, want %v", left, err, want)
	}
}

// Who watches gets each line of the balancer and group once, whether it was there before or comes later.
func TestWriter_Recent(t *testing.T) {
	w := New(Options{DB: newDB(t), Dir: t.TempDir()})
	now := time.Now()
	write := func(lines ...string) {
		t.Helper()
		var list []lbconfig.LogEntry
		for _, l := range lines {
			list = append(list, lbconfig.LogEntry{Balancer: web.ARN(), Time: now, Line: l})
		}
		list = append(list, lbconfig.LogEntry{Balancer: quiet.ARN(), Time: now, Line: "x tg x"},
			lbconfig.LogEntry{Balancer: web.ARN(), Time: now, Line: "x tg x", Connection: true})
		if err := w.write(t.Context(), list); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.Recent(t.Context(), web.ARN(), "", -1); len(got.Lines) != 0 || got.Next != 0 {
		t.Errorf("of nothing: %+v", got)
	}
	write("a tg 1", "b other 2")
	first := w.Recent(t.Context(), web.ARN(), "tg", -1)
	if !slices.Equal(first.Lines, []string{"a tg 1"}) {
		t.Errorf("the last lines: %q", first.Lines)
	}
	got := make(chan Lines)
	go func() { got <- w.Recent(t.Context(), web.ARN(), "tg", first.Next) }()
	write("c other 3")
	write("d tg 4")
	next := <-got
	if !slices.Equal(next.Lines, []string{"d tg 4"}) {
		t.Errorf("what came: %q", next.Lines)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if none := w.Recent(ctx, web.ARN(), "", next.Next); len(none.Lines) != 0 || none.Next != next.Next {
		t.Errorf("nothing came: %+v", none)
	}
	for range 2 * keepRecent {
		write("e tg 5")
	}
	if got := len(w.Recent(t.Context(), web.ARN(), "", 0).Lines); got > keepRecent || got < keepRecent/2 {
		t.Errorf("%d lines are kept", got)
	}
}
