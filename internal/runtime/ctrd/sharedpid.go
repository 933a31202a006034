package ctrd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/lotse-project/lotse/internal/runtime"
)

// pauseName is a name that no container of a task definition can have.
const pauseName = "~pause"

// pidNamespace returns the path of the PID namespace that the task's containers share. It is that of a container which is
// not the ledger's, is no part of what List says, and does nothing but reap: pause. It is made when it isn't there.
func (e *Engine) pidNamespace(ctx context.Context, c *client.Client, t runtime.TaskSpec) (string, error) {
	id := containerID(t.ID, pauseName)
	p, err := e.process(ctx, c, id)
	if err == nil && p.Status == tasktypes.Status_RUNNING {
		return pidPath(p.Pid), nil
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return "", err
	}
	if err := removeContainer(ctx, c, id); err != nil { // parts of an attempt that was broken off
		return "", err
	}
	root := filepath.Join(e.s.taskFiles(), t.ID, "pause")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", err
	}
	ctr, err := c.NewContainer(ctx, id,
		client.WithContainerLabels(map[string]string{labelTask: t.ID, labelName: pauseName}),
		client.WithRuntime("io.containerd.runc.v2", e.runc()),
		client.WithNewSpec(e.pauseOptions(t, id, root)...))
	if err != nil {
		return "", err
	}
	task, err := ctr.NewTask(ctx, cio.NullIO)
	if err != nil {
		return "", err
	}
	if err := task.Start(ctx); err != nil {
		return "", err
	}
	return pidPath(task.Pid()), nil
}

// checkPause returns an error when a container's PID namespace has ended: its path may name another process's by now.
func (e *Engine) checkPause(ctx context.Context, c *client.Client, taskID string, ctr client.Container) error {
	spec, err := ctr.Spec(ctx)
	if err != nil {
		return err
	}
	for _, ns := range spec.Linux.Namespaces {
		if ns.Type != specs.PIDNamespace || ns.Path == "" {
			continue
		}
		p, err := e.process(ctx, c, containerID(taskID, pauseName))
		if err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		if err != nil || p.Status != tasktypes.Status_RUNNING || pidPath(p.Pid) != ns.Path {
			return fmt.Errorf("the PID namespace of the task has ended: %w", runtime.ErrUnrunnable)
		}
	}
	return nil
}

// Private

func pidPath(pid uint32) string { return fmt.Sprintf("/proc/%d/ns/pid", pid) }

func (e *Engine) pauseOptions(t runtime.TaskSpec, id, root string) []oci.SpecOpts {
	opts := []oci.SpecOpts{
		oci.WithRootFSPath(root),
		oci.WithRootFSReadonly(),
		oci.WithProcessArgs(initPath, "-pause"),
		oci.WithHostname(hostname(t)),
		oci.WithMounts([]specs.Mount{{Destination: initPath, Type: "bind", Source: e.s.binary("lotse-init"), Options: []string{"rbind", "rprivate", "ro"}}}),
		oci.WithAnnotations(map[string]string{groupAnnotation: t.ID}),
		oci.WithCgroup(e.s.groups.path(id)),
		oci.WithCapabilities(nil),
		oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: t.Netns}),
		func(_ context.Context, _ oci.Client, _ *containers.Container, s *specs.Spec) error {
			s.Process.NoNewPrivileges = true
			s.Process.OOMScoreAdj = nil // the shim's, which is protected: all containers end with pause
			return nil
		},
		seccomp.WithDefaultProfile(),
	}
	if e.s.groups.unified {
		opts = append(opts, oci.WithNamespacedCgroup())
	}
	return opts
}
