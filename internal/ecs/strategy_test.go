package ecs

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

func item(provider string, base, weight int32) types.CapacityProviderStrategyItem {
	return types.CapacityProviderStrategyItem{CapacityProvider: &provider, Base: base, Weight: weight}
}

// providers gives the default cluster the Fargate providers and a default strategy.
func (b *bench) providers(strategy ...state.StrategyItem) {
	b.t.Helper()
	b.update(func(tx *store.WriteTx) error {
		c, err := state.Clusters.Get(tx, here.Key("default"))
		if err != nil {
			return err
		}
		c.Val.CapacityProviders, c.Val.DefaultStrategy = []string{"FARGATE", "FARGATE_SPOT"}, strategy
		return state.Clusters.Put(tx, &c)
	})
}

func TestCapacityProviderStrategy(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	with := func(items ...types.CapacityProviderStrategyItem) func(*ecs.CreateServiceInput) {
		return func(in *ecs.CreateServiceInput) { in.LaunchType, in.CapacityProviderStrategy = "", items }
	}
	const code = "InvalidParameterException"
	_, err := b.createService(with(item("FARGATE", 0, 1)))
	refused(t, err, code, errNotAssociated.Message)
	b.providers()
	for _, tc := range []struct {
		items   []types.CapacityProviderStrategyItem
		message string
	}{
		{[]types.CapacityProviderStrategyItem{item("mine", 0, 1)}, errNotAssociated.Message},
		{[]types.CapacityProviderStrategyItem{item("FARGATE", 0, 1001)}, "The weight of a capacity provider is between 0 and 1000."},
		{[]types.CapacityProviderStrategyItem{item("FARGATE", 100001, 1)}, "The base of a capacity provider is between 0 and 100000."},
		{[]types.CapacityProviderStrategyItem{item("FARGATE", 1, 1), item("FARGATE_SPOT", 1, 1)}, "Only one capacity provider in a capacity provider strategy can have a base defined."},
		{[]types.CapacityProviderStrategyItem{item("FARGATE", 1, 0), item("FARGATE_SPOT", 0, 0)}, "A capacity provider strategy of several capacity providers needs one with a weight above 0."},
		{[]types.CapacityProviderStrategyItem{item("FARGATE", 0, 1), item("FARGATE", 0, 1)}, "The capacity provider strategy contains the capacityProvider FARGATE twice."},
		{make([]types.CapacityProviderStrategyItem, 21), "A capacity provider strategy can contain a maximum of 20 capacity providers."},
	} {
		_, err := b.createService(with(tc.items...))
		refused(t, err, code, tc.message)
	}
	_, err = b.createService(func(in *ecs.CreateServiceInput) {
		in.CapacityProviderStrategy = []types.CapacityProviderStrategyItem{item("FARGATE", 0, 1)}
	})
	refused(t, err, code, errTwoLaunches.Message)

	want := []types.CapacityProviderStrategyItem{item("FARGATE", 1, 1), item("FARGATE_SPOT", 0, 3)}
	s := must(b.createService(with(want...)))(t).Service
	if d := cmp.Diff(want, s.CapacityProviderStrategy, ignoreNoSmithy); d != "" || s.LaunchType != "" || s.Deployments[0].LaunchType != "" {
		t.Errorf("launch type %q, strategy %s", s.LaunchType, d)
	}
	if d := cmp.Diff(want, s.Deployments[0].CapacityProviderStrategy, ignoreNoSmithy); d != "" {
		t.Error(d)
	}
	again := must(b.updateService(ecs.UpdateServiceInput{CapacityProviderStrategy: want}))(t).Service
	if *again.Deployments[0].Id != *s.Deployments[0].Id {
		t.Error("the same strategy makes a deployment")
	}
	_, err = b.updateService(ecs.UpdateServiceInput{CapacityProviderStrategy: want[:1]})
	refused(t, err, code, errForceNeeded.Message)
	_, err = b.updateService(ecs.UpdateServiceInput{CapacityProviderStrategy: []types.CapacityProviderStrategyItem{}})
	refused(t, err, code, errForceNeeded.Message)
	back := must(b.updateService(ecs.UpdateServiceInput{CapacityProviderStrategy: []types.CapacityProviderStrategyItem{}, ForceNewDeployment: true}))(t).Service
	if back.LaunchType != "FARGATE" || back.CapacityProviderStrategy != nil || len(back.Deployments) != 2 {
		t.Errorf("%+v", back)
	}
}

func TestCapacityProviderStrategy_OfTheCluster(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	neither := func(in *ecs.CreateServiceInput) { in.LaunchType = "" }
	if _, err := b.createService(neither); err == nil {
		t.Error("no launch type and no strategy is EC2, where nothing runs")
	}
	b.providers(state.StrategyItem{Provider: "FARGATE_SPOT", Weight: 1})
	s := must(b.createService(neither))(t).Service
	if len(s.CapacityProviderStrategy) != 1 || *s.CapacityProviderStrategy[0].CapacityProvider != "FARGATE_SPOT" {
		t.Errorf("%+v", s.CapacityProviderStrategy)
	}
}

func TestAvailabilityZoneRebalancing(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	if s := must(b.createService())(t).Service; s.AvailabilityZoneRebalancing != "ENABLED" {
		t.Errorf("by default %s", s.AvailabilityZoneRebalancing)
	}
	s := must(b.updateService(ecs.UpdateServiceInput{AvailabilityZoneRebalancing: types.AvailabilityZoneRebalancingDisabled}))(t).Service
	if s.AvailabilityZoneRebalancing != "DISABLED" || len(s.Deployments) != 1 {
		t.Errorf("%s, %d deployments", s.AvailabilityZoneRebalancing, len(s.Deployments))
	}
	if s := must(b.updateService(ecs.UpdateServiceInput{DesiredCount: aws.Int32(3)}))(t).Service; s.AvailabilityZoneRebalancing != "DISABLED" {
		t.Errorf("not kept: %s", s.AvailabilityZoneRebalancing)
	}
}

func TestCircuitBreaker_Threshold(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	must(b.createService(func(in *ecs.CreateServiceInput) { in.DesiredCount = aws.Int32(1000) }))(t)
	for _, tc := range []struct {
		breaker types.DeploymentCircuitBreaker
		want    int32
	}{
		{types.DeploymentCircuitBreaker{Enable: true}, 200},
		{types.DeploymentCircuitBreaker{Enable: true, ThresholdConfiguration: &types.ThresholdConfiguration{Type: "BOUNDED_PERCENT", Value: 1}}, 10},
		{types.DeploymentCircuitBreaker{Enable: true, ThresholdConfiguration: &types.ThresholdConfiguration{Type: "UNBOUNDED_PERCENT", Value: 80}}, 800},
		{types.DeploymentCircuitBreaker{Enable: true, ThresholdConfiguration: &types.ThresholdConfiguration{Type: "COUNT", Value: 1}, ResetOnHealthyTask: aws.Bool(false)}, 1},
	} {
		s := must(b.updateService(ecs.UpdateServiceInput{DeploymentConfiguration: &types.DeploymentConfiguration{DeploymentCircuitBreaker: &tc.breaker}}))(t).Service
		if d := cmp.Diff(&tc.breaker, s.DeploymentConfiguration.DeploymentCircuitBreaker, ignoreNoSmithy); d != "" {
			t.Error(d)
		}
		if got := b.deployment(s.CurrentServiceDeployment).DeploymentCircuitBreaker.Threshold; got != tc.want {
			t.Errorf("%+v: threshold %d, want %d", tc.breaker, got, tc.want)
		}
	}
}

func TestStopServiceDeployment(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	one := must(b.createService())(t).Service
	stop := func(a *string, how types.StopServiceDeploymentStopType) error {
		out, err := b.s.StopServiceDeployment(b.ctx, &ecs.StopServiceDeploymentInput{ServiceDeploymentArn: a, StopType: how})
		if err == nil && *out.ServiceDeploymentArn != *a {
			t.Errorf("answered %s", *out.ServiceDeploymentArn)
		}
		return err
	}
	for how, want := range map[types.StopServiceDeploymentStopType]types.ServiceDeploymentStatus{"": "ROLLBACK_REQUESTED", "ABORT": "STOP_REQUESTED"} {
		b.scheduled(func(st *state.ServiceStatus) {
			st.Deployments[*one.Deployments[0].Id] = state.DeploymentStatus{RolloutState: "COMPLETED"}
		})
		refused(t, stop(one.CurrentServiceDeployment, ""), "ConflictException", "The service deployment cannot be stopped because its status is SUCCESSFUL.")
		d := must(b.updateService(ecs.UpdateServiceInput{ForceNewDeployment: true}))(t).Service
		for range 2 { // the second changes nothing
			if err := stop(d.CurrentServiceDeployment, how); err != nil {
				t.Fatal(err)
			}
			if got := b.deployment(d.CurrentServiceDeployment).Status; got != want {
				t.Errorf("%s: %s, want %s", how, got, want)
			}
		}
		b.scheduled(func(st *state.ServiceStatus) {
			st.Deployments[*d.Deployments[0].Id] = state.DeploymentStatus{RolloutState: "FAILED", NoCandidate: how == "", Reason: "because", FinishedAt: b.clock}
		})
		v := b.deployment(d.CurrentServiceDeployment)
		if how == "" && (v.Status != "ROLLBACK_FAILED" || *v.StatusReason != "No rollback candidate was found to run the rollback.") ||
			how == "ABORT" && (v.Status != "STOPPED" || v.StoppedAt == nil || *v.StatusReason != "because") {
			t.Errorf("%s: %s %v", how, v.Status, v)
		}
	}
	nope := here.ARN("ecs", "service-deployment/default/svc/nope")
	refused(t, stop(&nope, ""), "ServiceDeploymentNotFoundException", errNoServiceDeployment.Message)
}
