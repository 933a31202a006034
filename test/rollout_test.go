package test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite"

	"github.com/lotse-project/lotse/internal/lbconfig"
	"github.com/lotse-project/lotse/test/load"
	"github.com/lotse-project/lotse/test/server"
)

// soak is how often something is done: seldom in make test, often in make soak.
func soak(test, soak int) int {
	if os.Getenv("LOTSE_SOAK") != "" {
		return soak
	}
	return test
}

// The server is killed at random moments of updates under traffic: not a request fails, each update completes, and
// nothing is left over. LOTSE_SEED repeats a run.
func TestKilledAtRandomMoments(t *testing.T) {
	s := start(t)
	image := [2]string{importHello(t, s, "v1"), importHello(t, s, "v2")}
	dir := hello(t, "hello")
	lotse(t, s, "up", dir, "--image", image[0])
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("LOTSE_SEED"); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("LOTSE_SEED=%d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	end := traffic(t, s, "hello.localhost")
	for i := range soak(3, 100) {
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		client, lost := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _, _ = s.Run(client, "deploy", dir, "--image", image[(i+1)%2])
		}()
		moment := time.Duration(r.IntN(2500)) * time.Millisecond
		select {
		case <-time.After(moment):
		case <-ctx.Done():
		}
		s.Kill()
		lost()
		<-done
		if err := s.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if out, e, err := s.Run(ctx, "deploy", dir, "--image", image[(i+1)%2]); err != nil {
			t.Fatalf("killed after %s: %v\n%s%s", moment, err, out, e)
		}
		settled(t, s, fmt.Sprintf("kill %d, after %s", i, moment))
		cancel()
	}
	sum := end()
	t.Logf("%d requests, %d failed, longest %s", sum.Sent, sum.Failed, sum.Max)
}

// A service of four tasks is updated again and again under load, and the server killed now and then: not a request fails, and
// afterwards the machine has as many processes, namespaces, mounts and open files of it as before.
func TestUpdatesLeaveNothing(t *testing.T) {
	engines := []string{lbconfig.EngineFast, lbconfig.EngineStd}
	for _, engine := range engines[:soak(1, 2)] {
		t.Run(engine, func(t *testing.T) { updatesLeaveNothing(t, engine) })
	}
}

func updatesLeaveNothing(t *testing.T, engine string) {
	s := start(t, "--lb-engine", engine)
	image := [2]string{importHello(t, s, "v1"), importHello(t, s, "v2")}
	dir := hello(t, "hello")
	write(t, dir, "lotse.yml", "count: 4\nimage: {port: 8080}\n")
	lotse(t, s, "up", dir, "--image", image[0])
	lotse(t, s, "deploy", dir, "--image", image[1]) // what is made once is there then
	before, rows := left(t, s), records(t, s)

	ctx, stop := context.WithCancel(t.Context())
	done := make(chan load.Summary, 1)
	go func() {
		sum, _ := load.Run(ctx, load.Options{URL: "http://" + s.Front + "/", Host: "hello.localhost", Rate: soak(200, 2000)})
		done <- sum
	}()
	updates := soak(5, 50)
	var warm, hot map[string]float64
	for i := range updates {
		if i%10 == 9 {
			s.Kill()
			if err := s.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		lotse(t, s, "deploy", dir, "--image", image[i%2])
		if i == updates/5 {
			warm = memory(t, s) // buffers and caches are as large as this load wants them
		}
	}
	hot = memory(t, s)
	stop()
	sum := <-done
	t.Logf("%d updates, %d requests, %d failed, p99 %s, longest %s", updates, sum.Sent, sum.Failed, sum.P99, sum.Max)
	if sum.Failed > 0 || sum.Sent == 0 {
		t.Errorf("%d of %d requests failed: %s", sum.Failed, sum.Sent, strings.Join(sum.Errors, "; "))
	}
	t.Logf("before: %v", before)
	eventually(t, 60*time.Second, func() error {
		after := left(t, s)
		for what, n := range before {
			spare := 0
			if strings.HasPrefix(what, "files") {
				spare = 64 // connections that idle: as many as the load has workers
			}
			if after[what] > n+spare {
				return fmt.Errorf("%s: %d before, %d after", what, n, after[what])
			}
		}
		t.Logf("after:  %v", after)
		return nil
	})
	t.Logf("memory in MB after %d updates: %v, after %d: %v", updates/5+1, warm, updates, hot)
	for what, mb := range hot {
		if mb > 1.5*warm[what]+16 { // a collector's heap is up to twice what lives
			t.Errorf("%s: %.0f MB after %d updates, %.0f MB after %d", what, warm[what], updates/5+1, mb, updates)
		}
	}
	if d := cmp.Diff(rows, records(t, s)); d != "" {
		t.Errorf("records, before and after: %s", d)
	}
	if log := lotse(t, s, "history", "hello"); strings.Count(log, " START ") != 4*(updates+2) || !strings.Contains(log, "deployment completed.") {
		t.Errorf("%d starts in the history, want %d", strings.Count(log, " START "), 4*(updates+2))
	}
}

// left counts what a server has of the machine.
func left(t *testing.T, s *server.Server) map[string]int {
	t.Helper()
	id, n := id(s), map[string]int{}
	count := func(what string, names []string, err error) {
		if err != nil {
			t.Fatal(err)
		}
		n[what] = len(names)
	}
	names, err := filepath.Glob("/run/lotse/" + id + "/netns/*")
	count("namespaces", names, err)
	names, err = filepath.Glob("/run/lotse/" + id + "/containerd/io.containerd.runtime.v2.task/lotse-" + id + "/*")
	count("containers", names, err)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	n["mounts"] = strings.Count(string(mounts), s.Dir) + strings.Count(string(mounts), "/run/lotse/"+id)
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n["shims"] = 0
	for _, p := range lines {
		if b, err := os.ReadFile(p); err == nil && strings.Contains(string(b), "containerd-shim") && strings.Contains(string(b), id) {
			n["shims"]++
		}
	}
	for what, p := range processes(t, s) {
		names, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p))
		count("files of "+what, names, err)
	}
	return n
}

// history are the kinds of records that updates add to, for the time that history is kept: revisions, deployments and
// tasks that are over, what they did, and their log streams.
var history = []string{"ecs.task-definition", "ecs.deployment", "ecs.deployment.status", "ecs.action", "ecs.run-token", "ecs.task", "ecs.task.status", "logs.stream"}

// records counts a server's records by kind, but for history.
func records(t *testing.T, s *server.Server) map[string]int {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.Dir, "lotse.db")+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), "SELECT kind, count(*) FROM record GROUP BY kind")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := map[string]int{}
	for rows.Next() {
		var kind string
		var count int
		if err := rows.Scan(&kind, &count); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(history, kind) {
			n[kind] = count
		}
	}
	if err := rows.Err(); err != nil || len(n) == 0 {
		t.Fatalf("%d kinds of records: %v", len(n), err)
	}
	return n
}

// memory is the resident memory of a server's processes, in MB (10⁶ bytes).
func memory(t *testing.T, s *server.Server) map[string]float64 {
	t.Helper()
	m := map[string]float64{}
	for what, p := range processes(t, s) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p))
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(b), "RssAnon:")
		var kib float64
		if _, err := fmt.Sscanf(after, "%f kB", &kib); err != nil {
			t.Fatalf("memory of %s: %v", what, err)
		}
		m[what] = kib * 1024 / 1e6
	}
	return m
}

// processes are the IDs of those of a server's processes that live as long as it does.
func processes(t *testing.T, s *server.Server) map[string]int {
	t.Helper()
	var running struct{ PID int }
	b, err := os.ReadFile(filepath.Join(s.Dir, "server.json"))
	if err != nil || json.Unmarshal(b, &running) != nil {
		t.Fatal("server.json can't be read")
	}
	return map[string]int{"server": running.PID, "containerd": pid(t, s, "containerd"), "balancer": pid(t, s, "lb-worker"), "names": pid(t, s, "net")}
}
