package test

import (
	"strings"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// What AWS's waiters wait for comes: of a load balancer, its targets and a certificate. The SDK's look often; the CLI's look
// four times a minute, and find what the SDK's have seen.
func TestWaiters(t *testing.T) {
	s := start(t)
	c, e := elb.NewFromConfig(s.Config()), ecs.NewFromConfig(s.Config())
	const often, most = 50 * time.Millisecond, time.Minute
	ctx := t.Context()

	cert := aws(t, s, "acm", "request-certificate", "--domain-name", "a.example.com", "--validation-method", "DNS", "--query", "CertificateArn")
	if err := acm.NewCertificateValidatedWaiter(acm.NewFromConfig(s.Config()), func(o *acm.CertificateValidatedWaiterOptions) { o.MinDelay = often }).Wait(ctx, &acm.DescribeCertificateInput{CertificateArn: &cert}, most); err != nil {
		t.Fatal(err)
	}
	aws(t, s, "acm", "wait", "certificate-validated", "--certificate-arn", cert)

	subnets := strings.Fields(aws(t, s, "ec2", "describe-subnets", "--query", "Subnets[:2].SubnetId"))
	lb := aws(t, s, append([]string{"elbv2", "create-load-balancer", "--name", "web", "--query", "LoadBalancers[0].LoadBalancerArn", "--subnets"}, subnets...)...)
	balancers := &elb.DescribeLoadBalancersInput{LoadBalancerArns: []string{lb}}
	if err := elb.NewLoadBalancerExistsWaiter(c, func(o *elb.LoadBalancerExistsWaiterOptions) { o.MinDelay = often }).Wait(ctx, balancers, most); err != nil {
		t.Fatal(err)
	}
	if err := elb.NewLoadBalancerAvailableWaiter(c, func(o *elb.LoadBalancerAvailableWaiterOptions) { o.MinDelay = often }).Wait(ctx, balancers, most); err != nil {
		t.Fatal(err)
	}
	aws(t, s, "elbv2", "wait", "load-balancer-exists", "--names", "web")
	aws(t, s, "elbv2", "wait", "load-balancer-available", "--load-balancer-arns", lb)

	vpc := aws(t, s, "ec2", "describe-vpcs", "--query", "Vpcs[0].VpcId")
	group := aws(t, s, "elbv2", "create-target-group", "--name", "web", "--protocol", "HTTP", "--port", "8080", "--vpc-id", vpc, "--target-type", "ip", "--query", "TargetGroups[0].TargetGroupArn")
	aws(t, s, "elbv2", "create-listener", "--load-balancer-arn", lb, "--port", "80", "--protocol", "HTTP", "--default-actions", "Type=forward,TargetGroupArn="+group)
	lotse(t, s, "image", "import", "example.com/zone:1", zoneImage(t))
	aws(t, s, "ecs", "create-cluster", "--cluster-name", "test")
	if _, err := e.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{Family: awssdk.String("zone"), NetworkMode: ecstypes.NetworkModeAwsvpc,
		RequiresCompatibilities: []ecstypes.Compatibility{ecstypes.CompatibilityFargate}, Cpu: awssdk.String("256"), Memory: awssdk.String("512"),
		ContainerDefinitions: []ecstypes.ContainerDefinition{{Name: awssdk.String("main"), Image: awssdk.String("example.com/zone:1")}}}); err != nil {
		t.Fatal(err)
	}
	task := launch(t, e, &ecstypes.NetworkConfiguration{AwsvpcConfiguration: &ecstypes.AwsVpcConfiguration{Subnets: subnets[:1]}}, "zone")
	ip := *await(t, e, task, "runs", func(v ecstypes.Task) bool { return *v.LastStatus == "RUNNING" }).Containers[0].NetworkInterfaces[0].PrivateIpv4Address

	targets := &elb.DescribeTargetHealthInput{TargetGroupArn: &group, Targets: []elbtypes.TargetDescription{{Id: &ip}}}
	aws(t, s, "elbv2", "register-targets", "--target-group-arn", group, "--targets", "Id="+ip)
	if err := elb.NewTargetInServiceWaiter(c, func(o *elb.TargetInServiceWaiterOptions) { o.MinDelay = often }).Wait(ctx, targets, most); err != nil {
		t.Fatal(err)
	}
	aws(t, s, "elbv2", "wait", "target-in-service", "--target-group-arn", group)
	aws(t, s, "elbv2", "deregister-targets", "--target-group-arn", group, "--targets", "Id="+ip)
	if err := elb.NewTargetDeregisteredWaiter(c, func(o *elb.TargetDeregisteredWaiterOptions) { o.MinDelay = often }).Wait(ctx, targets, most); err != nil {
		t.Fatal(err)
	}
	aws(t, s, "elbv2", "wait", "target-deregistered", "--target-group-arn", group, "--targets", "Id="+ip)

	aws(t, s, "elbv2", "delete-load-balancer", "--load-balancer-arn", lb)
	if err := elb.NewLoadBalancersDeletedWaiter(c, func(o *elb.LoadBalancersDeletedWaiterOptions) { o.MinDelay = often }).Wait(ctx, balancers, most); err != nil {
		t.Fatal(err)
	}
	aws(t, s, "elbv2", "wait", "load-balancers-deleted", "--load-balancer-arns", lb)
}
