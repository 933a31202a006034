package elb

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

func TestTransforms(t *testing.T) {
	b := newBench(t)
	g := b.targetGroup("web")
	li := b.listener(b.balancer("web").LoadBalancerArn, 80)
	rewrite := func(regex, replace string) []types.RewriteConfig {
		return []types.RewriteConfig{{Regex: &regex, Replace: &replace}}
	}
	url := func(w []types.RewriteConfig) types.RuleTransform {
		return types.RuleTransform{Type: types.TransformTypeEnumUrlRewrite, UrlRewriteConfig: &types.UrlRewriteConfig{Rewrites: w}}
	}
	host := func(w []types.RewriteConfig) types.RuleTransform {
		return types.RuleTransform{Type: types.TransformTypeEnumHostHeaderRewrite, HostHeaderRewriteConfig: &types.HostHeaderRewriteConfig{Rewrites: w}}
	}
	both := []types.RuleTransform{host(rewrite("^(.+)$", "x.$1")), url(rewrite("^/a", ""))}
	create := func(p int32, tr []types.RuleTransform, act []types.Action) (*elb.CreateRuleOutput, error) {
		return b.CreateRule(b.ctx, &elb.CreateRuleInput{ListenerArn: li.ListenerArn, Priority: &p, Conditions: path("/x"), Transforms: tr, Actions: act})
	}
	for name, tr := range map[string][]types.RuleTransform{
		"twice the same":      {both[0], both[0]},
		"no rewrite":          {url(nil)},
		"two rewrites":        {url(append(rewrite("a", "b"), rewrite("c", "d")...))},
		"no expression":       {url([]types.RewriteConfig{{Replace: aws.String("x")}})},
		"no replacement":      {url([]types.RewriteConfig{{Regex: aws.String("x")}})},
		"bad expression":      {url(rewrite("(", "x"))},
		"look-behind":         {url(rewrite("(?<=a)b", "x"))},
		"long expression":     {url(rewrite(strings.Repeat("a", 1025), "x"))},
		"long replacement":    {url(rewrite("a", strings.Repeat("a", 1025)))},
		"unknown type":        {{Type: "x", UrlRewriteConfig: &types.UrlRewriteConfig{Rewrites: rewrite("a", "b")}}},
		"config of the other": {{Type: types.TransformTypeEnumUrlRewrite, HostHeaderRewriteConfig: &types.HostHeaderRewriteConfig{Rewrites: rewrite("a", "b")}}},
	} {
		_, err := create(1, tr, forward(g.TargetGroupArn))
		wantError(t, name, err, "ValidationError", "")
	}
	_, err := create(1, both, fixed404())
	wantError(t, "nothing to transform", err, "InvalidConfigurationRequest", "")

	r := must(create(1, both, forward(g.TargetGroupArn)))(t).Rules[0]
	if len(r.Transforms) != 2 || *r.Transforms[0].HostHeaderRewriteConfig.Rewrites[0].Replace != "x.$1" || *r.Transforms[1].UrlRewriteConfig.Rewrites[0].Regex != "^/a" {
		t.Errorf("transforms %+v", r.Transforms)
	}
	types := func(in *elb.ModifyRuleInput) (out []string) {
		t.Helper()
		in.RuleArn = r.RuleArn
		for _, x := range must(b.ModifyRule(b.ctx, in))(t).Rules[0].Transforms {
			out = append(out, string(x.Type))
		}
		return out
	}
	if got := types(&elb.ModifyRuleInput{Conditions: path("/y")}); len(got) != 2 {
		t.Errorf("after other conditions: %v", got)
	}
	if got := types(&elb.ModifyRuleInput{Transforms: both[1:]}); !slices.Equal(got, []string{"url-rewrite"}) {
		t.Errorf("after other transforms: %v", got)
	}
	_, err = b.ModifyRule(b.ctx, &elb.ModifyRuleInput{RuleArn: r.RuleArn, Actions: fixed404()})
	wantError(t, "nothing to transform any more", err, "InvalidConfigurationRequest", "")
	if got := types(&elb.ModifyRuleInput{ResetTransforms: aws.Bool(true), Actions: fixed404()}); len(got) != 0 {
		t.Errorf("after the reset: %v", got)
	}
	_, err = b.ModifyRule(b.ctx, &elb.ModifyRuleInput{RuleArn: r.RuleArn, ResetTransforms: aws.Bool(true), Transforms: both})
	wantError(t, "reset and set", err, "ValidationError", "")
}
