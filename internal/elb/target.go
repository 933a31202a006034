package elb

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// RegisterTargets adds addresses of the VPC to a group, all or none.
func (s *Service) RegisterTargets(ctx context.Context, in *elb.RegisterTargetsInput) (*elb.RegisterTargetsOutput, error) {
	if len(in.Targets) == 0 {
		return nil, invalid("Targets must be specified")
	}
	return &elb.RegisterTargetsOutput{}, s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		g, err := findGroup(tx, scope(ctx), in.TargetGroupArn)
		if err != nil {
			return err
		}
		for _, t := range in.Targets {
			zone, err := checkTarget(tx, g.Val, t)
			if err != nil {
				return err
			}
			if _, err := state.RegisterTarget(tx, g.Val.ARN(), *t.Id, portOf(g.Val, t), zone); err != nil {
				return err
			}
		}
		all, err := collect(state.Targets.List(tx, g.Key+"/"))
		if err == nil && len(all) > maxTargets {
			return awsError("TooManyTargets", "The maximum number of targets in target group '%s' has been reached: %d", g.Val.ARN(), maxTargets)
		}
		return err
	})
}

// DeregisterTargets makes targets drain. Without a port the group's is meant; one that is not registered is no error.
// Source: ELBv2 API, DeregisterTargets; chaostoolkit-aws, issue 60.
func (s *Service) DeregisterTargets(ctx context.Context, in *elb.DeregisterTargetsInput) (*elb.DeregisterTargetsOutput, error) {
	if len(in.Targets) == 0 {
		return nil, invalid("Targets must be specified")
	}
	return &elb.DeregisterTargetsOutput{}, s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		g, err := findGroup(tx, scope(ctx), in.TargetGroupArn)
		if err != nil {
			return err
		}
		all, err := collect(state.Targets.List(tx, g.Key+"/"))
		if err != nil {
			return err
		}
		for _, t := range in.Targets {
			if _, err := checkDescription(g.Val, t); err != nil {
				return err
			}
			for _, o := range all {
				if !names(g.Val, t, o.Val) {
					continue
				}
				if err := state.DeregisterTarget(tx, o.Key); err != nil && !errors.Is(err, store.ErrNotFound) {
					return err
				}
			}
		}
		return nil
	})
}

// DescribeTargetHealth shows the health of all targets of a group, or of those asked for.
func (s *Service) DescribeTargetHealth(ctx context.Context, in *elb.DescribeTargetHealthInput) (*elb.DescribeTargetHealthOutput, error) {
	for _, i := range in.Include {
		if !slices.Contains(i.Values(), i) {
			return nil, invalid("'%s' is not a valid value of 'Include'", i)
		}
	}
	out := &elb.DescribeTargetHealthOutput{TargetHealthDescriptions: []types.TargetHealthDescription{}}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		g, err := findGroup(tx, scope(ctx), in.TargetGroupArn)
		if err != nil {
			return err
		}
		used, err := state.TargetGroupInUse(tx, g.Val.Scope, g.Val.ARN())
		if err != nil {
			return err
		}
		all, err := collect(state.Targets.List(tx, g.Key+"/"))
		if err != nil {
			return err
		}
		for _, t := range in.Targets {
			if _, err := checkDescription(g.Val, t); err != nil {
				return err
			}
		}
		asked := make([]bool, len(in.Targets)) // which of them are there
		for _, o := range all {
			wanted := len(in.Targets) == 0
			for i, t := range in.Targets {
				if names(g.Val, t, o.Val) {
					wanted, asked[i] = true, true
				}
			}
			if !wanted {
				continue
			}
			h, err := healthOf(tx, o, used)
			if err != nil {
				return err
			}
			v := healthView(g.Val, o.Val, h)
			if used {
				v.AdministrativeOverride = noOverride
			}
			if len(in.Include) > 0 {
				v.AnomalyDetection = anomalyView(h)
			}
			out.TargetHealthDescriptions = append(out.TargetHealthDescriptions, v)
		}
		for i, t := range in.Targets {
			if !asked[i] {
				out.TargetHealthDescriptions = append(out.TargetHealthDescriptions, healthView(g.Val,
					state.Target{Address: aws.ToString(t.Id), Port: portOf(g.Val, t), Zone: aws.ToString(t.AvailabilityZone)}, notRegistered))
			}
		}
		return nil
	})
	return out, err
}

// Private

// What is known of a target before the controller has reported on it, in AWS's words.
// Source: ELBv2 API, TargetHealth; descriptions as the CLI's examples have them.
var (
	registering   = state.TargetHealth{State: "initial", Reason: "Elb.RegistrationInProgress", Description: "Target registration is in progress"}
	draining      = state.TargetHealth{State: "draining", Reason: "Target.DeregistrationInProgress", Description: "Target deregistration is in progress"}
	notInUse      = state.TargetHealth{State: "unused", Reason: "Target.NotInUse", Description: "Target group is not configured to receive traffic from the load balancer"}
	notRegistered = state.TargetHealth{State: "unused", Reason: "Target.NotRegistered", Description: "Target is not registered to the target group"}
)

// noOverride: there are no zonal shifts, and each target of a load balancer says so. Text: as users have published it.
var noOverride = &types.AdministrativeOverride{State: types.TargetAdministrativeOverrideStateEnumNoOverride,
	Reason: types.TargetAdministrativeOverrideReasonEnumNoOverrideEngaged, Description: aws.String("No override is currently active on target")}

// healthOf is the reported health, unless the records know better by now.
func healthOf(tx store.Reader, t store.Object[state.Target], used bool) (state.TargetHealth, error) {
	if !t.Val.DeregisteredAt.IsZero() {
		return draining, nil
	}
	if !used {
		return notInUse, nil
	}
	h, err := state.TargetHealths.Get(tx, t.Key)
	if errors.Is(err, store.ErrNotFound) || err == nil && (h.Val == notInUse || h.Val.State == draining.State) {
		return registering, nil
	}
	return h.Val, err
}

// checkDescription judges a description by itself: there may be such a target.
func checkDescription(g state.TargetGroup, t types.TargetDescription) (netip.Addr, error) {
	if err := onlyMembers("Targets", t, "Id", "Port", "AvailabilityZone"); err != nil {
		return netip.Addr{}, err
	}
	a, err := netip.ParseAddr(aws.ToString(t.Id))
	if err != nil || !a.Is4() {
		return a, invalid("The IP address '%s' is not a valid IPv4 address", aws.ToString(t.Id))
	}
	if z := aws.ToString(t.AvailabilityZone); z != "" && !isZone(g.Scope.Region, z) {
		return a, invalid("The Availability Zone '%s' is not valid", z)
	}
	if t.Port != nil {
		if err := checkPort(*t.Port); err != nil {
			return a, err
		}
	}
	return a, nil
}

// checkTarget: an IPv4 address in a subnet of the group's VPC. It returns the address's zone. That another one is a validation
// error, and not InvalidTarget, which Terraform tries again for ten minutes, is published: aws-load-balancer-controller, issue 3714.
func checkTarget(tx store.Reader, g state.TargetGroup, t types.TargetDescription) (zone string, err error) {
	a, err := checkDescription(g, t)
	if err != nil {
		return "", err
	}
	z := aws.ToString(t.AvailabilityZone)
	for sn, err := range state.Subnets.List(tx, g.Scope.Key()) {
		if err != nil {
			return "", err
		}
		p, err := netip.ParsePrefix(sn.Val.CIDR)
		if err != nil || sn.Val.VPC != g.VPC || !p.Contains(a) {
			continue
		}
		if z != "" && z != sn.Val.Zone && g.CrossZone == "false" {
			return "", invalid("The Availability Zone '%s' of target '%s' must be '%s'", z, a, sn.Val.Zone)
		}
		return sn.Val.Zone, nil
	}
	if z == "" {
		return "", invalid("The Availability Zone is required for IP address '%s' because it is not in the VPC", a)
	}
	return "", invalid("The IP address '%s' is in no subnet of VPC '%s', and Lotse's load balancers reach only addresses of their VPC.", a, g.VPC)
}

// isZone: what a target's zone may be. With cross-zone load balancing it is ignored. Source: ELBv2 API, TargetDescription.
func isZone(region, z string) bool {
	return z == state.AllZones || slices.ContainsFunc(state.Zones(region), func(o state.Zone) bool { return o.Name == z })
}

func portOf(g state.TargetGroup, t types.TargetDescription) int {
	if t.Port != nil {
		return int(*t.Port)
	}
	return g.Port
}

// names reports whether a description means the target.
func names(g state.TargetGroup, t types.TargetDescription, o state.Target) bool {
	z := aws.ToString(t.AvailabilityZone)
	return aws.ToString(t.Id) == o.Address && portOf(g, t) == o.Port && (z == "" || z == o.Zone || g.CrossZone != "false")
}

func healthView(g state.TargetGroup, t state.Target, h state.TargetHealth) types.TargetHealthDescription {
	v := types.TargetHealthDescription{
		Target:          &types.TargetDescription{Id: aws.String(t.Address), Port: aws.Int32(int32(t.Port))},
		HealthCheckPort: aws.String(g.Health.Port), TargetHealth: &types.TargetHealth{State: types.TargetHealthStateEnum(h.State)},
	}
	if g.Health.Port == "traffic-port" {
		v.HealthCheckPort = aws.String(strconv.Itoa(t.Port))
	}
	if t.Zone != "" {
		v.Target.AvailabilityZone = aws.String(t.Zone)
	}
	if h.Reason != "" {
		v.TargetHealth.Reason = types.TargetHealthReasonEnum(h.Reason)
	}
	if h.Description != "" {
		v.TargetHealth.Description = aws.String(h.Description)
	}
	return v
}

func anomalyView(h state.TargetHealth) *types.AnomalyDetection {
	v := &types.AnomalyDetection{Result: types.AnomalyResultEnumNormal, MitigationInEffect: types.MitigationInEffectEnumNo}
	if h.Anomalous {
		v.Result = types.AnomalyResultEnumAnomalous
	}
	if h.Mitigated {
		v.MitigationInEffect = types.MitigationInEffectEnumYes
	}
	return v
}
