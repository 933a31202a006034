package target

import (
	"errors"
	"slices"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// records is everything that a snapshot is made of, of all accounts and regions.
type records struct {
	balancers    []balancer
	groups       []group
	certificates map[string]state.Certificate // by ARN
}

// balancer is a load balancer with what belongs to it.
type balancer struct {
	state.LoadBalancer
	interfaces []state.NetworkInterface
	guards     []state.SecurityGroup
	listeners  []listener
}

type listener struct {
	state.Listener
	rules []state.Rule
}

// group is a target group with its targets.
type group struct {
	state.TargetGroup
	targets []state.Target
}

// vpc is a VPC's place and name.
type vpc struct {
	scope arn.Scope
	id    string
}

// load reads the records in one picture.
func load(tx store.Reader) (records, error) {
	var r records
	for o, err := range state.LoadBalancers.List(tx, "") {
		if err != nil {
			return r, err
		}
		b := balancer{LoadBalancer: o.Val}
		if b.interfaces, err = getAll(tx, state.NetworkInterfaces, o.Val.Scope, o.Val.ENIs); err != nil {
			return r, err
		}
		if b.guards, err = getAll(tx, state.SecurityGroups, o.Val.Scope, o.Val.Groups); err != nil {
			return r, err
		}
		for l, err := range state.Listeners.List(tx, o.Key+"/") {
			if err != nil {
				return r, err
			}
			rules, err := values(tx, state.Rules, l.Key+"/")
			if err != nil {
				return r, err
			}
			b.listeners = append(b.listeners, listener{l.Val, rules})
		}
		r.balancers = append(r.balancers, b)
	}
	for o, err := range state.TargetGroups.List(tx, "") {
		if err != nil {
			return r, err
		}
		targets, err := values(tx, state.Targets, o.Key+"/")
		if err != nil {
			return r, err
		}
		r.groups = append(r.groups, group{o.Val, targets})
	}
	r.certificates = map[string]state.Certificate{}
	for o, err := range state.Certificates.List(tx, "") {
		if err != nil {
			return r, err
		}
		r.certificates[o.Val.ARN()] = o.Val
	}
	// A balancer without an address can serve nothing yet.
	r.balancers = slices.DeleteFunc(r.balancers, func(b balancer) bool { return len(b.interfaces) == 0 })
	return r, nil
}

// vpcs are the balancers' VPCs, in their order.
func (r records) vpcs() (out []vpc) {
	for _, b := range r.balancers {
		out = append(out, vpc{b.Scope, b.VPC})
	}
	return out
}

// getAll reads the records that are there, in the order of their ids.
func getAll[T any](tx store.Reader, t store.Table[T], sc arn.Scope, ids []string) (out []T, err error) {
	for _, id := range ids {
		o, err := t.Get(tx, sc.Key(id))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, o.Val)
	}
	return out, nil
}

func values[T any](tx store.Reader, t store.Table[T], prefix string) (out []T, err error) {
	for o, err := range t.List(tx, prefix) {
		if err != nil {
			return nil, err
		}
		out = append(out, o.Val)
	}
	return out, nil
}
