package elb

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

func TestTerraform_Listener(t *testing.T) {
	b := newBench(t)
	c, ctx := b.client(), t.Context()
	lb, group := b.balancer("web"), b.targetGroup("web").TargetGroupArn
	one, two := aws.String(b.certificate("one")), aws.String(b.certificate("two"))
	tags := []types.Tag{{Key: aws.String("env"), Value: aws.String("a")}}
	var plain, secure types.Listener
	describe := func(l *types.Listener) error {
		p := elb.NewDescribeListenersPaginator(c, &elb.DescribeListenersInput{ListenerArns: []string{*l.ListenerArn}})
		out, err := p.NextPage(ctx)
		if err != nil || p.HasMorePages() || len(out.Listeners) != 1 || *out.Listeners[0].ListenerArn != *l.ListenerArn {
			return fmt.Errorf("DescribeListeners() = %+v, %w", out, err)
		}
		*l = out.Listeners[0]
		return nil
	}
	attributes := func(l types.Listener) []string {
		var keys []string
		for _, a := range must(c.DescribeListenerAttributes(ctx, &elb.DescribeListenerAttributesInput{ListenerArn: l.ListenerArn}))(t).Attributes {
			keys = append(keys, *a.Key)
		}
		return keys
	}
	run(t, []step{
		{"aws_lb_listener/create, a redirect", func() error {
			out, err := c.CreateListener(ctx, &elb.CreateListenerInput{LoadBalancerArn: lb.LoadBalancerArn, Port: aws.Int32(80), Protocol: types.ProtocolEnumHttp, Tags: tags,
				DefaultActions: []types.Action{{Type: types.ActionTypeEnumRedirect, Order: aws.Int32(1), RedirectConfig: &types.RedirectActionConfig{Host: aws.String("#{host}"), Path: aws.String("/#{path}"),
					Port: aws.String("443"), Protocol: aws.String("HTTPS"), Query: aws.String("#{query}"), StatusCode: types.RedirectActionStatusCodeEnumHttp301}}}})
			if err != nil {
				return err
			}
			plain = out.Listeners[0]
			_, err = c.ModifyListenerAttributes(ctx, &elb.ModifyListenerAttributesInput{ListenerArn: plain.ListenerArn, Attributes: pairs(listenerAttr, serverKey, "false")})
			return errors.Join(err, describe(&plain))
		}},
		{"aws_lb_listener/create, HTTPS", func() error {
			out, err := c.CreateListener(ctx, &elb.CreateListenerInput{LoadBalancerArn: lb.LoadBalancerArn, Port: aws.Int32(443), Protocol: types.ProtocolEnumHttps, Tags: tags,
				Certificates: []types.Certificate{{CertificateArn: one}}, SslPolicy: aws.String("ELBSecurityPolicy-TLS13-1-2-2021-06"), MutualAuthentication: &types.MutualAuthenticationAttributes{Mode: aws.String("off")},
				DefaultActions: []types.Action{{Type: types.ActionTypeEnumForward, Order: aws.Int32(1), TargetGroupArn: group}}})
			if err != nil {
				return err
			}
			secure = out.Listeners[0]
			_, err = c.ModifyListenerAttributes(ctx, &elb.ModifyListenerAttributesInput{ListenerArn: secure.ListenerArn, Attributes: pairs(listenerAttr, serverKey, "true",
				"routing.http.response.strict_transport_security.header_value", "max-age=31536000", "routing.http.request.x_amzn_tls_version.header_name", "X-Tls-Version")})
			return errors.Join(err, describe(&secure))
		}},
		{"aws_lb_listener/read", func() error {
			r := plain.DefaultActions[0].RedirectConfig
			if *plain.DefaultActions[0].Order != 1 || *r.Host != "#{host}" || *r.Path != "/#{path}" || *r.Port != "443" || *r.Protocol != "HTTPS" || *r.Query != "#{query}" || plain.SslPolicy != nil || len(plain.Certificates) != 0 {
				t.Errorf("listener %+v, redirect %+v", plain, r)
			}
			f := secure.DefaultActions[0]
			if *f.TargetGroupArn != *group || len(f.ForwardConfig.TargetGroups) != 1 || *f.ForwardConfig.TargetGroups[0].Weight != 1 || *f.ForwardConfig.TargetGroupStickinessConfig.Enabled ||
				*secure.SslPolicy != "ELBSecurityPolicy-TLS13-1-2-2021-06" || len(secure.Certificates) != 1 || *secure.Certificates[0].CertificateArn != *one || *secure.MutualAuthentication.Mode != "off" || len(secure.AlpnPolicy) != 0 {
				t.Errorf("listener %+v", secure)
			}
			if keys := attributes(plain); !slices.Contains(keys, serverKey) || len(keys) != 11 {
				t.Errorf("attributes of HTTP: %v", keys)
			}
			if keys := attributes(secure); len(keys) != 19 {
				t.Errorf("attributes of HTTPS: %v", keys)
			}
			return errors.Join(tagsReadAndChanged(ctx, c, plain.ListenerArn), tagsReadAndChanged(ctx, c, secure.ListenerArn))
		}},
		{"aws_lb_listener/update", func() error {
			_, err := c.ModifyListener(ctx, &elb.ModifyListenerInput{ListenerArn: secure.ListenerArn, Certificates: []types.Certificate{{CertificateArn: one}}, Port: aws.Int32(443), Protocol: types.ProtocolEnumHttps,
				SslPolicy: aws.String("ELBSecurityPolicy-TLS13-1-2-2021-06"), DefaultActions: []types.Action{{Type: types.ActionTypeEnumForward, Order: aws.Int32(1), ForwardConfig: &types.ForwardActionConfig{
					TargetGroups: []types.TargetGroupTuple{{TargetGroupArn: group, Weight: aws.Int32(10)}}, TargetGroupStickinessConfig: &types.TargetGroupStickinessConfig{Enabled: aws.Bool(true), DurationSeconds: aws.Int32(600)}}}}})
			_, err2 := c.ModifyListener(ctx, &elb.ModifyListenerInput{ListenerArn: plain.ListenerArn, Port: aws.Int32(80), Protocol: types.ProtocolEnumHttp, DefaultActions: []types.Action{{Type: types.ActionTypeEnumFixedResponse,
				Order: aws.Int32(1), FixedResponseConfig: &types.FixedResponseActionConfig{StatusCode: aws.String("404"), ContentType: aws.String("text/plain"), MessageBody: aws.String("")}}}})
			return errors.Join(err, err2)
		}},
		{"aws_lb_listener/update, to a certificate that is not there yet", func() error {
			_, err := c.ModifyListener(ctx, &elb.ModifyListenerInput{ListenerArn: secure.ListenerArn, Certificates: []types.Certificate{{CertificateArn: aws.String(b.sc.ARN("acm", "certificate/late"))}}})
			return gone[*types.CertificateNotFoundException](err) // it tries again
		}},
		{"aws_lb_listener_certificate", func() error {
			certs := []types.Certificate{{CertificateArn: two}}
			for _, arn := range []*string{two, one} { // the default one too
				if _, err := c.AddListenerCertificates(ctx, &elb.AddListenerCertificatesInput{ListenerArn: secure.ListenerArn, Certificates: []types.Certificate{{CertificateArn: arn}}}); err != nil {
					return err
				}
				out, err := c.DescribeListenerCertificates(ctx, &elb.DescribeListenerCertificatesInput{ListenerArn: secure.ListenerArn, PageSize: aws.Int32(400)})
				if err != nil || !slices.ContainsFunc(out.Certificates, func(x types.Certificate) bool { return !*x.IsDefault && *x.CertificateArn == *arn }) {
					return fmt.Errorf("certificates %+v, %w", out, err)
				}
			}
			remove := func(l *string, certs ...types.Certificate) error {
				_, err := c.RemoveListenerCertificates(ctx, &elb.RemoveListenerCertificatesInput{ListenerArn: l, Certificates: certs})
				return err
			}
			err := remove(secure.ListenerArn, types.Certificate{CertificateArn: one})
			if e := (*types.OperationNotPermittedException)(nil); !errors.As(err, &e) || !strings.Contains(err.Error(), "Default certificate cannot be removed") {
				t.Errorf("the default certificate removed: %v", err)
			}
			return errors.Join(remove(secure.ListenerArn, certs...), remove(secure.ListenerArn, certs...))
		}},
		{"data aws_lb_listener", func() error {
			out, err := c.DescribeListeners(ctx, &elb.DescribeListenersInput{LoadBalancerArn: lb.LoadBalancerArn})
			if err == nil && len(out.Listeners) != 2 {
				t.Errorf("listeners %+v", out.Listeners)
			}
			return err
		}},
		{"aws_lb_listener/delete", func() error {
			if _, err := c.DeleteListener(ctx, &elb.DeleteListenerInput{ListenerArn: secure.ListenerArn}); err != nil {
				return err
			}
			_, err := c.DescribeListeners(ctx, &elb.DescribeListenersInput{ListenerArns: []string{*secure.ListenerArn}})
			_, err2 := c.DescribeListenerCertificates(ctx, &elb.DescribeListenerCertificatesInput{ListenerArn: secure.ListenerArn})
			return errors.Join(gone[*types.ListenerNotFoundException](err), gone[*types.ListenerNotFoundException](err2))
		}},
	})
}

func TestTerraform_Rule(t *testing.T) {
	b := newBench(t)
	c, ctx := b.client(), t.Context()
	group := b.targetGroup("web").TargetGroupArn
	listener := b.listener(b.balancer("web").LoadBalancerArn, 80).ListenerArn
	b.rule(listener, 7, group)
	action := []types.Action{{Type: types.ActionTypeEnumForward, Order: aws.Int32(1), TargetGroupArn: group}}
	var r types.Rule
	describe := func() error {
		p := elb.NewDescribeRulesPaginator(c, &elb.DescribeRulesInput{RuleArns: []string{*r.RuleArn}})
		out, err := p.NextPage(ctx)
		if err != nil || p.HasMorePages() || len(out.Rules) != 1 {
			return fmt.Errorf("DescribeRules() = %+v, %w", out, err)
		}
		r = out.Rules[0]
		return nil
	}
	run(t, []step{
		{"aws_lb_listener_rule/create, after the last", func() error {
			in := &elb.CreateRuleInput{ListenerArn: listener, Priority: aws.Int32(7), Actions: action, Tags: []types.Tag{{Key: aws.String("env"), Value: aws.String("a")}}, Conditions: []types.RuleCondition{
				{Field: aws.String("host-header"), HostHeaderConfig: &types.HostHeaderConditionConfig{Values: []string{"*.example.com"}}},
				{Field: aws.String("query-string"), QueryStringConfig: &types.QueryStringConditionConfig{Values: []types.QueryStringKeyValuePair{{Value: aws.String("v")}}}}},
				Transforms: []types.RuleTransform{{Type: types.TransformTypeEnumUrlRewrite, UrlRewriteConfig: &types.UrlRewriteConfig{Rewrites: []types.RewriteConfig{{Regex: aws.String("^/a"), Replace: aws.String("/b")}}}}}}
			_, err := c.CreateRule(ctx, in)
			if err := gone[*types.PriorityInUseException](err); err != nil { // another was quicker: it looks again
				return err
			}
			rules, err := c.DescribeRules(ctx, &elb.DescribeRulesInput{ListenerArn: listener})
			if err != nil || len(rules.Rules) != 2 || *rules.Rules[0].Priority != "7" || *rules.Rules[1].Priority != "default" {
				return fmt.Errorf("rules %+v, %w", rules, err)
			}
			in.Priority = aws.Int32(8)
			out, err := c.CreateRule(ctx, in)
			if err != nil {
				return err
			}
			r = out.Rules[0]
			return nil
		}},
		{"aws_lb_listener_rule/read", func() error {
			if err := describe(); err != nil {
				return err
			}
			q := r.Conditions[1].QueryStringConfig.Values[0]
			if !strings.HasPrefix(*r.RuleArn, strings.Replace(*listener, ":listener/", ":listener-rule/", 1)+"/") || *r.Priority != "8" || *r.Actions[0].Order != 1 || *r.Actions[0].TargetGroupArn != *group ||
				r.Conditions[0].HostHeaderConfig.Values[0] != "*.example.com" || q.Key != nil || *q.Value != "v" || *r.Transforms[0].UrlRewriteConfig.Rewrites[0].Replace != "/b" {
				t.Errorf("rule %+v", r)
			}
			return tagsReadAndChanged(ctx, c, r.RuleArn)
		}},
		{"aws_lb_listener_rule/update", func() error {
			_, err := c.SetRulePriorities(ctx, &elb.SetRulePrioritiesInput{RulePriorities: []types.RulePriorityPair{{RuleArn: r.RuleArn, Priority: aws.Int32(100)}}})
			out, err2 := c.ModifyRule(ctx, &elb.ModifyRuleInput{RuleArn: r.RuleArn, Actions: action, ResetTransforms: aws.Bool(true),
				Conditions: []types.RuleCondition{{Field: aws.String("path-pattern"), PathPatternConfig: &types.PathPatternConditionConfig{Values: []string{"/x/*", "/y"}}}}})
			if err2 == nil && (len(out.Rules) != 1 || len(out.Rules[0].Transforms) != 0 || *out.Rules[0].Priority != "100") {
				t.Errorf("rule %+v", out.Rules)
			}
			return errors.Join(err, err2, describe())
		}},
		{"data aws_lb_listener_rule, the default one", func() error {
			rules := must(c.DescribeRules(ctx, &elb.DescribeRulesInput{ListenerArn: listener}))(t).Rules
			out, err := c.DescribeTags(ctx, &elb.DescribeTagsInput{ResourceArns: []string{*rules[len(rules)-1].RuleArn}})
			if err == nil && len(out.TagDescriptions) != 1 {
				t.Errorf("tags %+v", out.TagDescriptions)
			}
			return err
		}},
		{"aws_lb_listener_rule/delete", func() error {
			if _, err := c.DeleteRule(ctx, &elb.DeleteRuleInput{RuleArn: r.RuleArn}); err != nil {
				return err
			}
			_, err := c.DeleteRule(ctx, &elb.DeleteRuleInput{RuleArn: r.RuleArn})
			_, err2 := c.DescribeRules(ctx, &elb.DescribeRulesInput{RuleArns: []string{*r.RuleArn}})
			return errors.Join(gone[*types.RuleNotFoundException](err), gone[*types.RuleNotFoundException](err2))
		}},
	})
}
