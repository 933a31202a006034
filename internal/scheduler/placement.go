package scheduler

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// A placement divides a deployment's tasks over zones and capacity providers.
type placement struct {
	zones    []string             // of the deployment's subnets
	inZone   map[string]int       // its tasks that are not told to stop
	strategy []state.StrategyItem // empty with a launch type
	with     map[string]int       // such tasks of a provider
}

// placement looks where a deployment's tasks are.
func (s *service) placement(tx store.Reader, d state.Deployment) (placement, error) {
	p := placement{inZone: map[string]int{}, strategy: d.Strategy, with: map[string]int{}}
	var err error
	if p.zones, err = zonesOf(tx, s.svc.Val.Scope, d); err != nil {
		return p, err
	}
	for _, m := range s.tasks {
		if m.task.Deployment == d.ID && !m.stopping() && !m.stopped() {
			p.inZone[m.zone()]++
			p.with[m.task.CapacityProvider]++
		}
	}
	return p, nil
}

// put gives a new task its zone, the one with the fewest tasks, and its capacity provider.
func (p *placement) put(t *state.Task) {
	if len(p.zones) > 0 {
		t.Zone = slices.MinFunc(p.zones, func(a, b string) int { return cmp.Compare(p.inZone[a], p.inZone[b]) })
		p.inZone[t.Zone]++
	}
	if t.CapacityProvider = nextProvider(p.strategy, p.with); t.CapacityProvider != "" {
		t.LaunchType = "FARGATE" // the providers that there are
		p.with[t.CapacityProvider]++
	}
}

// nextProvider takes the provider whose base isn't full, then the one that is furthest behind its weight.
// Source: DG capacity providers: base 2 and weight 1 of A, weight 3 of B: A A, then one A for three B.
func nextProvider(strategy []state.StrategyItem, have map[string]int) string {
	for _, i := range strategy {
		if have[i.Provider] < i.Base {
			return i.Provider
		}
	}
	best, least := "", 0.0
	for _, i := range strategy {
		if i.Weight == 0 && len(strategy) > 1 {
			continue
		}
		if load := float64(have[i.Provider]-i.Base+1) / float64(max(1, i.Weight)); best == "" || load < least {
			best, least = i.Provider, load
		}
	}
	return best
}

// zonesOf lists the zones of a deployment's subnets, each once, in order.
func zonesOf(tx store.Reader, sc arn.Scope, d state.Deployment) ([]string, error) {
	var out []string
	for _, id := range d.Network.Subnets {
		sn, err := state.Subnets.Get(tx, sc.Key(id))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, sn.Val.Zone) {
			out = append(out, sn.Val.Zone)
		}
	}
	slices.Sort(out)
	return out, nil
}

// zone is where a task is or is meant to be.
func (m member) zone() string { return cmp.Or(m.status.Zone, m.task.Zone) }

// rebalances tells of a task that is started to even out the zones.
func (s *service) rebalances(ids []string) {
	for _, id := range ids {
		// Source: events of a service with availabilityZoneRebalancing, as published by users.
		s.once("zones", "unbalanced", "is not AZ balanced with "+zoneList(s.perZone(id))+". AZ Rebalancing in progress.")
		s.event(fmt.Sprintf("has started 1 tasks in %s to AZ Rebalance: (task %s).", s.member(id).task.Zone, id))
	}
}

// perZone counts the primary's tasks besides the one that was just started.
func (s *service) perZone(without string) map[string]int {
	n := map[string]int{}
	for _, z := range s.zones {
		n[z] = 0
	}
	for _, m := range s.tasks {
		if m.task.Deployment == s.primary() && !m.stopping() && !m.stopped() && m.task.ID != without {
			n[m.zone()]++
		}
	}
	return n
}

// zoneList reads "2 tasks in us-east-1a, 1 tasks in us-east-1b".
func zoneList(n map[string]int) string {
	var b []string
	for _, z := range sorted(n) {
		b = append(b, fmt.Sprintf("%d tasks in %s", n[z], z))
	}
	return strings.Join(b, ", ")
}
