package elb

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestCreateListener(t *testing.T) {
	b := newBench(t)
	l, g := b.balancer("web"), b.targetGroup("web")
	li := b.listener(l.LoadBalancerArn, 80, forward(g.TargetGroupArn)...)
	want := []types.Action{{Type: types.ActionTypeEnumForward, TargetGroupArn: g.TargetGroupArn, ForwardConfig: &types.ForwardActionConfig{
		TargetGroups:                []types.TargetGroupTuple{{TargetGroupArn: g.TargetGroupArn, Weight: aws.Int32(1)}},
		TargetGroupStickinessConfig: &types.TargetGroupStickinessConfig{Enabled: aws.Bool(false)}}}}
	if d := cmp.Diff(want, li.DefaultActions, cmpopts.IgnoreUnexported(types.Action{}, types.ForwardActionConfig{}, types.TargetGroupTuple{}, types.TargetGroupStickinessConfig{})); d != "" {
		t.Errorf("DefaultActions (-want +got):\n%s", d)
	}
	// What was read can be given again.
	if again := b.listener(l.LoadBalancerArn, 80, li.DefaultActions...); *again.ListenerArn != *li.ListenerArn {
		t.Errorf("created again: %s, want %s", *again.ListenerArn, *li.ListenerArn)
	}
	_, err := b.CreateListener(b.ctx, &elb.CreateListenerInput{LoadBalancerArn: l.LoadBalancerArn, Port: aws.Int32(80), Protocol: types.ProtocolEnumHttp, DefaultActions: fixed404()})
	wantError(t, "another on the port", err, "DuplicateListener", "A listener already exists on this port for this load balancer '"+*l.LoadBalancerArn+"'")
}

func TestCreateListener_Refusals(t *testing.T) {
	b := newBench(t)
	l, g := b.balancer("web"), b.targetGroup("web")
	other := b.balancer("other")
	b.listener(other.LoadBalancerArn, 80, forward(g.TargetGroupArn)...)
	in := func(change func(*elb.CreateListenerInput)) *elb.CreateListenerInput {
		i := &elb.CreateListenerInput{LoadBalancerArn: l.LoadBalancerArn, Port: aws.Int32(80), Protocol: types.ProtocolEnumHttp, DefaultActions: fixed404()}
		change(i)
		return i
	}
	for _, tc := range []struct {
		name, code, text string
		in               *elb.CreateListenerInput
	}{
		{"HTTPS", "ValidationError", "A certificate must be specified for HTTPS listeners", in(func(i *elb.CreateListenerInput) { i.Protocol = types.ProtocolEnumHttps })},
		{"TCP", "ValidationError", "Listener protocol 'TCP' must be one of 'HTTPS, HTTP'", in(func(i *elb.CreateListenerInput) { i.Protocol = types.ProtocolEnumTcp })},
		{"no port", "ValidationError", "A listener port must be specified", in(func(i *elb.CreateListenerInput) { i.Port = nil })},
		{"port 0", "ValidationError", "", in(func(i *elb.CreateListenerInput) { i.Port = aws.Int32(0) })},
		{"certificates", "ValidationError", "", in(func(i *elb.CreateListenerInput) { i.Certificates = []types.Certificate{{}} })},
		{"no balancer", "LoadBalancerNotFound", "", in(func(i *elb.CreateListenerInput) {
			i.LoadBalancerArn = aws.String(b.sc.ARN("elasticloadbalancing", "loadbalancer/app/x/0000000000000000"))
		})},
		{"no group", "TargetGroupNotFound", "One or more target groups not found", in(func(i *elb.CreateListenerInput) {
			i.DefaultActions = forward(aws.String(b.sc.ARN("elasticloadbalancing", "targetgroup/x/0000000000000000")))
		})},
		{"another balancer's group", "TargetGroupAssociationLimit", "The following target groups cannot be associated with more than one load balancer: " + *g.TargetGroupArn,
			in(func(i *elb.CreateListenerInput) { i.DefaultActions = forward(g.TargetGroupArn) })},
		{"two actions", "TooManyActions", "", in(func(i *elb.CreateListenerInput) { i.DefaultActions = append(fixed404(), fixed404()...) })},
		{"login", "InvalidLoadBalancerAction", "", in(func(i *elb.CreateListenerInput) {
			i.DefaultActions = []types.Action{{Type: types.ActionTypeEnumAuthenticateOidc}}
		})},
		{"sticky groups", "ValidationError", "", in(func(i *elb.CreateListenerInput) {
			i.DefaultActions = []types.Action{{Type: types.ActionTypeEnumForward, ForwardConfig: &types.ForwardActionConfig{
				TargetGroups:                []types.TargetGroupTuple{{TargetGroupArn: g.TargetGroupArn}},
				TargetGroupStickinessConfig: &types.TargetGroupStickinessConfig{Enabled: aws.Bool(true)}}}}
		})},
		{"fixed 301", "ValidationError", "", in(func(i *elb.CreateListenerInput) {
			i.DefaultActions[0].FixedResponseConfig.StatusCode = aws.String("301")
		})},
		{"content type", "ValidationError", "", in(func(i *elb.CreateListenerInput) {
			i.DefaultActions[0].FixedResponseConfig.ContentType = aws.String("image/png")
		})},
		{"loop", "InvalidLoadBalancerAction", "The redirect configuration is not valid because it creates a loop.", in(func(i *elb.CreateListenerInput) {
			i.DefaultActions = []types.Action{{Type: types.ActionTypeEnumRedirect, RedirectConfig: &types.RedirectActionConfig{StatusCode: types.RedirectActionStatusCodeEnumHttp301}}}
		})},
		{"redirect port", "ValidationError", "", in(func(i *elb.CreateListenerInput) {
			i.DefaultActions = []types.Action{{Type: types.ActionTypeEnumRedirect, RedirectConfig: &types.RedirectActionConfig{StatusCode: types.RedirectActionStatusCodeEnumHttp301, Port: aws.String("http")}}}
		})},
	} {
		_, err := b.CreateListener(b.ctx, tc.in)
		wantError(t, tc.name, err, tc.code, tc.text)
	}
}

func TestRedirect_ShowsItsDefaults(t *testing.T) {
	b := newBench(t)
	li := b.listener(b.balancer("web").LoadBalancerArn, 80, types.Action{Type: types.ActionTypeEnumRedirect, RedirectConfig: &types.RedirectActionConfig{
		Protocol: aws.String("HTTPS"), Port: aws.String("443"), StatusCode: types.RedirectActionStatusCodeEnumHttp301}})
	r := li.DefaultActions[0].RedirectConfig
	if *r.Host != "#{host}" || *r.Path != "/#{path}" || *r.Query != "#{query}" || *r.Protocol != "HTTPS" || *r.Port != "443" || r.StatusCode != "HTTP_301" {
		t.Errorf("redirect to %s://%s:%s%s?%s", *r.Protocol, *r.Host, *r.Port, *r.Path, *r.Query)
	}
}

func TestModifyListener(t *testing.T) {
	b := newBench(t)
	l := b.balancer("web")
	b.listener(l.LoadBalancerArn, 80)
	li := b.listener(l.LoadBalancerArn, 81)
	_, err := b.ModifyListener(b.ctx, &elb.ModifyListenerInput{ListenerArn: li.ListenerArn, Port: aws.Int32(80)})
	wantError(t, "taken port", err, "DuplicateListener", "")
	got := must(b.ModifyListener(b.ctx, &elb.ModifyListenerInput{ListenerArn: li.ListenerArn, Port: aws.Int32(82), DefaultActions: forward(b.targetGroup("web").TargetGroupArn)}))(t).Listeners[0]
	if *got.Port != 82 || got.DefaultActions[0].Type != types.ActionTypeEnumForward {
		t.Errorf("modified: port %d, action %s, want 82 and forward", *got.Port, got.DefaultActions[0].Type)
	}
	_, err = b.ModifyListener(b.ctx, &elb.ModifyListenerInput{ListenerArn: aws.String(*li.ListenerArn + "0")})
	wantError(t, "unknown", err, "ListenerNotFound", "")
}

func TestDeleteListener_FreesItsGroups(t *testing.T) {
	b := newBench(t)
	l, g := b.balancer("web"), b.targetGroup("web")
	li := b.listener(l.LoadBalancerArn, 80)
	r := b.rule(li.ListenerArn, 10, g.TargetGroupArn)
	_, err := b.DeleteTargetGroup(b.ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: g.TargetGroupArn})
	wantError(t, "in use", err, "ResourceInUse", "Target group '"+*g.TargetGroupArn+"' is currently in use by a listener or a rule")
	must(b.DeleteListener(b.ctx, &elb.DeleteListenerInput{ListenerArn: li.ListenerArn}))(t)
	_, err = b.DescribeRules(b.ctx, &elb.DescribeRulesInput{RuleArns: []string{*r.RuleArn}})
	wantError(t, "its rule", err, "RuleNotFound", "")
	must(b.DeleteTargetGroup(b.ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: g.TargetGroupArn}))(t)
	must(b.DeleteTargetGroup(b.ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: g.TargetGroupArn}))(t) // gone is no error
}

func TestListenerAttributes_AreTheDefaults(t *testing.T) {
	b := newBench(t)
	li := b.listener(b.balancer("web").LoadBalancerArn, 80)
	set := func(v string) error {
		_, err := b.ModifyListenerAttributes(b.ctx, &elb.ModifyListenerAttributesInput{ListenerArn: li.ListenerArn,
			Attributes: []types.ListenerAttribute{{Key: aws.String("routing.http.response.server.enabled"), Value: &v}}})
		return err
	}
	if err := set("true"); err != nil {
		t.Error(err)
	}
	wantError(t, "not acted on", set("false"), "InvalidConfigurationRequest", "")
	if out := must(b.DescribeListenerAttributes(b.ctx, &elb.DescribeListenerAttributesInput{ListenerArn: li.ListenerArn}))(t); len(out.Attributes) != len(listenerAttributes) {
		t.Errorf("%d attributes, want %d", len(out.Attributes), len(listenerAttributes))
	}
}
