package fabric

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/linklocal"
	"github.com/lotse-project/lotse/internal/network"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// fakeNet has a file for every namespace.
type fakeNet struct {
	dir string

	mu   sync.Mutex
	now  map[string]network.Intent
	fail error
}

func (n *fakeNet) Apply(_ context.Context, in network.Intent) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fail != nil {
		return n.fail
	}
	n.now[in.ID] = in
	return os.WriteFile(n.VPCNetns(in.ID), nil, 0o600)
}

func (n *fakeNet) Remove(_ context.Context, vpc string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.now, vpc)
	if err := os.Remove(n.VPCNetns(vpc)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (n *fakeNet) VPCNetns(vpc string) string { return filepath.Join(n.dir, vpc) }
func (n *fakeNet) PublicPool() netip.Prefix   { return testPool }

// addresses are those of a VPC as applied; nil when it never was.
func (n *fakeNet) addresses(vpc string) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	in, ok := n.now[vpc]
	if !ok {
		return nil
	}
	out := []string{}
	for _, e := range in.ENIs {
		out = append(out, e.Addr.String())
	}
	slices.Sort(out)
	return out
}

type bench struct {
	*Controller
	t   *testing.T
	db  *store.DB
	net *fakeNet

	mu    sync.Mutex
	names []linklocal.Snapshot
	fail  error
}

func newBench(t *testing.T) *bench {
	t.Helper()
	db, err := store.Open(filepath.Join(t.TempDir(), "lotse.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	b := &bench{t: t, db: db, net: &fakeNet{dir: t.TempDir(), now: map[string]network.Intent{}}}
	b.Controller = New(Options{DB: db, Net: b.net, Names: func(_ context.Context, s linklocal.Snapshot) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.fail != nil {
			return b.fail
		}
		b.names = append(b.names, s)
		return nil
	}})
	return b
}

func (b *bench) published() []linklocal.Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.names)
}

func (b *bench) update(fn func(tx *store.WriteTx) error) {
	b.t.Helper()
	if err := b.db.Update(b.t.Context(), fn); err != nil {
		b.t.Fatal(err)
	}
}

// subnet makes the scope's default VPC and gives one of its subnets.
func (b *bench) subnet(sc arn.Scope) state.Subnet {
	b.t.Helper()
	var out state.Subnet
	b.update(func(tx *store.WriteTx) error {
		if err := state.EnsureDefaultVPC(tx, sc, prefix("10.0.0.0/16")); err != nil {
			return err
		}
		for s, err := range state.Subnets.List(tx, sc.Key()) {
			if err != nil {
				return err
			}
			out = s.Val
		}
		return nil
	})
	return out
}

func (b *bench) newInterface(sn state.Subnet, task string) state.NetworkInterface {
	b.t.Helper()
	var e state.NetworkInterface
	b.update(func(tx *store.WriteTx) (err error) {
		e, err = state.NewInterface(tx, state.NewInterfaceInput{Scope: sn.Scope, Subnet: sn.ID, Task: task, Cluster: "main"})
		return err
	})
	return e
}

func (b *bench) apply(sn state.Subnet) {
	b.t.Helper()
	if err := b.Apply(b.t.Context(), sn.Scope, sn.VPC); err != nil {
		b.t.Fatal(err)
	}
}

func TestApply_NetworkThenNames(t *testing.T) {
	b := newBench(t)
	sn := b.subnet(testScope)
	b.apply(sn)
	if got := b.net.addresses(sn.VPC); got != nil {
		t.Errorf("a VPC in which nobody lives got a namespace with %v", got)
	}
	e := b.newInterface(sn, "t1")
	b.apply(sn)
	b.apply(sn)
	if d := cmp.Diff([]string{e.Address}, b.net.addresses(sn.VPC)); d != "" {
		t.Errorf("addresses (-want +got):\n%s", d)
	}
	s := b.published()
	if len(s) != 2 || len(s[0].VPCs) != 0 || len(s[1].VPCs) != 1 || s[1].VPCs[0].Netns != b.net.VPCNetns(sn.VPC) {
		t.Errorf("published = %+v, want nothing, then the VPC, once", s)
	}
	b.update(func(tx *store.WriteTx) error { return state.ReleaseInterface(tx, testScope, e.ID) })
	b.apply(sn)
	if got := b.net.addresses(sn.VPC); got == nil || len(got) != 0 {
		t.Errorf("addresses after the release = %v, want the namespace and nobody in it", got)
	}
	b.update(func(tx *store.WriteTx) error { return state.VPCs.Delete(tx, testScope.Key(sn.VPC), 0) })
	b.apply(sn)
	if got := b.net.addresses(sn.VPC); got != nil {
		t.Errorf("a deleted VPC has %v", got)
	}
}

func TestApply_NamesAreToldAgainAfterAFailure(t *testing.T) {
	b := newBench(t)
	sn := b.subnet(testScope)
	b.newInterface(sn, "t1")
	b.fail = errors.New("nobody listens")
	if err := b.Apply(t.Context(), testScope, sn.VPC); !errors.Is(err, b.fail) {
		t.Errorf("Apply = %v, want the failure of names", err)
	}
	b.fail = nil
	b.apply(sn)
	if len(b.published()) != 1 {
		t.Errorf("published %d times, want 1", len(b.published()))
	}
}

// Whatever order tasks come and go in, the network ends as the records say.
func TestApply_Concurrently(t *testing.T) {
	b := newBench(t)
	sn := b.subnet(testScope)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 10 {
				var e state.NetworkInterface
				err := b.db.Update(t.Context(), func(tx *store.WriteTx) (err error) {
					e, err = state.NewInterface(tx, state.NewInterfaceInput{Scope: testScope, Subnet: sn.ID})
					return err
				})
				if err == nil {
					err = b.Apply(t.Context(), testScope, sn.VPC)
				}
				if err != nil {
					t.Error(err)
					return
				}
				if !slices.Contains(b.net.addresses(sn.VPC), e.Address) {
					t.Errorf("%s is not there after Apply", e.Address)
				}
				if i == 0 {
					continue
				}
				err = b.db.Update(t.Context(), func(tx *store.WriteTx) error { return state.ReleaseInterface(tx, testScope, e.ID) })
				if err == nil {
					err = b.Apply(t.Context(), testScope, sn.VPC)
				}
				if err != nil {
					t.Error(err)
				}
				if slices.Contains(b.net.addresses(sn.VPC), e.Address) {
					t.Errorf("%s is there after its release", e.Address)
				}
			}
		})
	}
	wg.Wait()
	if got := b.net.addresses(sn.VPC); len(got) != 10 {
		t.Errorf("left: %v, want the 10 that were kept", got)
	}
}

func TestRun_FollowsChangesAndMayBeRepeated(t *testing.T) {
	b := newBench(t)
	sn := b.subnet(testScope)
	kept := b.newInterface(sn, "t1")
	until := func(what string, ok func() bool) {
		t.Helper()
		for range 500 {
			if ok() {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("waited in vain: %s", what)
	}
	for round := range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		rev, err := b.db.Rev(ctx)
		if err != nil {
			t.Fatal(err)
		}
		go func() { done <- b.Run(ctx) }()
		go func() {
			for c := range b.db.Changes(ctx, rev) {
				b.Changed(c.Kind, c.Key)
			}
		}()
		until("what was there", func() bool { return slices.Contains(b.net.addresses(sn.VPC), kept.Address) })
		e := b.newInterface(sn, "t2")
		until("a new interface", func() bool { return slices.Contains(b.net.addresses(sn.VPC), e.Address) })
		b.update(func(tx *store.WriteTx) error { return state.ReleaseInterface(tx, testScope, e.ID) })
		until("its release", func() bool { return !slices.Contains(b.net.addresses(sn.VPC), e.Address) })
		id := "0123456789abcde" + string(rune('0'+round))
		b.update(func(tx *store.WriteTx) error {
			lb := state.LoadBalancer{Scope: testScope, Name: "app", ID: id, DNSName: id + ".eu-west-1.elb.localhost", VPC: sn.VPC, ENIs: []string{kept.ID}}
			return state.LoadBalancers.Put(tx, &store.Object[state.LoadBalancer]{Key: lb.Key(), Val: lb})
		})
		until("a balancer's name", func() bool {
			s := b.published()
			return len(s) > 0 && len(s[len(s)-1].VPCs) > 0 && s[len(s)-1].VPCs[0].Names[id+".eu-west-1.elb.localhost"] != nil
		})
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil after a clean stop", err)
		}
		b.Changed(state.Tasks.Kind(), "x") // nobody listens: no harm
	}
}

var _ Network = (*network.Manager)(nil)

// Tasks without an interface, as STOPPED ones are that stay visible for weeks, cost nothing.
func TestPublish_StoppedTasksCostNothing(t *testing.T) {
	b := newBench(t)
	sn := b.subnet(testScope)
	b.newInterface(sn, "t1")
	cost := func() int64 {
		before := b.db.Reads()
		if err := b.publish(t.Context()); err != nil {
			t.Fatal(err)
		}
		return b.db.Reads() - before
	}
	task := func(id string) {
		b.update(func(tx *store.WriteTx) error {
			tk := state.Task{Scope: testScope, ID: id, Cluster: "main"}
			return state.Tasks.Put(tx, &store.Object[state.Task]{Key: tk.Key(), Val: tk})
		})
	}
	task("t1")
	alone := cost()
	for i := range 100 {
		task(fmt.Sprint("stopped-", i))
	}
	if beside := cost(); beside != alone || alone == 0 {
		t.Errorf("%d rows are read, and %d beside 100 tasks that are over", alone, beside)
	}
}
