package state_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

var elbScope = arn.Scope{Account: "000000000000", Region: "us-east-1"}

// elbStore has one group and a clock that goes a second further with each transaction.
func elbStore(t *testing.T) (*store.DB, state.TargetGroup) {
	t.Helper()
	now := time.Unix(1700000000, 0).UTC()
	db, err := store.Open(filepath.Join(t.TempDir(), "lotse.db"), store.Options{Now: func() time.Time { now = now.Add(time.Second); return now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	g := state.TargetGroup{Scope: elbScope, Name: "web", ID: "0123456789abcdef", VPC: "vpc-1"}
	update(t, db, func(tx *store.WriteTx) error {
		return state.TargetGroups.Put(tx, &store.Object[state.TargetGroup]{Key: g.Key(), Val: g})
	})
	return db, g
}

func update(t *testing.T, db *store.DB, fn func(*store.WriteTx) error) {
	t.Helper()
	if err := db.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func TestRegisterTarget_IsANoOpForOneThatIsThere(t *testing.T) {
	db, g := elbStore(t)
	var key string
	var first store.Rev
	for i := range 2 {
		update(t, db, func(tx *store.WriteTx) (err error) {
			key, err = state.RegisterTarget(tx, g.ARN(), "172.31.0.5", 8080, "us-east-1a")
			return err
		})
		update(t, db, func(tx *store.WriteTx) error {
			o, err := state.Targets.Get(tx, key)
			if i == 0 {
				first = o.Rev
			}
			if o.Rev != first {
				t.Errorf("registered again: revision %d, want %d still", o.Rev, first)
			}
			return err
		})
	}
	if want := "000000000000/us-east-1/web/0123456789abcdef/172.31.0.5:8080"; key != want {
		t.Errorf("key = %s, want %s", key, want)
	}
}

func TestRegisterTarget_RevivesADrainingOne(t *testing.T) {
	db, g := elbStore(t)
	var key string
	update(t, db, func(tx *store.WriteTx) (err error) {
		key, err = state.RegisterTarget(tx, g.ARN(), "172.31.0.5", 8080, "")
		return errors.Join(err, state.TargetHealths.Put(tx, &store.Object[state.TargetHealth]{Key: key, Val: state.TargetHealth{State: "healthy"}}))
	})
	var left time.Time
	for range 2 { // the second must not start the delay anew
		update(t, db, func(tx *store.WriteTx) error {
			err := state.DeregisterTarget(tx, key)
			o, _ := state.Targets.Get(tx, key)
			if left.IsZero() {
				left = o.Val.DeregisteredAt
			}
			if left.IsZero() || !left.Equal(o.Val.DeregisteredAt) {
				t.Errorf("DeregisteredAt = %v, want %v", o.Val.DeregisteredAt, left)
			}
			return err
		})
	}
	update(t, db, func(tx *store.WriteTx) error {
		if _, err := state.RegisterTarget(tx, g.ARN(), "172.31.0.5", 8080, ""); err != nil {
			return err
		}
		o, err := state.Targets.Get(tx, key)
		if !o.Val.DeregisteredAt.IsZero() || !o.Val.RegisteredAt.Equal(tx.Now()) {
			t.Errorf("revived: %+v, want one registered now", o.Val)
		}
		if _, err := state.TargetHealths.Get(tx, key); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("health of the former registration: %v, want ErrNotFound", err)
		}
		return err
	})
}

func TestTargets_OfWhatIsGone(t *testing.T) {
	db, g := elbStore(t)
	for _, group := range []string{"nonsense", elbScope.ARN("elasticloadbalancing", "targetgroup/web/ffffffffffffffff"), elbScope.ARN("ecs", "targetgroup/web/"+g.ID)} {
		err := db.Update(t.Context(), func(tx *store.WriteTx) error {
			_, err := state.RegisterTarget(tx, group, "172.31.0.5", 80, "")
			return err
		})
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("RegisterTarget(%s) = %v, want ErrNotFound", group, err)
		}
	}
	err := db.Update(t.Context(), func(tx *store.WriteTx) error { return state.DeregisterTarget(tx, g.Key()+"/172.31.0.9:80") })
	if !errors.Is(err, store.ErrNotFound) {
		t.Errorf("DeregisterTarget = %v, want ErrNotFound", err)
	}
}

func TestTargetGroupInUse(t *testing.T) {
	db, g := elbStore(t)
	forward := []state.Action{{Type: "forward", Groups: []state.WeightedGroup{{ARN: g.ARN(), Weight: 1}}}}
	a := state.Listener{Scope: elbScope, Balancer: "a/1111111111111111", ID: "2222222222222222", DefaultRuleID: "3"}
	b := state.Listener{Scope: elbScope, Balancer: "b/1111111111111111", ID: "2222222222222222", DefaultRuleID: "3", Default: forward}
	r := state.Rule{Scope: elbScope, Listener: a.Balancer + "/" + a.ID, ID: "4444444444444444", Priority: 1, Actions: forward}
	for _, tc := range []struct {
		name string
		put  func(tx *store.WriteTx) error
		want []string
	}{
		{"nobody", func(*store.WriteTx) error { return nil }, nil},
		{"a listener without it", func(tx *store.WriteTx) error {
			return state.Listeners.Put(tx, &store.Object[state.Listener]{Key: a.Key(), Val: a})
		}, nil},
		{"a rule", func(tx *store.WriteTx) error {
			return state.Rules.Put(tx, &store.Object[state.Rule]{Key: r.Key(), Val: r})
		}, []string{a.BalancerARN()}},
		{"and a default", func(tx *store.WriteTx) error {
			return state.Listeners.Put(tx, &store.Object[state.Listener]{Key: b.Key(), Val: b})
		}, []string{a.BalancerARN(), b.BalancerARN()}},
	} {
		update(t, db, func(tx *store.WriteTx) error {
			if err := tc.put(tx); err != nil {
				return err
			}
			got, err := state.TargetGroupBalancers(tx, elbScope, g.ARN())
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("%s: TargetGroupBalancers (-want +got):\n%s", tc.name, d)
			}
			if used, _ := state.TargetGroupInUse(tx, elbScope, g.ARN()); used != (len(tc.want) > 0) {
				t.Errorf("%s: TargetGroupInUse = %v", tc.name, used)
			}
			return err
		})
	}
}

func TestELBKey_IsTheKeyOfTheRecord(t *testing.T) {
	b := state.LoadBalancer{Scope: elbScope, Name: "web", ID: "1111111111111111"}
	l := state.Listener{Scope: elbScope, Balancer: "web/1111111111111111", ID: "2222222222222222"}
	r := state.Rule{Scope: elbScope, Listener: l.Balancer + "/" + l.ID, ID: "3333333333333333"}
	g := state.TargetGroup{Scope: elbScope, Name: "web", ID: "4444444444444444"}
	elsewhere := g
	elsewhere.Scope.Region = "eu-west-1"
	for _, tc := range []struct{ typ, arn, want string }{
		{"loadbalancer", b.ARN(), b.Key()},
		{"listener", l.ARN(), l.Key()},
		{"listener-rule", r.ARN(), r.Key()},
		{"targetgroup", g.ARN(), g.Key()},
		{"loadbalancer", l.BalancerARN(), b.Key()},
		{"targetgroup", b.ARN(), ""},
		{"targetgroup", elsewhere.ARN(), ""},
		{"targetgroup", g.ARN() + "/x", ""},
		{"loadbalancer", elbScope.ARN("elasticloadbalancing", "loadbalancer/net/web/1111111111111111"), ""},
		{"listener", "web", ""},
	} {
		if got := state.ELBKey(elbScope, tc.typ, tc.arn); got != tc.want {
			t.Errorf("ELBKey(%s, %s) = %q, want %q", tc.typ, tc.arn, got, tc.want)
		}
	}
}
