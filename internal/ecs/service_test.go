package ecs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// balanced makes the service's tasks targets of the group in use.
func (b *bench) balanced(in *ecs.CreateServiceInput) {
	in.LoadBalancers = []types.LoadBalancer{{TargetGroupArn: &b.tg, ContainerName: aws.String("app"), ContainerPort: aws.Int32(8080)}}
}

func TestCreateService_Answers(t *testing.T) {
	b := newBench(t)
	b.cluster()
	td := b.register()
	s := must(b.createService(b.balanced, func(in *ecs.CreateServiceInput) {
		in.HealthCheckGracePeriodSeconds = aws.Int32(30)
		in.Tags = []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}
	}))(t).Service
	if *s.ServiceArn != here.ARN("ecs", "service/default/svc") || *s.Status != "ACTIVE" || s.DesiredCount != 2 || s.RunningCount != 0 || *s.TaskDefinition != td ||
		*s.HealthCheckGracePeriodSeconds != 30 || s.SchedulingStrategy != "REPLICA" || s.LaunchType != "FARGATE" || *s.PlatformVersion != "LATEST" || *s.RoleArn == "" || len(s.Tags) != 1 ||
		s.PropagateTags != "NONE" || *s.CreatedBy != "arn:aws:iam::000000000000:root" {
		t.Errorf("%+v", s)
	}
	c := s.DeploymentConfiguration
	if *c.MinimumHealthyPercent != 100 || *c.MaximumPercent != 200 || c.DeploymentCircuitBreaker.Enable || c.Strategy != "ROLLING" {
		t.Errorf("deployment configuration %+v", c)
	}
	if len(s.Deployments) != 1 {
		t.Fatalf("deployments %+v", s.Deployments)
	}
	d := s.Deployments[0]
	if *d.Status != "PRIMARY" || d.RolloutState != "IN_PROGRESS" || *d.RolloutStateReason != "ECS deployment "+*d.Id+" in progress." || d.DesiredCount != 2 || *d.PlatformVersion != "1.4.0" ||
		len(*d.Id) != len("ecs-svc/")+19 {
		t.Errorf("deployment %+v", d)
	}
	if s.CurrentServiceDeployment == nil || len(s.CurrentServiceRevisions) != 1 || s.CurrentServiceRevisions[0].RequestedTaskCount != 2 {
		t.Errorf("current deployment %v, revisions %+v", s.CurrentServiceDeployment, s.CurrentServiceRevisions)
	}
}

func TestCreateService_Refuses(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	const invalid = "InvalidParameterException"
	type in = ecs.CreateServiceInput
	lb := func(f func(*types.LoadBalancer)) func(*in) {
		return func(in *in) { b.balanced(in); f(&in.LoadBalancers[0]) }
	}
	percent := func(least, most int32) func(*in) {
		return func(in *in) {
			in.DeploymentConfiguration = &types.DeploymentConfiguration{MinimumHealthyPercent: &least, MaximumPercent: &most}
		}
	}
	for name, tc := range map[string]struct {
		change        func(*in)
		code, message string
	}{
		"cluster":        {func(in *in) { in.Cluster = aws.String("nope") }, "ClusterNotFoundException", "Cluster not found."},
		"definition":     {func(in *in) { in.TaskDefinition = aws.String("nope:1") }, "ClientException", "TaskDefinition not found."},
		"no network":     {func(in *in) { in.NetworkConfiguration = nil }, invalid, "Network Configuration must be provided when networkMode 'awsvpc' is specified."},
		"unknown subnet": {func(in *in) { in.NetworkConfiguration.AwsvpcConfiguration.Subnets = []string{"subnet-x"} }, invalid, "Error retrieving subnet information for [subnet-x]: The subnet ID 'subnet-x' does not exist (ErrorCode: InvalidSubnetID.NotFound)"},
		"unknown group":  {func(in *in) { in.NetworkConfiguration.AwsvpcConfiguration.SecurityGroups = []string{"sg-x"} }, invalid, "Error retrieving security group information for [sg-x]: The security group 'sg-x' does not exist (ErrorCode: InvalidGroup.NotFound)"},
		"group not in use": {lb(func(l *types.LoadBalancer) { l.TargetGroupArn = &b.spare }), invalid,
			"The target group with targetGroupArn " + b.spare + " does not have an associated load balancer."},
		"no such group": {lb(func(l *types.LoadBalancer) { l.TargetGroupArn = aws.String(b.tg + "0") }), invalid,
			"The specified target group does not exist. (TargetGroupNotFound: " + b.tg + "0)"},
		"unknown container": {lb(func(l *types.LoadBalancer) { l.ContainerName = aws.String("db") }), invalid, "The container db does not exist in the task definition."},
		"unknown port":      {lb(func(l *types.LoadBalancer) { l.ContainerPort = aws.Int32(80) }), invalid, "The container app did not have a container port 80 defined."},
		"blank container":   {lb(func(l *types.LoadBalancer) { l.ContainerName = nil }), invalid, "Container Name can not be blank."},
		"classic":           {lb(func(l *types.LoadBalancer) { l.LoadBalancerName = aws.String("lb") }), invalid, "Classic Load Balancers are not supported with Fargate"},
		"grace without balancer": {func(in *in) { in.HealthCheckGracePeriodSeconds = aws.Int32(1) }, invalid,
			"Health check grace period is only valid for services configured to use load balancers"},
		"daemon": {func(in *in) { in.SchedulingStrategy, in.DesiredCount = types.SchedulingStrategyDaemon, nil }, invalid,
			"Tasks using the Fargate launch type don't support the DAEMON scheduling strategy."},
		"daemon with a count": {func(in *in) { in.SchedulingStrategy = types.SchedulingStrategyDaemon }, invalid,
			"The daemon scheduling strategy does not support a desired count for services. Remove the desired count value and try again"},
		"blue/green": {func(in *in) {
			in.DeploymentConfiguration = &types.DeploymentConfiguration{Strategy: types.DeploymentStrategyBlueGreen}
		}, invalid, "Lotse deploys with the strategy ROLLING, not BLUE_GREEN yet."},
		"threshold": {func(in *in) {
			in.DeploymentConfiguration = &types.DeploymentConfiguration{DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{Enable: true,
				ThresholdConfiguration: &types.ThresholdConfiguration{Type: types.ThresholdTypeCount}}}
		}, invalid, "The value of thresholdConfiguration is at least 1."},
		"controller": {func(in *in) {
			in.DeploymentController = &types.DeploymentController{Type: types.DeploymentControllerTypeExternal}
		}, invalid, "Lotse deploys with the deployment controller ECS, not EXTERNAL."},
		"no count":     {func(in *in) { in.DesiredCount = nil }, invalid, "desiredCount is required for REPLICA services, between 0 and 5000."},
		"100 and 100":  {percent(100, 100), invalid, "Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments."},
		"platform":     {func(in *in) { in.PlatformVersion = aws.String("0.1") }, "PlatformUnknownException", "The specified platform '0.1' does not exist."},
		"name":         {func(in *in) { in.ServiceName = aws.String("a b") }, invalid, "Invalid service name: 1 to 255 letters, digits, hyphens and underscores."},
		"token":        {func(in *in) { in.ClientToken = aws.String(strings.Repeat("x", 37)) }, invalid, "clientToken should have at most 36 characters, of those from 33 to 126 in ASCII."},
		"too many lbs": {func(in *in) { in.LoadBalancers = make([]types.LoadBalancer, 6) }, invalid, "loadBalancers can have at most 5 items."},
		"alarms": {func(in *in) {
			in.DeploymentConfiguration = &types.DeploymentConfiguration{Alarms: &types.DeploymentAlarms{Enable: true}}
		}, invalid, "Lotse does not act on alarms in deploymentConfiguration yet, so it does not accept it."},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := b.createService(tc.change)
			refused(t, err, tc.code, tc.message)
		})
	}
	for _, p := range [][2]int32{{-1, 200}, {150, 100}, {0, 99}} {
		if _, err := b.createService(percent(p[0], p[1])); err == nil {
			t.Errorf("percents %v were accepted", p)
		}
	}
	out := must(b.s.DescribeServices(b.ctx, &ecs.DescribeServicesInput{Services: []string{"svc"}}))(t)
	if len(out.Services) != 0 || *out.Failures[0].Reason != "MISSING" || *out.Failures[0].Arn != here.ARN("ecs", "service/default/svc") {
		t.Errorf("%+v", out)
	}
}

// What ECS itself shows of a deployment configuration without alarms can be given.
func TestCreateService_TakesDefaultsSpelledOut(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	must(b.createService(func(in *ecs.CreateServiceInput) {
		in.DeploymentConfiguration = &types.DeploymentConfiguration{
			Strategy: types.DeploymentStrategyRolling, BakeTimeInMinutes: aws.Int32(0), Alarms: &types.DeploymentAlarms{AlarmNames: []string{}},
			DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{}, MaximumPercent: aws.Int32(200), MinimumHealthyPercent: aws.Int32(100)}
		in.DeploymentController = &types.DeploymentController{Type: types.DeploymentControllerTypeEcs}
		in.SchedulingStrategy, in.PropagateTags = types.SchedulingStrategyReplica, types.PropagateTagsNone
		in.AvailabilityZoneRebalancing = types.AvailabilityZoneRebalancingDisabled
		in.ServiceRegistries, in.LoadBalancers = []types.ServiceRegistry{}, []types.LoadBalancer{}
		in.PlatformVersion = aws.String("LATEST")
	}))(t)
}

func TestCreateService_Again(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	first := must(b.createService(b.balanced))(t).Service
	again := must(b.createService(b.balanced))(t).Service
	if *first.Deployments[0].Id != *again.Deployments[0].Id || len(again.Deployments) != 1 {
		t.Errorf("a repeated CreateService made %+v", again.Deployments)
	}
	_, err := b.createService(b.balanced, func(in *ecs.CreateServiceInput) { in.DesiredCount = aws.Int32(3) })
	refused(t, err, "InvalidParameterException", "Creation of service was not idempotent.")
	_, err = b.createService()
	refused(t, err, "InvalidParameterException", "Creation of service was not idempotent.")
	must(b.s.DeleteService(b.ctx, &ecs.DeleteServiceInput{Service: aws.String("svc"), Force: aws.Bool(true)}))(t)
	_, err = b.createService(b.balanced)
	refused(t, err, "InvalidParameterException", "Unable to Start a service that is still Draining.")
	b.scheduled(func(st *state.ServiceStatus) {
		st.Status = "INACTIVE"
		st.Events = []state.ServiceEvent{{ID: "e", Message: "old"}}
		st.Deployments[*first.Deployments[0].Id] = state.DeploymentStatus{RolloutState: "IN_PROGRESS"}
	})
	anew := must(b.createService(b.balanced))(t).Service
	if *anew.ServiceArn != *first.ServiceArn || *anew.Status != "ACTIVE" || len(anew.Deployments) != 1 || *anew.Deployments[0].Id == *first.Deployments[0].Id || len(anew.Events) != 0 {
		t.Errorf("a new service of the name: %+v", anew)
	}
	list := must(b.s.ListServiceDeployments(b.ctx, &ecs.ListServiceDeploymentsInput{Service: aws.String("svc")}))(t)
	if len(list.ServiceDeployments) != 2 || list.ServiceDeployments[0].Status != "PENDING" || list.ServiceDeployments[1].Status != "STOPPED" {
		t.Errorf("history %+v", list.ServiceDeployments)
	}
}

func TestUpdateService_WhatStartsADeployment(t *testing.T) {
	for name, tc := range map[string]struct {
		in  func(b *bench) ecs.UpdateServiceInput
		new bool
	}{
		"nothing": {func(*bench) ecs.UpdateServiceInput { return ecs.UpdateServiceInput{} }, false},
		"count":   {func(*bench) ecs.UpdateServiceInput { return ecs.UpdateServiceInput{DesiredCount: aws.Int32(5)} }, false},
		"the same definition": {func(*bench) ecs.UpdateServiceInput {
			return ecs.UpdateServiceInput{TaskDefinition: aws.String("web:1")}
		}, false},
		"a new definition": {func(*bench) ecs.UpdateServiceInput {
			return ecs.UpdateServiceInput{TaskDefinition: aws.String("web:2")}
		}, true},
		"the family's latest": {func(*bench) ecs.UpdateServiceInput { return ecs.UpdateServiceInput{TaskDefinition: aws.String("web")} }, true},
		"force":               {func(*bench) ecs.UpdateServiceInput { return ecs.UpdateServiceInput{ForceNewDeployment: true} }, true},
		"the same network": {func(b *bench) ecs.UpdateServiceInput {
			return ecs.UpdateServiceInput{NetworkConfiguration: b.network()}
		}, false},
		"no balancer any more": {func(*bench) ecs.UpdateServiceInput {
			return ecs.UpdateServiceInput{LoadBalancers: []types.LoadBalancer{}}
		}, true},
		"percents": {func(*bench) ecs.UpdateServiceInput {
			return ecs.UpdateServiceInput{DeploymentConfiguration: &types.DeploymentConfiguration{MinimumHealthyPercent: aws.Int32(50), DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{Enable: true}}}
		}, false},
		"other subnets": {func(b *bench) ecs.UpdateServiceInput {
			n := b.network()
			n.AwsvpcConfiguration.Subnets = b.subnets[2:]
			return ecs.UpdateServiceInput{NetworkConfiguration: n}
		}, true},
		"public": {func(b *bench) ecs.UpdateServiceInput {
			n := b.network()
			n.AwsvpcConfiguration.AssignPublicIp = types.AssignPublicIpEnabled
			return ecs.UpdateServiceInput{NetworkConfiguration: n}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.cluster()
			b.register()
			first := must(b.createService(b.balanced))(t).Service
			b.register()
			got := must(b.updateService(tc.in(b)))(t).Service
			if isNew := *got.Deployments[0].Id != *first.Deployments[0].Id; isNew != tc.new {
				t.Errorf("new deployment: %t, want %t", isNew, tc.new)
			}
			if want := map[bool]int{false: 1, true: 2}[tc.new]; len(got.Deployments) != want {
				t.Errorf("%d deployments, want %d", len(got.Deployments), want)
			}
			if tc.new && (*got.Deployments[0].Status != "PRIMARY" || *got.Deployments[1].Status != "ACTIVE") {
				t.Errorf("%s, %s", *got.Deployments[0].Status, *got.Deployments[1].Status)
			}
		})
	}
}

func TestUpdateService_KeepsWhatIsLeftOut(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	must(b.createService(b.balanced, func(in *ecs.CreateServiceInput) {
		in.HealthCheckGracePeriodSeconds, in.EnableECSManagedTags, in.PropagateTags = aws.Int32(9), true, types.PropagateTagsService
		in.DeploymentConfiguration = &types.DeploymentConfiguration{MinimumHealthyPercent: aws.Int32(50), DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{Enable: true, Rollback: true}}
	}))(t)
	before := b.service()
	after := must(b.updateService(ecs.UpdateServiceInput{ForceNewDeployment: true}))(t).Service
	for _, s := range []*types.Service{&before, after} {
		s.Deployments, s.CurrentServiceDeployment, s.CurrentServiceRevisions, s.Tags = nil, nil, nil, nil
	}
	if d := cmp.Diff(&before, after, ignoreNoSmithy); d != "" {
		t.Errorf("(-before +after): %s", d)
	}
	after = must(b.updateService(ecs.UpdateServiceInput{HealthCheckGracePeriodSeconds: aws.Int32(0), EnableECSManagedTags: aws.Bool(false), PropagateTags: types.PropagateTagsNone, DesiredCount: aws.Int32(0),
		DeploymentConfiguration: &types.DeploymentConfiguration{DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{}}}))(t).Service
	if *after.HealthCheckGracePeriodSeconds != 0 || after.EnableECSManagedTags || after.PropagateTags != "NONE" || after.DesiredCount != 0 || after.DeploymentConfiguration.DeploymentCircuitBreaker.Enable ||
		*after.DeploymentConfiguration.MinimumHealthyPercent != 50 {
		t.Errorf("%+v %+v", after, after.DeploymentConfiguration)
	}
}

// A service whose surroundings have gone can still be scaled in, and told to run something else.
func TestUpdateService_ChecksOnlyWhatItChanges(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	must(b.createService(b.balanced))(t)
	b.update(func(tx *store.WriteTx) error {
		return state.TargetGroups.Delete(tx, here.Key("used", "0123456789abcdef"), 0)
	})
	must(b.updateService(ecs.UpdateServiceInput{DesiredCount: aws.Int32(0)}))(t)
	b.register()
	must(b.updateService(ecs.UpdateServiceInput{TaskDefinition: aws.String("web:2")}))(t)
	b.register(func(in *ecs.RegisterTaskDefinitionInput) { in.ContainerDefinitions[0].PortMappings = nil })
	_, err := b.updateService(ecs.UpdateServiceInput{TaskDefinition: aws.String("web:3")})
	refused(t, err, "InvalidParameterException", "The container app did not have a container port 8080 defined.")
}

func TestUpdateService_Refuses(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	_, err := b.updateService(ecs.UpdateServiceInput{})
	refused(t, err, "ServiceNotFoundException", "Service not found.")
	must(b.createService())(t)
	b.register()
	must(b.s.DeregisterTaskDefinition(b.ctx, &ecs.DeregisterTaskDefinitionInput{TaskDefinition: aws.String("web:2")}))(t)
	for _, tc := range []struct {
		in            ecs.UpdateServiceInput
		code, message string
	}{
		{ecs.UpdateServiceInput{TaskDefinition: aws.String("web:2")}, "ClientException", "TaskDefinition is inactive"},
		{ecs.UpdateServiceInput{TaskDefinition: aws.String("gone")}, "ClientException", "TaskDefinition not found."},
		{ecs.UpdateServiceInput{DesiredCount: aws.Int32(-1)}, "InvalidParameterException", "desiredCount is between 0 and 5000."},
		{ecs.UpdateServiceInput{DeploymentController: &types.DeploymentController{Type: types.DeploymentControllerTypeCodeDeploy}}, "InvalidParameterException", "Lotse deploys with the deployment controller ECS, not CODE_DEPLOY."},
		{ecs.UpdateServiceInput{HealthCheckGracePeriodSeconds: aws.Int32(-1)}, "InvalidParameterException", "healthCheckGracePeriodSeconds is between 0 and 2147483647."},
		{ecs.UpdateServiceInput{HealthCheckGracePeriodSeconds: aws.Int32(5)}, "InvalidParameterException", "Health check grace period is only valid for services configured to use load balancers"},
		{ecs.UpdateServiceInput{EnableExecuteCommand: aws.Bool(true)}, "InvalidParameterException", "Lotse does not act on enableExecuteCommand yet, so it does not accept it."},
	} {
		_, err := b.updateService(tc.in)
		refused(t, err, tc.code, tc.message)
	}
	if n := len(b.service().Deployments); n != 1 {
		t.Errorf("refused updates left %d deployments", n)
	}
}

func TestDeleteService(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	del := func(force bool) (*ecs.DeleteServiceOutput, error) {
		return b.s.DeleteService(b.ctx, &ecs.DeleteServiceInput{Service: aws.String("svc"), Force: &force})
	}
	_, err := del(false)
	refused(t, err, "ServiceNotFoundException", "Service not found.")
	must(b.createService())(t)
	_, err = del(false)
	refused(t, err, "InvalidParameterException", "The service cannot be stopped while it is scaled above 0.")
	must(b.updateService(ecs.UpdateServiceInput{DesiredCount: aws.Int32(0)}))(t)
	s := must(del(false))(t).Service
	if *s.Status != "DRAINING" || s.DesiredCount != 0 {
		t.Errorf("%s, desired %d", *s.Status, s.DesiredCount)
	}
	list := must(b.s.ListServices(b.ctx, &ecs.ListServicesInput{}))(t)
	if len(list.ServiceArns) != 0 {
		t.Errorf("a DRAINING service is listed: %v", list.ServiceArns)
	}
	_, err = b.updateService(ecs.UpdateServiceInput{DesiredCount: aws.Int32(1)})
	refused(t, err, "ServiceNotActiveException", "Service was not ACTIVE.")
	b.scheduled(func(st *state.ServiceStatus) { st.Status = "INACTIVE" })
	if got := *b.service().Status; got != "INACTIVE" {
		t.Errorf("described as %s", got)
	}
	_, err = del(true)
	refused(t, err, "ServiceNotFoundException", "Service not found.")
	_, err = b.updateService(ecs.UpdateServiceInput{})
	refused(t, err, "ServiceNotActiveException", "Service was not ACTIVE.")
}

func TestDescribeServices_Counts(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	old := *must(b.createService())(t).Service.Deployments[0].Id
	now := *must(b.updateService(ecs.UpdateServiceInput{ForceNewDeployment: true}))(t).Service.Deployments[0].Id
	b.serviceTask(strings.Repeat("1", 32), old, "RUNNING")
	stop := b.serviceTask(strings.Repeat("2", 32), old, "RUNNING")
	b.serviceTask(strings.Repeat("3", 32), old, "DEACTIVATING")
	b.serviceTask(strings.Repeat("4", 32), now, "PENDING")
	b.serviceTask(strings.Repeat("5", 32), now, "RUNNING")
	must(b.s.StopTask(b.ctx, &ecs.StopTaskInput{Task: &stop.ID}))(t)
	b.scheduled(func(st *state.ServiceStatus) {
		for i := range 3 {
			st.Events = append(st.Events, state.ServiceEvent{ID: fmt.Sprint(i), Message: fmt.Sprint("event ", i)})
		}
	})
	s := b.service()
	if s.RunningCount != 3 || s.PendingCount != 1 || len(s.Events) != 3 || *s.Events[0].Message != "event 0" {
		t.Errorf("running %d pending %d events %v", s.RunningCount, s.PendingCount, s.Events)
	}
	type row struct {
		Status                    string
		Desired, Running, Pending int32
	}
	var got []row
	for _, d := range s.Deployments {
		got = append(got, row{*d.Status, d.DesiredCount, d.RunningCount, d.PendingCount})
	}
	// Of the old ones one still runs that was told to stop: it runs, and is no longer desired.
	if d := cmp.Diff([]row{{"PRIMARY", 2, 1, 1}, {"ACTIVE", 1, 2, 0}}, got); d != "" {
		t.Error(d)
	}
	// A deployment that is gone leaves the list, and the waiter services-stable is content.
	b.scheduled(func(st *state.ServiceStatus) {
		st.Deployments[old] = state.DeploymentStatus{RolloutState: "COMPLETED", Gone: true}
		st.Deployments[now] = state.DeploymentStatus{RolloutState: "COMPLETED", RolloutStateReason: "ECS deployment " + now + " completed."}
	})
	if s := b.service(); len(s.Deployments) != 1 || s.Deployments[0].RolloutState != "COMPLETED" || s.CurrentServiceDeployment != nil {
		t.Errorf("%+v", s.Deployments)
	}
}

func TestListServices(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	for i := range 12 {
		must(b.createService(func(in *ecs.CreateServiceInput) { in.ServiceName = aws.String(fmt.Sprintf("s%02d", i)) }))(t)
	}
	out := must(b.s.ListServices(b.ctx, &ecs.ListServicesInput{}))(t)
	if len(out.ServiceArns) != 10 || out.NextToken == nil {
		t.Fatalf("%d services on the first page, want ECS's default of 10", len(out.ServiceArns))
	}
	out = must(b.s.ListServices(b.ctx, &ecs.ListServicesInput{NextToken: out.NextToken}))(t)
	if len(out.ServiceArns) != 2 || out.NextToken != nil || out.ServiceArns[0] != here.ARN("ecs", "service/default/s10") {
		t.Errorf("%v", out.ServiceArns)
	}
	for _, in := range []ecs.ListServicesInput{{LaunchType: types.LaunchTypeEc2}, {SchedulingStrategy: types.SchedulingStrategyDaemon}, {ResourceManagementType: types.ResourceManagementTypeEcs}} {
		if out := must(b.s.ListServices(b.ctx, &in))(t); len(out.ServiceArns) != 0 {
			t.Errorf("%+v lists %v", in, out.ServiceArns)
		}
	}
	_, err := b.s.DescribeServices(b.ctx, &ecs.DescribeServicesInput{})
	refused(t, err, "InvalidParameterException", "Services cannot be empty.")
	_, err = b.s.DescribeServices(b.ctx, &ecs.DescribeServicesInput{Services: make([]string, 11)})
	refused(t, err, "InvalidParameterException", "services can have at most 10 items.")
	_, err = b.s.DescribeServices(b.ctx, &ecs.DescribeServicesInput{Services: []string{here.ARN("ecs", "service/prod/s00")}})
	refused(t, err, "InvalidParameterException", "Invalid identifier: Identifier is for cluster prod. Your cluster is default")
}
