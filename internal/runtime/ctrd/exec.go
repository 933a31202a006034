package ctrd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"

	"github.com/lotse-project/lotse/internal/runtime"
)

// execID is containerd's name for the command that runs in a container: there is one at a time, and what a killed
// predecessor left under this name is found and removed by the next.
const execID = "exec"

// endWithin is how long the end of a command that was killed is waited for, and what it left is removed.
const endWithin = 5 * time.Second

// Exec implements runtime.Engine.
func (e *Engine) Exec(ctx context.Context, taskID, name string, cmd runtime.Command) (runtime.Result, error) {
	t, _ := e.s.ledger.get(taskID)
	entry, ok := t.byName(name)
	err := error(runtime.ErrNotFound)
	var r runtime.Result
	if ok && entry.Created {
		defer e.s.execs.lock(entry.ID)()
		r, err = e.exec(ctx, taskID, entry.ID, cmd)
	}
	if err != nil {
		if ctx.Err() != nil { // the reason, rather than what the call says that it broke off
			err = context.Cause(ctx)
		}
		return r, fmt.Errorf("run a command in container %s of task %s: %w", name, taskID, err)
	}
	return r, nil
}

// Private

func (e *Engine) exec(ctx context.Context, taskID, id string, cmd runtime.Command) (runtime.Result, error) {
	var none runtime.Result
	c, ctx, err := e.client(ctx)
	if err != nil {
		return none, err
	}
	p, err := e.process(ctx, c, id)
	if errdefs.IsNotFound(err) || err == nil && p.Status != tasktypes.Status_RUNNING {
		return none, fmt.Errorf("it does not run: %w", runtime.ErrNotFound)
	}
	if err != nil {
		return none, err
	}
	ctr, err := c.LoadContainer(ctx, id)
	if err != nil {
		return none, err
	}
	spec, err := ctr.Spec(ctx)
	if err != nil {
		return none, err
	}
	spec.Process.Args, spec.Process.Terminal = cmd.Args, false
	process, err := typeurl.MarshalAnyToProto(spec.Process)
	if err != nil {
		return none, err
	}
	out, err := e.execOutput(ctx, c, taskID, id, cmd.MaxOutput)
	if err != nil {
		return none, err
	}
	defer func() { out.close(e.endExec(ctx, c, id)) }() // the output is taken to the end: the shim waits for that
	request := &tasks.ExecProcessRequest{ContainerID: id, ExecID: execID, Stdout: out.fifos.Stdout, Stderr: out.fifos.Stderr, Spec: process}
	if _, err := c.TaskService().Exec(ctx, request); err != nil {
		return none, errgrpc.ToNative(err)
	}
	if _, err := c.TaskService().Start(ctx, &tasks.StartRequest{ContainerID: id, ExecID: execID}); err != nil {
		return none, e.notExecuted(ctx, c, id, errgrpc.ToNative(err))
	}
	w, err := c.TaskService().Wait(ctx, &tasks.WaitRequest{ContainerID: id, ExecID: execID})
	if err != nil {
		return none, errgrpc.ToNative(err)
	}
	return runtime.Result{ExitCode: int(w.ExitStatus), Output: out.bytes()}, nil
}

// notExecuted tells why a command did not begin: its container has ended, or runc couldn't, because there is no such program,
// no memory left, or the like.
func (e *Engine) notExecuted(ctx context.Context, c *client.Client, id string, err error) error {
	if !strings.Contains(err.Error(), "OCI runtime exec failed") {
		return err
	}
	if p, perr := e.process(ctx, c, id); perr != nil || p.Status != tasktypes.Status_RUNNING {
		return fmt.Errorf("it has ended: %w: %w", runtime.ErrNotFound, err)
	}
	return fmt.Errorf("%w: %w", runtime.ErrUnrunnable, err)
}

// execOutput makes the pipes for a command's output. Those that are there already tell of a command whose server was
// killed: the shim may be waiting for somebody to read from them, and that goes first.
func (e *Engine) execOutput(ctx context.Context, c *client.Client, taskID, id string, limit int) (*execOutput, error) {
	dir := filepath.Join(e.s.taskFiles(), taskID, "exec-"+id)
	if _, err := os.Stat(dir); err == nil {
		old, err := openExecOutput(ctx, dir, 0)
		if err != nil {
			return nil, err
		}
		removed := e.endExec(ctx, c, id)
		if old.close(removed); !removed {
			return nil, errors.New("the last command is not removed yet")
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil { // not with its parents: the task may just have been removed
		return nil, err
	}
	return openExecOutput(ctx, dir, limit)
}

// endExec removes the command of a container; one that still runs is killed, and what it started with it. It reports
// whether none is left.
func (e *Engine) endExec(ctx context.Context, c *client.Client, id string) (removed bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endWithin)
	defer cancel()
	r, err := c.TaskService().Get(ctx, &tasks.GetRequest{ContainerID: id, ExecID: execID})
	if err == nil && r.Process.Status != tasktypes.Status_STOPPED && r.Process.Status != tasktypes.Status_CREATED {
		e.killProcessGroup(id, int(r.Process.Pid))
		_, _ = c.TaskService().Kill(ctx, &tasks.KillRequest{ContainerID: id, ExecID: execID, Signal: uint32(syscall.SIGKILL)})
		_, _ = c.TaskService().Wait(ctx, &tasks.WaitRequest{ContainerID: id, ExecID: execID})
	}
	_, err = c.TaskService().DeleteProcess(ctx, &tasks.DeleteProcessRequest{ContainerID: id, ExecID: execID})
	if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) {
		e.s.o.Log.Warn("a command in a container is not removed", "container", id, "error", err)
		return false
	}
	return true
}

// killProcessGroup kills a command with all that it started: runc makes it the leader of a session. The group of the
// process is asked first, lest the pid belong to another one by now.
func (e *Engine) killProcessGroup(containerID string, pid int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil || pid <= 1 || !bytes.Contains(b, []byte(e.s.groups.path(containerID))) {
		return
	}
	if group, err := syscall.Getpgid(pid); err == nil && group == pid {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
}

// execOutput keeps the begin of what a command writes and drops the rest, so that the command is never blocked.
type execOutput struct {
	dir   string // of the pipes; it is there as long as there may be a command
	fifos *cio.FIFOSet
	io    *cio.DirectIO
	ended chan struct{} // closed when both streams have ended

	mu   sync.Mutex
	kept bytes.Buffer
	max  int
}

func openExecOutput(ctx context.Context, dir string, limit int) (*execOutput, error) {
	o := &execOutput{dir: dir, max: limit, ended: make(chan struct{})}
	o.fifos = cio.NewFIFOSet(cio.Config{Stdout: filepath.Join(dir, "out"), Stderr: filepath.Join(dir, "err")}, func() error { return nil })
	var err error
	// The pipes outlive ctx: a command that is killed has its last words.
	if o.io, err = cio.NewDirectIO(context.WithoutCancel(ctx), o.fifos); err != nil {
		return nil, err
	}
	var streams sync.WaitGroup
	for _, r := range []io.Reader{o.io.Stdout, o.io.Stderr} {
		streams.Go(func() { _, _ = io.Copy(o, r) })
	}
	go func() {
		streams.Wait()
		close(o.ended)
	}()
	return o, nil
}

// Write implements io.Writer.
func (o *execOutput) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept.Write(b[:min(len(b), max(0, o.max-o.kept.Len()))])
	return len(b), nil
}

// lastWords is how long the rest of the output is waited for after the command's end: what it left running in the
// background may hold its pipes for ever.
const lastWords = 100 * time.Millisecond

func (o *execOutput) bytes() []byte {
	select {
	case <-o.ended:
	case <-time.After(lastWords):
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.kept.Bytes())
}

// close ends reading; removed: the command is gone, and the pipes can go, too.
func (o *execOutput) close(removed bool) {
	o.io.Cancel()
	_ = o.io.Close()
	<-o.ended
	if removed {
		_ = os.RemoveAll(o.dir)
	}
}
