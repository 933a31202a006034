package test

import (
	"fmt"
	"os/exec"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// A push to the tag that a service follows deploys it anew, and nobody had to ask.
func TestFollowTag(t *testing.T) {
	s := start(t)
	repository(t, s, "web")
	push := func(version string) {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "skopeo", "copy", "--insecure-policy", "--dest-tls-verify=false", "--dest-creds", "AWS:"+password(t, s),
			"docker-archive:"+helloImage(t, version), "docker://"+host(s)+"/web:latest").CombinedOutput()
		if err != nil {
			t.Fatalf("skopeo copy: %v\n%s", err, out)
		}
	}
	push("v1")
	aws(t, s, "iam", "create-role", "--role-name", "exec", "--assume-role-policy-document",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)
	c := ecs.NewFromConfig(s.Config())
	if _, err := c.CreateCluster(t.Context(), &ecs.CreateClusterInput{ClusterName: awssdk.String("test")}); err != nil {
		t.Fatal(err)
	}
	subnets, err := ec2.NewFromConfig(s.Config()).DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{Family: awssdk.String("web"), NetworkMode: ecstypes.NetworkModeAwsvpc,
		Cpu: awssdk.String("256"), Memory: awssdk.String("512"), RequiresCompatibilities: []ecstypes.Compatibility{ecstypes.CompatibilityFargate},
		ExecutionRoleArn:     awssdk.String("arn:aws:iam::000000000000:role/exec"),
		ContainerDefinitions: []ecstypes.ContainerDefinition{{Name: awssdk.String("app"), Image: awssdk.String(host(s) + "/web:latest")}}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.CreateService(t.Context(), &ecs.CreateServiceInput{Cluster: awssdk.String("test"), ServiceName: awssdk.String("web"), TaskDefinition: awssdk.String("web"),
		DesiredCount: awssdk.Int32(1), LaunchType: ecstypes.LaunchTypeFargate, Tags: []ecstypes.Tag{{Key: awssdk.String("lotse:follow-tag"), Value: awssdk.String("true")}},
		NetworkConfiguration: &ecstypes.NetworkConfiguration{AwsvpcConfiguration: &ecstypes.AwsVpcConfiguration{Subnets: []string{*subnets.Subnets[0].SubnetId}}}})
	if err != nil {
		t.Fatal(err)
	}
	digest := func() string { // of the one deployment that has completed
		out, err := c.DescribeServices(t.Context(), &ecs.DescribeServicesInput{Cluster: awssdk.String("test"), Services: []string{"web"}})
		if err != nil || len(out.Services) != 1 || len(out.Services[0].Deployments) != 1 || out.Services[0].Deployments[0].RolloutState != ecstypes.DeploymentRolloutStateCompleted {
			return ""
		}
		tasks, err := c.ListTasks(t.Context(), &ecs.ListTasksInput{Cluster: awssdk.String("test")})
		if err != nil || len(tasks.TaskArns) != 1 {
			return ""
		}
		seen, err := c.DescribeTasks(t.Context(), &ecs.DescribeTasksInput{Cluster: awssdk.String("test"), Tasks: tasks.TaskArns})
		if err != nil || len(seen.Tasks) != 1 {
			return ""
		}
		return awssdk.ToString(seen.Tasks[0].Containers[0].ImageDigest)
	}
	var first string
	eventually(t, time.Minute, func() error {
		if first = digest(); first == "" {
			return fmt.Errorf("the first deployment has not completed")
		}
		return nil
	})
	push("v2")
	eventually(t, time.Minute, func() error {
		if d := digest(); d == "" || d == first {
			return fmt.Errorf("still runs %q, and the first was %s", d, first)
		}
		return nil
	})
}
