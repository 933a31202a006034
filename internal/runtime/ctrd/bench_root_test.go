package ctrd

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/runtime"
)

// BenchmarkTask is a task's way from nothing to a running program, and back.
func BenchmarkTask(b *testing.B) {
	l := newLab(b)
	needsLogger(b, l)
	if err := l.engine.Prepare(b.Context(), l.Image); err != nil {
		b.Fatal(err)
	}
	var create, start, remove time.Duration
	lap := func(sum *time.Duration, f func() error) {
		begun := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		*sum += time.Since(begun)
	}
	for b.Loop() {
		spec := l.Spec(b, []string{"serve"})
		spec.Containers[0].Log = runtime.Log{Dir: filepath.Join(b.TempDir(), spec.ID)}
		lap(&create, func() error { return l.engine.Create(b.Context(), spec) })
		lap(&start, func() error { return l.engine.Start(b.Context(), spec.ID) })
		lap(&remove, func() error { return l.engine.Remove(b.Context(), spec.ID) })
	}
	for name, d := range map[string]time.Duration{"ms-create": create, "ms-start": start, "ms-remove": remove} {
		b.ReportMetric(float64(d.Microseconds())/1000/float64(b.N), name)
	}
}

// BenchmarkTask_Memory is what one more task with a log costs: the PSS of its shim and its logger, and containerd's share.
func BenchmarkTask_Memory(b *testing.B) {
	l := newLab(b)
	needsLogger(b, l)
	const n = 5
	daemon, _ := l.sup.find()
	for b.Loop() {
		before := pss(b, daemon.PID)
		var ids []string
		for range n {
			spec := l.Spec(b, []string{"serve"})
			spec.Containers[0].Log = runtime.Log{Dir: filepath.Join(b.TempDir(), spec.ID)}
			l.launch(b, spec)
			ids = append(ids, spec.ID)
		}
		var shims, loggers int
		for _, pid := range l.shimPids(b) {
			shims += pss(b, pid)
		}
		cmds, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, f := range cmds {
			if c, _ := os.ReadFile(f); strings.HasPrefix(string(c), l.o.BinDir+"/lotse-log\x00") {
				pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
				loggers += pss(b, pid)
			}
		}
		b.ReportMetric(float64(shims)/n/1024, "MB-shim")
		b.ReportMetric(float64(loggers)/n/1024, "MB-logger")
		b.ReportMetric(float64(before)/1024, "MB-containerd")
		b.ReportMetric(float64(pss(b, daemon.PID)-before)/n/1024, "MB-containerd/task")
		for _, id := range ids {
			if err := l.engine.Remove(b.Context(), id); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func needsLogger(b *testing.B, l *lab) {
	b.Helper()
	if _, err := os.Stat(filepath.Join(l.o.BinDir, "lotse-log")); err != nil {
		b.Skip("bin/runtime/lotse-log is not built: run make runtime")
	}
}

// pss is a process's proportional share of memory, KiB.
func pss(t testing.TB, pid int) int {
	t.Helper()
	for line := range strings.Lines(read(t, fmt.Sprintf("/proc/%d/smaps_rollup", pid))) {
		if f := strings.Fields(line); f[0] == "Pss:" {
			kb, _ := strconv.Atoi(f[1])
			return kb
		}
	}
	t.Fatalf("process %d has no PSS", pid)
	return 0
}
