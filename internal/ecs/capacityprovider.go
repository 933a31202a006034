package ecs

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// fargate are the capacity providers that every account has. On one machine both give the same.
var fargate = []string{"FARGATE", "FARGATE_SPOT"}

// Texts as published by users of the real service.
var (
	errNoProvider    = invalid("The specified capacity provider does not exist. Specify a valid name or ARN and try again.")
	errProviderInUse = awsError("ResourceInUseException", "The specified capacity provider is in use and cannot be removed.")
)

// PutClusterCapacityProviders replaces a cluster's capacity providers and its default strategy.
func (s *Service) PutClusterCapacityProviders(ctx context.Context, in *ecs.PutClusterCapacityProvidersInput) (*ecs.PutClusterCapacityProvidersOutput, error) {
	if err := onlyMembers("", in, "Cluster", "CapacityProviders", "DefaultCapacityProviderStrategy"); err != nil {
		return nil, err
	}
	sc := scope(ctx)
	v, err := s.changeCluster(ctx, in.Cluster, func(tx *store.WriteTx, c *state.Cluster) error {
		before := c.CapacityProviders
		if err := setProviders(sc, c, in.CapacityProviders, in.DefaultCapacityProviderStrategy); err != nil {
			return err
		}
		for _, gone := range before {
			if slices.Contains(c.CapacityProviders, gone) {
				continue
			}
			if used, err := providerInUse(tx, *c, gone); err != nil || used {
				return errorOr(err, errProviderInUse)
			}
		}
		return nil
	})
	return &ecs.PutClusterCapacityProvidersOutput{Cluster: v}, err
}

// DescribeCapacityProviders shows the ones there are, or those of a cluster.
func (s *Service) DescribeCapacityProviders(ctx context.Context, in *ecs.DescribeCapacityProvidersInput) (*ecs.DescribeCapacityProvidersOutput, error) {
	if err := onlyMembers("", in, "CapacityProviders", "Cluster", "Include", "MaxResults", "NextToken"); err != nil {
		return nil, err
	}
	if len(in.CapacityProviders) > 100 {
		return nil, invalid("capacityProviders can have at most 100 items.")
	}
	sc, all := scope(ctx), fargate
	if in.Cluster != nil {
		err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
			c, err := s.cluster(tx, sc, in.Cluster)
			all = slices.Sorted(slices.Values(c.Val.CapacityProviders))
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	out := &ecs.DescribeCapacityProvidersOutput{Failures: []types.Failure{}}
	var names []string
	for _, given := range in.CapacityProviders {
		name := providerName(sc, given)
		if slices.Contains(all, name) {
			names = append(names, name)
		} else if arn.IsARN(given) {
			out.Failures = append(out.Failures, missing(given))
		} else {
			out.Failures = append(out.Failures, missing(sc.ARN("ecs", "capacity-provider/"+given)))
		}
	}
	if len(in.CapacityProviders) == 0 {
		names = all
	}
	slices.Sort(names)
	page, next, err := paginate(slices.Compact(names), in.NextToken, in.MaxResults, 10)
	if err != nil {
		return nil, err
	}
	out.NextToken = next
	for _, n := range page {
		out.CapacityProviders = append(out.CapacityProviders, types.CapacityProvider{
			CapacityProviderArn: aws.String(sc.ARN("ecs", "capacity-provider/"+n)), Name: &n,
			Status: types.CapacityProviderStatusActive, Type: types.CapacityProviderType(n), Tags: []types.Tag{}})
	}
	return out, nil
}

// Private

// setProviders checks a cluster's capacity providers and default strategy, and keeps them.
func setProviders(sc arn.Scope, c *state.Cluster, given []string, strategy []types.CapacityProviderStrategyItem) error {
	var names []string
	for _, g := range given {
		name := providerName(sc, g)
		if !slices.Contains(fargate, name) {
			return errNoProvider
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	c.CapacityProviders = names
	items, err := checkStrategy(*c, strategy)
	if err != nil {
		return err
	}
	c.DefaultStrategy = items
	return nil
}

// providerName takes a capacity provider's name or ARN.
func providerName(sc arn.Scope, given string) string {
	a, err := arn.Parse(given)
	if err == nil && a.Service == "ecs" && a.Type() == "capacity-provider" && a.Account == sc.Account && a.Region == sc.Region {
		return a.Name()
	}
	return given
}

// providerInUse reports whether a task that isn't stopped, or a service, counts on a capacity provider.
func providerInUse(tx store.Reader, c state.Cluster, name string) (bool, error) {
	for t, err := range state.LiveTasks(tx, c.Scope.Key(c.Name, "")) {
		if err != nil || t.Val.CapacityProvider == name {
			return err == nil, err
		}
	}
	for svc, err := range state.Services.List(tx, c.Scope.Key(c.Name, "")) {
		if err != nil {
			return false, err
		}
		var newest state.Deployment
		for d, err := range state.Deployments.List(tx, svc.Key+"/") {
			if err != nil {
				return false, err
			}
			newest = d.Val
		}
		if svc.Val.DeletedAt.IsZero() && slices.ContainsFunc(newest.Strategy, func(i state.StrategyItem) bool { return i.Provider == name }) {
			return true, nil
		}
	}
	return false, nil
}

func errorOr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}
