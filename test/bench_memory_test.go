package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lotse-project/lotse/test/server"
)

// settle is how long nothing is asked before memory is looked at.
const settle = 3 * time.Second

// benchProcesses are those that run without any task.
var benchProcesses = []string{"server", "lb", "lb-worker", "net", "containerd"}

// BenchmarkMemory is the memory of Lotse's own processes in MB (10⁶ bytes), as the kernel's
// proportional set size: a page that n processes share counts as 1/n in each. No other server
// should run the same binaries meanwhile, which would make the figures smaller.
//
// "no-task" is a fresh server whose builder has not been started; "task" is what 10 tasks add
// for each, without their own processes; "used" is the first again after those, an image of
// 300 MB imported and a build.
func BenchmarkMemory(b *testing.B) {
	s := benchServer(b)
	if err := s.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Run("no-task", func(b *testing.B) { reportMemory(b, s) })
	b.Run("task", func(b *testing.B) { benchTaskMemory(b) })
	b.Run("used", func(b *testing.B) {
		s, dir := benchApp(b)
		benchCommand(b, s, "destroy", dir)
		reportMemory(b, s)
	})
}

func reportMemory(b *testing.B, s *server.Server) {
	each := map[string]samples{}
	for b.Loop() {
		time.Sleep(settle)
		sum := 0.0
		for _, name := range benchProcesses {
			mb := pss(b, pidFile(s, name))
			each[name] = append(each[name], mb)
			sum += mb
		}
		each["all"] = append(each["all"], sum)
	}
	b.ReportMetric(0, "ns/op")
	for name, s := range each {
		b.ReportMetric(s.quantile(0.5), name+"-MB")
	}
}

func benchTaskMemory(b *testing.B) {
	s, _ := benchApp(b)
	c := newBenchService(b, s)
	all := func() map[string]float64 {
		time.Sleep(settle)
		m := taskProcesses(b, s)
		for _, name := range benchProcesses {
			m["lotse"] += pss(b, pidFile(s, name))
		}
		return m
	}
	const n = 10
	sums := map[string]samples{}
	for b.Loop() {
		before := all()
		var tasks []string
		for range n {
			tasks = append(tasks, c.runTask(b, c.network))
		}
		c.awaitTasks(b, "RUNNING", tasks...)
		after := all()
		sum := 0.0
		for name, mb := range after {
			each := (mb - before[name]) / n
			sums[name] = append(sums[name], each)
			sum += each
		}
		sums["all"] = append(sums["all"], sum)
		c.stopTasks(b, tasks...)
	}
	b.ReportMetric(0, "ns/op")
	for name, s := range sums {
		b.ReportMetric(s.quantile(0.5), name+"-MB/task")
	}
}

// Private

// pss is a process's proportional set size in MB.
func pss(b testing.TB, pid int) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "Pss: %f kB", &kib); n == 1 {
			return kib * 1024 / 1e6
		}
	}
	b.Fatalf("no Pss of process %d", pid)
	return 0
}

// taskProcesses sums what runs for tasks beside the containers' own processes, by program.
func taskProcesses(b testing.TB, s *server.Server) map[string]float64 {
	b.Helper()
	shims := map[int]bool{}
	programs := map[int]string{}
	parents := map[int]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		b.Fatal(err)
	}
	own := filepath.Base(runDir(s))
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		argv := strings.Split(string(args), "\x00")
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // gone
		}
		rest := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		parents[pid], _ = strconv.Atoi(rest[1])
		programs[pid] = filepath.Base(argv[0])
		shims[pid] = programs[pid] == "containerd-shim-runc-v2" && slices.Contains(argv, "lotse-"+own)
	}
	sum := map[string]float64{}
	for pid, name := range programs {
		if shims[pid] || shims[parents[pid]] && (name == "lotse-log" || name == "lotse-init") {
			sum[name] += pss(b, pid)
		}
	}
	return sum
}

// runDir is where the server's processes have their pid files.
func runDir(s *server.Server) string { return "/run/lotse/" + id(s) }

// pidFile is a process of the server's: 0 if it doesn't run.
func pidFile(s *server.Server, process string) int {
	path := filepath.Join(runDir(s), process+".pid")
	if process == "server" {
		path = filepath.Join(s.Dir, "server.json")
	}
	var p struct{ PID int }
	text, err := os.ReadFile(path)
	if err == nil {
		_ = json.Unmarshal(text, &p)
	}
	return p.PID
}
