package build

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBuild(t *testing.T) {
	l := newLab(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
	defer cancel()
	t.Cleanup(func() {
		if err := l.daemon.Stop(context.Background()); err != nil {
			t.Errorf("Stop() = %v", err)
		}
	})

	t.Run("scratch", func(t *testing.T) { l.scratch(ctx, t) })
	t.Run("run steps have no network", func(t *testing.T) { l.network(ctx, t) })
	t.Run("failing step", func(t *testing.T) { l.failing(ctx, t) })
	t.Run("not a Dockerfile", func(t *testing.T) { l.unparsable(ctx, t) })
	t.Run("downloads are refused", func(t *testing.T) { l.downloads(ctx, t) })
	t.Run("another BuildKit leaves an archive", func(t *testing.T) { l.elsewhere(ctx, t) })
	t.Run("killed client", func(t *testing.T) { l.killedClient(ctx, t) })
	t.Run("found again", func(t *testing.T) { l.foundAgain(ctx, t) })
	t.Run("killed builder", func(t *testing.T) { l.killedBuilder(ctx, t) })
	t.Run("ending builder", func(t *testing.T) { l.endingBuilder(ctx, t) })
	t.Run("stopped when idle", func(t *testing.T) { l.idle(ctx, t) })
}

// scratch: twice the same is the same image, and its config comes along.
func (l *lab) scratch(ctx context.Context, t *testing.T) {
	dir := contextDir(t, map[string]string{
		"Dockerfile":    "# syntax=docker/dockerfile:1\nFROM scratch AS base\nARG V\nLABEL v=$V\nCOPY . /\nEXPOSE 8080\nHEALTHCHECK --interval=5s CMD wget -q localhost:8080\nFROM base AS last\nCOPY hello /again\n",
		".dockerignore": "secret\n",
		"hello":         "hello",
		"secret":        "secret",
	})
	o := Options{Context: dir, Args: map[string]string{"V": "1"}, Names: []string{"localhost:4566/shop:1"}}
	var last Progress
	o.Progress = func(p Progress) { last = p }
	first, err := l.client(t).Build(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	second, err := l.client(t).Build(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if first.Digest == "" || first.Digest != second.Digest {
		t.Errorf("digests %q and %q, want the same", first.Digest, second.Digest)
	}
	if second.Cached != second.Steps || second.Steps != 2 {
		t.Errorf("second build: %d of %d steps cached, want 2 of 2", second.Cached, second.Steps)
	}
	if last.Steps != 2 || last.Done != 2 {
		t.Errorf("last progress = %+v, want 2 of 2 done", last)
	}
	want := ConfigInfo{
		ExposedPorts: []Port{{8080, "tcp"}},
		Healthcheck:  &Healthcheck{Command: []string{"CMD-SHELL", "wget -q localhost:8080"}, Interval: 5 * time.Second},
	}
	if d := cmp.Diff(want, first.Config); d != "" {
		t.Errorf("config (-want +got):\n%s", d)
	}
	if !strings.HasPrefix(first.Platform, "linux/") {
		t.Errorf("platform %q", first.Platform)
	}
	if len(l.built) != 2 || l.built[0].Digest != first.Digest || l.built[0].Name != o.Names[0] || !strings.HasPrefix(l.built[0].Record, recordPrefix) {
		t.Errorf("built = %+v", l.built)
	}
}

func (l *lab) network(ctx context.Context, t *testing.T) {
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY probe /probe\nARG ADDR\nRUN [\"/probe\"]\n"})
	goBuild(t, dir, `package main
import ("fmt"; "net"; "os")
func main() {
	links, _ := net.Interfaces()
	for _, l := range links { fmt.Println("link", l.Name) }
	if _, err := net.Dial("tcp", os.Getenv("ADDR")); err == nil { os.Exit(3) }
}`)
	lines := ""
	_, err := l.client(t).Build(ctx, Options{Context: dir, Args: map[string]string{"ADDR": l.server.Listener.Addr().String()}, Progress: func(p Progress) {
		for _, l := range p.Lines {
			lines += l.Text + "\n"
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if lines != "link lo\n" {
		t.Errorf("network of a RUN step:\n%swant only lo", lines)
	}
}

func (l *lab) failing(ctx context.Context, t *testing.T) {
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY probe /probe\nRUN [\"/probe\"]\n"})
	goBuild(t, dir, `package main
import ("fmt"; "os")
func main() { for i := range 30 { fmt.Println("line", i) }; fmt.Print("no newline"); os.Exit(7) }`)
	_, err := l.client(t).Build(ctx, Options{Context: dir})
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("Build() = %v, want a *build.Error", err)
	}
	if e.ExitCode != 7 || e.Line != 3 || e.File != "Dockerfile" || !strings.Contains(e.Excerpt, `   3 | >>> RUN ["/probe"]`) || !strings.Contains(e.Step, "RUN") {
		t.Errorf("error = %+v", e)
	}
	if n := len(e.Log); n < errorLines || e.Log[n-1] != "no newline" || e.Log[n-2] != "line 29" {
		t.Errorf("log = %q", e.Log)
	}
	t.Log(e)
}

func (l *lab) unparsable(ctx context.Context, t *testing.T) {
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nCOPPY a b\n"})
	_, err := l.client(t).Build(ctx, Options{Context: dir})
	var e *Error
	if !errors.As(err, &e) || e.Line != 2 || !strings.Contains(e.Error(), "COPPY") {
		t.Fatalf("Build() = %#v, want a *build.Error for line 2", err)
	}
	t.Log(e)
	dir = contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY missing /\n"})
	_, err = l.client(t).Build(ctx, Options{Context: dir})
	if !errors.As(err, &e) || e.Line != 2 {
		t.Fatalf("Build() = %#v, want a *build.Error for line 2", err)
	}
	t.Log(e)
}

func (l *lab) downloads(ctx context.Context, t *testing.T) {
	for _, text := range []string{
		"FROM scratch\nADD https://192.0.2.1/x /x\n",
		"FROM scratch\nADD git@github.com:moby/buildkit.git /x\n",
		"FROM example.com/image\n",
		"FROM busybox\n",
	} {
		begin := time.Now()
		_, err := l.client(t).Build(ctx, Options{Context: contextDir(t, map[string]string{"Dockerfile": text})})
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%q: Build() = %v, want a *build.Error", text, err)
			continue
		}
		t.Logf("%v: %v", time.Since(begin).Round(time.Millisecond), e)
	}
}

func (l *lab) elsewhere(ctx context.Context, t *testing.T) {
	address, release, err := l.daemon.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	c, err := NewClient(ClientOptions{Getenv: func(string) string { return address }})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Context: contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\nEXPOSE 80/udp\n"}), Archive: filepath.Join(t.TempDir(), "image.tar")}
	r, err := c.Build(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Builder != "buildkit" || r.Archive != o.Archive || !strings.HasPrefix(r.Digest, "sha256:") || len(r.Config.ExposedPorts) != 1 {
		t.Errorf("Build() = %+v", r)
	}
}

// slow is a build that takes a minute, and tells when it has begun.
const slow = `package main
import ("fmt"; "time")
func main() { fmt.Println("begun"); time.Sleep(time.Minute) }`

func (l *lab) slow(t *testing.T) string {
	t.Helper()
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY probe /probe\nRUN [\"/probe\"]\n"})
	goBuild(t, dir, slow)
	return dir
}

func (l *lab) killedClient(ctx context.Context, t *testing.T) {
	args, err := json.Marshal([]string{l.server.URL, l.slow(t)})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "LOTSE_BUILD_CLIENT="+string(args))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	groups, err := cgroups(l.opts.CgroupParent)
	if err != nil || len(groups) == 0 {
		t.Fatalf("cgroups = %v, %v, want some while a step runs", groups, err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	eventually(t, "the step's processes end", func() bool {
		for _, g := range groups {
			if pids, err := cgroupPIDs(g); err != nil || len(pids) > 0 {
				return false
			}
		}
		return true
	})
	l.builds(ctx, t)
}

// clientMain builds and says so when the step has begun.
func clientMain(args string) {
	var a []string
	if err := json.Unmarshal([]byte(args), &a); err != nil {
		panic(err)
	}
	c, err := NewClient(ClientOptions{Builder: "lotse", Endpoint: a[0], Region: "us-east-1", Credentials: staticKey{}})
	if err != nil {
		panic(err)
	}
	_, err = c.Build(context.Background(), Options{Context: a[1], Progress: func(p Progress) {
		for _, l := range p.Lines {
			os.Stdout.WriteString(l.Text)
		}
	}})
	panic(err)
}

func (l *lab) foundAgain(ctx context.Context, t *testing.T) {
	before, err := readProcess(l.daemon.pidFile())
	if err != nil {
		t.Fatal(err)
	}
	next, err := NewDaemon(l.opts)
	if err != nil {
		t.Fatal(err)
	}
	_, release, err := next.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	release()
	if after, err := readProcess(l.daemon.pidFile()); err != nil || *after != *before {
		t.Errorf("after a restart of the server: %+v, %v, want %+v still", after, err, before)
	}
}

func (l *lab) killedBuilder(ctx context.Context, t *testing.T) {
	begun := make(chan struct{}, 1)
	done := make(chan error, 1)
	dir := l.slow(t)
	go func() {
		_, err := l.client(t).Build(ctx, Options{Context: dir, Progress: func(p Progress) {
			if len(p.Lines) > 0 {
				begun <- struct{}{}
			}
		}})
		done <- err
	}()
	select {
	case <-begun:
	case err := <-done:
		t.Fatal(err)
	}
	p, err := readProcess(l.daemon.pidFile())
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var e *Error
	if err := <-done; err == nil || errors.As(err, &e) {
		t.Errorf("Build() = %v, want an error that isn't the Dockerfile's", err)
	} else {
		t.Log(err)
	}
	if len(l.traces(t)["mounts"]) == 0 {
		t.Error("a killed builder left no mounts: the test tests nothing")
	}
	l.builds(ctx, t)
	if err := l.daemon.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	for what, left := range l.traces(t) {
		t.Errorf("left over after Stop: %s: %v", what, left)
	}
}

// endingBuilder: a builder that is there when a build looks for it, and ends before it answers, is replaced.
func (l *lab) endingBuilder(ctx context.Context, t *testing.T) {
	if err := l.daemon.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	p, err := start("/bin/sleep", []string{"1"}, os.Environ(), filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	p.Config = l.daemon.configHash()
	if err := p.write(l.daemon.pidFile()); err != nil {
		t.Fatal(err)
	}
	l.builds(ctx, t)
}

func (l *lab) idle(ctx context.Context, t *testing.T) {
	l.opts.Idle = 50 * time.Millisecond
	d, err := NewDaemon(l.opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- d.Run(ctx) }()
	_, release, err := d.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	if !d.Running() {
		t.Error("stopped while in use")
	}
	release()
	eventually(t, "the idle builder is stopped", func() bool { return !d.Running() })
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run() = %v", err)
	}
}

// builds checks that the builder works.
func (l *lab) builds(ctx context.Context, t *testing.T) {
	t.Helper()
	if _, err := l.client(t).Build(ctx, Options{Context: contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})}); err != nil {
		t.Errorf("the next build: %v", err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// goBuild puts a static program "probe" into dir.
func goBuild(t *testing.T, dir, text string) {
	t.Helper()
	src := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(src, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "probe"), src)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
