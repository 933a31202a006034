package elb

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func (b *bench) priorities(listener *string) (out []string) {
	b.t.Helper()
	for _, r := range must(b.DescribeRules(b.ctx, &elb.DescribeRulesInput{ListenerArn: listener}))(b.t).Rules {
		out = append(out, *r.Priority)
	}
	return out
}

func TestDescribeRules_ByPriorityDefaultLast(t *testing.T) {
	b := newBench(t)
	g := b.targetGroup("web")
	li := b.listener(b.balancer("web").LoadBalancerArn, 80)
	for _, p := range []int32{40000, 7, 100} {
		b.rule(li.ListenerArn, p, g.TargetGroupArn)
	}
	if got := b.priorities(li.ListenerArn); !slices.Equal(got, []string{"7", "100", "40000", "default"}) {
		t.Errorf("priorities %v", got)
	}
	out := must(b.DescribeRules(b.ctx, &elb.DescribeRulesInput{ListenerArn: li.ListenerArn, PageSize: aws.Int32(3)}))(t)
	out = must(b.DescribeRules(b.ctx, &elb.DescribeRulesInput{ListenerArn: li.ListenerArn, PageSize: aws.Int32(3), Marker: out.NextMarker}))(t)
	if len(out.Rules) != 1 || !*out.Rules[0].IsDefault || out.NextMarker != nil {
		t.Errorf("second page of 3: %d rules, want the default alone", len(out.Rules))
	}
	out = must(b.DescribeRules(b.ctx, &elb.DescribeRulesInput{RuleArns: []string{*out.Rules[0].RuleArn}}))(t)
	if len(out.Rules) != 1 || *out.Rules[0].Priority != "default" {
		t.Errorf("the default rule by its ARN: %v", out.Rules)
	}
}

func TestCreateRule_Conditions(t *testing.T) {
	b := newBench(t)
	g := b.targetGroup("web")
	li := b.listener(b.balancer("web").LoadBalancerArn, 80)
	host := func(v ...string) types.RuleCondition {
		return types.RuleCondition{Field: aws.String("host-header"), HostHeaderConfig: &types.HostHeaderConditionConfig{Values: v}}
	}
	source := func(v ...string) types.RuleCondition {
		return types.RuleCondition{Field: aws.String("source-ip"), SourceIpConfig: &types.SourceIpConditionConfig{Values: v}}
	}
	method := func(v ...string) types.RuleCondition {
		return types.RuleCondition{Field: aws.String("http-request-method"), HttpRequestMethodConfig: &types.HttpRequestMethodConditionConfig{Values: v}}
	}
	header := func(name string, v ...string) types.RuleCondition {
		return types.RuleCondition{Field: aws.String("http-header"), HttpHeaderConfig: &types.HttpHeaderConditionConfig{HttpHeaderName: &name, Values: v}}
	}
	query := func(k, v string) types.RuleCondition {
		return types.RuleCondition{Field: aws.String("query-string"), QueryStringConfig: &types.QueryStringConditionConfig{Values: []types.QueryStringKeyValuePair{{Key: &k, Value: &v}}}}
	}
	for i, tc := range []struct {
		name  string
		conds []types.RuleCondition
		code  string // "": accepted
	}{
		{"old form", path("/a/*", "/a"), ""},
		{"new form", []types.RuleCondition{{Field: aws.String("path-pattern"), PathPatternConfig: &types.PathPatternConditionConfig{Values: []string{"/*"}}}}, ""},
		{"both forms", []types.RuleCondition{{Field: aws.String("path-pattern"), Values: []string{"/x"}, PathPatternConfig: &types.PathPatternConditionConfig{Values: []string{"/x"}}}}, ""},
		{"two forms", []types.RuleCondition{{Field: aws.String("path-pattern"), Values: []string{"/y"}, PathPatternConfig: &types.PathPatternConditionConfig{Values: []string{"/x"}}}}, "ValidationError"},
		{"host", []types.RuleCondition{host("web.localhost", "*.example.com")}, ""},
		{"host and path", append(path("/x"), host("web.localhost")), ""},
		{"host twice", []types.RuleCondition{host("a.b"), host("c.d")}, "ValidationError"},
		{"host without a dot", []types.RuleCondition{host("localhost")}, "ValidationError"},
		{"host address", []types.RuleCondition{host("127.0.0.1")}, "ValidationError"},
		{"path with a space", path("/a b"), "ValidationError"},
		{"six values", path("/1", "/2", "/3", "/4", "/5", "/6"), "ValidationError"},
		{"no value", path(), "ValidationError"},
		{"none", nil, "ValidationError"},
		{"unknown", []types.RuleCondition{{Field: aws.String("x"), Values: []string{"y"}}}, "ValidationError"},
		{"source", []types.RuleCondition{source("10.0.0.0/8", "2001:db8::/32")}, ""},
		{"source without a length", []types.RuleCondition{source("10.0.0.1")}, "ValidationError"},
		{"broadcast", []types.RuleCondition{source("255.255.255.255/32")}, "ValidationError"},
		{"two sources", []types.RuleCondition{source("10.0.0.0/8"), source("10.0.0.0/8")}, "ValidationError"},
		{"source in the old form", []types.RuleCondition{{Field: aws.String("source-ip"), Values: []string{"10.0.0.0/8"}}}, "ValidationError"},
		{"method", []types.RuleCondition{method("GET", "X_MY-OWN")}, ""},
		{"method in lower case", []types.RuleCondition{method("get")}, "ValidationError"},
		{"method with a wildcard", []types.RuleCondition{method("G*")}, "ValidationError"},
		{"long method", []types.RuleCondition{method(strings.Repeat("A", 41))}, "ValidationError"},
		{"header", []types.RuleCondition{header("User-Agent", "*Chrome*", "a b")}, ""},
		{"two headers", []types.RuleCondition{header("A", "1"), header("A", "2")}, ""},
		{"header without a name", []types.RuleCondition{header("", "1")}, "ValidationError"},
		{"host is no header", []types.RuleCondition{header("host", "1")}, "ValidationError"},
		{"bad header name", []types.RuleCondition{header("a b", "1")}, "ValidationError"},
		{"long header name", []types.RuleCondition{header(strings.Repeat("A", 41), "1")}, "ValidationError"},
		{"header of two lines", []types.RuleCondition{header("A", "1\n2")}, "ValidationError"},
		{"query", []types.RuleCondition{query("version", "v1"), query("", "*x*")}, ""},
		{"query without a value", []types.RuleCondition{query("version", "")}, "ValidationError"},
		{"query without parameters", []types.RuleCondition{{Field: aws.String("query-string"), QueryStringConfig: &types.QueryStringConditionConfig{}}}, "ValidationError"},
		{"six values in all", []types.RuleCondition{method("A", "B", "C"), source("10.0.0.0/8"), query("a", "1"), query("a", "2")}, "ValidationError"},
		{"seven wildcards", []types.RuleCondition{query("", "*?*?*?*")}, "ValidationError"},
		{"wildcards taken back", []types.RuleCondition{query("", `\*\?\*\?\*\?\*`)}, ""},
		{"regex", []types.RuleCondition{{Field: aws.String("path-pattern"), RegexValues: []string{"^/x"}}}, ""},
		{"regex in the new form", []types.RuleCondition{{Field: aws.String("host-header"), HostHeaderConfig: &types.HostHeaderConditionConfig{RegexValues: []string{"^x"}}}}, ""},
		{"regex of a header", []types.RuleCondition{{Field: aws.String("http-header"), HttpHeaderConfig: &types.HttpHeaderConditionConfig{HttpHeaderName: aws.String("A"), RegexValues: []string{"^x"}}}}, ""},
		{"regex and values", []types.RuleCondition{{Field: aws.String("path-pattern"), Values: []string{"/a"}, RegexValues: []string{"^/x"}}}, "ValidationError"},
		{"regex of a method", []types.RuleCondition{{Field: aws.String("http-request-method"), RegexValues: []string{"^x"}}}, "ValidationError"},
		{"look-ahead", []types.RuleCondition{{Field: aws.String("path-pattern"), RegexValues: []string{"(?=x)"}}}, "ValidationError"},
		{"back reference", []types.RuleCondition{{Field: aws.String("path-pattern"), RegexValues: []string{`(x)\1`}}}, "ValidationError"},
		{"Unicode class", []types.RuleCondition{{Field: aws.String("path-pattern"), RegexValues: []string{`\p{L}`}}}, "ValidationError"},
		{"long regex", []types.RuleCondition{{Field: aws.String("path-pattern"), RegexValues: []string{strings.Repeat("x", 129)}}}, "ValidationError"},
		{"pattern of another field", []types.RuleCondition{{Field: aws.String("host-header"), PathPatternConfig: &types.PathPatternConditionConfig{Values: []string{"/x"}}}}, "ValidationError"},
	} {
		_, err := b.CreateRule(b.ctx, &elb.CreateRuleInput{ListenerArn: li.ListenerArn, Priority: aws.Int32(int32(i + 1)), Conditions: tc.conds, Actions: forward(g.TargetGroupArn)})
		if tc.code != "" {
			wantError(t, tc.name, err, tc.code, "")
		} else if err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	// What is shown can be given again.
	for _, r := range must(b.DescribeRules(b.ctx, &elb.DescribeRulesInput{ListenerArn: li.ListenerArn}))(t).Rules {
		if *r.IsDefault {
			continue
		}
		again := must(b.ModifyRule(b.ctx, &elb.ModifyRuleInput{RuleArn: r.RuleArn, Conditions: r.Conditions}))(t).Rules[0]
		if d := cmp.Diff(r, again, cmpopts.IgnoreUnexported(types.Rule{}, types.RuleCondition{}, types.Action{}, types.ForwardActionConfig{}, types.TargetGroupTuple{},
			types.TargetGroupStickinessConfig{}, types.PathPatternConditionConfig{}, types.HostHeaderConditionConfig{}, types.HttpHeaderConditionConfig{},
			types.HttpRequestMethodConditionConfig{}, types.SourceIpConditionConfig{}, types.QueryStringConditionConfig{}, types.QueryStringKeyValuePair{})); d != "" {
			t.Errorf("shown and given again (-was +is):\n%s", d)
		}
	}
	_, err := b.CreateRule(b.ctx, &elb.CreateRuleInput{ListenerArn: li.ListenerArn, Priority: aws.Int32(1), Conditions: path("/z"), Actions: forward(g.TargetGroupArn)})
	wantError(t, "priority", err, "PriorityInUse", "Priority '1' is currently in use")
	_, err = b.CreateRule(b.ctx, &elb.CreateRuleInput{ListenerArn: li.ListenerArn, Priority: aws.Int32(50001), Conditions: path("/z"), Actions: forward(g.TargetGroupArn)})
	wantError(t, "high priority", err, "ValidationError", "")
}

func TestRule_ShowsBothForms(t *testing.T) {
	b := newBench(t)
	li := b.listener(b.balancer("web").LoadBalancerArn, 80)
	r := b.rule(li.ListenerArn, 1, b.targetGroup("web").TargetGroupArn)
	c := r.Conditions[0]
	if !slices.Equal(c.Values, []string{"/a/*"}) || c.PathPatternConfig == nil || !slices.Equal(c.PathPatternConfig.Values, c.Values) {
		t.Errorf("condition %+v, want /a/* as Values and in PathPatternConfig", c)
	}
}

func TestModifyRule(t *testing.T) {
	b := newBench(t)
	g, other := b.targetGroup("web"), b.targetGroup("other")
	li := b.listener(b.balancer("web").LoadBalancerArn, 80)
	r := b.rule(li.ListenerArn, 1, g.TargetGroupArn)
	got := must(b.ModifyRule(b.ctx, &elb.ModifyRuleInput{RuleArn: r.RuleArn, Actions: forward(other.TargetGroupArn)}))(t).Rules[0]
	if *got.Actions[0].TargetGroupArn != *other.TargetGroupArn || got.Conditions[0].Values[0] != "/a/*" || *got.Priority != "1" {
		t.Errorf("modified: %+v", got)
	}
	_, err := b.ModifyRule(b.ctx, &elb.ModifyRuleInput{RuleArn: r.RuleArn})
	wantError(t, "nothing", err, "ValidationError", "Either conditions or actions must be specified")
}

func TestDefaultRule_StaysAsItIs(t *testing.T) {
	b := newBench(t)
	li := b.listener(b.balancer("web").LoadBalancerArn, 80)
	r := must(b.DescribeRules(b.ctx, &elb.DescribeRulesInput{ListenerArn: li.ListenerArn}))(t).Rules[0]
	_, err := b.DeleteRule(b.ctx, &elb.DeleteRuleInput{RuleArn: r.RuleArn})
	wantError(t, "delete", err, "OperationNotPermitted", "")
	_, err = b.ModifyRule(b.ctx, &elb.ModifyRuleInput{RuleArn: r.RuleArn, Conditions: path("/x")})
	wantError(t, "modify", err, "OperationNotPermitted", "")
	_, err = b.SetRulePriorities(b.ctx, &elb.SetRulePrioritiesInput{RulePriorities: []types.RulePriorityPair{{RuleArn: r.RuleArn, Priority: aws.Int32(1)}}})
	wantError(t, "priority", err, "OperationNotPermitted", "")
	_, err = b.DeleteRule(b.ctx, &elb.DeleteRuleInput{RuleArn: aws.String(*r.RuleArn + "0")})
	wantError(t, "unknown", err, "RuleNotFound", "")
}

func TestSetRulePriorities_AllOrNone(t *testing.T) {
	b := newBench(t)
	g := b.targetGroup("web")
	li := b.listener(b.balancer("web").LoadBalancerArn, 80)
	one, two := b.rule(li.ListenerArn, 1, g.TargetGroupArn), b.rule(li.ListenerArn, 2, g.TargetGroupArn)
	b.rule(li.ListenerArn, 3, g.TargetGroupArn)
	set := func(pairs ...types.RulePriorityPair) error {
		_, err := b.SetRulePriorities(b.ctx, &elb.SetRulePrioritiesInput{RulePriorities: pairs})
		return err
	}
	pair := func(r types.Rule, p int32) types.RulePriorityPair {
		return types.RulePriorityPair{RuleArn: r.RuleArn, Priority: &p}
	}
	if err := set(pair(one, 2), pair(two, 1)); err != nil {
		t.Errorf("swap: %v", err)
	}
	wantError(t, "taken", set(pair(one, 5), pair(two, 3)), "PriorityInUse", "Priority '3' is currently in use")
	wantError(t, "twice", set(pair(one, 5), pair(two, 5)), "ValidationError", "Priority '5' was provided multiple times")
	if got := b.priorities(li.ListenerArn); !slices.Equal(got, []string{"1", "2", "3", "default"}) {
		t.Errorf("priorities %v", got)
	}
}

func TestForward_GroupStickiness(t *testing.T) {
	b := newBench(t)
	one, two := b.targetGroup("one"), b.targetGroup("two")
	lb := b.balancer("web").LoadBalancerArn
	with := func(st *types.TargetGroupStickinessConfig) types.Action {
		return types.Action{Type: types.ActionTypeEnumForward, ForwardConfig: &types.ForwardActionConfig{TargetGroupStickinessConfig: st,
			TargetGroups: []types.TargetGroupTuple{{TargetGroupArn: one.TargetGroupArn}, {TargetGroupArn: two.TargetGroupArn, Weight: aws.Int32(0)}}}}
	}
	for name, st := range map[string]*types.TargetGroupStickinessConfig{
		"no duration": {Enabled: aws.Bool(true)}, "0": {Enabled: aws.Bool(true), DurationSeconds: aws.Int32(0)}, "too long": {DurationSeconds: aws.Int32(604801)},
	} {
		_, err := b.CreateListener(b.ctx, &elb.CreateListenerInput{LoadBalancerArn: lb, Port: aws.Int32(80), Protocol: types.ProtocolEnumHttp, DefaultActions: []types.Action{with(st)}})
		wantError(t, name, err, "ValidationError", "")
	}
	for i, st := range []*types.TargetGroupStickinessConfig{{Enabled: aws.Bool(true), DurationSeconds: aws.Int32(604800)}, {Enabled: aws.Bool(false), DurationSeconds: aws.Int32(1)}, {Enabled: aws.Bool(false)}} {
		got := b.listener(lb, int32(80+i), with(st)).DefaultActions[0].ForwardConfig.TargetGroupStickinessConfig
		if *got.Enabled != *st.Enabled || aws.ToInt32(got.DurationSeconds) != aws.ToInt32(st.DurationSeconds) {
			t.Errorf("given %v %v, shown %v %v", *st.Enabled, aws.ToInt32(st.DurationSeconds), *got.Enabled, aws.ToInt32(got.DurationSeconds))
		}
	}
}
