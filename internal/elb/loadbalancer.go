package elb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// CreateLoadBalancer makes an application load balancer with an interface in each of its subnets.
// One of the same name and settings is returned as it is.
func (s *Service) CreateLoadBalancer(ctx context.Context, in *elb.CreateLoadBalancerInput) (*elb.CreateLoadBalancerOutput, error) {
	if err := onlyMembers("", in, "Name", "Scheme", "Type", "IpAddressType", "Subnets", "SubnetMappings", "SecurityGroups", "Tags"); err != nil {
		return nil, err
	}
	b := state.LoadBalancer{Scope: scope(ctx), Name: aws.ToString(in.Name), ID: newID(), Scheme: string(in.Scheme), IdleTimeout: defaultIdleTimeout}
	if b.Scheme == "" {
		b.Scheme = state.InternetFacing
	}
	if err := checkKind(b, in); err != nil {
		return nil, err
	}
	subnets, err := givenSubnets(in.Subnets, in.SubnetMappings)
	if err != nil {
		return nil, err
	}
	if b.Tags, err = tagMap(in.Tags); err != nil {
		return nil, err
	}
	var out types.LoadBalancer
	err = s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		if b.VPC, err = checkSubnets(tx, b.Scope, subnets); err != nil {
			return err
		}
		if b.Groups, err = checkGroups(tx, b.Scope, b.VPC, in.SecurityGroups); err != nil {
			return err
		}
		b.Subnets = subnets
		count := 0
		for o, err := range state.LoadBalancers.List(tx, b.Scope.Key()) {
			if err != nil {
				return err
			}
			if o.Val.Name == b.Name {
				if !sameBalancer(o.Val, b) {
					return awsError("DuplicateLoadBalancerName", "A load balancer with the same name '%s' exists, but with different settings", b.Name)
				}
				out, err = balancerView(tx, o.Val)
				return err
			}
			count++
		}
		if count >= maxBalancers {
			return awsError("TooManyLoadBalancers", "The maximum number of load balancers has been reached: %d", maxBalancers)
		}
		b.CreatedAt = tx.Now()
		if b.DNSName, err = s.dnsName(tx, b); err != nil {
			return err
		}
		if b.ENIs, err = s.attach(tx, b, b.Subnets); err != nil {
			return err
		}
		if err := state.LoadBalancers.Put(tx, &store.Object[state.LoadBalancer]{Key: b.Key(), Val: b}); err != nil {
			return err
		}
		out, err = balancerView(tx, b)
		return err
	})
	return &elb.CreateLoadBalancerOutput{LoadBalancers: []types.LoadBalancer{out}}, err
}

// DescribeLoadBalancers shows load balancers by ARN, by name or all.
func (s *Service) DescribeLoadBalancers(ctx context.Context, in *elb.DescribeLoadBalancersInput) (*elb.DescribeLoadBalancersOutput, error) {
	if len(in.LoadBalancerArns) > 0 && len(in.Names) > 0 {
		return nil, invalid("Load balancer names and load balancer ARNs cannot be specified at the same time")
	}
	sc, out := scope(ctx), &elb.DescribeLoadBalancersOutput{}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		all, err := collect(state.LoadBalancers.List(tx, sc.Key()))
		if err != nil {
			return err
		}
		if len(in.LoadBalancerArns) > 0 {
			if all, err = pick(sc, "loadbalancer", all, in.LoadBalancerArns, errBalancerNotFound); err != nil {
				return err
			}
		}
		if len(in.Names) > 0 {
			all = slices.DeleteFunc(all, func(o store.Object[state.LoadBalancer]) bool { return !slices.Contains(in.Names, o.Val.Name) })
			missing := slices.DeleteFunc(slices.Clone(in.Names), func(n string) bool {
				return slices.ContainsFunc(all, func(o store.Object[state.LoadBalancer]) bool { return o.Val.Name == n })
			})
			if len(missing) > 0 {
				return awsError("LoadBalancerNotFound", "Load balancers '[%s]' not found", strings.Join(missing, ", "))
			}
		}
		if all, out.NextMarker, err = paginate(all, keyOfObject[state.LoadBalancer], in.Marker, in.PageSize); err != nil {
			return err
		}
		for _, o := range all {
			v, err := balancerView(tx, o.Val)
			if err != nil {
				return err
			}
			out.LoadBalancers = append(out.LoadBalancers, v)
		}
		return nil
	})
	return out, err
}

// DeleteLoadBalancer deletes a load balancer with its listeners, rules and interfaces; target
// groups stay. One that is gone is no error.
func (s *Service) DeleteLoadBalancer(ctx context.Context, in *elb.DeleteLoadBalancerInput) (*elb.DeleteLoadBalancerOutput, error) {
	sc := scope(ctx)
	return &elb.DeleteLoadBalancerOutput{}, s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := findBalancer(tx, sc, in.LoadBalancerArn)
		if errors.Is(err, error(errBalancerNotFound)) {
			return nil
		}
		if err != nil {
			return err
		}
		if o.Val.DeletionProtection {
			return awsError("OperationNotPermitted", "Load balancer '%s' cannot be deleted because deletion protection is enabled", o.Val.ARN())
		}
		for l, err := range state.Listeners.List(tx, o.Key+"/") {
			if err != nil {
				return err
			}
			if err := deleteListener(tx, l); err != nil {
				return err
			}
		}
		for _, eni := range o.Val.ENIs {
			if err := state.ReleaseInterface(tx, sc, eni); err != nil {
				return err
			}
		}
		if err := state.LoadBalancerStatuses.Delete(tx, o.Key, 0); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return state.LoadBalancers.Delete(tx, o.Key, o.Rev)
	})
}

// DescribeCapacityReservation tells that nothing is reserved: Terraform asks for it.
func (s *Service) DescribeCapacityReservation(ctx context.Context, in *elb.DescribeCapacityReservationInput) (*elb.DescribeCapacityReservationOutput, error) {
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		_, err := findBalancer(tx, scope(ctx), in.LoadBalancerArn)
		return err
	})
	return &elb.DescribeCapacityReservationOutput{CapacityReservationState: []types.ZonalCapacityReservationState{}}, err
}

// Private

func findBalancer(tx store.Reader, sc arn.Scope, given *string) (store.Object[state.LoadBalancer], error) {
	key, err := keyOf(sc, "loadbalancer", aws.ToString(given))
	if err != nil {
		return store.Object[state.LoadBalancer]{}, err
	}
	o, err := state.LoadBalancers.Get(tx, key)
	return o, orNotFound(err, errBalancerNotFound)
}

func checkKind(b state.LoadBalancer, in *elb.CreateLoadBalancerInput) error {
	if err := checkName("Load balancer", b.Name); err != nil {
		return err
	}
	if strings.HasPrefix(b.Name, "internal-") {
		return invalid("Load balancer name '%s' cannot begin with 'internal-'", b.Name)
	}
	if b.Scheme != state.InternetFacing && b.Scheme != state.Internal {
		return awsError("InvalidScheme", "Scheme '%s' must be one of 'internet-facing, internal'", b.Scheme)
	}
	if in.Type != "" && in.Type != types.LoadBalancerTypeEnumApplication {
		return invalid("Lotse has application load balancers, none of type '%s'.", in.Type)
	}
	return checkIPv4(in.IpAddressType)
}

func checkIPv4(t types.IpAddressType) error {
	if t != "" && t != types.IpAddressTypeIpv4 {
		return invalid("Lotse's load balancers have the IP address type 'ipv4', not '%s'.", t)
	}
	return nil
}

// sameBalancer reports whether a second CreateLoadBalancer asks for what is there.
func sameBalancer(old, new state.LoadBalancer) bool {
	sorted := func(s []string) []string { return slices.Sorted(slices.Values(s)) }
	return old.Scheme == new.Scheme && slices.Equal(sorted(old.Subnets), sorted(new.Subnets)) &&
		slices.Equal(sorted(old.Groups), sorted(new.Groups)) && hasTags(old.Tags, new.Tags)
}

func balancerView(tx store.Reader, b state.LoadBalancer) (types.LoadBalancer, error) {
	v := types.LoadBalancer{
		LoadBalancerArn: aws.String(b.ARN()), LoadBalancerName: aws.String(b.Name), DNSName: aws.String(b.DNSName), CreatedTime: aws.Time(b.CreatedAt),
		Scheme: types.LoadBalancerSchemeEnum(b.Scheme), Type: types.LoadBalancerTypeEnumApplication, IpAddressType: types.IpAddressTypeIpv4,
		VpcId: aws.String(b.VPC), SecurityGroups: b.Groups, State: &types.LoadBalancerState{Code: types.LoadBalancerStateEnumProvisioning},
	}
	if z := hostedZones[b.Scope.Region]; z != "" {
		v.CanonicalHostedZoneId = aws.String(z)
	}
	st, err := state.LoadBalancerStatuses.Get(tx, b.Key())
	switch {
	case err == nil:
		v.State.Code = types.LoadBalancerStateEnum(st.Val.State)
		if st.Val.Reason != "" {
			v.State.Reason = aws.String(st.Val.Reason)
		}
	case !errors.Is(err, store.ErrNotFound):
		return v, err
	}
	v.AvailabilityZones, err = zonesView(tx, b)
	return v, err
}

func zonesView(tx store.Reader, b state.LoadBalancer) ([]types.AvailabilityZone, error) {
	var out []types.AvailabilityZone
	for _, id := range b.Subnets {
		sn, err := state.Subnets.Get(tx, b.Scope.Key(id))
		if err != nil {
			return nil, fmt.Errorf("subnet of load balancer %s: %w", b.Name, err)
		}
		out = append(out, types.AvailabilityZone{SubnetId: aws.String(id), ZoneName: aws.String(sn.Val.Zone), LoadBalancerAddresses: []types.LoadBalancerAddress{}})
	}
	return out, nil
}

// hasTags reports whether all of want are among have.
func hasTags(have, want map[string]string) bool {
	for k := range maps.Keys(want) {
		if v, ok := have[k]; !ok || v != want[k] {
			return false
		}
	}
	return true
}
