// Package test drives real servers from outside, as users do.
package test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lotse-project/lotse/test/judge"
	"github.com/lotse-project/lotse/test/load"
	"github.com/lotse-project/lotse/test/server"
)

// start runs a server of the test's own and removes every trace of it at the end.
func start(t *testing.T, args ...string) *server.Server {
	t.Helper()
	return startWith(t, nil, args...)
}

// startWith is start with something in the server's environment.
func startWith(t *testing.T, env []string, args ...string) *server.Server {
	t.Helper()
	if testing.Short() {
		t.Skip("runs a server")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("", "lotse-test-")
	if err != nil {
		t.Fatal(err)
	}
	s := server.New(dir, args...)
	s.Env = env
	t.Cleanup(func() {
		if err := s.Remove(); err != nil {
			t.Error("removing the server:", err)
		}
		if t.Failed() {
			t.Logf("the server's log:\n%s", s.Log())
		}
	})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// hello is a copy of the example, to be changed.
func hello(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(server.Root(), "examples", "hello"))); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "lotse.yml", "image: {port: 8080}\n")
	return dir
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// lotse runs the command line and fails the test if it fails.
func lotse(t *testing.T, s *server.Server, args ...string) string {
	t.Helper()
	begin := time.Now()
	out, errs, err := s.Run(t.Context(), args...)
	if err != nil {
		t.Fatalf("lotse %s: %v\n%s%s", strings.Join(args, " "), err, out, errs)
	}
	t.Logf("lotse %s: %.2f s", args[0], time.Since(begin).Seconds())
	return strings.TrimSpace(out)
}

// refused runs the command line, which must end with the exit code, and returns what it said.
func refused(t *testing.T, s *server.Server, code int, args ...string) string {
	t.Helper()
	out, errs, err := s.Run(t.Context(), args...)
	ee, ok := err.(*exec.ExitError)
	if !ok || ee.ExitCode() != code {
		t.Fatalf("lotse %s: %v, want exit code %d\n%s%s", strings.Join(args, " "), err, code, out, errs)
	}
	return errs
}

// aws runs the AWS CLI.
func aws(t *testing.T, s *server.Server, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), judge.Path(t, "aws"), append([]string{"--endpoint-url", s.Endpoint, "--output", "text"}, args...)...)
	cmd.Env = append(os.Environ(), s.Environ()...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("aws %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return strings.TrimSpace(string(out))
}

// get asks through the front under a host name.
func get(s *server.Server, host string) (string, error) {
	req, err := http.NewRequest(http.MethodGet, "http://"+s.Front+"/", nil)
	if err != nil {
		return "", err
	}
	req.Host = host
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", resp.Status, b)
	}
	return string(b), err
}

// traffic sends requests until the returned function is called, which fails the test if one was lost.
func traffic(t *testing.T, s *server.Server, host string) (end func() load.Summary) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan load.Summary, 1)
	go func() {
		sum, _ := load.Run(ctx, load.Options{URL: "http://" + s.Front + "/", Host: host, Rate: 200})
		done <- sum
	}()
	ended := false
	end = func() load.Summary {
		if ended {
			return load.Summary{}
		}
		ended = true
		stop()
		sum := <-done
		if sum.Failed > 0 || sum.Sent == 0 {
			t.Errorf("%d of %d requests failed: %s", sum.Failed, sum.Sent, strings.Join(sum.Errors, "; "))
		}
		return sum
	}
	t.Cleanup(func() { end() })
	return end
}

// eventually waits until f returns nil.
func eventually(t *testing.T, within time.Duration, f func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatalf("not within %s: %v", within, err)
}
