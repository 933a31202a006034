package ctrd

import (
	"os"
	"path/filepath"
	"testing"
)

// unifiedTree is a directory that stands for a cgroup v2 hierarchy: the kernel's files must exist to be written.
func unifiedTree(t *testing.T, task string) cgroups {
	t.Helper()
	root := t.TempDir()
	g := cgroups{parent: "/lotse-test", unified: true, mounts: []string{root}}
	for dir, files := range map[string][]string{
		"":                    {"cgroup.subtree_control"},
		"/lotse-test":         {"cgroup.subtree_control"},
		"/lotse-test/" + task: {"memory.max", "memory.swap.max", "cpu.max", "cpu.weight"},
	} {
		if err := os.MkdirAll(root+dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if err := os.WriteFile(filepath.Join(root, dir, f), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return g
}

func TestCgroups_UnifiedTaskLimits(t *testing.T) {
	g := unifiedTree(t, "abc")
	if err := g.createTask("abc", 1536, 256<<20); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"memory.max": "268435456", "memory.swap.max": "0", "cpu.max": "150000 100000", "cpu.weight": "138"} {
		b, err := os.ReadFile(filepath.Join(g.mounts[0], "lotse-test", "abc", file))
		if string(b) != want || err != nil {
			t.Errorf("%s = %q, %v, want %q", file, b, err, want)
		}
	}
}

func TestCgroups_UnifiedNoLimits(t *testing.T) {
	g := unifiedTree(t, "abc")
	if err := g.createTask("abc", 0, 0); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(filepath.Join(g.mounts[0], "lotse-test", "abc", "memory.max")); len(b) > 0 {
		t.Errorf("memory.max = %q, want nothing written", b)
	}
}

func TestCgroups_UnifiedOOM(t *testing.T) {
	g := unifiedTree(t, "abc")
	dir := filepath.Join(g.mounts[0], g.path("abc-1"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		"low 0\nhigh 0\nmax 7\noom 0\noom_kill 0\noom_group_kill 0\n":     false,
		"low 0\nhigh 0\nmax 900\noom 1\noom_kill 12\noom_group_kill 0\n":  true,
		"low 0\nhigh 0\nmax 900\noom 1\noom_kill 0\noom_group_kill 100\n": false,
	} {
		if err := os.WriteFile(filepath.Join(dir, "memory.events"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := g.oom("abc-1"); got != want {
			t.Errorf("oom() with %q = %t, want %t", text, got, want)
		}
	}
	if g.oom("gone-1") {
		t.Error("oom() of a group that is gone = true")
	}
}

func TestWeight(t *testing.T) {
	for cpu, want := range map[int]int{0: 1, 2: 1, 256: 35, 512: 59, 1024: 100, 262144: 10000, 1 << 20: 10000} {
		if got := weight(cpu); got != want {
			t.Errorf("weight(%d) = %d, want %d", cpu, got, want)
		}
	}
}

func TestQuota(t *testing.T) {
	for cpu, want := range map[int]int{1: 1000, 256: 25_000, 1024: 100_000, 4096: 400_000} {
		if got := quota(cpu); got != want {
			t.Errorf("quota(%d) = %d µs, want %d", cpu, got, want)
		}
	}
}
