package elb

import (
	"maps"
	"strings"
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
		{"redirect to nowhere", "InvalidLoadBalancerAction", "For actions of type 'redirect', you must specify the following fields: 'RedirectConfig'", in(func(i *elb.CreateListenerInput) {
			i.DefaultActions = []types.Action{{Type: types.ActionTypeEnumRedirect}}
		})},
		{"fixed, without an answer", "InvalidLoadBalancerAction", "For actions of type 'fixed-response', you must specify the following fields: 'FixedResponseConfig'", in(func(i *elb.CreateListenerInput) {
			i.DefaultActions = []types.Action{{Type: types.ActionTypeEnumFixedResponse}}
		})},
		{"redirect without a query", "ValidationError", "Lotse's redirects have a query: leave it out to keep that of the request, which is '#{query}'.", in(func(i *elb.CreateListenerInput) {
			i.DefaultActions = []types.Action{{Type: types.ActionTypeEnumRedirect, RedirectConfig: &types.RedirectActionConfig{StatusCode: types.RedirectActionStatusCodeEnumHttp301, Port: aws.String("81"), Query: aws.String("")}}}
		})},
		{"redirect without a host", "ValidationError", "", in(func(i *elb.CreateListenerInput) {
			i.DefaultActions = []types.Action{{Type: types.ActionTypeEnumRedirect, RedirectConfig: &types.RedirectActionConfig{StatusCode: types.RedirectActionStatusCodeEnumHttp301, Port: aws.String("81"), Host: aws.String("")}}}
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

func TestListenerAttributes(t *testing.T) {
	b := newBench(t)
	lb := b.balancer("web")
	plain := b.listener(lb.LoadBalancerArn, 80)
	secure := must(b.CreateListener(b.ctx, b.httpsInput(lb.LoadBalancerArn, b.certificate("one"))))(t).Listeners[0]
	modify := func(l types.Listener, kv ...string) (map[string]string, error) {
		in := &elb.ModifyListenerAttributesInput{ListenerArn: l.ListenerArn}
		for i := 0; i < len(kv); i += 2 {
			in.Attributes = append(in.Attributes, types.ListenerAttribute{Key: &kv[i], Value: &kv[i+1]})
		}
		_, err := b.ModifyListenerAttributes(b.ctx, in)
		all := map[string]string{}
		for _, a := range must(b.DescribeListenerAttributes(b.ctx, &elb.DescribeListenerAttributesInput{ListenerArn: l.ListenerArn}))(t).Attributes {
			all[*a.Key] = *a.Value
		}
		return all, err
	}
	const hsts, server = "routing.http.response.strict_transport_security.header_value", "routing.http.response.server.enabled"
	const version, frame = "routing.http.request.x_amzn_tls_version.header_name", "routing.http.response.x_frame_options.header_value"
	got, err := modify(secure, hsts, "max-age=60", server, "false", version, "X-Version", frame, "DENY")
	if err != nil || got[hsts] != "max-age=60" || got[server] != "false" || got[version] != "X-Version" || got["routing.http.request.x_amzn_tls_cipher_suite.header_name"] != "X-Amzn-Tls-Cipher-Suite" {
		t.Errorf("%v, %v", got, err)
	}
	if got, err = modify(secure, hsts, "", server, "true"); err != nil || got[hsts] != "" || got[server] != "true" || got[frame] != "DENY" {
		t.Errorf("taken back: %v, %v", got, err)
	}
	if got, _ = modify(plain, server, "true"); len(got) != len(listenerAttributes) || got[server] != "true" || got[hsts] != "" {
		t.Errorf("of HTTP: %v", got)
	}
	for _, c := range []struct {
		listener         types.Listener
		key, value, code string
	}{
		{plain, version, "X-Version", "ValidationError"}, // HTTPS only
		{secure, version, "X Version", "ValidationError"},
		{secure, "routing.http.request.x_amzn_mtls_clientcert.header_name", "X", "InvalidConfigurationRequest"},
		{secure, frame, "MAYBE", "ValidationError"},
		{secure, server, "off", "ValidationError"},
		{secure, hsts, "a\nb", "ValidationError"},
		{secure, hsts, strings.Repeat("a", 1025), "ValidationError"},
		{secure, "routing.http.response.x_content_type_options.header_value", "sniff", "ValidationError"},
		{secure, "routing.http.response.access_control_allow_credentials.header_value", "false", "ValidationError"},
		{secure, "routing.http.response.access_control_max_age.header_value", "86401", "ValidationError"},
		{secure, "routing.http.response.other.header_value", "x", "ValidationError"},
	} {
		before, _ := modify(c.listener, server, "true")
		after, err := modify(c.listener, server, "false", c.key, c.value)
		wantError(t, c.key+"="+c.value, err, c.code, "")
		if !maps.Equal(before, after) {
			t.Errorf("%s=%s was refused, and changed %v to %v", c.key, c.value, before, after)
		}
	}
}
