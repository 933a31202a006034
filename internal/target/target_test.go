package target

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/lbconfig"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// bench is a store with a balancer, its listener and a group, and a fake balancer process.
type bench struct {
	t       *testing.T
	db      *store.DB
	fake    *fakeBalancer
	options Options
	lb      state.LoadBalancer
	li      state.Listener
	group   state.TargetGroup
	stop    func()
	mu      sync.Mutex
	applied []string // VPCs whose network was asked for
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir := t.TempDir()
	db, err := store.Open(filepath.Join(dir, "lotse.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, db: db, fake: newFake(), stop: func() {}}
	t.Cleanup(func() { b.stop(); db.Close() })
	b.options = Options{DB: db, Client: b.fake, Path: filepath.Join(dir, "snapshot.json"), Front: "127.0.0.1:8080", Log: slog.New(slog.DiscardHandler),
		Netns: func(vpc string) string { return "/run/lotse/x/" + vpc },
		Apply: func(_ context.Context, _ arn.Scope, vpc string) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.applied = append(b.applied, vpc)
			return nil
		}}
	sc := arn.Scope{Account: "000000000000", Region: "us-east-1"}
	b.update(func(tx *store.WriteTx) error {
		if err := state.EnsureDefaultVPC(tx, sc, netip.MustParsePrefix("172.31.0.0/16")); err != nil {
			return err
		}
		b.lb = state.LoadBalancer{Scope: sc, Name: "web", ID: "1111111111111111", DNSName: "web-1.us-east-1.elb.localhost", Scheme: state.InternetFacing, IdleTimeout: 60, CreatedAt: tx.Now()}
		for s, err := range state.Subnets.List(tx, sc.Key()) {
			if err != nil {
				return err
			}
			eni, err := state.NewInterface(tx, state.NewInterfaceInput{Scope: sc, Subnet: s.Val.ID})
			if err != nil {
				return err
			}
			b.lb.VPC, b.lb.Groups = s.Val.VPC, eni.Groups
			b.lb.Subnets, b.lb.ENIs = append(b.lb.Subnets, s.Val.ID), append(b.lb.ENIs, eni.ID)
		}
		b.group = state.TargetGroup{Scope: sc, Name: "web", ID: "2222222222222222", VPC: b.lb.VPC, Protocol: "HTTP", ProtocolVersion: "HTTP1", Port: 80, TargetType: "ip", DeregistrationDelay: 300,
			Health: state.HealthCheck{Protocol: "HTTP", Port: "traffic-port", Path: "/", Matcher: "200", Interval: 30, Timeout: 5, Healthy: 5, Unhealthy: 2}}
		b.li = state.Listener{Scope: sc, Balancer: "web/1111111111111111", ID: "3333333333333333", DefaultRuleID: "4444444444444444", Port: 80, Protocol: "HTTP",
			Default: []state.Action{{Type: "forward", Groups: []state.WeightedGroup{{ARN: b.group.ARN(), Weight: 1}}}}}
		return errors.Join(
			state.LoadBalancers.Put(tx, &store.Object[state.LoadBalancer]{Key: b.lb.Key(), Val: b.lb}),
			state.TargetGroups.Put(tx, &store.Object[state.TargetGroup]{Key: b.group.Key(), Val: b.group}),
			state.Listeners.Put(tx, &store.Object[state.Listener]{Key: b.li.Key(), Val: b.li}))
	})
	return b
}

func (b *bench) update(fn func(*store.WriteTx) error) {
	b.t.Helper()
	if err := b.db.Update(context.Background(), fn); err != nil {
		b.t.Fatal(err)
	}
}

// run starts a controller that is told of every change, as the server does it.
func (b *bench) run() {
	ctx, cancel := context.WithCancel(context.Background())
	c := New(b.options)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Run(ctx); err != nil {
			b.t.Errorf("Run = %v, want nil after a clean stop", err)
		}
	})
	from, err := b.db.Rev(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	wg.Go(func() {
		for ch, err := range b.db.Changes(ctx, from) {
			if err != nil {
				return
			}
			c.Changed(ch.Kind, ch.Key)
		}
	})
	b.stop = func() { cancel(); wg.Wait(); b.stop = func() {} }
}

func (b *bench) register(address string) (key string) {
	b.t.Helper()
	b.update(func(tx *store.WriteTx) (err error) {
		key, err = state.RegisterTarget(tx, b.group.ARN(), address, 80, "")
		return err
	})
	return key
}

func (b *bench) deregister(key string) {
	b.t.Helper()
	b.update(func(tx *store.WriteTx) error { return state.DeregisterTarget(tx, key) })
}

// health is what the records say: "" without one, "gone" without the target.
func (b *bench) health(key string) (out string) {
	b.update(func(tx *store.WriteTx) error {
		h, err := state.TargetHealths.Get(tx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		out = h.Val.State
		if h.Val.Reason != "" {
			out += "/" + h.Val.Reason
		}
		if _, err := state.Targets.Get(tx, key); errors.Is(err, store.ErrNotFound) {
			if out != "" {
				b.t.Errorf("target %s is gone, its health is still %s", key, out)
			}
			out = "gone"
		}
		return nil
	})
	return out
}

func (b *bench) state() (out string) {
	b.update(func(tx *store.WriteTx) error {
		s, err := state.LoadBalancerStatuses.Get(tx, b.lb.Key())
		if errors.Is(err, store.ErrNotFound) {
			err = nil
		}
		out = s.Val.State
		return err
	})
	return out
}

// eventually waits for a condition; it must not take long.
func eventually[T comparable](t *testing.T, what string, got func() T, want T) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		x := got()
		if x == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v, want %v", what, x, want)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (b *bench) pass(address string) {
	b.fake.change(func() { b.fake.healthy[memberOf(b.group.ARN(), netip.MustParseAddrPort(address+":80"))] = true })
}

func (b *bench) flight(address string, n int) {
	b.fake.change(func() { b.fake.inFlight[memberOf(b.group.ARN(), netip.MustParseAddrPort(address+":80"))] = n })
}

func TestController_FromRegistrationToDrained(t *testing.T) {
	b := newBench(t)
	b.run()
	eventually(t, "balancer", b.state, state.Active)
	b.mu.Lock()
	if len(b.applied) != 1 || b.applied[0] != b.lb.VPC {
		t.Errorf("networks asked for: %v, want %s once", b.applied, b.lb.VPC)
	}
	b.mu.Unlock()
	key := b.register("172.31.0.50")
	get := func() string { return b.health(key) }
	eventually(t, "registered", get, "initial/Elb.RegistrationInProgress")
	start := time.Now()
	b.pass("172.31.0.50")
	eventually(t, "passes its check", get, "healthy")
	t.Logf("a health change reached the records in %s", time.Since(start))
	b.flight("172.31.0.50", 1)
	b.deregister(key)
	eventually(t, "deregistered with a request in flight", get, "draining/Target.DeregistrationInProgress")
	time.Sleep(30 * time.Millisecond)
	if got := get(); got == "gone" {
		t.Error("deleted while a request is in flight")
	}
	b.flight("172.31.0.50", 0)
	eventually(t, "the request has ended", get, "gone")
	eventually(t, "left the snapshot", func() int { return len(b.fake.snapshot().Groups[0].Targets) }, 0)
}

func TestController_RegisteredAgainWhileDraining(t *testing.T) {
	b := newBench(t)
	b.run()
	key := b.register("172.31.0.50")
	b.flight("172.31.0.50", 1)
	b.pass("172.31.0.50")
	get := func() string { return b.health(key) }
	eventually(t, "healthy", get, "healthy")
	b.deregister(key)
	eventually(t, "draining", get, "draining/Target.DeregistrationInProgress")
	b.register("172.31.0.50")
	b.flight("172.31.0.50", 0) // drained, as the former snapshot has it
	eventually(t, "revived", get, "healthy")
	time.Sleep(30 * time.Millisecond)
	if got := get(); got != "healthy" {
		t.Errorf("revived target: %s, want healthy", got)
	}
}

func TestReport_OfAFormerLifeIsNotBelieved(t *testing.T) {
	b := newBench(t)
	key := b.register("172.31.0.50")
	b.deregister(key)
	c := New(b.options)
	if err := c.push(t.Context()); err != nil {
		t.Fatal(err)
	}
	drained := b.fake.snapshot()
	time.Sleep(2 * time.Millisecond) // the store's clock has milliseconds
	b.register("172.31.0.50")
	st := lbconfig.Status{Rev: drained.Rev, Targets: []lbconfig.TargetStatus{{Group: b.group.ARN(), Addr: drained.Groups[0].Targets[0].Addr, State: "draining", Drained: true}}}
	if err := c.report(t.Context(), st); err != nil {
		t.Fatal(err)
	}
	if got := b.health(key); got != "" {
		t.Errorf("registered anew, after a report of the former drain: %q, want no health yet", got)
	}
	b.deregister(key) // a second drain, of which the report says nothing either
	if err := c.report(t.Context(), st); err != nil {
		t.Fatal(err)
	}
	if got := b.health(key); got == "gone" {
		t.Error("deleted for the drain before")
	}
	st.Rev += 100 // a snapshot of somebody else's
	if err := c.report(t.Context(), st); err != nil {
		t.Fatal(err)
	}
}

func TestController_StrictTimingLeavesTheDelayToTheBalancer(t *testing.T) {
	b := newBench(t)
	b.options.StrictTiming = true
	b.run()
	key := b.register("172.31.0.50")
	get := func() string { return b.health(key) }
	eventually(t, "registered", get, "initial/Elb.RegistrationInProgress")
	b.deregister(key)
	eventually(t, "deregistered", get, "draining/Target.DeregistrationInProgress")
	time.Sleep(30 * time.Millisecond)
	if got := get(); got == "gone" {
		t.Error("deleted before the delay is over")
	}
}

func TestController_UnusedGroup(t *testing.T) {
	b := newBench(t)
	b.options.StrictTiming = true
	b.update(func(tx *store.WriteTx) error { return state.Listeners.Delete(tx, b.li.Key(), 0) })
	b.run()
	key := b.register("172.31.0.50")
	get := func() string { return b.health(key) }
	eventually(t, "registered", get, "unused/Target.NotInUse")
	b.deregister(key)
	eventually(t, "deregistered: no balancer uses the group", get, "gone")
}

func TestController_PortTaken(t *testing.T) {
	b := newBench(t)
	b.fake.bindErr = "port 80 is held by nginx (pid 7)"
	b.run()
	eventually(t, "balancer", b.state, state.Failed)
	b.update(func(tx *store.WriteTx) error {
		s, err := state.LoadBalancerStatuses.Get(tx, b.lb.Key())
		if s.Val.Reason != b.fake.bindErr {
			t.Errorf("reason %q, want %q", s.Val.Reason, b.fake.bindErr)
		}
		return err
	})
	b.fake.change(func() { b.fake.bindErr = "" })
	eventually(t, "balancer", b.state, state.Active)
}

func TestController_ARestartOfTheServerChangesNothing(t *testing.T) {
	b := newBench(t)
	b.run()
	key := b.register("172.31.0.50")
	eventually(t, "registered", func() string { return b.health(key) }, "initial/Elb.RegistrationInProgress")
	b.stop()
	before := b.fake.snapshot().Rev
	b.pass("172.31.0.50") // nobody is there to write it down
	b.run()
	eventually(t, "health, after the restart", func() string { return b.health(key) }, "healthy")
	if after := b.fake.snapshot().Rev; after != before {
		t.Errorf("snapshot %d after the restart, want %d still", after, before)
	}
	b.register("172.31.0.51")
	eventually(t, "targets", func() int { return len(b.fake.snapshot().Groups[0].Targets) }, 2)
	if after := b.fake.snapshot().Rev; after <= before {
		t.Errorf("snapshot %d after a change, want above %d", after, before)
	}
}

func TestController_TheBalancerKnowsBetter(t *testing.T) {
	b := newBench(t)
	b.fake.snap.Rev = 70 // of a time that the saved snapshot does not know
	b.run()
	eventually(t, "balancer", b.state, state.Active)
	if rev := b.fake.snapshot().Rev; rev != 71 {
		t.Errorf("snapshot %d, want 71", rev)
	}
}

func TestController_BalancerAway(t *testing.T) {
	b := newBench(t)
	b.run()
	key := b.register("172.31.0.50")
	get := func() string { return b.health(key) }
	eventually(t, "registered", get, "initial/Elb.RegistrationInProgress")
	b.fake.change(func() { b.fake.away = true })
	b.register("172.31.0.51")
	eventually(t, "saved for a balancer that starts now", func() int {
		s, err := lbconfig.Load(b.options.Path)
		if err != nil {
			t.Fatal(err)
		}
		return len(s.Groups[0].Targets)
	}, 2)
	b.fake.change(func() { b.fake.away = false })
	b.pass("172.31.0.50")
	eventually(t, "back again", get, "healthy")
	eventually(t, "targets", func() int { return len(b.fake.snapshot().Groups[0].Targets) }, 2)
}

func TestExpire_WithoutABalancer(t *testing.T) {
	b := newBench(t)
	c := New(b.options)
	key := b.register("172.31.0.50")
	b.deregister(key)
	expire := func() string {
		t.Helper()
		if err := c.expire(t.Context()); err != nil {
			t.Fatal(err)
		}
		return b.health(key)
	}
	if got := expire(); got == "gone" {
		t.Error("deleted, with 300 s of delay left")
	}
	b.update(func(tx *store.WriteTx) error {
		o, err := state.TargetGroups.Get(tx, b.group.Key())
		o.Val.DeregistrationDelay = 0
		return errors.Join(err, state.TargetGroups.Put(tx, &o))
	})
	if got := expire(); got != "gone" {
		t.Errorf("delay over: %q, want gone", got)
	}
}
