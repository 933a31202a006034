package ecs

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// taskStatus is the status of a task; one that no controller has seen yet is PROVISIONING.
func taskStatus(tx store.Reader, key string) (state.TaskStatus, error) {
	st, err := state.TaskStatuses.Get(tx, key)
	if errors.Is(err, store.ErrNotFound) {
		return state.TaskStatus{LastStatus: "PROVISIONING", Version: 1}, nil
	}
	return st.Val, err
}

// desiredStatus is RUNNING or STOPPED, never anything else (DG task lifecycle).
func desiredStatus(t state.Task, st state.TaskStatus) string {
	if t.Stop != nil || st.Stop != nil {
		return "STOPPED"
	}
	return "RUNNING"
}

// taskView shows a task as DescribeTasks does.
func (s *Service) taskView(tx store.Reader, t state.Task, withTags bool) (types.Task, error) {
	st, err := taskStatus(tx, t.Key())
	if err != nil {
		return types.Task{}, err
	}
	td, err := state.TaskDefinitions.Get(tx, state.TaskDefinitionKey(t.TaskDefinitionARN))
	if err != nil {
		return types.Task{}, err
	}
	stop := st.Stop
	if stop == nil {
		stop = t.Stop
	}
	storage := int32(state.EphemeralStorage(t, td.Val.Definition))
	v := types.Task{
		TaskArn: aws.String(t.ARN()), ClusterArn: aws.String(t.Scope.ARN("ecs", "cluster/"+t.Cluster)),
		TaskDefinitionArn: aws.String(t.TaskDefinitionARN), LastStatus: aws.String(st.LastStatus), DesiredStatus: aws.String(desiredStatus(t, st)),
		Cpu: aws.String(strconv.Itoa(t.CPU)), Memory: aws.String(strconv.Itoa(t.Memory)), Version: int64(max(1, st.Version)),
		Group: aws.String(t.Group), LaunchType: types.LaunchType(t.LaunchType),
		PlatformVersion: aws.String(t.PlatformVersion), PlatformFamily: aws.String("Linux"),
		CreatedAt: &t.CreatedAt, PullStartedAt: when(st.PullStartedAt), PullStoppedAt: when(st.PullStoppedAt),
		ConnectivityAt: when(st.ConnectivityAt), StartedAt: when(st.StartedAt), StoppingAt: when(st.StoppingAt),
		ExecutionStoppedAt: when(st.ExecutionStoppedAt), StoppedAt: when(st.StoppedAt),
		HealthStatus: healthStatus(st.Health()), Tags: []types.Tag{},
		Attributes:  []types.Attribute{{Name: aws.String("ecs.cpu-architecture"), Value: aws.String(strings.ToLower(s.o.Architecture))}},
		Attachments: []types.Attachment{attachment(t, st)},
		Containers:  containerViews(t, st, td.Val.Definition),
		Overrides:   overrides(t, td.Val.Definition),
		// Both are there. Source: DescribeTasks' answers of platform version 1.4.0.
		EphemeralStorage:        &types.EphemeralStorage{SizeInGiB: storage},
		FargateEphemeralStorage: &types.TaskEphemeralStorage{SizeInGiB: storage},
	}
	if t.CapacityProvider != "" {
		v.CapacityProviderName = aws.String(t.CapacityProvider)
	}
	if t.StartedBy != "" {
		v.StartedBy = aws.String(t.StartedBy)
	}
	if v.ConnectivityAt != nil {
		v.Connectivity = types.ConnectivityConnected
	}
	if stop != nil {
		v.StopCode, v.StoppedReason = types.TaskStopCode(stop.Code), aws.String(stop.Reason)
	}
	if st.Zone != "" {
		v.AvailabilityZone = aws.String(st.Zone)
	}
	if withTags {
		v.Tags = tagList(t.Tags)
	}
	return v, nil
}

// Private

func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func containerViews(t state.Task, st state.TaskStatus, def types.TaskDefinition) []types.Container {
	var out []types.Container
	for _, d := range def.ContainerDefinitions {
		c := types.Container{
			TaskArn: aws.String(t.ARN()), Name: d.Name, Image: d.Image, LastStatus: aws.String("PENDING"), HealthStatus: types.HealthStatusUnknown,
			Cpu: aws.String(strconv.Itoa(int(d.Cpu))), NetworkBindings: []types.NetworkBinding{}, NetworkInterfaces: []types.NetworkInterface{},
		}
		if d.Memory != nil {
			c.Memory = aws.String(strconv.Itoa(int(*d.Memory)))
		}
		if st.Address != "" {
			c.NetworkInterfaces = append(c.NetworkInterfaces, types.NetworkInterface{
				AttachmentId: aws.String(st.AttachmentID), PrivateIpv4Address: aws.String(st.Address)})
		}
		for _, cs := range st.Containers {
			if cs.Name != aws.ToString(d.Name) {
				continue
			}
			c.ContainerArn = aws.String(t.Scope.ARN("ecs", "container/"+t.Cluster+"/"+t.ID+"/"+cs.ARNID))
			c.LastStatus, c.HealthStatus = aws.String(cs.LastStatus), healthStatus(cs.Health.Status)
			if cs.Digest != "" {
				c.ImageDigest = aws.String(cs.Digest)
			}
			if cs.RuntimeID != "" {
				c.RuntimeId = aws.String(cs.RuntimeID)
			}
			if reason := containerReason(cs); reason != "" {
				c.Reason = aws.String(reason)
			}
			if cs.ExitCode != nil {
				c.ExitCode = aws.Int32(int32(*cs.ExitCode))
			}
		}
		out = append(out, c)
	}
	return out
}

// containerReason says more of a container, of one that runs and is UNHEALTHY too: what its check said, which AWS shows
// nowhere. At most 1024 characters, as documented.
func containerReason(cs state.ContainerStatus) string {
	h := cs.Health
	if cs.Reason != "" || h.Status != state.Unhealthy {
		return cs.Reason
	}
	reason := "The health check failed"
	if h.ExitCode > 0 {
		reason += fmt.Sprintf(" with exit code %d", h.ExitCode)
	}
	if out := strings.TrimSpace(h.Output); out != "" {
		reason += ": " + out
	}
	return strings.ToValidUTF8(reason[:min(len(reason), 1024)], "")
}

// healthStatus is UNKNOWN also of what has no health check.
func healthStatus(s string) types.HealthStatus {
	if s == "" {
		return types.HealthStatusUnknown
	}
	return types.HealthStatus(s)
}

// attachment is the task's network interface. Source: DescribeTasks examples.
func attachment(t state.Task, st state.TaskStatus) types.Attachment {
	a := types.Attachment{Type: aws.String("ElasticNetworkInterface"), Status: aws.String("PRECREATED"), Details: []types.KeyValuePair{}}
	add := func(k, v string) {
		if v != "" {
			a.Details = append(a.Details, types.KeyValuePair{Name: aws.String(k), Value: aws.String(v)})
		}
	}
	if st.AttachmentID != "" {
		a.Id = aws.String(st.AttachmentID)
	}
	subnet := st.Subnet
	if subnet == "" {
		subnet = t.Network.Subnets[0]
	}
	add("subnetId", subnet)
	if st.ENI == "" {
		return a
	}
	a.Status = aws.String("ATTACHED")
	if st.LastStatus == "STOPPED" {
		a.Status = aws.String("DELETED")
	}
	add("networkInterfaceId", st.ENI)
	add("macAddress", state.MACOf(st.Address))
	add("privateDnsName", state.PrivateDNSName(t.Scope.Region, st.Address))
	add("privateIPv4Address", st.Address)
	return a
}

// overrides shows one entry per container, as DescribeTasks does, with what RunTask asked for.
func overrides(t state.Task, def types.TaskDefinition) *types.TaskOverride {
	o := t.Overrides
	var list []types.ContainerOverride
	for _, d := range def.ContainerDefinitions {
		co := types.ContainerOverride{Name: d.Name}
		for _, given := range o.ContainerOverrides {
			if aws.ToString(given.Name) == aws.ToString(d.Name) {
				co = given
			}
		}
		list = append(list, co)
	}
	o.ContainerOverrides = list
	o.InferenceAcceleratorOverrides = []types.InferenceAcceleratorOverride{}
	return &o
}
