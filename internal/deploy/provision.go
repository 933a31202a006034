package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/smithy-go"
)

// Every ensure function makes what is missing, leaves what is right, and may be repeated after
// a command that broke off.

// Network is where the environment lives.
type Network struct {
	VPC     string
	Subnets []string // one for each zone, at least two
}

// findNetwork takes the default VPC and a subnet in each of its zones.
func findNetwork(ctx context.Context, c Clients) (Network, error) {
	vpcs, err := c.EC2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: []ec2types.Filter{{Name: aws.String("is-default"), Values: []string{"true"}}}})
	if err != nil {
		return Network{}, err
	}
	if len(vpcs.Vpcs) == 0 {
		return Network{}, &Failure{Exit: ExitRefused, Cause: "This account has no default VPC in this region.", Fix: "aws ec2 create-default-vpc, or use another region."}
	}
	n := Network{VPC: aws.ToString(vpcs.Vpcs[0].VpcId)}
	subnets, err := c.EC2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: []ec2types.Filter{{Name: aws.String("vpc-id"), Values: []string{n.VPC}}}})
	if err != nil {
		return n, err
	}
	zones := map[string]string{}
	for _, s := range subnets.Subnets {
		zones[aws.ToString(s.AvailabilityZone)] = aws.ToString(s.SubnetId)
	}
	for _, id := range zones {
		n.Subnets = append(n.Subnets, id)
	}
	slices.Sort(n.Subnets)
	if len(n.Subnets) < 2 {
		return n, &Failure{Exit: ExitRefused, Cause: fmt.Sprintf("VPC %s has subnets in %d zones; a load balancer wants two.", n.VPC, len(n.Subnets))}
	}
	n.Subnets = n.Subnets[:2]
	return n, nil
}

// EnsureRepository makes the application's repository, or refuses one of another application.
func EnsureRepository(ctx context.Context, c Clients, a App) (uri string, made bool, err error) {
	out, err := c.ECR.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: aws.String(a.Repository()),
		Tags: []ecrtypes.Tag{{Key: aws.String(ownerTag), Value: aws.String(a.Owner())}}})
	if err == nil {
		return aws.ToString(out.Repository.RepositoryUri), true, nil
	}
	if !isCode(err, "RepositoryAlreadyExistsException") {
		return "", false, err
	}
	d, err := c.ECR.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{a.Repository()}})
	if err != nil {
		return "", false, err
	}
	r := d.Repositories[0]
	tags, err := c.ECR.ListTagsForResource(ctx, &ecr.ListTagsForResourceInput{ResourceArn: r.RepositoryArn})
	if err != nil {
		return "", false, err
	}
	for _, t := range tags.Tags {
		if aws.ToString(t.Key) == ownerTag && aws.ToString(t.Value) != a.Owner() {
			return "", false, &Failure{Exit: ExitRefused, Code: "D-IMG-022",
				Cause: fmt.Sprintf("Repository %s belongs to %s, not to %s.", a.Repository(), aws.ToString(t.Value), a.Owner()), Fix: "Choose another name in lotse.yml."}
		}
	}
	return aws.ToString(r.RepositoryUri), false, nil
}

const trustECSTasks = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`

// ensureExecutionRole makes the role that pulls images and writes logs. On AWS an existing
// ecsTaskExecutionRole is used: a role is never made there silently.
func ensureExecutionRole(ctx context.Context, c Clients, a App) (arn string, err error) {
	name := a.ExecutionRole()
	if !a.Lotse {
		name = "ecsTaskExecutionRole"
	}
	r, err := c.IAM.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String(name)})
	if err == nil {
		return aws.ToString(r.Role.Arn), nil
	}
	if !isCode(err, "NoSuchEntity") {
		return "", err
	}
	if !a.Lotse {
		return "", &Failure{Exit: ExitRefused, Cause: "The account has no role ecsTaskExecutionRole, and lotse makes no role on AWS by itself.",
			Fix: "Create it as the ECS developer guide's page \"task execution IAM role\" says."}
	}
	made, err := c.IAM.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String(name), AssumeRolePolicyDocument: aws.String(trustECSTasks)})
	if err != nil && !isCode(err, "EntityAlreadyExists") {
		return "", err
	}
	if _, err := c.IAM.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String(name), PolicyArn: aws.String(executionPolicy)}); err != nil {
		return "", err
	}
	if made == nil {
		r, err := c.IAM.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String(name)})
		if err != nil {
			return "", err
		}
		return aws.ToString(r.Role.Arn), nil
	}
	return aws.ToString(made.Role.Arn), nil
}

func ensureLogGroup(ctx context.Context, c Clients, a App) error {
	_, err := c.Logs.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: aws.String(a.LogGroup())})
	if isCode(err, "ResourceAlreadyExistsException") {
		return nil
	}
	return err
}

func ensureCluster(ctx context.Context, c Clients, a App) error {
	_, err := c.ECS.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String(a.Cluster())})
	return err
}

// ensureGroup makes a security group with one ingress rule.
func ensureGroup(ctx context.Context, c Clients, vpc, name, about string, ingress ec2types.IpPermission) (string, error) {
	found, err := c.EC2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []ec2types.Filter{
		{Name: aws.String("vpc-id"), Values: []string{vpc}}, {Name: aws.String("group-name"), Values: []string{name}}}})
	if err != nil {
		return "", err
	}
	id := ""
	if len(found.SecurityGroups) > 0 {
		id = aws.ToString(found.SecurityGroups[0].GroupId)
	} else {
		made, err := c.EC2.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String(name), Description: aws.String(about), VpcId: aws.String(vpc)})
		if isCode(err, "InvalidGroup.Duplicate") { // somebody else was a moment faster
			return ensureGroup(ctx, c, vpc, name, about, ingress)
		}
		if err != nil {
			return "", err
		}
		id = aws.ToString(made.GroupId)
	}
	_, err = c.EC2.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: aws.String(id), IpPermissions: []ec2types.IpPermission{ingress}})
	if isCode(err, "InvalidPermission.Duplicate") {
		err = nil
	}
	return id, err
}

// ensureGroups makes the balancer's group, open on port 80, and the task's, open to the balancer's alone.
func ensureGroups(ctx context.Context, c Clients, a App, vpc string) (balancer, task string, err error) {
	balancer, err = ensureGroup(ctx, c, vpc, a.BalancerGroup(), "Load balancer of lotse environment "+a.Env, ec2types.IpPermission{
		IpProtocol: aws.String("tcp"), FromPort: aws.Int32(80), ToPort: aws.Int32(80), IpRanges: []ec2types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}}})
	if err != nil {
		return "", "", err
	}
	task, err = ensureGroup(ctx, c, vpc, a.TaskGroup(), "Tasks of "+a.Owner(), ec2types.IpPermission{
		IpProtocol: aws.String("tcp"), FromPort: aws.Int32(int32(a.Port)), ToPort: aws.Int32(int32(a.Port)),
		UserIdGroupPairs: []ec2types.UserIdGroupPair{{GroupId: aws.String(balancer)}}})
	return balancer, task, err
}

// Balancer is what stands before the service.
type Balancer struct {
	ARN, DNSName, Listener, TargetGroup, Rule string
	URL                                       string

	before *elbtypes.TargetGroup // as it was when this run changed its health check
}

func ensureBalancer(ctx context.Context, c Clients, a App, n Network, group string) (Balancer, error) {
	lb, err := c.ELB.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{Name: aws.String(a.Balancer()), Subnets: n.Subnets, SecurityGroups: []string{group},
		Scheme: elbtypes.LoadBalancerSchemeEnumInternetFacing, Type: elbtypes.LoadBalancerTypeEnumApplication})
	var l elbtypes.LoadBalancer
	switch {
	case err == nil:
		l = lb.LoadBalancers[0]
	case isCode(err, "DuplicateLoadBalancerName"):
		d, err := c.ELB.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{Names: []string{a.Balancer()}})
		if err != nil {
			return Balancer{}, err
		}
		l = d.LoadBalancers[0]
	default:
		return Balancer{}, err
	}
	b := Balancer{ARN: aws.ToString(l.LoadBalancerArn), DNSName: aws.ToString(l.DNSName)}
	if b.Listener, err = ensureListener(ctx, c, b.ARN); err != nil {
		return b, err
	}
	if b.TargetGroup, b.before, err = ensureTargetGroup(ctx, c, a, n.VPC); err != nil {
		return b, err
	}
	b.Rule, err = ensureRule(ctx, c, a, b)
	return b, err
}

// ensureListener makes the listener on port 80. What no rule takes is answered with 404: an
// unmatched host must not land on some service.
func ensureListener(ctx context.Context, c Clients, balancer string) (string, error) {
	ls, err := c.ELB.DescribeListeners(ctx, &elb.DescribeListenersInput{LoadBalancerArn: aws.String(balancer)})
	if err != nil {
		return "", err
	}
	for _, l := range ls.Listeners {
		if aws.ToInt32(l.Port) == 80 {
			return aws.ToString(l.ListenerArn), nil
		}
	}
	out, err := c.ELB.CreateListener(ctx, &elb.CreateListenerInput{LoadBalancerArn: aws.String(balancer), Port: aws.Int32(80), Protocol: elbtypes.ProtocolEnumHttp,
		DefaultActions: []elbtypes.Action{{Type: elbtypes.ActionTypeEnumFixedResponse, FixedResponseConfig: &elbtypes.FixedResponseActionConfig{
			StatusCode: aws.String("404"), ContentType: aws.String("text/plain"), MessageBody: aws.String("lotse: no service answers for this host and path\n")}}}})
	if isCode(err, "DuplicateListener") { // somebody else was a moment faster
		return ensureListener(ctx, c, balancer)
	}
	if err != nil {
		return "", err
	}
	return aws.ToString(out.Listeners[0].ListenerArn), nil
}

func ensureTargetGroup(ctx context.Context, c Clients, a App, vpc string) (arn string, before *elbtypes.TargetGroup, err error) {
	h := a.http()
	hc := h.HealthCheck
	sec := func(d Duration) *int32 { return aws.Int32(int32(d.or(0).Seconds())) }
	matcher := &elbtypes.Matcher{HttpCode: aws.String(hc.SuccessCodes)}
	out, err := c.ELB.CreateTargetGroup(ctx, &elb.CreateTargetGroupInput{Name: aws.String(a.TargetGroup()), TargetType: elbtypes.TargetTypeEnumIp,
		Protocol: elbtypes.ProtocolEnumHttp, Port: aws.Int32(int32(a.Port)), VpcId: aws.String(vpc), HealthCheckPath: aws.String(hc.Path),
		HealthCheckIntervalSeconds: sec(hc.Interval), HealthCheckTimeoutSeconds: sec(hc.Timeout), HealthyThresholdCount: aws.Int32(int32(hc.HealthyThreshold)),
		UnhealthyThresholdCount: aws.Int32(int32(hc.UnhealthyThreshold)), Matcher: matcher,
		Tags: []elbtypes.Tag{{Key: aws.String(ownerTag), Value: aws.String(a.Owner())}}})
	switch {
	case err == nil:
		arn = aws.ToString(out.TargetGroups[0].TargetGroupArn)
	case isCode(err, "DuplicateTargetGroupName"):
		d, err := c.ELB.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{Names: []string{a.TargetGroup()}})
		if err != nil {
			return "", nil, err
		}
		arn = aws.ToString(d.TargetGroups[0].TargetGroupArn)
		before = &d.TargetGroups[0]
		if _, err := c.ELB.ModifyTargetGroup(ctx, &elb.ModifyTargetGroupInput{TargetGroupArn: aws.String(arn), HealthCheckPath: aws.String(hc.Path),
			HealthCheckIntervalSeconds: sec(hc.Interval), HealthCheckTimeoutSeconds: sec(hc.Timeout), HealthyThresholdCount: aws.Int32(int32(hc.HealthyThreshold)),
			UnhealthyThresholdCount: aws.Int32(int32(hc.UnhealthyThreshold)), Matcher: matcher}); err != nil {
			return "", nil, err
		}
	default:
		return "", nil, err
	}
	_, err = c.ELB.ModifyTargetGroupAttributes(ctx, &elb.ModifyTargetGroupAttributesInput{TargetGroupArn: aws.String(arn), Attributes: []elbtypes.TargetGroupAttribute{
		{Key: aws.String("deregistration_delay.timeout_seconds"), Value: aws.String(fmt.Sprint(int(h.DeregistrationDelay.or(0).Seconds())))}}})
	return arn, before, err
}

// restore gives the target group the health check that it had before a deployment that failed:
// the old version serves again, and answers the old path.
func (b Balancer) restore(ctx context.Context, c Clients) error {
	if b.before == nil {
		return nil
	}
	g := b.before
	_, err := c.ELB.ModifyTargetGroup(ctx, &elb.ModifyTargetGroupInput{TargetGroupArn: g.TargetGroupArn, HealthCheckPath: g.HealthCheckPath,
		HealthCheckIntervalSeconds: g.HealthCheckIntervalSeconds, HealthCheckTimeoutSeconds: g.HealthCheckTimeoutSeconds,
		HealthyThresholdCount: g.HealthyThresholdCount, UnhealthyThresholdCount: g.UnhealthyThresholdCount, Matcher: g.Matcher})
	return err
}

// ensureRule leads the application's host (or path) to its target group. Priorities lie in
// bands, the more exact the lower: host and path 1000, host 5000, path 10000, everything 40000.
func ensureRule(ctx context.Context, c Clients, a App, b Balancer) (string, error) {
	rules, err := c.ELB.DescribeRules(ctx, &elb.DescribeRulesInput{ListenerArn: aws.String(b.Listener)})
	if err != nil {
		return "", err
	}
	conditions, priority := conditions(a)
	taken := map[string]bool{}
	for _, r := range rules.Rules {
		taken[aws.ToString(r.Priority)] = true
		for _, act := range r.Actions {
			if aws.ToString(act.TargetGroupArn) != b.TargetGroup {
				continue
			}
			if sameConditions(r.Conditions, conditions) {
				return aws.ToString(r.RuleArn), nil
			}
			_, err := c.ELB.ModifyRule(ctx, &elb.ModifyRuleInput{RuleArn: r.RuleArn, Conditions: conditions})
			return aws.ToString(r.RuleArn), err
		}
	}
	if len(conditions) == 1 && priority == catchAllPriority && taken[fmt.Sprint(priority)] && !a.Lotse {
		return "", &Failure{Exit: ExitRefused, Cause: "Another service takes every host and path of this load balancer already.", Fix: "Set http.host or http.path in lotse.yml."}
	}
	for taken[fmt.Sprint(priority)] {
		priority++
	}
	out, err := c.ELB.CreateRule(ctx, &elb.CreateRuleInput{ListenerArn: aws.String(b.Listener), Priority: aws.Int32(int32(priority)), Conditions: conditions,
		Actions: []elbtypes.Action{{Type: elbtypes.ActionTypeEnumForward, TargetGroupArn: aws.String(b.TargetGroup)}},
		Tags:    []elbtypes.Tag{{Key: aws.String(ownerTag), Value: aws.String(a.Owner())}}})
	if isCode(err, "PriorityInUse") { // somebody else was a moment faster
		return ensureRule(ctx, c, a, b)
	}
	if err != nil {
		return "", err
	}
	return aws.ToString(out.Rules[0].RuleArn), nil
}

// sameConditions compares what a rule asks for, in whichever form it is told.
func sameConditions(is, want []elbtypes.RuleCondition) bool {
	texts := func(cs []elbtypes.RuleCondition) []string {
		var out []string
		for _, c := range cs {
			values := c.Values
			if c.HostHeaderConfig != nil {
				values = c.HostHeaderConfig.Values
			} else if c.PathPatternConfig != nil {
				values = c.PathPatternConfig.Values
			}
			out = append(out, aws.ToString(c.Field)+" "+strings.Join(values, " "))
		}
		slices.Sort(out)
		return out
	}
	return slices.Equal(texts(is), texts(want))
}

// Private

func conditions(a App) ([]elbtypes.RuleCondition, int) {
	var out []elbtypes.RuleCondition
	h, priority := a.http(), catchAllPriority
	if host := a.Host(); host != "" {
		out = append(out, elbtypes.RuleCondition{Field: aws.String("host-header"), HostHeaderConfig: &elbtypes.HostHeaderConditionConfig{Values: []string{host}}})
		priority = hostPriority
	}
	if h.Path != "/" || len(out) == 0 {
		path := strings.TrimSuffix(h.Path, "/")
		values := []string{path + "/*"}
		if path != "" {
			values = append(values, path)
			if priority == hostPriority {
				priority = 1000
			} else {
				priority = 10000
			}
		}
		out = append(out, elbtypes.RuleCondition{Field: aws.String("path-pattern"), PathPatternConfig: &elbtypes.PathPatternConditionConfig{Values: values}})
	}
	return out, priority
}

// isCode reports whether err is AWS's error of that code. The code of a query service's
// modelled error may carry an "Exception" of the SDK's own.
func isCode(err error, code string) bool {
	var ae smithy.APIError
	if !errors.As(err, &ae) {
		return false
	}
	return strings.TrimSuffix(ae.ErrorCode(), "Exception") == strings.TrimSuffix(code, "Exception")
}
