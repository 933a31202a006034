package test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lotse-project/lotse/test/server"
)

// faults are the named points of a task's life and of a rollout. At each of them in turn the server
// is killed, during an update under traffic.
func faults() (points []string) {
	for _, step := range []string{"interface", "network", "pull", "create", "start", "register", "deregister", "drain", "stop", "remove", "release"} {
		points = append(points, "task."+step+":before", "task."+step+":after")
	}
	return append(points, "scheduler.apply:before", "scheduler.apply:after", "scheduler.apply:after#4", "target.save:before", "target.save:after", "target.push:after")
}

// The server is killed at each named point of an update, and comes back: not a request fails, the
// deployment completes, and nothing is left over.
func TestKilledDuringUpdate(t *testing.T) {
	s := start(t)
	image := [2]string{importHello(t, s, "v1"), importHello(t, s, "v2")}
	dir := hello(t, "hello")
	lotse(t, s, "up", dir, "--image", image[0])
	end := traffic(t, s, "hello.localhost")
	for i, point := range faults() {
		// The fault is armed by a new start, which is itself part of what is tried.
		s.Kill()
		s.Env = []string{"LOTSE_FAULT=" + point}
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		began := time.Now()
		if err := s.Start(ctx); err != nil && s.Died(ctx) != nil { // some points are reached at once
			t.Fatal(err)
		}
		client, lost := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _, _ = s.Run(client, "deploy", dir, "--image", image[(i+1)%2])
		}()
		if err := s.Died(ctx); err != nil {
			t.Fatalf("%s was never reached", point)
		}
		lost() // it has lost contact; what it began goes on
		<-done
		s.Env = nil
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		out, e, err := s.Run(ctx, "deploy", dir, "--image", image[(i+1)%2])
		if err != nil {
			t.Fatalf("%s: after the restart: %v\n%s%s", point, err, out, e)
		}
		settled(t, s, point)
		t.Logf("%s: %.1f s", point, time.Since(began).Seconds())
		cancel()
	}
	sum := end()
	t.Logf("%d requests, %d failed, longest %s", sum.Sent, sum.Failed, sum.Max)
}

// settled waits until exactly two tasks, two targets and their interfaces are left.
func settled(t *testing.T, s *server.Server, point string) {
	t.Helper()
	eventually(t, 30*time.Second, func() error {
		tasks := aws(t, s, "ecs", "list-tasks", "--cluster", "lotse-local", "--query", "length(taskArns)")
		enis := aws(t, s, "ec2", "describe-network-interfaces", "--filters", "Name=description,Values=*task*", "--query", "length(NetworkInterfaces)")
		bundles, err := filepath.Glob("/run/lotse/*/containerd/io.containerd.runtime.v2.task/lotse-" + id(s) + "/*")
		if err != nil || tasks != "2" || enis != "2" || len(bundles) != 2 {
			return fmt.Errorf("%s: %s tasks, %s interfaces, %d containers", point, tasks, enis, len(bundles))
		}
		return nil
	})
}

// Each process of the data plane is killed under traffic and comes back; tasks run on.
func TestKilledProcesses(t *testing.T) {
	s := start(t)
	dir := hello(t, "hello")
	lotse(t, s, "up", dir, "--image", importHello(t, s, "v1"))
	before := aws(t, s, "ecs", "describe-tasks", "--cluster", "lotse-local", "--tasks", strings.Fields(aws(t, s, "ecs", "list-tasks", "--cluster", "lotse-local", "--query", "taskArns"))[0],
		"--query", "tasks[0].startedAt")

	for _, p := range []string{"lb-worker", "net", "containerd", "lb"} {
		t.Run(p, func(t *testing.T) {
			var end func() = func() {}
			if p == "net" || p == "containerd" || p == "lb" {
				e := traffic(t, s, "hello.localhost")
				end = func() { e() }
			}
			old := pid(t, s, p)
			if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			eventually(t, 10*time.Second, func() error {
				if n := pid(t, s, p); n == old || syscall.Kill(n, 0) != nil {
					return fmt.Errorf("%s is not back", p)
				}
				_, err := get(s, "hello.localhost")
				return err
			})
			end()
		})
	}
	t.Run("worker while the server is down", func(t *testing.T) {
		s.Kill()
		old := pid(t, s, "lb-worker")
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, func() error { _, err := get(s, "hello.localhost"); return err })
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("server stopped and run again under load", func(t *testing.T) {
		end := traffic(t, s, "hello.localhost")
		for range 3 {
			if err := s.Stop(); err != nil {
				t.Fatal(err)
			}
			if err := s.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		end()
	})
	after := aws(t, s, "ecs", "describe-tasks", "--cluster", "lotse-local", "--tasks", strings.Fields(aws(t, s, "ecs", "list-tasks", "--cluster", "lotse-local", "--query", "taskArns"))[0],
		"--query", "tasks[0].startedAt")
	if before != after {
		t.Errorf("a task was started anew: %s, then %s", before, after)
	}
	// State agrees with the world: a deployment still works.
	lotse(t, s, "deploy", dir, "--image", importHello(t, s, "v2"))
}

// importHello imports an image of the example and returns its name.
func importHello(t *testing.T, s *server.Server, version string) string {
	t.Helper()
	name := "example.com/hello:" + version
	lotse(t, s, "image", "import", name, helloImage(t, version))
	return name
}

func id(s *server.Server) string {
	id, _ := s.ID(context.Background())
	return id
}

func pid(t *testing.T, s *server.Server, process string) int {
	t.Helper()
	b, err := os.ReadFile("/run/lotse/" + id(s) + "/" + process + ".pid")
	if err != nil {
		return 0
	}
	var p struct{ PID int }
	if err := json.Unmarshal(b, &p); err != nil {
		return 0
	}
	return p.PID
}
