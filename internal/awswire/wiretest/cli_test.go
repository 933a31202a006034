package wiretest_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/awswire/wiretest"
)

// TestOracle_CLIAgrees has the AWS CLI judge one operation of each protocol. Unlike the SDK for Go
// it wants names in their right case.
func TestOracle_CLIAgrees(t *testing.T) {
	if testing.Short() {
		t.Skip("the CLI takes a second to start")
	}
	cli, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("needs the AWS CLI")
	}
	tests := []struct {
		service string
		args    []string
		in, out any
		want    string
	}{
		{"sts", []string{"sts", "get-caller-identity"}, &sts.GetCallerIdentityInput{},
			&sts.GetCallerIdentityOutput{Account: aws.String("000000000000"), UserId: aws.String("u"), Arn: aws.String("arn:aws:iam::000000000000:root")},
			`{"UserId":"u","Account":"000000000000","Arn":"arn:aws:iam::000000000000:root"}`},
		{"ec2", []string{"ec2", "describe-vpcs", "--vpc-ids", "vpc-1", "--filters", "Name=is-default,Values=true,false"},
			&ec2.DescribeVpcsInput{VpcIds: []string{"vpc-1"}, Filters: []ec2types.Filter{{Name: aws.String("is-default"), Values: []string{"true", "false"}}}},
			&ec2.DescribeVpcsOutput{Vpcs: []ec2types.Vpc{{VpcId: aws.String("vpc-1"), IsDefault: aws.Bool(true), Tags: []ec2types.Tag{{Key: aws.String("k"), Value: aws.String("v<&>")}},
				CidrBlockAssociationSet: []ec2types.VpcCidrBlockAssociation{{CidrBlock: aws.String("10.0.0.0/16")}}}}},
			`{"Vpcs":[{"VpcId":"vpc-1","IsDefault":true,"Tags":[{"Key":"k","Value":"v<&>"}],"CidrBlockAssociationSet":[{"CidrBlock":"10.0.0.0/16"}]}]}`},
		{"elasticloadbalancingv2", []string{"elbv2", "describe-target-health", "--target-group-arn", "tg", "--targets", "Id=10.0.0.1,Port=80"},
			&elb.DescribeTargetHealthInput{TargetGroupArn: aws.String("tg"), Targets: []elbtypes.TargetDescription{{Id: aws.String("10.0.0.1"), Port: aws.Int32(80)}}},
			&elb.DescribeTargetHealthOutput{TargetHealthDescriptions: []elbtypes.TargetHealthDescription{{
				Target: &elbtypes.TargetDescription{Id: aws.String("10.0.0.1"), Port: aws.Int32(80)}, TargetHealth: &elbtypes.TargetHealth{State: elbtypes.TargetHealthStateEnumHealthy}}}},
			`{"TargetHealthDescriptions":[{"Target":{"Id":"10.0.0.1","Port":80},"TargetHealth":{"State":"healthy"}}]}`},
		{"ecs", []string{"ecs", "describe-services", "--cluster", "c", "--services", "web"},
			&ecs.DescribeServicesInput{Cluster: aws.String("c"), Services: []string{"web"}},
			&ecs.DescribeServicesOutput{Services: []ecstypes.Service{{ServiceName: aws.String("web"), DesiredCount: 2, Deployments: []ecstypes.Deployment{}}}},
			`{"services":[{"serviceName":"web","desiredCount":2,"runningCount":0,"pendingCount":0,"deployments":[],"enableECSManagedTags":false,"enableExecuteCommand":false}]}`},
	}
	for _, tt := range tests {
		t.Run(tt.args[0], func(t *testing.T) {
			t.Parallel()
			var s wiretest.Service
			for _, s = range wiretest.Services() {
				if s.Name == tt.service {
					break
				}
			}
			e := wiretest.NewEcho(t, s)
			e.Reply(tt.out)
			cmd := exec.Command(cli, append([]string{"--endpoint-url", e.URL, "--region", "us-east-1", "--output", "json"}, tt.args...)...)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY=x", "AWS_EC2_METADATA_DISABLED=true"}
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v: %s", err, &stderr)
			}
			var got, want any
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(tt.want), &want); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("the CLI prints, -want +got:\n%s", d)
			}
			if d := cmp.Diff(tt.in, e.Got(), wiretest.Everything); d != "" {
				t.Errorf("the handler gets, -want +got:\n%s", d)
			}
		})
	}
}
