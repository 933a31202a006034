package efs

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/efs"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

func volumeOf(id string) types.Volume {
	return types.Volume{Name: aws.String("v"), EfsVolumeConfiguration: &types.EFSVolumeConfiguration{FileSystemId: &id}}
}

// A task mounts what AWS would let it mount.
func TestMount(t *testing.T) {
	l := newLab(t)
	id, other := l.fileSystem("a"), l.fileSystem("b")
	l.target(id, l.subnets[0])
	point, err := l.CreateAccessPoint(t.Context(), &efs.CreateAccessPointInput{FileSystemId: &other})
	if err != nil {
		t.Fatal(err)
	}
	group := func(name string, ingress, egress []state.SecurityGroupRule) string {
		g := state.SecurityGroup{Scope: here, ID: state.NewEC2ID("sg"), VPC: l.vpc, Name: name, Ingress: ingress, Egress: egress}
		l.update(func(tx *store.WriteTx) error {
			return state.SecurityGroups.Put(tx, &store.Object[state.SecurityGroup]{Key: here.Key(g.ID), Val: g})
		})
		return g.ID
	}
	all := []state.SecurityGroupRule{state.AllEgress()}
	client, mute := group("client", nil, all), group("mute", nil, nil)
	rule := func(protocol string, from, to int32, cidr, group string) []state.SecurityGroupRule {
		return []state.SecurityGroupRule{{Protocol: protocol, From: from, To: to, CIDR: cidr, Group: group}}
	}
	mount := func(subnet int, groups []string, fs, point string) error {
		var out error
		l.update(func(tx *store.WriteTx) error {
			e, err := state.NewInterface(tx, state.NewInterfaceInput{Scope: here, Subnet: l.subnets[subnet], Groups: groups, Task: strings.Repeat("a", 32)})
			if err != nil {
				return err
			}
			_, out = state.MountEFS(tx, here, e.ID, fs, point)
			return state.ReleaseInterface(tx, here, e.ID)
		})
		return out
	}
	target, err := l.DescribeMountTargets(t.Context(), &efs.DescribeMountTargetsInput{FileSystemId: &id})
	if err != nil {
		t.Fatal(err)
	}
	guard := func(groups ...string) {
		t.Helper()
		in := &efs.ModifyMountTargetSecurityGroupsInput{MountTargetId: target.MountTargets[0].MountTargetId, SecurityGroups: groups}
		if _, err := l.ModifyMountTargetSecurityGroups(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	const timeout, unresolved = "Connection timed out", "Failed to resolve"
	for _, tc := range []struct {
		name      string
		ingress   []state.SecurityGroupRule
		subnet    int
		group     string
		fs, point string
		want      string
	}{
		{"from the client's group", rule("tcp", 2049, 2049, "", client), 0, client, id, "", ""},
		{"from its addresses", rule("tcp", 2000, 3000, "172.31.0.0/16", ""), 0, client, id, "", ""},
		{"everything", rule("-1", -1, -1, "0.0.0.0/0", ""), 0, client, id, "", ""},
		{"nothing", nil, 0, client, id, "", timeout},
		{"another port", rule("tcp", 80, 80, "0.0.0.0/0", ""), 0, client, id, "", timeout},
		{"another protocol", rule("udp", 2049, 2049, "0.0.0.0/0", ""), 0, client, id, "", timeout},
		{"another group", rule("tcp", 2049, 2049, "", mute), 0, client, id, "", timeout},
		{"other addresses", rule("tcp", 2049, 2049, "10.0.0.0/8", ""), 0, client, id, "", timeout},
		{"the client lets nothing out", rule("-1", -1, -1, "0.0.0.0/0", ""), 0, mute, id, "", timeout},
		{"another zone", rule("-1", -1, -1, "0.0.0.0/0", ""), 1, client, id, "", unresolved},
		{"no mount target", nil, 0, client, other, "", unresolved},
		{"no file system", nil, 0, client, "fs-0", "", unresolved},
		{"another's access point", rule("-1", -1, -1, "0.0.0.0/0", ""), 0, client, id, *point.AccessPointId, "access denied by server"},
	} {
		guard(group(tc.name, tc.ingress, all))
		err := mount(tc.subnet, []string{tc.group}, tc.fs, tc.point)
		var refused *state.MountError
		if tc.want == "" && err != nil || tc.want != "" && (!errors.As(err, &refused) || !strings.Contains(refused.Error(), tc.want)) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}
