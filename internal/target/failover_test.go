package target

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lotse-project/lotse/internal/lbconfig"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// Source of what is expected: ALB user guide, target group health, with its example.
func TestFailedZones(t *testing.T) {
	ten := func(healthy int) string {
		return fmt.Sprintf("%-10.*s", 10, "hhhhhhhhhh"[:healthy]+"uuuuuuuuuu"[healthy:])
	}
	for _, c := range []struct {
		name              string
		zonal             bool
		failover, percent int
		a, b              string // targets of the zones: h healthy, u unhealthy, d draining, x not in use
		want              []string
	}{
		{"one is enough", true, 1, 0, "hu", "uh", nil},
		{"none in b", true, 1, 0, "hu", "uu", []string{"b"}},
		{"none registered in b", true, 1, 0, "h", "", []string{"b"}},
		{"b's drains", true, 1, 0, "h", "d", []string{"b"}},
		{"off", true, 0, 0, "hu", "uu", nil},
		{"all zones fail: all are served", true, 1, 0, "u", "uu", nil},
		{"without targets", true, 1, 50, "", "", nil},
		{"count", true, 2, 0, "hhu", "hu", []string{"b"}},
		{"the example, within zones", true, 0, 50, ten(10), ten(4), []string{"b"}},
		{"the example, across zones", false, 0, 50, ten(10), ten(4), nil},
		{"either threshold", true, 1, 50, "hu", "huu", []string{"b"}},
		{"one not in use is none", true, 1, 50, "h", "hx", nil},
		{"across zones none fails alone", false, 1, 0, "h", "", nil},
	} {
		s := lbconfig.Snapshot{Balancers: []lbconfig.Balancer{{ARN: "lb", Zones: map[netip.Addr]string{netip.MustParseAddr("10.0.0.1"): "a", netip.MustParseAddr("10.0.1.1"): "b"},
			Listeners: []lbconfig.Listener{{Rules: []lbconfig.Rule{{Action: lbconfig.Action{Type: lbconfig.Forward, Groups: []lbconfig.Weighted{{ARN: "tg"}, {ARN: "empty"}}}}}}}}},
			Groups: []lbconfig.TargetGroup{{ARN: "tg", Zonal: c.zonal, Failover: c.failover, FailoverPercent: c.percent}, {ARN: "empty", Failover: 1, Zonal: true}, {ARN: "another's", Failover: 9}}}
		var st lbconfig.Status
		for i, zone := range []string{"a", "b"} {
			for j, kind := range []string{c.a, c.b}[i] {
				addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), byte(10 + j)}), 80)
				s.Groups[0].Targets = append(s.Groups[0].Targets, lbconfig.Target{Addr: addr, Zone: zone, Draining: kind == 'd'})
				st.Targets = append(st.Targets, lbconfig.TargetStatus{Group: "tg", Addr: addr,
					State: map[rune]string{'h': lbconfig.Healthy, 'u': lbconfig.Unhealthy, 'd': lbconfig.Draining, 'x': lbconfig.Unused}[kind]})
			}
		}
		if d := cmp.Diff(c.want, failedZones(s, st)["lb"], cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}

// What is written about a zone follows the targets' health, and the thresholds.
func TestController_ZonesFail(t *testing.T) {
	b := newBench(t)
	change := func(fn func(*state.TargetGroup)) {
		b.update(func(tx *store.WriteTx) error {
			o, err := state.TargetGroups.Get(tx, b.group.Key())
			fn(&o.Val)
			return errors.Join(err, state.TargetGroups.Put(tx, &o))
		})
	}
	change(func(g *state.TargetGroup) { g.CrossZone = "false" })
	b.run()
	failed := func() string {
		var out []string
		b.update(func(tx *store.WriteTx) error {
			s, err := state.LoadBalancerStatuses.Get(tx, b.lb.Key())
			out = s.Val.Failed
			return err
		})
		return fmt.Sprint(out)
	}
	eventually(t, "balancer", b.state, state.Active)
	for zone, a := range map[string]string{"us-east-1a": "172.31.0.50", "us-east-1b": "172.31.16.50", "us-east-1c": "172.31.32.50"} {
		b.update(func(tx *store.WriteTx) error {
			_, err := state.RegisterTarget(tx, b.group.ARN(), a, 80, zone)
			return err
		})
		b.pass(a)
	}
	eventually(t, "all zones are served", failed, "[]")
	b.fake.change(func() { clear(b.fake.healthy) })
	b.pass("172.31.0.50")
	b.pass("172.31.32.50")
	eventually(t, "a zone has no healthy target", failed, "[us-east-1b]")
	change(func(g *state.TargetGroup) { g.NoFailover = true })
	eventually(t, "failover is off", failed, "[]")
}
