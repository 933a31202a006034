package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/lotse-project/lotse/test/server"
)

// Everything that people get wrong ends with a cause and its exit code, and leaves what ran running.
func TestBadInput(t *testing.T) {
	s := start(t)
	if err := s.ImportBases(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir := hello(t, "hello")
	lotse(t, s, "up", dir)
	still := func(t *testing.T) {
		t.Helper()
		if page, err := get(s, "hello.localhost"); err != nil || !strings.Contains(page, "version v1") {
			t.Errorf("the old version: %q, %v", page, err)
		}
	}
	t.Run("a Dockerfile that does not build", func(t *testing.T) {
		bad := hello(t, "hello")
		write(t, bad, "main.go", "package main\n\nfunc main() { nonsense }\n")
		if msg := refused(t, s, 11, "deploy", bad); !strings.Contains(msg, "undefined: nonsense") {
			t.Errorf("%s", msg)
		}
		still(t)
	})
	t.Run("an image whose process exits", func(t *testing.T) {
		bad := hello(t, "hello")
		write(t, bad, "main.go", "package main\n\nimport (\"fmt\"; \"os\")\n\nfunc main() { fmt.Println(\"no database\"); os.Exit(3) }\n")
		msg := refused(t, s, 20, "deploy", bad)
		for _, want := range []string{"Essential container in task exited", "no database", "3"} {
			if !strings.Contains(msg, want) {
				t.Errorf("%q is not in:\n%s", want, msg)
			}
		}
		still(t)
	})
	t.Run("one that never gets healthy", func(t *testing.T) {
		bad := hello(t, "hello")
		write(t, bad, "lotse.yml", "image: {port: 8080}\nhttp:\n  healthcheck: {path: /healthz, interval: 5s, grace_period: 1s}\n")
		write(t, bad, "main.go", "package main\n\nimport \"net/http\"\n\nfunc main() { http.ListenAndServe(\":8080\", http.NotFoundHandler()) }\n")
		if msg := refused(t, s, 20, "deploy", bad); !strings.Contains(msg, "health") {
			t.Errorf("%s", msg)
		}
		still(t)
	})
	t.Run("an image that is not there", func(t *testing.T) {
		if msg := refused(t, s, 20, "deploy", dir, "--image", strings.TrimPrefix(s.Endpoint, "http://")+"/hello:none"); !strings.Contains(msg, "CannotPullContainerError") {
			t.Errorf("%s", msg)
		}
		still(t)
	})
	t.Run("wrong region", func(t *testing.T) {
		if msg := refused(t, s, 10, "status", dir, "--region", "mars-north-1x"); !strings.Contains(msg, "region") {
			t.Errorf("%s", msg)
		}
	})
	t.Run("wrong credentials", func(t *testing.T) {
		for _, kv := range [][2]string{{"AWS_ENDPOINT_URL", s.Endpoint}, {"AWS_ACCESS_KEY_ID", "AKIAAAAAAAAAAAAAAAAA"}, {"AWS_SECRET_ACCESS_KEY", "x"}, {"AWS_REGION", "us-east-1"}} {
			t.Setenv(kv[0], kv[1])
		}
		other := &server.Server{Dir: t.TempDir(), Endpoint: s.Endpoint} // its folder has no credentials
		write(t, other.Dir, "credentials", `{"accessKeyId":"AKIAAAAAAAAAAAAAAAAA","secretAccessKey":"x","account":"000000000000","region":"us-east-1"}`)
		if msg := refused(t, other, 10, "up", dir); !strings.Contains(msg, "not accepted") {
			t.Errorf("%s", msg)
		}
	})
	t.Run("no server", func(t *testing.T) {
		other := &server.Server{Dir: s.Dir, Endpoint: "http://127.0.0.1:1"}
		if msg := refused(t, other, 10, "up", dir); !strings.Contains(msg, "Nothing answers") {
			t.Errorf("%s", msg)
		}
	})
	t.Run("lotse.yml with a typo", func(t *testing.T) {
		bad := hello(t, "hello")
		write(t, bad, "lotse.yml", "cuont: 2\n")
		if msg := refused(t, s, 64, "up", bad); !strings.Contains(msg, "cuont") {
			t.Errorf("%s", msg)
		}
	})
	t.Run("a port taken", func(t *testing.T) {
		msg := refused(t, s, 1, "server", "run", "--data-dir", filepath.Join(t.TempDir(), "d"), "--listen", strings.TrimPrefix(s.Endpoint, "http://"), "--ephemeral")
		if !strings.Contains(msg, "is taken by lotse (pid") {
			t.Errorf("%s", msg)
		}
	})
	t.Run("the same data directory twice", func(t *testing.T) {
		if msg := refused(t, s, 1, "server", "run", "--data-dir", s.Dir, "--listen", "127.0.0.1:0"); !strings.Contains(msg, "is running") {
			t.Errorf("%s", msg)
		}
	})
	t.Run("no memory left", func(t *testing.T) {
		big := hello(t, "big")
		write(t, big, "lotse.yml", "image: {port: 8080}\ncount: 4\ncpu: 4096\nmemory: 30720\n")
		if msg := refused(t, s, 21, "up", big, "--timeout", "15s"); !strings.Contains(msg, "insufficient memory") {
			t.Errorf("%s", msg)
		}
		lotse(t, s, "destroy", big)
		still(t)
	})
}

// Two servers side by side do not meet: same ranges, same names, same listener ports.
func TestTwoServers(t *testing.T) {
	a, b := start(t), start(t)
	for _, c := range []struct {
		s       *server.Server
		version string
	}{{a, "v1"}, {b, "v2"}} {
		lotse(t, c.s, "up", hello(t, "hello"), "--image", importHello(t, c.s, c.version))
	}
	for s, want := range map[*server.Server]string{a: "v1", b: "v2"} {
		for range 4 {
			if page, err := get(s, "hello.localhost"); err != nil || !strings.Contains(page, "version "+want) {
				t.Errorf("%q, %v; want %s", page, err, want)
			}
		}
	}
	if err := a.Remove(); err != nil {
		t.Fatal(err)
	}
	if page, err := get(b, "hello.localhost"); err != nil || !strings.Contains(page, "version v2") {
		t.Errorf("after the other was removed: %q, %v", page, err)
	}
	if _, err := os.Stat(a.Dir); err == nil {
		t.Error("the first server's data is still there")
	}
}

// Two people bring up the same new application at once: one succeeds, the other too or is told that
// a newer deployment took over, and there is one of it.
func TestTwoUpsAtOnce(t *testing.T) {
	s := start(t)
	image := importHello(t, s, "v1")
	dir := hello(t, "hello")
	errs := make(chan error, 2)
	for range 2 {
		go func() {
			_, e, err := s.Run(t.Context(), "up", dir, "--image", image)
			if err != nil {
				err = fmt.Errorf("%w: %s", err, e)
			}
			errs <- err
		}()
	}
	failed := 0
	for range 2 {
		if err := <-errs; err != nil {
			failed++
			if !strings.Contains(err.Error(), "exit status 23") || failed > 1 {
				t.Error(err)
			}
		}
	}
	if n := aws(t, s, "elbv2", "describe-target-groups", "--query", "length(TargetGroups)"); n != "1" {
		t.Errorf("%s target groups", n)
	}
	if page, err := get(s, "hello.localhost"); err != nil || !strings.Contains(page, "version v1") {
		t.Errorf("%q, %v", page, err)
	}
}

// A full disk refuses what needs room, with a text that says so, and harms nothing that runs.
func TestFullDisk(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("mounts a small file system")
	}
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=48m"); err != nil {
		t.Fatal(err)
	}
	s := server.New(dir)
	t.Cleanup(func() {
		if err := s.RemoveKeepingFolder(); err != nil {
			t.Error(err)
		}
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	app := hello(t, "hello")
	lotse(t, s, "up", app, "--image", importHello(t, s, "v1"))
	end := traffic(t, s, "hello.localhost")
	filler := filepath.Join(dir, "filler")
	fill(t, filler)
	if msg := refused(t, s, 1, "image", "import", "example.com/hello:v2", helloImage(t, "v2")); !strings.Contains(msg, "no space left") && !strings.Contains(msg, "full") {
		t.Errorf("import: %s", msg)
	}
	for i := 0; ; i++ { // what the store has left of its own file is used up first
		cmd := exec.CommandContext(t.Context(), "aws", "--endpoint-url", s.Endpoint, "ecs", "create-cluster", "--cluster-name", strings.Repeat("c", 200)+strconv.Itoa(i))
		cmd.Env = append(os.Environ(), s.Environ()...)
		msg, err := cmd.CombinedOutput()
		if err != nil {
			if !strings.Contains(string(msg), "is full, and nothing was changed") {
				t.Errorf("create-cluster: %s", msg)
			}
			break
		}
		if i == 20 {
			t.Fatal("the disk never became full")
		}
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	lotse(t, s, "deploy", app, "--image", importHello(t, s, "v2")) // all is well again
	end()
}

// fill writes a file until the file system has no room.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, n := range []int{1 << 20, 4096, 512} {
		for b := make([]byte, n); err == nil; {
			_, err = f.Write(b)
		}
		err = nil
	}
}
