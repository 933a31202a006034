package vpc

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// protocols that have a name in permissions, by number. Source: IpPermission.
var protocols = map[string]string{"6": "tcp", "17": "udp", "1": "icmp"}

// rules takes permissions apart: one rule for every source. They have no ids yet.
func rules(tx store.Reader, g state.SecurityGroup, in []types.IpPermission) ([]state.SecurityGroupRule, error) {
	var out []state.SecurityGroupRule
	for _, p := range in {
		if err := onlyMembers(p, "FromPort", "IpProtocol", "IpRanges", "ToPort", "UserIdGroupPairs"); err != nil {
			return nil, err // IPv6 ranges and prefix lists
		}
		base, err := ports(p)
		if err != nil {
			return nil, err
		}
		if len(p.IpRanges)+len(p.UserIdGroupPairs) == 0 {
			return nil, missing("IpRanges or UserIdGroupPairs")
		}
		for _, r := range p.IpRanges {
			rule := base
			rule.Description = aws.ToString(r.Description)
			if rule.CIDR, err = cidr(aws.ToString(r.CidrIp)); err != nil {
				return nil, err
			}
			out = append(out, rule)
		}
		for _, pair := range p.UserIdGroupPairs {
			rule := base
			rule.Description = aws.ToString(pair.Description)
			if rule.Group, err = peer(tx, g, pair); err != nil {
				return nil, err
			}
			out = append(out, rule)
		}
	}
	for _, r := range out {
		if r.Description != "" && !textRE.MatchString(r.Description) {
			return nil, invalid("Invalid rule description. Valid descriptions are strings less than 256 characters from the following set: a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*")
		}
	}
	return out, nil
}

// ports checks a permission's protocol and ports. What has no ports admits all of them.
func ports(p types.IpPermission) (state.SecurityGroupRule, error) {
	proto := strings.ToLower(aws.ToString(p.IpProtocol))
	if name, ok := protocols[proto]; ok {
		proto = name
	}
	r := state.SecurityGroupRule{Protocol: proto, From: -1, To: -1}
	from, to := aws.ToInt32(p.FromPort), aws.ToInt32(p.ToPort)
	given := p.FromPort != nil && p.ToPort != nil
	switch proto {
	case "":
		return r, missing("IpProtocol")
	case "-1", "all":
		r.Protocol = "-1"
		return r, nil
	case "icmpv6", "58":
		return r, awsError("UnsupportedOperation", "Lotse's VPCs have no IPv6, so it does not accept rules for icmpv6.")
	case "icmp":
		if !given {
			return r, invalid("Invalid value 'Must specify both from and to ports with ICMP.' for portRange.")
		}
		// Type and code. Source: IpPermission: all types (-1) have all codes.
		if from < -1 || from > 255 || to < -1 || to > 255 || from == -1 && to != -1 {
			return r, invalid("Invalid value '%d:%d' for ICMP type and code. Both are 0 to 255 or -1 for all, and all types have all codes.", from, to)
		}
		r.From, r.To = from, to
		return r, nil
	case "tcp", "udp":
		switch {
		case !given:
			return r, invalid("Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.")
		case from < 0 || from > 65535 || to < 0 || to > 65535:
			return r, invalid("Invalid value '%d-%d' for portRange. Ports are 0 to 65535.", from, to)
		case from > to:
			return r, invalid("Invalid TCP/UDP port range (%d:%d)", from, to)
		}
		r.From, r.To = from, to
		return r, nil
	}
	n, err := strconv.Atoi(proto)
	if err != nil || n < 1 || n > 255 {
		return r, awsError("InvalidPermission.Malformed", `Unsupported IP protocol "%s"  - supported: [tcp, udp, icmp, -1] and protocol numbers 1 to 255`, proto)
	}
	r.Protocol = strconv.Itoa(n)
	return r, nil
}

// cidr checks an IPv4 range and clears its host bits, as EC2 does.
func cidr(s string) (string, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is4() {
		return "", invalid("CIDR block %s is malformed", s)
	}
	return p.Masked().String(), nil
}

// peer finds the group that a rule of g admits. It lies in the same VPC.
func peer(tx store.Reader, g state.SecurityGroup, pair types.UserIdGroupPair) (string, error) {
	if err := onlyMembers(pair, "Description", "GroupId", "GroupName", "UserId", "VpcId"); err != nil {
		return "", err
	}
	if id := aws.ToString(pair.UserId); id != "" && id != g.Scope.Account {
		return "", kindGroup.notFound(aws.ToString(pair.GroupId) + aws.ToString(pair.GroupName))
	}
	name := pair.GroupName
	if aws.ToString(pair.GroupId) != "" {
		name = nil // what DescribeSecurityGroups shows may carry both; the id tells
	}
	o, err := group(tx, g.Scope, pair.GroupId, name)
	if err != nil {
		return "", err
	}
	if o.Val.VPC != g.VPC || aws.ToString(pair.VpcId) != "" && *pair.VpcId != g.VPC {
		return "", errDifferentNetworks
	}
	return o.Val.ID, nil
}

// permissions puts rules of the same protocol and ports together, as DescribeSecurityGroups shows them.
func permissions(sc arn.Scope, rules []state.SecurityGroupRule) []types.IpPermission {
	out := []types.IpPermission{}
	index := map[string]int{}
	for _, r := range rules {
		key := r.Protocol + " " + strconv.Itoa(int(r.From)) + " " + strconv.Itoa(int(r.To))
		i, ok := index[key]
		if !ok {
			i = len(out)
			index[key] = i
			p := types.IpPermission{IpProtocol: aws.String(r.Protocol), IpRanges: []types.IpRange{}, Ipv6Ranges: []types.Ipv6Range{},
				PrefixListIds: []types.PrefixListId{}, UserIdGroupPairs: []types.UserIdGroupPair{}}
			if hasPorts(r) {
				p.FromPort, p.ToPort = aws.Int32(r.From), aws.Int32(r.To)
			}
			out = append(out, p)
		}
		if r.Group != "" {
			out[i].UserIdGroupPairs = append(out[i].UserIdGroupPairs, types.UserIdGroupPair{GroupId: aws.String(r.Group), UserId: aws.String(sc.Account), Description: optional(r.Description)})
		} else {
			out[i].IpRanges = append(out[i].IpRanges, types.IpRange{CidrIp: aws.String(r.CIDR), Description: optional(r.Description)})
		}
	}
	return out
}

// hasPorts: the others' ports are absent in permissions and -1 in rules.
func hasPorts(r state.SecurityGroupRule) bool {
	return r.Protocol == "tcp" || r.Protocol == "udp" || r.Protocol == "icmp"
}

// optional leaves an empty text out.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
