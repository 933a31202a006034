package ecs

import (
	"context"
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// DescribeServices shows services, also DRAINING and INACTIVE ones; what isn't there is a failure.
func (s *Service) DescribeServices(ctx context.Context, in *ecs.DescribeServicesInput) (*ecs.DescribeServicesOutput, error) {
	if err := onlyMembers("", in, "Cluster", "Services", "Include"); err != nil {
		return nil, err
	}
	if len(in.Services) == 0 {
		return nil, invalid("Services cannot be empty.")
	}
	if len(in.Services) > 10 {
		return nil, invalid("services can have at most 10 items.")
	}
	sc, out := scope(ctx), &ecs.DescribeServicesOutput{Services: []types.Service{}, Failures: []types.Failure{}}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		c, err := s.cluster(tx, sc, in.Cluster)
		if err != nil {
			return err
		}
		for _, given := range in.Services {
			name, err := lastName(sc, c.Val.Name, "service", given)
			if err != nil {
				return err
			}
			o, err := state.Services.Get(tx, sc.Key(c.Val.Name, name))
			if errors.Is(err, store.ErrNotFound) {
				out.Failures = append(out.Failures, missing(sc.ARN("ecs", "service/"+c.Val.Name+"/"+name)))
				continue
			}
			if err != nil {
				return err
			}
			v, err := serviceView(tx, o.Val, slices.Contains(in.Include, types.ServiceFieldTags))
			if err != nil {
				return err
			}
			out.Services = append(out.Services, v)
		}
		return nil
	})
	return out, err
}

// ListServices lists ACTIVE services' ARNs; ten a page unless asked otherwise.
func (s *Service) ListServices(ctx context.Context, in *ecs.ListServicesInput) (*ecs.ListServicesOutput, error) {
	if err := onlyMembers("", in, "Cluster", "LaunchType", "MaxResults", "NextToken", "ResourceManagementType", "SchedulingStrategy"); err != nil {
		return nil, err
	}
	sc := scope(ctx)
	var arns []string
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		c, err := s.cluster(tx, sc, in.Cluster)
		if err != nil {
			return err
		}
		for o, err := range state.Services.List(tx, sc.Key(c.Val.Name, "")) {
			if err != nil {
				return err
			}
			if !o.Val.DeletedAt.IsZero() || in.LaunchType != "" && in.LaunchType != types.LaunchTypeFargate ||
				in.SchedulingStrategy != "" && in.SchedulingStrategy != types.SchedulingStrategyReplica ||
				in.ResourceManagementType != "" && in.ResourceManagementType != types.ResourceManagementTypeCustomer {
				continue
			}
			arns = append(arns, o.Val.ARN())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	page, next, err := paginate(arns, in.NextToken, in.MaxResults, 10)
	return &ecs.ListServicesOutput{ServiceArns: page, NextToken: next}, err
}

// Private

// taskCounts are the tasks of a service or of one of its deployments.
type taskCounts struct {
	running, pending int
	wanted           int // of both, those that are not told to stop
}

// An observed service is one with what its controllers say of it.
type observed struct {
	state.Service
	status state.ServiceStatus
	tasks  map[string]taskCounts // by deployment
	all    taskCounts
}

func observe(tx store.Reader, svc state.Service) (observed, error) {
	o := observed{Service: svc, tasks: map[string]taskCounts{}}
	st, err := state.ServiceStatuses.Get(tx, svc.Key())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return o, err
	}
	o.status = st.Val
	for t, err := range state.TasksOf(tx, svc.Key()) {
		if err != nil {
			return o, err
		}
		st, err := taskStatus(tx, t.Key)
		if err != nil {
			return o, err
		}
		wanted := desiredStatus(t.Val, st) == "RUNNING"
		n := taskCounts{}
		switch {
		case taskPhase(st.LastStatus) == running:
			n.running = 1
		case taskPhase(st.LastStatus) == pending && wanted:
			n.pending = 1
		default:
			continue
		}
		if wanted {
			n.wanted = 1
		}
		o.tasks[t.Val.Deployment] = o.tasks[t.Val.Deployment].plus(n)
		o.all = o.all.plus(n)
	}
	return o, nil
}

func (n taskCounts) plus(m taskCounts) taskCounts {
	return taskCounts{n.running + m.running, n.pending + m.pending, n.wanted + m.wanted}
}

// deployment is how far a deployment has come; one that no controller has seen is in progress.
func (o observed) deployment(tx store.Reader, d state.Deployment) (state.DeploymentStatus, error) {
	st, err := state.StatusOf(tx, o.Service, o.status, d)
	if st.RolloutState == "" && !st.Gone {
		st = state.DeploymentStatus{RolloutState: "IN_PROGRESS", RolloutStateReason: "ECS deployment " + d.ID + " in progress.", UpdatedAt: d.CreatedAt}
	}
	return st, err
}

func serviceView(tx store.Reader, svc state.Service, withTags bool) (types.Service, error) {
	o, err := observe(tx, svc)
	if err != nil {
		return types.Service{}, err
	}
	st, n := o.status, o.all
	p, err := primary(tx, svc)
	if err != nil {
		return types.Service{}, err
	}
	v := types.Service{
		ServiceArn: aws.String(svc.ARN()), ServiceName: aws.String(svc.Name), ClusterArn: aws.String(svc.ClusterARN()),
		Status: aws.String(serviceStatus(svc, st)), DesiredCount: int32(svc.DesiredCount), RunningCount: int32(n.running), PendingCount: int32(n.pending),
		TaskDefinition: aws.String(p.TaskDefinitionARN), LaunchType: types.LaunchType(p.LaunchType), CapacityProviderStrategy: strategyView(p.Strategy), PlatformVersion: aws.String("LATEST"), PlatformFamily: aws.String("Linux"),
		CreatedAt: aws.Time(svc.CreatedAt), CreatedBy: aws.String(svc.CreatedBy), SchedulingStrategy: types.SchedulingStrategyReplica,
		DeploymentController: &types.DeploymentController{Type: types.DeploymentControllerTypeEcs}, DeploymentConfiguration: deploymentConfiguration(svc),
		NetworkConfiguration: networkView(p.Network), LoadBalancers: loadBalancerViews(p.LoadBalancers), ServiceRegistries: []types.ServiceRegistry{},
		PlacementConstraints: []types.PlacementConstraint{}, PlacementStrategy: []types.PlacementStrategy{}, EnableECSManagedTags: svc.ManagedTags,
		PropagateTags: types.PropagateTagsNone, HealthCheckGracePeriodSeconds: aws.Int32(int32(svc.GracePeriod)),
		AvailabilityZoneRebalancing: types.AvailabilityZoneRebalancingDisabled, ResourceManagementType: types.ResourceManagementTypeCustomer, Events: []types.ServiceEvent{}, Deployments: []types.Deployment{},
	}
	if svc.Rebalance {
		v.AvailabilityZoneRebalancing = types.AvailabilityZoneRebalancingEnabled
	}
	if svc.RoleARN != "" {
		v.RoleArn = aws.String(svc.RoleARN)
	}
	if svc.PropagateTags != "" {
		v.PropagateTags = types.PropagateTags(svc.PropagateTags)
	}
	if withTags {
		v.Tags = tagList(svc.Tags)
	}
	for _, e := range st.Events {
		v.Events = append(v.Events, types.ServiceEvent{Id: aws.String(e.ID), CreatedAt: aws.Time(e.CreatedAt), Message: aws.String(e.Message)})
	}
	ds, err := o.deployment(tx, p)
	if err != nil {
		return v, err
	}
	if ds.RolloutState == "IN_PROGRESS" {
		current := p
		if p.RollbackOf != "" { // a rollback is a part of the service deployment that it ends
			before, err := state.Deployments.Get(tx, state.DeploymentKey(svc.Key(), p.Sequence-1))
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return v, err
			}
			current = before.Val
		}
		v.CurrentServiceDeployment = aws.String(serviceDeploymentARN(svc, current))
	}
	live, err := state.LiveDeployments(tx, svc, st)
	if err != nil || serviceStatus(svc, st) == "INACTIVE" {
		return v, err
	}
	slices.Reverse(live)
	for _, d := range live {
		ds, err := o.deployment(tx, d)
		if err != nil {
			return v, err
		}
		v.Deployments = append(v.Deployments, o.deploymentView(d, ds))
		o.addRevision(&v, d)
	}
	return v, nil
}

// serviceStatus is ACTIVE until the service is deleted, then DRAINING until the scheduler says INACTIVE.
func serviceStatus(svc state.Service, st state.ServiceStatus) string {
	switch {
	case svc.DeletedAt.IsZero():
		return "ACTIVE"
	case st.Status == "INACTIVE":
		return "INACTIVE"
	}
	return "DRAINING"
}

// deploymentView shows a deployment that still matters. One that is replaced stays until its last task is gone:
// waiters and tools take a single entry for "done".
func (o observed) deploymentView(d state.Deployment, st state.DeploymentStatus) types.Deployment {
	n := o.tasks[d.ID]
	v := types.Deployment{
		Id: aws.String(d.ID), Status: aws.String("ACTIVE"), TaskDefinition: aws.String(d.TaskDefinitionARN), DesiredCount: int32(n.wanted),
		RunningCount: int32(n.running), PendingCount: int32(n.pending), FailedTasks: int32(st.FailedTasks), CreatedAt: aws.Time(d.CreatedAt), UpdatedAt: when(st.UpdatedAt),
		LaunchType: types.LaunchType(d.LaunchType), CapacityProviderStrategy: strategyView(d.Strategy), PlatformVersion: aws.String(d.PlatformVersion), PlatformFamily: aws.String("Linux"),
		NetworkConfiguration: networkView(d.Network), RolloutState: types.DeploymentRolloutState(st.RolloutState), RolloutStateReason: aws.String(st.RolloutStateReason),
	}
	if d.Sequence == o.Sequence {
		v.Status, v.DesiredCount = aws.String("PRIMARY"), int32(o.DesiredCount)
	}
	return v
}

// addRevision counts a deployment's tasks under its revision: a rollback has the one that served before.
func (o observed) addRevision(v *types.Service, d state.Deployment) {
	n := o.tasks[d.ID]
	if d.Sequence == o.Sequence {
		n.wanted = o.DesiredCount
	}
	a := revisionARN(o.Service, d.RevisionID)
	i := slices.IndexFunc(v.CurrentServiceRevisions, func(r types.ServiceCurrentRevisionSummary) bool { return *r.Arn == a })
	if i < 0 {
		i = len(v.CurrentServiceRevisions)
		v.CurrentServiceRevisions = append(v.CurrentServiceRevisions, types.ServiceCurrentRevisionSummary{Arn: aws.String(a)})
	}
	r := &v.CurrentServiceRevisions[i]
	r.RequestedTaskCount += int32(n.wanted)
	r.RunningTaskCount += int32(n.running)
	r.PendingTaskCount += int32(n.pending)
}

func deploymentConfiguration(svc state.Service) *types.DeploymentConfiguration {
	return &types.DeploymentConfiguration{
		MaximumPercent: aws.Int32(int32(svc.Maximum)), MinimumHealthyPercent: aws.Int32(int32(svc.MinimumHealthy)),
		DeploymentCircuitBreaker: circuitBreakerView(svc.CircuitBreaker),
		Strategy:                 types.DeploymentStrategyRolling, BakeTimeInMinutes: aws.Int32(0),
	}
}

// circuitBreakerView leaves out what has its default, as older clients know it.
func circuitBreakerView(b state.CircuitBreaker) *types.DeploymentCircuitBreaker {
	v := &types.DeploymentCircuitBreaker{Enable: b.Enable, Rollback: b.Rollback}
	if b.KeepCount {
		v.ResetOnHealthyTask = aws.Bool(false)
	}
	if b.ThresholdType != "" {
		v.ThresholdConfiguration = &types.ThresholdConfiguration{Type: types.ThresholdType(b.ThresholdType), Value: int32(b.ThresholdValue)}
	}
	return v
}

func networkView(n state.AwsvpcConfiguration) *types.NetworkConfiguration {
	a := types.AssignPublicIpDisabled
	if n.AssignPublicIP {
		a = types.AssignPublicIpEnabled
	}
	return &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: n.Subnets, SecurityGroups: n.SecurityGroups, AssignPublicIp: a}}
}

func loadBalancerViews(lbs []state.ServiceLoadBalancer) []types.LoadBalancer {
	out := []types.LoadBalancer{}
	for _, lb := range lbs {
		out = append(out, types.LoadBalancer{TargetGroupArn: aws.String(lb.TargetGroupARN), ContainerName: aws.String(lb.Container), ContainerPort: aws.Int32(int32(lb.Port))})
	}
	return out
}
