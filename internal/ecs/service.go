package ecs

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// CreateService makes a service and its first deployment. Whether its tasks can start shows later, in its events.
func (s *Service) CreateService(ctx context.Context, in *ecs.CreateServiceInput) (*ecs.CreateServiceOutput, error) {
	if err := onlyMembers("", in, "ServiceName", "Cluster", "TaskDefinition", "DesiredCount", "LaunchType", "PlatformVersion",
		"LoadBalancers", "NetworkConfiguration", "DeploymentConfiguration", "DeploymentController", "SchedulingStrategy",
		"HealthCheckGracePeriodSeconds", "PropagateTags", "EnableECSManagedTags", "Tags", "ClientToken", "AvailabilityZoneRebalancing",
		"CapacityProviderStrategy"); err != nil {
		return nil, err
	}
	name := aws.ToString(in.ServiceName)
	if !nameRE.MatchString(name) {
		return nil, invalid("Invalid service name: 1 to 255 letters, digits, hyphens and underscores.")
	}
	if err := checkKind(in); err != nil {
		return nil, err
	}
	if err := checkLaunch(types.LaunchTypeFargate, in.PlatformVersion); err != nil {
		return nil, err
	}
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	svc := state.Service{
		Scope: scope(ctx), Name: name, CreatedBy: awsauth.CallerFrom(ctx).ARN, DesiredCount: int(aws.ToInt32(in.DesiredCount)),
		MinimumHealthy: 100, Maximum: 200, GracePeriod: int(aws.ToInt32(in.HealthCheckGracePeriodSeconds)),
		PropagateTags: propagate(in.PropagateTags), ManagedTags: in.EnableECSManagedTags, Tags: tags, ClientToken: aws.ToString(in.ClientToken),
		Rebalance: in.AvailabilityZoneRebalancing != types.AvailabilityZoneRebalancingDisabled, // Source: CreateService: ENABLED unless given
	}
	if err := configureDeployment(&svc, in.DeploymentConfiguration); err != nil {
		return nil, err
	}
	var out types.Service
	err = s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		svc := svc
		c, err := s.cluster(tx, svc.Scope, in.Cluster)
		if err != nil {
			return err
		}
		svc.Cluster, svc.CreatedAt = c.Val.Name, tx.Now()
		launchType, strategy, err := launch(c.Val, in.LaunchType, in.CapacityProviderStrategy)
		if err != nil {
			return err
		}
		d, err := newDeployment(tx, svc, in.TaskDefinition, in.NetworkConfiguration, in.LoadBalancers)
		if err != nil {
			return err
		}
		d.LaunchType, d.Strategy = launchType, strategy
		useRole(&svc, d)
		if err := checkGrace(svc, in.HealthCheckGracePeriodSeconds); err != nil {
			return err
		}
		o, err := state.Services.Get(tx, svc.Key())
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err == nil {
			again, err := sameAgain(tx, o.Val, svc, d)
			if err != nil {
				return err
			}
			if again {
				out, err = serviceView(tx, o.Val, true)
				return err
			}
			svc.Sequence = o.Val.Sequence // an INACTIVE service's name: new deployments, old history
		}
		o.Key, o.Val = svc.Key(), svc
		if err := forget(tx, o.Val); err != nil {
			return err
		}
		if err := putDeployment(tx, &o.Val, d); err != nil {
			return err
		}
		if err := state.Services.Put(tx, &o); err != nil {
			return err
		}
		out, err = serviceView(tx, o.Val, true)
		return err
	})
	return &ecs.CreateServiceOutput{Service: &out}, err
}

// UpdateService changes a service. What its tasks are made from starts a new deployment; the
// rest, such as desiredCount, does not. Source: DG update-service-parameters.
func (s *Service) UpdateService(ctx context.Context, in *ecs.UpdateServiceInput) (*ecs.UpdateServiceOutput, error) {
	if err := onlyMembers("", in, "Service", "Cluster", "TaskDefinition", "DesiredCount", "PlatformVersion", "LoadBalancers",
		"NetworkConfiguration", "DeploymentConfiguration", "DeploymentController", "HealthCheckGracePeriodSeconds", "PropagateTags",
		"EnableECSManagedTags", "ForceNewDeployment", "AvailabilityZoneRebalancing", "CapacityProviderStrategy"); err != nil {
		return nil, err
	}
	if err := checkLaunch(types.LaunchTypeFargate, in.PlatformVersion); err != nil {
		return nil, err
	}
	if n := in.DesiredCount; n != nil && (*n < 0 || *n > 5000) {
		return nil, invalid("desiredCount is between 0 and 5000.")
	}
	if err := checkController(in.DeploymentController); err != nil {
		return nil, err
	}
	sc := scope(ctx)
	var out types.Service
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := s.anyService(tx, sc, in.Cluster, in.Service)
		if err != nil {
			return err
		}
		if !o.Val.DeletedAt.IsZero() {
			return errServiceNotActive
		}
		if err := configureDeployment(&o.Val, in.DeploymentConfiguration); err != nil {
			return err
		}
		if in.DesiredCount != nil {
			o.Val.DesiredCount = int(*in.DesiredCount)
		}
		if in.HealthCheckGracePeriodSeconds != nil {
			o.Val.GracePeriod = int(*in.HealthCheckGracePeriodSeconds)
		}
		if in.PropagateTags != "" {
			o.Val.PropagateTags = propagate(in.PropagateTags)
		}
		if in.EnableECSManagedTags != nil {
			o.Val.ManagedTags = *in.EnableECSManagedTags
		}
		if in.AvailabilityZoneRebalancing != "" {
			o.Val.Rebalance = in.AvailabilityZoneRebalancing == types.AvailabilityZoneRebalancingEnabled
		}
		if err := redeploy(tx, &o.Val, in); err != nil {
			return err
		}
		if err := checkGrace(o.Val, in.HealthCheckGracePeriodSeconds); err != nil {
			return err
		}
		if err := state.Services.Put(tx, &o); err != nil {
			return err
		}
		out, err = serviceView(tx, o.Val, true)
		return err
	})
	return &ecs.UpdateServiceOutput{Service: &out}, err
}

// DeleteService lets a service drain. It stays describable, as DRAINING and then INACTIVE.
func (s *Service) DeleteService(ctx context.Context, in *ecs.DeleteServiceInput) (*ecs.DeleteServiceOutput, error) {
	if err := onlyMembers("", in, "Cluster", "Service", "Force"); err != nil {
		return nil, err
	}
	sc := scope(ctx)
	var out types.Service
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := s.service(tx, sc, in.Cluster, in.Service)
		if err != nil {
			return err
		}
		if o.Val.DeletedAt.IsZero() {
			if o.Val.DesiredCount > 0 && !aws.ToBool(in.Force) {
				return invalid("The service cannot be stopped while it is scaled above 0.")
			}
			o.Val.DeletedAt, o.Val.DesiredCount = tx.Now(), 0
			if err := state.Services.Put(tx, &o); err != nil {
				return err
			}
		}
		out, err = serviceView(tx, o.Val, true)
		return err
	})
	return &ecs.DeleteServiceOutput{Service: &out}, err
}

// Private

// anyService finds a service of an ACTIVE cluster, whatever has become of it.
func (s *Service) anyService(tx store.Reader, sc arn.Scope, cluster, given *string) (store.Object[state.Service], error) {
	var none store.Object[state.Service]
	c, err := s.cluster(tx, sc, cluster)
	if err != nil {
		return none, err
	}
	name, err := lastName(sc, c.Val.Name, "service", aws.ToString(given))
	if err != nil {
		return none, err
	}
	o, err := state.Services.Get(tx, sc.Key(c.Val.Name, name))
	return o, absent(err, errServiceNotFound)
}

// service finds a service that is not INACTIVE.
func (s *Service) service(tx store.Reader, sc arn.Scope, cluster, given *string) (store.Object[state.Service], error) {
	o, err := s.anyService(tx, sc, cluster, given)
	if err != nil {
		return o, err
	}
	st, err := state.ServiceStatuses.Get(tx, o.Key)
	if err == nil && st.Val.Status == "INACTIVE" && !o.Val.DeletedAt.IsZero() {
		return o, errServiceNotFound
	}
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return o, err
}

// checkKind refuses services of a kind that nobody schedules here.
func checkKind(in *ecs.CreateServiceInput) error {
	if err := checkController(in.DeploymentController); err != nil {
		return err
	}
	if in.SchedulingStrategy == types.SchedulingStrategyDaemon { // Source: API reference, schedulingStrategy; the others as published by users
		switch {
		case in.DesiredCount != nil:
			return invalid("The daemon scheduling strategy does not support a desired count for services. Remove the desired count value and try again")
		case len(in.CapacityProviderStrategy) > 0:
			return invalid("Specifying a capacity provider strategy is not supported when you create a service using the DAEMON scheduling strategy.")
		}
		return invalid("Tasks using the Fargate launch type don't support the DAEMON scheduling strategy.")
	}
	if n := in.DesiredCount; n == nil || *n < 0 || *n > 5000 {
		return invalid("desiredCount is required for REPLICA services, between 0 and 5000.")
	}
	if !isToken(aws.ToString(in.ClientToken), 36) {
		return invalid("clientToken should have at most 36 characters, of those from 33 to 126 in ASCII.")
	}
	return nil
}

func checkController(c *types.DeploymentController) error {
	if c != nil && c.Type != types.DeploymentControllerTypeEcs {
		return invalid("Lotse deploys with the deployment controller ECS, not %s.", c.Type)
	}
	return nil
}

// checkGrace: svc is the service as it would become.
func checkGrace(svc state.Service, given *int32) error {
	switch {
	case given == nil || *given == 0:
		return nil
	case *given < 0:
		return invalid("healthCheckGracePeriodSeconds is between 0 and 2147483647.")
	case svc.RoleARN == "": // text as published by users of the real service
		return invalid("Health check grace period is only valid for services configured to use load balancers")
	}
	return nil
}

func configureDeployment(svc *state.Service, c *types.DeploymentConfiguration) error {
	if c == nil {
		return nil
	}
	cc := *c
	if cc.Strategy != "" && cc.Strategy != types.DeploymentStrategyRolling {
		return invalid("Lotse deploys with the strategy ROLLING, not %s yet.", cc.Strategy)
	}
	cc.Strategy = ""
	if a := cc.Alarms; a != nil && !a.Enable && !a.Rollback && len(a.AlarmNames) == 0 {
		cc.Alarms = nil // as ECS itself shows a deployment without alarms
	}
	c = &cc
	if err := onlyMembers("deploymentConfiguration", *c, "MinimumHealthyPercent", "MaximumPercent", "DeploymentCircuitBreaker"); err != nil {
		return err
	}
	if p := c.MinimumHealthyPercent; p != nil {
		svc.MinimumHealthy = int(*p)
	}
	if p := c.MaximumPercent; p != nil {
		svc.Maximum = int(*p)
	}
	if b := c.DeploymentCircuitBreaker; b != nil {
		var err error
		if svc.CircuitBreaker, err = circuitBreaker(*b); err != nil {
			return err
		}
	}
	if svc.MinimumHealthy < 0 || svc.MinimumHealthy > svc.Maximum || svc.Maximum < 100 {
		return invalid("Both maximumPercent and minimumHealthyPercent cannot be such that no task can be started or stopped: 0 <= minimumHealthyPercent <= maximumPercent, maximumPercent at least 100.")
	}
	if svc.MinimumHealthy == 100 && svc.Maximum == 100 {
		return invalid("Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments.")
	}
	return nil
}

func circuitBreaker(b types.DeploymentCircuitBreaker) (state.CircuitBreaker, error) {
	out := state.CircuitBreaker{Enable: b.Enable, Rollback: b.Rollback, KeepCount: !aws.ToBool(cmp.Or(b.ResetOnHealthyTask, aws.Bool(true)))}
	if err := onlyMembers("deploymentCircuitBreaker", b, "Enable", "Rollback", "ResetOnHealthyTask", "ThresholdConfiguration"); err != nil {
		return out, err
	}
	if t := b.ThresholdConfiguration; t != nil {
		if err := onlyMembers("thresholdConfiguration", *t, "Type", "Value"); err != nil {
			return out, err
		}
		if t.Value < 1 {
			return out, invalid("The value of thresholdConfiguration is at least 1.")
		}
		out.ThresholdType, out.ThresholdValue = string(t.Type), int(t.Value)
	}
	return out, nil
}

func propagate(p types.PropagateTags) string {
	if p == types.PropagateTagsNone {
		return ""
	}
	return string(p)
}

// sameAgain tells whether a second CreateService of an existing name repeats the first.
func sameAgain(tx store.Reader, old, new state.Service, d state.Deployment) (bool, error) {
	st, err := state.ServiceStatuses.Get(tx, old.Key())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, err
	}
	if st.Val.Status == "INACTIVE" && !old.DeletedAt.IsZero() {
		return false, nil
	}
	if !old.DeletedAt.IsZero() {
		return false, invalid("Unable to Start a service that is still Draining.")
	}
	p, err := primary(tx, old)
	if err != nil {
		return false, err
	}
	if sameTasks(p, d) && sameService(old, new) {
		return true, nil
	}
	return false, invalid("Creation of service was not idempotent.")
}

// sameService compares what a caller asks of a service besides what its tasks are made from.
func sameService(a, b state.Service) bool {
	return a.DesiredCount == b.DesiredCount && a.MinimumHealthy == b.MinimumHealthy && a.Maximum == b.Maximum && a.CircuitBreaker == b.CircuitBreaker &&
		a.GracePeriod == b.GracePeriod && a.Rebalance == b.Rebalance && a.PropagateTags == b.PropagateTags && a.ManagedTags == b.ManagedTags && maps.Equal(a.Tags, b.Tags)
}

// useRole notes the role by which ECS registers targets. Once there, it stays: older tasks may still be targets.
func useRole(svc *state.Service, d state.Deployment) {
	if len(d.LoadBalancers) > 0 {
		svc.RoleARN = "arn:aws:iam::" + svc.Scope.Account + ":role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"
	}
}

// forget drops what an INACTIVE service of the same name left, but for how its deployments ended.
func forget(tx *store.WriteTx, svc state.Service) error {
	o, err := state.ServiceStatuses.Get(tx, svc.Key())
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	old, err := state.LiveDeployments(tx, svc, o.Val)
	if err != nil {
		return err
	}
	for _, d := range old {
		st := o.Val.Deployments[d.ID]
		st.Gone, st.Superseded = true, st.Superseded || st.RolloutState == "IN_PROGRESS"
		if o.Val.Deployments == nil {
			o.Val.Deployments = map[string]state.DeploymentStatus{}
		}
		o.Val.Deployments[d.ID] = st
	}
	o.Val = state.ServiceStatus{Deployments: o.Val.Deployments}
	if err := state.ArchiveDeployments(tx, svc, &o.Val, old); err != nil {
		return err
	}
	return state.ServiceStatuses.Put(tx, &o)
}

// redeploy starts a new deployment if in changes what tasks are made from. What in leaves out is
// taken over unchecked, so that a service whose load balancer or subnet has gone can still be
// scaled in and moved elsewhere.
func redeploy(tx *store.WriteTx, svc *state.Service, in *ecs.UpdateServiceInput) error {
	if in.TaskDefinition == nil && in.NetworkConfiguration == nil && in.LoadBalancers == nil && in.CapacityProviderStrategy == nil && !in.ForceNewDeployment {
		return nil
	}
	p, err := primary(tx, *svc)
	if err != nil {
		return err
	}
	launchType, strategy, err := relaunch(tx, *svc, p, in)
	if err != nil {
		return err
	}
	td := &p.TaskDefinitionARN
	if in.TaskDefinition != nil {
		td = in.TaskDefinition
	}
	def, err := usable(tx, *svc, td)
	if err != nil {
		return err
	}
	d := state.Deployment{
		TaskDefinitionARN: *def.TaskDefinitionArn, LaunchType: launchType, Strategy: strategy, PlatformVersion: platformVersion,
		Network: p.Network, LoadBalancers: p.LoadBalancers, CreatedAt: tx.Now(),
	}
	if in.NetworkConfiguration != nil {
		if d.Network, err = awsvpc(tx, svc.Scope, in.NetworkConfiguration); err != nil {
			return err
		}
	}
	if in.LoadBalancers != nil {
		d.LoadBalancers, err = loadBalancers(tx, *svc, def, d.Network, in.LoadBalancers)
	} else {
		err = checkContainers(def, d.LoadBalancers)
	}
	if err != nil {
		return err
	}
	if !in.ForceNewDeployment && sameTasks(p, d) {
		return nil
	}
	useRole(svc, d)
	return putDeployment(tx, svc, d)
}

// relaunch is how the tasks of the next deployment are launched: as those of p unless in says otherwise. An empty
// strategy goes back to the launch type.
func relaunch(tx store.Reader, svc state.Service, p state.Deployment, in *ecs.UpdateServiceInput) (string, []state.StrategyItem, error) {
	if in.CapacityProviderStrategy == nil {
		return p.LaunchType, p.Strategy, nil
	}
	launchType, strategy := string(types.LaunchTypeFargate), []state.StrategyItem(nil)
	if len(in.CapacityProviderStrategy) > 0 {
		c, err := state.Clusters.Get(tx, svc.Scope.Key(svc.Cluster))
		if err != nil {
			return "", nil, err
		}
		launchType = ""
		if strategy, err = checkStrategy(c.Val, in.CapacityProviderStrategy); err != nil {
			return "", nil, err
		}
	}
	if (launchType != p.LaunchType || !slices.Equal(strategy, p.Strategy)) && !in.ForceNewDeployment {
		return "", nil, errForceNeeded
	}
	return launchType, strategy, nil
}

// sameTasks reports whether two deployments make tasks from the same.
func sameTasks(a, b state.Deployment) bool {
	return a.TaskDefinitionARN == b.TaskDefinitionARN && a.PlatformVersion == b.PlatformVersion && a.Network.AssignPublicIP == b.Network.AssignPublicIP &&
		slices.Equal(a.Network.Subnets, b.Network.Subnets) && slices.Equal(a.Network.SecurityGroups, b.Network.SecurityGroups) &&
		slices.Equal(a.LoadBalancers, b.LoadBalancers) && a.LaunchType == b.LaunchType && slices.Equal(a.Strategy, b.Strategy)
}
