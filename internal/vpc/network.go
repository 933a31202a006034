package vpc

import (
	"context"
	"iter"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// vpcFields are the filters of DescribeVpcs. Source: API reference; isDefault is an older form.
var vpcFields = fields[state.VPC]{
	"cidr":                                  func(v state.VPC) []string { return []string{v.CIDR} },
	"cidr-block-association.cidr-block":     func(v state.VPC) []string { return []string{v.CIDR} },
	"cidr-block-association.association-id": func(v state.VPC) []string { return []string{v.Assoc} },
	"cidr-block-association.state":          func(state.VPC) []string { return []string{"associated"} },
	"dhcp-options-id":                       func(v state.VPC) []string { return []string{v.DHCP} },
	"is-default":                            func(v state.VPC) []string { return boolean(v.Default) },
	"isDefault":                             func(v state.VPC) []string { return boolean(v.Default) },
	"owner-id":                              func(v state.VPC) []string { return []string{v.Scope.Account} },
	"state":                                 func(state.VPC) []string { return []string{"available"} },
	"vpc-id":                                func(v state.VPC) []string { return []string{v.ID} },
	"ipv6-cidr-block-association.ipv6-cidr-block": nothing[state.VPC],
	"ipv6-cidr-block-association.ipv6-pool":       nothing[state.VPC],
	"ipv6-cidr-block-association.association-id":  nothing[state.VPC],
	"ipv6-cidr-block-association.state":           nothing[state.VPC],
}

// DescribeVpcs shows VPCs.
func (s *Service) DescribeVpcs(ctx context.Context, in *ec2.DescribeVpcsInput) (*ec2.DescribeVpcsOutput, error) {
	if err := onlyMembers(in, "DryRun", "Filters", "MaxResults", "NextToken", "VpcIds"); err != nil {
		return nil, err
	}
	out := &ec2.DescribeVpcsOutput{Vpcs: []types.Vpc{}}
	err := s.view(ctx, in.DryRun, func(tx store.Reader, sc arn.Scope) error {
		all, err := values(state.VPCs.List(tx, sc.Key()))
		if err != nil {
			return err
		}
		page, next, err := query[state.VPC]{
			kind: kindVPC, ids: in.VpcIds, filters: in.Filters, max: in.MaxResults, token: in.NextToken, fields: vpcFields,
			id: func(v state.VPC) string { return v.ID }, tags: func(v state.VPC) map[string]string { return v.Tags },
		}.run(all)
		for _, v := range page {
			out.Vpcs = append(out.Vpcs, vpcView(v))
		}
		out.NextToken = next
		return err
	})
	return out, err
}

// DescribeVpcAttribute shows one attribute of a VPC, as a default VPC has them.
func (s *Service) DescribeVpcAttribute(ctx context.Context, in *ec2.DescribeVpcAttributeInput) (*ec2.DescribeVpcAttributeOutput, error) {
	if err := onlyMembers(in, "Attribute", "DryRun", "VpcId"); err != nil {
		return nil, err
	}
	out := &ec2.DescribeVpcAttributeOutput{VpcId: in.VpcId}
	err := s.view(ctx, in.DryRun, func(tx store.Reader, sc arn.Scope) error {
		v, err := get(tx, state.VPCs, sc, kindVPC, aws.ToString(in.VpcId))
		if err != nil {
			return err
		}
		switch in.Attribute {
		case types.VpcAttributeNameEnableDnsSupport:
			out.EnableDnsSupport = &types.AttributeBooleanValue{Value: aws.Bool(true)}
		case types.VpcAttributeNameEnableDnsHostnames:
			out.EnableDnsHostnames = &types.AttributeBooleanValue{Value: aws.Bool(v.Val.Default)}
		case types.VpcAttributeNameEnableNetworkAddressUsageMetrics:
			out.EnableNetworkAddressUsageMetrics = &types.AttributeBooleanValue{Value: aws.Bool(false)}
		case "":
			return missing("Attribute")
		default:
			return invalid("Value (%s) for parameter attribute is invalid.", in.Attribute)
		}
		return nil
	})
	return out, err
}

// subnet is a record with what is counted of it.
type subnet struct {
	state.Subnet
	free int // addresses
}

// subnetFields are the filters of DescribeSubnets. Source: API reference.
var subnetFields = fields[subnet]{
	"availability-zone":               func(s subnet) []string { return []string{s.Zone} },
	"availabilityZone":                func(s subnet) []string { return []string{s.Zone} },
	"availability-zone-id":            func(s subnet) []string { return []string{s.ZoneID} },
	"availabilityZoneId":              func(s subnet) []string { return []string{s.ZoneID} },
	"available-ip-address-count":      func(s subnet) []string { return []string{strconv.Itoa(s.free)} },
	"cidr":                            func(s subnet) []string { return []string{s.CIDR} },
	"cidr-block":                      func(s subnet) []string { return []string{s.CIDR} },
	"cidrBlock":                       func(s subnet) []string { return []string{s.CIDR} },
	"default-for-az":                  func(s subnet) []string { return boolean(s.Default) },
	"defaultForAz":                    func(s subnet) []string { return boolean(s.Default) },
	"enable-dns64":                    func(subnet) []string { return boolean(false) },
	"ipv6-native":                     func(subnet) []string { return boolean(false) },
	"map-public-ip-on-launch":         func(s subnet) []string { return boolean(s.MapPublic) },
	"map-customer-owned-ip-on-launch": func(subnet) []string { return boolean(false) },
	"owner-id":                        func(s subnet) []string { return []string{s.Scope.Account} },
	"private-dns-name-options-on-launch.hostname-type":                        func(subnet) []string { return []string{"ip-name"} },
	"private-dns-name-options-on-launch.enable-resource-name-dns-a-record":    func(subnet) []string { return boolean(false) },
	"private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record": func(subnet) []string { return boolean(false) },
	"state":                      func(subnet) []string { return []string{"available"} },
	"subnet-arn":                 func(s subnet) []string { return []string{s.ARN()} },
	"subnet-id":                  func(s subnet) []string { return []string{s.ID} },
	"vpc-id":                     func(s subnet) []string { return []string{s.VPC} },
	"customer-owned-ipv4-pool":   nothing[subnet],
	"enable-lni-at-device-index": nothing[subnet],
	"ipv6-cidr-block-association.ipv6-cidr-block": nothing[subnet],
	"ipv6-cidr-block-association.association-id":  nothing[subnet],
	"ipv6-cidr-block-association.state":           nothing[subnet],
	"outpost-arn":                                 nothing[subnet],
}

// DescribeSubnets shows subnets.
func (s *Service) DescribeSubnets(ctx context.Context, in *ec2.DescribeSubnetsInput) (*ec2.DescribeSubnetsOutput, error) {
	if err := onlyMembers(in, "DryRun", "Filters", "MaxResults", "NextToken", "SubnetIds"); err != nil {
		return nil, err
	}
	out := &ec2.DescribeSubnetsOutput{Subnets: []types.Subnet{}}
	err := s.view(ctx, in.DryRun, func(tx store.Reader, sc arn.Scope) error {
		all, err := subnets(tx, sc)
		if err != nil {
			return err
		}
		page, next, err := query[subnet]{
			kind: kindSubnet, ids: in.SubnetIds, filters: in.Filters, max: in.MaxResults, token: in.NextToken, fields: subnetFields,
			id: func(s subnet) string { return s.ID }, tags: func(s subnet) map[string]string { return s.Tags },
		}.run(all)
		for _, sn := range page {
			out.Subnets = append(out.Subnets, subnetView(sn))
		}
		out.NextToken = next
		return err
	})
	return out, err
}

// Private

// values collects a table's records.
func values[T any](list iter.Seq2[store.Object[T], error]) ([]T, error) {
	var out []T
	for o, err := range list {
		if err != nil {
			return nil, err
		}
		out = append(out, o.Val)
	}
	return out, nil
}

// subnets reads the scope's subnets and counts their free addresses.
func subnets(tx store.Reader, sc arn.Scope) ([]subnet, error) {
	used := map[string]int{}
	for e, err := range state.NetworkInterfaces.List(tx, sc.Key()) {
		if err != nil {
			return nil, err
		}
		used[e.Val.Subnet]++
	}
	records, err := values(state.Subnets.List(tx, sc.Key()))
	var out []subnet
	for _, r := range records {
		out = append(out, subnet{r, r.Capacity() - used[r.ID]})
	}
	return out, err
}

func vpcView(v state.VPC) types.Vpc {
	return types.Vpc{
		VpcId: &v.ID, CidrBlock: &v.CIDR, State: types.VpcStateAvailable, IsDefault: &v.Default, OwnerId: &v.Scope.Account, DhcpOptionsId: &v.DHCP,
		InstanceTenancy: types.TenancyDefault, Tags: tagList(v.Tags),
		CidrBlockAssociationSet: []types.VpcCidrBlockAssociation{{
			AssociationId: &v.Assoc, CidrBlock: &v.CIDR, CidrBlockState: &types.VpcCidrBlockState{State: types.VpcCidrBlockStateCodeAssociated}}},
		BlockPublicAccessStates: &types.BlockPublicAccessStates{InternetGatewayBlockMode: types.BlockPublicAccessModeOff},
	}
}

func subnetView(s subnet) types.Subnet {
	return types.Subnet{
		SubnetId: &s.ID, SubnetArn: aws.String(s.ARN()), VpcId: &s.VPC, CidrBlock: &s.CIDR, State: types.SubnetStateAvailable, OwnerId: &s.Scope.Account,
		AvailabilityZone: &s.Zone, AvailabilityZoneId: &s.ZoneID, AvailableIpAddressCount: aws.Int32(int32(s.free)),
		DefaultForAz: &s.Default, MapPublicIpOnLaunch: &s.MapPublic, Tags: tagList(s.Tags),
		AssignIpv6AddressOnCreation: aws.Bool(false), EnableDns64: aws.Bool(false), Ipv6Native: aws.Bool(false), MapCustomerOwnedIpOnLaunch: aws.Bool(false),
		Ipv6CidrBlockAssociationSet: []types.SubnetIpv6CidrBlockAssociation{},
		PrivateDnsNameOptionsOnLaunch: &types.PrivateDnsNameOptionsOnLaunch{HostnameType: types.HostnameTypeIpName,
			EnableResourceNameDnsARecord: aws.Bool(false), EnableResourceNameDnsAAAARecord: aws.Bool(false)},
		BlockPublicAccessStates: &types.BlockPublicAccessStates{InternetGatewayBlockMode: types.BlockPublicAccessModeOff},
	}
}
