package build

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func testDaemon(t *testing.T, change func(*DaemonOptions)) *Daemon {
	t.Helper()
	dir := t.TempDir()
	o := DaemonOptions{Binary: "/bin/buildkitd", Root: "/data/buildkit", RunDir: dir, Containerd: "/run/c.sock", Namespace: "lotse-x", CgroupParent: "/lotse-x/build"}
	if change != nil {
		change(&o)
	}
	d, err := NewDaemon(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDaemon_Config(t *testing.T) {
	d := testDaemon(t, func(o *DaemonOptions) {
		o.RunDir, o.Mirror, o.Runc, o.RuncRoot = "/run/x", "127.0.0.1:4566/mirror", "/bin/runc", "/run/x/runc"
	})
	golden := "testdata/buildkitd.toml"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		write(t, golden, d.config())
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got := d.config(); got != string(want) {
		t.Errorf("config() differs from %s (UPDATE_GOLDEN=1 rewrites it):\n%s", golden, got)
	}
}

func TestDaemon_Environ(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://proxy.example:3128")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.example")
	none := strings.Join(testDaemon(t, func(o *DaemonOptions) { o.Network = NetworkNone }).environ(), "\n")
	if strings.Contains(none, "example") || strings.Count(none, deadProxy) != 6 {
		t.Errorf("without a network:\n%s", none)
	}
	host := strings.Join(testDaemon(t, nil).environ(), "\n")
	if !strings.Contains(host, "HTTPS_PROXY=http://proxy.example:3128") || strings.Contains(host, deadProxy) || strings.Contains(host, "OTEL") {
		t.Errorf("with the machine's:\n%s", host)
	}
}

func TestNewDaemon_Refuses(t *testing.T) {
	for name, change := range map[string]func(*DaemonOptions){
		"no binary":         func(o *DaemonOptions) { o.Binary = "" },
		"root cgroup":       func(o *DaemonOptions) { o.CgroupParent = "/" },
		"relative cgroup":   func(o *DaemonOptions) { o.CgroupParent = "lotse" },
		"unknown network":   func(o *DaemonOptions) { o.Network = "bridge" },
		"socket path > 107": func(o *DaemonOptions) { o.RunDir = "/run/" + strings.Repeat("x", 100) },
	} {
		o := testDaemon(t, nil).o
		change(&o)
		if _, err := NewDaemon(o); err == nil {
			t.Errorf("%s: NewDaemon() = nil error", name)
		}
	}
}

func TestProcess(t *testing.T) {
	dir := t.TempDir()
	p, err := start("/bin/sh", []string{"-c", "trap '' TERM; echo ready; while :; do sleep 0.01; done"}, os.Environ(), filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { exec.Command("kill", "-9", "--", "-"+strconv.Itoa(p.PID)).Run() })
	for !strings.Contains(tail(filepath.Join(dir, "log"), 1), "ready") {
		time.Sleep(time.Millisecond)
	}
	file := filepath.Join(dir, "pid")
	if err := p.write(file); err != nil {
		t.Fatal(err)
	}
	again, err := readProcess(file)
	if err != nil || *again != *p || !again.alive() {
		t.Errorf("readProcess() = %+v, %v, want %+v alive", again, err, p)
	}
	if other := (&process{PID: p.PID, Start: p.Start + 1}); other.alive() {
		t.Error("a process with another start time is taken for ours")
	}
	if err := again.stop(t.Context(), 20*time.Millisecond); err != nil || again.alive() {
		t.Errorf("stop() of one that ignores SIGTERM = %v", err)
	}
	write(t, file, "12x")
	if _, err := readProcess(file); err == nil {
		t.Error("a file that holds no process was read")
	}
}
