package vpc

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// eni is a record with what it names.
type eni struct {
	state.NetworkInterface
	zoneID string
	groups []types.GroupIdentifier
}

func (e eni) dnsName() string { return state.PrivateDNSName(e.Scope.Region, e.Address) }

// interfaceFields are the filters of DescribeNetworkInterfaces. Source: API reference.
var interfaceFields = fields[eni]{
	"addresses.association.owner-id":  func(e eni) []string { return some(e.publicOwner()) },
	"addresses.association.public-ip": func(e eni) []string { return some(e.Public) },
	"addresses.primary":               func(eni) []string { return boolean(true) },
	"addresses.private-ip-address":    func(e eni) []string { return []string{e.Address} },
	"association.ip-owner-id":         func(e eni) []string { return some(e.publicOwner()) },
	"association.public-ip":           func(e eni) []string { return some(e.Public) },
	"attachment.attachment-id":        func(e eni) []string { return []string{e.Attachment} },
	"attachment.attach-time":          func(e eni) []string { return []string{e.CreatedAt.Format("2006-01-02T15:04:05.000Z")} },
	"attachment.delete-on-termination": func(e eni) []string {
		return boolean(e.Task != "")
	},
	"attachment.device-index":      func(eni) []string { return []string{"1"} },
	"attachment.instance-owner-id": func(e eni) []string { return []string{e.RequesterID} },
	"attachment.status":            func(eni) []string { return []string{"attached"} },
	"availability-zone":            func(e eni) []string { return []string{e.Zone} },
	"availability-zone-id":         func(e eni) []string { return []string{e.zoneID} },
	"description":                  func(e eni) []string { return []string{e.Description} },
	"group-id":                     func(e eni) []string { return e.Groups },
	"group-name":                   func(e eni) []string { return e.groupNames() },
	"interface-type":               func(eni) []string { return []string{"interface"} },
	"mac-address":                  func(e eni) []string { return []string{state.MACOf(e.Address)} },
	"network-interface-id":         func(e eni) []string { return []string{e.ID} },
	"owner-id":                     func(e eni) []string { return []string{e.Scope.Account} },
	"private-dns-name":             func(e eni) []string { return []string{e.dnsName()} },
	"private-ip-address":           func(e eni) []string { return []string{e.Address} },
	"requester-id":                 func(e eni) []string { return []string{e.RequesterID} },
	"requester-managed":            func(eni) []string { return boolean(true) },
	"source-dest-check":            func(eni) []string { return boolean(true) },
	"status":                       func(eni) []string { return []string{"in-use"} },
	"subnet-id":                    func(e eni) []string { return []string{e.Subnet} },
	"vpc-id":                       func(e eni) []string { return []string{e.VPC} },
	"association.allocation-id":    nothing[eni],
	"association.association-id":   nothing[eni],
	"association.public-dns-name":  nothing[eni],
	"attachment.instance-id":       nothing[eni],
	"ipv6-addresses.ipv6-address":  nothing[eni],
	"operator.managed":             func(eni) []string { return boolean(false) },
	"operator.principal":           nothing[eni],
}

// DescribeNetworkInterfaces shows the interfaces of tasks and load balancers. None of them is
// hidden, so IncludeManagedResources adds nothing.
func (s *Service) DescribeNetworkInterfaces(ctx context.Context, in *ec2.DescribeNetworkInterfacesInput) (*ec2.DescribeNetworkInterfacesOutput, error) {
	if err := onlyMembers(in, "DryRun", "Filters", "IncludeManagedResources", "MaxResults", "NetworkInterfaceIds", "NextToken"); err != nil {
		return nil, err
	}
	out := &ec2.DescribeNetworkInterfacesOutput{NetworkInterfaces: []types.NetworkInterface{}}
	err := s.view(ctx, in.DryRun, func(tx store.Reader, sc arn.Scope) error {
		all, err := interfaces(tx, sc)
		if err != nil {
			return err
		}
		page, next, err := query[eni]{
			kind: kindInterface, ids: in.NetworkInterfaceIds, filters: in.Filters, max: in.MaxResults, token: in.NextToken, fields: interfaceFields,
			id: func(e eni) string { return e.ID }, tags: func(e eni) map[string]string { return e.Tags },
		}.run(all)
		for _, e := range page {
			out.NetworkInterfaces = append(out.NetworkInterfaces, interfaceView(e))
		}
		out.NextToken = next
		return err
	})
	return out, err
}

// Private

// interfaces reads the scope's interfaces and what they name.
func interfaces(tx store.Reader, sc arn.Scope) ([]eni, error) {
	names, zones := map[string]string{}, map[string]string{}
	for g, err := range state.SecurityGroups.List(tx, sc.Key()) {
		if err != nil {
			return nil, err
		}
		names[g.Val.ID] = g.Val.Name
	}
	for _, z := range state.Zones(sc.Region) {
		zones[z.Name] = z.ID
	}
	records, err := values(state.NetworkInterfaces.List(tx, sc.Key()))
	var out []eni
	for _, r := range records {
		e := eni{NetworkInterface: r, zoneID: zones[r.Zone]}
		for _, id := range r.Groups {
			e.groups = append(e.groups, types.GroupIdentifier{GroupId: aws.String(id), GroupName: aws.String(names[id])})
		}
		out = append(out, e)
	}
	return out, err
}

func (e eni) groupNames() []string {
	var out []string
	for _, g := range e.groups {
		out = append(out, *g.GroupName)
	}
	return out
}

// publicOwner is who owns the public address: not the account, as it is no elastic one.
func (e eni) publicOwner() string {
	if e.Public == "" {
		return ""
	}
	return "amazon"
}

// interfaceView shows an interface. All of them are attached to what they were made for.
func interfaceView(e eni) types.NetworkInterface {
	v := types.NetworkInterface{
		NetworkInterfaceId: &e.ID, VpcId: &e.VPC, SubnetId: &e.Subnet, AvailabilityZone: &e.Zone, AvailabilityZoneId: optional(e.zoneID),
		Description: &e.Description, OwnerId: &e.Scope.Account, RequesterId: &e.RequesterID, RequesterManaged: aws.Bool(true),
		InterfaceType: types.NetworkInterfaceTypeInterface, Status: types.NetworkInterfaceStatusInUse, SourceDestCheck: aws.Bool(true),
		MacAddress: aws.String(state.MACOf(e.Address)), PrivateIpAddress: &e.Address, PrivateDnsName: aws.String(e.dnsName()),
		Groups: e.groups, TagSet: tagList(e.Tags), Ipv6Addresses: []types.NetworkInterfaceIpv6Address{},
		Operator: &types.OperatorResponse{Managed: aws.Bool(false)},
		Attachment: &types.NetworkInterfaceAttachment{AttachmentId: &e.Attachment, AttachTime: &e.CreatedAt, DeleteOnTermination: aws.Bool(e.Task != ""),
			DeviceIndex: aws.Int32(1), InstanceOwnerId: &e.RequesterID, NetworkCardIndex: aws.Int32(0), Status: types.AttachmentStatusAttached},
	}
	if e.Public != "" {
		v.Association = &types.NetworkInterfaceAssociation{PublicIp: &e.Public, IpOwnerId: aws.String(e.publicOwner())}
	}
	v.PrivateIpAddresses = []types.NetworkInterfacePrivateIpAddress{{Primary: aws.Bool(true), PrivateIpAddress: v.PrivateIpAddress, PrivateDnsName: v.PrivateDnsName, Association: v.Association}}
	return v
}

func some(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}
