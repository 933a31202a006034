package efs

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/efs"
	"github.com/aws/aws-sdk-go-v2/service/efs/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// maxGroups is how many security groups a mount target has at most. Source: API reference, CreateMountTarget.
const maxGroups = 5

// CreateMountTarget makes a file system reachable in a subnet's zone, for tasks that its groups admit.
func (s *Service) CreateMountTarget(ctx context.Context, in *efs.CreateMountTargetInput) (*efs.CreateMountTargetOutput, error) {
	if in.IpAddressType != "" && in.IpAddressType != types.IpAddressTypeIpv4Only {
		return nil, badRequest("Lotse has IPv4 only.")
	}
	if err := onlyMembers(in, "FileSystemId", "SubnetId", "SecurityGroups", "IpAddressType"); err != nil {
		return nil, err
	}
	if err := checkGroups(in.SecurityGroups); err != nil {
		return nil, err
	}
	sc, subnet := scope(ctx), aws.ToString(in.SubnetId)
	var made state.MountTarget
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		fs, err := fileSystem(tx, sc, idOf(in.FileSystemId))
		if err != nil {
			return err
		}
		sn, err := state.Subnets.Get(tx, sc.Key(subnet))
		if err != nil {
			return or(err, &awswire.Error{Code: "SubnetNotFound", Message: "The subnet ID '" + subnet + "' does not exist"})
		}
		others, err := state.MountTargetsOf(tx, sc, fs.Val.ID)
		if err != nil {
			return err
		}
		for _, o := range others {
			switch {
			case o.VPC != sn.Val.VPC:
				return conflict("requested subnet for new mount target is not in the same VPC as existing mount targets")
			case o.Zone == sn.Val.Zone:
				return conflict("mount target already exists in this AZ")
			}
		}
		made = state.MountTarget{Scope: sc, ID: state.NewEC2ID("fsmt"), FileSystem: fs.Val.ID, VPC: sn.Val.VPC, Subnet: subnet, Zone: sn.Val.Zone}
		eni, err := state.NewInterface(tx, state.NewInterfaceInput{Scope: sc, Subnet: subnet, Groups: in.SecurityGroups, Requester: "amazon-efs",
			Description: "EFS mount target for " + fs.Val.ID + " (" + made.ID + ")"})
		var full *state.NoFreeAddressError
		if errors.As(err, &full) {
			return &awswire.Error{Code: "NoFreeAddressesInSubnet", Status: http.StatusConflict, Message: full.Error()}
		}
		if err != nil {
			return or(err, noGroup(in.SecurityGroups))
		}
		made.ENI, made.Address = eni.ID, eni.Address
		return state.MountTargets.Put(tx, &store.Object[state.MountTarget]{Key: sc.Key(made.ID), Val: made})
	})
	if err != nil {
		return nil, err
	}
	v := targetView(made)
	return &efs.CreateMountTargetOutput{FileSystemId: v.FileSystemId, LifeCycleState: v.LifeCycleState, MountTargetId: v.MountTargetId, SubnetId: v.SubnetId,
		AvailabilityZoneId: v.AvailabilityZoneId, AvailabilityZoneName: v.AvailabilityZoneName, IpAddress: v.IpAddress, NetworkInterfaceId: v.NetworkInterfaceId,
		OwnerId: v.OwnerId, VpcId: v.VpcId}, nil
}

// DescribeMountTargets lists the mount targets of a file system or access point, or describes one.
func (s *Service) DescribeMountTargets(ctx context.Context, in *efs.DescribeMountTargetsInput) (*efs.DescribeMountTargetsOutput, error) {
	fs, target, point := idOf(in.FileSystemId), aws.ToString(in.MountTargetId), idOf(in.AccessPointId)
	given := slices.DeleteFunc([]string{fs, target, point}, func(s string) bool { return s == "" })
	if len(given) != 1 {
		return nil, badRequest("Specify one of FileSystemId, MountTargetId and AccessPointId.")
	}
	sc := scope(ctx)
	var found []types.MountTargetDescription
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		if target != "" {
			o, err := state.MountTargets.Get(tx, sc.Key(target))
			found = append(found, targetView(o.Val))
			return or(err, noMountTarget(target))
		}
		if point != "" {
			ap, err := state.AccessPoints.Get(tx, sc.Key(point))
			if err != nil {
				return or(err, noAccessPoint(point))
			}
			fs = ap.Val.FileSystem
		}
		if _, err := fileSystem(tx, sc, fs); err != nil {
			return err
		}
		all, err := state.MountTargetsOf(tx, sc, fs)
		for _, m := range all {
			found = append(found, targetView(m))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	out := &efs.DescribeMountTargetsOutput{Marker: in.Marker}
	out.MountTargets, out.NextMarker, err = page(found, in.Marker, in.MaxItems, func(m types.MountTargetDescription) string { return *m.MountTargetId })
	return out, err
}

// DeleteMountTarget removes a mount target. What is mounted stays mounted.
func (s *Service) DeleteMountTarget(ctx context.Context, in *efs.DeleteMountTargetInput) (*efs.DeleteMountTargetOutput, error) {
	sc, id := scope(ctx), aws.ToString(in.MountTargetId)
	return &efs.DeleteMountTargetOutput{}, s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := state.MountTargets.Get(tx, sc.Key(id))
		if err != nil {
			return or(err, noMountTarget(id))
		}
		if err := state.ReleaseInterface(tx, sc, o.Val.ENI); err != nil {
			return err
		}
		return state.MountTargets.Delete(tx, o.Key, 0)
	})
}

// DescribeMountTargetSecurityGroups lists a mount target's groups.
func (s *Service) DescribeMountTargetSecurityGroups(ctx context.Context, in *efs.DescribeMountTargetSecurityGroupsInput) (*efs.DescribeMountTargetSecurityGroupsOutput, error) {
	out := &efs.DescribeMountTargetSecurityGroupsOutput{}
	return out, s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		_, e, err := targetInterface(tx, scope(ctx), aws.ToString(in.MountTargetId))
		out.SecurityGroups = e.Val.Groups
		return err
	})
}

// ModifyMountTargetSecurityGroups replaces a mount target's groups; none is the VPC's default group.
func (s *Service) ModifyMountTargetSecurityGroups(ctx context.Context, in *efs.ModifyMountTargetSecurityGroupsInput) (*efs.ModifyMountTargetSecurityGroupsOutput, error) {
	if err := checkGroups(in.SecurityGroups); err != nil {
		return nil, err
	}
	sc := scope(ctx)
	return &efs.ModifyMountTargetSecurityGroupsOutput{}, s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		m, e, err := targetInterface(tx, sc, aws.ToString(in.MountTargetId))
		if err != nil {
			return err
		}
		groups := in.SecurityGroups
		if len(groups) == 0 {
			id, err := state.DefaultSecurityGroup(tx, sc, m.VPC)
			if err != nil {
				return err
			}
			groups = []string{id}
		}
		for _, id := range groups {
			g, err := state.SecurityGroups.Get(tx, sc.Key(id))
			if err != nil || g.Val.VPC != m.VPC {
				return or(errors.Join(err, notIn(g.Val, m)), noGroup([]string{id}))
			}
		}
		e.Val.Groups = groups
		return state.NetworkInterfaces.Put(tx, &e)
	})
}

// Private

func notIn(g state.SecurityGroup, m state.MountTarget) error {
	if g.VPC != m.VPC {
		return store.ErrNotFound
	}
	return nil
}

func conflict(text string) *awswire.Error {
	return &awswire.Error{Code: "MountTargetConflict", Status: http.StatusConflict, Message: text}
}

func noGroup(ids []string) *awswire.Error {
	return &awswire.Error{Code: "SecurityGroupNotFound", Message: "One or more security groups do not exist in the subnet's VPC: " + strings.Join(ids, ", ")}
}

func checkGroups(ids []string) error {
	if len(ids) > maxGroups {
		return &awswire.Error{Code: "SecurityGroupLimitExceeded", Message: "A mount target has at most 5 security groups."}
	}
	return nil
}

func targetInterface(tx store.Reader, sc arn.Scope, id string) (state.MountTarget, store.Object[state.NetworkInterface], error) {
	m, err := state.MountTargets.Get(tx, sc.Key(id))
	if err != nil {
		return m.Val, store.Object[state.NetworkInterface]{}, or(err, noMountTarget(id))
	}
	e, err := state.NetworkInterfaces.Get(tx, sc.Key(m.Val.ENI))
	return m.Val, e, err
}

func targetView(m state.MountTarget) types.MountTargetDescription {
	v := types.MountTargetDescription{FileSystemId: &m.FileSystem, LifeCycleState: types.LifeCycleStateAvailable, MountTargetId: &m.ID, SubnetId: &m.Subnet,
		AvailabilityZoneName: &m.Zone, IpAddress: &m.Address, NetworkInterfaceId: &m.ENI, OwnerId: &m.Scope.Account, VpcId: &m.VPC}
	for _, z := range state.Zones(m.Scope.Region) {
		if z.Name == m.Zone {
			v.AvailabilityZoneId = aws.String(z.ID)
		}
	}
	return v
}
