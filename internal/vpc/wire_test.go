package vpc

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/store"
)

// client is the real SDK's, talking to the service over HTTP.
func client(t *testing.T) *ec2.Client {
	t.Helper()
	db, err := store.Open(filepath.Join(t.TempDir(), "lotse.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	mux := awswire.NewMux(awswire.MuxOptions{Authenticate: func(r *http.Request, _ []byte, _ *awswire.API, _ string) (context.Context, error) {
		return as(r.Context(), testScope), nil
	}})
	mux.Add(New(Options{DB: db}).API())
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return ec2.New(ec2.Options{Region: testScope.Region, BaseEndpoint: &srv.URL, Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", "")})
}

func wantCode(t *testing.T, what string, err error, code string) {
	t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) || e.ErrorCode() != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

// What an environment needs, over the wire and back.
func TestWire_GroupsOfAnEnvironment(t *testing.T) {
	c, ctx := client(t), t.Context()
	vpcs := must(c.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: filter("is-default", "true")}))(t).Vpcs
	if len(vpcs) != 1 || vpcs[0].State != types.VpcStateAvailable || len(vpcs[0].CidrBlockAssociationSet) != 1 {
		t.Fatalf("VPCs = %+v", vpcs)
	}
	vpc := vpcs[0].VpcId
	subnets := must(c.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: filter("vpc-id", *vpc)}))(t).Subnets
	if len(subnets) != 3 || *subnets[0].AvailableIpAddressCount != 4091 || !*subnets[0].DefaultForAz {
		t.Fatalf("subnets = %+v", subnets)
	}
	create := func(name string) *string {
		return must(c.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: &name, Description: aws.String("of a test"), VpcId: vpc,
			TagSpecifications: []types.TagSpecification{{ResourceType: "security-group", Tags: []types.Tag{{Key: aws.String("env"), Value: aws.String("dev")}}}}}))(t).GroupId
	}
	lb, web := create("lb"), create("web")
	p := tcp(8080)
	p.UserIdGroupPairs = []types.UserIdGroupPair{{GroupId: lb, Description: aws.String("the balancer")}}
	in := &ec2.AuthorizeSecurityGroupIngressInput{GroupId: web, IpPermissions: []types.IpPermission{p, tcp(22, "10.0.0.0/8", "192.0.2.1/32")}}
	added := must(c.AuthorizeSecurityGroupIngress(ctx, in))(t)
	if !*added.Return || len(added.SecurityGroupRules) != 3 || *added.SecurityGroupRules[0].ReferencedGroupInfo.GroupId != *lb {
		t.Errorf("authorized = %+v", added.SecurityGroupRules)
	}
	_, err := c.AuthorizeSecurityGroupIngress(ctx, in)
	wantCode(t, "again", err, "InvalidPermission.Duplicate")
	_, err = c.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: lb})
	wantCode(t, "in use", err, "DependencyViolation")

	got := must(c.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: filter("tag:env", "d?v", "group-name", "web")}))(t).SecurityGroups
	want := []string{"tcp 8080-8080 " + *lb + "@111122223333", "tcp 22-22 10.0.0.0/8 192.0.2.1/32"}
	if len(got) != 1 || len(got[0].Tags) != 1 {
		t.Fatalf("groups = %+v", got)
	}
	if d := cmp.Diff(want, permText(got[0].IpPermissions)); d != "" {
		t.Errorf("permissions (-want +got):\n%s", d)
	}
	if p := got[0].IpPermissionsEgress[0]; *p.IpProtocol != "-1" || p.FromPort != nil || *p.IpRanges[0].CidrIp != "0.0.0.0/0" {
		t.Errorf("egress = %+v", p)
	}
	// What is described can be revoked as it is.
	must(c.RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: web, IpPermissions: got[0].IpPermissions}))(t)
	must(c.RevokeSecurityGroupEgress(ctx, &ec2.RevokeSecurityGroupEgressInput{GroupId: web, IpPermissions: got[0].IpPermissionsEgress}))(t)
	if rules := must(c.DescribeSecurityGroupRules(ctx, &ec2.DescribeSecurityGroupRulesInput{Filters: filter("group-id", *web)}))(t).SecurityGroupRules; len(rules) != 0 {
		t.Errorf("rules left: %+v", rules)
	}
	must(c.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: lb}))(t)
	_, err = c.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{*lb}})
	wantCode(t, "gone", err, "InvalidGroup.NotFound")
	_, err = c.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("x"), Description: aws.String("d"), DryRun: aws.Bool(true)})
	wantCode(t, "dry run", err, "DryRunOperation")
	_, err = c.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")})
	if code := status(err); code != http.StatusNotImplemented {
		t.Errorf("CreateVpc: status %d, %v, want 501", code, err)
	}
}

func TestWire_EverythingElseDecodes(t *testing.T) {
	c, ctx := client(t), t.Context()
	z := must(c.DescribeAvailabilityZones(ctx, &ec2.DescribeAvailabilityZonesInput{ZoneNames: []string{"us-east-1b"}}))(t).AvailabilityZones
	if len(z) != 1 || *z[0].ZoneId != "use1-az2" {
		t.Errorf("zones = %+v", z)
	}
	r := must(c.DescribeRegions(ctx, &ec2.DescribeRegionsInput{}))(t).Regions
	if !slices.ContainsFunc(r, func(r types.Region) bool { return *r.RegionName == "eu-central-1" }) {
		t.Errorf("regions = %+v", r)
	}
	a := must(c.DescribeAccountAttributes(ctx, &ec2.DescribeAccountAttributesInput{}))(t).AccountAttributes
	if len(a) != 3 || len(a[0].AttributeValues) != 1 {
		t.Errorf("attributes = %+v", a)
	}
	vpc := must(c.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{}))(t).Vpcs[0].VpcId
	v := must(c.DescribeVpcAttribute(ctx, &ec2.DescribeVpcAttributeInput{VpcId: vpc, Attribute: types.VpcAttributeNameEnableDnsSupport}))(t)
	if v.EnableDnsSupport == nil || !*v.EnableDnsSupport.Value {
		t.Errorf("attribute = %+v", v)
	}
	must(c.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{*vpc}, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("ü&<")}, {Key: aws.String("b"), Value: aws.String("")}}}))(t)
	tags := must(c.DescribeTags(ctx, &ec2.DescribeTagsInput{Filters: filter("resource-id", *vpc)}))(t).Tags
	if len(tags) != 2 || *tags[0].Value != "ü&<" || tags[0].ResourceType != types.ResourceTypeVpc {
		t.Errorf("tags = %+v", tags)
	}
	must(c.DeleteTags(ctx, &ec2.DeleteTagsInput{Resources: []string{*vpc}, Tags: []types.Tag{{Key: aws.String("b")}}}))(t)
	if e := must(c.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{Filters: filter("subnet-id", "*")}))(t).NetworkInterfaces; len(e) != 0 {
		t.Errorf("interfaces = %+v", e)
	}
	groups := must(c.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupNames: []string{"default"}}))(t).SecurityGroups
	rules := must(c.DescribeSecurityGroupRules(ctx, &ec2.DescribeSecurityGroupRulesInput{Filters: filter("group-id", *groups[0].GroupId)}))(t).SecurityGroupRules
	if len(rules) != 2 || *rules[0].FromPort != -1 {
		t.Errorf("rules of the default group = %+v", rules)
	}
}

// status is the HTTP status that an error came with.
func status(err error) int {
	var e interface{ HTTPStatusCode() int }
	if errors.As(err, &e) {
		return e.HTTPStatusCode()
	}
	return 0
}
