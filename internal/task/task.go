// Package task leads each task through its life: an ordered list of named steps, each of which
// may be repeated, so that a server killed at any line goes on where the world stands.
//
//	interface → network → pull → create → start → register          (towards RUNNING)
//	deregister → drain → stop → remove → release                    (towards STOPPED)
//	observe, restart, health                                        (when something has happened meanwhile)
//
// A step that is done is written into the task's status before the next begins. What a step
// finds done already (an interface allocated, a container created) it leaves as it is.
package task

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/reconcile"
	"github.com/lotse-project/lotse/internal/runtime"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// Options is what the controller works with.
type Options struct {
	DB     *store.DB
	Engine runtime.Engine
	// Apply brings the network of a VPC in line with the records.
	Apply func(ctx context.Context, sc arn.Scope, vpc string) error
	// Netns is the path of the network namespace of a task.
	Netns func(taskID string) string
	// Resolve finds the image that a reference of a task definition names, for a caller in sc.
	// An *ImageError says that trying again is no use.
	Resolve func(ctx context.Context, ref string, sc arn.Scope) (runtime.Image, error)
	// Stream makes sure that a log stream exists and tells its segment directory. A group that
	// isn't there is made when create is set, else it is store.ErrNotFound.
	Stream func(ctx context.Context, sc arn.Scope, group, stream string, create bool) (dir string, err error)
	// Secret finds what a container's secret refers to: a parameter or a secret of the account. A
	// *state.InitializationError is why the task can't have it.
	Secret func(ctx context.Context, sc arn.Scope, valueFrom string) (string, error)
	// Buckets is the directory that takes S3's place: the object KEY of the bucket NAME is the file NAME/KEY in it.
	Buckets string
	// FileSystems is the directory that has a directory for each EFS file system, by its id.
	FileSystems string
	// PublicAddress claims an address for a task with assignPublicIp.
	PublicAddress func(tx *store.WriteTx, sc arn.Scope, eni string) (string, error)
	// Endpoints are the variables that tell SDKs where services are, such as AWS_ENDPOINT_URL_ECS:
	// containers get them for those that Lotse has, so that calls to others go on to AWS.
	Endpoints []string
	// Storage is told what each task has written, in bytes by its id, when that has changed. Nil: nobody is.
	Storage func(used map[string]int64) error
	// History is how long a stopped task can be described. AWS shows it for an hour; who looks for the cause of a crash at
	// night wants more. 0: 30 days.
	History time.Duration
	// StrictTiming keeps to AWS's timing of health checks.
	StrictTiming bool
	// Fault is called before and after every step with its name ("task.create:before"), and within those that do several
	// things between one and the next ("task.stop:signalled"); tests break there. Nil: never.
	Fault func(point string)
	Log   *slog.Logger
}

// An ImageError is an image that can't be had, whatever one tries.
type ImageError struct{ Reason string }

func (e *ImageError) Error() string { return e.Reason }

// Controller is the reconciler of tasks; it alone writes state.TaskStatuses.
type Controller struct {
	o      Options
	loop   *reconcile.Loop
	checks *checks

	startWithin, createWithin time.Duration

	mu       sync.Mutex
	keys     map[string]string // task id → key, of tasks that are not STOPPED
	draining map[string]string // target's key → key of the task that waits until it is drained
}

// New makes the controller. Run works.
func New(o Options) *Controller {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Fault == nil {
		o.Fault = func(string) {}
	}
	if o.History == 0 {
		o.History = 30 * 24 * time.Hour
	}
	c := &Controller{o: o, keys: map[string]string{}, draining: map[string]string{}, startWithin: startWithin, createWithin: createWithin}
	c.loop = reconcile.NewLoop("task", c, reconcile.Options{Workers: 8, Log: o.Log})
	c.checks = &checks{exec: o.Engine.Exec, strict: o.StrictTiming, news: c.loop.Add, slots: make(chan struct{}, maxChecks)}
	return c
}

// Loop is the controller's queue.
func (c *Controller) Loop() *reconcile.Loop { return c.loop }

// Run leads tasks through their lives until ctx ends. First it sweeps what nobody recorded.
func (c *Controller) Run(ctx context.Context) error {
	if err := c.sweep(ctx); err != nil {
		return fmt.Errorf("sweep tasks: %w", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e, err := range c.o.Engine.Events(ctx) {
			if err != nil {
				return
			}
			c.woken(e.TaskID)
		}
	}()
	forgot := make(chan struct{})
	go func() {
		defer close(forgot)
		c.forgetOld(ctx)
	}()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		c.watchStorage(ctx)
	}()
	err := c.loop.Run(ctx)
	c.checks.end()
	<-watched
	<-done
	<-forgot
	return err
}

// Changed is told of every change of a record.
func (c *Controller) Changed(kind, key string) {
	switch kind {
	case state.Tasks.Kind():
		c.loop.Add(key)
	case state.Targets.Kind():
		c.drained(key)
	}
}

// Reconcile takes the task the next steps of its life.
func (c *Controller) Reconcile(ctx context.Context, key string) (time.Duration, error) {
	for {
		l, err := c.load(ctx, key)
		if errors.Is(err, store.ErrNotFound) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		if l.status.LastStatus == "STOPPED" {
			c.checks.sync(ctx, l)
			c.forget(l.task.ID)
			return 0, nil
		}
		c.remember(l.task.ID, key)
		l.verdicts = c.checks.sync(ctx, l)
		s := next(l)
		if s == nil {
			return 0, nil
		}
		c.o.Fault("task." + s.name + ":before")
		wait, err := s.do(c, ctx, l)
		if err != nil {
			return 0, fmt.Errorf("task %s: %s: %w", l.task.ID, s.name, err)
		}
		if wait > 0 {
			return wait, nil
		}
		c.o.Fault("task." + s.name + ":after")
	}
}

// Private

// sweep removes what runs without a record (its records went with a reset) and queues the rest.
func (c *Controller) sweep(ctx context.Context) error {
	if err := c.o.DB.Update(ctx, state.CountTasks); err != nil {
		return err
	}
	known := map[string]bool{}
	err := c.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for t, err := range state.Tasks.List(tx, "") {
			if err != nil {
				return err
			}
			st, err := state.TaskStatuses.Get(tx, t.Key)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			if st.Val.LastStatus == "STOPPED" {
				continue
			}
			known[t.Val.ID] = true
			c.loop.Add(t.Key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	running, err := c.o.Engine.List(ctx)
	if err != nil {
		return err
	}
	for _, t := range running {
		if known[t.ID] {
			continue
		}
		c.o.Log.Warn("removing a task without a record", "task", t.ID)
		if err := c.o.Engine.Remove(ctx, t.ID); err != nil {
			return err
		}
	}
	return nil
}

func (c *Controller) remember(id, key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys[id] = key
}

func (c *Controller) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.keys, id)
}

// woken queues the task that the engine speaks of, or all.
func (c *Controller) woken(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id != "" {
		if key, ok := c.keys[id]; ok {
			c.loop.Add(key)
		}
		return
	}
	for _, key := range c.keys {
		c.loop.Add(key)
	}
}
