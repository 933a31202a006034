package ecs

import (
	"fmt"
	"path"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/lazyregexp"
)

// volumes checks a definition's volumes: on Fargate a bind mount is an empty directory of the task.
// Source: DG bind-mounts.
func volumes(in *ecs.RegisterTaskDefinitionInput) ([]types.Volume, error) {
	out := []types.Volume{}
	seen := map[string]bool{}
	for _, v := range in.Volumes {
		name := aws.ToString(v.Name)
		if !nameRE.MatchString(name) {
			return nil, client("Invalid volume name '%s': 1 to 255 letters, digits, hyphens and underscores.", name)
		}
		if seen[name] {
			return nil, client("Volume names must be unique: '%s'.", name)
		}
		seen[name] = true
		if v.Host != nil && aws.ToString(v.Host.SourcePath) != "" {
			return nil, client("host.sourcePath: should not be set for volumes in Fargate.")
		}
		if v.DockerVolumeConfiguration != nil {
			return nil, client("dockerVolumeConfiguration: should not be set for volumes in Fargate.")
		}
		if err := efsVolume(name, v); err != nil {
			return nil, err
		}
		if err := onlyMembers(fmt.Sprintf("volume '%s'", name), v, "Name", "Host", "EfsVolumeConfiguration"); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

var (
	fileSystemRE  = lazyregexp.New(`^fs-[0-9a-f]{8,40}$`) // Source: EFS service model, FileSystemId
	accessPointRE = lazyregexp.New(`^fsap-[0-9a-f]{8,40}$`)
)

// efsVolume checks a volume that is a file system. Source: API reference, EFSVolumeConfiguration and EFSAuthorizationConfig.
func efsVolume(name string, v types.Volume) error {
	c := v.EfsVolumeConfiguration
	if c == nil {
		return nil
	}
	where := fmt.Sprintf("the efsVolumeConfiguration of volume '%s'", name)
	if err := onlyMembers(where, *c, "FileSystemId", "RootDirectory", "TransitEncryption", "AuthorizationConfig"); err != nil {
		return err
	}
	if !fileSystemRE.MatchString(aws.ToString(c.FileSystemId)) {
		return client("Invalid fileSystemId '%s' in %s.", aws.ToString(c.FileSystemId), where)
	}
	root := aws.ToString(c.RootDirectory)
	if root != "" && (!strings.HasPrefix(root, "/") || strings.Contains(root+"/", "/../")) {
		return client("The rootDirectory '%s' in %s is not an absolute path.", root, where)
	}
	a := c.AuthorizationConfig
	if a == nil {
		return nil
	}
	encrypted, point := c.TransitEncryption == types.EFSTransitEncryptionEnabled, aws.ToString(a.AccessPointId)
	switch {
	case point != "" && !accessPointRE.MatchString(point):
		return client("Invalid accessPointId '%s' in %s.", point, where)
	case point != "" && root != "" && root != "/":
		return client("With an accessPointId, the rootDirectory in %s is omitted or '/'.", where)
	case (point != "" || a.Iam == types.EFSAuthorizationConfigIAMEnabled) && !encrypted:
		return client("With an accessPointId or iam, transitEncryption must be ENABLED in %s.", where)
	case a.Iam == types.EFSAuthorizationConfigIAMEnabled:
		return client("Lotse has no file system policies, so it does not accept iam ENABLED in %s.", where)
	}
	return nil
}

// ephemeralStorage checks a task's own size. Its default of 20 can't be asked for. Source: API reference, EphemeralStorage.
func ephemeralStorage(e *types.EphemeralStorage, refuse func(string, ...any) *awswire.Error) error {
	if e != nil && (e.SizeInGiB < 21 || e.SizeInGiB > 200) {
		return refuse("Invalid ephemeralStorage.sizeInGiB '%d': the size is 21 to 200 GiB.", e.SizeInGiB)
	}
	return nil
}

// mounts checks what containers mount, from volumes and from one another.
func mounts(containers []types.ContainerDefinition, volumes []types.Volume) error {
	known := map[string]bool{}
	for _, v := range volumes {
		known[*v.Name] = true
	}
	names := map[string]bool{}
	for _, c := range containers {
		names[*c.Name] = true
	}
	for _, c := range containers {
		paths := map[string]bool{}
		for _, m := range c.MountPoints {
			p := aws.ToString(m.ContainerPath)
			switch {
			case !known[aws.ToString(m.SourceVolume)]:
				return client("Unknown volume '%s'.", aws.ToString(m.SourceVolume))
			case !strings.HasPrefix(p, "/") || path.Clean(p) == "/":
				return client("Invalid setting for container '%s'. The containerPath '%s' of a mount point is an absolute path, and not the root.", *c.Name, p)
			case paths[path.Clean(p)]:
				return client("Invalid setting for container '%s'. Two mount points have the containerPath '%s'.", *c.Name, p)
			}
			paths[path.Clean(p)] = true
		}
		for _, f := range c.VolumesFrom {
			if s := aws.ToString(f.SourceContainer); !names[s] || s == *c.Name {
				return client("Invalid setting for container '%s'. volumesFrom names the container '%s', which is not another one of this task definition.", *c.Name, s)
			}
		}
	}
	return nil
}
