package fabric

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/state"
)

func named() records {
	r := sample()
	started := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r.balancers = []balancer{{LoadBalancer: state.LoadBalancer{Scope: testScope, Name: "app", DNSName: "app-123.eu-west-1.elb.localhost", VPC: "vpc-1", ENIs: []string{"eni-2", "eni-gone"}}}}
	r.tasks = map[string]task{"t1": {
		Task: state.Task{Scope: testScope, ID: "t1", Cluster: "main", Service: "web", LaunchType: "FARGATE", CPU: 256, Memory: 512,
			TaskDefinitionARN: "arn:aws:ecs:eu-west-1:000000000000:task-definition/web:7"},
		status: state.TaskStatus{LastStatus: "RUNNING", PullStartedAt: started,
			Containers: []state.ContainerStatus{{Name: "app", Image: "web:1", Digest: "sha256:00", LastStatus: "RUNNING", ARNID: "u-1", RuntimeID: "t1-0000000007", StartedAt: started, LogStream: "s/app/t1"}, {Name: "side"}}},
		definition: ecstypes.TaskDefinition{ContainerDefinitions: []ecstypes.ContainerDefinition{{Name: aws.String("app"), Cpu: 128, Memory: aws.Int32(256),
			DockerLabels:     map[string]string{"team": "a"},
			LogConfiguration: &ecstypes.LogConfiguration{LogDriver: "awslogs", Options: map[string]string{"awslogs-group": "g"}}}}},
	}}
	return r
}

func here(vpc string) string { return "/run/" + vpc }

func TestSnapshot_Names(t *testing.T) {
	r := named()
	s, err := snapshot([]records{r}, nil, here)
	if err != nil {
		t.Fatal(err)
	}
	v := s.VPCs[0]
	lb := []netip.Addr{addr("172.31.16.4")}
	want := map[string][]netip.Addr{
		"ip-172-31-0-4.eu-west-1.compute.internal":  {addr("172.31.0.4")},
		"ip-172-31-16-4.eu-west-1.compute.internal": {addr("172.31.16.4")},
		"app-123.eu-west-1.elb.localhost":           lb,
		"app-123.eu-west-1.elb.amazonaws.com":       lb,
	}
	if d := cmp.Diff(want, v.Names, netips); d != "" {
		t.Errorf("names (-want +got):\n%s", d)
	}
	if v.Netns != "/run/vpc-1" || v.Resolver != addr("172.31.0.2") || v.ID != "vpc-1" {
		t.Errorf("VPC = %+v", v)
	}
	r.balancers[0].ENIs = []string{"eni-1", "eni-2"}
	r.balancers[0].status.Failed = []string{"eu-west-1b"}
	if s, err = snapshot([]records{r}, nil, here); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]netip.Addr{addr("172.31.0.4")}, s.VPCs[0].Names["app-123.eu-west-1.elb.localhost"], netips); d != "" {
		t.Errorf("while a zone fails (-want +got):\n%s", d)
	}
	if s, err := snapshot([]records{r}, nil, func(string) string { return "" }); err != nil || len(s.VPCs) != 0 {
		t.Errorf("a VPC without a namespace is served: %+v, %v", s, err)
	}
}

func TestBalancerNames(t *testing.T) {
	for in, want := range map[string][]string{
		"internal-A-1.us-east-1.lb.example.org.": {"internal-a-1.us-east-1.lb.example.org", "internal-a-1.us-east-1.elb.amazonaws.com"},
		"a-1.us-east-1.elb.amazonaws.com":        {"a-1.us-east-1.elb.amazonaws.com"},
		"odd":                                    {"odd"},
	} {
		if d := cmp.Diff(want, balancerNames(in)); d != "" {
			t.Errorf("balancerNames(%q) (-want +got):\n%s", in, d)
		}
	}
}

func TestSnapshot_Metadata(t *testing.T) {
	s, err := snapshot([]records{named()}, nil, here)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.VPCs[0].Tasks) != 1 {
		t.Fatalf("tasks = %+v, want that of the task's interface alone", s.VPCs[0].Tasks)
	}
	got := s.VPCs[0].Tasks[addr("172.31.0.4")]
	b, err := json.MarshalIndent(got.Containers["t1-0000000007"], "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want := `{
 "DockerId": "t1-0000000007",
 "Name": "app",
 "DockerName": "app",
 "Image": "web:1",
 "ImageID": "sha256:00",
 "Labels": {
  "com.amazonaws.ecs.cluster": "arn:aws:ecs:eu-west-1:000000000000:cluster/main",
  "com.amazonaws.ecs.container-name": "app",
  "com.amazonaws.ecs.task-arn": "arn:aws:ecs:eu-west-1:000000000000:task/main/t1",
  "com.amazonaws.ecs.task-definition-family": "web",
  "com.amazonaws.ecs.task-definition-version": "7",
  "team": "a"
 },
 "DesiredStatus": "RUNNING",
 "KnownStatus": "RUNNING",
 "Limits": {
  "CPU": 128,
  "Memory": 256
 },
 "CreatedAt": "2026-01-02T03:04:05Z",
 "StartedAt": "2026-01-02T03:04:05Z",
 "Type": "NORMAL",
 "ContainerARN": "arn:aws:ecs:eu-west-1:000000000000:container/main/t1/u-1",
 "LogDriver": "awslogs",
 "LogOptions": {
  "awslogs-group": "g",
  "awslogs-stream": "s/app/t1"
 },
 "Networks": [
  {
   "NetworkMode": "awsvpc",
   "IPv4Addresses": [
    "172.31.0.4"
   ],
   "AttachmentIndex": 0,
   "MACAddress": "02:00:ac:1f:00:04",
   "IPv4SubnetCIDRBlock": "172.31.0.0/20",
   "DomainNameServers": [
    "172.31.0.2"
   ],
   "DomainNameSearchList": [
    "eu-west-1.compute.internal"
   ],
   "PrivateDNSName": "ip-172-31-0-4.eu-west-1.compute.internal",
   "SubnetGatewayIpv4Address": "172.31.0.1/20"
  }
 ],
 "Snapshotter": "overlayfs"
}`
	if d := cmp.Diff(want, string(b)); d != "" {
		t.Errorf("container (-want +got):\n%s", d)
	}
	m := got.Metadata
	if m.Family != "web" || m.Revision != "7" || m.ServiceName != "web" || m.Limits.CPU != 0.25 || m.Limits.Memory != 512 || m.AvailabilityZone != "eu-west-1a" ||
		m.VPCID != "vpc-1" || m.PullStoppedAt != nil || m.PullStartedAt == nil || len(m.Containers) != 2 || m.LaunchType != "FARGATE" {
		t.Errorf("task = %+v", m)
	}
	// Before the container is made its id is already the one that its environment will have.
	if _, ok := got.Containers["t1-2736333472"]; !ok {
		t.Errorf("containers = %v", got.Containers)
	}
}

func TestMetadata_DesiredStatus(t *testing.T) {
	r := named()
	tk := r.tasks["t1"]
	tk.Stop = &state.Stop{}
	if m := metadata(r, tk, r.interfaces[0]); m.Metadata.DesiredStatus != "STOPPED" || m.Metadata.Containers[0].DesiredStatus != "STOPPED" {
		t.Errorf("a task told to stop: %+v", m.Metadata)
	}
}
