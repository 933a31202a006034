package ecs

import (
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// awsvpc checks a network configuration: subnets and groups of one VPC. Without groups the
// VPC's default group is taken, as on AWS.
func awsvpc(tx store.Reader, sc arn.Scope, in *types.NetworkConfiguration) (state.AwsvpcConfiguration, error) {
	var out state.AwsvpcConfiguration
	if in == nil || in.AwsvpcConfiguration == nil {
		return out, invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
	}
	c := in.AwsvpcConfiguration
	if err := onlyMembers("networkConfiguration", *in, "AwsvpcConfiguration"); err != nil {
		return out, err
	}
	if err := onlyMembers("awsvpcConfiguration", *c, "Subnets", "SecurityGroups", "AssignPublicIp"); err != nil {
		return out, err
	}
	switch {
	case len(c.Subnets) == 0:
		return out, invalid("subnets can not be empty.")
	case len(c.Subnets) > 16:
		return out, invalid("subnets can have at most 16 items.")
	case len(c.SecurityGroups) > 5:
		return out, invalid("securityGroups can have at most 5 items.")
	}
	vpc := ""
	for _, id := range c.Subnets {
		sn, err := state.Subnets.Get(tx, sc.Key(id))
		if errors.Is(err, store.ErrNotFound) {
			return out, invalid("Error retrieving subnet information for [%s]: The subnet ID '%s' does not exist (ErrorCode: InvalidSubnetID.NotFound)", id, id)
		}
		if err != nil {
			return out, err
		}
		if vpc != "" && vpc != sn.Val.VPC {
			return out, invalid("All subnets must be in the same VPC.")
		}
		vpc = sn.Val.VPC
	}
	out = state.AwsvpcConfiguration{Subnets: c.Subnets, SecurityGroups: c.SecurityGroups, AssignPublicIP: c.AssignPublicIp == types.AssignPublicIpEnabled}
	if len(out.SecurityGroups) == 0 {
		id, err := state.DefaultSecurityGroup(tx, sc, vpc)
		if err != nil {
			return out, err
		}
		out.SecurityGroups = []string{id}
	}
	for _, id := range out.SecurityGroups {
		g, err := state.SecurityGroups.Get(tx, sc.Key(id))
		if errors.Is(err, store.ErrNotFound) {
			return out, invalid("Error retrieving security group information for [%s]: The security group '%s' does not exist (ErrorCode: InvalidGroup.NotFound)", id, id)
		}
		if err != nil {
			return out, err
		}
		if g.Val.VPC != vpc {
			return out, invalid("Security group %s and subnet %s belong to different networks.", id, c.Subnets[0])
		}
	}
	return out, nil
}
