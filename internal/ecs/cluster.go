package ecs

import (
	"cmp"
	"context"
	"errors"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// CreateCluster makes a cluster, revives a deleted one, or returns the one that is there.
func (s *Service) CreateCluster(ctx context.Context, in *ecs.CreateClusterInput) (*ecs.CreateClusterOutput, error) {
	if err := onlyMembers("", in, "ClusterName", "Settings", "Tags", "CapacityProviders", "DefaultCapacityProviderStrategy"); err != nil {
		return nil, err
	}
	if err := checkSettings(in.Settings); err != nil {
		return nil, err
	}
	name := aws.ToString(in.ClusterName)
	if name == "" {
		name = defaultCluster
	}
	if !nameRE.MatchString(name) {
		return nil, invalid("Invalid identifier: Unexpected characters in cluster name. Names are 1 to 255 letters, digits, hyphens and underscores.")
	}
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	sc := scope(ctx)
	var out types.Cluster
	err = s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		c, err := state.Clusters.Get(tx, sc.Key(name))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err != nil || c.Val.Status != "ACTIVE" {
			c.Key = sc.Key(name)
			c.Val = state.Cluster{Scope: sc, Name: name, Status: "ACTIVE", CreatedAt: tx.Now(), Tags: tags}
			if err := setProviders(sc, &c.Val, in.CapacityProviders, in.DefaultCapacityProviderStrategy); err != nil {
				return err
			}
			out = clusterHead(c.Val) // one with services or tasks can't be deleted
			out.Tags = tagList(c.Val.Tags)
			return state.Clusters.Put(tx, &c)
		}
		out, err = clusterView(tx, c.Val)
		out.Tags = tagList(c.Val.Tags)
		return err
	})
	return &ecs.CreateClusterOutput{Cluster: &out}, err
}

// DescribeClusters shows clusters; what isn't there is a failure, not an error.
func (s *Service) DescribeClusters(ctx context.Context, in *ecs.DescribeClustersInput) (*ecs.DescribeClustersOutput, error) {
	if err := onlyMembers("", in, "Clusters", "Include"); err != nil {
		return nil, err
	}
	names := in.Clusters
	if len(names) == 0 {
		names = []string{defaultCluster}
	}
	if len(names) > 100 {
		return nil, invalid("clusters can have at most 100 items.")
	}
	sc, out := scope(ctx), &ecs.DescribeClustersOutput{Clusters: []types.Cluster{}, Failures: []types.Failure{}}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for _, given := range names {
			name, err := clusterName(sc, &given)
			if errors.Is(err, errClusterNotFound) {
				out.Failures = append(out.Failures, missing(given))
				continue
			}
			if err != nil {
				return err
			}
			c, err := state.Clusters.Get(tx, sc.Key(name))
			if errors.Is(err, store.ErrNotFound) {
				out.Failures = append(out.Failures, missing(sc.ARN("ecs", "cluster/"+name)))
				continue
			}
			if err != nil {
				return err
			}
			v, err := clusterView(tx, c.Val)
			if err != nil {
				return err
			}
			include(&v, c.Val, in.Include)
			out.Clusters = append(out.Clusters, v)
		}
		return nil
	})
	return out, err
}

// ListClusters lists the ACTIVE clusters' ARNs.
func (s *Service) ListClusters(ctx context.Context, in *ecs.ListClustersInput) (*ecs.ListClustersOutput, error) {
	if err := onlyMembers("", in, "MaxResults", "NextToken"); err != nil {
		return nil, err
	}
	sc := scope(ctx)
	var arns []string
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for c, err := range state.Clusters.List(tx, sc.Key()) {
			if err != nil {
				return err
			}
			if c.Val.Status == "ACTIVE" {
				arns = append(arns, c.Val.ARN())
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	page, next, err := paginate(arns, in.NextToken, in.MaxResults, 100)
	return &ecs.ListClustersOutput{ClusterArns: page, NextToken: next}, err
}

// UpdateCluster changes settings. Nothing else of a cluster can be changed yet.
func (s *Service) UpdateCluster(ctx context.Context, in *ecs.UpdateClusterInput) (*ecs.UpdateClusterOutput, error) {
	if err := onlyMembers("", in, "Cluster", "Settings"); err != nil {
		return nil, err
	}
	v, err := s.changeSettings(ctx, in.Cluster, in.Settings)
	return &ecs.UpdateClusterOutput{Cluster: v}, err
}

// UpdateClusterSettings is the older way to change settings.
func (s *Service) UpdateClusterSettings(ctx context.Context, in *ecs.UpdateClusterSettingsInput) (*ecs.UpdateClusterSettingsOutput, error) {
	if err := onlyMembers("", in, "Cluster", "Settings"); err != nil {
		return nil, err
	}
	v, err := s.changeSettings(ctx, in.Cluster, in.Settings)
	return &ecs.UpdateClusterSettingsOutput{Cluster: v}, err
}

// DeleteCluster makes an empty cluster INACTIVE.
func (s *Service) DeleteCluster(ctx context.Context, in *ecs.DeleteClusterInput) (*ecs.DeleteClusterOutput, error) {
	if err := onlyMembers("", in, "Cluster"); err != nil {
		return nil, err
	}
	sc := scope(ctx)
	var out types.Cluster
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		c, err := s.cluster(tx, sc, in.Cluster)
		if err != nil {
			return err
		}
		for svc, err := range state.Services.List(tx, sc.Key(c.Val.Name, "")) {
			if err != nil {
				return err
			}
			if svc.Val.DeletedAt.IsZero() {
				return errClusterServices
			}
		}
		for _, err := range state.LiveTasks(tx, sc.Key(c.Val.Name, "")) {
			return cmp.Or(err, error(errClusterTasks))
		}
		c.Val.Status = "INACTIVE"
		if err := state.Clusters.Put(tx, &c); err != nil {
			return err
		}
		out, err = clusterView(tx, c.Val)
		return err
	})
	return &ecs.DeleteClusterOutput{Cluster: &out}, err
}

// Private

// cluster finds an ACTIVE cluster by name or ARN.
func (s *Service) cluster(tx store.Reader, sc arn.Scope, given *string) (store.Object[state.Cluster], error) {
	name, err := clusterName(sc, given)
	if err != nil {
		return store.Object[state.Cluster]{}, err
	}
	c, err := state.Clusters.Get(tx, sc.Key(name))
	if errors.Is(err, store.ErrNotFound) || err == nil && c.Val.Status != "ACTIVE" {
		return c, errClusterNotFound
	}
	return c, err
}

// changeCluster changes an ACTIVE cluster and shows it.
func (s *Service) changeCluster(ctx context.Context, given *string, change func(*store.WriteTx, *state.Cluster) error) (*types.Cluster, error) {
	var v types.Cluster
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		c, err := s.cluster(tx, scope(ctx), given)
		if err != nil {
			return err
		}
		if err := change(tx, &c.Val); err != nil {
			return err
		}
		if err := state.Clusters.Put(tx, &c); err != nil {
			return err
		}
		v, err = clusterView(tx, c.Val)
		include(&v, c.Val, []types.ClusterField{types.ClusterFieldSettings, types.ClusterFieldTags})
		return err
	})
	return &v, err
}

// changeSettings: the one setting there is has one value that can be met.
func (s *Service) changeSettings(ctx context.Context, cluster *string, given []types.ClusterSetting) (*types.Cluster, error) {
	if err := checkSettings(given); err != nil {
		return nil, err
	}
	return s.changeCluster(ctx, cluster, func(*store.WriteTx, *state.Cluster) error { return nil })
}

func checkSettings(given []types.ClusterSetting) error {
	for _, st := range given {
		if st.Name != types.ClusterSettingNameContainerInsights || aws.ToString(st.Value) != "disabled" {
			return invalid("Lotse gathers no container insights yet: the setting %s can only be disabled.", st.Name)
		}
	}
	return nil
}

// clusterView counts what the cluster holds: counts are never stored.
func clusterView(tx store.Reader, c state.Cluster) (types.Cluster, error) {
	v := clusterHead(c)
	prefix := c.Scope.Key(c.Name, "")
	for svc, err := range state.Services.List(tx, prefix) {
		if err != nil {
			return v, err
		}
		if svc.Val.DeletedAt.IsZero() {
			v.ActiveServicesCount++
		}
	}
	for t, err := range state.LiveTasks(tx, prefix) { // not their statuses: a task that no controller has seen yet is pending
		if err != nil {
			return v, err
		}
		st, err := taskStatus(tx, t.Key)
		if err != nil {
			return v, err
		}
		switch taskPhase(st.LastStatus) {
		case running:
			v.RunningTasksCount++
		case pending:
			v.PendingTasksCount++
		}
	}
	return v, nil
}

// clusterHead is a cluster without services and tasks.
func clusterHead(c state.Cluster) types.Cluster {
	return types.Cluster{
		ClusterArn: aws.String(c.ARN()), ClusterName: aws.String(c.Name), Status: aws.String(c.Status),
		CapacityProviders: append([]string{}, c.CapacityProviders...), DefaultCapacityProviderStrategy: append([]types.CapacityProviderStrategyItem{}, strategyView(c.DefaultStrategy)...),
		Settings: []types.ClusterSetting{}, Statistics: []types.KeyValuePair{}, Tags: []types.Tag{},
	}
}

// include adds what DescribeClusters shows only when asked for it.
func include(v *types.Cluster, c state.Cluster, fields []types.ClusterField) {
	for _, f := range fields {
		switch f {
		case types.ClusterFieldTags:
			v.Tags = tagList(c.Tags)
		case types.ClusterFieldSettings:
			v.Settings = []types.ClusterSetting{{Name: types.ClusterSettingNameContainerInsights, Value: aws.String("disabled")}}
		case types.ClusterFieldAttachments:
			v.Attachments = []types.Attachment{} // of capacity providers with instances
		case types.ClusterFieldStatistics:
			// Every task and service here is of launch type FARGATE.
			v.Statistics = []types.KeyValuePair{
				statistic("runningEC2TasksCount", 0), statistic("runningFargateTasksCount", v.RunningTasksCount),
				statistic("pendingEC2TasksCount", 0), statistic("pendingFargateTasksCount", v.PendingTasksCount),
				statistic("activeEC2ServiceCount", 0), statistic("activeFargateServiceCount", v.ActiveServicesCount),
			}
		}
	}
}

func statistic(name string, n int32) types.KeyValuePair {
	return types.KeyValuePair{Name: aws.String(name), Value: aws.String(strconv.Itoa(int(n)))}
}

func missing(what string) types.Failure {
	return types.Failure{Arn: aws.String(what), Reason: aws.String("MISSING")}
}

// A phase groups the eight states for counting.
type phase int

const (
	pending phase = iota // PROVISIONING, PENDING, ACTIVATING
	running              // RUNNING
	ending               // DEACTIVATING and after
)

func taskPhase(lastStatus string) phase {
	switch lastStatus {
	case "RUNNING":
		return running
	case "PROVISIONING", "PENDING", "ACTIVATING":
		return pending
	}
	return ending
}
