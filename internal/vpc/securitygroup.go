package vpc

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/lazyregexp"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// maxGroups is how many groups an account may have in a region. Source: VPC user guide, quotas.
const maxGroups = 2500

// textRE is what names and descriptions are made of. Source: CreateSecurityGroup.
var textRE = lazyregexp.New(`^[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{1,255}$`)

// CreateSecurityGroup makes a group that lets nothing in and everything out.
func (s *Service) CreateSecurityGroup(ctx context.Context, in *ec2.CreateSecurityGroupInput) (*ec2.CreateSecurityGroupOutput, error) {
	if err := onlyMembers(in, "Description", "GroupName", "DryRun", "TagSpecifications", "VpcId"); err != nil {
		return nil, err
	}
	if err := checkGroupText(aws.ToString(in.GroupName), aws.ToString(in.Description)); err != nil {
		return nil, err
	}
	tags, err := specTags(in.TagSpecifications, types.ResourceTypeSecurityGroup)
	if err != nil {
		return nil, err
	}
	out := &ec2.CreateSecurityGroupOutput{Tags: tagList(tags)}
	err = s.update(ctx, in.DryRun, func(tx *store.WriteTx, sc arn.Scope) error {
		v, err := groupVPC(tx, sc, aws.ToString(in.VpcId))
		if err != nil {
			return err
		}
		n := 0
		for g, err := range state.SecurityGroups.List(tx, sc.Key()) {
			if err != nil {
				return err
			}
			if g.Val.VPC == v.ID && g.Val.Name == *in.GroupName {
				return awsError("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", *in.GroupName, v.ID)
			}
			n++
		}
		if n >= maxGroups {
			return errTooManyGroups
		}
		g := state.SecurityGroup{Scope: sc, ID: state.NewEC2ID("sg"), VPC: v.ID, Name: *in.GroupName, Description: *in.Description,
			Egress: []state.SecurityGroupRule{state.AllEgress()}, Tags: tags, CreatedAt: tx.Now()}
		out.GroupId, out.SecurityGroupArn = aws.String(g.ID), aws.String(g.ARN())
		return state.SecurityGroups.Put(tx, &store.Object[state.SecurityGroup]{Key: sc.Key(g.ID), Val: g})
	})
	return out, err
}

// DeleteSecurityGroup removes a group that nothing uses: no interface, no other group's rule, no
// load balancer.
func (s *Service) DeleteSecurityGroup(ctx context.Context, in *ec2.DeleteSecurityGroupInput) (*ec2.DeleteSecurityGroupOutput, error) {
	if err := onlyMembers(in, "DryRun", "GroupId", "GroupName"); err != nil {
		return nil, err
	}
	out := &ec2.DeleteSecurityGroupOutput{Return: aws.Bool(true)}
	err := s.update(ctx, in.DryRun, func(tx *store.WriteTx, sc arn.Scope) error {
		g, err := group(tx, sc, in.GroupId, in.GroupName)
		if err != nil {
			return err
		}
		if g.Val.Default {
			return awsError("CannotDelete", `the specified group: "%s" name: "%s" cannot be deleted by a user`, g.Val.ID, g.Val.Name)
		}
		used, err := groupUsed(tx, sc, g.Val.ID)
		if err != nil {
			return err
		}
		if used {
			return awsError("DependencyViolation", "resource %s has a dependent object", g.Val.ID)
		}
		out.GroupId = aws.String(g.Val.ID)
		return state.SecurityGroups.Delete(tx, g.Key, g.Rev)
	})
	return out, err
}

// DescribeSecurityGroups shows groups, rules of the same protocol and ports together.
func (s *Service) DescribeSecurityGroups(ctx context.Context, in *ec2.DescribeSecurityGroupsInput) (*ec2.DescribeSecurityGroupsOutput, error) {
	if err := onlyMembers(in, "DryRun", "Filters", "GroupIds", "GroupNames", "MaxResults", "NextToken"); err != nil {
		return nil, err
	}
	out := &ec2.DescribeSecurityGroupsOutput{SecurityGroups: []types.SecurityGroup{}}
	err := s.view(ctx, in.DryRun, func(tx store.Reader, sc arn.Scope) error {
		ids := slices.Clone(in.GroupIds)
		for _, name := range in.GroupNames { // names are those of the default VPC; ids will do, too
			if strings.HasPrefix(name, kindGroup.prefix) {
				ids = append(ids, name)
				continue
			}
			g, err := group(tx, sc, nil, &name)
			if err != nil {
				return err
			}
			ids = append(ids, g.Val.ID)
		}
		all, err := values(state.SecurityGroups.List(tx, sc.Key()))
		if err != nil {
			return err
		}
		names := map[string]string{}
		for _, g := range all {
			names[g.ID] = g.Name
		}
		page, next, err := query[state.SecurityGroup]{
			kind: kindGroup, ids: ids, filters: in.Filters, max: in.MaxResults, token: in.NextToken, fields: groupFields(names),
			id: func(g state.SecurityGroup) string { return g.ID }, tags: func(g state.SecurityGroup) map[string]string { return g.Tags },
		}.run(all)
		for _, g := range page {
			out.SecurityGroups = append(out.SecurityGroups, groupView(g))
		}
		out.NextToken = next
		return err
	})
	return out, err
}

// Private

// groupFields are the filters of DescribeSecurityGroups. Source: API reference.
func groupFields(names map[string]string) fields[state.SecurityGroup] {
	type g = state.SecurityGroup
	f := fields[g]{
		"description": func(g g) []string { return []string{g.Description} },
		"group-id":    func(g g) []string { return []string{g.ID} },
		"group-name":  func(g g) []string { return []string{g.Name} },
		"owner-id":    func(g g) []string { return []string{g.Scope.Account} },
		"vpc-id":      func(g g) []string { return []string{g.VPC} },
	}
	add := func(prefix string, rules func(g) []state.SecurityGroupRule) {
		each := func(get func(state.SecurityGroupRule, g) string) func(g) []string {
			return func(g g) []string {
				var out []string
				for _, r := range rules(g) {
					if v := get(r, g); v != "" {
						out = append(out, v)
					}
				}
				return out
			}
		}
		f[prefix+"cidr"] = each(func(r state.SecurityGroupRule, _ g) string { return r.CIDR })
		f[prefix+"group-id"] = each(func(r state.SecurityGroupRule, _ g) string { return r.Group })
		f[prefix+"group-name"] = each(func(r state.SecurityGroupRule, _ g) string { return names[r.Group] })
		f[prefix+"protocol"] = each(func(r state.SecurityGroupRule, _ g) string { return r.Protocol })
		f[prefix+"from-port"] = each(func(r state.SecurityGroupRule, _ g) string { return strconv.Itoa(int(r.From)) })
		f[prefix+"to-port"] = each(func(r state.SecurityGroupRule, _ g) string { return strconv.Itoa(int(r.To)) })
		f[prefix+"user-id"] = each(func(r state.SecurityGroupRule, g g) string {
			if r.Group == "" {
				return ""
			}
			return g.Scope.Account
		})
		f[prefix+"ipv6-cidr"] = nothing[g]
		f[prefix+"prefix-list-id"] = nothing[g]
	}
	add("ip-permission.", func(g g) []state.SecurityGroupRule { return g.Ingress })
	add("egress.ip-permission.", func(g g) []state.SecurityGroupRule { return g.Egress })
	return f
}

func checkGroupText(name, description string) error {
	switch {
	case name == "":
		return missing("GroupName")
	case description == "":
		return missing("GroupDescription")
	case strings.HasPrefix(name, kindGroup.prefix):
		return invalid("Value (%s) for parameter GroupName is invalid. Group names may not be in the format sg-*.", name)
	case name == "default":
		return awsError("InvalidGroup.Reserved", "The security group 'default' is reserved")
	case !textRE.MatchString(name) || strings.TrimSpace(name) != name:
		return invalid("Value (%s) for parameter GroupName is invalid. Names are 1 to 255 characters from the following set: a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*", name)
	case !textRE.MatchString(description):
		return invalid("Value (%s) for parameter GroupDescription is invalid. Invalid security group description. Valid descriptions are strings less than 256 characters from the following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*", description)
	}
	return nil
}

// groupVPC is the VPC that a new group belongs to: the default one unless named.
func groupVPC(tx store.Reader, sc arn.Scope, id string) (state.VPC, error) {
	if id == "" {
		return defaultVPC(tx, sc)
	}
	v, err := get(tx, state.VPCs, sc, kindVPC, id)
	return v.Val, err
}

// group finds a group by id, or by name in the default VPC.
func group(tx store.Reader, sc arn.Scope, id, name *string) (store.Object[state.SecurityGroup], error) {
	var none store.Object[state.SecurityGroup]
	switch {
	case aws.ToString(id) != "" && aws.ToString(name) != "":
		return none, awsError("InvalidParameterCombination", "The parameter groupName cannot be used with the parameter groupId")
	case aws.ToString(id) != "":
		return get(tx, state.SecurityGroups, sc, kindGroup, *id)
	case aws.ToString(name) == "":
		return none, missing("groupName or groupId")
	}
	v, err := defaultVPC(tx, sc)
	if err != nil {
		return none, err
	}
	for g, err := range state.SecurityGroups.List(tx, sc.Key()) {
		if err != nil {
			return none, err
		}
		if g.Val.VPC == v.ID && g.Val.Name == *name {
			return g, nil
		}
	}
	return none, awsError(kindGroup.absent, "The security group '%s' does not exist in default VPC '%s'", *name, v.ID)
}

// groupUsed reports whether something would miss the group.
func groupUsed(tx store.Reader, sc arn.Scope, id string) (bool, error) {
	for e, err := range state.NetworkInterfaces.List(tx, sc.Key()) {
		if err != nil || slices.Contains(e.Val.Groups, id) {
			return err == nil, err
		}
	}
	for g, err := range state.SecurityGroups.List(tx, sc.Key()) {
		if err != nil {
			return false, err
		}
		names := func(r state.SecurityGroupRule) bool { return r.Group == id }
		if g.Val.ID != id && (slices.ContainsFunc(g.Val.Ingress, names) || slices.ContainsFunc(g.Val.Egress, names)) {
			return true, nil
		}
	}
	return false, nil
}

// get reads a record by id, or says in EC2's words that there is none.
func get[T any](tx store.Reader, table store.Table[T], sc arn.Scope, k kind, id string) (store.Object[T], error) {
	if err := k.check(id); err != nil {
		return store.Object[T]{}, err
	}
	o, err := table.Get(tx, sc.Key(id))
	if errors.Is(err, store.ErrNotFound) {
		return o, k.notFound(id)
	}
	return o, err
}

func groupView(g state.SecurityGroup) types.SecurityGroup {
	return types.SecurityGroup{
		GroupId: &g.ID, GroupName: &g.Name, Description: &g.Description, VpcId: &g.VPC, OwnerId: &g.Scope.Account, SecurityGroupArn: aws.String(g.ARN()),
		IpPermissions: permissions(g.Scope, g.Ingress), IpPermissionsEgress: permissions(g.Scope, g.Egress), Tags: tagList(g.Tags),
	}
}
