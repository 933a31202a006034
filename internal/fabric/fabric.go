// Package fabric makes networks of records: it brings each VPC's namespace, interfaces and groups
// in line with what the APIs and the controller of tasks have written, and tells the resolver and
// the metadata endpoint what there is to know.
//
//	records ── read ──► records of one VPC ── Intent ──► Network.Apply
//	               └──► records of all VPCs ── Snapshot ──► Names
//
// Intent and Snapshot are pure. Apply reads and applies in one turn, one turn at a time for each
// VPC, so that an older reading never undoes a newer one; who comes during a turn shares the next.
package fabric

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/linklocal"
	"github.com/lotse-project/lotse/internal/network"
	"github.com/lotse-project/lotse/internal/reconcile"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

const (
	// repairEvery is how often a VPC is looked at without a reason: links and rules that somebody
	// else took away come back.
	repairEvery = 10 * time.Second
	// gather is how long changes that only concern names are collected: a task's life has many.
	gather = 20 * time.Millisecond
	// namesKey is the loop's key for names; the others are scopes' prefixes.
	namesKey = "names"
)

// Network is what fabric wants of *network.Manager.
type Network interface {
	Apply(ctx context.Context, in network.Intent) error
	Remove(ctx context.Context, vpc string) error
	VPCNetns(vpc string) string
	PublicPool() netip.Prefix
}

// Options is what the controller works with.
type Options struct {
	DB  *store.DB
	Net Network
	// Names hands the snapshot to those who serve it. It returns when they do.
	Names func(ctx context.Context, s linklocal.Snapshot) error
	// Credentials makes a temporary key of a task's role. store.ErrNotFound: the role is gone. Nil:
	// tasks get none.
	Credentials func(ctx context.Context, t state.Task, role string, life time.Duration) (linklocal.Credentials, error)
	Now         func() time.Time // nil: time.Now
	Log         *slog.Logger
}

// Controller is the reconciler of networks. It writes no records.
type Controller struct {
	o Options

	mu    sync.Mutex
	turns map[string]*turns                // VPC id, or namesKey
	loop  *reconcile.Loop                  // nil unless Run runs
	last  []byte                           // snapshot as published, JSON; nil: not known
	keys  map[string]linklocal.Credentials // by task's id, as last handed out
}

// New makes the controller. Apply works at once, Run repairs and follows.
func New(o Options) *Controller {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Controller{o: o, turns: map[string]*turns{}}
}

// Apply brings the network of a VPC, and the names of all, in line with the records as they are
// when it is called or later. A VPC that is gone from the records is removed.
func (c *Controller) Apply(ctx context.Context, sc arn.Scope, vpc string) error {
	if err := c.turn(vpc).share(ctx, func(ctx context.Context) error { return c.apply(ctx, sc, vpc) }); err != nil {
		return fmt.Errorf("network of %s: %w", vpc, err)
	}
	return c.publish(ctx)
}

// Changed is told of every change of a record.
func (c *Controller) Changed(kind, key string) {
	c.mu.Lock()
	loop := c.loop
	c.mu.Unlock()
	if loop == nil {
		return // Run looks at everything when it begins
	}
	switch kind {
	case state.VPCs.Kind(), state.Subnets.Kind(), state.SecurityGroups.Kind(), state.NetworkInterfaces.Kind():
		sc, _ := arn.ScopeOf(key) // a deleted record does not tell its VPC
		loop.Add(sc.Key())
	case state.LoadBalancers.Kind(), state.LoadBalancerStatuses.Kind(), state.Roles.Kind(), state.Tasks.Kind(), state.TaskStatuses.Kind():
		loop.AddAfter(namesKey, gather)
	}
}

// Run repairs and follows until ctx ends. It may be called again after it returned; what is
// written meanwhile is found then.
func (c *Controller) Run(ctx context.Context) error {
	loop := reconcile.NewLoop("fabric", c, reconcile.Options{Workers: 2, Log: c.o.Log})
	c.mu.Lock()
	c.loop, c.last = loop, nil
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.loop = nil
		c.mu.Unlock()
	}()
	scopes, err := c.scopes(ctx)
	if err != nil {
		return fmt.Errorf("list VPCs: %w", err)
	}
	for _, sc := range scopes {
		loop.Add(sc.Key())
	}
	loop.Add(namesKey)
	return loop.Run(ctx)
}

// Reconcile applies every VPC of a scope, or publishes names.
func (c *Controller) Reconcile(ctx context.Context, key string) (time.Duration, error) {
	if key == namesKey {
		return renewEvery, c.publish(ctx)
	}
	account, region, _ := strings.Cut(strings.TrimSuffix(key, "/"), "/")
	sc := arn.Scope{Account: account, Region: region}
	vpcs, err := c.vpcs(ctx, sc)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, id := range vpcs {
		errs = append(errs, c.Apply(ctx, sc, id))
	}
	if len(vpcs) == 0 {
		return 0, errors.Join(errs...)
	}
	return repairEvery, errors.Join(errs...)
}

// Private

// apply is one turn of a VPC.
func (c *Controller) apply(ctx context.Context, sc arn.Scope, id string) error {
	var r records
	err := c.o.DB.View(ctx, func(tx *store.ReadTx) (err error) {
		r, err = readVPC(tx, sc, id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return c.o.Net.Remove(ctx, id)
	}
	if err != nil {
		return err
	}
	if len(r.interfaces) == 0 && !exists(c.o.Net.VPCNetns(id)) {
		return nil // nobody lives there, nobody did
	}
	in, err := intent(r, c.o.Net.PublicPool())
	if err != nil {
		return err
	}
	return c.o.Net.Apply(ctx, in)
}

func (c *Controller) turn(key string) *turns {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.turns[key]
	if t == nil {
		t = newTurns()
		c.turns[key] = t
	}
	return t
}

// scopes are those that have a VPC.
func (c *Controller) scopes(ctx context.Context) ([]arn.Scope, error) {
	var out []arn.Scope
	err := c.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for v, err := range state.VPCs.List(tx, "") {
			if err != nil {
				return err
			}
			if sc := v.Val.Scope; len(out) == 0 || out[len(out)-1] != sc { // in key order
				out = append(out, sc)
			}
		}
		return nil
	})
	return out, err
}

func (c *Controller) vpcs(ctx context.Context, sc arn.Scope) ([]string, error) {
	var out []string
	err := c.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for v, err := range state.VPCs.List(tx, sc.Key()) {
			if err != nil {
				return err
			}
			out = append(out, v.Val.ID)
		}
		return nil
	})
	return out, err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
