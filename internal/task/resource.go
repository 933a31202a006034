package task

import (
	"math"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/runtime"
)

// resources says what a container may use and do, as its definition does.
func resources(cs *runtime.ContainerSpec, d ecstypes.ContainerDefinition) {
	cs.MemoryReservation = int64(aws.ToInt32(d.MemoryReservation)) << 20
	for _, u := range d.Ulimits {
		cs.Ulimits = append(cs.Ulimits, runtime.Ulimit{Name: string(u.Name), Soft: limit(u.SoftLimit), Hard: limit(u.HardLimit)})
	}
	if p := d.LinuxParameters; p != nil {
		cs.InitProcess = aws.ToBool(p.InitProcessEnabled)
		for _, m := range p.Tmpfs {
			cs.Tmpfs = append(cs.Tmpfs, runtime.Tmpfs{Path: aws.ToString(m.ContainerPath), Bytes: int64(m.Size) << 20, Options: m.MountOptions})
		}
		if p.Capabilities != nil {
			cs.CapAdd, cs.CapDrop = p.Capabilities.Add, p.Capabilities.Drop
		}
	}
	for _, s := range d.SystemControls {
		if cs.Sysctls == nil {
			cs.Sysctls = map[string]string{}
		}
		cs.Sysctls[aws.ToString(s.Namespace)] = aws.ToString(s.Value)
	}
}

// mounts are a container's own, then those that it takes from others, as these have them.
func mounts(all []ecstypes.ContainerDefinition, d ecstypes.ContainerDefinition) (out []runtime.Mount) {
	taken := map[string]bool{}
	add := func(points []ecstypes.MountPoint, readOnly bool) {
		for _, m := range points {
			p := aws.ToString(m.ContainerPath)
			if taken[p] {
				continue
			}
			taken[p] = true
			out = append(out, runtime.Mount{Volume: aws.ToString(m.SourceVolume), Path: p, ReadOnly: readOnly || aws.ToBool(m.ReadOnly)})
		}
	}
	add(d.MountPoints, false)
	for _, f := range d.VolumesFrom {
		for _, other := range all {
			if *other.Name == aws.ToString(f.SourceContainer) {
				add(other.MountPoints, aws.ToBool(f.ReadOnly))
			}
		}
	}
	return out
}

// limit of -1 is none, as in Docker.
func limit(n int32) uint64 {
	if n < 0 {
		return math.MaxUint64
	}
	return uint64(n)
}
