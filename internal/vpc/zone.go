package vpc

import (
	"context"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// zoneFields are the filters of DescribeAvailabilityZones. Source: API reference.
var zoneFields = fields[types.AvailabilityZone]{
	"group-long-name":  func(z types.AvailabilityZone) []string { return []string{*z.GroupLongName} },
	"group-name":       func(z types.AvailabilityZone) []string { return []string{*z.GroupName} },
	"opt-in-status":    func(z types.AvailabilityZone) []string { return []string{string(z.OptInStatus)} },
	"region-name":      func(z types.AvailabilityZone) []string { return []string{*z.RegionName} },
	"state":            func(z types.AvailabilityZone) []string { return []string{string(z.State)} },
	"zone-id":          func(z types.AvailabilityZone) []string { return []string{*z.ZoneId} },
	"zone-name":        func(z types.AvailabilityZone) []string { return []string{*z.ZoneName} },
	"zone-type":        func(z types.AvailabilityZone) []string { return []string{*z.ZoneType} },
	"message":          nothing[types.AvailabilityZone],
	"parent-zone-id":   nothing[types.AvailabilityZone],
	"parent-zone-name": nothing[types.AvailabilityZone],
}

// DescribeAvailabilityZones shows the region's three zones. AllAvailabilityZones adds nothing:
// there are no zones that one would have to opt in to.
func (s *Service) DescribeAvailabilityZones(ctx context.Context, in *ec2.DescribeAvailabilityZonesInput) (*ec2.DescribeAvailabilityZonesOutput, error) {
	if err := onlyMembers(in, "AllAvailabilityZones", "DryRun", "Filters", "ZoneIds", "ZoneNames"); err != nil {
		return nil, err
	}
	out := &ec2.DescribeAvailabilityZonesOutput{AvailabilityZones: []types.AvailabilityZone{}}
	err := s.view(ctx, in.DryRun, func(_ store.Reader, sc arn.Scope) error {
		match, err := zoneFields.match(in.Filters, nil)
		if err != nil {
			return err
		}
		zones := zoneViews(sc.Region)
		for _, name := range in.ZoneNames {
			if !slices.ContainsFunc(zones, func(z types.AvailabilityZone) bool { return *z.ZoneName == name }) {
				return invalid("Invalid availability zone: [%s]", name)
			}
		}
		for _, id := range in.ZoneIds {
			if !slices.ContainsFunc(zones, func(z types.AvailabilityZone) bool { return *z.ZoneId == id }) {
				return invalid("Invalid availability zone-id: [%s]", id)
			}
		}
		for _, z := range zones {
			named := len(in.ZoneNames)+len(in.ZoneIds) == 0 || slices.Contains(in.ZoneNames, *z.ZoneName) || slices.Contains(in.ZoneIds, *z.ZoneId)
			if named && match(z) {
				out.AvailabilityZones = append(out.AvailabilityZones, z)
			}
		}
		return nil
	})
	return out, err
}

// maxInterfaceGroups is how many groups an interface may carry. Source: VPC user guide, quotas.
const maxInterfaceGroups = 5

// regions are those that an AWS account has without opting in. Lotse knows a region by its name
// in the signature alone, so any other works as well. Source: AWS account reference, regions.
var regions = []string{
	"ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-southeast-1", "ap-southeast-2", "ca-central-1", "eu-central-1",
	"eu-north-1", "eu-west-1", "eu-west-2", "eu-west-3", "sa-east-1", "us-east-1", "us-east-2", "us-west-1", "us-west-2",
}

// regionFields are the filters of DescribeRegions. Source: API reference.
var regionFields = fields[types.Region]{
	"endpoint":      func(r types.Region) []string { return []string{*r.Endpoint} },
	"opt-in-status": func(r types.Region) []string { return []string{*r.OptInStatus} },
	"region-name":   func(r types.Region) []string { return []string{*r.RegionName} },
}

// DescribeRegions shows the regions that need no opting in, and the caller's. AllRegions adds
// nothing: none is disabled.
func (s *Service) DescribeRegions(ctx context.Context, in *ec2.DescribeRegionsInput) (*ec2.DescribeRegionsOutput, error) {
	if err := onlyMembers(in, "AllRegions", "DryRun", "Filters", "RegionNames"); err != nil {
		return nil, err
	}
	out := &ec2.DescribeRegionsOutput{Regions: []types.Region{}}
	err := s.view(ctx, in.DryRun, func(_ store.Reader, sc arn.Scope) error {
		match, err := regionFields.match(in.Filters, nil)
		if err != nil {
			return err
		}
		all := slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(regions), sc.Region))))
		for _, name := range in.RegionNames {
			if !slices.Contains(all, name) {
				return invalid("Invalid region name(s): [%s]", name)
			}
		}
		for _, name := range all {
			r := types.Region{RegionName: aws.String(name), Endpoint: aws.String("ec2." + name + ".amazonaws.com"), OptInStatus: aws.String("opt-in-not-required")}
			if (len(in.RegionNames) == 0 || slices.Contains(in.RegionNames, name)) && match(r) {
				out.Regions = append(out.Regions, r)
			}
		}
		return nil
	})
	return out, err
}

// DescribeAccountAttributes shows what an account may have: VPCs only, and which one by default.
func (s *Service) DescribeAccountAttributes(ctx context.Context, in *ec2.DescribeAccountAttributesInput) (*ec2.DescribeAccountAttributesOutput, error) {
	if err := onlyMembers(in, "AttributeNames", "DryRun"); err != nil {
		return nil, err
	}
	out := &ec2.DescribeAccountAttributesOutput{AccountAttributes: []types.AccountAttribute{}}
	err := s.view(ctx, in.DryRun, func(tx store.Reader, sc arn.Scope) error {
		v, err := defaultVPC(tx, sc)
		if err != nil {
			return err
		}
		// Source: AccountAttribute and service quotas: 5 groups for each interface.
		all := []struct{ name, value string }{{"supported-platforms", "VPC"}, {"default-vpc", v.ID}, {"vpc-max-security-groups-per-interface", strconv.Itoa(maxInterfaceGroups)}}
		for _, a := range all {
			if len(in.AttributeNames) == 0 || slices.Contains(in.AttributeNames, types.AccountAttributeName(a.name)) {
				out.AccountAttributes = append(out.AccountAttributes, types.AccountAttribute{AttributeName: aws.String(a.name),
					AttributeValues: []types.AccountAttributeValue{{AttributeValue: aws.String(a.value)}}})
			}
		}
		if len(out.AccountAttributes) < len(in.AttributeNames) {
			return invalid("Value (%s) for parameter attributeName is invalid. Lotse knows supported-platforms, default-vpc and vpc-max-security-groups-per-interface.", in.AttributeNames)
		}
		return nil
	})
	return out, err
}

// Private

func zoneViews(region string) []types.AvailabilityZone {
	var out []types.AvailabilityZone
	group := region + "-zg-1"
	for _, z := range state.Zones(region) {
		out = append(out, types.AvailabilityZone{
			ZoneName: aws.String(z.Name), ZoneId: aws.String(z.ID), RegionName: aws.String(region), State: types.AvailabilityZoneStateAvailable,
			GroupName: &group, GroupLongName: &group, NetworkBorderGroup: aws.String(region), ZoneType: aws.String("availability-zone"),
			OptInStatus: types.AvailabilityZoneOptInStatusOptInNotRequired, Messages: []types.AvailabilityZoneMessage{}})
	}
	return out
}

// defaultVPC is the scope's default VPC.
func defaultVPC(tx store.Reader, sc arn.Scope) (state.VPC, error) {
	for v, err := range state.VPCs.List(tx, sc.Key()) {
		if err != nil || v.Val.Default {
			return v.Val, err
		}
	}
	return state.VPC{}, awsError("VPCIdNotSpecified", "No default VPC for this user")
}
