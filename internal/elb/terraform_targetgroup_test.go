package elb

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

func TestTerraform_TargetGroup(t *testing.T) {
	b := newBench(t)
	c, ctx := b.client(), t.Context()
	var g types.TargetGroup
	modify := func(kv ...string) error {
		_, err := c.ModifyTargetGroupAttributes(ctx, &elb.ModifyTargetGroupAttributesInput{TargetGroupArn: g.TargetGroupArn, Attributes: pairs(groupAttr, kv...)})
		return err
	}
	attributes := func() map[string]string {
		out := map[string]string{}
		for _, a := range must(c.DescribeTargetGroupAttributes(ctx, &elb.DescribeTargetGroupAttributesInput{TargetGroupArn: g.TargetGroupArn}))(t).Attributes {
			out[*a.Key] = *a.Value
		}
		return out
	}
	target := []types.TargetDescription{{Id: aws.String("172.31.0.9"), Port: aws.Int32(8080)}}
	run(t, []step{
		{"aws_lb_target_group/create", func() error {
			_, err := c.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{Names: []string{"web"}})
			if err := gone[*types.TargetGroupNotFoundException](err); err != nil {
				return err
			}
			out, err := c.CreateTargetGroup(ctx, &elb.CreateTargetGroupInput{Name: aws.String("web"), TargetType: types.TargetTypeEnumIp, Protocol: types.ProtocolEnumHttp, ProtocolVersion: aws.String(""), Port: aws.Int32(8080),
				VpcId: &b.vpc, HealthCheckEnabled: aws.Bool(true), HealthCheckIntervalSeconds: aws.Int32(30), HealthyThresholdCount: aws.Int32(3), UnhealthyThresholdCount: aws.Int32(3),
				HealthCheckPort: aws.String("traffic-port"), HealthCheckProtocol: types.ProtocolEnumHttp, Tags: []types.Tag{{Key: aws.String("env"), Value: aws.String("a")}}})
			if err != nil {
				return err
			}
			g = out.TargetGroups[0]
			return modify("deregistration_delay.timeout_seconds", "300")
		}},
		{"aws_lb_target_group/read", func() error {
			p := elb.NewDescribeTargetGroupsPaginator(c, &elb.DescribeTargetGroupsInput{TargetGroupArns: []string{*g.TargetGroupArn}})
			out, err := p.NextPage(ctx)
			if err != nil || p.HasMorePages() || len(out.TargetGroups) != 1 {
				return fmt.Errorf("DescribeTargetGroups() = %+v, %w", out, err)
			}
			g = out.TargetGroups[0]
			if *g.ProtocolVersion != "HTTP1" || g.IpAddressType != types.TargetGroupIpAddressTypeEnumIpv4 || g.TargetType != types.TargetTypeEnumIp || *g.HealthCheckPath != "/" || *g.Matcher.HttpCode != "200" ||
				*g.HealthCheckTimeoutSeconds != 5 || !*g.HealthCheckEnabled || len(g.LoadBalancerArns) != 0 {
				t.Errorf("target group %+v", g)
			}
			have := attributes()
			for key, want := range map[string]string{"deregistration_delay.timeout_seconds": "300", "slow_start.duration_seconds": "0", "load_balancing.algorithm.type": "round_robin", "load_balancing.algorithm.anomaly_mitigation": "off",
				"load_balancing.cross_zone.enabled": "use_load_balancer_configuration", "stickiness.enabled": "false", "stickiness.type": "lb_cookie", "stickiness.lb_cookie.duration_seconds": "86400",
				"target_group_health.dns_failover.minimum_healthy_targets.count": "1", "target_group_health.dns_failover.minimum_healthy_targets.percentage": "off",
				"target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": "1", "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": "off"} {
				if have[key] != want {
					t.Errorf("%s = %q, want %q", key, have[key], want)
				}
			}
			return tagsReadAndChanged(ctx, c, g.TargetGroupArn)
		}},
		{"aws_lb_target_group/update", func() error {
			_, err := c.ModifyTargetGroup(ctx, &elb.ModifyTargetGroupInput{TargetGroupArn: g.TargetGroupArn, HealthCheckEnabled: aws.Bool(true), HealthCheckIntervalSeconds: aws.Int32(10), HealthyThresholdCount: aws.Int32(2), UnhealthyThresholdCount: aws.Int32(2),
				HealthCheckTimeoutSeconds: aws.Int32(5), Matcher: &types.Matcher{HttpCode: aws.String("200-299")}, HealthCheckPath: aws.String("/health"), HealthCheckPort: aws.String("traffic-port"), HealthCheckProtocol: types.ProtocolEnumHttp})
			return errors.Join(err, modify("stickiness.enabled", "true", "stickiness.type", "app_cookie", "stickiness.app_cookie.cookie_name", "SID", "stickiness.app_cookie.duration_seconds", "3600",
				"target_group_health.dns_failover.minimum_healthy_targets.count", "off", "target_group_health.dns_failover.minimum_healthy_targets.percentage", "off",
				"target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "1", "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", "off",
				"slow_start.duration_seconds", "0", "load_balancing.algorithm.type", "least_outstanding_requests", "load_balancing.algorithm.anomaly_mitigation", "off"),
				modify("stickiness.enabled", "true", "stickiness.type", "lb_cookie", "stickiness.lb_cookie.duration_seconds", "86400"), modify("stickiness.enabled", "false"))
		}},
		{"aws_lb_target_group_attachment", func() error {
			if _, err := c.RegisterTargets(ctx, &elb.RegisterTargetsInput{TargetGroupArn: g.TargetGroupArn, Targets: target}); err != nil {
				return err
			}
			health := func() types.TargetHealthReasonEnum {
				d := must(c.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: g.TargetGroupArn, Targets: target}))(t).TargetHealthDescriptions
				if len(d) != 1 {
					t.Fatalf("health %+v", d)
				}
				return d[0].TargetHealth.Reason
			}
			if r := health(); r != types.TargetHealthReasonEnumNotInUse {
				t.Errorf("registered: %s", r)
			}
			_, err := c.DeregisterTargets(ctx, &elb.DeregisterTargetsInput{TargetGroupArn: g.TargetGroupArn, Targets: target})
			if r := health(); r != types.TargetHealthReasonEnumNotRegistered && r != types.TargetHealthReasonEnumDeregistrationInProgress {
				t.Errorf("deregistered: %s, which Terraform takes for registered", r)
			}
			return err
		}},
		{"data aws_lb_target_group", func() error {
			out, err := c.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{Names: []string{"web"}})
			if err == nil && len(out.TargetGroups) != 1 {
				t.Errorf("groups %+v", out.TargetGroups)
			}
			return err
		}},
		{"aws_lb_target_group/delete", func() error {
			lb := b.balancer("web")
			l := b.listener(lb.LoadBalancerArn, 80, forward(g.TargetGroupArn)...)
			_, err := c.DeleteTargetGroup(ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: g.TargetGroupArn})
			if e := (*types.ResourceInUseException)(nil); !errors.As(err, &e) || !strings.Contains(err.Error(), "is currently in use by a listener or a rule") {
				t.Errorf("delete of one in use: %v, which Terraform does not try again", err)
			}
			must(c.DeleteListener(ctx, &elb.DeleteListenerInput{ListenerArn: l.ListenerArn}))(t)
			if _, err := c.DeleteTargetGroup(ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: g.TargetGroupArn}); err != nil {
				return err
			}
			_, err = c.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{TargetGroupArns: []string{*g.TargetGroupArn}})
			_, err2 := c.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: g.TargetGroupArn, Targets: target})
			return errors.Join(gone[*types.TargetGroupNotFoundException](err), gone[*types.TargetGroupNotFoundException](err2))
		}},
	})
}
