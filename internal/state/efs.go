package state

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/store"
)

// EFS's records: intent. A file system's files lie in a directory of its name, which is made when a task first needs it.
var (
	FileSystems  = store.NewTable[FileSystem]("efs.file-system")   // scope/id
	MountTargets = store.NewTable[MountTarget]("efs.mount-target") // scope/id
	AccessPoints = store.NewTable[AccessPoint]("efs.access-point") // scope/id
)

// A FileSystem is files that outlive the tasks that share them.
type FileSystem struct {
	Scope          arn.Scope
	ID             string // fs-<17 hex>
	Token          string // of its creation, the caller's
	ThroughputMode string // bursting, elastic: as given, a disk knows neither
	Deleting       bool   // its files are being removed, the record goes last
	Tags           map[string]string
	CreatedAt      time.Time
}

// ARN names the file system.
func (f FileSystem) ARN() string {
	return f.Scope.ARN("elasticfilesystem", "file-system/"+f.ID)
}

// A MountTarget is where tasks of one zone reach a file system: its interface's groups must admit them.
type MountTarget struct {
	Scope         arn.Scope
	ID            string // fsmt-<17 hex>
	FileSystem    string
	ENI           string
	VPC, Subnet   string
	Zone, Address string
}

// An AccessPoint is a way into a file system: a directory of it, and who a client there is.
type AccessPoint struct {
	Scope      arn.Scope
	ID         string // fsap-<17 hex>
	Token      string // of its creation, the caller's
	FileSystem string
	Path       string     // of its root directory, absolute and clean
	Create     *Creation  // how the root directory is made when it isn't there; nil: it must be there
	User       *POSIXUser // whom all clients are taken for; nil: who they are
	Tags       map[string]string
	CreatedAt  time.Time
}

// ARN names the access point.
func (a AccessPoint) ARN() string {
	return a.Scope.ARN("elasticfilesystem", "access-point/"+a.ID)
}

// Creation is the owner and the permissions of a directory that is made.
type Creation struct {
	UID, GID    int64
	Permissions uint32
}

// POSIXUser is a user with groups.
type POSIXUser struct {
	UID, GID  int64
	Secondary []int64
}

// An EFSVolume is the directory of a file system that a task mounts.
type EFSVolume struct {
	FileSystem FileSystem
	Point      *AccessPoint // nil: none
}

// A MountError is why a task can't mount a file system, in the words of the mount helper. Source: reasons as published by
// users of Fargate.
type MountError struct {
	Text string
	Code int // the helper's exit code
}

func (e *MountError) Error() string {
	return fmt.Sprintf("ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: stderr: %s : unsuccessful EFS utils command execution; code: %d", e.Text, e.Code)
}

// MountEFS finds what the task's interface may mount: the file system has a mount target in the interface's zone, whose groups
// admit NFS from it. A *MountError says why not.
func MountEFS(tx store.Reader, sc arn.Scope, eni, fileSystem, accessPoint string) (EFSVolume, error) {
	e, err := NetworkInterfaces.Get(tx, sc.Key(eni))
	if err != nil {
		return EFSVolume{}, err
	}
	fs, err := FileSystems.Get(tx, sc.Key(fileSystem))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return EFSVolume{}, err
	}
	var target *MountTarget
	if err == nil && !fs.Val.Deleting {
		if target, err = mountTargetIn(tx, sc, fileSystem, e.Val.VPC, e.Val.Zone); err != nil {
			return EFSVolume{}, err
		}
	}
	if target == nil {
		return EFSVolume{}, &MountError{fmt.Sprintf("Failed to resolve \"%s.efs.%s.amazonaws.com\" - check that your file system ID is correct, and ensure that "+
			"the VPC has an EFS mount target for this file system ID in the zone %s.", fileSystem, sc.Region, e.Val.Zone), 1}
	}
	ok, err := admitsNFS(tx, sc, e.Val, *target)
	if err != nil {
		return EFSVolume{}, err
	}
	if !ok {
		return EFSVolume{}, &MountError{fmt.Sprintf("b'mount.nfs4: Connection timed out' (port 2049 of the mount target %s: check its security groups and those of the task)", target.ID), 32}
	}
	v := EFSVolume{FileSystem: fs.Val}
	if accessPoint == "" {
		return v, nil
	}
	ap, err := AccessPoints.Get(tx, sc.Key(accessPoint))
	if errors.Is(err, store.ErrNotFound) || err == nil && ap.Val.FileSystem != fileSystem {
		return EFSVolume{}, &MountError{fmt.Sprintf("b'mount.nfs4: access denied by server while mounting 127.0.0.1:/' (%s has no access point %s)", fileSystem, accessPoint), 32}
	}
	v.Point = &ap.Val
	return v, err
}

// MountTargetsOf lists a file system's mount targets.
func MountTargetsOf(tx store.Reader, sc arn.Scope, fileSystem string) ([]MountTarget, error) {
	var out []MountTarget
	for o, err := range MountTargets.List(tx, sc.Key("")) {
		if err != nil {
			return nil, err
		}
		if o.Val.FileSystem == fileSystem {
			out = append(out, o.Val)
		}
	}
	return out, nil
}

// Private

func mountTargetIn(tx store.Reader, sc arn.Scope, fileSystem, vpc, zone string) (*MountTarget, error) {
	all, err := MountTargetsOf(tx, sc, fileSystem)
	for _, m := range all {
		if m.VPC == vpc && m.Zone == zone {
			return &m, nil
		}
	}
	return nil, err
}

const nfsPort = 2049

// admitsNFS says whether the rules of both sides let the task's interface reach the mount target.
func admitsNFS(tx store.Reader, sc arn.Scope, client NetworkInterface, target MountTarget) (bool, error) {
	server, err := NetworkInterfaces.Get(tx, sc.Key(target.ENI))
	if err != nil {
		return false, err
	}
	for _, side := range []struct {
		groups []string
		rules  func(SecurityGroup) []SecurityGroupRule
		peer   NetworkInterface
	}{
		{client.Groups, func(g SecurityGroup) []SecurityGroupRule { return g.Egress }, server.Val},
		{server.Val.Groups, func(g SecurityGroup) []SecurityGroupRule { return g.Ingress }, client},
	} {
		admitted := false
		for _, id := range side.groups {
			g, err := SecurityGroups.Get(tx, sc.Key(id))
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return false, err
			}
			admitted = admitted || slices.ContainsFunc(side.rules(g.Val), func(r SecurityGroupRule) bool { return r.admits(nfsPort, side.peer) })
		}
		if !admitted {
			return false, nil
		}
	}
	return true, nil
}

// admits says whether the rule is for TCP at a port, from or to the peer.
func (r SecurityGroupRule) admits(port int32, peer NetworkInterface) bool {
	if r.Protocol != "-1" && (!strings.EqualFold(r.Protocol, "tcp") || port < r.From || port > r.To) {
		return false
	}
	if r.Group != "" {
		return slices.Contains(peer.Groups, r.Group)
	}
	p, err := netip.ParsePrefix(r.CIDR)
	a, aerr := netip.ParseAddr(peer.Address)
	return err == nil && aerr == nil && p.Contains(a)
}
