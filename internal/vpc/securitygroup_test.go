package vpc

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// permText is a permission in one line.
func permText(perms []types.IpPermission) []string {
	var out []string
	for _, p := range perms {
		s := *p.IpProtocol
		if p.FromPort != nil {
			s += fmt.Sprintf(" %d-%d", *p.FromPort, *p.ToPort)
		}
		for _, r := range p.IpRanges {
			s += " " + *r.CidrIp
			if r.Description != nil {
				s += "(" + *r.Description + ")"
			}
		}
		for _, g := range p.UserIdGroupPairs {
			s += " " + *g.GroupId + "@" + *g.UserId
		}
		out = append(out, s)
	}
	return out
}

func TestCreateSecurityGroup(t *testing.T) {
	b := newBench(t)
	id := b.group("web")
	g := b.describeGroup(id)
	if !strings.HasPrefix(id, "sg-") || len(id) != 20 || *g.GroupName != "web" || *g.Description != "about web" || *g.VpcId != b.vpcID() {
		t.Errorf("group = %+v", g)
	}
	if d := cmp.Diff([]string{"-1 0.0.0.0/0"}, permText(g.IpPermissionsEgress)); d != "" || len(g.IpPermissions) != 0 {
		t.Errorf("a new group's rules: ingress %v, egress (-want +got):\n%s", permText(g.IpPermissions), d)
	}
	if *g.SecurityGroupArn != "arn:aws:ec2:us-east-1:111122223333:security-group/"+id {
		t.Errorf("ARN = %s", *g.SecurityGroupArn)
	}
	create := func(name, about string, vpc *string) error {
		_, err := b.CreateSecurityGroup(b.ctx, &ec2.CreateSecurityGroupInput{GroupName: &name, Description: &about, VpcId: vpc})
		return err
	}
	wantError(t, "again", create("web", "d", nil), "InvalidGroup.Duplicate", fmt.Sprintf("The security group 'web' already exists for VPC '%s'", b.vpcID()))
	wantError(t, "sg-", create("sg-web", "d", nil), "InvalidParameterValue", "")
	wantError(t, "default", create("default", "d", nil), "InvalidGroup.Reserved", "")
	wantError(t, "long", create(strings.Repeat("x", 256), "d", nil), "InvalidParameterValue", "")
	wantError(t, "umlaut", create("müller", "d", nil), "InvalidParameterValue", "")
	wantError(t, "no description", create("w", "", nil), "MissingParameter", "The request must contain the parameter GroupDescription")
	wantError(t, "description", create("w", "a\nb", nil), "InvalidParameterValue", "")
	wantError(t, "VPC", create("w", "d", aws.String("vpc-1")), "InvalidVpcID.NotFound", "The vpc ID 'vpc-1' does not exist")
	if err := create("lotse/app.env-1 @[x]{y}", "Load balancer of lotse environment dev", aws.String(b.vpcID())); err != nil {
		t.Error(err)
	}
}

func TestDeleteSecurityGroup(t *testing.T) {
	b := newBench(t)
	web, db := b.group("web"), b.group("db")
	del := func(id string) error {
		_, err := b.DeleteSecurityGroup(b.ctx, &ec2.DeleteSecurityGroupInput{GroupId: &id})
		return err
	}
	def := must(b.DescribeSecurityGroups(b.ctx, &ec2.DescribeSecurityGroupsInput{GroupNames: []string{"default"}}))(t).SecurityGroups[0]
	wantError(t, "default", del(*def.GroupId), "CannotDelete", "")
	p := tcp(5432)
	p.UserIdGroupPairs = []types.UserIdGroupPair{{GroupId: &web}, {GroupId: &db}} // db: itself, which is in nobody's way
	must(b.authorize(db, p))(t)
	wantError(t, "named by a rule", del(web), "DependencyViolation", fmt.Sprintf("resource %s has a dependent object", web))
	var e state.NetworkInterface
	b.update(func(tx *store.WriteTx) (err error) {
		e, err = state.NewInterface(tx, state.NewInterfaceInput{Scope: testScope, Subnet: *b.subnets()[0].SubnetId, Groups: []string{db}})
		return err
	})
	wantError(t, "used", del(db), "DependencyViolation", "")
	b.update(func(tx *store.WriteTx) error { return state.ReleaseInterface(tx, testScope, e.ID) })
	for _, id := range []string{db, web} {
		if err := del(id); err != nil {
			t.Error(err)
		}
		wantError(t, "gone", del(id), "InvalidGroup.NotFound", fmt.Sprintf("The security group '%s' does not exist", id))
	}
	wantError(t, "malformed", del("web"), "InvalidGroupId.Malformed", "")
	b.group("again")
	must(b.DeleteSecurityGroup(b.ctx, &ec2.DeleteSecurityGroupInput{GroupName: aws.String("again")}))(t)
}

func TestAuthorize_ViewsAndDuplicates(t *testing.T) {
	b := newBench(t)
	lb, web := b.group("lb"), b.group("web")
	p := tcp(80, "10.1.2.3/16")
	p.IpRanges[0].Description = aws.String("office")
	p.UserIdGroupPairs = []types.UserIdGroupPair{{GroupId: &lb, Description: aws.String("balancer")}, {GroupName: aws.String("web")}}
	added := must(b.authorize(web, p, types.IpPermission{IpProtocol: aws.String("6"), FromPort: aws.Int32(80), ToPort: aws.Int32(80), IpRanges: []types.IpRange{{CidrIp: aws.String("192.0.2.0/24")}}},
		types.IpPermission{IpProtocol: aws.String("-1"), FromPort: aws.Int32(5), ToPort: aws.Int32(6), IpRanges: []types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}}},
		types.IpPermission{IpProtocol: aws.String("icmp"), FromPort: aws.Int32(-1), ToPort: aws.Int32(-1), IpRanges: []types.IpRange{{CidrIp: aws.String("10.0.0.0/8")}}},
		types.IpPermission{IpProtocol: aws.String("1"), FromPort: aws.Int32(8), ToPort: aws.Int32(-1), IpRanges: []types.IpRange{{CidrIp: aws.String("10.0.0.0/8")}}},
		types.IpPermission{IpProtocol: aws.String("50"), IpRanges: []types.IpRange{{CidrIp: aws.String("10.0.0.0/8")}}}))(t)
	if len(added) != 8 || !strings.HasPrefix(*added[0].SecurityGroupRuleId, "sgr-") || *added[0].CidrIpv4 != "10.1.0.0/16" || *added[0].Description != "office" ||
		*added[1].ReferencedGroupInfo.GroupId != lb || *added[0].IsEgress || *added[4].FromPort != -1 {
		t.Errorf("added = %+v", added)
	}
	want := []string{"tcp 80-80 10.1.0.0/16(office) 192.0.2.0/24 " + lb + "@111122223333 " + web + "@111122223333", "-1 0.0.0.0/0", "icmp -1--1 10.0.0.0/8", "icmp 8--1 10.0.0.0/8", "50 10.0.0.0/8"}
	if d := cmp.Diff(want, permText(b.describeGroup(web).IpPermissions)); d != "" {
		t.Errorf("permissions (-want +got):\n%s", d)
	}
	_, err := b.authorize(web, tcp(443, "0.0.0.0/0"), tcp(80, "10.1.0.0/16"))
	wantError(t, "duplicate", err, "InvalidPermission.Duplicate", `the specified rule "peer: 10.1.0.0/16, TCP, from port: 80, to port: 80, ALLOW" already exists`)
	if d := cmp.Diff(want, permText(b.describeGroup(web).IpPermissions)); d != "" {
		t.Errorf("a call that failed changed something (-want +got):\n%s", d)
	}
	_, err = b.authorize(web, tcp(81, "10.0.0.0/8", "10.9.0.0/8"))
	wantError(t, "duplicate within the call", err, "InvalidPermission.Duplicate", "")
	// The short form.
	must(b.AuthorizeSecurityGroupIngress(b.ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupName: aws.String("lb"), IpProtocol: aws.String("tcp"), FromPort: aws.Int32(1), ToPort: aws.Int32(2), CidrIp: aws.String("0.0.0.0/0")}))(t)
	if d := cmp.Diff([]string{"tcp 1-2 0.0.0.0/0"}, permText(b.describeGroup(lb).IpPermissions)); d != "" {
		t.Errorf("short form (-want +got):\n%s", d)
	}
	eg := must(b.AuthorizeSecurityGroupEgress(b.ctx, &ec2.AuthorizeSecurityGroupEgressInput{GroupId: &lb, IpPermissions: []types.IpPermission{tcp(443, "0.0.0.0/0")}}))(t)
	if !*eg.SecurityGroupRules[0].IsEgress || len(b.describeGroup(lb).IpPermissionsEgress) != 2 {
		t.Errorf("egress = %+v", eg.SecurityGroupRules)
	}
}

func TestAuthorize_Refusals(t *testing.T) {
	b := newBench(t)
	id := b.group("web")
	with := func(p types.IpPermission, change func(*types.IpPermission)) types.IpPermission { change(&p); return p }
	for _, tc := range []struct {
		what string
		p    types.IpPermission
		code string
	}{
		{"IPv6", with(tcp(80, "10.0.0.0/8"), func(p *types.IpPermission) { p.Ipv6Ranges = []types.Ipv6Range{{CidrIpv6: aws.String("::/0")}} }), "UnsupportedOperation"},
		{"prefix list", with(tcp(80, "10.0.0.0/8"), func(p *types.IpPermission) {
			p.PrefixListIds = []types.PrefixListId{{PrefixListId: aws.String("pl-1")}}
		}), "UnsupportedOperation"},
		{"IPv6 as CIDR", tcp(80, "::/0"), "InvalidParameterValue"},
		{"CIDR", tcp(80, "10.0.0.0/33"), "InvalidParameterValue"},
		{"address", tcp(80, "10.0.0.1"), "InvalidParameterValue"},
		{"no source", tcp(80), "MissingParameter"},
		{"no protocol", with(tcp(80, "10.0.0.0/8"), func(p *types.IpPermission) { p.IpProtocol = nil }), "MissingParameter"},
		{"protocol", with(tcp(80, "10.0.0.0/8"), func(p *types.IpPermission) { p.IpProtocol = aws.String("gre!") }), "InvalidPermission.Malformed"},
		{"protocol 0", with(tcp(80, "10.0.0.0/8"), func(p *types.IpPermission) { p.IpProtocol = aws.String("0") }), "InvalidPermission.Malformed"},
		{"icmpv6", with(tcp(80, "10.0.0.0/8"), func(p *types.IpPermission) { p.IpProtocol = aws.String("58") }), "UnsupportedOperation"},
		{"icmp type", with(tcp(256, "10.0.0.0/8"), func(p *types.IpPermission) { p.IpProtocol = aws.String("icmp") }), "InvalidParameterValue"},
		{"all icmp types of one code", with(tcp(-1, "10.0.0.0/8"), func(p *types.IpPermission) { p.IpProtocol, p.ToPort = aws.String("1"), aws.Int32(0) }), "InvalidParameterValue"},
		{"no ports", with(tcp(80, "10.0.0.0/8"), func(p *types.IpPermission) { p.ToPort = nil }), "InvalidParameterValue"},
		{"port", tcp(65536, "10.0.0.0/8"), "InvalidParameterValue"},
		{"range", with(tcp(80, "10.0.0.0/8"), func(p *types.IpPermission) { p.ToPort = aws.Int32(79) }), "InvalidParameterValue"},
		{"description", with(tcp(80, "10.0.0.0/8"), func(p *types.IpPermission) { p.IpRanges[0].Description = aws.String("ü") }), "InvalidParameterValue"},
		{"group", with(tcp(80), func(p *types.IpPermission) {
			p.UserIdGroupPairs = []types.UserIdGroupPair{{GroupId: aws.String("sg-1")}}
		}), "InvalidGroup.NotFound"},
		{"another account's group", with(tcp(80), func(p *types.IpPermission) {
			p.UserIdGroupPairs = []types.UserIdGroupPair{{GroupId: &id, UserId: aws.String("999999999999")}}
		}), "InvalidGroup.NotFound"},
		{"peering", with(tcp(80), func(p *types.IpPermission) {
			p.UserIdGroupPairs = []types.UserIdGroupPair{{GroupId: &id, VpcPeeringConnectionId: aws.String("pcx-1")}}
		}), "UnsupportedOperation"},
	} {
		_, err := b.authorize(id, tc.p)
		wantError(t, tc.what, err, tc.code, "")
	}
	_, err := b.authorize(id)
	wantError(t, "nothing", err, "MissingParameter", "")
	_, err = b.AuthorizeSecurityGroupIngress(b.ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &id, SourceSecurityGroupName: aws.String("web")})
	wantError(t, "EC2-Classic's form", err, "UnsupportedOperation", "Lotse does not act on sourceSecurityGroupName yet, so it does not accept it.")
	var many []string
	for i := range 61 {
		many = append(many, fmt.Sprintf("10.0.0.%d/32", i))
	}
	_, err = b.authorize(id, tcp(80, many...))
	wantError(t, "61 rules", err, "RulesPerSecurityGroupLimitExceeded", "The maximum number of rules per security group has been reached.")
	must(b.authorize(id, tcp(80, many[:60]...)))(t)
}

func TestRevoke(t *testing.T) {
	b := newBench(t)
	id := b.group("web")
	added := must(b.authorize(id, tcp(80, "10.0.0.0/8", "192.0.2.0/24"), tcp(81, "10.0.0.0/8")))(t)
	revoke := func(p ...types.IpPermission) (*ec2.RevokeSecurityGroupIngressOutput, error) {
		return b.RevokeSecurityGroupIngress(b.ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: &id, IpPermissions: p})
	}
	out := must(revoke(tcp(80, "10.9.9.9/8")))(t) // host bits don't matter
	if len(out.RevokedSecurityGroupRules) != 1 || *out.RevokedSecurityGroupRules[0].SecurityGroupRuleId != *added[0].SecurityGroupRuleId {
		t.Errorf("revoked = %+v", out.RevokedSecurityGroupRules)
	}
	// In a default VPC what isn't there is told, and the rest is done.
	out = must(revoke(tcp(99, "10.0.0.0/8"), tcp(80, "192.0.2.0/24")))(t)
	if d := cmp.Diff([]string{"tcp 99-99 10.0.0.0/8"}, permText(out.UnknownIpPermissions)); d != "" || len(out.RevokedSecurityGroupRules) != 1 {
		t.Errorf("unknown (-want +got):\n%s", d)
	}
	byID := func(ids ...string) error {
		_, err := b.RevokeSecurityGroupIngress(b.ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: &id, SecurityGroupRuleIds: ids})
		return err
	}
	egress := must(b.DescribeSecurityGroupRules(b.ctx, &ec2.DescribeSecurityGroupRulesInput{Filters: filter("group-id", id)}))(t).SecurityGroupRules
	for _, r := range egress {
		if *r.IsEgress {
			wantError(t, "an egress rule as ingress", byID(*r.SecurityGroupRuleId), "InvalidSecurityGroupRuleId.NotFound", "")
			must(b.RevokeSecurityGroupEgress(b.ctx, &ec2.RevokeSecurityGroupEgressInput{GroupId: &id, SecurityGroupRuleIds: []string{*r.SecurityGroupRuleId}}))(t)
		}
	}
	wantError(t, "by an unknown id", byID("sgr-1"), "InvalidSecurityGroupRuleId.NotFound", "The security group rule ID 'sgr-1' does not exist")
	if err := byID(*added[2].SecurityGroupRuleId); err != nil {
		t.Error(err)
	}
	g := b.describeGroup(id)
	if len(g.IpPermissions)+len(g.IpPermissionsEgress) != 0 {
		t.Errorf("left: %v, %v", g.IpPermissions, g.IpPermissionsEgress)
	}
	_, err := revoke()
	wantError(t, "nothing", err, "MissingParameter", "")

	// Elsewhere than in a default VPC it is an error, and nothing is revoked.
	must(b.authorize(id, tcp(80, "10.0.0.0/8")))(t)
	b.update(func(tx *store.WriteTx) error {
		v, err := state.VPCs.Get(tx, testScope.Key(*g.VpcId))
		if err != nil {
			return err
		}
		v.Val.Default = false
		return state.VPCs.Put(tx, &v)
	})
	_, err = revoke(tcp(80, "10.0.0.0/8"), tcp(99, "10.0.0.0/8"))
	wantError(t, "unknown rule", err, "InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
	if len(b.describeGroup(id).IpPermissions) != 1 {
		t.Error("a call that failed revoked something")
	}
}

func TestDescribeSecurityGroups_Filters(t *testing.T) {
	b := newBench(t)
	lb, web := b.group("lotse-lb"), b.group("lotse-web")
	must(b.authorize(lb, tcp(80, "0.0.0.0/0")))(t)
	p := tcp(8080)
	p.UserIdGroupPairs = []types.UserIdGroupPair{{GroupId: &lb}}
	must(b.authorize(web, p))(t)
	must(b.CreateTags(b.ctx, &ec2.CreateTagsInput{Resources: []string{web}, Tags: []types.Tag{{Key: aws.String("env"), Value: aws.String("dev")}}}))(t)
	def := must(b.DescribeSecurityGroups(b.ctx, &ec2.DescribeSecurityGroupsInput{GroupNames: []string{"default"}}))(t).SecurityGroups[0]
	for _, tc := range []struct {
		filters []types.Filter
		want    []string
	}{
		{nil, []string{*def.GroupId, lb, web}},
		{filter("group-name", "lotse-*"), []string{lb, web}},
		{filter("group-name", "lotse-?b"), []string{lb}},
		{filter("group-name", "lotse"), nil},
		{filter("vpc-id", b.vpcID(), "group-name", "default"), []string{*def.GroupId}},
		{filter("vpc-id", "vpc-1"), nil},
		{filter("tag:env", "d*"), []string{web}},
		{filter("tag-key", "env"), []string{web}},
		{filter("tag:other", "*"), nil},
		{filter("ip-permission.group-id", lb), []string{web}},
		{filter("ip-permission.group-name", "lotse-lb"), []string{web}},
		{filter("ip-permission.cidr", "0.0.0.0/0"), []string{lb}},
		{filter("ip-permission.to-port", "8080", "ip-permission.protocol", "tcp"), []string{web}},
		{filter("egress.ip-permission.cidr", "0.0.0.0/0"), []string{*def.GroupId, lb, web}},
		{filter("ip-permission.ipv6-cidr", "*"), nil},
		{[]types.Filter{{Name: aws.String("group-id"), Values: []string{lb, web, "sg-1"}}}, []string{lb, web}},
	} {
		out := must(b.DescribeSecurityGroups(b.ctx, &ec2.DescribeSecurityGroupsInput{Filters: tc.filters}))(t)
		var got []string
		for _, g := range out.SecurityGroups {
			got = append(got, *g.GroupId)
		}
		if d := cmp.Diff(tc.want, got, cmpopts.SortSlices(strings.Compare)); d != "" {
			t.Errorf("groups with %v (-want +got):\n%s", tc.filters, d)
		}
	}
	_, err := b.DescribeSecurityGroups(b.ctx, &ec2.DescribeSecurityGroupsInput{Filters: filter("colour", "red")})
	wantError(t, "filter", err, "InvalidParameterValue", "The filter 'colour' is invalid")
	_, err = b.DescribeSecurityGroups(b.ctx, &ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{{Name: aws.String("group-id")}}})
	wantError(t, "filter without values", err, "MissingParameter", "")
}

func TestPaging(t *testing.T) {
	b := newBench(t)
	var want, got []string
	for i := range 12 {
		want = append(want, b.group(fmt.Sprintf("g%d", i)))
	}
	in := &ec2.DescribeSecurityGroupsInput{MaxResults: aws.Int32(5), Filters: filter("group-name", "g*")}
	for pages := 0; ; pages++ {
		out := must(b.DescribeSecurityGroups(b.ctx, in))(t)
		if len(out.SecurityGroups) > 5 || pages > 3 {
			t.Fatalf("page %d has %d groups", pages, len(out.SecurityGroups))
		}
		for _, g := range out.SecurityGroups {
			got = append(got, *g.GroupId)
		}
		if pages == 0 { // the last one seen goes meanwhile
			must(b.DeleteSecurityGroup(b.ctx, &ec2.DeleteSecurityGroupInput{GroupId: &got[4]}))(t)
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
	}
	slices.Sort(want)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("pages (-want +got):\n%s", d)
	}
	_, err := b.DescribeSecurityGroups(b.ctx, &ec2.DescribeSecurityGroupsInput{MaxResults: aws.Int32(4)})
	wantError(t, "MaxResults 4", err, "InvalidParameterValue", "")
	_, err = b.DescribeSecurityGroups(b.ctx, &ec2.DescribeSecurityGroupsInput{MaxResults: aws.Int32(5), GroupIds: got[:1]})
	wantError(t, "MaxResults and ids", err, "InvalidParameterCombination", "")
	_, err = b.DescribeSecurityGroups(b.ctx, &ec2.DescribeSecurityGroupsInput{NextToken: aws.String("?")})
	wantError(t, "token", err, "InvalidNextToken", "")
}

func TestTags(t *testing.T) {
	b := newBench(t)
	spec := func(rt types.ResourceType, kv ...string) []types.TagSpecification {
		s := types.TagSpecification{ResourceType: rt}
		for i := 0; i < len(kv); i += 2 {
			s.Tags = append(s.Tags, types.Tag{Key: &kv[i], Value: &kv[i+1]})
		}
		return []types.TagSpecification{s}
	}
	made := must(b.CreateSecurityGroup(b.ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("web"), Description: aws.String("d"), TagSpecifications: spec("security-group", "env", "dev")}))(t)
	id := *made.GroupId
	rule := must(b.AuthorizeSecurityGroupIngress(b.ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &id, IpPermissions: []types.IpPermission{tcp(80, "0.0.0.0/0")}, TagSpecifications: spec("security-group-rule", "why", "web")}))(t).SecurityGroupRules[0]
	sn := *b.subnets()[0].SubnetId
	must(b.CreateTags(b.ctx, &ec2.CreateTagsInput{Resources: []string{b.vpcID(), sn, *rule.SecurityGroupRuleId}, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("1")}}}))(t)
	describe := func(filters ...string) []string {
		var got []string
		for _, x := range must(b.DescribeTags(b.ctx, &ec2.DescribeTagsInput{Filters: filter(filters...)}))(t).Tags {
			got = append(got, fmt.Sprintf("%s %s %s=%s", x.ResourceType, *x.ResourceId, *x.Key, *x.Value))
		}
		slices.Sort(got)
		return got
	}
	want := []string{"security-group " + id + " env=dev", "security-group-rule " + *rule.SecurityGroupRuleId + " a=1",
		"security-group-rule " + *rule.SecurityGroupRuleId + " why=web", "subnet " + sn + " a=1", "vpc " + b.vpcID() + " a=1"}
	if d := cmp.Diff(want, describe()); d != "" {
		t.Errorf("tags (-want +got):\n%s", d)
	}
	if d := cmp.Diff(want[1:2], describe("tag:a", "1", "resource-type", "security-group-rule")); d != "" {
		t.Errorf("filtered tags (-want +got):\n%s", d)
	}
	if d := cmp.Diff(want[0:1], describe("key", "e*", "value", "dev", "resource-id", id)); d != "" {
		t.Errorf("filtered tags (-want +got):\n%s", d)
	}
	rules := must(b.DescribeSecurityGroupRules(b.ctx, &ec2.DescribeSecurityGroupRulesInput{Filters: filter("tag:why", "web")}))(t).SecurityGroupRules
	if len(rules) != 1 || *rules[0].SecurityGroupRuleId != *rule.SecurityGroupRuleId {
		t.Errorf("rules by tag = %+v", rules)
	}
	must(b.DeleteTags(b.ctx, &ec2.DeleteTagsInput{Resources: []string{sn, b.vpcID()}, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("2")}}}))(t)
	if got := describe("key", "a"); len(got) != 3 {
		t.Errorf("a tag of another value was deleted: %v", got)
	}
	must(b.DeleteTags(b.ctx, &ec2.DeleteTagsInput{Resources: []string{sn}, Tags: []types.Tag{{Key: aws.String("a")}}}))(t)
	must(b.DeleteTags(b.ctx, &ec2.DeleteTagsInput{Resources: []string{b.vpcID(), *rule.SecurityGroupRuleId}}))(t)
	if d := cmp.Diff(want[:1], describe()); d != "" {
		t.Errorf("left (-want +got):\n%s", d)
	}
	_, err := b.CreateTags(b.ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: []types.Tag{{Key: aws.String("aws:x")}}})
	wantError(t, "aws:", err, "InvalidParameterValue", "")
	_, err = b.CreateTags(b.ctx, &ec2.CreateTagsInput{Resources: []string{id, "subnet-1"}, Tags: []types.Tag{{Key: aws.String("b")}}})
	wantError(t, "one of two", err, "InvalidSubnetID.NotFound", "")
	if got := describe("key", "b"); got != nil {
		t.Errorf("a call that failed tagged %v", got)
	}
	_, err = b.CreateSecurityGroup(b.ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("x"), Description: aws.String("d"), TagSpecifications: spec("vpc", "a", "b")})
	wantError(t, "another resource's tags", err, "InvalidParameterValue", "'vpc' is not a valid taggable resource type for this operation.")
}

func TestWildcard(t *testing.T) {
	for _, tc := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "abc", true}, {"a*c", "abbc", true}, {"a*c", "abcd", false}, {"a?c", "abc", true},
		{"a?c", "ac", false}, {"*b*", "abc", true}, {`\*`, "*", true}, {`\*`, "a", false}, {`a\?`, "a?", true}, {"A", "a", false}, {"?", "ü", true},
		{"*a*a*a*a*b", strings.Repeat("a", 2000), false},
	} {
		if got := wildcard(tc.pattern, tc.s); got != tc.want {
			t.Errorf("wildcard(%q, %.20q) = %v, want %v", tc.pattern, tc.s, got, tc.want)
		}
	}
}

// When a call that changed rules returns, they are in force; a dry run changes none.
func TestRules_AreInForceWhenTheCallReturns(t *testing.T) {
	b := newBench(t)
	var applied []string
	b.o.Apply = func(_ context.Context, _ arn.Scope, vpc string) error {
		applied = append(applied, vpc)
		return nil
	}
	vpcs, err := b.DescribeVpcs(b.ctx, &ec2.DescribeVpcsInput{})
	if err != nil {
		t.Fatal(err)
	}
	vpc := *vpcs.Vpcs[0].VpcId
	g, err := b.CreateSecurityGroup(b.ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("g"), Description: aws.String("d"), VpcId: &vpc})
	if err != nil {
		t.Fatal(err)
	}
	in := &ec2.AuthorizeSecurityGroupIngressInput{GroupId: g.GroupId, IpProtocol: aws.String("tcp"), FromPort: aws.Int32(80), ToPort: aws.Int32(80), CidrIp: aws.String("0.0.0.0/0"), DryRun: aws.Bool(true)}
	_, _ = b.AuthorizeSecurityGroupIngress(b.ctx, in)
	if len(applied) != 0 {
		t.Errorf("a dry run was applied: %v", applied)
	}
	in.DryRun = nil
	if _, err := b.AuthorizeSecurityGroupIngress(b.ctx, in); err != nil {
		t.Fatal(err)
	}
	if _, err := b.RevokeSecurityGroupIngress(b.ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: g.GroupId, IpPermissions: []types.IpPermission{{IpProtocol: aws.String("tcp"),
		FromPort: aws.Int32(80), ToPort: aws.Int32(80), IpRanges: []types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}}}}}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(applied, []string{vpc, vpc}) {
		t.Errorf("applied: %v", applied)
	}
}
