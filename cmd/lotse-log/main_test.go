package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/segment"
)

// asLogger makes the test binary lotse-log itself.
const asLogger = "LOTSE_TEST_LOGGER"

func TestMain(m *testing.M) {
	if os.Getenv(asLogger) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// logger is a lotse-log started as a shim does it.
type logger struct {
	cmd            *exec.Cmd
	dir            string
	stdout, stderr *os.File
	log            bytes.Buffer
}

func start(t testing.TB, dir string, args ...string) *logger {
	t.Helper()
	l := &logger{dir: dir}
	outR, outW, err1 := os.Pipe()
	errR, errW, err2 := os.Pipe()
	readyR, readyW, err3 := os.Pipe()
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	l.stdout, l.stderr = outW, errW
	l.cmd = exec.Command(os.Args[0], append([]string{"-dir", dir}, args...)...)
	l.cmd.Env = append(os.Environ(), asLogger+"=1")
	l.cmd.ExtraFiles = []*os.File{outR, errR, readyW}
	l.cmd.Stderr = &l.log
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.cmd.Process.Kill(); l.cmd.Wait(); outW.Close(); errW.Close() })
	outR.Close()
	errR.Close()
	readyW.Close()
	b, _ := io.ReadAll(readyR)
	readyR.Close()
	if len(b) != 1 {
		l.cmd.Wait()
		t.Fatalf("the logger is not ready: %s", l.log.String())
	}
	return l
}

// stop ends the streams as a shim does: it closes its ends, then sends SIGTERM.
func (l *logger) stop(t testing.TB) {
	t.Helper()
	l.stdout.Close()
	l.stderr.Close()
	l.cmd.Process.Signal(syscall.SIGTERM)
	if err := l.cmd.Wait(); err != nil {
		t.Fatalf("the logger: %v: %s", err, l.log.String())
	}
}

func events(t testing.TB, dir string) []segment.Event {
	t.Helper()
	r, err := segment.OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	es, err := r.Read(0, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return es
}

func texts(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	for _, e := range events(t, dir) {
		out = append(out, string(e.Data))
	}
	return out
}

func TestLogger_WritesWhatComes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "stream")
	l := start(t, dir, "-max-line", "10")
	began := time.Now().Truncate(time.Millisecond)
	fmt.Fprint(l.stdout, "one\n\nt")
	waitFor(t, func() bool { return len(texts(t, dir)) == 1 })
	fmt.Fprint(l.stdout, "wo\r\n")
	waitFor(t, func() bool { return len(texts(t, dir)) == 2 })
	fmt.Fprint(l.stderr, "0123456789\n0123456789ab\n")
	waitFor(t, func() bool { return len(texts(t, dir)) == 5 })
	fmt.Fprint(l.stdout, "12345678äöü\nthe end")
	l.stop(t)
	want := []string{"one", "two\r", "0123456789", "0123456789", "ab", "12345678ä", "öü", "the end"}
	if d := cmp.Diff(want, texts(t, dir)); d != "" {
		t.Errorf("lines (-want +got):\n%s", d)
	}
	last := began
	for _, e := range events(t, dir) {
		if e.Time.Before(last) || e.Time.After(time.Now()) {
			t.Errorf("%q has time %v, after %v", e.Data, e.Time, last)
		}
		last = e.Time
	}
}

func TestLogger_EventsOfSeveralLines(t *testing.T) {
	dir := t.TempDir()
	l := start(t, dir, "-multiline", `^\[`, "-mode", "non-blocking", "-max-buffer", "1048576")
	fmt.Fprint(l.stdout, "[1] one\n  at a\n[2] two\n")
	fmt.Fprint(l.stderr, "[3] three\n  at b\n")
	l.stop(t)
	got := texts(t, dir)
	slices.Sort(got) // two streams, each with its own events
	if d := cmp.Diff([]string{"[1] one\n  at a", "[2] two", "[3] three\n  at b"}, got); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
}

func TestLogger_WaitsForThePreviousOneAndGoesOn(t *testing.T) {
	dir := t.TempDir()
	w, err := segment.OpenWriter(dir, segment.WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	future := time.Now().Add(time.Hour).Truncate(time.Millisecond) // the clock was set back since
	w.Append(segment.Event{Time: future, Data: []byte("before")})
	time.AfterFunc(200*time.Millisecond, func() { w.Close() })
	l := start(t, dir)
	fmt.Fprintln(l.stdout, "after")
	l.stop(t)
	es := events(t, dir)
	if len(es) != 2 || string(es[1].Data) != "after" || !es[1].Time.Equal(future) {
		t.Errorf("events %v, want one after the other, not older", es)
	}
}

func TestLogger_IsNotReadyWithoutItsDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	os.WriteFile(file, nil, 0o600)
	readyR, readyW, _ := os.Pipe()
	c := exec.Command(os.Args[0], "-dir", filepath.Join(file, "x"))
	c.Env = append(os.Environ(), asLogger+"=1")
	null, _ := os.Open(os.DevNull)
	c.ExtraFiles = []*os.File{null, null, readyW}
	out, err := c.CombinedOutput()
	readyW.Close()
	null.Close()
	b, _ := io.ReadAll(readyR)
	if err == nil || len(b) != 0 || !strings.Contains(string(out), "not a directory") {
		t.Errorf("the logger: %v, %q, ready %q; want a failure that says why", err, out, b)
	}
}

// A container that writes as fast as it can loses no line, and stays in order.
func TestLogger_FloodLosesNothing(t *testing.T) {
	dir := t.TempDir()
	l := start(t, dir)
	const lines = 400_000
	began := time.Now()
	var writers sync.WaitGroup
	for name, f := range map[string]*os.File{"out": l.stdout, "err": l.stderr} {
		writers.Go(func() {
			w := bufio.NewWriterSize(f, 4096)
			for i := range lines / 2 {
				fmt.Fprintf(w, "%s %d %s\n", name, i, filling[:i%100])
			}
			w.Flush()
		})
	}
	writers.Wait()
	l.stop(t)
	took := time.Since(began)
	next, bytes := map[string]int{}, 0
	for _, e := range events(t, dir) {
		var name string
		var i int
		fmt.Sscan(string(e.Data), &name, &i)
		if want := fmt.Sprintf("%s %d %s", name, next[name], filling[:i%100]); string(e.Data) != want {
			t.Fatalf("line %q, want %q", e.Data, want)
		}
		next[name]++
		bytes += len(e.Data) + 1
	}
	if next["out"]+next["err"] != lines {
		t.Errorf("%v lines, want %d", next, lines)
	}
	t.Logf("%.0f MB/s, %.0f lines/s", float64(bytes)/1e6/took.Seconds(), lines/took.Seconds())
}

var filling = strings.Repeat("abcdefghij", 10)

// TestLogger_TenMegabytesASecond is the promise in full, with LOTSE_SOAK=1 for 30 s: no write of the container takes long.
func TestLogger_TenMegabytesASecond(t *testing.T) {
	seconds := 1
	if os.Getenv("LOTSE_SOAK") != "" {
		seconds = 30
	}
	dir := t.TempDir()
	l := start(t, dir)
	line := append(bytes.Repeat([]byte("x"), 199), '\n')
	const batch, every = 500, 10 * time.Millisecond // 500 · 200 bytes · 100/s = 10 MB/s
	began, longest, n := time.Now(), time.Duration(0), 0
	for i := range seconds * 100 {
		time.Sleep(time.Until(began.Add(time.Duration(i) * every)))
		at := time.Now()
		for range batch {
			if _, err := l.stdout.Write(line); err != nil {
				t.Fatal(err)
			}
			n++
		}
		longest = max(longest, time.Since(at))
	}
	l.stop(t)
	if got := len(events(t, dir)); got != n {
		t.Errorf("%d lines written, %d there", n, got)
	}
	t.Logf("%d lines in %v; the longest 500 writes took %v", n, time.Since(began), longest)
	if longest > time.Second {
		t.Errorf("500 lines took %v: the container was blocked", longest)
	}
}

func waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen within 5s")
		}
	}
}

func BenchmarkCutLines(b *testing.B) {
	text := bytes.Repeat([]byte("a line of quite the usual length, with a number 1234567890\n"), 1000)
	var lines [][]byte
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		lines, _ = cutLines(lines[:0], text, 16<<10)
	}
}
