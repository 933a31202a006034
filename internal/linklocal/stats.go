package linklocal

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Stats are a container's use of the machine, in Docker's form.
// Source: Docker Engine API v1.30, ContainerStats; ECS developer guide, task metadata endpoint v4.
type Stats struct {
	Read        time.Time               `json:"read"`
	PreRead     time.Time               `json:"preread"` // of what precpu_stats and the rates are since; year 1 at first
	PIDs        PIDStats                `json:"pids_stats"`
	BlockIO     BlockIOStats            `json:"blkio_stats"`
	NumProcs    int                     `json:"num_procs"` // Windows' alone
	CPU         CPUStats                `json:"cpu_stats"`
	PreCPU      CPUStats                `json:"precpu_stats"`
	Memory      MemoryStats             `json:"memory_stats"`
	Name        string                  `json:"name"`
	ID          string                  `json:"id"`
	Networks    map[string]NetworkStats `json:"networks"`
	NetworkRate *NetworkRate            `json:"network_rate_stats"` // null at first
}

// PIDStats is how many processes there are.
type PIDStats struct {
	Current uint64 `json:"current"`
}

// BlockIOStats are bytes and operations of the disk.
type BlockIOStats struct {
	Bytes []BlockIO `json:"io_service_bytes_recursive"`
	Ops   []BlockIO `json:"io_serviced_recursive"`
}

// BlockIO is one device's count.
type BlockIO struct {
	Major uint64 `json:"major"`
	Minor uint64 `json:"minor"`
	Op    string `json:"op"`
	Value uint64 `json:"value"`
}

// CPUStats are times in ns.
type CPUStats struct {
	Usage struct {
		Total  uint64 `json:"total_usage"`
		Kernel uint64 `json:"usage_in_kernelmode"`
		User   uint64 `json:"usage_in_usermode"`
	} `json:"cpu_usage"`
	System     uint64 `json:"system_cpu_usage"` // of all the machine's processors together
	Online     int    `json:"online_cpus"`
	Throttling struct {
		Periods   uint64 `json:"periods"`
		Throttled uint64 `json:"throttled_periods"`
		Time      uint64 `json:"throttled_time"`
	} `json:"throttling_data"`
}

// MemoryStats are bytes.
type MemoryStats struct {
	Usage uint64            `json:"usage"`
	Max   uint64            `json:"max_usage,omitempty"`
	Stats map[string]uint64 `json:"stats"`
	Limit uint64            `json:"limit"`
}

// NetworkStats are one interface's.
type NetworkStats struct {
	RxBytes   uint64 `json:"rx_bytes"`
	RxPackets uint64 `json:"rx_packets"`
	RxErrors  uint64 `json:"rx_errors"`
	RxDropped uint64 `json:"rx_dropped"`
	TxBytes   uint64 `json:"tx_bytes"`
	TxPackets uint64 `json:"tx_packets"`
	TxErrors  uint64 `json:"tx_errors"`
	TxDropped uint64 `json:"tx_dropped"`
}

// NetworkRate is how much went through all interfaces between two samples.
type NetworkRate struct {
	Rx float64 `json:"rx_bytes_per_sec"`
	Tx float64 `json:"tx_bytes_per_sec"`
}

// Private

// keepSample is how long a sample is the one that others are compared with, at least.
const keepSample = time.Second

// A sampler reads the control groups of containers.
type sampler struct {
	groups, proc string // file systems

	mu     sync.Mutex
	parent string            // Snapshot.Cgroups
	before map[string]*Stats // the sample to compare with, by container
}

func newSampler(groups, proc string) *sampler {
	return &sampler{groups: groups, proc: proc, before: map[string]*Stats{}}
}

func (s *sampler) under(parent string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parent = parent
}

// of samples a container; nil when it doesn't run, as Docker's null.
func (s *sampler) of(t Task, c ContainerMetadata) *Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	task, _, _ := strings.Cut(c.DockerID, "-")
	now, ok := s.sample(filepath.Join(s.parent, task, group(task, c.Name)))
	if !ok {
		delete(s.before, c.DockerID)
		return nil
	}
	now.ID, now.Name = c.DockerID, c.Name
	if limit := uint64(t.Metadata.Limits.Memory) << 20; limit > 0 && now.Memory.Limit > limit {
		now.Memory.Limit = limit // the task's holds for all of its containers
	}
	if b := s.before[c.DockerID]; b != nil {
		now.since(b)
	}
	if b := s.before[c.DockerID]; b == nil || now.Read.Sub(b.Read) >= keepSample {
		kept := *now
		s.before[c.DockerID] = &kept
	}
	return now
}

// group is the name of a container's control group, by the rule with which the engine makes it: the
// task's id and the begin of the SHA-256 of the container's name. TestTaskRole holds the two together.
func group(task, container string) string {
	sum := sha256.Sum256([]byte(container))
	return task + "-" + hex.EncodeToString(sum[:4])
}

func (s *Stats) since(b *Stats) {
	s.PreRead, s.PreCPU = b.Read, b.CPU
	seconds := s.Read.Sub(b.Read).Seconds()
	if seconds <= 0 {
		return
	}
	r := &NetworkRate{}
	for name, n := range s.Networks {
		p := b.Networks[name]
		r.Rx += float64(n.RxBytes-p.RxBytes) / seconds
		r.Tx += float64(n.TxBytes-p.TxBytes) / seconds
	}
	s.NetworkRate = r
}

// sample reads a group, of cgroup v2 or of v1's hierarchies.
// Source of the files: the kernel's admin-guide/cgroup-v2.rst and cgroup-v1/.
func (s *sampler) sample(path string) (*Stats, bool) {
	st := &Stats{Read: time.Now().UTC(), Networks: map[string]NetworkStats{}, Memory: MemoryStats{Stats: map[string]uint64{}}}
	at := func(controller string) string { return filepath.Join(s.groups, controller, path) }
	_, err := os.Stat(filepath.Join(s.groups, "cgroup.controllers"))
	v2 := err == nil
	procs := filepath.Join(at("memory"), "cgroup.procs")
	if v2 {
		procs = filepath.Join(at(""), "cgroup.procs")
	}
	pids := strings.Fields(text(procs))
	if len(pids) == 0 {
		return nil, false
	}
	if v2 {
		s.sampleV2(st, at(""))
	} else {
		s.sampleV1(st, at)
	}
	st.CPU.System, st.CPU.Online = s.system()
	for name, n := range s.network(pids[0]) {
		st.Networks[name] = n
	}
	return st, true
}

func (s *sampler) sampleV2(st *Stats, dir string) {
	cpu := table(filepath.Join(dir, "cpu.stat"))
	st.CPU.Usage.Total, st.CPU.Usage.User, st.CPU.Usage.Kernel = cpu["usage_usec"]*1000, cpu["user_usec"]*1000, cpu["system_usec"]*1000
	st.CPU.Throttling.Periods, st.CPU.Throttling.Throttled, st.CPU.Throttling.Time = cpu["nr_periods"], cpu["nr_throttled"], cpu["throttled_usec"]*1000
	st.Memory.Usage, st.Memory.Max, st.Memory.Limit = number(dir, "memory.current"), number(dir, "memory.peak"), number(dir, "memory.max")
	st.Memory.Stats = table(filepath.Join(dir, "memory.stat"))
	st.PIDs.Current = number(dir, "pids.current")
	for line := range strings.Lines(text(filepath.Join(dir, "io.stat"))) { // 8:0 rbytes=1 wbytes=2 rios=3 wios=4 …
		f := strings.Fields(line)
		for _, kv := range f[min(1, len(f)):] {
			k, v, _ := strings.Cut(kv, "=")
			n, _ := strconv.ParseUint(v, 10, 64)
			switch k {
			case "rbytes":
				st.BlockIO.Bytes = append(st.BlockIO.Bytes, blockIO(f[0], "Read", n))
			case "wbytes":
				st.BlockIO.Bytes = append(st.BlockIO.Bytes, blockIO(f[0], "Write", n))
			case "rios":
				st.BlockIO.Ops = append(st.BlockIO.Ops, blockIO(f[0], "Read", n))
			case "wios":
				st.BlockIO.Ops = append(st.BlockIO.Ops, blockIO(f[0], "Write", n))
			}
		}
	}
}

func (s *sampler) sampleV1(st *Stats, at func(controller string) string) {
	st.CPU.Usage.Total = number(at("cpuacct"), "cpuacct.usage")
	st.CPU.Usage.User, st.CPU.Usage.Kernel = number(at("cpuacct"), "cpuacct.usage_user"), number(at("cpuacct"), "cpuacct.usage_sys")
	cpu := table(filepath.Join(at("cpu"), "cpu.stat"))
	st.CPU.Throttling.Periods, st.CPU.Throttling.Throttled, st.CPU.Throttling.Time = cpu["nr_periods"], cpu["nr_throttled"], cpu["throttled_time"]
	m := at("memory")
	st.Memory.Usage, st.Memory.Max, st.Memory.Limit = number(m, "memory.usage_in_bytes"), number(m, "memory.max_usage_in_bytes"), number(m, "memory.limit_in_bytes")
	st.Memory.Stats = table(filepath.Join(m, "memory.stat"))
	st.PIDs.Current = number(at("pids"), "pids.current")
	for file, to := range map[string]*[]BlockIO{"blkio.throttle.io_service_bytes": &st.BlockIO.Bytes, "blkio.throttle.io_serviced": &st.BlockIO.Ops} {
		for line := range strings.Lines(text(filepath.Join(at("blkio"), file))) { // 8:0 Read 4096
			if f := strings.Fields(line); len(f) == 3 {
				n, _ := strconv.ParseUint(f[2], 10, 64)
				*to = append(*to, blockIO(f[0], f[1], n))
			}
		}
	}
}

func blockIO(device, op string, n uint64) BlockIO {
	major, minor, _ := strings.Cut(device, ":")
	b := BlockIO{Op: op, Value: n}
	b.Major, _ = strconv.ParseUint(major, 10, 64)
	b.Minor, _ = strconv.ParseUint(minor, 10, 64)
	return b
}

// system is the machine's time in ns and its processors. Source: proc_stat(5), 100 ticks a second.
func (s *sampler) system() (total uint64, processors int) {
	for line := range strings.Lines(text(filepath.Join(s.proc, "stat"))) {
		f := strings.Fields(line)
		if len(f) < 8 || !strings.HasPrefix(f[0], "cpu") {
			continue
		}
		if f[0] != "cpu" {
			processors++
			continue
		}
		for _, x := range f[1:8] {
			n, _ := strconv.ParseUint(x, 10, 64)
			total += n * 10_000_000
		}
	}
	return total, processors
}

// network reads the interfaces of a process's namespace, all but lo. Source: proc_pid_net(5), dev.
func (s *sampler) network(pid string) map[string]NetworkStats {
	out := map[string]NetworkStats{}
	for line := range strings.Lines(text(filepath.Join(s.proc, pid, "net/dev"))) {
		name, rest, ok := strings.Cut(line, ":")
		f := strings.Fields(rest)
		if name = strings.TrimSpace(name); !ok || len(f) < 12 || name == "lo" {
			continue
		}
		n := make([]uint64, 12)
		for i := range n {
			n[i], _ = strconv.ParseUint(f[i], 10, 64)
		}
		out[name] = NetworkStats{RxBytes: n[0], RxPackets: n[1], RxErrors: n[2], RxDropped: n[3], TxBytes: n[8], TxPackets: n[9], TxErrors: n[10], TxDropped: n[11]}
	}
	return out
}

// text is a file's, "" if it can't be read: a group may go at any moment.
func text(file string) string {
	b, _ := os.ReadFile(file)
	return string(b)
}

// number is the one in a file; "max" is the largest there is.
func number(dir, file string) uint64 {
	t := strings.TrimSpace(text(filepath.Join(dir, file)))
	if t == "max" {
		return 1<<63 - 1
	}
	n, _ := strconv.ParseUint(t, 10, 64)
	return n
}

// table reads lines of a name and a number.
func table(file string) map[string]uint64 {
	m := map[string]uint64{}
	for sc := bufio.NewScanner(strings.NewReader(text(file))); sc.Scan(); {
		if name, value, ok := strings.Cut(sc.Text(), " "); ok {
			if n, err := strconv.ParseUint(value, 10, 64); err == nil {
				m[name] = n
			}
		}
	}
	return m
}
