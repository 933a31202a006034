// Package target tells the balancer process what to serve, and the records how that goes.
//
// Records of load balancers, listeners, rules, target groups and targets become a snapshot, by a
// pure function; the snapshot is saved and put to the balancer whenever it differs from the last.
// The balancer's status becomes the targets' healths and the load balancers' states. Targets that
// drain are deleted when the balancer has nothing in flight to them.
//
//	records ──snapshot──▶ file, balancer ──status──▶ healths, states, drained targets deleted
package target

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/lbconfig"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

const (
	// lookAgain is how often the records are looked at besides the hints, which may be lost.
	lookAgain = 10 * time.Second
	// A balancer that can't be reached is tried again after minPause, then twice that, up to maxPause.
	minPause, maxPause = 20 * time.Millisecond, time.Second
	// awayAfter is how long a balancer must be out of reach until draining targets are not left to
	// it any more. A restart takes less.
	awayAfter = 2 * time.Second
)

// A Client speaks to the balancer process. *lbconfig.Client is one.
type Client interface {
	// Put makes the balancer apply a snapshot that has been saved.
	Put(ctx context.Context, s lbconfig.Snapshot) (lbconfig.Status, error)
	// Status waits for a status newer than after, a Seq, and gives up after a while with the present one.
	Status(ctx context.Context, after int64) (lbconfig.Status, error)
}

// Options is what the controller needs to know of its surroundings.
type Options struct {
	DB     *store.DB
	Client Client
	// Path is where snapshots are saved for a balancer that starts while nobody is there.
	Path string
	// Netns is the path of a VPC's namespace.
	Netns func(vpc string) string
	// Apply brings the network of a VPC in line with the records, so that the balancer finds its
	// addresses there. Nil: somebody else sees to it.
	Apply func(ctx context.Context, sc arn.Scope, vpc string) error
	// Front is the host:port that internet-facing balancers share. "": none.
	Front string
	// StrictTiming keeps to AWS's timing of health checks and draining.
	StrictTiming bool
	Fault        func(point string) // called at named points ("target.save:after"); tests break there. Nil: never
	Log          *slog.Logger       // nil: slog.Default
}

// Controller is the one writer of TargetHealths and LoadBalancerStatuses.
type Controller struct {
	o    Options
	poke chan struct{} // the records, or what the balancer serves, may have changed

	mu      sync.Mutex
	sent    []lbconfig.Snapshot // newest last; the first may be a former server's
	inForce int64               // Rev of the balancer's snapshot, as last heard; 0: not known
	highest int64               // highest Rev heard of
}

// New makes the controller. It starts nothing.
func New(o Options) *Controller {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Fault == nil {
		o.Fault = func(string) {}
	}
	return &Controller{o: o, poke: make(chan struct{}, 1)}
}

// Changed is told of every change of a record.
func (c *Controller) Changed(kind, key string) {
	switch kind {
	case state.LoadBalancers.Kind(), state.Listeners.Kind(), state.Rules.Kind(), state.TargetGroups.Kind(), state.Targets.Kind(),
		state.Certificates.Kind(), state.NetworkInterfaces.Kind(), state.SecurityGroups.Kind():
		c.wake()
	}
}

// Run works until ctx is done and returns nil then.
func (c *Controller) Run(ctx context.Context) error {
	c.resume()
	var wg sync.WaitGroup
	wg.Go(func() { c.pushLoop(ctx) })
	wg.Go(func() { c.statusLoop(ctx) })
	wg.Wait()
	return nil
}

// Private

// wake makes the push loop look at the records. Wakes in between are one.
func (c *Controller) wake() {
	select {
	case c.poke <- struct{}{}:
	default:
	}
}

// sleep waits, but not beyond the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
