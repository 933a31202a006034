package elb

import (
	"context"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

const delayKey = "deregistration_delay.timeout_seconds"

// groupAttributes are those of target groups of type ip behind application load balancers, with
// AWS's defaults. Source: ALB user guide, target group attributes; ELBv2 API, TargetGroupAttribute.
var groupAttributes = []attribute[state.TargetGroup]{
	{key: delayKey, get: func(g state.TargetGroup) string { return strconv.Itoa(g.DeregistrationDelay) },
		set: func(g *state.TargetGroup, v string) (err *awswire.Error) {
			g.DeregistrationDelay, err = between(delayKey, v, 0, 3600)
			return err
		}},
	{key: "load_balancing.algorithm.anomaly_mitigation", value: "off"},
	{key: "load_balancing.algorithm.type", value: "round_robin"},
	{key: "load_balancing.cross_zone.enabled", value: "use_load_balancer_configuration"},
	{key: "slow_start.duration_seconds", value: "0"},
	{key: "stickiness.app_cookie.cookie_name"},
	{key: "stickiness.app_cookie.duration_seconds", value: "86400"},
	{key: "stickiness.enabled", value: "false"},
	{key: "stickiness.lb_cookie.duration_seconds", value: "86400"},
	{key: "stickiness.type", value: "lb_cookie"},
	{key: "target_group_health.dns_failover.minimum_healthy_targets.count", value: "1"},
	{key: "target_group_health.dns_failover.minimum_healthy_targets.percentage", value: "off"},
	{key: "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", value: "1"},
	{key: "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", value: "off"},
}

// DescribeTargetGroupAttributes shows all attributes.
func (s *Service) DescribeTargetGroupAttributes(ctx context.Context, in *elb.DescribeTargetGroupAttributesInput) (*elb.DescribeTargetGroupAttributesOutput, error) {
	out := &elb.DescribeTargetGroupAttributesOutput{}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		o, err := findGroup(tx, scope(ctx), in.TargetGroupArn)
		out.Attributes = groupAttributeViews(o.Val)
		return err
	})
	return out, err
}

// ModifyTargetGroupAttributes changes those that the balancer acts on.
func (s *Service) ModifyTargetGroupAttributes(ctx context.Context, in *elb.ModifyTargetGroupAttributesInput) (*elb.ModifyTargetGroupAttributesOutput, error) {
	var given [][2]string
	for _, a := range in.Attributes {
		given = append(given, [2]string{aws.ToString(a.Key), aws.ToString(a.Value)})
	}
	out := &elb.ModifyTargetGroupAttributesOutput{}
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := findGroup(tx, scope(ctx), in.TargetGroupArn)
		if err != nil {
			return err
		}
		if err := setAttributes(groupAttributes, &o.Val, given); err != nil {
			return err
		}
		out.Attributes = groupAttributeViews(o.Val)
		return state.TargetGroups.Put(tx, &o)
	})
	return out, err
}

// Private

func groupAttributeViews(g state.TargetGroup) (out []types.TargetGroupAttribute) {
	for _, a := range groupAttributes {
		out = append(out, types.TargetGroupAttribute{Key: aws.String(a.key), Value: aws.String(a.of(g))})
	}
	return out
}
