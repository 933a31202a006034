package elb

import (
	"context"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/awswire/wiretest"
)

// An operation is called with an input in which everything is in order.
type operation struct {
	input any
	call  func(ctx context.Context, in any) error
	acts  []string // paths of the members it acts on; a list's elements are not named: Actions.Type
}

func op[In, Out any](in *In, call func(context.Context, *In) (*Out, error), acts ...string) operation {
	return operation{in, func(ctx context.Context, v any) error { _, err := call(ctx, v.(*In)); return err }, strings.Fields(strings.Join(acts, " "))}
}

// under puts a prefix before names: the members of a nested structure.
func under(prefix, names string) string {
	out := prefix
	for _, n := range strings.Fields(names) {
		out += " " + prefix + "." + n
	}
	return out
}

// actions are the members of a rule's actions, or a listener's.
func actions(prefix string) string {
	return strings.Join([]string{
		under(prefix, "Type Order TargetGroupArn"),
		under(prefix+".ForwardConfig", ""), under(prefix+".ForwardConfig.TargetGroups", "TargetGroupArn Weight"), under(prefix+".ForwardConfig.TargetGroupStickinessConfig", "Enabled DurationSeconds"),
		under(prefix+".FixedResponseConfig", "StatusCode ContentType MessageBody"), under(prefix+".RedirectConfig", "Protocol Host Port Path Query StatusCode"),
	}, " ")
}

// operations are of a balancer with an HTTP and an HTTPS listener, a rule of the first and a free group.
func (b *bench) operations() map[string]operation {
	lb := b.balancer("web")
	free, used := b.targetGroup("free").TargetGroupArn, b.targetGroup("used").TargetGroupArn
	plain, cert := b.listener(lb.LoadBalancerArn, 80), b.certificate("one")
	secure := must(b.CreateListener(b.ctx, b.httpsInput(lb.LoadBalancerArn, cert)))(b.t).Listeners[0].ListenerArn
	rule := b.rule(plain.ListenerArn, 1, used).RuleArn
	more := []types.Certificate{{CertificateArn: aws.String(b.certificate("two"))}}
	target := []types.TargetDescription{{Id: aws.String("172.31.0.9")}}
	tag := []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}
	var mappings []types.SubnetMapping
	for _, id := range b.subnets[1:3] {
		mappings = append(mappings, types.SubnetMapping{SubnetId: &id})
	}
	source := []types.RuleCondition{{Field: aws.String(sourceIP), SourceIpConfig: &types.SourceIpConditionConfig{Values: []string{"192.0.2.0/24"}}}}
	tls := b.httpsInput(lb.LoadBalancerArn, cert)
	tls.Port = aws.Int32(8443)
	given := func(key, value string) (*string, *string) { return &key, &value }
	idleKey, idle := given(idleTimeoutKey, "30")
	delay, seconds := given(delayKey, "30")
	server, off := given(serverKey, "false")

	const page = "Marker PageSize"
	const health = "HealthCheckEnabled HealthCheckProtocol HealthCheckPort HealthCheckPath HealthCheckIntervalSeconds HealthCheckTimeoutSeconds HealthyThresholdCount UnhealthyThresholdCount Matcher Matcher.HttpCode Matcher.GrpcCode "
	tags, attributes, mutual := under("Tags", "Key Value"), under("Attributes", "Key Value"), under("MutualAuthentication", "Mode")
	targets, certificates := under("Targets", "Id Port AvailabilityZone"), under("Certificates", "CertificateArn")
	conditions := strings.Join([]string{under("Conditions", "Field Values RegexValues"),
		under("Conditions.HostHeaderConfig", "Values RegexValues"), under("Conditions.PathPatternConfig", "Values RegexValues"),
		under("Conditions.HttpHeaderConfig", "HttpHeaderName Values RegexValues"), under("Conditions.HttpRequestMethodConfig", "Values"),
		under("Conditions.QueryStringConfig", ""), under("Conditions.QueryStringConfig.Values", "Key Value"), under("Conditions.SourceIpConfig", "Values")}, " ")
	transforms := strings.Join([]string{under("Transforms", "Type"), under("Transforms.HostHeaderRewriteConfig", ""), under("Transforms.HostHeaderRewriteConfig.Rewrites", "Regex Replace"),
		under("Transforms.UrlRewriteConfig", ""), under("Transforms.UrlRewriteConfig.Rewrites", "Regex Replace")}, " ")
	return map[string]operation{
		"CreateLoadBalancer": op(&elb.CreateLoadBalancerInput{Name: aws.String("new"), SubnetMappings: mappings}, b.CreateLoadBalancer,
			"Name Scheme Type IpAddressType Subnets SecurityGroups", under("SubnetMappings", "SubnetId"), tags),
		"DescribeLoadBalancers":          op(&elb.DescribeLoadBalancersInput{}, b.DescribeLoadBalancers, "LoadBalancerArns Names", page),
		"DeleteLoadBalancer":             op(&elb.DeleteLoadBalancerInput{LoadBalancerArn: lb.LoadBalancerArn}, b.DeleteLoadBalancer, "LoadBalancerArn"),
		"DescribeLoadBalancerAttributes": op(&elb.DescribeLoadBalancerAttributesInput{LoadBalancerArn: lb.LoadBalancerArn}, b.DescribeLoadBalancerAttributes, "LoadBalancerArn"),
		"ModifyLoadBalancerAttributes": op(&elb.ModifyLoadBalancerAttributesInput{LoadBalancerArn: lb.LoadBalancerArn, Attributes: []types.LoadBalancerAttribute{{Key: idleKey, Value: idle}}},
			b.ModifyLoadBalancerAttributes, "LoadBalancerArn", attributes),
		"DescribeCapacityReservation": op(&elb.DescribeCapacityReservationInput{LoadBalancerArn: lb.LoadBalancerArn}, b.DescribeCapacityReservation, "LoadBalancerArn"),
		"SetSecurityGroups":           op(&elb.SetSecurityGroupsInput{LoadBalancerArn: lb.LoadBalancerArn, SecurityGroups: []string{b.group}}, b.SetSecurityGroups, "LoadBalancerArn SecurityGroups"),
		"SetSubnets": op(&elb.SetSubnetsInput{LoadBalancerArn: lb.LoadBalancerArn, SubnetMappings: mappings}, b.SetSubnets,
			"LoadBalancerArn Subnets IpAddressType", under("SubnetMappings", "SubnetId")),
		"SetIpAddressType": op(&elb.SetIpAddressTypeInput{LoadBalancerArn: lb.LoadBalancerArn, IpAddressType: types.IpAddressTypeIpv4}, b.SetIpAddressType, "LoadBalancerArn IpAddressType"),
		"CreateTargetGroup": op(groupInput(b, "new"), b.CreateTargetGroup,
			"Name TargetType Protocol ProtocolVersion Port VpcId IpAddressType", health, tags),
		"DescribeTargetGroups":          op(&elb.DescribeTargetGroupsInput{}, b.DescribeTargetGroups, "TargetGroupArns Names LoadBalancerArn", page),
		"ModifyTargetGroup":             op(&elb.ModifyTargetGroupInput{TargetGroupArn: free}, b.ModifyTargetGroup, "TargetGroupArn", health),
		"DeleteTargetGroup":             op(&elb.DeleteTargetGroupInput{TargetGroupArn: free}, b.DeleteTargetGroup, "TargetGroupArn"),
		"DescribeTargetGroupAttributes": op(&elb.DescribeTargetGroupAttributesInput{TargetGroupArn: free}, b.DescribeTargetGroupAttributes, "TargetGroupArn"),
		"ModifyTargetGroupAttributes": op(&elb.ModifyTargetGroupAttributesInput{TargetGroupArn: free, Attributes: []types.TargetGroupAttribute{{Key: delay, Value: seconds}}},
			b.ModifyTargetGroupAttributes, "TargetGroupArn", attributes),
		"RegisterTargets":            op(&elb.RegisterTargetsInput{TargetGroupArn: free, Targets: target}, b.RegisterTargets, "TargetGroupArn", targets),
		"DeregisterTargets":          op(&elb.DeregisterTargetsInput{TargetGroupArn: free, Targets: target}, b.DeregisterTargets, "TargetGroupArn", targets),
		"DescribeTargetHealth":       op(&elb.DescribeTargetHealthInput{TargetGroupArn: free, Targets: target}, b.DescribeTargetHealth, "TargetGroupArn Include", targets),
		"CreateListener":             op(tls, b.CreateListener, "LoadBalancerArn Port Protocol SslPolicy", certificates, actions("DefaultActions"), mutual, tags),
		"DescribeListeners":          op(&elb.DescribeListenersInput{LoadBalancerArn: lb.LoadBalancerArn}, b.DescribeListeners, "LoadBalancerArn ListenerArns", page),
		"ModifyListener":             op(&elb.ModifyListenerInput{ListenerArn: secure, DefaultActions: fixed404()}, b.ModifyListener, "ListenerArn Port Protocol SslPolicy", certificates, actions("DefaultActions"), mutual),
		"DeleteListener":             op(&elb.DeleteListenerInput{ListenerArn: secure}, b.DeleteListener, "ListenerArn"),
		"DescribeListenerAttributes": op(&elb.DescribeListenerAttributesInput{ListenerArn: secure}, b.DescribeListenerAttributes, "ListenerArn"),
		"ModifyListenerAttributes": op(&elb.ModifyListenerAttributesInput{ListenerArn: secure, Attributes: []types.ListenerAttribute{{Key: server, Value: off}}},
			b.ModifyListenerAttributes, "ListenerArn", attributes),
		"AddListenerCertificates":      op(&elb.AddListenerCertificatesInput{ListenerArn: secure, Certificates: more}, b.AddListenerCertificates, "ListenerArn", certificates),
		"RemoveListenerCertificates":   op(&elb.RemoveListenerCertificatesInput{ListenerArn: secure, Certificates: more}, b.RemoveListenerCertificates, "ListenerArn", certificates),
		"DescribeListenerCertificates": op(&elb.DescribeListenerCertificatesInput{ListenerArn: secure}, b.DescribeListenerCertificates, "ListenerArn", page),
		"DescribeSSLPolicies":          op(&elb.DescribeSSLPoliciesInput{}, b.DescribeSSLPolicies, "Names LoadBalancerType", page),
		"CreateRule": op(&elb.CreateRuleInput{ListenerArn: plain.ListenerArn, Priority: aws.Int32(2), Conditions: source, Actions: forward(used)}, b.CreateRule,
			"ListenerArn Priority", conditions, transforms, actions("Actions"), tags),
		"DescribeRules":         op(&elb.DescribeRulesInput{ListenerArn: plain.ListenerArn}, b.DescribeRules, "ListenerArn RuleArns", page),
		"ModifyRule":            op(&elb.ModifyRuleInput{RuleArn: rule, Conditions: source, Actions: forward(used)}, b.ModifyRule, "RuleArn ResetTransforms", conditions, transforms, actions("Actions")),
		"DeleteRule":            op(&elb.DeleteRuleInput{RuleArn: rule}, b.DeleteRule, "RuleArn"),
		"SetRulePriorities":     op(&elb.SetRulePrioritiesInput{RulePriorities: []types.RulePriorityPair{{RuleArn: rule, Priority: aws.Int32(9)}}}, b.SetRulePriorities, under("RulePriorities", "RuleArn Priority")),
		"AddTags":               op(&elb.AddTagsInput{ResourceArns: []string{*free}, Tags: tag}, b.AddTags, "ResourceArns", tags),
		"RemoveTags":            op(&elb.RemoveTagsInput{ResourceArns: []string{*free}, TagKeys: []string{"k"}}, b.RemoveTags, "ResourceArns TagKeys"),
		"DescribeTags":          op(&elb.DescribeTagsInput{ResourceArns: []string{*free}}, b.DescribeTags, "ResourceArns"),
		"DescribeAccountLimits": op(&elb.DescribeAccountLimitsInput{}, b.DescribeAccountLimits, page),
	}
}

// Every member of the SDK's inputs, however deep, is acted on or refused. A member that a later SDK adds fails here until it
// is one or the other: nothing is accepted and ignored.
func TestMembers_ActedOnOrRefused(t *testing.T) {
	for _, name := range newBench(t).API().Operations() {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			o, ok := b.operations()[name]
			if !ok {
				t.Fatal("the operation is not in this test")
			}
			call := func(in any) error { return o.call(b.ctx, in) }
			wiretest.Members(t, o.input, o.acts, refusedByName, call)
			wiretest.Broken(t, o.input, call)
		})
	}
}

// refusedByName are members that are refused in other words than their name.
var refusedByName = map[string]bool{
	"AlpnPolicy": true, // "An ALPN policy can only be specified …"
}
