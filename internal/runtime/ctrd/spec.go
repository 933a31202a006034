package ctrd

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/lotse-project/lotse/internal/runtime"
)

// groupAnnotation: containers with an equal value share a shim. Source: containerd-shim-runc-v2, manager_linux.go.
const groupAnnotation = "io.containerd.runc.v2.group"

// initPath is where a container with InitProcess finds its init: where Docker puts it.
const initPath = "/sbin/docker-init"

const (
	defaultShm = 64 << 20 // bytes, Docker's
	minShares  = 2        // what ECS gives a container without cpu, and the least the kernel takes
)

// specOptions make a container's runtime specification out of containerd's default one, which has Docker's masked and
// read-only paths.
func (e *Engine) specOptions(t runtime.TaskSpec, c runtime.ContainerSpec, id string, img *image) ([]oci.SpecOpts, error) {
	rlimits, err := e.s.limits.rlimits(c.Ulimits)
	if err != nil {
		return nil, err
	}
	cmd, err := newCommand(img.config.Config, hostname(t), c)
	if err != nil {
		return nil, err
	}
	mounts := slices.Concat(e.mounts(t.ID, c.ReadonlyRoot), tmpfsMounts(c), e.volumeMounts(t.ID, c))
	if c.InitProcess {
		cmd.args = append([]string{initPath, "--"}, cmd.args...)
		mounts = append(mounts, specs.Mount{
			Destination: initPath, Type: "bind", Source: e.s.binary("lotse-init"), Options: []string{"rbind", "rprivate", "ro"},
		})
	}
	caps, err := capabilities(c.CapAdd, c.CapDrop)
	if err != nil {
		return nil, err
	}
	opts := []oci.SpecOpts{
		oci.WithoutRunMount, // it would hide the image's /run
		oci.WithMounts(mounts),
		oci.WithProcessArgs(cmd.args...),
		oci.WithEnv(cmd.env),
		oci.WithProcessCwd(cmd.cwd),
		withUser(cmd.user),
		withMountUsers(c),
		oci.WithHostname(hostname(t)),
		oci.WithDevShmSize(orElse(c.ShmBytes, defaultShm) / 1024),
		oci.WithAnnotations(map[string]string{groupAnnotation: t.ID}),
		oci.WithCgroup(e.s.groups.path(id)),
		oci.WithCapabilities(caps),
		withResources(t, c, e.s.groups),
		withProcessDefaults(c, rlimits),
		seccomp.WithDefaultProfile(), // last: it looks at the capabilities
	}
	if c.ReadonlyRoot {
		opts = append(opts, oci.WithRootFSReadonly())
	}
	netns := specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: t.Netns}
	opts = append(opts, oci.WithLinuxNamespace(netns))
	if e.s.groups.unified {
		opts = append(opts, oci.WithNamespacedCgroup())
	}
	return opts, nil
}

// writeFiles makes the task's volumes, and the files that are mounted into all of its containers.
func (e *Engine) writeFiles(t runtime.TaskSpec) error {
	dir := filepath.Join(e.s.taskFiles(), t.ID)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	for _, v := range t.Volumes {
		// Source: ECS Developer Guide, bind mounts: 0755, and root's.
		if err := os.MkdirAll(e.volume(t.ID, v), 0o755); err != nil {
			return err
		}
	}
	hosts := t.Hosts
	if hosts == "" {
		hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost\n"
	}
	for name, text := range map[string]string{"hosts": hosts, "resolv.conf": t.Resolv, "hostname": hostname(t) + "\n"} {
		// Written in place: a rename would part it from the mounts that are there already.
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Private

func hostname(t runtime.TaskSpec) string {
	if t.Hostname != "" {
		return t.Hostname
	}
	return t.ID[:min(12, len(t.ID))]
}

func (e *Engine) mounts(taskID string, readonly bool) []specs.Mount {
	mode := "rw"
	if readonly {
		mode = "ro"
	}
	out := []specs.Mount{{
		Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
		Options: []string{"ro", "nosuid", "noexec", "nodev", "relatime"},
	}}
	for _, f := range []string{"hosts", "resolv.conf", "hostname"} {
		out = append(out, specs.Mount{
			Destination: "/etc/" + f, Type: "bind", Source: filepath.Join(e.s.taskFiles(), taskID, f),
			Options: []string{"rbind", "rprivate", mode},
		})
	}
	return out
}

func (e *Engine) volume(taskID, name string) string {
	return filepath.Join(e.s.taskFiles(), taskID, "volumes", name)
}

func (e *Engine) volumeMounts(taskID string, c runtime.ContainerSpec) (out []specs.Mount) {
	for _, m := range c.Mounts {
		source, mode := m.Source, "rw"
		if m.Volume != "" {
			source = e.volume(taskID, m.Volume)
		}
		if m.ReadOnly {
			mode = "ro"
		}
		out = append(out, specs.Mount{Destination: m.Path, Type: "bind", Source: source, Options: []string{"rbind", "rprivate", mode}})
	}
	return out
}

// tmpfsMounts begin with Docker's options.
func tmpfsMounts(c runtime.ContainerSpec) (out []specs.Mount) {
	for _, m := range c.Tmpfs {
		options := append([]string{"rw", "noexec", "nosuid", "nodev"}, m.Options...)
		out = append(out, specs.Mount{Destination: m.Path, Type: "tmpfs", Source: "tmpfs", Options: append(options, fmt.Sprintf("size=%d", m.Bytes))})
	}
	return out
}

// withUser sets user, group and the additional groups that the image's /etc/group names.
func withUser(user string) oci.SpecOpts {
	return func(ctx context.Context, cl oci.Client, c *containers.Container, s *specs.Spec) error {
		name := "root"
		if user != "" {
			if err := oci.WithUser(user)(ctx, cl, c, s); err != nil {
				return fmt.Errorf("user %q: %w: %w", user, runtime.ErrUnrunnable, err)
			}
			name, _, _ = strings.Cut(user, ":")
		}
		if strings.Contains(user, ":") {
			return nil // a group of one's own: no others, as in Docker
		}
		return oci.WithAdditionalGIDs(name)(ctx, cl, c, s)
	}
}

// withMountUsers maps the container's user, on mounts that say so, to whom it is taken for there. Source: OCI runtime
// specification, mounts: containerID is the file system's id, hostID the mount's.
func withMountUsers(c runtime.ContainerSpec) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *specs.Spec) error {
		for _, m := range c.Mounts {
			i := slices.IndexFunc(s.Mounts, func(o specs.Mount) bool { return o.Destination == m.Path })
			if m.As == nil || i < 0 {
				continue
			}
			s.Mounts[i].UIDMappings = []specs.LinuxIDMapping{{ContainerID: m.As.UID, HostID: s.Process.User.UID, Size: 1}}
			s.Mounts[i].GIDMappings = []specs.LinuxIDMapping{{ContainerID: m.As.GID, HostID: s.Process.User.GID, Size: 1}}
		}
		return nil
	}
}

func withResources(t runtime.TaskSpec, c runtime.ContainerSpec, g cgroups) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *specs.Spec) error {
		shares, pids := uint64(max(minShares, c.CPU)), orElse(c.PidsMax, runtime.DefaultPidsMax)
		r := s.Linux.Resources
		r.CPU = &specs.LinuxCPU{Shares: &shares}
		r.Pids = &specs.LinuxPids{Limit: &pids}
		// The container's limit is set also when it is the task's, so that programs that size themselves see it.
		limit := orElse(c.Memory, t.Memory)
		if t.Memory > 0 {
			limit = min(limit, t.Memory)
		}
		if limit > 0 {
			r.Memory = &specs.LinuxMemory{Limit: &limit}
			if g.swapLimit() {
				r.Memory.Swap = &limit // memory and swap: no swap
			}
			if c.MemoryReservation > 0 {
				r.Memory.Reservation = &c.MemoryReservation
			}
		}
		return nil
	}
}

func withProcessDefaults(c runtime.ContainerSpec, rlimits []specs.POSIXRlimit) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *specs.Spec) error {
		s.Process.Rlimits = rlimits
		s.Process.NoNewPrivileges = !c.NewPrivileges
		zero := 0 // else the shim's, which is protected
		s.Process.OOMScoreAdj = &zero
		// As Docker sets them in every network namespace of its own: ports below 1024 and ping need no privilege.
		s.Linux.Sysctl = map[string]string{
			"net.ipv4.ip_unprivileged_port_start": "0",
			"net.ipv4.ping_group_range":           "0 2147483647",
		}
		maps.Copy(s.Linux.Sysctl, c.Sysctls)
		return nil
	}
}

func orElse(v, other int64) int64 {
	if v != 0 {
		return v
	}
	return other
}
