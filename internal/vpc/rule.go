package vpc

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// maxRules is how many rules a group may have in one direction. Source: VPC user guide, quotas.
const maxRules = 60

// AuthorizeSecurityGroupIngress lets traffic in. One rule that is there already fails the whole call.
func (s *Service) AuthorizeSecurityGroupIngress(ctx context.Context, in *ec2.AuthorizeSecurityGroupIngressInput) (*ec2.AuthorizeSecurityGroupIngressOutput, error) {
	if err := onlyMembers(in, "CidrIp", "DryRun", "FromPort", "GroupId", "GroupName", "IpPermissions", "IpProtocol", "TagSpecifications", "ToPort"); err != nil {
		return nil, err
	}
	perms, err := simple(in.IpPermissions, in.IpProtocol, in.FromPort, in.ToPort, in.CidrIp)
	if err != nil {
		return nil, err
	}
	added, err := s.authorize(ctx, change{in.DryRun, in.GroupId, in.GroupName, perms, false}, in.TagSpecifications)
	return &ec2.AuthorizeSecurityGroupIngressOutput{Return: aws.Bool(true), SecurityGroupRules: added}, err
}

// AuthorizeSecurityGroupEgress lets traffic out.
func (s *Service) AuthorizeSecurityGroupEgress(ctx context.Context, in *ec2.AuthorizeSecurityGroupEgressInput) (*ec2.AuthorizeSecurityGroupEgressOutput, error) {
	// The other members are "not supported, use a set of IP permissions" on AWS, too.
	if err := onlyMembers(in, "DryRun", "GroupId", "IpPermissions", "TagSpecifications"); err != nil {
		return nil, err
	}
	added, err := s.authorize(ctx, change{in.DryRun, in.GroupId, nil, in.IpPermissions, true}, in.TagSpecifications)
	return &ec2.AuthorizeSecurityGroupEgressOutput{Return: aws.Bool(true), SecurityGroupRules: added}, err
}

// RevokeSecurityGroupIngress takes rules away, by what they admit or by their ids.
func (s *Service) RevokeSecurityGroupIngress(ctx context.Context, in *ec2.RevokeSecurityGroupIngressInput) (*ec2.RevokeSecurityGroupIngressOutput, error) {
	if err := onlyMembers(in, "CidrIp", "DryRun", "FromPort", "GroupId", "GroupName", "IpPermissions", "IpProtocol", "SecurityGroupRuleIds", "ToPort"); err != nil {
		return nil, err
	}
	perms, err := simple(in.IpPermissions, in.IpProtocol, in.FromPort, in.ToPort, in.CidrIp)
	if err != nil {
		return nil, err
	}
	gone, unknown, err := s.revoke(ctx, change{in.DryRun, in.GroupId, in.GroupName, perms, false}, in.SecurityGroupRuleIds)
	return &ec2.RevokeSecurityGroupIngressOutput{Return: aws.Bool(true), RevokedSecurityGroupRules: gone, UnknownIpPermissions: unknown}, err
}

// RevokeSecurityGroupEgress takes rules away, by what they admit or by their ids.
func (s *Service) RevokeSecurityGroupEgress(ctx context.Context, in *ec2.RevokeSecurityGroupEgressInput) (*ec2.RevokeSecurityGroupEgressOutput, error) {
	if err := onlyMembers(in, "DryRun", "GroupId", "IpPermissions", "SecurityGroupRuleIds"); err != nil {
		return nil, err
	}
	gone, unknown, err := s.revoke(ctx, change{in.DryRun, in.GroupId, nil, in.IpPermissions, true}, in.SecurityGroupRuleIds)
	return &ec2.RevokeSecurityGroupEgressOutput{Return: aws.Bool(true), RevokedSecurityGroupRules: gone, UnknownIpPermissions: unknown}, err
}

// groupRule is a rule with its group, as DescribeSecurityGroupRules lists them.
type groupRule struct {
	state.SecurityGroupRule
	group  state.SecurityGroup
	egress bool
}

// ruleFields are the filters of DescribeSecurityGroupRules. Source: API reference.
var ruleFields = fields[groupRule]{
	"group-id":               func(r groupRule) []string { return []string{r.group.ID} },
	"security-group-rule-id": func(r groupRule) []string { return []string{r.ID} },
}

// DescribeSecurityGroupRules shows rules one by one.
func (s *Service) DescribeSecurityGroupRules(ctx context.Context, in *ec2.DescribeSecurityGroupRulesInput) (*ec2.DescribeSecurityGroupRulesOutput, error) {
	if err := onlyMembers(in, "DryRun", "Filters", "MaxResults", "NextToken", "SecurityGroupRuleIds"); err != nil {
		return nil, err
	}
	out := &ec2.DescribeSecurityGroupRulesOutput{SecurityGroupRules: []types.SecurityGroupRule{}}
	err := s.view(ctx, in.DryRun, func(tx store.Reader, sc arn.Scope) error {
		all, err := groupRules(tx, sc)
		if err != nil {
			return err
		}
		page, next, err := query[groupRule]{
			kind: kindRule, ids: in.SecurityGroupRuleIds, filters: in.Filters, max: in.MaxResults, token: in.NextToken, fields: ruleFields,
			id: func(r groupRule) string { return r.ID }, tags: func(r groupRule) map[string]string { return r.Tags },
		}.run(all)
		for _, r := range page {
			out.SecurityGroupRules = append(out.SecurityGroupRules, ruleView(r))
		}
		out.NextToken = next
		return err
	})
	return out, err
}

// Private

// change is what the four operations on rules have in common.
type change struct {
	dryRun      *bool
	id, name    *string // of the group
	permissions []types.IpPermission
	egress      bool
}

// list is the side of a group that the change is about.
func (c change) list(g *state.SecurityGroup) *[]state.SecurityGroupRule {
	if c.egress {
		return &g.Egress
	}
	return &g.Ingress
}

// simple is the short form of ingress: one protocol, range of ports and CIDR beside the list.
func simple(perms []types.IpPermission, proto *string, from, to *int32, cidr *string) ([]types.IpPermission, error) {
	if proto == nil && from == nil && to == nil && cidr == nil {
		return perms, nil
	}
	if len(perms) > 0 {
		return nil, awsError("InvalidParameterCombination", "The parameter ipPermissions may not be used in combination with ipProtocol, fromPort, toPort or cidrIp")
	}
	if cidr == nil {
		return nil, missing("CidrIp")
	}
	return []types.IpPermission{{IpProtocol: proto, FromPort: from, ToPort: to, IpRanges: []types.IpRange{{CidrIp: cidr}}}}, nil
}

func (s *Service) authorize(ctx context.Context, c change, specs []types.TagSpecification) (added []types.SecurityGroupRule, err error) {
	tags, err := specTags(specs, types.ResourceTypeSecurityGroupRule)
	if err != nil {
		return nil, err
	}
	if len(c.permissions) == 0 {
		return nil, missing("IpPermissions")
	}
	var vpc string
	err = s.update(ctx, c.dryRun, func(tx *store.WriteTx, sc arn.Scope) error {
		g, err := group(tx, sc, c.id, c.name)
		if err != nil {
			return err
		}
		vpc = g.Val.VPC
		news, err := rules(tx, g.Val, c.permissions)
		if err != nil {
			return err
		}
		list := c.list(&g.Val)
		for _, r := range news {
			if slices.ContainsFunc(*list, r.Same) {
				return awsError("InvalidPermission.Duplicate", `the specified rule "%s" already exists`, describe(r))
			}
			r.ID, r.Tags = state.NewEC2ID("sgr"), tags
			*list = append(*list, r)
			added = append(added, ruleView(groupRule{r, g.Val, c.egress}))
		}
		if len(*list) > maxRules {
			return errTooManyRules
		}
		return state.SecurityGroups.Put(tx, &g)
	})
	if err == nil {
		s.enforce(ctx, vpc)
	}
	return added, err
}

func (s *Service) revoke(ctx context.Context, c change, ids []string) (gone []types.RevokedSecurityGroupRule, unknown []types.IpPermission, err error) {
	switch {
	case len(ids) > 0 && len(c.permissions) > 0:
		return nil, nil, awsError("InvalidParameterCombination", "The parameter securityGroupRuleIds cannot be used with the parameter ipPermissions")
	case len(ids)+len(c.permissions) == 0:
		return nil, nil, missing("IpPermissions or SecurityGroupRuleIds")
	}
	var vpc string
	err = s.update(ctx, c.dryRun, func(tx *store.WriteTx, sc arn.Scope) error {
		g, err := group(tx, sc, c.id, c.name)
		if err != nil {
			return err
		}
		vpc = g.Val.VPC
		v, err := state.VPCs.Get(tx, sc.Key(g.Val.VPC))
		if err != nil {
			return err
		}
		wanted, err := chosen(tx, g.Val, c, ids)
		if err != nil {
			return err
		}
		var lost []state.SecurityGroupRule
		list := c.list(&g.Val)
		for _, r := range wanted {
			i := slices.IndexFunc(*list, r.Same)
			if i < 0 {
				lost = append(lost, r)
				continue
			}
			gone = append(gone, revoked(groupRule{(*list)[i], g.Val, c.egress}))
			*list = slices.Delete(*list, i, i+1)
		}
		// Source: RevokeSecurityGroupIngress: in a default VPC rules that aren't there are only
		// told, elsewhere they are an error and nothing is revoked.
		if len(lost) > 0 && !v.Val.Default {
			return errPermissionNotFound
		}
		unknown = permissions(sc, lost)
		return state.SecurityGroups.Put(tx, &g)
	})
	if err == nil {
		s.enforce(ctx, vpc)
	}
	return gone, unknown, err
}

// chosen are the rules to revoke, by id or by what they admit.
func chosen(tx store.Reader, g state.SecurityGroup, c change, ids []string) ([]state.SecurityGroupRule, error) {
	if len(ids) == 0 {
		return rules(tx, g, c.permissions)
	}
	var out []state.SecurityGroupRule
	for _, id := range ids {
		if err := kindRule.check(id); err != nil {
			return nil, err
		}
		list := *c.list(&g)
		i := slices.IndexFunc(list, func(r state.SecurityGroupRule) bool { return r.ID == id })
		if i < 0 {
			return nil, kindRule.notFound(id)
		}
		out = append(out, list[i])
	}
	return out, nil
}

// groupRules reads the scope's rules.
func groupRules(tx store.Reader, sc arn.Scope) ([]groupRule, error) {
	var out []groupRule
	for g, err := range state.SecurityGroups.List(tx, sc.Key()) {
		if err != nil {
			return nil, err
		}
		for _, r := range g.Val.Ingress {
			out = append(out, groupRule{r, g.Val, false})
		}
		for _, r := range g.Val.Egress {
			out = append(out, groupRule{r, g.Val, true})
		}
	}
	return out, nil
}

func ruleView(r groupRule) types.SecurityGroupRule {
	sc := r.group.Scope
	v := types.SecurityGroupRule{
		SecurityGroupRuleId: aws.String(r.ID), SecurityGroupRuleArn: aws.String(sc.ARN("ec2", "security-group-rule/"+r.ID)),
		GroupId: aws.String(r.group.ID), GroupOwnerId: aws.String(sc.Account), IsEgress: aws.Bool(r.egress), IpProtocol: aws.String(r.Protocol),
		FromPort: aws.Int32(r.From), ToPort: aws.Int32(r.To), CidrIpv4: optional(r.CIDR), Description: optional(r.Description), Tags: tagList(r.Tags),
	}
	if r.Group != "" {
		v.ReferencedGroupInfo = &types.ReferencedSecurityGroup{GroupId: aws.String(r.Group), UserId: aws.String(sc.Account), VpcId: aws.String(r.group.VPC)}
	}
	return v
}

func revoked(r groupRule) types.RevokedSecurityGroupRule {
	return types.RevokedSecurityGroupRule{SecurityGroupRuleId: aws.String(r.ID), GroupId: aws.String(r.group.ID), IsEgress: aws.Bool(r.egress),
		IpProtocol: aws.String(r.Protocol), FromPort: aws.Int32(r.From), ToPort: aws.Int32(r.To), CidrIpv4: optional(r.CIDR),
		ReferencedGroupId: optional(r.Group), Description: optional(r.Description)}
}

// describe words a rule as EC2 does in its error texts.
func describe(r state.SecurityGroupRule) string {
	s := "peer: " + r.CIDR + r.Group + ", "
	if r.Protocol == "-1" {
		return s + "ALL, ALLOW"
	}
	return s + fmt.Sprintf("%s, from port: %d, to port: %d, ALLOW", strings.ToUpper(r.Protocol), r.From, r.To)
}
