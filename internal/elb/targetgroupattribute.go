package elb

import (
	"cmp"
	"context"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

const (
	delayKey        = "deregistration_delay.timeout_seconds"
	mitigationKey   = "load_balancing.algorithm.anomaly_mitigation"
	algorithmKey    = "load_balancing.algorithm.type"
	slowStartKey    = "slow_start.duration_seconds"
	crossZoneKey    = "load_balancing.cross_zone.enabled"
	failoverKey     = "target_group_health.dns_failover.minimum_healthy_targets.count"
	failPercentKey  = "target_group_health.dns_failover.minimum_healthy_targets.percentage"
	minHealthyKey   = "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count"
	minPercentKey   = "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage"
	stickyKey       = "stickiness.enabled"
	stickyTypeKey   = "stickiness.type"
	stickyCookieKey = "stickiness.app_cookie.cookie_name"
)

const (
	roundRobin    = "round_robin" // the algorithm of a new group
	asTheBalancer = "use_load_balancer_configuration"
)

// groupAttributes are those of target groups of type ip behind application load balancers, with
// AWS's defaults. Source: ALB user guide, target group attributes; ELBv2 API, TargetGroupAttribute.
var groupAttributes = []attribute[state.TargetGroup]{
	{key: delayKey, get: func(g state.TargetGroup) string { return strconv.Itoa(g.DeregistrationDelay) },
		set: func(g *state.TargetGroup, v string) (err *awswire.Error) {
			g.DeregistrationDelay, err = between(delayKey, v, 0, 3600)
			return err
		}},
	{key: mitigationKey, get: func(g state.TargetGroup) string {
		if g.Mitigate {
			return "on"
		}
		return "off"
	}, set: func(g *state.TargetGroup, v string) (err *awswire.Error) {
		v, err = oneOf(mitigationKey, v, "on", "off")
		g.Mitigate = v == "on"
		return err
	}},
	{key: algorithmKey, get: func(g state.TargetGroup) string { return cmp.Or(g.Algorithm, roundRobin) },
		set: func(g *state.TargetGroup, v string) (err *awswire.Error) {
			g.Algorithm, err = oneOf(algorithmKey, v, roundRobin, "least_outstanding_requests", "weighted_random")
			return err
		}},
	{key: crossZoneKey, get: func(g state.TargetGroup) string { return cmp.Or(g.CrossZone, asTheBalancer) },
		set: func(g *state.TargetGroup, v string) (err *awswire.Error) {
			g.CrossZone, err = oneOf(crossZoneKey, v, "true", "false", asTheBalancer)
			return err
		}},
	{key: slowStartKey, get: func(g state.TargetGroup) string { return strconv.Itoa(g.SlowStart) },
		set: func(g *state.TargetGroup, v string) (err *awswire.Error) {
			g.SlowStart = 0
			if v != "0" {
				g.SlowStart, err = between(slowStartKey, v, 30, 900)
			}
			return err
		}},
	{key: stickyCookieKey, get: func(g state.TargetGroup) string { return g.Stickiness.Cookie },
		set: func(g *state.TargetGroup, v string) *awswire.Error {
			g.Stickiness.Cookie = v
			return checkCookieName(v)
		}},
	stickySeconds("stickiness.app_cookie.duration_seconds", func(s *state.Stickiness) *int { return &s.ApplicationSeconds }),
	{key: stickyKey, get: func(g state.TargetGroup) string { return strconv.FormatBool(g.Stickiness.Enabled) },
		set: func(g *state.TargetGroup, v string) (err *awswire.Error) {
			g.Stickiness.Enabled, err = boolean(stickyKey, v)
			return err
		}},
	stickySeconds("stickiness.lb_cookie.duration_seconds", func(s *state.Stickiness) *int { return &s.BalancerSeconds }),
	{key: stickyTypeKey, get: func(g state.TargetGroup) string { return cmp.Or(g.Stickiness.Type, "lb_cookie") },
		set: func(g *state.TargetGroup, v string) (err *awswire.Error) {
			g.Stickiness.Type, err = oneOf(stickyTypeKey, v, "lb_cookie", "app_cookie")
			return err
		}},
	{key: failoverKey, get: func(g state.TargetGroup) string {
		if g.NoFailover {
			return "off"
		}
		return strconv.Itoa(max(g.Failover, 1))
	}, set: func(g *state.TargetGroup, v string) (err *awswire.Error) {
		if g.NoFailover = v == "off"; !g.NoFailover {
			g.Failover, err = between(failoverKey, v, 1, maxTargets)
		}
		return err
	}},
	percentOf(failPercentKey, func(g *state.TargetGroup) *int { return &g.FailoverPercent }),
	{key: minHealthyKey, get: func(g state.TargetGroup) string { return strconv.Itoa(max(g.MinHealthy, 1)) },
		set: func(g *state.TargetGroup, v string) (err *awswire.Error) {
			g.MinHealthy, err = between(minHealthyKey, v, 1, maxTargets)
			return err
		}},
	percentOf(minPercentKey, func(g *state.TargetGroup) *int { return &g.MinHealthyPercent }),
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
		if err := setAttributes("Target group", groupAttributes, &o.Val, given, checkGroupAttributes); err != nil {
			return err
		}
		out.Attributes = groupAttributeViews(o.Val)
		return state.TargetGroups.Put(tx, &o)
	})
	return out, err
}

// Private

// stickySeconds is an attribute for the duration of a kind of stickiness.
func stickySeconds(key string, of func(*state.Stickiness) *int) attribute[state.TargetGroup] {
	return attribute[state.TargetGroup]{key: key,
		get: func(g state.TargetGroup) string {
			return strconv.Itoa(cmp.Or(*of(&g.Stickiness), state.DefaultStickiness))
		},
		set: func(g *state.TargetGroup, v string) (err *awswire.Error) {
			*of(&g.Stickiness), err = between(key, v, 1, maxSticky)
			return err
		}}
}

// percentOf is an attribute for a percentage of a group's targets, 0 for off.
func percentOf(key string, of func(*state.TargetGroup) *int) attribute[state.TargetGroup] {
	return attribute[state.TargetGroup]{key: key, get: func(g state.TargetGroup) string {
		if n := *of(&g); n > 0 {
			return strconv.Itoa(n)
		}
		return "off"
	}, set: func(g *state.TargetGroup, v string) (err *awswire.Error) {
		*of(g) = 0
		if v != "off" {
			*of(g), err = between(key, v, 1, 100)
		}
		return err
	}}
}

// checkCookieName: the balancer's own names are taken. Source: ALB user guide, sticky sessions.
func checkCookieName(v string) *awswire.Error {
	if v != "" && (!headerRE.MatchString(v) || len(v) > 256) {
		return invalid("'%s' value '%s' is not a valid cookie name", stickyCookieKey, v)
	}
	for _, taken := range []string{"AWSALB", "AWSALBAPP", "AWSALBTG"} {
		if strings.HasPrefix(v, taken) {
			return invalid("'%s' value '%s' must not begin with '%s', which is reserved", stickyCookieKey, v, taken)
		}
	}
	return nil
}

// checkGroupAttributes judges what must go together.
func checkGroupAttributes(g state.TargetGroup) *awswire.Error {
	if st := g.Stickiness; st.Enabled && st.Type == "app_cookie" && st.Cookie == "" {
		return invalid("'%s' must be specified for stickiness of the type 'app_cookie'", stickyCookieKey)
	}
	// Source: ELBv2 API, TargetGroupAttribute.
	if g.Mitigate && g.Algorithm != "weighted_random" {
		return unfit("'%s' can't be used with the algorithm '%s'", mitigationKey, cmp.Or(g.Algorithm, roundRobin))
	}
	// Source: ALB user guide, slow start mode.
	if g.SlowStart > 0 && cmp.Or(g.Algorithm, roundRobin) != roundRobin {
		return unfit("'%s' can't be used with the algorithm '%s'", slowStartKey, g.Algorithm)
	}
	// Source: ALB user guide, target group health: failover comes with or before routing to unhealthy targets.
	if !g.NoFailover && max(g.Failover, 1) < g.MinHealthy {
		return unfit("'%s' must be greater than or equal to '%s'", failoverKey, minHealthyKey)
	}
	if g.FailoverPercent > 0 && g.FailoverPercent < g.MinHealthyPercent {
		return unfit("'%s' must be greater than or equal to '%s'", failPercentKey, minPercentKey)
	}
	// Source: ALB user guide, cross-zone load balancing for target groups.
	if g.CrossZone == "false" && g.Stickiness.Enabled {
		return unfit("'%s' can't be used when '%s' is 'false'", stickyKey, crossZoneKey)
	}
	return nil
}

func groupAttributeViews(g state.TargetGroup) (out []types.TargetGroupAttribute) {
	for _, a := range groupAttributes {
		out = append(out, types.TargetGroupAttribute{Key: aws.String(a.key), Value: aws.String(a.of(g))})
	}
	return out
}
