package task

import (
	"math"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/runtime"
	"github.com/lotse-project/lotse/internal/state"
)

func TestResources(t *testing.T) {
	var got runtime.ContainerSpec
	resources(&got, ecstypes.ContainerDefinition{
		MemoryReservation: aws.Int32(64),
		Ulimits:           []ecstypes.Ulimit{{Name: "nofile", SoftLimit: 10, HardLimit: 20}, {Name: "core", SoftLimit: -1, HardLimit: -1}},
		LinuxParameters: &ecstypes.LinuxParameters{InitProcessEnabled: aws.Bool(true),
			Tmpfs:        []ecstypes.Tmpfs{{ContainerPath: aws.String("/t"), Size: 3, MountOptions: []string{"exec"}}},
			Capabilities: &ecstypes.KernelCapabilities{Add: []string{"SYS_PTRACE"}, Drop: []string{"NET_RAW"}}},
		SystemControls: []ecstypes.SystemControl{{Namespace: aws.String("net.core.somaxconn"), Value: aws.String("1000")}},
	})
	want := runtime.ContainerSpec{
		MemoryReservation: 64 << 20,
		Ulimits:           []runtime.Ulimit{{Name: "nofile", Soft: 10, Hard: 20}, {Name: "core", Soft: math.MaxUint64, Hard: math.MaxUint64}},
		Tmpfs:             []runtime.Tmpfs{{Path: "/t", Bytes: 3 << 20, Options: []string{"exec"}}},
		InitProcess:       true, CapAdd: []string{"SYS_PTRACE"}, CapDrop: []string{"NET_RAW"},
		Sysctls: map[string]string{"net.core.somaxconn": "1000"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("resources (-want +got):\n%s", d)
	}
}

func TestMounts(t *testing.T) {
	point := func(volume, path string, ro bool) ecstypes.MountPoint {
		return ecstypes.MountPoint{SourceVolume: &volume, ContainerPath: &path, ReadOnly: &ro}
	}
	a := ecstypes.ContainerDefinition{Name: aws.String("a"), MountPoints: []ecstypes.MountPoint{point("v", "/v", false), point("w", "/w", false), point("x", "/x", true)}}
	b := ecstypes.ContainerDefinition{Name: aws.String("b"), MountPoints: []ecstypes.MountPoint{point("y", "/w", false)},
		VolumesFrom: []ecstypes.VolumeFrom{{SourceContainer: a.Name, ReadOnly: aws.Bool(true)}}}
	want := []runtime.Mount{{Volume: "y", Path: "/w"}, {Volume: "v", Path: "/v", ReadOnly: true}, {Volume: "x", Path: "/x", ReadOnly: true}}
	if d := cmp.Diff(want, mounts([]ecstypes.ContainerDefinition{a, b}, b)); d != "" {
		t.Errorf("mounts (-want +got):\n%s", d)
	}
}

func TestSharedPID(t *testing.T) {
	for mode, want := range map[ecstypes.PidMode]bool{"": false, ecstypes.PidModeTask: true} {
		b := newBench(t, func(_ *state.Task, d *ecstypes.TaskDefinition) { d.PidMode = mode })
		b.until("RUNNING")
		if spec, ok := b.engine.Spec(strings.Repeat("ab", 16)); !ok || spec.SharedPID != want {
			t.Errorf("pidMode %q: SharedPID %v, want %v", mode, spec.SharedPID, want)
		}
	}
}
