package elb

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// SetSecurityGroups replaces the groups of a load balancer and its interfaces.
func (s *Service) SetSecurityGroups(ctx context.Context, in *elb.SetSecurityGroupsInput) (*elb.SetSecurityGroupsOutput, error) {
	if err := onlyMembers("", in, "LoadBalancerArn", "SecurityGroups"); err != nil {
		return nil, err
	}
	if len(in.SecurityGroups) == 0 {
		return nil, invalid("At least one security group must be specified")
	}
	sc, out := scope(ctx), &elb.SetSecurityGroupsOutput{}
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := findBalancer(tx, sc, in.LoadBalancerArn)
		if err != nil {
			return err
		}
		if o.Val.Groups, err = checkGroups(tx, sc, o.Val.VPC, in.SecurityGroups); err != nil {
			return err
		}
		for _, id := range o.Val.ENIs {
			eni, err := state.NetworkInterfaces.Get(tx, sc.Key(id))
			if err != nil {
				return err
			}
			eni.Val.Groups = o.Val.Groups
			if err := state.NetworkInterfaces.Put(tx, &eni); err != nil {
				return err
			}
		}
		out.SecurityGroupIds = o.Val.Groups
		return state.LoadBalancers.Put(tx, &o)
	})
	return out, err
}

// SetSubnets replaces a load balancer's subnets. It keeps its interfaces in those that stay.
func (s *Service) SetSubnets(ctx context.Context, in *elb.SetSubnetsInput) (*elb.SetSubnetsOutput, error) {
	if err := onlyMembers("", in, "LoadBalancerArn", "Subnets", "SubnetMappings", "IpAddressType"); err != nil {
		return nil, err
	}
	if err := checkIPv4(in.IpAddressType); err != nil {
		return nil, err
	}
	subnets, err := givenSubnets(in.Subnets, in.SubnetMappings)
	if err != nil {
		return nil, err
	}
	sc, out := scope(ctx), &elb.SetSubnetsOutput{IpAddressType: types.IpAddressTypeIpv4}
	err = s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := findBalancer(tx, sc, in.LoadBalancerArn)
		if err != nil {
			return err
		}
		vpc, err := checkSubnets(tx, sc, subnets)
		if err != nil {
			return err
		}
		if vpc != o.Val.VPC {
			return unfit("The subnets must be in the load balancer's VPC %s, not in %s", o.Val.VPC, vpc)
		}
		if err := s.move(tx, &o.Val, subnets); err != nil {
			return err
		}
		if err := state.LoadBalancers.Put(tx, &o); err != nil {
			return err
		}
		out.AvailabilityZones, err = zonesView(tx, o.Val)
		return err
	})
	return out, err
}

// SetIpAddressType accepts the one type that there is.
func (s *Service) SetIpAddressType(ctx context.Context, in *elb.SetIpAddressTypeInput) (*elb.SetIpAddressTypeOutput, error) {
	if err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		_, err := findBalancer(tx, scope(ctx), in.LoadBalancerArn)
		return err
	}); err != nil {
		return nil, err
	}
	return &elb.SetIpAddressTypeOutput{IpAddressType: types.IpAddressTypeIpv4}, checkIPv4(in.IpAddressType)
}

// Private

// givenSubnets takes the two ways to name subnets.
func givenSubnets(ids []string, mappings []types.SubnetMapping) ([]string, error) {
	if len(ids) > 0 && len(mappings) > 0 {
		return nil, invalid("Subnets and subnet mappings cannot be specified at the same time")
	}
	ids = slices.Clone(ids)
	for _, m := range mappings {
		if err := onlyMembers("SubnetMappings", m, "SubnetId"); err != nil {
			return nil, err
		}
		ids = append(ids, aws.ToString(m.SubnetId))
	}
	if len(ids) < 2 {
		return nil, errTwoZones
	}
	return ids, nil
}

// checkSubnets: at least two, of one VPC, each in a zone of its own.
// Source: ALB user guide, subnets for your load balancer.
func checkSubnets(tx store.Reader, sc arn.Scope, ids []string) (vpc string, err error) {
	zones := map[string]bool{}
	for _, id := range ids {
		sn, err := state.Subnets.Get(tx, sc.Key(id))
		if err != nil {
			return "", orNotFound(err, awsError("SubnetNotFound", "The subnet ID '%s' does not exist", id))
		}
		if vpc != "" && sn.Val.VPC != vpc {
			return "", unfit("All subnets must belong to the same VPC: '%s'", vpc)
		}
		if zones[sn.Val.Zone] {
			return "", unfit("A load balancer cannot be attached to multiple subnets in the same Availability Zone")
		}
		zones[sn.Val.Zone], vpc = true, sn.Val.VPC
	}
	return vpc, nil
}

// checkGroups are the security groups given, or the VPC's default group.
func checkGroups(tx store.Reader, sc arn.Scope, vpc string, ids []string) ([]string, error) {
	if len(ids) == 0 {
		id, err := state.DefaultSecurityGroup(tx, sc, vpc)
		return []string{id}, err
	}
	if len(ids) > 5 {
		return nil, unfit("A load balancer can have at most 5 security groups, not %d", len(ids))
	}
	var out []string
	for _, id := range ids {
		g, err := state.SecurityGroups.Get(tx, sc.Key(id))
		if err != nil {
			return nil, orNotFound(err, awsError("InvalidSecurityGroup", "The security group '%s' does not exist", id))
		}
		if g.Val.VPC != vpc {
			return nil, unfit("The security group '%s' does not belong to VPC '%s'", id, vpc)
		}
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out, nil
}

// attach makes an interface in each of the subnets, with a public address if the balancer faces the internet.
func (s *Service) attach(tx *store.WriteTx, b state.LoadBalancer, subnets []string) (enis []string, err error) {
	for _, id := range subnets {
		eni, err := state.NewInterface(tx, state.NewInterfaceInput{Scope: b.Scope, Subnet: id, Groups: b.Groups, Description: b.InterfaceDescription()})
		if full := (*state.NoFreeAddressError)(nil); errors.As(err, &full) {
			return nil, awsError("InvalidSubnet", "Not enough IP space available in %s. The load balancer needs a free IP address in each subnet.", id)
		}
		if err != nil {
			return nil, fmt.Errorf("interface of load balancer %s: %w", b.Name, err)
		}
		enis = append(enis, eni.ID)
		if b.Scheme != state.InternetFacing || !s.o.PublicPool.IsValid() {
			continue
		}
		_, err = state.ClaimPublic(tx, b.Scope, eni.ID, s.o.PublicPool)
		if full := (*state.NoPublicAddressError)(nil); errors.As(err, &full) {
			return nil, unfit("%s", full.Error())
		}
		if err != nil {
			return nil, fmt.Errorf("public address of load balancer %s: %w", b.Name, err)
		}
	}
	return enis, nil
}

// move releases the interfaces in subnets that are left and makes those in new ones.
func (s *Service) move(tx *store.WriteTx, b *state.LoadBalancer, subnets []string) error {
	old := map[string]string{} // interface by subnet
	for i, id := range b.Subnets {
		old[id] = b.ENIs[i]
	}
	var enis []string
	for _, id := range subnets {
		eni, kept := old[id]
		if !kept {
			made, err := s.attach(tx, *b, []string{id})
			if err != nil {
				return err
			}
			eni = made[0]
		}
		delete(old, id)
		enis = append(enis, eni)
	}
	for _, eni := range old {
		if err := state.ReleaseInterface(tx, b.Scope, eni); err != nil {
			return err
		}
	}
	b.Subnets, b.ENIs = subnets, enis
	return nil
}
