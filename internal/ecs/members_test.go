package ecs

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/awswire/wiretest"
)

// An operation is called with an input in which everything is in order.
type operation struct {
	input any
	call  func(ctx context.Context, in any) error
	acts  []string // paths of the members it acts on; a list's or map's elements are not named: ContainerDefinitions.Name
}

func op[In, Out any](in *In, call func(context.Context, *In) (*Out, error), acts ...string) operation {
	return operation{in, func(ctx context.Context, v any) error { _, err := call(ctx, v.(*In)); return err }, acts}
}

// refuses is op for what finds no target, ever.
func refuses[In, Out any](in *In, call func(context.Context, *In) (*Out, error), acts ...string) operation {
	return op(in, func(ctx context.Context, in *In) (*Out, error) {
		out, err := call(ctx, in)
		var e *awswire.Error
		if errors.As(err, &e) && e.Code == "TargetNotFoundException" {
			err = nil
		}
		return out, err
	}, acts...)
}

// under puts a prefix before names: the members of a nested structure.
func under(prefix string, names string) []string {
	out := []string{prefix}
	for _, n := range strings.Fields(names) {
		out = append(out, prefix+"."+n)
	}
	return out
}

func network() []string {
	return append([]string{"NetworkConfiguration"}, under("NetworkConfiguration.AwsvpcConfiguration", "Subnets SecurityGroups AssignPublicIp")...)
}

func operations(b *bench) map[string]operation {
	s := b.s
	deploymentConfiguration := append(under("DeploymentConfiguration", "MinimumHealthyPercent MaximumPercent Strategy"),
		under("DeploymentConfiguration.DeploymentCircuitBreaker", "Enable Rollback ResetOnHealthyTask")...)
	deploymentConfiguration = append(deploymentConfiguration, under("DeploymentConfiguration.DeploymentCircuitBreaker.ThresholdConfiguration", "Type Value")...)
	strategy := under("CapacityProviderStrategy", "CapacityProvider Base Weight")
	balancers := under("LoadBalancers", "TargetGroupArn ContainerName ContainerPort")
	service := &ecs.CreateServiceInput{ServiceName: aws.String("new"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(1), LaunchType: types.LaunchTypeFargate, NetworkConfiguration: b.network()}
	b.balanced(service)
	providers := append(under("DefaultCapacityProviderStrategy", "CapacityProvider Base Weight"), "CapacityProviders")
	return map[string]operation{
		"CreateCluster":               op(&ecs.CreateClusterInput{}, s.CreateCluster, append([]string{"ClusterName"}, append(under("Settings", "Name Value"), append(under("Tags", "Key Value"), providers...)...)...)...),
		"UpdateCluster":               op(&ecs.UpdateClusterInput{Cluster: aws.String("default")}, s.UpdateCluster, append(under("Settings", "Name Value"), "Cluster")...),
		"UpdateClusterSettings":       op(&ecs.UpdateClusterSettingsInput{Cluster: aws.String("default")}, s.UpdateClusterSettings, append(under("Settings", "Name Value"), "Cluster")...),
		"PutClusterCapacityProviders": op(&ecs.PutClusterCapacityProvidersInput{Cluster: aws.String("default")}, s.PutClusterCapacityProviders, append(slices.Clone(providers), "Cluster")...),
		"DescribeCapacityProviders":   op(&ecs.DescribeCapacityProvidersInput{}, s.DescribeCapacityProviders, "CapacityProviders", "Cluster", "Include", "MaxResults", "NextToken"),
		"PutAccountSetting":           op(&ecs.PutAccountSettingInput{Name: "awsvpcTrunking", Value: aws.String("enabled")}, s.PutAccountSetting, "Name", "Value", "PrincipalArn"),
		"PutAccountSettingDefault":    op(&ecs.PutAccountSettingDefaultInput{Name: "awsvpcTrunking", Value: aws.String("enabled")}, s.PutAccountSettingDefault, "Name", "Value"),
		"DeleteAccountSetting":        op(&ecs.DeleteAccountSettingInput{Name: "awsvpcTrunking"}, s.DeleteAccountSetting, "Name", "PrincipalArn"),
		"ListAccountSettings":         op(&ecs.ListAccountSettingsInput{}, s.ListAccountSettings, "EffectiveSettings", "MaxResults", "Name", "NextToken", "PrincipalArn", "Value"),
		"ListContainerInstances":      op(&ecs.ListContainerInstancesInput{}, s.ListContainerInstances, "Cluster", "Filter", "MaxResults", "NextToken", "Status"),
		"DescribeContainerInstances":  op(&ecs.DescribeContainerInstancesInput{ContainerInstances: []string{"a"}}, s.DescribeContainerInstances, "Cluster", "ContainerInstances", "Include"),
		"ListAttributes":              op(&ecs.ListAttributesInput{TargetType: "container-instance"}, s.ListAttributes, "AttributeName", "AttributeValue", "Cluster", "MaxResults", "NextToken", "TargetType"),
		"PutAttributes":               refuses(&ecs.PutAttributesInput{Attributes: []types.Attribute{{Name: aws.String("a")}}}, s.PutAttributes, append(under("Attributes", "Name Value TargetId TargetType"), "Cluster")...),
		"DeleteAttributes":            refuses(&ecs.DeleteAttributesInput{Attributes: []types.Attribute{{Name: aws.String("a")}}}, s.DeleteAttributes, append(under("Attributes", "Name Value TargetId TargetType"), "Cluster")...),
		"DeleteTaskDefinitions":       op(&ecs.DeleteTaskDefinitionsInput{TaskDefinitions: []string{"web:1"}}, s.DeleteTaskDefinitions, "TaskDefinitions"),
		"DescribeClusters":            op(&ecs.DescribeClustersInput{}, s.DescribeClusters, "Clusters", "Include"),
		"ListClusters":                op(&ecs.ListClustersInput{}, s.ListClusters, "MaxResults", "NextToken"),
		"DeleteCluster":               op(&ecs.DeleteClusterInput{Cluster: aws.String("empty")}, s.DeleteCluster, "Cluster"),
		"RegisterTaskDefinition": op(definition(), s.RegisterTaskDefinition, slices.Concat([]string{"Family", "Cpu", "Memory", "NetworkMode", "RequiresCompatibilities", "ExecutionRoleArn", "TaskRoleArn"},
			under("ContainerDefinitions", "Name Image Cpu Memory Essential Command EntryPoint User WorkingDirectory ReadonlyRootFilesystem StartTimeout StopTimeout VersionConsistency MemoryReservation DockerLabels"),
			under("ContainerDefinitions.HealthCheck", "Command Interval Timeout Retries StartPeriod"), under("ContainerDefinitions.RestartPolicy", "Enabled IgnoredExitCodes RestartAttemptPeriod"),
			under("ContainerDefinitions.DependsOn", "Condition ContainerName"), under("ContainerDefinitions.EnvironmentFiles", "Type Value"),
			under("ContainerDefinitions.Ulimits", "Name SoftLimit HardLimit"), under("ContainerDefinitions.MountPoints", "SourceVolume ContainerPath ReadOnly"),
			under("ContainerDefinitions.VolumesFrom", "SourceContainer ReadOnly"), under("ContainerDefinitions.SystemControls", "Namespace Value"),
			under("ContainerDefinitions.LinuxParameters", "InitProcessEnabled"), under("ContainerDefinitions.LinuxParameters.Capabilities", "Add Drop"), under("ContainerDefinitions.LinuxParameters.Tmpfs", "ContainerPath Size MountOptions"),
			under("Volumes", "Name"), []string{"Volumes.Host"}, under("EphemeralStorage", "SizeInGiB"), []string{"PidMode"},
			under("ContainerDefinitions.PortMappings", "ContainerPort HostPort Protocol Name AppProtocol"), under("ContainerDefinitions.Environment", "Name Value"), under("ContainerDefinitions.Secrets", "Name ValueFrom"),
			under("ContainerDefinitions.LogConfiguration", "LogDriver Options"), under("RuntimePlatform", "CpuArchitecture OperatingSystemFamily"), under("Tags", "Key Value"))...),
		"DescribeTaskDefinition":     op(&ecs.DescribeTaskDefinitionInput{TaskDefinition: aws.String("web")}, s.DescribeTaskDefinition, "TaskDefinition", "Include"),
		"ListTaskDefinitions":        op(&ecs.ListTaskDefinitionsInput{}, s.ListTaskDefinitions, "FamilyPrefix", "MaxResults", "NextToken", "Sort", "Status"),
		"ListTaskDefinitionFamilies": op(&ecs.ListTaskDefinitionFamiliesInput{}, s.ListTaskDefinitionFamilies, "FamilyPrefix", "MaxResults", "NextToken", "Status"),
		"DeregisterTaskDefinition":   op(&ecs.DeregisterTaskDefinitionInput{TaskDefinition: aws.String("web:1")}, s.DeregisterTaskDefinition, "TaskDefinition"),
		"RunTask": op(&ecs.RunTaskInput{TaskDefinition: aws.String("web"), LaunchType: types.LaunchTypeFargate, NetworkConfiguration: b.network()}, s.RunTask,
			slices.Concat([]string{"Cluster", "TaskDefinition", "Count", "LaunchType", "PlatformVersion", "Group", "StartedBy", "ClientToken", "PropagateTags", "EnableECSManagedTags", "ReferenceId"},
				under("CapacityProviderStrategy", "CapacityProvider Base Weight"), network(), under("Overrides", "Cpu Memory ExecutionRoleArn TaskRoleArn"), under("Overrides.EphemeralStorage", "SizeInGiB"), under("Overrides.ContainerOverrides", "Name Command Cpu Memory MemoryReservation"), under("Overrides.ContainerOverrides.EnvironmentFiles", "Type Value"),
				under("Overrides.ContainerOverrides.Environment", "Name Value"), under("Tags", "Key Value"))...),
		"UpdateTaskProtection": op(&ecs.UpdateTaskProtectionInput{Cluster: aws.String("default"), Tasks: []string{strings.Repeat("1", 32)}}, s.UpdateTaskProtection, "Cluster", "Tasks", "ProtectionEnabled", "ExpiresInMinutes"),
		"GetTaskProtection":    op(&ecs.GetTaskProtectionInput{Cluster: aws.String("default")}, s.GetTaskProtection, "Cluster", "Tasks"),
		"StopTask":             op(&ecs.StopTaskInput{Task: aws.String(strings.Repeat("1", 32))}, s.StopTask, "Cluster", "Task", "Reason"),
		"DescribeTasks":        op(&ecs.DescribeTasksInput{Tasks: []string{"x"}}, s.DescribeTasks, "Cluster", "Tasks", "Include"),
		"ListTasks": op(&ecs.ListTasksInput{}, s.ListTasks, "Cluster", "ContainerInstance", "DesiredStatus", "Family", "LaunchType", "MaxResults", "NextToken",
			"ServiceName", "StartedBy"),
		"CreateService": op(service, s.CreateService, slices.Concat([]string{"ServiceName", "Cluster", "TaskDefinition", "DesiredCount", "LaunchType", "PlatformVersion",
			"SchedulingStrategy", "HealthCheckGracePeriodSeconds", "PropagateTags", "EnableECSManagedTags", "ClientToken", "AvailabilityZoneRebalancing"},
			network(), deploymentConfiguration, strategy, under("DeploymentController", "Type"), balancers, under("Tags", "Key Value"))...),
		"UpdateService": op(&ecs.UpdateServiceInput{Service: aws.String("svc")}, s.UpdateService, slices.Concat([]string{"Service", "Cluster", "TaskDefinition", "DesiredCount",
			"PlatformVersion", "HealthCheckGracePeriodSeconds", "PropagateTags", "EnableECSManagedTags", "ForceNewDeployment", "AvailabilityZoneRebalancing"},
			network(), deploymentConfiguration, strategy, under("DeploymentController", "Type"), balancers)...),
		"StopServiceDeployment":      op(&ecs.StopServiceDeploymentInput{ServiceDeploymentArn: b.service().CurrentServiceDeployment}, s.StopServiceDeployment, "ServiceDeploymentArn", "StopType"),
		"DeleteService":              op(&ecs.DeleteServiceInput{Service: aws.String("svc"), Force: aws.Bool(true)}, s.DeleteService, "Cluster", "Service", "Force"),
		"DescribeServices":           op(&ecs.DescribeServicesInput{Services: []string{"svc"}}, s.DescribeServices, "Cluster", "Services", "Include"),
		"ListServices":               op(&ecs.ListServicesInput{}, s.ListServices, "Cluster", "LaunchType", "MaxResults", "NextToken", "ResourceManagementType", "SchedulingStrategy"),
		"ListServiceDeployments":     op(&ecs.ListServiceDeploymentsInput{Service: aws.String("svc")}, s.ListServiceDeployments, append(under("CreatedAt", "After Before"), "Cluster", "MaxResults", "NextToken", "Service", "Status")...),
		"DescribeServiceDeployments": op(&ecs.DescribeServiceDeploymentsInput{ServiceDeploymentArns: []string{here.ARN("ecs", "service-deployment/a/b/c")}}, s.DescribeServiceDeployments, "ServiceDeploymentArns"),
		"DescribeServiceRevisions":   op(&ecs.DescribeServiceRevisionsInput{ServiceRevisionArns: []string{here.ARN("ecs", "service-revision/a/b/c")}}, s.DescribeServiceRevisions, "ServiceRevisionArns"),
		"TagResource":                op(&ecs.TagResourceInput{ResourceArn: aws.String(here.ARN("ecs", "cluster/default")), Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}, s.TagResource, append(under("Tags", "Key Value"), "ResourceArn")...),
		"UntagResource":              op(&ecs.UntagResourceInput{ResourceArn: aws.String(here.ARN("ecs", "cluster/default")), TagKeys: []string{"a"}}, s.UntagResource, "ResourceArn", "TagKeys"),
		"ListTagsForResource":        op(&ecs.ListTagsForResourceInput{ResourceArn: aws.String(here.ARN("ecs", "cluster/default"))}, s.ListTagsForResource, "ResourceArn"),
	}
}

// Every member of the SDK's inputs, however deep, is acted on or refused. A member that a later
// SDK adds fails here until it is one or the other: nothing is accepted and ignored.
func TestMembers_ActedOnOrRefused(t *testing.T) {
	for _, name := range newBench(t).s.API().Operations() {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.cluster()
			must(b.s.CreateCluster(b.ctx, &ecs.CreateClusterInput{ClusterName: aws.String("empty")}))(t)
			b.register()
			must(b.createService())(t)
			b.serviceTask(strings.Repeat("1", 32), "d", "RUNNING")
			o, ok := operations(b)[name]
			if !ok {
				t.Fatal("the operation is not in this test")
			}
			call := func(in any) error { return o.call(b.ctx, in) }
			wiretest.Members(t, o.input, o.acts, refusedByName, call)
			wiretest.Broken(t, o.input, call)
		})
	}
}

// refusedByName are members that AWS itself refuses in other words.
var refusedByName = map[string]bool{
	"ContainerDefinitions.DisableNetworking": true, // "Disable Networking is not supported …"
	"LoadBalancers.LoadBalancerName":         true, // "Classic Load Balancers are not supported with Fargate"
}
