package fabric

import (
	"errors"

	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// records are what was written about one VPC, each list in the order of keys.
type records struct {
	vpc        state.VPC
	subnets    []state.Subnet
	groups     []state.SecurityGroup
	interfaces []state.NetworkInterface

	// Only with names:
	tasks     map[string]task // by id
	balancers []balancer
}

// balancer is a load balancer, with what the data plane says of it.
type balancer struct {
	state.LoadBalancer
	status state.LoadBalancerStatus
}

// task is a task that has an interface.
type task struct {
	state.Task
	status     state.TaskStatus
	definition ecstypes.TaskDefinition
}

// Private

// readVPC reads what a network is made of; store.ErrNotFound: there is no such VPC.
func readVPC(tx store.Reader, sc arn.Scope, id string) (records, error) {
	var r records
	v, err := state.VPCs.Get(tx, sc.Key(id))
	if err != nil {
		return r, err
	}
	r.vpc = v.Val
	if r.subnets, err = list(tx, state.Subnets, sc, func(s state.Subnet) bool { return s.VPC == id }); err != nil {
		return r, err
	}
	if r.groups, err = list(tx, state.SecurityGroups, sc, func(g state.SecurityGroup) bool { return g.VPC == id }); err != nil {
		return r, err
	}
	r.interfaces, err = list(tx, state.NetworkInterfaces, sc, func(e state.NetworkInterface) bool { return e.VPC == id })
	return r, err
}

// readAll reads everything that names are made of: the VPCs in which somebody lives.
func readAll(tx store.Reader) ([]records, error) {
	var out []records
	for v, err := range state.VPCs.List(tx, "") {
		if err != nil {
			return nil, err
		}
		r, err := readVPC(tx, v.Val.Scope, v.Val.ID)
		if err != nil {
			return nil, err
		}
		if len(r.interfaces) == 0 {
			continue
		}
		if r.balancers, err = readBalancers(tx, r.vpc); err != nil {
			return nil, err
		}
		if r.tasks, err = readTasks(tx, r); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// readBalancers reads the load balancers of a VPC.
func readBalancers(tx store.Reader, v state.VPC) (out []balancer, err error) {
	for b, err := range state.LoadBalancers.List(tx, v.Scope.Key()) {
		if err != nil {
			return nil, err
		}
		if b.Val.VPC != v.ID {
			continue
		}
		st, err := state.LoadBalancerStatuses.Get(tx, b.Key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		out = append(out, balancer{b.Val, st.Val})
	}
	return out, nil
}

// readTasks reads the tasks of a VPC's interfaces.
func readTasks(tx store.Reader, r records) (map[string]task, error) {
	out := map[string]task{}
	definitions := map[string]ecstypes.TaskDefinition{} // many tasks have the same
	for _, e := range r.interfaces {
		if e.Task == "" {
			continue
		}
		t, err := state.Tasks.Get(tx, e.Scope.Key(e.Cluster, e.Task))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		st, err := state.TaskStatuses.Get(tx, t.Key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		def, known := definitions[t.Val.TaskDefinitionARN]
		if !known {
			td, err := state.TaskDefinitions.Get(tx, state.TaskDefinitionKey(t.Val.TaskDefinitionARN))
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return nil, err
			}
			def = td.Val.Definition
			definitions[t.Val.TaskDefinitionARN] = def
		}
		out[t.Val.ID] = task{t.Val, st.Val, def}
	}
	return out, nil
}

func list[T any](tx store.Reader, table store.Table[T], sc arn.Scope, want func(T) bool) ([]T, error) {
	var out []T
	for o, err := range table.List(tx, sc.Key()) {
		if err != nil {
			return nil, err
		}
		if want(o.Val) {
			out = append(out, o.Val)
		}
	}
	return out, nil
}
