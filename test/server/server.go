// Package server starts a Lotse server of its own for tests and the demo, and takes it away again.
package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/lotse-project/lotse/internal/sdkhttp"
)

// Root is the checkout: the folder of go.mod above the working directory.
func Root() string {
	dir, _ := os.Getwd()
	for dir != "/" {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			if _, err := os.Stat(filepath.Join(dir, "internal")); err == nil {
				return dir
			}
		}
		dir = filepath.Dir(dir)
	}
	return "."
}

// A Server is one that runs, or can.
type Server struct {
	Dir      string // data directory
	Endpoint string
	Front    string
	Args     []string // of server run, besides the data directory
	Env      []string // besides the test's own

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
	log  bytes.Buffer
}

// New names a server; nothing runs yet.
func New(dir string, args ...string) *Server {
	return &Server{Dir: dir, Args: args}
}

// Lotse is the path of the binary.
func Lotse() string { return filepath.Join(Root(), "bin", "lotse") }

// Start runs the server and waits until it is ready. A server that was started before keeps its
// addresses.
func (s *Server) Start(ctx context.Context) error {
	listen, front := "127.0.0.1:0", "127.0.0.1:0"
	if s.Endpoint != "" {
		listen, front = strings.TrimPrefix(s.Endpoint, "http://"), s.Front
	}
	args := append([]string{"server", "run", "--data-dir", s.Dir, "--listen", listen, "--front", front}, s.Args...)
	cmd := exec.Command(Lotse(), args...)
	cmd.Env = append(os.Environ(), s.Env...)
	cmd.Stderr = &locked{w: &s.log, mu: &s.mu}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w: run make build", err)
	}
	s.cmd, s.done = cmd, make(chan struct{})
	done := s.done
	go func() { _ = cmd.Wait(); close(done) }()
	return s.ready(ctx)
}

func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server is not ready: %w\n%s", ctx.Err(), s.Log())
		case <-s.done:
			return fmt.Errorf("the server ended\n%s", s.Log())
		case <-time.After(5 * time.Millisecond):
		}
		var r struct {
			PID             int
			Endpoint, Front string
		}
		b, err := os.ReadFile(filepath.Join(s.Dir, "server.json"))
		if err != nil || json.Unmarshal(b, &r) != nil || r.PID != s.cmd.Process.Pid {
			continue
		}
		s.Endpoint, s.Front = r.Endpoint, r.Front
		resp, err := http.Get(r.Endpoint + "/_lotse/health")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
	}
}

// Kill ends the server's process without warning, as a crash does.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	<-s.done
}

// Died waits until the server has ended by itself.
func (s *Server) Died(ctx context.Context) error {
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stop ends the control plane in good order.
func (s *Server) Stop() error {
	if s.cmd == nil {
		return nil
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
		return nil
	case <-time.After(20 * time.Second):
		s.Kill()
		return errors.New("the server did not stop within 20 s")
	}
}

// Remove stops everything of the server and deletes its data.
func (s *Server) Remove() error {
	return errors.Join(s.RemoveKeepingFolder(), os.RemoveAll(s.Dir))
}

// RemoveKeepingFolder stops everything of the server; its data stays.
func (s *Server) RemoveKeepingFolder() error {
	err := s.Stop()
	if _, missing := os.Stat(s.Dir); missing != nil {
		return err
	}
	out, e := exec.Command(Lotse(), "server", "stop", "--all", "--data-dir", s.Dir).CombinedOutput()
	if e != nil {
		err = errors.Join(err, fmt.Errorf("server stop --all: %w: %s", e, out))
	}
	return err
}

// Log is what the server has written so far.
func (s *Server) Log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// Environ is what a client needs to use the server as root of its account.
func (s *Server) Environ() []string {
	c := s.key()
	return []string{"AWS_ENDPOINT_URL=" + s.Endpoint, "AWS_ACCESS_KEY_ID=" + c.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + c.SecretAccessKey,
		"AWS_REGION=" + c.Region, "AWS_DEFAULT_REGION=" + c.Region, "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER="}
}

// Config is the SDK's.
func (s *Server) Config() aws.Config {
	c := s.key()
	return aws.Config{Region: c.Region, BaseEndpoint: aws.String(s.Endpoint), RetryMaxAttempts: 1, HTTPClient: sdkhttp.Client{HTTPClient: &http.Client{}},
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, "")}
}

// Run runs bin/lotse as a client of the server and returns what it prints.
func (s *Server) Run(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	cmd := exec.CommandContext(ctx, Lotse(), args...)
	cmd.Env = append(os.Environ(), s.Environ()...)
	var out, bad bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &bad
	err = cmd.Run()
	return out.String(), bad.String(), err
}

// ID is the server's short id, which everything carries that it has outside its data directory.
func (s *Server) ID(ctx context.Context) (string, error) {
	var st struct{ ID string }
	out, _, err := s.Run(ctx, "server", "status", "--data-dir", s.Dir, "-o", "json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &st)
	}
	return st.ID, err
}

// ImportBases imports the stand-ins for base images that script/base-images made.
func (s *Server) ImportBases(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, filepath.Join(Root(), "script", "base-images")).Output()
	if err != nil {
		return fmt.Errorf("script/base-images: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		name, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		if _, e, err := s.Run(ctx, "image", "import", name, file); err != nil {
			return fmt.Errorf("image import %s: %w: %s", name, err, e)
		}
	}
	return nil
}

// Private

type key struct{ AccessKeyID, SecretAccessKey, Account, Region string }

func (s *Server) key() key {
	var k key
	b, _ := os.ReadFile(filepath.Join(s.Dir, "credentials"))
	_ = json.Unmarshal(b, &k)
	return k
}

type locked struct {
	w  *bytes.Buffer
	mu *sync.Mutex
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}
