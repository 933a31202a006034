package build

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The same source is the same image: whenever, wherever, and from an empty cache.
func TestBuild_Reproducible(t *testing.T) {
	l := newLab(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	t.Cleanup(func() {
		if err := l.daemon.Stop(context.Background()); err != nil {
			t.Errorf("Stop() = %v", err)
		}
	})
	base := t.TempDir()
	goBuild(t, base, `package main
import "os"
func main() { os.MkdirAll("/made/here", 0o755); os.WriteFile("/made/here/f", []byte("made"), 0o644) }`)
	files := map[string]string{
		"Dockerfile": "FROM scratch AS a\nWORKDIR /w\nCOPY --from=tools probe /probe\nRUN [\"/probe\"]\nFROM scratch\nCOPY --from=a /made /made\nADD dir /dir\nCOPY <<X /x\nx\nX\n",
		"dir/f":      "f", "dir/d/g": "g",
	}
	source := func() string {
		dir := contextDir(t, files)
		at := time.Now().Add(-time.Duration(time.Now().UnixNano()%1e6) * time.Second)
		if err := os.Chtimes(filepath.Join(dir, "dir", "f"), at, at); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	digest := func(o Options) string {
		t.Helper()
		o.Contexts = map[string]string{"tools": base}
		r, _ := l.run(ctx, t, o)
		return r.Digest
	}
	empty := func() {
		t.Helper()
		if _, err := l.daemon.Prune(ctx, PruneOptions{All: true}); err != nil {
			t.Fatal(err)
		}
	}
	first := source()
	want := digest(Options{Context: first})
	if got := digest(Options{Context: first}); got != want {
		t.Errorf("again: %s, want %s", got, want)
	}
	if l.held != 1 {
		t.Errorf("an unchanged image was rewritten again: held %d times, want 1", l.held)
	}
	l.holdNothing = true
	if got := digest(Options{Context: source()}); got != want {
		t.Errorf("elsewhere, from the cache, rewritten again since its content had gone: %s, want %s", got, want)
	}
	l.holdNothing = false
	none := digest(Options{Context: first, Epoch: "none"})
	empty()
	if got := digest(Options{Context: source()}); got != want {
		t.Errorf("elsewhere, from an empty cache: %s, want %s", got, want)
	}
	if got := digest(Options{Context: first, NoCache: true}); got != want {
		t.Errorf("with every step anew: %s, want %s", got, want)
	}
	empty()
	if got := digest(Options{Context: source(), Epoch: "none"}); got == none {
		t.Error("with true times it is the same too: the test tests nothing")
	}
	if got := digest(Options{Context: first, Args: map[string]string{epochArg: "1700000000"}}); got == want {
		t.Error("SOURCE_DATE_EPOCH does not count")
	}
	files["dir/f"] = "F"
	if got := digest(Options{Context: source()}); got == want {
		t.Error("a changed file is the same image")
	}
}

// What the cache takes is bounded by Prune.
func TestBuild_Prune(t *testing.T) {
	l := newLab(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	t.Cleanup(func() {
		if err := l.daemon.Stop(context.Background()); err != nil {
			t.Errorf("Stop() = %v", err)
		}
	})
	const layer = 4 << 20 // bytes
	for i := range 5 {    // a file and its context each
		l.run(ctx, t, Options{Context: contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY f /\n", "f": strings.Repeat(strconv.Itoa(i), layer)})})
	}
	some, err := l.daemon.Prune(ctx, PruneOptions{All: true, Keep: 2 * layer})
	if err != nil || some.Bytes == 0 {
		t.Errorf("Prune() = %+v, %v, want some gone", some, err)
	}
	rest, err := l.daemon.Prune(ctx, PruneOptions{All: true})
	if err != nil || rest.Bytes == 0 || rest.Bytes > 2*layer {
		t.Errorf("Prune() = %+v, %v, want at most %d bytes to have stayed", rest, err, 2*layer)
	}
	if none, err := l.daemon.Prune(ctx, PruneOptions{All: true}); err != nil || none.Bytes != 0 {
		t.Errorf("Prune() = %+v, %v, want nothing left", none, err)
	}
}

// The configuration's bound holds by itself. BuildKit looks a minute after its start at the earliest.
func TestBuild_CacheIsBounded(t *testing.T) {
	if os.Getenv("LOTSE_SOAK") == "" {
		t.Skip("takes more than a minute: LOTSE_SOAK=1")
	}
	const layer = 4 << 20 // bytes
	l := newLab(t)
	l.opts.Cache = 3 * layer
	l.newDaemon(t)
	l.serve(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	t.Cleanup(func() {
		if err := l.daemon.Stop(context.Background()); err != nil {
			t.Errorf("Stop() = %v", err)
		}
	})
	_, release, err := l.daemon.Acquire(ctx) // the clock of its idle time doesn't run
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	for i := range 8 {
		l.run(ctx, t, Options{Context: contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY f /\n", "f": strings.Repeat(strconv.Itoa(i), layer)})})
	}
	grown := false
	for {
		used, err := l.cacheSize(ctx)
		if err != nil {
			t.Fatal(err)
		}
		grown = grown || used > l.opts.Cache
		if used <= l.opts.Cache {
			if !grown {
				t.Errorf("the cache never had more than %d bytes, its bound is %d: the test tests nothing", used, l.opts.Cache)
			}
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the cache has %d bytes, its bound is %d", used, l.opts.Cache)
		case <-time.After(time.Second):
		}
	}
}
