package ecs

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/state"
)

func TestCapacityProviders(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	put := func(strategy []types.CapacityProviderStrategyItem, names ...string) error {
		_, err := b.s.PutClusterCapacityProviders(b.ctx, &ecs.PutClusterCapacityProvidersInput{Cluster: aws.String("default"), CapacityProviders: names, DefaultCapacityProviderStrategy: strategy})
		return err
	}
	item := func(name string, base, weight int32) types.CapacityProviderStrategyItem {
		return types.CapacityProviderStrategyItem{CapacityProvider: &name, Base: base, Weight: weight}
	}
	refused(t, put(nil, "mine"), "InvalidParameterException", errNoProvider.Message)
	refused(t, put([]types.CapacityProviderStrategyItem{item("FARGATE", 0, 1)}, "FARGATE_SPOT"), "InvalidParameterException", errNotAssociated.Message)
	if err := put([]types.CapacityProviderStrategyItem{item("FARGATE", 1, 1), item("FARGATE_SPOT", 0, 3)}, here.ARN("ecs", "capacity-provider/FARGATE"), "FARGATE_SPOT"); err != nil {
		t.Fatal(err)
	}
	c := must(b.s.DescribeClusters(b.ctx, &ecs.DescribeClustersInput{}))(t).Clusters[0]
	if got := strings.Join(c.CapacityProviders, " "); got != "FARGATE FARGATE_SPOT" || len(c.DefaultCapacityProviderStrategy) != 2 {
		t.Errorf("cluster %+v", c)
	}
	// A RunTask without a launch type takes the default strategy.
	out := must(b.runTask(func(in *ecs.RunTaskInput) { in.LaunchType, in.Count = "", aws.Int32(5) }))(t)
	n := map[string]int{}
	for _, v := range out.Tasks {
		n[aws.ToString(v.CapacityProviderName)]++
		if v.LaunchType != types.LaunchTypeFargate {
			t.Errorf("launch type %s", v.LaunchType)
		}
	}
	if n["FARGATE"] != 2 || n["FARGATE_SPOT"] != 3 {
		t.Errorf("tasks by provider %v", n)
	}
	refused(t, put(nil, "FARGATE"), "ResourceInUseException", errProviderInUse.Message)
	for _, v := range out.Tasks {
		b.ran(keyOf(v), "STOPPED")
	}
	if err := put(nil); err != nil {
		t.Error(err)
	}
	d := must(b.s.DescribeCapacityProviders(b.ctx, &ecs.DescribeCapacityProvidersInput{CapacityProviders: []string{"FARGATE", "mine"}}))(t)
	if len(d.CapacityProviders) != 1 || *d.CapacityProviders[0].CapacityProviderArn != here.ARN("ecs", "capacity-provider/FARGATE") || d.CapacityProviders[0].Status != "ACTIVE" ||
		len(d.Failures) != 1 || *d.Failures[0].Arn != here.ARN("ecs", "capacity-provider/mine") {
		t.Errorf("%+v", d)
	}
	if d := must(b.s.DescribeCapacityProviders(b.ctx, &ecs.DescribeCapacityProvidersInput{}))(t); len(d.CapacityProviders) != 2 {
		t.Errorf("%+v", d)
	}
	if d := must(b.s.DescribeCapacityProviders(b.ctx, &ecs.DescribeCapacityProvidersInput{Cluster: aws.String("default")}))(t); len(d.CapacityProviders) != 0 {
		t.Errorf("a cluster without providers has %+v", d.CapacityProviders)
	}
}

func TestProviders(t *testing.T) {
	for _, tc := range []struct {
		items []state.StrategyItem
		n     int
		want  string
	}{
		{nil, 2, ","},
		{[]state.StrategyItem{{Provider: "A"}}, 2, "A,A"},
		{[]state.StrategyItem{{Provider: "A", Weight: 1}, {Provider: "B", Weight: 4}}, 5, "B,B,B,A,B"},
		{[]state.StrategyItem{{Provider: "A", Weight: 1}, {Provider: "B", Base: 2}}, 4, "B,B,A,A"},
		{[]state.StrategyItem{{Provider: "A", Base: 1, Weight: 1}, {Provider: "B", Weight: 1}}, 4, "A,A,B,A"},
	} {
		got := strings.Join(providers(tc.items, tc.n), ",")
		count := func(s string) int { return strings.Count(got, s) - strings.Count(tc.want, s) }
		if count("A") != 0 || count("B") != 0 || len(got) != len(tc.want) {
			t.Errorf("providers(%v, %d) = %s, want as many as %s", tc.items, tc.n, got, tc.want)
		}
	}
}

func TestUpdateCluster(t *testing.T) {
	b := newBench(t)
	b.cluster()
	set := func(cluster, value string) error {
		_, err := b.s.UpdateClusterSettings(b.ctx, &ecs.UpdateClusterSettingsInput{Cluster: &cluster, Settings: []types.ClusterSetting{{Name: "containerInsights", Value: &value}}})
		return err
	}
	if err := set("default", "disabled"); err != nil {
		t.Error(err)
	}
	refused(t, set("none", "disabled"), "ClusterNotFoundException", "Cluster not found.")
	refused(t, set("default", "enabled"), "InvalidParameterException", "Lotse gathers no container insights yet: the setting containerInsights can only be disabled.")
	out := must(b.s.UpdateCluster(b.ctx, &ecs.UpdateClusterInput{Cluster: aws.String("default")}))(t).Cluster
	if len(out.Settings) != 1 || *out.Settings[0].Value != "disabled" {
		t.Errorf("%+v", out)
	}
}

func TestContainerInstances_ThereAreNone(t *testing.T) {
	b := newBench(t)
	_, err := b.s.ListContainerInstances(b.ctx, &ecs.ListContainerInstancesInput{})
	refused(t, err, "ClusterNotFoundException", "Cluster not found.")
	b.cluster()
	if out := must(b.s.ListContainerInstances(b.ctx, &ecs.ListContainerInstancesInput{}))(t); len(out.ContainerInstanceArns) != 0 {
		t.Error(out)
	}
	out := must(b.s.DescribeContainerInstances(b.ctx, &ecs.DescribeContainerInstancesInput{ContainerInstances: []string{"a"}}))(t)
	if len(out.Failures) != 1 || *out.Failures[0].Arn != here.ARN("ecs", "container-instance/default/a") || *out.Failures[0].Reason != "MISSING" {
		t.Errorf("%+v", out)
	}
	_, err = b.s.PutAttributes(b.ctx, &ecs.PutAttributesInput{Attributes: []types.Attribute{{Name: aws.String("a"), TargetId: aws.String("x")}}})
	refused(t, err, "TargetNotFoundException", "The specified target wasn't found: there are no container instances.")
	_, err = b.s.DeleteAttributes(b.ctx, &ecs.DeleteAttributesInput{})
	refused(t, err, "InvalidParameterException", "attributes should have between 1 and 10 items.")
}

func TestDeleteTaskDefinitions(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	b.register()
	must(b.s.DeregisterTaskDefinition(b.ctx, &ecs.DeregisterTaskDefinitionInput{TaskDefinition: aws.String("web:1")}))(t)
	out := must(b.s.DeleteTaskDefinitions(b.ctx, &ecs.DeleteTaskDefinitionsInput{TaskDefinitions: []string{"web:1", "web:2", "web:9"}}))(t)
	if len(out.TaskDefinitions) != 1 || out.TaskDefinitions[0].Status != types.TaskDefinitionStatusDeleteInProgress || out.TaskDefinitions[0].DeleteRequestedAt == nil {
		t.Errorf("%+v", out.TaskDefinitions)
	}
	if len(out.Failures) != 2 || *out.Failures[0].Reason != "The specified task definition is still in ACTIVE status. Please deregister the target and try again." || *out.Failures[1].Arn != "web:9" {
		t.Errorf("%+v", out.Failures)
	}
	if got := must(b.s.ListTaskDefinitions(b.ctx, &ecs.ListTaskDefinitionsInput{Status: types.TaskDefinitionStatusDeleteInProgress}))(t).TaskDefinitionArns; len(got) != 1 {
		t.Errorf("in progress: %v", got)
	}
	_, err := b.runTask(func(in *ecs.RunTaskInput) { in.TaskDefinition = aws.String("web:1") })
	refused(t, err, "ClientException", "TaskDefinition is inactive")
	if d := must(b.s.DescribeTaskDefinition(b.ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: aws.String("web:1")}))(t); d.TaskDefinition.Status != types.TaskDefinitionStatusDeleteInProgress {
		t.Errorf("%+v", d.TaskDefinition)
	}
	_, err = b.s.DeleteTaskDefinitions(b.ctx, &ecs.DeleteTaskDefinitionsInput{TaskDefinitions: make([]string, 11)})
	refused(t, err, "InvalidParameterException", "taskDefinitions can have at most 10 items.")
}
