package vpc

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

var testScope = arn.Scope{Account: "111122223333", Region: "us-east-1"}

// bench is a service with a caller.
type bench struct {
	*Service
	t   *testing.T
	ctx context.Context
	db  *store.DB
}

func newBench(t *testing.T) *bench {
	t.Helper()
	db, err := store.Open(filepath.Join(t.TempDir(), "lotse.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &bench{New(Options{DB: db}), t, as(t.Context(), testScope), db}
}

func as(ctx context.Context, sc arn.Scope) context.Context {
	return awsauth.WithCaller(ctx, awsauth.Caller{Account: sc.Account, Region: sc.Region})
}

func (b *bench) update(fn func(tx *store.WriteTx) error) {
	b.t.Helper()
	if err := b.db.Update(b.ctx, fn); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) vpcID() string {
	b.t.Helper()
	return *must(b.DescribeVpcs(b.ctx, &ec2.DescribeVpcsInput{}))(b.t).Vpcs[0].VpcId
}

func (b *bench) subnets() []types.Subnet {
	b.t.Helper()
	out := must(b.DescribeSubnets(b.ctx, &ec2.DescribeSubnetsInput{}))(b.t).Subnets
	slices.SortFunc(out, func(a, c types.Subnet) int {
		return slices.Compare([]byte(*a.AvailabilityZone), []byte(*c.AvailabilityZone))
	})
	return out
}

func (b *bench) group(name string) string {
	b.t.Helper()
	return *must(b.CreateSecurityGroup(b.ctx, &ec2.CreateSecurityGroupInput{GroupName: &name, Description: aws.String("about " + name)}))(b.t).GroupId
}

func (b *bench) describeGroup(id string) types.SecurityGroup {
	b.t.Helper()
	return must(b.DescribeSecurityGroups(b.ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{id}}))(b.t).SecurityGroups[0]
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// wantError compares code and text: "Code: text". An empty text is any.
func wantError(t *testing.T, what string, err error, code, text string) {
	t.Helper()
	var e *awswire.Error
	if !errors.As(err, &e) || e.Code != code || text != "" && e.Message != text {
		t.Errorf("%s: error %v, want %s: %s", what, err, code, text)
	}
}

func filter(pairs ...string) []types.Filter {
	var out []types.Filter
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, types.Filter{Name: &pairs[i], Values: []string{pairs[i+1]}})
	}
	return out
}

func tcp(port int32, cidrs ...string) types.IpPermission {
	p := types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: &port, ToPort: &port}
	for i := range cidrs {
		p.IpRanges = append(p.IpRanges, types.IpRange{CidrIp: &cidrs[i]})
	}
	return p
}

func (b *bench) authorize(id string, p ...types.IpPermission) ([]types.SecurityGroupRule, error) {
	out, err := b.AuthorizeSecurityGroupIngress(b.ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &id, IpPermissions: p})
	if err != nil {
		return nil, err
	}
	return out.SecurityGroupRules, nil
}

func TestDefaultVPC_OnFirstUseOfEveryAccountAndRegion(t *testing.T) {
	b := newBench(t)
	for range 2 {
		out := must(b.DescribeVpcs(b.ctx, &ec2.DescribeVpcsInput{Filters: filter("is-default", "true")}))(t)
		if len(out.Vpcs) != 1 || *out.Vpcs[0].CidrBlock != "172.31.0.0/16" || !*out.Vpcs[0].IsDefault || *out.Vpcs[0].OwnerId != testScope.Account {
			t.Fatalf("VPCs = %+v", out.Vpcs)
		}
	}
	other := as(t.Context(), arn.Scope{Account: testScope.Account, Region: "eu-west-1"})
	sn := must(b.DescribeSubnets(other, &ec2.DescribeSubnetsInput{}))(t).Subnets
	if len(sn) != 3 || *sn[0].VpcId == b.vpcID() {
		t.Errorf("subnets elsewhere = %+v", sn)
	}
	for _, s := range sn {
		if *s.AvailableIpAddressCount != 4091 {
			t.Errorf("addresses of a /20 = %d, want 4091", *s.AvailableIpAddressCount)
		}
	}
	if err := b.Ensure(t.Context(), arn.Scope{Account: "999999999999", Region: "us-west-2"}); err != nil {
		t.Error(err)
	}
	// What is another account's is not there.
	stranger := as(t.Context(), arn.Scope{Account: "999999999999", Region: "us-east-1"})
	_, err := b.DescribeVpcs(stranger, &ec2.DescribeVpcsInput{VpcIds: []string{b.vpcID()}})
	wantError(t, "another account's VPC", err, "InvalidVpcID.NotFound", fmt.Sprintf("The vpc ID '%s' does not exist", b.vpcID()))
}

func TestDescribe_UnknownIDs(t *testing.T) {
	b := newBench(t)
	for _, tc := range []struct {
		what       string
		do         func() error
		code, text string
	}{
		{"VPC", func() error {
			_, err := b.DescribeVpcs(b.ctx, &ec2.DescribeVpcsInput{VpcIds: []string{"vpc-1"}})
			return err
		}, "InvalidVpcID.NotFound", "The vpc ID 'vpc-1' does not exist"},
		{"VPC attribute", func() error {
			_, err := b.DescribeVpcAttribute(b.ctx, &ec2.DescribeVpcAttributeInput{VpcId: aws.String("vpc-1"), Attribute: "enableDnsSupport"})
			return err
		}, "InvalidVpcID.NotFound", "The vpc ID 'vpc-1' does not exist"},
		{"subnets", func() error {
			_, err := b.DescribeSubnets(b.ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{"subnet-2", "subnet-1", *b.subnets()[0].SubnetId}})
			return err
		}, "InvalidSubnetID.NotFound", "The subnet IDs 'subnet-1, subnet-2' do not exist"},
		{"group", func() error {
			_, err := b.DescribeSecurityGroups(b.ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{"sg-1"}})
			return err
		}, "InvalidGroup.NotFound", "The security group 'sg-1' does not exist"},
		{"malformed group", func() error {
			_, err := b.DescribeSecurityGroups(b.ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{"web"}})
			return err
		}, "InvalidGroupId.Malformed", `Invalid id: "web" (expecting "sg-...")`},
		{"group name", func() error {
			_, err := b.DescribeSecurityGroups(b.ctx, &ec2.DescribeSecurityGroupsInput{GroupNames: []string{"web"}})
			return err
		}, "InvalidGroup.NotFound", fmt.Sprintf("The security group 'web' does not exist in default VPC '%s'", b.vpcID())},
		{"rule", func() error {
			_, err := b.DescribeSecurityGroupRules(b.ctx, &ec2.DescribeSecurityGroupRulesInput{SecurityGroupRuleIds: []string{"sgr-1"}})
			return err
		}, "InvalidSecurityGroupRuleId.NotFound", "The security group rule ID 'sgr-1' does not exist"},
		{"interface", func() error {
			_, err := b.DescribeNetworkInterfaces(b.ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{"eni-1"}})
			return err
		}, "InvalidNetworkInterfaceID.NotFound", "The networkInterface ID 'eni-1' does not exist"},
		{"tags", func() error {
			_, err := b.CreateTags(b.ctx, &ec2.CreateTagsInput{Resources: []string{"igw-1"}, Tags: []types.Tag{{Key: aws.String("a")}}})
			return err
		}, "InvalidID", "The ID 'igw-1' is not valid"},
	} {
		wantError(t, tc.what, tc.do(), tc.code, tc.text)
	}
}

func TestDryRun_ChangesNothing(t *testing.T) {
	b := newBench(t)
	_, err := b.CreateSecurityGroup(b.ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("web"), Description: aws.String("d"), DryRun: aws.Bool(true)})
	wantError(t, "dry run", err, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
	_, err = b.DescribeVpcs(b.ctx, &ec2.DescribeVpcsInput{DryRun: aws.Bool(true)})
	wantError(t, "dry run of reading", err, "DryRunOperation", "")
	_, err = b.DescribeVpcs(b.ctx, &ec2.DescribeVpcsInput{DryRun: aws.Bool(true), VpcIds: []string{"vpc-1"}})
	wantError(t, "dry run of what would fail", err, "InvalidVpcID.NotFound", "")
	b.group("web") // was not made before
}

func TestZonesRegionsAndAttributes(t *testing.T) {
	b := newBench(t)
	z := must(b.DescribeAvailabilityZones(b.ctx, &ec2.DescribeAvailabilityZonesInput{}))(t).AvailabilityZones
	if len(z) != 3 || *z[2].ZoneName != "us-east-1c" || *z[2].ZoneId != "use1-az3" || *z[2].RegionName != "us-east-1" || z[2].State != "available" {
		t.Errorf("zones = %+v", z)
	}
	z = must(b.DescribeAvailabilityZones(b.ctx, &ec2.DescribeAvailabilityZonesInput{Filters: filter("zone-name", "*b"), ZoneIds: []string{"use1-az1", "use1-az2"}}))(t).AvailabilityZones
	if len(z) != 1 || *z[0].ZoneName != "us-east-1b" {
		t.Errorf("filtered zones = %+v", z)
	}
	_, err := b.DescribeAvailabilityZones(b.ctx, &ec2.DescribeAvailabilityZonesInput{ZoneNames: []string{"us-east-1z"}})
	wantError(t, "zone", err, "InvalidParameterValue", "Invalid availability zone: [us-east-1z]")
	r := must(b.DescribeRegions(as(t.Context(), arn.Scope{Account: "1", Region: "xx-test-1"}), &ec2.DescribeRegionsInput{Filters: filter("region-name", "xx-*")}))(t).Regions
	if len(r) != 1 || *r[0].RegionName != "xx-test-1" {
		t.Errorf("regions = %+v", r)
	}
	a := must(b.DescribeAccountAttributes(b.ctx, &ec2.DescribeAccountAttributesInput{AttributeNames: []types.AccountAttributeName{"default-vpc"}}))(t).AccountAttributes
	if len(a) != 1 || *a[0].AttributeValues[0].AttributeValue != b.vpcID() {
		t.Errorf("attributes = %+v", a)
	}
	_, err = b.DescribeAccountAttributes(b.ctx, &ec2.DescribeAccountAttributesInput{AttributeNames: []types.AccountAttributeName{"VPC"}})
	wantError(t, "attribute", err, "InvalidParameterValue", "")
	v := must(b.DescribeVpcAttribute(b.ctx, &ec2.DescribeVpcAttributeInput{VpcId: aws.String(b.vpcID()), Attribute: "enableDnsHostnames"}))(t)
	if v.EnableDnsHostnames == nil || !*v.EnableDnsHostnames.Value || v.EnableDnsSupport != nil {
		t.Errorf("attribute = %+v", v)
	}
}

func TestNetworkInterfaces(t *testing.T) {
	b := newBench(t)
	web := b.group("web")
	sn := b.subnets()[0]
	var task, lb state.NetworkInterface
	b.update(func(tx *store.WriteTx) (err error) {
		if task, err = state.NewInterface(tx, state.NewInterfaceInput{Scope: testScope, Subnet: *sn.SubnetId, Groups: []string{web}, Task: "0123456789abcdef0123456789abcdef", Description: "a task"}); err != nil {
			return err
		}
		if _, err = state.ClaimPublic(tx, testScope, task.ID, netip.MustParsePrefix("127.64.1.0/24")); err != nil {
			return err
		}
		lb, err = state.NewInterface(tx, state.NewInterfaceInput{Scope: testScope, Subnet: *sn.SubnetId, Description: "ELB app/x/1"})
		return err
	})
	for _, tc := range []struct {
		filters []types.Filter
		want    []string
	}{
		{nil, []string{task.ID, lb.ID}},
		{filter("network-interface-id", task.ID), []string{task.ID}},
		{filter("subnet-id", *sn.SubnetId, "group-id", web), []string{task.ID}},
		{filter("group-name", "default"), []string{lb.ID}},
		{filter("addresses.private-ip-address", task.Address), []string{task.ID}},
		{filter("private-ip-address", "172.31.0.*"), []string{task.ID, lb.ID}},
		{filter("association.public-ip", "127.64.1.1"), []string{task.ID}},
		{filter("description", "ELB app/*"), []string{lb.ID}},
		{filter("requester-id", "amazon-elb"), []string{lb.ID}},
		{filter("status", "in-use", "vpc-id", b.vpcID(), "availability-zone", "us-east-1a"), []string{task.ID, lb.ID}},
		{filter("status", "available"), nil},
		{filter("attachment.instance-id", "*"), nil},
	} {
		out := must(b.DescribeNetworkInterfaces(b.ctx, &ec2.DescribeNetworkInterfacesInput{Filters: tc.filters}))(t)
		var got []string
		for _, e := range out.NetworkInterfaces {
			got = append(got, *e.NetworkInterfaceId)
		}
		slices.Sort(got)
		slices.Sort(tc.want)
		if d := cmp.Diff(tc.want, got); d != "" {
			t.Errorf("interfaces with %v (-want +got):\n%s", tc.filters, d)
		}
	}
	e := must(b.DescribeNetworkInterfaces(b.ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{task.ID}}))(t).NetworkInterfaces[0]
	if *e.PrivateIpAddress != "172.31.0.4" || *e.PrivateDnsName != "ip-172-31-0-4.ec2.internal" || *e.Association.PublicIp != "127.64.1.1" ||
		*e.MacAddress != "02:00:ac:1f:00:04" || *e.Groups[0].GroupName != "web" || e.Attachment.Status != "attached" || *e.AvailabilityZoneId != "use1-az1" {
		t.Errorf("interface = %+v", e)
	}
	if n := *b.subnets()[0].AvailableIpAddressCount; n != 4089 {
		t.Errorf("free addresses = %d, want 4089", n)
	}
}

// Every call of every service asks for the default VPC: after the first time that costs nothing, until all is deleted.
func TestEnsure_OnceIsEnough(t *testing.T) {
	b := newBench(t)
	first := b.vpcID()
	before := b.db.Reads()
	if err := b.Ensure(b.ctx, testScope); err != nil {
		t.Fatal(err)
	}
	if n := b.db.Reads() - before; n != 0 {
		t.Errorf("%d rows are read to know of a VPC that is there", n)
	}
	if err := b.db.Clear(b.ctx); err != nil {
		t.Fatal(err)
	}
	b.Forget()
	if again := b.vpcID(); again == first {
		t.Errorf("%s, which was deleted", again)
	}
}
