package iam

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/awsauth"
)

func TestResources(t *testing.T) {
	c := awsauth.Caller{Account: "000000000000", Region: "us-east-1"}
	const here = ":us-east-1:000000000000:"
	for _, tc := range []struct {
		service, op string
		in          any
		want        []string
	}{
		{"ecs", "ListTasks", &ecs.ListTasksInput{Cluster: aws.String("c")}, []string{"*"}},
		{"ecs", "StopTask", &ecs.StopTaskInput{Task: aws.String("t")}, []string{"arn:aws:ecs" + here + "task/default/t"}},
		{"ecs", "StopTask", &ecs.StopTaskInput{Cluster: aws.String("arn:aws:ecs" + here + "cluster/c"), Task: aws.String("t")}, []string{"arn:aws:ecs" + here + "task/c/t"}},
		{"ecs", "StopTask", &ecs.StopTaskInput{Cluster: aws.String("c"), Task: aws.String("arn:aws:ecs" + here + "task/x/t")}, []string{"arn:aws:ecs" + here + "task/x/t"}},
		{"ecs", "DescribeTasks", &ecs.DescribeTasksInput{Tasks: []string{"a", "b"}}, []string{"arn:aws:ecs" + here + "task/default/a", "arn:aws:ecs" + here + "task/default/b"}},
		{"ecs", "DescribeClusters", &ecs.DescribeClustersInput{}, []string{"arn:aws:ecs" + here + "cluster/default"}},
		{"ecs", "TagResource", &ecs.TagResourceInput{ResourceArn: aws.String("arn:aws:ecs:x")}, []string{"arn:aws:ecs:x"}},
		{"ecs", "RegisterTaskDefinition", &ecs.RegisterTaskDefinitionInput{Family: aws.String("web")}, []string{"arn:aws:ecs" + here + "task-definition/web:*"}},
		{"ecr", "GetAuthorizationToken", &ecr.GetAuthorizationTokenInput{}, []string{"*"}},
		{"ecr", "BatchGetImage", &ecr.BatchGetImageInput{RepositoryName: aws.String("a/b")}, []string{"arn:aws:ecr" + here + "repository/a/b"}},
		{"ecr", "DescribeRepositories", &ecr.DescribeRepositoriesInput{}, []string{"arn:aws:ecr" + here + "repository/*"}},
		{"elasticloadbalancing", "DescribeTargetHealth", &elasticloadbalancingv2.DescribeTargetHealthInput{TargetGroupArn: aws.String("arn:aws:x")}, []string{"*"}},
		{"elasticloadbalancing", "AddTags", &elasticloadbalancingv2.AddTagsInput{ResourceArns: []string{"arn:aws:x", "arn:aws:y"}}, []string{"arn:aws:x", "arn:aws:y"}},
		{"logs", "PutLogEvents", &cloudwatchlogs.PutLogEventsInput{LogGroupName: aws.String("/g"), LogStreamName: aws.String("s")}, []string{"arn:aws:logs" + here + "log-group:/g:log-stream:s"}},
		{"ssm", "GetParameter", &ssm.GetParameterInput{Name: aws.String("/prod/db")}, []string{"arn:aws:ssm" + here + "parameter/prod/db"}},
		{"iam", "GetRole", &iam.GetRoleInput{RoleName: aws.String("r")}, []string{"arn:aws:iam::000000000000:role/r"}},
		{"ec2", "DescribeVpcs", &ec2.DescribeVpcsInput{VpcIds: []string{"vpc-1"}}, []string{"*"}},
	} {
		if d := cmp.Diff(tc.want, resourcesOf(c, tc.service, tc.op, tc.in)); d != "" {
			t.Errorf("%s:%s (-want +got): %s", tc.service, tc.op, d)
		}
	}
}
