package elb

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// defaultDelay is deregistration_delay.timeout_seconds of a new target group.
const defaultDelay = 300

// CreateTargetGroup makes a target group. One of the same name and settings is returned as it is.
func (s *Service) CreateTargetGroup(ctx context.Context, in *elb.CreateTargetGroupInput) (*elb.CreateTargetGroupOutput, error) {
	if err := onlyMembers("", in, "Name", "TargetType", "Protocol", "ProtocolVersion", "Port", "VpcId", "IpAddressType", "HealthCheckEnabled",
		"HealthCheckProtocol", "HealthCheckPort", "HealthCheckPath", "HealthCheckIntervalSeconds", "HealthCheckTimeoutSeconds",
		"HealthyThresholdCount", "UnhealthyThresholdCount", "Matcher", "Tags"); err != nil {
		return nil, err
	}
	if err := checkGroupKind(in); err != nil {
		return nil, err
	}
	g := state.TargetGroup{Scope: scope(ctx), Name: aws.ToString(in.Name), ID: newID(), VPC: aws.ToString(in.VpcId), Protocol: string(in.Protocol),
		ProtocolVersion: cmp.Or(strings.ToUpper(aws.ToString(in.ProtocolVersion)), "HTTP1"), Port: int(*in.Port), TargetType: "ip", DeregistrationDelay: defaultDelay}
	g.Health = defaultHealth(g.ProtocolVersion)
	err := givenHealth{in.HealthCheckEnabled, in.HealthCheckProtocol, in.HealthCheckPort, in.HealthCheckPath, in.HealthCheckIntervalSeconds,
		in.HealthCheckTimeoutSeconds, in.HealthyThresholdCount, in.UnhealthyThresholdCount, in.Matcher}.apply(&g.Health, g.ProtocolVersion)
	if err != nil {
		return nil, err
	}
	if g.Tags, err = tagMap(in.Tags); err != nil {
		return nil, err
	}
	var out types.TargetGroup
	err = s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		if _, err := state.VPCs.Get(tx, g.Scope.Key(g.VPC)); err != nil {
			return orNotFound(err, invalid("The VPC ID '%s' is not found", g.VPC))
		}
		count := 0
		for o, err := range state.TargetGroups.List(tx, g.Scope.Key()) {
			if err != nil {
				return err
			}
			if o.Val.Name == g.Name {
				if !sameGroup(o.Val, g) {
					return awsError("DuplicateTargetGroupName", "A target group with the same name '%s' exists, but with different settings", g.Name)
				}
				out, err = groupView(tx, o.Val)
				return err
			}
			count++
		}
		if count >= maxGroups {
			return awsError("TooManyTargetGroups", "The maximum number of target groups has been reached: %d", maxGroups)
		}
		g.CreatedAt = tx.Now()
		if err := state.TargetGroups.Put(tx, &store.Object[state.TargetGroup]{Key: g.Key(), Val: g}); err != nil {
			return err
		}
		out, err = groupView(tx, g)
		return err
	})
	return &elb.CreateTargetGroupOutput{TargetGroups: []types.TargetGroup{out}}, err
}

// DescribeTargetGroups shows target groups by ARN, by name, of a load balancer or all.
func (s *Service) DescribeTargetGroups(ctx context.Context, in *elb.DescribeTargetGroupsInput) (*elb.DescribeTargetGroupsOutput, error) {
	kinds := 0
	for _, given := range []bool{len(in.TargetGroupArns) > 0, len(in.Names) > 0, in.LoadBalancerArn != nil} {
		if given {
			kinds++
		}
	}
	if kinds > 1 {
		return nil, invalid("Target group ARNs, target group names and a load balancer ARN cannot be specified at the same time")
	}
	sc, out := scope(ctx), &elb.DescribeTargetGroupsOutput{}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		all, err := collect(state.TargetGroups.List(tx, sc.Key()))
		if err != nil {
			return err
		}
		if all, err = selectGroups(tx, sc, all, in); err != nil {
			return err
		}
		if all, out.NextMarker, err = paginate(all, keyOfObject[state.TargetGroup], in.Marker, in.PageSize); err != nil {
			return err
		}
		for _, o := range all {
			v, err := groupView(tx, o.Val)
			if err != nil {
				return err
			}
			out.TargetGroups = append(out.TargetGroups, v)
		}
		return nil
	})
	return out, err
}

// ModifyTargetGroup changes a group's health check.
func (s *Service) ModifyTargetGroup(ctx context.Context, in *elb.ModifyTargetGroupInput) (*elb.ModifyTargetGroupOutput, error) {
	var out types.TargetGroup
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := findGroup(tx, scope(ctx), in.TargetGroupArn)
		if err != nil {
			return err
		}
		err = givenHealth{in.HealthCheckEnabled, in.HealthCheckProtocol, in.HealthCheckPort, in.HealthCheckPath, in.HealthCheckIntervalSeconds,
			in.HealthCheckTimeoutSeconds, in.HealthyThresholdCount, in.UnhealthyThresholdCount, in.Matcher}.apply(&o.Val.Health, o.Val.ProtocolVersion)
		if err != nil {
			return err
		}
		if err := state.TargetGroups.Put(tx, &o); err != nil {
			return err
		}
		out, err = groupView(tx, o.Val)
		return err
	})
	return &elb.ModifyTargetGroupOutput{TargetGroups: []types.TargetGroup{out}}, err
}

// DeleteTargetGroup deletes a group that no listener or rule uses, with its targets. One that is
// gone is no error.
func (s *Service) DeleteTargetGroup(ctx context.Context, in *elb.DeleteTargetGroupInput) (*elb.DeleteTargetGroupOutput, error) {
	sc := scope(ctx)
	return &elb.DeleteTargetGroupOutput{}, s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := findGroup(tx, sc, in.TargetGroupArn)
		if errors.Is(err, error(errGroupNotFound)) {
			return nil
		}
		if err != nil {
			return err
		}
		used, err := state.TargetGroupInUse(tx, sc, o.Val.ARN())
		if err != nil {
			return err
		}
		if used {
			return awsError("ResourceInUse", "Target group '%s' is currently in use by a listener or a rule", o.Val.ARN())
		}
		for t, err := range state.Targets.List(tx, o.Key+"/") {
			if err == nil {
				err = state.Targets.Delete(tx, t.Key, t.Rev)
			}
			if err != nil {
				return err
			}
		}
		return state.TargetGroups.Delete(tx, o.Key, o.Rev)
	})
}

// Private

func findGroup(tx store.Reader, sc arn.Scope, given *string) (store.Object[state.TargetGroup], error) {
	if _, err := keyOf(sc, "targetgroup", aws.ToString(given)); err != nil {
		return store.Object[state.TargetGroup]{}, err
	}
	o, err := state.TargetGroupByARN(tx, sc, *given)
	return o, orNotFound(err, errGroupNotFound)
}

// checkGroupKind refuses groups of a kind that no balancer here could send to.
func checkGroupKind(in *elb.CreateTargetGroupInput) error {
	if err := checkName("Target group", aws.ToString(in.Name)); err != nil {
		return err
	}
	switch in.TargetType {
	case types.TargetTypeEnumIp:
	case "":
		return invalid("Lotse has target groups of type 'ip' only; the default type is 'instance'. Set TargetType to 'ip'.")
	default:
		return invalid("Lotse has target groups of type 'ip' only, not '%s'.", in.TargetType)
	}
	if in.Protocol == "" || in.Port == nil {
		return invalid("A target group of type 'ip' must have a protocol and a port")
	}
	if err := checkPort(*in.Port); err != nil {
		return err
	}
	if in.Protocol != types.ProtocolEnumHttp && in.Protocol != types.ProtocolEnumHttps {
		return awsError("UnsupportedProtocol", "Lotse has target groups of the protocols 'HTTP' and 'HTTPS', those of application load balancers, not '%s'.", in.Protocol)
	}
	switch v := strings.ToUpper(aws.ToString(in.ProtocolVersion)); v {
	case "", "HTTP1", "HTTP2", "GRPC":
	default:
		return invalid("Protocol version '%s' must be one of 'GRPC, HTTP1, HTTP2'", v)
	}
	if t := in.IpAddressType; t != "" && t != types.TargetGroupIpAddressTypeEnumIpv4 {
		return unfit("Lotse's target groups have the IP address type 'ipv4', not '%s'.", t)
	}
	if aws.ToString(in.VpcId) == "" {
		return invalid("A VPC ID must be specified for a target group of type 'ip'")
	}
	return nil
}

func sameGroup(old, new state.TargetGroup) bool {
	return old.VPC == new.VPC && old.Port == new.Port && old.Protocol == new.Protocol && old.ProtocolVersion == new.ProtocolVersion && old.Health == new.Health && hasTags(old.Tags, new.Tags)
}

func selectGroups(tx store.Reader, sc arn.Scope, all []store.Object[state.TargetGroup], in *elb.DescribeTargetGroupsInput) ([]store.Object[state.TargetGroup], error) {
	type group = store.Object[state.TargetGroup]
	switch {
	case len(in.TargetGroupArns) > 0:
		return pick(sc, "targetgroup", all, in.TargetGroupArns, errGroupNotFound)
	case len(in.Names) > 0:
		for _, n := range in.Names {
			if !slices.ContainsFunc(all, func(o group) bool { return o.Val.Name == n }) {
				return nil, errGroupNotFound
			}
		}
		return slices.DeleteFunc(all, func(o group) bool { return !slices.Contains(in.Names, o.Val.Name) }), nil
	case in.LoadBalancerArn != nil:
		b, err := findBalancer(tx, sc, in.LoadBalancerArn)
		if err != nil {
			return nil, err
		}
		var out []group
		for _, o := range all {
			users, err := state.TargetGroupBalancers(tx, sc, o.Val.ARN())
			if err != nil {
				return nil, err
			}
			if slices.Contains(users, b.Val.ARN()) {
				out = append(out, o)
			}
		}
		return out, nil
	}
	return all, nil
}

func groupView(tx store.Reader, g state.TargetGroup) (types.TargetGroup, error) {
	users, err := state.TargetGroupBalancers(tx, g.Scope, g.ARN())
	if users == nil {
		users = []string{}
	}
	n := func(i int) *int32 { return aws.Int32(int32(i)) }
	h := g.Health
	matcher := &types.Matcher{HttpCode: aws.String(h.Matcher)}
	if g.ProtocolVersion == "GRPC" {
		matcher = &types.Matcher{GrpcCode: aws.String(h.Matcher)}
	}
	return types.TargetGroup{
		TargetGroupArn: aws.String(g.ARN()), TargetGroupName: aws.String(g.Name), TargetType: types.TargetTypeEnum(g.TargetType), VpcId: aws.String(g.VPC),
		Protocol: types.ProtocolEnum(g.Protocol), ProtocolVersion: aws.String(g.ProtocolVersion), Port: n(g.Port), IpAddressType: types.TargetGroupIpAddressTypeEnumIpv4,
		LoadBalancerArns: users, HealthCheckEnabled: aws.Bool(true), HealthCheckProtocol: types.ProtocolEnum(h.Protocol), HealthCheckPort: aws.String(h.Port),
		HealthCheckPath: aws.String(h.Path), HealthCheckIntervalSeconds: n(h.Interval), HealthCheckTimeoutSeconds: n(h.Timeout),
		HealthyThresholdCount: n(h.Healthy), UnhealthyThresholdCount: n(h.Unhealthy), Matcher: matcher,
	}, err
}
