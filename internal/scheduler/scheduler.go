// Package scheduler keeps services at their desired count and leads their deployments: it looks
// at a service's tasks and at the health of their targets, decides in a pure plan, and applies it
// by writing and stopping task records. The package task does what those records ask.
package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/reconcile"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// Options is what the controller works with.
type Options struct {
	DB     *store.DB
	Memory int // MiB that tasks may reserve on this machine; 0: no limit
	// StrictTiming lets the circuit breaker count to its threshold, as on AWS, what trying again can't mend.
	StrictTiming bool
	// ImageAt is the digest that an image's name means now, "" for one without a tag or that isn't here. Nil: no
	// service follows tags.
	ImageAt func(tx store.Reader, ref string, sc arn.Scope) (digest string, err error)
	// History is how long deployments that are over, and services that are INACTIVE, are kept. 0: 30 days.
	History time.Duration
	Fault   func(point string) // called at named points ("scheduler.apply:after"); tests break there
	Log     *slog.Logger
}

// Controller is the reconciler of services; it alone writes state.ServiceStatuses.
type Controller struct {
	o    Options
	loop *reconcile.Loop

	mu    sync.Mutex
	users map[string]map[string]bool // key of a target group → keys of the services that use it or have used it
}

// New makes the controller. Run works.
func New(o Options) *Controller {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.History == 0 {
		o.History = 30 * 24 * time.Hour
	}
	if o.Fault == nil {
		o.Fault = func(string) {}
	}
	c := &Controller{o: o, users: map[string]map[string]bool{}}
	c.loop = reconcile.NewLoop("scheduler", c, reconcile.Options{Workers: 4, Log: o.Log})
	return c
}

// Loop is the controller's queue.
func (c *Controller) Loop() *reconcile.Loop { return c.loop }

// Run schedules until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	err := c.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for s, err := range state.Services.List(tx, "") {
			if err != nil {
				return err
			}
			c.loop.Add(s.Key)
		}
		for d, err := range state.Deployments.List(tx, "") {
			if err != nil {
				return err
			}
			c.remember(d)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list services: %w", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.expireOften(ctx)
	}()
	err = c.loop.Run(ctx)
	<-done
	return err
}

// Changed is told of every change of a record.
func (c *Controller) Changed(ctx context.Context, kind, key string) {
	switch kind {
	case state.Services.Kind(), state.ServiceStatuses.Kind():
		c.loop.Add(key)
	case state.Tasks.Kind(), state.TaskStatuses.Kind():
		c.ofTask(ctx, key)
	case state.ImageTags.Kind():
		c.ofImages(ctx)
	case state.Deployments.Kind():
		c.ofDeployment(ctx, key)
	case state.Targets.Kind(), state.TargetHealths.Kind():
		c.ofTarget(key)
	}
}

// Reconcile takes one service a step further. Everything is decided and written in one
// transaction, so that a crash leaves either all of a step or nothing of it.
func (c *Controller) Reconcile(ctx context.Context, key string) (again time.Duration, err error) {
	c.o.Fault("scheduler.apply:before")
	err = c.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		again = 0
		s, err := load(tx, key)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if s.status.Status == "INACTIVE" && !s.svc.Val.DeletedAt.IsZero() {
			return nil
		}
		s.now = tx.Now()
		s.tell()
		if err := s.follow(tx, c.o); err != nil {
			return err
		}
		s.count()
		if err := s.stopDeployment(tx); err != nil {
			return err
		}
		if err := s.breakCircuit(tx, c.o.StrictTiming); err != nil {
			return err
		}
		view := s.view()
		p := plan(view)
		if err := s.apply(tx, p, c.o.Memory); err != nil {
			return err
		}
		if len(p.Start)+len(p.Stop) == 0 {
			s.settle(view)
		}
		again = sooner(p.Again, s.again)
		return s.save(tx)
	})
	if err == nil {
		c.o.Fault("scheduler.apply:after")
	}
	return again, err
}

// Private

func (c *Controller) ofTask(ctx context.Context, key string) {
	_ = c.o.DB.View(ctx, func(tx *store.ReadTx) error {
		t, err := state.Tasks.Get(tx, key)
		if err == nil && t.Val.Service != "" {
			c.loop.Add(t.Val.Scope.Key(t.Val.Cluster, t.Val.Service))
		}
		return nil // a record that went is no news: the loop looks again anyway
	})
}

// ofDeployment notes which target groups a new deployment uses.
func (c *Controller) ofDeployment(ctx context.Context, key string) {
	_ = c.o.DB.View(ctx, func(tx *store.ReadTx) error {
		d, err := state.Deployments.Get(tx, key)
		if err == nil {
			c.remember(d)
		}
		return nil // one that went uses nothing
	})
}

// remember notes the target groups of a deployment, so that news of a target wakes the services that it concerns.
func (c *Controller) remember(d store.Object[state.Deployment]) {
	service := d.Key[:strings.LastIndexByte(d.Key, '/')]
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, lb := range d.Val.LoadBalancers {
		g := state.ELBKey(scopeOf(d.Key), "targetgroup", lb.TargetGroupARN)
		if c.users[g] == nil {
			c.users[g] = map[string]bool{}
		}
		c.users[g][service] = true
	}
}

// ofTarget queues the services that use the target's group. A target's key is that of its group, and its address.
func (c *Controller) ofTarget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.users[key[:strings.LastIndexByte(key, '/')]] {
		c.loop.Add(s)
	}
}

func scopeOf(key string) arn.Scope {
	sc, _ := arn.ScopeOf(key)
	return sc
}
