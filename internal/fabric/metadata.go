package fabric

import (
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/linklocal"
	"github.com/lotse-project/lotse/internal/state"
)

// metadata is what a task may learn of itself. It is complete before the first container runs.
// Source: ECS agent, task metadata endpoint v4, as on Fargate.
func metadata(r records, t task, e state.NetworkInterface) linklocal.Task {
	cluster := t.Scope.ARN("ecs", "cluster/"+t.Cluster)
	m := linklocal.TaskMetadata{
		Cluster: cluster, TaskARN: t.ARN(), ServiceName: t.Service, Group: t.Group,
		DesiredStatus: desired(t), KnownStatus: t.status.LastStatus,
		Limits:        linklocal.TaskLimits{CPU: float64(t.CPU) / 1024, Memory: t.Memory},
		PullStartedAt: at(t.status.PullStartedAt), PullStoppedAt: at(t.status.PullStoppedAt), ExecutionStoppedAt: at(t.status.ExecutionStoppedAt), TaskTags: t.Tags,
		AvailabilityZone: e.Zone, LaunchType: t.LaunchType, VPCID: e.VPC,
	}
	m.EphemeralStorageMetrics = &linklocal.EphemeralStorageMetrics{Reserved: int64(state.EphemeralStorage(t.Task, t.definition)) << 10}
	m.Family, m.Revision = familyRevision(t.TaskDefinitionARN)
	networks := []linklocal.NetworkMetadata{networkMetadata(r, e)}
	out := linklocal.Task{Containers: map[string]linklocal.ContainerMetadata{}}
	for _, cs := range t.status.Containers {
		c := container(t, cs, definitionOf(t, cs.Name), cluster, m)
		c.Networks = networks
		out.Containers[c.DockerID] = c
		m.Containers = append(m.Containers, c)
	}
	out.Metadata = m
	return out
}

// Private

func container(t task, cs state.ContainerStatus, d ecstypes.ContainerDefinition, cluster string, m linklocal.TaskMetadata) linklocal.ContainerMetadata {
	c := linklocal.ContainerMetadata{
		DockerID: runtimeID(t.ID, cs), Name: cs.Name, DockerName: cs.Name, Image: cs.Image, ImageID: cs.Digest,
		DesiredStatus: m.DesiredStatus, KnownStatus: cs.LastStatus, Type: "NORMAL",
		Limits:    linklocal.ContainerLimits{CPU: int(d.Cpu), Memory: int(aws.ToInt32(d.Memory))},
		CreatedAt: at(cs.StartedAt),
		StartedAt: at(cs.StartedAt),
		Ports:     ports(d), Snapshotter: "overlayfs",
		ContainerARN: t.Scope.ARN("ecs", "container/"+t.Cluster+"/"+t.ID+"/"+cs.ARNID),
		Labels: map[string]string{
			"com.amazonaws.ecs.cluster":                 cluster,
			"com.amazonaws.ecs.container-name":          cs.Name,
			"com.amazonaws.ecs.task-arn":                m.TaskARN,
			"com.amazonaws.ecs.task-definition-family":  m.Family,
			"com.amazonaws.ecs.task-definition-version": m.Revision,
		},
	}
	c.ExitCode, c.FinishedAt = cs.ExitCode, at(cs.StoppedAt)
	if d.RestartPolicy != nil && aws.ToBool(d.RestartPolicy.Enabled) {
		c.RestartCount = aws.Int(cs.Restarts)
	}
	if h := cs.Health; h.Status != "" {
		c.Health = &linklocal.Health{Status: h.Status, Since: at(h.Since), ExitCode: h.ExitCode, Output: h.Output}
	}
	for k, v := range d.DockerLabels {
		c.Labels[k] = v
	}
	if lc := d.LogConfiguration; lc != nil {
		c.LogDriver, c.LogOptions = string(lc.LogDriver), maps.Clone(lc.Options)
		if cs.LogStream != "" && c.LogOptions != nil {
			c.LogOptions["awslogs-stream"] = cs.LogStream
		}
	}
	return c
}

func ports(d ecstypes.ContainerDefinition) []linklocal.PortMetadata {
	var out []linklocal.PortMetadata
	for _, p := range d.PortMappings {
		out = append(out, linklocal.PortMetadata{ContainerPort: int(aws.ToInt32(p.ContainerPort)), Protocol: string(p.Protocol), HostPort: int(aws.ToInt32(p.HostPort))})
	}
	return out
}

func networkMetadata(r records, e state.NetworkInterface) linklocal.NetworkMetadata {
	name := state.PrivateDNSName(e.Scope.Region, e.Address)
	_, zone, _ := strings.Cut(name, ".")
	n := linklocal.NetworkMetadata{NetworkMode: "awsvpc", IPv4Addresses: []string{e.Address}, MACAddress: state.MACOf(e.Address),
		DomainNameSearchList: []string{zone}, PrivateDNSName: name}
	if cidr, err := netip.ParsePrefix(r.vpc.CIDR); err == nil {
		n.DomainNameServers = []string{resolver(cidr).String()}
	}
	for _, s := range r.subnets {
		if p, err := netip.ParsePrefix(s.CIDR); err == nil && s.ID == e.Subnet {
			n.IPv4SubnetCIDRBlock = s.CIDR
			n.SubnetGatewayIpv4Address = netip.PrefixFrom(p.Masked().Addr().Next(), p.Bits()).String()
		}
	}
	return n
}

// desired is RUNNING until there is a reason to stop.
func desired(t task) string {
	if t.Stop != nil || t.status.Stop != nil {
		return "STOPPED"
	}
	return "RUNNING"
}

// runtimeID is the container's id as its environment names it: the task's id and ten digits. The
// status has it once the container is made; before that it is already known, by the rule with
// which the controller of tasks makes it: FNV-1a of task and name.
func runtimeID(task string, cs state.ContainerStatus) string {
	if cs.RuntimeID != "" {
		return cs.RuntimeID
	}
	h := fnv.New32a()
	h.Write([]byte(task + "/" + cs.Name))
	return fmt.Sprintf("%s-%010d", task, h.Sum32())
}

// familyRevision splits …:task-definition/FAMILY:REVISION.
func familyRevision(s string) (family, revision string) {
	family, revision, _ = strings.Cut(s[strings.LastIndexByte(s, '/')+1:], ":")
	if _, err := strconv.Atoi(revision); err != nil {
		return family, ""
	}
	return family, revision
}

func definitionOf(t task, name string) ecstypes.ContainerDefinition {
	for _, d := range t.definition.ContainerDefinitions {
		if aws.ToString(d.Name) == name {
			return d
		}
	}
	return ecstypes.ContainerDefinition{}
}

func at(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
