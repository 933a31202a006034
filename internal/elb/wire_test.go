package elb

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/smithy-go"

	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/awswire/wiretest"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// client is the SDK's, of a server with the bench's API; it lets everyone in.
func (b *bench) client() *elb.Client {
	mux := awswire.NewMux(awswire.MuxOptions{Log: slog.New(slog.DiscardHandler), Authenticate: func(r *http.Request, _ []byte, _ *awswire.API, _ string) (context.Context, error) {
		return awsauth.WithCaller(r.Context(), awsauth.Caller{Account: b.sc.Account, Region: b.sc.Region}), nil
	}})
	mux.Add(b.API())
	s := httptest.NewServer(mux)
	b.t.Cleanup(s.Close)
	return elb.NewFromConfig(wiretest.Config(s.URL))
}

// TestWire_FromNothingToARuleAndBack is what a deployment asks of the API, with the SDK's client.
func TestWire_FromNothingToARuleAndBack(t *testing.T) {
	b := newBench(t)
	c, ctx := b.client(), t.Context()
	_, err := c.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{Names: []string{"web"}})
	if nf := (*types.LoadBalancerNotFoundException)(nil); !errors.As(err, &nf) {
		t.Errorf("before: %v, want LoadBalancerNotFoundException", err)
	}
	l := must(c.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{Name: aws.String("web"), Subnets: b.subnets[:2], SecurityGroups: []string{b.group},
		Scheme: types.LoadBalancerSchemeEnumInternetFacing, Type: types.LoadBalancerTypeEnumApplication}))(t).LoadBalancers[0]
	li := must(c.CreateListener(ctx, &elb.CreateListenerInput{LoadBalancerArn: l.LoadBalancerArn, Port: aws.Int32(80), Protocol: types.ProtocolEnumHttp,
		DefaultActions: []types.Action{{Type: types.ActionTypeEnumFixedResponse, FixedResponseConfig: &types.FixedResponseActionConfig{
			StatusCode: aws.String("404"), ContentType: aws.String("text/plain"), MessageBody: aws.String("no service answers\n")}}}}))(t).Listeners[0]
	g := must(c.CreateTargetGroup(ctx, &elb.CreateTargetGroupInput{Name: aws.String("web"), TargetType: types.TargetTypeEnumIp, Protocol: types.ProtocolEnumHttp, Port: aws.Int32(8080),
		VpcId: &b.vpc, HealthCheckPath: aws.String("/"), HealthCheckIntervalSeconds: aws.Int32(5), HealthCheckTimeoutSeconds: aws.Int32(2), HealthyThresholdCount: aws.Int32(2),
		UnhealthyThresholdCount: aws.Int32(2), Matcher: &types.Matcher{HttpCode: aws.String("200-399")}, Tags: []types.Tag{{Key: aws.String("owner"), Value: aws.String("web/local")}}}))(t).TargetGroups[0]
	attrs := must(c.ModifyTargetGroupAttributes(ctx, &elb.ModifyTargetGroupAttributesInput{TargetGroupArn: g.TargetGroupArn,
		Attributes: []types.TargetGroupAttribute{{Key: aws.String(delayKey), Value: aws.String("30")}}}))(t).Attributes
	if *attrs[0].Key != delayKey || *attrs[0].Value != "30" {
		t.Errorf("attributes %v", attrs)
	}
	r := must(c.CreateRule(ctx, &elb.CreateRuleInput{ListenerArn: li.ListenerArn, Priority: aws.Int32(5000), Actions: forward(g.TargetGroupArn),
		Conditions: []types.RuleCondition{{Field: aws.String("host-header"), HostHeaderConfig: &types.HostHeaderConditionConfig{Values: []string{"web.localhost"}}}}}))(t).Rules[0]
	must(c.RegisterTargets(ctx, &elb.RegisterTargetsInput{TargetGroupArn: g.TargetGroupArn, Targets: []types.TargetDescription{{Id: aws.String("172.31.0.9"), Port: aws.Int32(8080)}}}))(t)

	// The waiters end at the first look after the controller has reported: there are 15 seconds before a second.
	const first = 10 * time.Second
	b.active(l.LoadBalancerArn)
	b.update(func(tx *store.WriteTx) error {
		return state.TargetHealths.Put(tx, &store.Object[state.TargetHealth]{Key: state.ELBKey(b.sc, "targetgroup", *g.TargetGroupArn) + "/172.31.0.9:8080", Val: state.TargetHealth{State: "healthy"}})
	})
	if err := elb.NewLoadBalancerExistsWaiter(c).Wait(ctx, &elb.DescribeLoadBalancersInput{Names: []string{"web"}}, first); err != nil {
		t.Error(err)
	}
	if err := elb.NewLoadBalancerAvailableWaiter(c).Wait(ctx, &elb.DescribeLoadBalancersInput{LoadBalancerArns: []string{*l.LoadBalancerArn}}, first); err != nil {
		t.Error(err)
	}
	if err := elb.NewTargetInServiceWaiter(c).Wait(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: g.TargetGroupArn}, first); err != nil {
		t.Error(err)
	}
	absent := []types.TargetDescription{{Id: aws.String("172.31.0.10")}}
	if err := elb.NewTargetDeregisteredWaiter(c).Wait(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: g.TargetGroupArn, Targets: absent}, first); err != nil {
		t.Error(err)
	}

	rules := must(c.DescribeRules(ctx, &elb.DescribeRulesInput{ListenerArn: li.ListenerArn}))(t).Rules
	if len(rules) != 2 || *rules[0].RuleArn != *r.RuleArn || *rules[0].Priority != "5000" || *rules[0].Actions[0].TargetGroupArn != *g.TargetGroupArn ||
		rules[0].Conditions[0].HostHeaderConfig.Values[0] != "web.localhost" || !*rules[1].IsDefault {
		t.Errorf("rules %+v", rules)
	}
	if *rules[1].Actions[0].FixedResponseConfig.MessageBody != "no service answers\n" {
		t.Errorf("body %q", *rules[1].Actions[0].FixedResponseConfig.MessageBody)
	}
	used := must(c.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{Names: []string{"web"}}))(t).TargetGroups[0].LoadBalancerArns
	if len(used) != 1 || used[0] != *l.LoadBalancerArn {
		t.Errorf("the group's load balancers: %v", used)
	}

	must(c.DeleteRule(ctx, &elb.DeleteRuleInput{RuleArn: r.RuleArn}))(t)
	must(c.DeleteLoadBalancer(ctx, &elb.DeleteLoadBalancerInput{LoadBalancerArn: l.LoadBalancerArn}))(t)
	must(c.DeleteTargetGroup(ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: g.TargetGroupArn}))(t)
	if err := elb.NewLoadBalancersDeletedWaiter(c).Wait(ctx, &elb.DescribeLoadBalancersInput{LoadBalancerArns: []string{*l.LoadBalancerArn}}, first); err != nil {
		t.Error(err)
	}
}

func TestWire_OneErrorOfEachKind(t *testing.T) {
	b := newBench(t)
	c, ctx := b.client(), t.Context()
	code := func(err error) string {
		var ae smithy.APIError
		if !errors.As(err, &ae) {
			return ""
		}
		return ae.ErrorCode()
	}
	_, err := c.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{Name: aws.String("web"), Subnets: b.subnets[:1]})
	if code(err) != "ValidationError" {
		t.Errorf("one subnet: %v", err)
	}
	b.listener(b.balancer("web").LoadBalancerArn, 80)
	_, err = c.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{Name: aws.String("web"), Subnets: b.subnets})
	if dup := (*types.DuplicateLoadBalancerNameException)(nil); !errors.As(err, &dup) {
		t.Errorf("another of the name: %v", err)
	}
	_, err = c.ModifyIpPools(ctx, &elb.ModifyIpPoolsInput{LoadBalancerArn: aws.String("x")})
	if code(err) != "NotImplemented" {
		t.Errorf("an operation that is not there: %v", err)
	}
}
