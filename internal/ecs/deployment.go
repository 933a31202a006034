package ecs

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// ListServiceDeployments lists a service's deployments, newest first.
func (s *Service) ListServiceDeployments(ctx context.Context, in *ecs.ListServiceDeploymentsInput) (*ecs.ListServiceDeploymentsOutput, error) {
	if err := onlyMembers("", in, "Cluster", "CreatedAt", "MaxResults", "NextToken", "Service", "Status"); err != nil {
		return nil, err
	}
	sc := scope(ctx)
	briefs := map[string]types.ServiceDeploymentBrief{}
	var keys []string
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		svc, err := s.service(tx, sc, in.Cluster, in.Service)
		if err != nil {
			return err
		}
		o, err := observe(tx, svc.Val)
		if err != nil {
			return err
		}
		for d, err := range state.Deployments.List(tx, svc.Key+"/") {
			if err != nil {
				return err
			}
			if d.Val.RollbackOf != "" {
				continue // a part of the deployment that it rolls back
			}
			v, err := o.serviceDeploymentView(tx, d.Val)
			if err != nil {
				return err
			}
			if len(in.Status) > 0 && !slices.Contains(in.Status, v.Status) ||
				in.CreatedAt != nil && (in.CreatedAt.After != nil && !d.Val.CreatedAt.After(*in.CreatedAt.After) ||
					in.CreatedAt.Before != nil && !d.Val.CreatedAt.Before(*in.CreatedAt.Before)) {
				continue
			}
			keys = append(keys, d.Key)
			briefs[d.Key] = types.ServiceDeploymentBrief{
				ServiceDeploymentArn: v.ServiceDeploymentArn, ServiceArn: v.ServiceArn, ClusterArn: v.ClusterArn, CreatedAt: v.CreatedAt,
				StartedAt: v.StartedAt, FinishedAt: v.FinishedAt, TargetServiceRevisionArn: v.TargetServiceRevision.Arn, Status: v.Status, StatusReason: v.StatusReason,
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Reverse(keys)
	page, next, err := paginateDesc(keys, in.NextToken, in.MaxResults, 20)
	if err != nil {
		return nil, err
	}
	out := &ecs.ListServiceDeploymentsOutput{NextToken: next, ServiceDeployments: []types.ServiceDeploymentBrief{}}
	for _, k := range page {
		out.ServiceDeployments = append(out.ServiceDeployments, briefs[k])
	}
	return out, nil
}

// DescribeServiceDeployments shows deployments by ARN.
func (s *Service) DescribeServiceDeployments(ctx context.Context, in *ecs.DescribeServiceDeploymentsInput) (*ecs.DescribeServiceDeploymentsOutput, error) {
	if err := onlyMembers("", in, "ServiceDeploymentArns"); err != nil {
		return nil, err
	}
	if n := len(in.ServiceDeploymentArns); n == 0 || n > 20 {
		return nil, invalid("serviceDeploymentArns should have 1 to 20 items.")
	}
	out := &ecs.DescribeServiceDeploymentsOutput{ServiceDeployments: []types.ServiceDeployment{}, Failures: []types.Failure{}}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		return eachDeployment(tx, scope(ctx), "service-deployment", in.ServiceDeploymentArns,
			func(d state.Deployment) string { return d.ARNID },
			func(svc state.Service, d state.Deployment) error {
				o, err := observe(tx, svc)
				if err != nil {
					return err
				}
				v, err := o.serviceDeploymentView(tx, d)
				out.ServiceDeployments = append(out.ServiceDeployments, v)
				return err
			},
			func(a string) { out.Failures = append(out.Failures, missing(a)) })
	})
	return out, err
}

// DescribeServiceRevisions shows what a deployment was to run.
func (s *Service) DescribeServiceRevisions(ctx context.Context, in *ecs.DescribeServiceRevisionsInput) (*ecs.DescribeServiceRevisionsOutput, error) {
	if err := onlyMembers("", in, "ServiceRevisionArns"); err != nil {
		return nil, err
	}
	if n := len(in.ServiceRevisionArns); n == 0 || n > 20 {
		return nil, invalid("serviceRevisionArns should have 1 to 20 items.")
	}
	out := &ecs.DescribeServiceRevisionsOutput{ServiceRevisions: []types.ServiceRevision{}, Failures: []types.Failure{}}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		return eachDeployment(tx, scope(ctx), "service-revision", in.ServiceRevisionArns,
			func(d state.Deployment) string { return d.RevisionID },
			func(svc state.Service, d state.Deployment) error {
				o, err := observe(tx, svc)
				if err != nil {
					return err
				}
				st, err := o.deployment(tx, d)
				if err != nil {
					return err
				}
				v := types.ServiceRevision{
					ServiceRevisionArn: aws.String(revisionARN(svc, d.RevisionID)), ServiceArn: aws.String(svc.ARN()), ClusterArn: aws.String(svc.ClusterARN()),
					TaskDefinition: aws.String(d.TaskDefinitionARN), LaunchType: types.LaunchType(d.LaunchType), CapacityProviderStrategy: strategyView(d.Strategy), PlatformVersion: aws.String(d.PlatformVersion),
					PlatformFamily: aws.String("Linux"), LoadBalancers: loadBalancerViews(d.LoadBalancers), NetworkConfiguration: networkView(d.Network),
					CreatedAt: aws.Time(d.CreatedAt),
				}
				for name, digest := range st.Images {
					v.ContainerImages = append(v.ContainerImages, types.ContainerImage{ContainerName: aws.String(name), ImageDigest: aws.String(digest)})
				}
				slices.SortFunc(v.ContainerImages, func(a, b types.ContainerImage) int { return strings.Compare(*a.ContainerName, *b.ContainerName) })
				out.ServiceRevisions = append(out.ServiceRevisions, v)
				return nil
			},
			func(a string) { out.Failures = append(out.Failures, missing(a)) })
	})
	return out, err
}

// Private

// newDeployment checks what a deployment would run; it is not yet stored, and says nothing of how tasks are launched.
func newDeployment(tx *store.WriteTx, svc state.Service, taskDefinition *string, network *types.NetworkConfiguration, lbs []types.LoadBalancer) (state.Deployment, error) {
	var none state.Deployment
	def, err := usable(tx, svc, taskDefinition)
	if err != nil {
		return none, err
	}
	nw, err := awsvpc(tx, svc.Scope, network)
	if err != nil {
		return none, err
	}
	targets, err := loadBalancers(tx, svc, def, nw, lbs)
	if err != nil {
		return none, err
	}
	return state.Deployment{
		TaskDefinitionARN: *def.TaskDefinitionArn, PlatformVersion: platformVersion,
		Network: nw, LoadBalancers: targets, CreatedAt: tx.Now(),
	}, nil
}

// usable finds the task definition of a new deployment. An INACTIVE one serves only the service
// that runs it already.
func usable(tx store.Reader, svc state.Service, given *string) (types.TaskDefinition, error) {
	td, err := findTaskDefinition(tx, svc.Scope, aws.ToString(given))
	if err != nil {
		return types.TaskDefinition{}, err
	}
	def := td.Val.Definition
	if def.Status != types.TaskDefinitionStatusActive {
		if p, err := primary(tx, svc); err != nil || p.TaskDefinitionARN != aws.ToString(def.TaskDefinitionArn) {
			return def, errTaskDefInactive
		}
	}
	return def, nil
}

// putDeployment stores d as the service's newest.
func putDeployment(tx *store.WriteTx, svc *state.Service, d state.Deployment) error {
	st, err := state.ServiceStatuses.Get(tx, svc.Key())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	live, err := state.LiveDeployments(tx, *svc, st.Val)
	if err != nil {
		return err
	}
	for _, old := range live {
		d.Source = append(d.Source, old.RevisionID)
	}
	svc.Sequence++
	d.Sequence, d.ARNID, d.RevisionID = svc.Sequence, randomWord(), randomDigits()
	d.ID = "ecs-svc/" + d.RevisionID
	o := store.Object[state.Deployment]{Key: state.DeploymentKey(svc.Key(), svc.Sequence), Val: d}
	return state.Deployments.Put(tx, &o)
}

// primary is the newest deployment.
func primary(tx store.Reader, svc state.Service) (state.Deployment, error) {
	d, err := state.Deployments.Get(tx, state.DeploymentKey(svc.Key(), svc.Sequence))
	return d.Val, err
}

// loadBalancers checks the target groups that tasks are to be registered in.
func loadBalancers(tx store.Reader, svc state.Service, def types.TaskDefinition, nw state.AwsvpcConfiguration, lbs []types.LoadBalancer) ([]state.ServiceLoadBalancer, error) {
	if len(lbs) > 5 {
		return nil, invalid("loadBalancers can have at most 5 items.")
	}
	var out []state.ServiceLoadBalancer
	for _, lb := range lbs {
		if lb.LoadBalancerName != nil {
			return nil, invalid("Classic Load Balancers are not supported with Fargate")
		}
		if err := onlyMembers("loadBalancers", lb, "TargetGroupArn", "ContainerName", "ContainerPort"); err != nil {
			return nil, err
		}
		tg, name, port := aws.ToString(lb.TargetGroupArn), aws.ToString(lb.ContainerName), int(aws.ToInt32(lb.ContainerPort))
		if err := checkContainers(def, []state.ServiceLoadBalancer{{TargetGroupARN: tg, Container: name, Port: port}}); err != nil {
			return nil, err
		}
		if err := checkTargetGroup(tx, svc.Scope, tg, nw); err != nil {
			return nil, err
		}
		out = append(out, state.ServiceLoadBalancer{TargetGroupARN: tg, Container: name, Port: port})
	}
	return out, nil
}

// checkContainers looks that a definition has the containers and ports that are to be targets.
func checkContainers(def types.TaskDefinition, lbs []state.ServiceLoadBalancer) error {
	for _, lb := range lbs {
		if lb.Container == "" {
			return invalid("Container Name can not be blank.")
		}
		c := container(def, lb.Container)
		if c == nil {
			return invalid("The container %s does not exist in the task definition.", lb.Container)
		}
		if !slices.ContainsFunc(c.PortMappings, func(p types.PortMapping) bool { return int(aws.ToInt32(p.ContainerPort)) == lb.Port }) {
			return invalid("The container %s did not have a container port %d defined.", lb.Container, lb.Port)
		}
	}
	return nil
}

func checkTargetGroup(tx store.Reader, sc arn.Scope, tg string, nw state.AwsvpcConfiguration) error {
	g, err := state.TargetGroupByARN(tx, sc, tg)
	if errors.Is(err, store.ErrNotFound) {
		return invalid("The specified target group does not exist. (TargetGroupNotFound: %s)", tg)
	}
	if err != nil {
		return err
	}
	if g.Val.TargetType != "ip" {
		return invalid("The provided target group %s has target type %s, which is incompatible with the awsvpc network mode specified in the task definition.", tg, g.Val.TargetType)
	}
	if used, err := state.TargetGroupInUse(tx, sc, tg); err != nil {
		return err
	} else if !used {
		return invalid("The target group with targetGroupArn %s does not have an associated load balancer.", tg)
	}
	sn, err := state.Subnets.Get(tx, sc.Key(nw.Subnets[0]))
	if err != nil {
		return err
	}
	if g.Val.VPC != sn.Val.VPC {
		return invalid("The target group %s is in VPC %s, the subnets are in %s.", tg, g.Val.VPC, sn.Val.VPC)
	}
	return nil
}

// eachDeployment finds deployments by the ARNs of one kind: KIND/CLUSTER/SERVICE/ID.
func eachDeployment(tx store.Reader, sc arn.Scope, kind string, arns []string, id func(state.Deployment) string,
	found func(state.Service, state.Deployment) error, lost func(string)) error {
next:
	for _, given := range arns {
		a, err := arn.Parse(given)
		parts := strings.Split(a.Name(), "/")
		if err != nil || a.Service != "ecs" || a.Type() != kind || len(parts) != 3 || a.Account != sc.Account {
			return invalid("The ARN provided is invalid.")
		}
		if a.Region != sc.Region {
			return invalid("Invalid Region in ARN: %s", a.Region)
		}
		svc, err := state.Services.Get(tx, sc.Key(parts[0], parts[1]))
		if errors.Is(err, store.ErrNotFound) {
			lost(given)
			continue
		}
		if err != nil {
			return err
		}
		for d, err := range state.Deployments.List(tx, svc.Key+"/") {
			if err != nil {
				return err
			}
			if id(d.Val) == parts[2] {
				if err := found(svc.Val, d.Val); err != nil {
					return err
				}
				continue next
			}
		}
		lost(given)
	}
	return nil
}

func revisionARN(svc state.Service, id string) string {
	return svc.Scope.ARN("ecs", "service-revision/"+svc.Cluster+"/"+svc.Name+"/"+id)
}

func serviceDeploymentARN(svc state.Service, d state.Deployment) string {
	return svc.Scope.ARN("ecs", "service-deployment/"+svc.Cluster+"/"+svc.Name+"/"+d.ARNID)
}

// serviceDeploymentView shows a deployment in the words of the service deployments API.
func (o observed) serviceDeploymentView(tx store.Reader, d state.Deployment) (types.ServiceDeployment, error) {
	svc, n := o.Service, o.tasks[d.ID]
	st, err := o.deployment(tx, d)
	if err != nil {
		return types.ServiceDeployment{}, err
	}
	v := types.ServiceDeployment{
		ServiceDeploymentArn: aws.String(serviceDeploymentARN(svc, d)), ServiceArn: aws.String(svc.ARN()), ClusterArn: aws.String(svc.ClusterARN()),
		CreatedAt: aws.Time(d.CreatedAt), StartedAt: when(st.StartedAt), FinishedAt: when(st.FinishedAt), UpdatedAt: when(st.UpdatedAt),
		SourceServiceRevisions:  []types.ServiceRevisionSummary{},
		DeploymentConfiguration: deploymentConfiguration(svc),
		TargetServiceRevision: &types.ServiceRevisionSummary{Arn: aws.String(revisionARN(svc, d.RevisionID)),
			RequestedTaskCount: int32(n.wanted), RunningTaskCount: int32(n.running), PendingTaskCount: int32(n.pending)},
		DeploymentCircuitBreaker: &types.ServiceDeploymentCircuitBreaker{Status: breakerStatus(svc, st), FailureCount: int32(st.FailedTasks),
			Threshold: int32(svc.CircuitBreaker.Threshold(svc.DesiredCount))},
	}
	if d.Sequence == svc.Sequence {
		v.TargetServiceRevision.RequestedTaskCount = int32(svc.DesiredCount)
	}
	var how state.DeploymentStatus
	by, err := state.Deployments.Get(tx, state.DeploymentKey(svc.Key(), d.Sequence+1)) // a rollback is made with the failure
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return v, err
	}
	if by.Val.RollbackOf == d.ID {
		if how, err = o.deployment(tx, by.Val); err != nil {
			return v, err
		}
		v.Rollback = &types.Rollback{Reason: aws.String(st.Reason), StartedAt: aws.Time(by.Val.CreatedAt), ServiceRevisionArn: aws.String(revisionARN(svc, by.Val.RevisionID))}
		v.FinishedAt, v.UpdatedAt = when(how.FinishedAt), when(how.UpdatedAt)
	}
	v.Status = serviceDeploymentStatus(svc, d, st, how)
	switch {
	case v.Status == types.ServiceDeploymentStatusStopped:
		v.StoppedAt = when(st.FinishedAt)
	case st.NoCandidate:
		st.Reason = "No rollback candidate was found to run the rollback." // observed by users of the real service
	}
	if st.Reason != "" {
		v.StatusReason = aws.String(st.Reason)
	}
	for _, id := range d.Source {
		v.SourceServiceRevisions = append(v.SourceServiceRevisions, types.ServiceRevisionSummary{Arn: aws.String(revisionARN(svc, id))})
	}
	return v, nil
}

// serviceDeploymentStatus: by is the progress of the deployment that rolls d back, if there is one.
func serviceDeploymentStatus(svc state.Service, d state.Deployment, st, by state.DeploymentStatus) types.ServiceDeploymentStatus {
	switch {
	case st.RolloutState == "COMPLETED" && d.RollbackOf != "":
		return types.ServiceDeploymentStatusRollbackSuccessful
	case st.RolloutState == "COMPLETED":
		return types.ServiceDeploymentStatusSuccessful
	case st.RolloutState == "FAILED" && by.RolloutState == "COMPLETED":
		return types.ServiceDeploymentStatusRollbackSuccessful
	case st.RolloutState == "FAILED" && by.RolloutState == "IN_PROGRESS" && !by.Superseded:
		return types.ServiceDeploymentStatusRollbackInProgress
	case st.RolloutState == "FAILED" && (by.RolloutState != "" || st.NoCandidate):
		return types.ServiceDeploymentStatusRollbackFailed
	case st.RolloutState == "FAILED", st.Superseded:
		return types.ServiceDeploymentStatusStopped
	case svc.StopDeployment.ID == d.ID && svc.StopDeployment.Rollback:
		return types.ServiceDeploymentStatusRollbackRequested
	case svc.StopDeployment.ID == d.ID:
		return types.ServiceDeploymentStatusStopRequested
	case st.StartedAt.IsZero():
		return types.ServiceDeploymentStatusPending
	}
	return types.ServiceDeploymentStatusInProgress
}

func breakerStatus(svc state.Service, st state.DeploymentStatus) types.ServiceDeploymentRollbackMonitorsStatus {
	switch {
	case !svc.CircuitBreaker.Enable:
		return types.ServiceDeploymentRollbackMonitorsStatusDisabled
	case st.RolloutState == "FAILED":
		return types.ServiceDeploymentRollbackMonitorsStatusTriggered
	case st.RolloutState == "COMPLETED":
		return types.ServiceDeploymentRollbackMonitorsStatusMonitoringComplete
	}
	return types.ServiceDeploymentRollbackMonitorsStatusMonitoring
}
