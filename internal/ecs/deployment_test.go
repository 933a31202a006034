package ecs

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// deployments lists the service's deployments, newest first.
func (b *bench) deployments(in ecs.ListServiceDeploymentsInput) []types.ServiceDeploymentBrief {
	b.t.Helper()
	in.Service = aws.String("svc")
	return must(b.s.ListServiceDeployments(b.ctx, &in))(b.t).ServiceDeployments
}

func (b *bench) deployment(arn *string) types.ServiceDeployment {
	b.t.Helper()
	out := must(b.s.DescribeServiceDeployments(b.ctx, &ecs.DescribeServiceDeploymentsInput{ServiceDeploymentArns: []string{*arn}}))(b.t)
	if len(out.ServiceDeployments) != 1 {
		b.t.Fatalf("%+v", out)
	}
	return out.ServiceDeployments[0]
}

func TestServiceDeployments(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	first := *must(b.createService(b.balanced))(t).Service.Deployments[0].Id
	one := b.deployment(b.service().CurrentServiceDeployment)
	if one.Status != "PENDING" || len(one.SourceServiceRevisions) != 0 || one.TargetServiceRevision.RequestedTaskCount != 2 || one.DeploymentCircuitBreaker.Status != "DISABLED" {
		t.Errorf("first deployment %+v", one)
	}
	b.scheduled(func(st *state.ServiceStatus) {
		st.Deployments[first] = state.DeploymentStatus{RolloutState: "COMPLETED", RolloutStateReason: "done", StartedAt: b.clock, FinishedAt: b.clock, UpdatedAt: b.clock, Images: map[string]string{"app": "sha256:1"}}
	})
	b.register()
	second := *must(b.updateService(ecs.UpdateServiceInput{TaskDefinition: aws.String("web:2"),
		DeploymentConfiguration: &types.DeploymentConfiguration{DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{Enable: true, Rollback: true}}}))(t).Service.Deployments[0].Id
	b.scheduled(func(st *state.ServiceStatus) {
		st.Deployments[second] = state.DeploymentStatus{RolloutState: "IN_PROGRESS", StartedAt: b.clock, FailedTasks: 1}
	})
	b.serviceTask(strings.Repeat("1", 32), first, "RUNNING")
	b.serviceTask(strings.Repeat("2", 32), second, "PENDING")
	list := b.deployments(ecs.ListServiceDeploymentsInput{})
	if len(list) != 2 || list[0].Status != "IN_PROGRESS" || list[1].Status != "SUCCESSFUL" || *list[1].ServiceDeploymentArn != *one.ServiceDeploymentArn {
		t.Fatalf("%+v", list)
	}
	two := b.deployment(list[0].ServiceDeploymentArn)
	if len(two.SourceServiceRevisions) != 1 || *two.SourceServiceRevisions[0].Arn != *one.TargetServiceRevision.Arn || two.TargetServiceRevision.PendingTaskCount != 1 ||
		two.DeploymentCircuitBreaker.Status != "MONITORING" || two.DeploymentCircuitBreaker.FailureCount != 1 || two.DeploymentCircuitBreaker.Threshold != 3 {
		t.Errorf("%+v %+v", two, two.DeploymentCircuitBreaker)
	}
	if got := b.deployment(one.ServiceDeploymentArn).TargetServiceRevision; got.RequestedTaskCount != 1 || got.RunningTaskCount != 1 {
		t.Errorf("the old revision %+v", got)
	}
	for _, tc := range []struct {
		in   ecs.ListServiceDeploymentsInput
		want int
	}{
		{ecs.ListServiceDeploymentsInput{Status: []types.ServiceDeploymentStatus{"SUCCESSFUL"}}, 1},
		{ecs.ListServiceDeploymentsInput{Status: []types.ServiceDeploymentStatus{"STOPPED"}}, 0},
		{ecs.ListServiceDeploymentsInput{CreatedAt: &types.CreatedAt{After: one.CreatedAt}}, 1},
		{ecs.ListServiceDeploymentsInput{CreatedAt: &types.CreatedAt{Before: one.CreatedAt}}, 0},
	} {
		if got := b.deployments(tc.in); len(got) != tc.want {
			t.Errorf("%+v lists %d, want %d", tc.in, len(got), tc.want)
		}
	}
	page := must(b.s.ListServiceDeployments(b.ctx, &ecs.ListServiceDeploymentsInput{Service: aws.String("svc"), MaxResults: aws.Int32(1)}))(t)
	page = must(b.s.ListServiceDeployments(b.ctx, &ecs.ListServiceDeploymentsInput{Service: aws.String("svc"), MaxResults: aws.Int32(1), NextToken: page.NextToken}))(t)
	if len(page.ServiceDeployments) != 1 || *page.ServiceDeployments[0].ServiceDeploymentArn != *one.ServiceDeploymentArn || page.NextToken != nil {
		t.Errorf("second page %+v", page)
	}
	revs := must(b.s.DescribeServiceRevisions(b.ctx, &ecs.DescribeServiceRevisionsInput{ServiceRevisionArns: []string{*one.TargetServiceRevision.Arn}}))(t)
	r := revs.ServiceRevisions[0]
	if *r.TaskDefinition != here.ARN("ecs", "task-definition/web:1") || *r.LoadBalancers[0].TargetGroupArn != b.tg || *r.ContainerImages[0].ImageDigest != "sha256:1" || *r.PlatformVersion != "1.4.0" {
		t.Errorf("%+v", r)
	}
}

// How a deployment that failed is told of in the service deployments API.
func TestServiceDeployments_Rollback(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	must(b.createService())(t)
	bad := *must(b.updateService(ecs.UpdateServiceInput{ForceNewDeployment: true}))(t).Service.Deployments[0].Id
	b.scheduled(func(st *state.ServiceStatus) {
		st.Deployments[bad] = state.DeploymentStatus{RolloutState: "FAILED", StartedAt: b.clock, FinishedAt: b.clock}
	})
	arn := b.deployments(ecs.ListServiceDeploymentsInput{})[0].ServiceDeploymentArn
	if d := b.deployment(arn); d.Status != "STOPPED" || d.Rollback != nil {
		t.Errorf("without rollback: %s %+v", d.Status, d.Rollback)
	}
	b.update(func(tx *store.WriteTx) error { // as the scheduler rolls back
		o, err := state.Services.Get(tx, here.Key("default", "svc"))
		if err != nil {
			return err
		}
		o.Val.Sequence++
		d := state.Deployment{Sequence: o.Val.Sequence, ID: "ecs-svc/3", ARNID: "back", RevisionID: "3", TaskDefinitionARN: here.ARN("ecs", "task-definition/web:1"), RollbackOf: bad, CreatedAt: tx.Now()}
		if err := state.Deployments.Put(tx, &store.Object[state.Deployment]{Key: state.DeploymentKey(o.Key, d.Sequence), Val: d}); err != nil {
			return err
		}
		return state.Services.Put(tx, &o)
	})
	for _, tc := range []struct {
		by   state.DeploymentStatus
		want types.ServiceDeploymentStatus
	}{
		{state.DeploymentStatus{RolloutState: "IN_PROGRESS"}, "ROLLBACK_IN_PROGRESS"},
		{state.DeploymentStatus{RolloutState: "FAILED"}, "ROLLBACK_FAILED"},
		{state.DeploymentStatus{RolloutState: "IN_PROGRESS", Superseded: true}, "ROLLBACK_FAILED"},
	} {
		b.scheduled(func(st *state.ServiceStatus) { st.Deployments["ecs-svc/3"] = tc.by })
		if d := b.deployment(arn); d.Status != tc.want || !strings.HasSuffix(*d.Rollback.ServiceRevisionArn, "/3") {
			t.Errorf("%+v: %s, want %s; rollback %+v", tc.by, d.Status, tc.want, d.Rollback)
		}
	}
	b.scheduled(func(st *state.ServiceStatus) {
		st.Deployments["ecs-svc/3"] = state.DeploymentStatus{RolloutState: "COMPLETED"}
	})
	if d := b.deployment(arn); d.Status != "ROLLBACK_SUCCESSFUL" {
		t.Errorf("%s", d.Status)
	}
}

func TestServiceDeployments_Missing(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	must(b.createService())(t)
	for _, name := range []string{"default/svc/nope", "default/gone/x"} {
		a := here.ARN("ecs", "service-deployment/"+name)
		out := must(b.s.DescribeServiceDeployments(b.ctx, &ecs.DescribeServiceDeploymentsInput{ServiceDeploymentArns: []string{a}}))(t)
		if d := cmp.Diff([]types.Failure{{Arn: &a, Reason: aws.String("MISSING")}}, out.Failures, ignoreNoSmithy); d != "" {
			t.Error(d)
		}
	}
	_, err := b.s.DescribeServiceDeployments(b.ctx, &ecs.DescribeServiceDeploymentsInput{ServiceDeploymentArns: []string{"x"}})
	refused(t, err, "InvalidParameterException", "The ARN provided is invalid.")
	_, err = b.s.DescribeServiceRevisions(b.ctx, &ecs.DescribeServiceRevisionsInput{ServiceRevisionArns: []string{"arn:aws:ecs:eu-west-1:000000000000:service-revision/default/svc/1"}})
	refused(t, err, "InvalidParameterException", "Invalid Region in ARN: eu-west-1")
	_, err = b.s.ListServiceDeployments(b.ctx, &ecs.ListServiceDeploymentsInput{Service: aws.String("gone")})
	refused(t, err, "ServiceNotFoundException", "Service not found.")
}
