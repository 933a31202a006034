// Package world takes pictures of a machine, so that two of them show what something left behind:
// processes, mounts, links, network namespaces, nftables, cgroups, unix sockets, sysctls and files.
package world

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A Picture is what there is, by kind. Each entry is a line that is the same as long as the thing is.
type Picture map[string][]string

// Kinds are a Picture's kinds, in the order they are told.
var Kinds = []string{"processes", "mounts", "links", "network namespaces", "nftables", "cgroups", "unix sockets", "sysctls", "files"}

// Take takes a picture. Files are those below dirs, without those below except.
func Take(dirs, except []string) (Picture, error) {
	p := Picture{}
	for kind, f := range map[string]func() ([]string, error){
		"processes":          processes,
		"mounts":             mounts,
		"links":              links,
		"network namespaces": namespaces,
		"nftables":           ruleset,
		"cgroups":            cgroups,
		"unix sockets":       sockets,
		"sysctls":            sysctls,
		"files":              func() ([]string, error) { return files(dirs, except) },
	} {
		lines, err := f()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		slices.Sort(lines)
		p[kind] = lines
	}
	return p, nil
}

// A Change is a line that came or went.
type Change struct {
	Kind, Line string
	Came       bool
}

func (c Change) String() string {
	sign := "-"
	if c.Came {
		sign = "+"
	}
	return fmt.Sprintf("%s %s: %s", sign, c.Kind, c.Line)
}

// Diff tells what differs between two pictures.
func Diff(before, after Picture) []Change {
	var out []Change
	for _, k := range Kinds {
		count := map[string]int{}
		for _, l := range before[k] {
			count[l]--
		}
		for _, l := range after[k] {
			count[l]++
		}
		for _, l := range slices.Sorted(keys(count)) {
			if count[l] != 0 {
				out = append(out, Change{k, l, count[l] > 0})
			}
		}
	}
	return out
}

// Ours picks the changes that a Lotse server may have made. On a machine where others work,
// processes, namespaces, cgroups, sockets and files come and go: of those, the ones that carry one of
// the marks (a data directory, "lotse"). Mounts, links, rules and sysctls count whoever made them.
func Ours(changes []Change, marks ...string) (ours, others []Change) {
	for _, c := range changes {
		switch c.Kind {
		case "processes", "network namespaces", "cgroups", "unix sockets", "files":
			if !slices.ContainsFunc(marks, func(m string) bool { return strings.Contains(c.Line, m) }) {
				others = append(others, c)
				continue
			}
		}
		ours = append(ours, c)
	}
	return ours, others
}

// Private

func keys(m map[string]int) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// processes are those that have a program: kernel threads come and go by themselves. Our own
// ancestors and descendants of the moment are left out.
func processes() ([]string, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	var out []string
	for _, d := range dirs {
		exe, err := os.Readlink(d + "/exe")
		if err != nil || d == fmt.Sprintf("/proc/%d", os.Getpid()) {
			continue
		}
		b, _ := os.ReadFile(d + "/cmdline")
		cmd := strings.ReplaceAll(strings.Trim(string(b), "\x00"), "\x00", " ")
		out = append(out, filepath.Base(d)+" "+exe+" "+cmd)
	}
	return out, err
}

func mounts() ([]string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	var out []string
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		out = append(out, f[4]+" "+strings.Join(f[6:], " "))
	}
	return out, err
}

func links() ([]string, error) {
	es, err := os.ReadDir("/sys/class/net")
	var out []string
	for _, e := range es {
		b, _ := os.ReadFile("/sys/class/net/" + e.Name() + "/address")
		out = append(out, e.Name()+" "+strings.TrimSpace(string(b)))
	}
	addresses, err2 := exec.Command("ip", "-o", "addr").Output()
	if err2 != nil {
		return out, err2
	}
	for line := range strings.Lines(string(addresses)) {
		f := strings.Fields(line)
		out = append(out, "address "+strings.Join(f[1:4], " "))
	}
	routes, err2 := exec.Command("ip", "route", "show", "table", "all").Output()
	if err2 != nil {
		return out, err2
	}
	for line := range strings.Lines(string(routes)) {
		out = append(out, "route "+strings.TrimSpace(line))
	}
	rules, err2 := exec.Command("ip", "rule").Output()
	if err2 != nil {
		return out, err2
	}
	for line := range strings.Lines(string(rules)) {
		out = append(out, "rule "+strings.TrimSpace(line))
	}
	return out, err
}

// namespaces are those that a process is in, or that a mount pins, with one of these.
func namespaces() ([]string, error) {
	seen := map[string]string{}
	dirs, err := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, d := range dirs {
		l, err := os.Readlink(d)
		if err != nil {
			continue
		}
		exe, _ := os.Readlink(filepath.Dir(filepath.Dir(d)) + "/exe")
		if seen[l] == "" || exe < seen[l] {
			seen[l] = exe
		}
	}
	b, err2 := os.ReadFile("/proc/self/mountinfo")
	if err2 != nil {
		return nil, err2
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); strings.HasPrefix(f[3], "net:[") {
			seen[f[3]] = f[4]
		}
	}
	var out []string
	own, _ := os.Readlink("/proc/self/ns/net")
	for l, holder := range seen {
		if l == own {
			holder = "this one"
		}
		out = append(out, l+" "+holder)
	}
	return out, err
}

func ruleset() ([]string, error) {
	b, err := exec.Command("nft", "list", "ruleset").Output()
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		out = append(out, strings.TrimRight(line, "\n"))
	}
	return out, nil
}

func cgroups() ([]string, error) {
	var out []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			out = append(out, path)
		}
		return nil // one that went meanwhile is no news
	})
	return out, err
}

func sockets() ([]string, error) {
	f, err := os.Open("/proc/net/unix")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []string
	for s := bufio.NewScanner(f); s.Scan(); {
		if c := strings.Fields(s.Text()); len(c) == 8 && c[0] != "Num" { // with a path
			out = append(out, c[7])
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil // a connection doubles its server's line
}

// sysctls without those that count or are random by nature.
func sysctls() ([]string, error) {
	var out []string
	for _, root := range []string{"/proc/sys/net", "/proc/sys/kernel", "/proc/sys/vm", "/proc/sys/user"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil
			}
			switch filepath.Base(path) {
			case "uuid", "boot_id", "entropy_avail", "ns_last_pid", "pty", "nr", "nf_conntrack_count", "random", "nf_conntrack_max",
				"urandom_min_reseed_secs", "cad_pid", "stat_refresh", "compact_memory", "drop_caches", "flush", "gc_min_interval", "nr_hugepages_mempolicy":
				return nil
			}
			info, err := d.Info()
			if err != nil || info.Mode()&0o400 == 0 {
				return nil
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return nil
			}
			out = append(out, path+" = "+string(bytes.TrimSpace(b)))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func files(dirs, except []string) ([]string, error) {
	var out []string
	for _, root := range dirs {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil
			}
			for _, x := range except {
				if path == x || strings.HasPrefix(path, x+"/") {
					if d.IsDir() {
						return fs.SkipDir
					}
					return nil
				}
			}
			out = append(out, path)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
