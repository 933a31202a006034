package ecs

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"

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
		"HealthCheckGracePeriodSeconds", "PropagateTags", "EnableECSManagedTags", "Tags", "ClientToken"); err != nil {
		return nil, err
	}
	name := aws.ToString(in.ServiceName)
	if !nameRE.MatchString(name) {
		return nil, invalid("Invalid service name: 1 to 255 letters, digits, hyphens and underscores.")
	}
	if err := checkKind(in); err != nil {
		return nil, err
	}
	if err := checkLaunch(in.LaunchType, in.PlatformVersion); err != nil {
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
	}
	if err := configureDeployment(&svc, in.DeploymentConfiguration); err != nil {
		return nil, err
	}
	var out types.Service
	err = s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		c, err := s.cluster(tx, svc.Scope, in.Cluster)
		if err != nil {
			return err
		}
		svc.Cluster, svc.CreatedAt = c.Val.Name, tx.Now()
		d, err := s.newDeployment(tx, svc, in.TaskDefinition, in.NetworkConfiguration, in.LoadBalancers)
		if err != nil {
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
		if len(d.LoadBalancers) > 0 {
			svc.RoleARN = "arn:aws:iam::" + svc.Scope.Account + ":role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS"
		}
		o.Key, o.Val = svc.Key(), svc
		if err := putDeployment(tx, &o.Val, d); err != nil {
			return err
		}
		if err := forget(tx, o.Key); err != nil {
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
		"EnableECSManagedTags", "ForceNewDeployment"); err != nil {
		return nil, err
	}
	if err := checkLaunch(types.LaunchTypeFargate, in.PlatformVersion); err != nil {
		return nil, err
	}
	if n := in.DesiredCount; n != nil && (*n < 0 || *n > 5000) {
		return nil, invalid("desiredCount is between 0 and 5000.")
	}
	sc := scope(ctx)
	var out types.Service
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := s.service(tx, sc, in.Cluster, in.Service)
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
		if err := s.redeploy(tx, &o.Val, in); err != nil {
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

// service finds a service that is not INACTIVE.
func (s *Service) service(tx store.Reader, sc arn.Scope, cluster, given *string) (store.Object[state.Service], error) {
	var none store.Object[state.Service]
	c, err := s.cluster(tx, sc, cluster)
	if err != nil {
		return none, err
	}
	_, name, err := lastName(sc, "service", aws.ToString(given))
	if err != nil {
		return none, err
	}
	o, err := state.Services.Get(tx, sc.Key(c.Val.Name, name))
	if errors.Is(err, store.ErrNotFound) {
		return o, errServiceNotFound
	}
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
	if c := in.DeploymentController; c != nil && c.Type != types.DeploymentControllerTypeEcs {
		return invalid("Lotse deploys with the deployment controller ECS, not %s.", c.Type)
	}
	if in.SchedulingStrategy != "" && in.SchedulingStrategy != types.SchedulingStrategyReplica {
		return invalid("Lotse schedules with the strategy REPLICA, not %s.", in.SchedulingStrategy)
	}
	if n := in.DesiredCount; n == nil || *n < 0 || *n > 5000 {
		return invalid("desiredCount is required for REPLICA services, between 0 and 5000.")
	}
	if g := in.HealthCheckGracePeriodSeconds; g != nil && *g < 0 {
		return invalid("healthCheckGracePeriodSeconds can't be negative.")
	}
	if len(aws.ToString(in.ClientToken)) > 36 {
		return invalid("clientToken should have at most 36 characters.")
	}
	return nil
}

func configureDeployment(svc *state.Service, c *types.DeploymentConfiguration) error {
	if c == nil {
		return nil
	}
	if c.Strategy == types.DeploymentStrategyRolling {
		cc := *c
		cc.Strategy = ""
		c = &cc
	}
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
		if err := onlyMembers("deploymentCircuitBreaker", *b, "Enable", "Rollback"); err != nil {
			return err
		}
		svc.CircuitBreaker = state.CircuitBreaker{Enable: b.Enable, Rollback: b.Rollback}
	}
	if svc.MinimumHealthy < 0 || svc.MinimumHealthy > svc.Maximum || svc.Maximum < 100 {
		return invalid("Both maximumPercent and minimumHealthyPercent cannot be such that no task can be started or stopped: 0 <= minimumHealthyPercent <= maximumPercent, maximumPercent at least 100.")
	}
	if svc.MinimumHealthy == 100 && svc.Maximum == 100 {
		return invalid("Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments.")
	}
	return nil
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
	if new.ClientToken != "" && new.ClientToken == old.ClientToken {
		p, err := primary(tx, old)
		if err != nil {
			return false, err
		}
		if p.TaskDefinitionARN == d.TaskDefinitionARN && old.DesiredCount == new.DesiredCount && reflect.DeepEqual(p.Network, d.Network) {
			return true, nil
		}
	}
	return false, invalid("Creation of service was not idempotent.")
}

// forget drops what an INACTIVE service of the same name left.
func forget(tx *store.WriteTx, key string) error {
	err := state.ServiceStatuses.Delete(tx, key, 0)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// redeploy starts a new deployment if in changes what tasks are made from.
func (s *Service) redeploy(tx *store.WriteTx, svc *state.Service, in *ecs.UpdateServiceInput) error {
	p, err := primary(tx, *svc)
	if err != nil {
		return err
	}
	td := &p.TaskDefinitionARN
	if in.TaskDefinition != nil {
		td = in.TaskDefinition
	}
	network := in.NetworkConfiguration
	if network == nil {
		network = networkView(p.Network)
	}
	lbs := in.LoadBalancers
	if lbs == nil {
		lbs = loadBalancerViews(p.LoadBalancers)
	}
	d, err := s.newDeployment(tx, *svc, td, network, lbs)
	if err != nil {
		return err
	}
	if !in.ForceNewDeployment && sameTasks(p, d) {
		return nil
	}
	return putDeployment(tx, svc, d)
}

func sameTasks(a, b state.Deployment) bool {
	x := []any{a.TaskDefinitionARN, a.PlatformVersion, a.Network, a.LoadBalancers}
	y := []any{b.TaskDefinitionARN, b.PlatformVersion, b.Network, b.LoadBalancers}
	j, _ := json.Marshal(x)
	k, _ := json.Marshal(y)
	return string(j) == string(k)
}
