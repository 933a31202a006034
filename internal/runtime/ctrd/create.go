package ctrd

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/lotse-project/lotse/internal/lazyregexp"
	"github.com/lotse-project/lotse/internal/runtime"
)

// Labels of our containers in containerd.
const (
	labelTask = "lotse/task"
	labelName = "lotse/container"
)

const defaultMaxLine = 16 << 10 // bytes, Docker's

var (
	validTask = lazyregexp.New(`^[0-9a-f]{32}$`)
	validName = lazyregexp.New(`^[A-Za-z0-9_-]{1,255}$`)
)

// Create implements runtime.Engine.
func (e *Engine) Create(ctx context.Context, t runtime.TaskSpec) error {
	if err := validate(t); err != nil {
		return err
	}
	defer e.s.tasks.lock(t.ID)()
	c, ctx, err := e.client(ctx)
	if err != nil {
		return err
	}
	entry := e.entry(t)
	if err := e.s.ledger.put(entry); err != nil { // from now on it is listed, and Remove finds its parts
		return err
	}
	if err := e.s.groups.createTask(t.ID, t.CPU, t.Memory); err != nil {
		return fmt.Errorf("cgroup of task %s: %w", t.ID, err)
	}
	if err := e.writeFiles(t); err != nil {
		return fmt.Errorf("files of task %s: %w", t.ID, classify(err))
	}
	ctx, err = holdTask(ctx, c, t.ID)
	if err != nil {
		return fmt.Errorf("lease of task %s: %w", t.ID, err)
	}
	var pid string
	for i, spec := range t.Containers {
		if entry.Containers[i].Created {
			continue
		}
		if t.SharedPID && pid == "" {
			if pid, err = e.pidNamespace(ctx, c, t); err != nil {
				return fmt.Errorf("PID namespace of task %s: %w", t.ID, classify(err))
			}
		}
		if err := e.createContainer(ctx, c, t, spec, entry.Containers[i].ID, pid); err != nil {
			return fmt.Errorf("create container %s of task %s: %w", spec.Name, t.ID, classify(err))
		}
	}
	return nil
}

// Private

func validate(t runtime.TaskSpec) error {
	if !validTask.MatchString(t.ID) {
		return fmt.Errorf("task ID %q is not 32 hex digits: %w", t.ID, runtime.ErrUnrunnable)
	}
	volumes := map[string]bool{"": true}
	for _, v := range t.Volumes {
		if !validName.MatchString(v) {
			return fmt.Errorf("volume name %q: only 1 to 255 letters, digits, - and _: %w", v, runtime.ErrUnrunnable)
		}
		volumes[v] = true
	}
	names := map[string]bool{}
	for _, c := range t.Containers {
		for _, m := range c.Mounts {
			if !volumes[m.Volume] || !filepath.IsAbs(m.Path) || m.Volume == "" && !filepath.IsAbs(m.Source) {
				return fmt.Errorf("container %q mounts the volume %q of source %q at %q: a volume of the task or a path, at a path: %w", c.Name, m.Volume, m.Source, m.Path, runtime.ErrUnrunnable)
			}
		}
		switch {
		case !validName.MatchString(c.Name):
			return fmt.Errorf("container name %q: only 1 to 255 letters, digits, - and _: %w", c.Name, runtime.ErrUnrunnable)
		case names[c.Name]:
			return fmt.Errorf("two containers are called %q: %w", c.Name, runtime.ErrUnrunnable)
		}
		names[c.Name] = true
	}
	return nil
}

// entry is the task's ledger entry: what is known of it already, or a new one.
func (e *Engine) entry(t runtime.TaskSpec) taskEntry {
	known, _ := e.s.ledger.get(t.ID)
	out := taskEntry{ID: t.ID}
	for _, c := range t.Containers {
		ce, ok := known.byName(c.Name)
		if !ok {
			ce = containerEntry{ID: containerID(t.ID, c.Name), Name: c.Name}
		}
		out.Containers = append(out.Containers, ce)
	}
	return out
}

func leaseOf(taskID string) leases.Lease { return leases.Lease{ID: "task/" + taskID} }

// holdTask returns ctx with the task's lease: everything made under it stays until Remove.
func holdTask(ctx context.Context, c *client.Client, taskID string) (context.Context, error) {
	_, err := c.LeasesService().Create(ctx, leases.WithID(leaseOf(taskID).ID))
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return ctx, err
	}
	return leases.WithLease(ctx, leaseOf(taskID).ID), nil
}

// holdImage adds an image to the task's lease, before anybody looks whether it is there.
func holdImage(ctx context.Context, c *client.Client, taskID string, resources ...leases.Resource) error {
	for _, r := range resources {
		if err := c.LeasesService().AddResource(ctx, leaseOf(taskID), r); err != nil && !errdefs.IsAlreadyExists(err) {
			return err
		}
	}
	return nil
}

func (e *Engine) createContainer(ctx context.Context, c *client.Client, t runtime.TaskSpec, spec runtime.ContainerSpec, id, pid string) error {
	if err := holdImage(ctx, c, t.ID, leases.Resource{ID: spec.Image.Digest, Type: "content"}); err != nil {
		return fmt.Errorf("hold image: %w", err)
	}
	img, err := e.image(ctx, c, spec.Image)
	if err != nil {
		return err
	}
	if err := holdImage(ctx, c, t.ID, img.resources()...); err != nil {
		return fmt.Errorf("hold image: %w", err)
	}
	ctr, err := e.newContainer(ctx, c, t, spec, id, pid, img)
	if errdefs.IsAlreadyExists(err) { // parts of an attempt that was broken off
		if err := removeContainer(ctx, c, id); err != nil {
			return err
		}
		ctr, err = e.newContainer(ctx, c, t, spec, id, pid, img)
	}
	if err != nil {
		return err
	}
	if err := e.fillVolumes(ctx, c, t.ID, spec, id, img); err != nil {
		return err
	}
	out, err := e.output(spec.Log)
	if err != nil {
		return err
	}
	if _, err := ctr.NewTask(ctx, out); err != nil {
		return classify(err)
	}
	return e.s.ledger.update(id, func(ce *containerEntry) {
		ce.Created, ce.Signal, ce.Log = true, img.config.Config.StopSignal, spec.Log
	})
}

func (e *Engine) newContainer(ctx context.Context, c *client.Client, t runtime.TaskSpec, spec runtime.ContainerSpec, id, pid string, img *image) (client.Container, error) {
	opts, err := e.specOptions(t, spec, id, img)
	if err != nil {
		return nil, err
	}
	if pid != "" {
		opts = append(opts, oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.PIDNamespace, Path: pid}))
	}
	ctr, err := c.NewContainer(ctx, id,
		client.WithSnapshotter(snapshotter),
		client.WithNewSnapshot(id, img),
		client.WithContainerLabels(map[string]string{labelTask: t.ID, labelName: spec.Name}),
		client.WithRuntime("io.containerd.runc.v2", e.runc()),
		client.WithNewSpec(opts...))
	if err != nil && !errdefs.IsAlreadyExists(err) {
		// The library leaves the snapshot when a later option fails.
		_ = c.SnapshotService(snapshotter).Remove(context.WithoutCancel(ctx), id)
	}
	return ctr, err
}

func (e *Engine) runc() *options.Options {
	return &options.Options{BinaryName: e.s.binary("runc"), Root: e.s.runcRoot()}
}

func (i *image) resources() []leases.Resource {
	out := []leases.Resource{{ID: i.chain, Type: "snapshots/" + snapshotter}}
	for _, d := range i.content {
		out = append(out, leases.Resource{ID: d.String(), Type: "content"})
	}
	return out
}

// output is where the container's output goes: to a logger that the shim starts and that lives as long as it,
// whoever else is alive. binary-v2: the shim waits until it says that it is ready, and fails when it doesn't.
func (e *Engine) output(l runtime.Log) (cio.Creator, error) {
	if l.Dir == "" {
		return cio.NullIO, nil
	}
	if err := os.MkdirAll(l.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("log directory: %w", err)
	}
	maxLine := l.MaxLine
	if maxLine == 0 {
		maxLine = defaultMaxLine
	}
	// Each key and its value become two arguments; the pairs come in random order.
	q := url.Values{"-dir": {l.Dir}, "-max-line": {strconv.Itoa(maxLine)}}
	if l.Multiline != "" {
		q.Set("-multiline", l.Multiline)
	}
	if l.Mode != "" {
		q.Set("-mode", l.Mode)
	}
	if l.MaxBuffer != 0 {
		q.Set("-max-buffer", strconv.FormatInt(l.MaxBuffer, 10))
	}
	return cio.LogURI(&url.URL{Scheme: "binary-v2", Path: e.s.binary("lotse-log"), RawQuery: q.Encode()}), nil
}

// removeContainer removes a container with its process, snapshot and record, as far as they exist.
func removeContainer(ctx context.Context, c *client.Client, id string) error {
	ctr, err := c.LoadContainer(ctx, id)
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	if err == nil {
		if err := removeProcess(ctx, c, ctr); err != nil {
			return err
		}
		if err := ctr.Delete(ctx, client.WithSnapshotCleanup); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	err = c.SnapshotService(snapshotter).Remove(ctx, id)
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}

func removeProcess(ctx context.Context, c *client.Client, ctr client.Container) error {
	task, err := ctr.Task(ctx, nil)
	switch {
	case errdefs.IsNotFound(err):
		// An earlier removal may have been broken off (we were killed, the caller gave up) when the shim had done its
		// part. containerd holds on to the shim until it is asked once more, and can't be when the container is gone.
		// Of a shim that is dead it says so, having cleared it away; then the second answer counts.
		for range 2 {
			_, err = c.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: ctr.ID()})
			if err = errgrpc.ToNative(err); err == nil || errdefs.IsNotFound(err) {
				break
			}
		}
	case err == nil:
		_, err = task.Delete(ctx, client.WithProcessKill)
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return nil
}

// unrunnable are runc's words for what lies in the image or the specification and will not get better by itself.
var unrunnable = []string{
	`unable to start container process: error during container init: exec: "`, // no such file, not executable, not in PATH
	`unable to start container process: exec: "`,
	"exec format error",
	"chdir to cwd",                       // not a directory, or not for this user
	"/ns/pid: no such file or directory", // pause has just ended
}

// classify marks errors that come from the image or the specification as ErrUnrunnable.
func classify(err error) error {
	if err == nil || errors.Is(err, runtime.ErrUnrunnable) {
		return err
	}
	// containerd and runc hand on the kernel's text alone.
	if errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), syscall.ENOSPC.Error()) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", runtime.ErrNoSpace, err)
	}
	for _, w := range unrunnable {
		if strings.Contains(err.Error(), w) {
			return fmt.Errorf("%w: %w", runtime.ErrUnrunnable, err)
		}
	}
	return err
}
