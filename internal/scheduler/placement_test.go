package scheduler

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

func TestNextProvider(t *testing.T) {
	for _, tc := range []struct {
		strategy []state.StrategyItem
		want     string
	}{
		{nil, "      "},
		{[]state.StrategyItem{{Provider: "A"}}, "AAAAAA"},
		{[]state.StrategyItem{{Provider: "A", Weight: 1}, {Provider: "B", Weight: 1}}, "ABABAB"},
		{[]state.StrategyItem{{Provider: "A", Base: 2, Weight: 1}, {Provider: "B", Weight: 3}}, "AABBAB"},
		{[]state.StrategyItem{{Provider: "A", Base: 1}, {Provider: "B", Weight: 1}}, "ABBBBB"},
	} {
		have, got := map[string]int{}, ""
		for range 6 {
			p := nextProvider(tc.strategy, have)
			have[p]++
			got += strings.Repeat(" ", 1-len(p)) + p
		}
		if got != tc.want {
			t.Errorf("%v: %q, want %q", tc.strategy, got, tc.want)
		}
	}
}

// zoned puts the service's deployments into subnets of n zones.
func (b *bench) zoned(n int) {
	b.t.Helper()
	b.update(func(tx *store.WriteTx) error {
		for i := range n {
			s := state.Subnet{Scope: here, ID: fmt.Sprint("subnet-", i), Zone: "us-east-1" + string(rune('a'+i))}
			if err := state.Subnets.Put(tx, &store.Object[state.Subnet]{Key: here.Key(s.ID), Val: s}); err != nil {
				return err
			}
			b.subnets = append(b.subnets, s.ID)
		}
		return nil
	})
}

func (b *bench) perZone(deployment string) string {
	n := map[string]int{}
	for _, r := range b.of(deployment) {
		n[strings.TrimPrefix(r.Zone, "us-east-")]++
	}
	return fmt.Sprint(n)
}

// Tasks spread over the zones of their subnets, and go from the fullest first.
func TestSpread(t *testing.T) {
	b := newBench(t, true)
	b.zoned(3)
	one := b.create(7)
	b.settle()
	even := func(deployment string, desired int) {
		t.Helper()
		n := map[string]int{"us-east-1a": 0, "us-east-1b": 0, "us-east-1c": 0}
		for _, r := range b.of(deployment) {
			n[r.Zone]++
		}
		for z, in := range n {
			if len(n) != 3 || in < desired/3 || in > (desired+2)/3 {
				t.Errorf("desired %d: %d in %s of %v", desired, in, z, n)
			}
		}
	}
	for _, desired := range []int{7, 9, 4, 2, 8} {
		b.change(func(s *state.Service) { s.DesiredCount = desired })
		b.settle()
		even(one, desired)
	}
	two := b.deploy(2)
	b.settle()
	even(two, 8)
}

// With rebalancing a zone that lags two tasks behind gets one before the fullest loses one; without, nothing moves.
func TestRebalance(t *testing.T) {
	for _, on := range []bool{true, false} {
		b := newBench(t, true)
		b.zoned(1)
		one := b.create(4, func(s *state.Service) { s.Rebalance = on })
		b.settle()
		b.update(func(tx *store.WriteTx) error { // two of them are in another zone, as when a subnet was full
			for i, r := range b.of(one) {
				o, err := state.Tasks.Get(tx, r.Key())
				if err != nil {
					return err
				}
				o.Val.Zone = "us-east-1a"
				if i == 0 {
					o.Val.Zone = "us-east-1b"
				}
				if err := state.Tasks.Put(tx, &o); err != nil {
					return err
				}
			}
			s := state.Subnet{Scope: here, ID: "subnet-0b", Zone: "us-east-1b"}
			if err := state.Subnets.Put(tx, &store.Object[state.Subnet]{Key: here.Key(s.ID), Val: s}); err != nil {
				return err
			}
			d, err := state.Deployments.Get(tx, state.DeploymentKey(serviceKey, 1))
			if err != nil {
				return err
			}
			d.Val.Network.Subnets = append(d.Val.Network.Subnets, s.ID)
			return state.Deployments.Put(tx, &d)
		})
		seen := len(b.events())
		b.reconcile()
		if n := len(b.of(one)); on && n != 5 || !on && n != 4 {
			t.Fatalf("rebalancing %t: %d tasks", on, n)
		}
		b.settle()
		want, got := map[bool]string{true: "map[1a:2 1b:2]", false: "map[1a:3 1b:1]"}[on], b.perZone(one)
		if got != want {
			t.Errorf("rebalancing %t: %s, want %s", on, got, want)
		}
		if !on {
			continue
		}
		wantEvents(t, b, &seen,
			"(service web) is not AZ balanced with 3 tasks in us-east-1a, 1 tasks in us-east-1b. AZ Rebalancing in progress.",
			"(service web) has started 1 tasks in us-east-1b to AZ Rebalance: (T).",
			"(service web) registered 1 targets in (target-group G)",
			"(service web) has stopped 1 running tasks: (T).",
			"(service web) has reached a steady state.",
			"(service web) is AZ balanced with 2 tasks in us-east-1a, 2 tasks in us-east-1b.",
			"(service web) deregistered 1 targets in (target-group G)",
			"(service web, taskSet ecs-svc/1) has begun draining connections on 1 tasks.")
	}
}

// Wherever the tasks of a service at rest are, moving them keeps both bounds, ends, and leaves the zones in balance.
func TestPlan_Rebalances(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zones := []string{"a", "b", "c"}[:rapid.IntRange(2, 3).Draw(t, "zones")]
		v := View{Desired: rapid.IntRange(0, 8).Draw(t, "desired"), MinimumHealthy: 100, Maximum: 200, Zones: zones,
			Deployments: []DeploymentView{{ID: "d", Completed: true}}}
		for i := range v.Desired {
			v.Tasks = append(v.Tasks, TaskView{ID: fmt.Sprint("t", i), Deployment: "d", Healthy: true, Zone: rapid.SampledFrom(zones).Draw(t, "zone")})
		}
		for step := range 50 {
			p := plan(v)
			if len(p.Start)+len(p.Stop) == 0 {
				if z := unbalanced(zones, v.Tasks); z != "" && v.Desired > 0 {
					t.Fatalf("at rest, and %s is fuller: %v", z, perZone(v))
				}
				return
			}
			for _, s := range p.Stop {
				v.Tasks = deleteTask(v.Tasks, s.Task)
			}
			for _, s := range p.Start {
				n := perZone(v)
				least := zones[0]
				for _, z := range zones {
					if n[z] < n[least] {
						least = z
					}
				}
				v.Tasks = append(v.Tasks, TaskView{ID: fmt.Sprint("new", step), Deployment: "d", Zone: least, Rebalances: s.Rebalances})
			}
			if healthy(v.Tasks) < v.Desired || len(v.Tasks) > 2*v.Desired {
				t.Fatalf("%d healthy of %d, desired %d", healthy(v.Tasks), len(v.Tasks), v.Desired)
			}
			if len(p.Start) > 0 {
				if q := plan(v); len(q.Start)+len(q.Stop) > 0 {
					t.Fatalf("it doesn't wait for the new task: %s", cmp.Diff(Plan{}, q))
				}
			}
			for i := range v.Tasks {
				v.Tasks[i].Healthy, v.Tasks[i].Rebalances = true, false
			}
		}
		t.Fatal("it moves for ever")
	})
}

func deleteTask(ts []TaskView, id string) []TaskView {
	var out []TaskView
	for _, t := range ts {
		if t.ID != id {
			out = append(out, t)
		}
	}
	return out
}
