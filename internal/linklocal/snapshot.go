// Package linklocal is what tasks ask of their VPC: the resolver at the VPC's second address and
// at 169.254.170.2 the task metadata endpoint, its role's credentials and the way to the server's
// API. It runs as a process of its own, `lotse-plane net`,
// from a snapshot file, so that a dead control plane takes neither names nor metadata from
// running tasks.
package linklocal

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// MetadataAddr is where every task finds its metadata. Source: ECS task metadata endpoint v4.
var MetadataAddr = netip.MustParseAddr("169.254.170.2")

// APIPort is where, at MetadataAddr, tasks find the AWS API of their server.
const APIPort = 4566

// ResolverAddr is where every VPC has its resolver, besides its base address plus two. Source: VPC
// user guide, Amazon DNS server.
var ResolverAddr = netip.MustParseAddr("169.254.169.253")

// A Snapshot is everything the process needs to know. It is never changed once made.
type Snapshot struct {
	API  string // host:port of the server's API, which tasks reach at APIPort; "": they don't
	VPCs []VPC

	Storage string // file that tells what tasks have written, see WriteStorage
	Cgroups string // the control group above those of all tasks, such as /lotse-ID
}

// A VPC is served in its own network namespace.
type VPC struct {
	ID       string
	Netns    string                  // path of the namespace
	Resolver netip.Addr              // the VPC's base address plus two
	Names    map[string][]netip.Addr // lower case, without the final dot
	Tasks    map[netip.Addr]Task     // by the task's own address: who asks is known by where it asks from
}

// A Task is what the v4 endpoint says of a task.
type Task struct {
	Metadata   TaskMetadata
	Containers map[string]ContainerMetadata // by the id in ECS_CONTAINER_METADATA_URI_V4

	CredentialsID string       // in AWS_CONTAINER_CREDENTIALS_RELATIVE_URI; "" without a role
	Credentials   *Credentials // nil without a role
}

// Credentials are a temporary key of the task's role, as the endpoint gives them.
// Source: ECS agent, v2 credentials handler.
type Credentials struct {
	RoleARN         string `json:"RoleArn"`
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string
	Expiration      time.Time
}

// TaskMetadata are the members of PATH/task that Lotse knows. Source: ECS agent, v4 handler.
type TaskMetadata struct {
	Cluster       string // ARN on Fargate
	TaskARN       string
	Family        string
	Revision      string
	ServiceName   string `json:",omitempty"`
	Group         string `json:",omitempty"`
	DesiredStatus string
	KnownStatus   string
	Limits        TaskLimits
	PullStartedAt *time.Time `json:",omitempty"`
	PullStoppedAt *time.Time `json:",omitempty"`

	ExecutionStoppedAt *time.Time `json:",omitempty"`

	AvailabilityZone string
	LaunchType       string
	VPCID            string
	Containers       []ContainerMetadata
	TaskTags         map[string]string `json:",omitempty"` // of /taskWithTags

	ClockDrift              *ClockDrift
	EphemeralStorageMetrics *EphemeralStorageMetrics
	FaultInjectionEnabled   bool
}

// EphemeralStorageMetrics are a task's file systems, in MiB. Source: DG task-metadata-endpoint-v4-fargate-response.
type EphemeralStorageMetrics struct {
	Utilized int64 // as of the last look: those with much room left are looked at less often
	Reserved int64
}

// ClockDrift is how well the machine's clock is set, as its kernel tells.
type ClockDrift struct {
	ClockErrorBound            float64 // ms
	ReferenceTimestamp         time.Time
	ClockSynchronizationStatus string // SYNCHRONIZED, NOT_SYNCHRONIZED
}

// TaskLimits are the task's size.
type TaskLimits struct {
	CPU    float64 // vCPU
	Memory int     // MiB
}

// ContainerMetadata are the members of PATH. Source: ECS agent, v4 handler.
type ContainerMetadata struct {
	DockerID      string `json:"DockerId"`
	Name          string
	DockerName    string
	Image         string
	ImageID       string
	Ports         []PortMetadata `json:",omitempty"`
	Labels        map[string]string
	DesiredStatus string
	KnownStatus   string
	ExitCode      *int `json:",omitempty"`
	Limits        ContainerLimits
	CreatedAt     *time.Time `json:",omitempty"`
	StartedAt     *time.Time `json:",omitempty"`
	FinishedAt    *time.Time `json:",omitempty"`
	RestartCount  *int       `json:",omitempty"` // with a restart policy only
	Health        *Health    `json:",omitempty"` // with a health check only
	Type          string
	ContainerARN  string
	LogDriver     string            `json:",omitempty"`
	LogOptions    map[string]string `json:",omitempty"`
	Networks      []NetworkMetadata
	Snapshotter   string
}

// PortMetadata is a port mapping.
type PortMetadata struct {
	ContainerPort int
	Protocol      string
	HostPort      int `json:",omitempty"`
}

// ContainerLimits are the container's own: CPU in units, Memory in MiB.
type ContainerLimits struct{ CPU, Memory int }

// Health is what a container's health check says. Source: ECS agent, container.HealthStatus.
type Health struct {
	Status   string     `json:"status"`
	Since    *time.Time `json:"statusSince,omitempty"`
	ExitCode int        `json:"exitCode,omitempty"`
	Output   string     `json:"output,omitempty"`
}

// NetworkMetadata is the task's interface.
type NetworkMetadata struct {
	NetworkMode              string
	IPv4Addresses            []string
	AttachmentIndex          int
	MACAddress               string
	IPv4SubnetCIDRBlock      string
	DomainNameServers        []string
	DomainNameSearchList     []string
	PrivateDNSName           string
	SubnetGatewayIpv4Address string
}

// Read reads a snapshot; a missing file is an empty one.
func Read(path string) (*Snapshot, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return &Snapshot{}, nil
	}
	if err != nil {
		return nil, err
	}
	s := &Snapshot{}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", path, err)
	}
	return s, nil
}

// Write replaces the snapshot file as a whole. It need not be synced: it is made anew from the
// records at every start of the server.
func (s *Snapshot) Write(path string) error { return replace(path, s) }

// Private

func replace(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".snapshot-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err := tmp.Write(b); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
