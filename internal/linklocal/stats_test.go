package linklocal

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A container's files, as cgroup v2 and v1 have them, give the same numbers.
func TestStats(t *testing.T) {
	for version, files := range map[string]map[string]string{
		"v2": {
			"cgroup.controllers": "cpu memory", "l/t1/t1-4b5e57f6/cgroup.procs": "7\n8\n", "l/t1/t1-4b5e57f6/cpu.stat": "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 4\nnr_throttled 1\nthrottled_usec 9\n",
			"l/t1/t1-4b5e57f6/memory.current": "4096\n", "l/t1/t1-4b5e57f6/memory.max": "max\n", "l/t1/t1-4b5e57f6/memory.stat": "cache 1\n", "l/t1/t1-4b5e57f6/pids.current": "2\n",
			"l/t1/t1-4b5e57f6/io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n",
		},
		"v1": {
			"memory/l/t1/t1-4b5e57f6/cgroup.procs": "7\n8\n", "cpuacct/l/t1/t1-4b5e57f6/cpuacct.usage": "5000\n", "cpuacct/l/t1/t1-4b5e57f6/cpuacct.usage_user": "3000\n", "cpuacct/l/t1/t1-4b5e57f6/cpuacct.usage_sys": "2000\n",
			"cpu/l/t1/t1-4b5e57f6/cpu.stat": "nr_periods 4\nnr_throttled 1\nthrottled_time 9000\n", "memory/l/t1/t1-4b5e57f6/memory.usage_in_bytes": "4096\n", "memory/l/t1/t1-4b5e57f6/memory.limit_in_bytes": "9223372036854771712\n",
			"memory/l/t1/t1-4b5e57f6/memory.stat": "cache 1\n", "pids/l/t1/t1-4b5e57f6/pids.current": "2\n", "blkio/l/t1/t1-4b5e57f6/blkio.throttle.io_service_bytes": "8:0 Read 10\n8:0 Write 20\nTotal 30\n",
			"blkio/l/t1/t1-4b5e57f6/blkio.throttle.io_serviced": "8:0 Read 1\n8:0 Write 2\n",
		},
	} {
		t.Run(version, func(t *testing.T) {
			groups, proc := t.TempDir(), t.TempDir()
			for name, content := range files {
				put(t, filepath.Join(groups, name), content)
			}
			put(t, filepath.Join(proc, "stat"), "cpu  1 1 1 1 1 1 1 0 0 0\ncpu0 1 1 1 1 1 1 1 0\ncpu1 0 0 0 0 0 0 0 0\n")
			dev := "Inter-|   Receive\n face |bytes\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 100 2 3 4 0 0 0 0 200 5 6 7 0 0 0 0\n"
			put(t, filepath.Join(proc, "7/net/dev"), dev)
			s := newSampler(groups, proc)
			s.under("/l")
			task, c := Task{Metadata: TaskMetadata{Limits: TaskLimits{Memory: 1}}}, ContainerMetadata{DockerID: "t1-1", Name: "web"}
			got := s.of(task, c)
			if got == nil {
				t.Fatal("nothing")
			}
			if u := got.CPU.Usage; u.Total != 5000 || u.User != 3000 || u.Kernel != 2000 || got.CPU.Throttling.Periods != 4 || got.CPU.Throttling.Time != 9000 {
				t.Errorf("cpu = %+v", got.CPU)
			}
			if m := got.Memory; m.Usage != 4096 || m.Limit != 1<<20 || m.Stats["cache"] != 1 {
				t.Errorf("memory = %+v", m)
			}
			if got.PIDs.Current != 2 || got.CPU.Online != 2 || got.CPU.System != 70_000_000 || got.ID != "t1-1" || got.Name != "web" {
				t.Errorf("%+v", got)
			}
			if n := got.Networks["eth0"]; len(got.Networks) != 1 || n != (NetworkStats{100, 2, 3, 4, 200, 5, 6, 7}) {
				t.Errorf("networks = %+v", got.Networks)
			}
			if b := got.BlockIO; len(b.Bytes) != 2 || b.Bytes[1] != (BlockIO{8, 0, "Write", 20}) || len(b.Ops) != 2 {
				t.Errorf("block I/O = %+v", b)
			}
			if got.NetworkRate != nil || !got.PreRead.IsZero() {
				t.Errorf("the first sample compares: %+v", got)
			}
			s.before["t1-1"].Read = got.Read.Add(-10 * time.Second)
			s.before["t1-1"].Networks["eth0"] = NetworkStats{TxBytes: 100}
			if next := s.of(task, c); next.NetworkRate == nil || next.NetworkRate.Tx > 10 || next.NetworkRate.Tx <= 0 || next.PreCPU.Usage.Total != 5000 {
				t.Errorf("the second: %+v", next)
			}
			if s.of(task, ContainerMetadata{DockerID: "t1-2"}) != nil {
				t.Error("a container that doesn't run has stats")
			}
		})
	}
}

func put(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
