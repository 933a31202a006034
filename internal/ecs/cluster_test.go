package ecs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/arn"
)

func TestCluster_DefaultExistsOnceCreated(t *testing.T) {
	b := newBench(t)
	_, err := b.s.ListTasks(b.ctx, &ecs.ListTasksInput{})
	refused(t, err, "ClusterNotFoundException", "Cluster not found.")
	out := must(b.s.DescribeClusters(b.ctx, &ecs.DescribeClustersInput{}))(t)
	if len(out.Failures) != 1 || *out.Failures[0].Reason != "MISSING" || *out.Failures[0].Arn != here.ARN("ecs", "cluster/default") {
		t.Errorf("failures %+v", out.Failures)
	}
	b.cluster()
	out = must(b.s.DescribeClusters(b.ctx, &ecs.DescribeClustersInput{}))(t)
	if len(out.Clusters) != 1 || *out.Clusters[0].ClusterName != "default" || *out.Clusters[0].Status != "ACTIVE" || len(out.Failures) != 0 {
		t.Errorf("%+v", out)
	}
}

func TestCreateCluster_IsIdempotentAndRevives(t *testing.T) {
	b := newBench(t)
	create := func(tags ...types.Tag) types.Cluster {
		return *must(b.s.CreateCluster(b.ctx, &ecs.CreateClusterInput{ClusterName: aws.String("prod"), Tags: tags}))(t).Cluster
	}
	tag := types.Tag{Key: aws.String("team"), Value: aws.String("a")}
	first, second := create(tag), create()
	if d := cmp.Diff(first.Tags, second.Tags, cmp.AllowUnexported(types.Tag{}), ignoreNoSmithy); d != "" {
		t.Errorf("the second call changed the tags: %s", d)
	}
	gone := must(b.s.DeleteCluster(b.ctx, &ecs.DeleteClusterInput{Cluster: first.ClusterArn}))(t)
	if *gone.Cluster.Status != "INACTIVE" {
		t.Errorf("status %s", *gone.Cluster.Status)
	}
	list := must(b.s.ListClusters(b.ctx, &ecs.ListClustersInput{}))(t)
	if len(list.ClusterArns) != 0 {
		t.Errorf("INACTIVE cluster is listed: %v", list.ClusterArns)
	}
	desc := must(b.s.DescribeClusters(b.ctx, &ecs.DescribeClustersInput{Clusters: []string{"prod"}}))(t)
	if *desc.Clusters[0].Status != "INACTIVE" {
		t.Errorf("an INACTIVE cluster should stay describable: %+v", desc)
	}
	_, err := b.s.DeleteCluster(b.ctx, &ecs.DeleteClusterInput{Cluster: aws.String("prod")})
	refused(t, err, "ClusterNotFoundException", "Cluster not found.")
	if c := create(); *c.Status != "ACTIVE" || len(c.Tags) != 0 {
		t.Errorf("revived: %+v", c)
	}
}

func TestDescribeClusters_CountsAndIncludes(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	must(b.createService())(t)
	b.serviceTask(strings.Repeat("1", 32), "d", "RUNNING")
	b.serviceTask(strings.Repeat("2", 32), "d", "DEPROVISIONING")
	b.serviceTask(strings.Repeat("3", 32), "d", "PENDING")
	must(b.runTask())(t) // has no status yet
	out := must(b.s.DescribeClusters(b.ctx, &ecs.DescribeClustersInput{Include: []types.ClusterField{"STATISTICS", "SETTINGS", "TAGS"}}))(t)
	c := out.Clusters[0]
	if c.RunningTasksCount != 1 || c.PendingTasksCount != 2 || c.ActiveServicesCount != 1 {
		t.Errorf("running %d pending %d services %d, want 1 2 1", c.RunningTasksCount, c.PendingTasksCount, c.ActiveServicesCount)
	}
	if *c.Statistics[3].Name != "pendingFargateTasksCount" || *c.Statistics[3].Value != "2" || *c.Settings[0].Value != "disabled" {
		t.Errorf("statistics %v settings %v", c.Statistics, c.Settings)
	}
	plain := must(b.s.DescribeClusters(b.ctx, &ecs.DescribeClustersInput{}))(t).Clusters[0]
	if len(plain.Statistics)+len(plain.Settings)+len(plain.Tags) != 0 {
		t.Errorf("not asked for: %+v", plain)
	}
}

func TestDeleteCluster_OnlyEmptyOnes(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	out := must(b.runTask())(t)
	_, err := b.s.DeleteCluster(b.ctx, &ecs.DeleteClusterInput{Cluster: aws.String("default")})
	refused(t, err, "ClusterContainsTasksException", "The Cluster cannot be deleted while Tasks are active.")
	must(b.createService())(t)
	_, err = b.s.DeleteCluster(b.ctx, &ecs.DeleteClusterInput{Cluster: aws.String("default")})
	refused(t, err, "ClusterContainsServicesException", "The Cluster cannot be deleted while Services are active.")
	must(b.s.DeleteService(b.ctx, &ecs.DeleteServiceInput{Service: aws.String("svc"), Force: aws.Bool(true)}))(t)
	a, _ := arn.Parse(*out.Tasks[0].TaskArn)
	b.ran(here.Key(strings.Split(a.Name(), "/")...), "STOPPED")
	must(b.s.DeleteCluster(b.ctx, &ecs.DeleteClusterInput{Cluster: aws.String("default")}))(t)
}

func TestListClusters_Pages(t *testing.T) {
	b := newBench(t)
	var want, got []string
	for i := range 5 {
		c := must(b.s.CreateCluster(b.ctx, &ecs.CreateClusterInput{ClusterName: aws.String(fmt.Sprint("c", i))}))(t)
		want = append(want, *c.Cluster.ClusterArn)
	}
	in := &ecs.ListClustersInput{MaxResults: aws.Int32(2)}
	for pages := 1; ; pages++ {
		out := must(b.s.ListClusters(b.ctx, in))(t)
		got = append(got, out.ClusterArns...)
		if in.NextToken = out.NextToken; in.NextToken == nil {
			if pages != 3 {
				t.Errorf("%d pages, want 3", pages)
			}
			break
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	_, err := b.s.ListClusters(b.ctx, &ecs.ListClustersInput{MaxResults: aws.Int32(101)})
	refused(t, err, "InvalidParameterException", "maxResults must be between 1 and 100.")
	_, err = b.s.ListClusters(b.ctx, &ecs.ListClustersInput{NextToken: aws.String("!")})
	refused(t, err, "InvalidParameterException", "Invalid token.")
}

// Accounts and regions don't see each other.
func TestScopes(t *testing.T) {
	b := newBench(t)
	b.cluster()
	for _, sc := range []arn.Scope{{Account: "000000000000", Region: "eu-west-1"}, {Account: "111111111111", Region: "us-east-1"}} {
		out := must(b.s.ListClusters(b.as(sc), &ecs.ListClustersInput{}))(t)
		if len(out.ClusterArns) != 0 {
			t.Errorf("%v sees %v", sc, out.ClusterArns)
		}
	}
	eu := b.as(arn.Scope{Account: "000000000000", Region: "eu-west-1"})
	_, err := b.s.ListTasks(eu, &ecs.ListTasksInput{Cluster: aws.String(here.ARN("ecs", "cluster/default"))})
	refused(t, err, "InvalidParameterException", "Invalid Region in ARN: us-east-1")
}

func TestCreateCluster_Refuses(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"a b", "a/b", "ä", strings.Repeat("a", 256)} {
		if _, err := b.s.CreateCluster(b.ctx, &ecs.CreateClusterInput{ClusterName: &name}); err == nil {
			t.Errorf("cluster %q was made", name)
		}
	}
	_, err := b.s.CreateCluster(b.ctx, &ecs.CreateClusterInput{Settings: []types.ClusterSetting{{Name: types.ClusterSettingNameContainerInsights, Value: aws.String("enabled")}}})
	refused(t, err, "InvalidParameterException", "Lotse gathers no container insights yet: the setting containerInsights can only be disabled.")
}
