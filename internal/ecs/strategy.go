package ecs

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/state"
)

// Texts as published by users of the real service.
var (
	errTwoLaunches   = invalid("Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.")
	errNotAssociated = invalid("The specified capacity provider strategy cannot contain a capacity provider that is not associated with the cluster. Associate the capacity provider with the cluster and try again.")
	errForceNeeded   = invalid("When switching from launch type to capacity provider strategy on an existing service, or making a change to a capacity provider strategy on a service that is already using one, you must force a new deployment.")
)

// launch says how tasks are launched: by a launch type, by the strategy given, or by the cluster's default one.
func launch(c state.Cluster, lt types.LaunchType, given []types.CapacityProviderStrategyItem) (launchType string, strategy []state.StrategyItem, err error) {
	switch {
	case lt != "" && len(given) > 0:
		return "", nil, errTwoLaunches
	case len(given) > 0:
		strategy, err = checkStrategy(c, given)
		return "", strategy, err
	case lt == "" && len(c.DefaultStrategy) > 0:
		return "", c.DefaultStrategy, nil
	}
	return string(lt), nil, checkLaunch(lt, nil)
}

// checkStrategy. Source: API reference, CapacityProviderStrategyItem: weight 0 to 1,000, base 0 to 100,000, only one
// item with a base, at most 20 items, and one with a weight where there are several.
func checkStrategy(c state.Cluster, given []types.CapacityProviderStrategyItem) ([]state.StrategyItem, error) {
	if len(given) > 20 {
		return nil, invalid("A capacity provider strategy can contain a maximum of 20 capacity providers.")
	}
	var out []state.StrategyItem
	bases, weights := 0, 0
	for _, g := range given {
		name := aws.ToString(g.CapacityProvider)
		switch {
		case !slices.Contains(c.CapacityProviders, name):
			return nil, errNotAssociated
		case slices.ContainsFunc(out, func(i state.StrategyItem) bool { return i.Provider == name }):
			return nil, invalid("The capacity provider strategy contains the capacityProvider %s twice.", name)
		case g.Weight < 0 || g.Weight > 1000:
			return nil, invalid("The weight of a capacity provider is between 0 and 1000.")
		case g.Base < 0 || g.Base > 100000:
			return nil, invalid("The base of a capacity provider is between 0 and 100000.")
		}
		if g.Base > 0 {
			bases++
		}
		weights += int(g.Weight)
		out = append(out, state.StrategyItem{Provider: name, Base: int(g.Base), Weight: int(g.Weight)})
	}
	if bases > 1 {
		return nil, invalid("Only one capacity provider in a capacity provider strategy can have a base defined.")
	}
	if len(out) > 1 && weights == 0 {
		return nil, invalid("A capacity provider strategy of several capacity providers needs one with a weight above 0.")
	}
	return out, nil
}

// providers divides n tasks among a strategy's capacity providers: first as many as a base wants,
// then by weight. Without a strategy there is none.
// Source: API reference, CapacityProviderStrategyItem.
func providers(items []state.StrategyItem, n int) []string {
	out, given := make([]string, n), make([]int, len(items))
	for i := range out {
		best := -1
		for j, item := range items {
			switch {
			case given[j] < item.Base:
				best = j
			case item.Weight == 0 && len(items) > 1:
				continue
			case best < 0 || // the lesser (tasks beyond the base + 1) / weight
				(given[j]-item.Base+1)*max(1, items[best].Weight) < (given[best]-items[best].Base+1)*max(1, item.Weight):
				best = j
			}
			if given[j] < item.Base {
				break
			}
		}
		if best < 0 {
			continue
		}
		given[best]++
		out[i] = items[best].Provider
	}
	return out
}

func strategyView(items []state.StrategyItem) []types.CapacityProviderStrategyItem {
	var out []types.CapacityProviderStrategyItem
	for _, i := range items {
		out = append(out, types.CapacityProviderStrategyItem{CapacityProvider: aws.String(i.Provider), Base: int32(i.Base), Weight: int32(i.Weight)})
	}
	return out
}
