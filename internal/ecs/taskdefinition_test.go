package ecs

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/smithy-go/document"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// ignoreNoSmithy leaves out the marker that every SDK struct carries.
var ignoreNoSmithy = cmpopts.IgnoreTypes(document.NoSerde{})

func TestRegister_Answers(t *testing.T) {
	b := newBench(t)
	out := must(b.s.RegisterTaskDefinition(b.ctx, definition(func(in *ecs.RegisterTaskDefinitionInput) {
		in.Cpu, in.Memory = aws.String("1 vCPU"), aws.String("2 GB")
		in.Tags = []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}
		in.ExecutionRoleArn = aws.String(roleARN)
		in.ContainerDefinitions[0].LogConfiguration = &types.LogConfiguration{LogDriver: types.LogDriverAwslogs,
			Options: map[string]string{"awslogs-group": "g", "awslogs-stream-prefix": "p", "awslogs-region": "us-east-1"}}
	})))(t)
	d := out.TaskDefinition
	if *d.TaskDefinitionArn != here.ARN("ecs", "task-definition/web:1") || d.Revision != 1 || *d.Cpu != "1024" || *d.Memory != "2048" || d.Status != "ACTIVE" {
		t.Errorf("%+v", d)
	}
	if d := cmp.Diff([]types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}, out.Tags, ignoreNoSmithy); d != "" {
		t.Error(d)
	}
	want := types.ContainerDefinition{
		Name: aws.String("app"), Image: aws.String("app:1"), Essential: aws.Bool(true), Environment: []types.KeyValuePair{},
		MountPoints: []types.MountPoint{}, VolumesFrom: []types.VolumeFrom{}, SystemControls: []types.SystemControl{},
		PortMappings:     []types.PortMapping{{ContainerPort: aws.Int32(8080), HostPort: aws.Int32(8080), Protocol: types.TransportProtocolTcp}},
		LogConfiguration: d.ContainerDefinitions[0].LogConfiguration,
	}
	if d := cmp.Diff(want, d.ContainerDefinitions[0], ignoreNoSmithy); d != "" {
		t.Errorf("container (-want +got): %s", d)
	}
	var attrs []string
	for _, a := range d.RequiresAttributes {
		attrs = append(attrs, *a.Name)
	}
	for _, want := range []string{"ecs.capability.task-eni", "com.amazonaws.ecs.capability.logging-driver.awslogs", "ecs.capability.execution-role-awslogs"} {
		if !strings.Contains(strings.Join(attrs, " "), want) {
			t.Errorf("attributes %v lack %s", attrs, want)
		}
	}
}

// What Describe shows can be registered again: what tools do to change one member.
func TestRegister_TakesWhatDescribeShows(t *testing.T) {
	b := newBench(t)
	must(b.s.RegisterTaskDefinition(b.ctx, definition(func(in *ecs.RegisterTaskDefinitionInput) {
		in.Volumes = []types.Volume{{Name: aws.String("data"), Host: &types.HostVolumeProperties{}}, {Name: aws.String("x")}}
		c := &in.ContainerDefinitions[0]
		c.MountPoints = []types.MountPoint{{SourceVolume: aws.String("data"), ContainerPath: aws.String("/data"), ReadOnly: aws.Bool(true)}}
		c.Ulimits = []types.Ulimit{{Name: types.UlimitNameNofile, SoftLimit: 10, HardLimit: 20}, {Name: types.UlimitNameCore, SoftLimit: -1, HardLimit: -1}}
		c.LinuxParameters = &types.LinuxParameters{InitProcessEnabled: aws.Bool(true), Tmpfs: []types.Tmpfs{{ContainerPath: aws.String("/tmp"), Size: 16, MountOptions: []string{"mode=1777", "exec"}}}, Capabilities: &types.KernelCapabilities{Add: []string{"SYS_PTRACE"}, Drop: []string{"NET_RAW"}}}
		c.SystemControls = []types.SystemControl{{Namespace: aws.String("net.core.somaxconn"), Value: aws.String("1000")}}
		c.DockerLabels, c.MemoryReservation = map[string]string{"team": "web"}, aws.Int32(64)
		in.ContainerDefinitions = append(in.ContainerDefinitions, types.ContainerDefinition{Name: aws.String("side"), Image: aws.String("b"), Essential: aws.Bool(false),
			VolumesFrom: []types.VolumeFrom{{SourceContainer: c.Name, ReadOnly: aws.Bool(true)}}})
	})))(t)
	d := must(b.s.DescribeTaskDefinition(b.ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: aws.String("web")}))(t).TaskDefinition
	again := must(b.s.RegisterTaskDefinition(b.ctx, &ecs.RegisterTaskDefinitionInput{
		Family: d.Family, ContainerDefinitions: d.ContainerDefinitions, Cpu: d.Cpu, Memory: d.Memory, NetworkMode: d.NetworkMode,
		RequiresCompatibilities: d.RequiresCompatibilities, ExecutionRoleArn: d.ExecutionRoleArn, RuntimePlatform: d.RuntimePlatform,
		Volumes: d.Volumes, PlacementConstraints: d.PlacementConstraints, TaskRoleArn: d.TaskRoleArn, IpcMode: d.IpcMode, PidMode: d.PidMode,
		EphemeralStorage: d.EphemeralStorage, ProxyConfiguration: d.ProxyConfiguration, EnableFaultInjection: d.EnableFaultInjection,
	}))(t).TaskDefinition
	if again.Revision != 2 {
		t.Errorf("identical content made revision %d, want 2", again.Revision)
	}
	if d := cmp.Diff(d, again, ignoreNoSmithy, cmpopts.IgnoreFields(types.TaskDefinition{}, "Revision", "TaskDefinitionArn", "RegisteredAt")); d != "" {
		t.Errorf("registered again (-first +second): %s", d)
	}
}

func TestRegister_Sizes(t *testing.T) {
	b := newBench(t)
	for _, tc := range []struct {
		cpu, memory, refusal string
	}{
		{"256", "512", ""}, {"256", "2048", ""}, {".25 vCPU", "0.5 GB", ""}, {"512", "4096", ""}, {"1024", "8192", ""}, {"2 vCPU", "16 GB", ""},
		{"4096", "30720", ""}, {"8192", "61440", ""}, {"16384", "122880", ""},
		{"256", "3072", "No Fargate configuration exists for given values."}, {"512", "512", "No Fargate configuration exists for given values."},
		{"1024", "2500", "No Fargate configuration exists for given values."}, {"8192", "17408", "No Fargate configuration exists for given values."},
		{"", "512", "Fargate requires that 'cpu' be defined at the task level."},
		{"256", "", "Fargate requires that 'memory' be defined at the task level."},
		{"many", "512", "Invalid 'cpu' setting for task. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."},
		{"256", "1 XB", "Invalid 'memory' setting for task. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."},
	} {
		_, err := b.s.RegisterTaskDefinition(b.ctx, definition(func(in *ecs.RegisterTaskDefinitionInput) { in.Cpu, in.Memory = &tc.cpu, &tc.memory }))
		if tc.refusal == "" {
			if err != nil {
				t.Errorf("%s/%s: %v", tc.cpu, tc.memory, err)
			}
			continue
		}
		refused(t, err, "ClientException", tc.refusal)
	}
}

func TestRegister_Refuses(t *testing.T) {
	b := newBench(t)
	type in = ecs.RegisterTaskDefinitionInput
	first := func(f func(*types.ContainerDefinition)) func(*in) {
		return func(in *ecs.RegisterTaskDefinitionInput) { f(&in.ContainerDefinitions[0]) }
	}
	port := func(f func(*types.PortMapping)) func(*in) {
		return first(func(c *types.ContainerDefinition) { f(&c.PortMappings[0]) })
	}
	logs := func(options map[string]string) func(*in) {
		return first(func(c *types.ContainerDefinition) {
			c.LogConfiguration = &types.LogConfiguration{LogDriver: types.LogDriverAwslogs, Options: options}
		})
	}
	tmp := func(path string, size int32, options ...string) func(*in) {
		return first(func(c *types.ContainerDefinition) {
			c.LinuxParameters = &types.LinuxParameters{Tmpfs: []types.Tmpfs{{ContainerPath: &path, Size: size, MountOptions: options}}}
		})
	}
	for name, tc := range map[string]struct {
		change func(*in)
		want   string
	}{
		"no container":       {func(in *in) { in.ContainerDefinitions = nil }, "Container list cannot be empty."},
		"no name":            {first(func(c *types.ContainerDefinition) { c.Name = nil }), "Container.name should not be null or empty."},
		"no image":           {first(func(c *types.ContainerDefinition) { c.Image = aws.String("") }), "Container.image should not be null or empty."},
		"bridge":             {func(in *in) { in.NetworkMode = types.NetworkModeBridge }, "Fargate only supports network mode ‘awsvpc’."},
		"none essential":     {first(func(c *types.ContainerDefinition) { c.Essential = aws.Bool(false) }), "Invalid setting: At least one container must be marked essential"},
		"host port":          {port(func(p *types.PortMapping) { p.HostPort = aws.Int32(80) }), "When networkMode=awsvpc, the host ports and container ports in port mappings must match."},
		"links":              {first(func(c *types.ContainerDefinition) { c.Links = []string{"x"} }), "Links are not supported when networkMode=awsvpc"},
		"disable networking": {first(func(c *types.ContainerDefinition) { c.DisableNetworking = aws.Bool(true) }), "Disable Networking is not supported on container when networkMode=awsvpc"},
		"port 0":             {port(func(p *types.PortMapping) { p.ContainerPort = aws.Int32(0) }), "Invalid setting for container 'app'. containerPort is between 1 and 65535."},
		"ECR, no role": {first(func(c *types.ContainerDefinition) {
			c.Image = aws.String("000000000000.dkr.ecr.us-east-1.amazonaws.com/app:1")
		}),
			"Fargate requires task definition to have execution role ARN to support ECR images."},
		"local registry, no role": {first(func(c *types.ContainerDefinition) { c.Image = aws.String("localhost:4566/app:1") }),
			"Fargate requires task definition to have execution role ARN to support ECR images."},
		"awslogs, no role":  {logs(map[string]string{"awslogs-group": "g", "awslogs-stream-prefix": "p"}), "Fargate requires task definition to have execution role ARN to support log driver awslogs."},
		"awslogs, no group": {logs(map[string]string{"awslogs-stream-prefix": "p"}), "Log driver awslogs requires options: awslogs-group"},
		"unknown role":      {func(in *in) { in.ExecutionRoleArn = aws.String("arn:aws:iam::000000000000:role/nobody") }, "Role is not valid"},
		"untrusting role": {func(in *in) { in.ExecutionRoleArn = aws.String("arn:aws:iam::000000000000:role/lambda") },
			"ECS was unable to assume the role 'arn:aws:iam::000000000000:role/lambda' that was provided for this task. Please verify that the role being passed has the proper trust relationship and permissions and that your IAM user has permissions to pass this role."},
		"same name twice": {func(in *in) {
			in.ContainerDefinitions = append(in.ContainerDefinitions, types.ContainerDefinition{Name: aws.String("app"), Image: aws.String("b")})
		}, "Container names must be unique: 'app'."},
		"same port twice": {func(in *in) {
			in.ContainerDefinitions = append(in.ContainerDefinitions, types.ContainerDefinition{Name: aws.String("b"), Image: aws.String("b"),
				PortMappings: []types.PortMapping{{ContainerPort: aws.Int32(8080), Protocol: types.TransportProtocolUdp}}})
		}, "Container port 8080 is mapped twice in this task."},
		"host path": {func(in *in) {
			in.Volumes = []types.Volume{{Name: aws.String("v"), Host: &types.HostVolumeProperties{SourcePath: aws.String("/etc")}}}
		}, "host.sourcePath: should not be set for volumes in Fargate."},
		"pid mode": {func(in *in) { in.PidMode = types.PidModeHost }, "Fargate only supports pid mode ‘task’."},
		"environment file": {first(func(c *types.ContainerDefinition) {
			c.EnvironmentFiles = []types.EnvironmentFile{{Type: "s3", Value: aws.String("arn:aws:s3:::bucket/key.txt")}}
		}), "Invalid environment file 'arn:aws:s3:::bucket/key.txt' of type 's3': the type is s3, the value arn:aws:s3:::BUCKET/KEY.env."},
		"too little storage": {func(in *in) { in.EphemeralStorage = &types.EphemeralStorage{SizeInGiB: 20} }, "Invalid ephemeralStorage.sizeInGiB '20': the size is 21 to 200 GiB."},
		"too much storage":   {func(in *in) { in.EphemeralStorage = &types.EphemeralStorage{SizeInGiB: 201} }, "Invalid ephemeralStorage.sizeInGiB '201': the size is 21 to 200 GiB."},
		"volume twice":       {func(in *in) { in.Volumes = []types.Volume{{Name: aws.String("v")}, {Name: aws.String("v")}} }, "Volume names must be unique: 'v'."},
		"unknown volume": {first(func(c *types.ContainerDefinition) {
			c.MountPoints = []types.MountPoint{{SourceVolume: aws.String("v"), ContainerPath: aws.String("/v")}}
		}), "Unknown volume 'v'."},
		"volumes from oneself": {first(func(c *types.ContainerDefinition) {
			c.VolumesFrom = []types.VolumeFrom{{SourceContainer: aws.String("app")}}
		}), "Invalid setting for container 'app'. volumesFrom names the container 'app', which is not another one of this task definition."},
		"privileged": {first(func(c *types.ContainerDefinition) { c.Privileged = aws.Bool(true) }), "Fargate doesn't support privileged containers: container 'app'."},
		"capability": {first(func(c *types.ContainerDefinition) {
			c.LinuxParameters = &types.LinuxParameters{Capabilities: &types.KernelCapabilities{Add: []string{"SYS_ADMIN"}}}
		}), "Fargate supports adding the capability SYS_PTRACE alone, not 'SYS_ADMIN': container 'app'."},
		"tmpfs at /":                  {tmp("/", 1), "Invalid setting for container 'app'. The tmpfs containerPath '/' is not an absolute path below '/'."},
		"tmpfs at no absolute path":   {tmp("t", 1), "Invalid setting for container 'app'. The tmpfs containerPath 't' is not an absolute path below '/'."},
		"tmpfs of no size":            {tmp("/t", 0), "Invalid setting for container 'app'. The size of the tmpfs '/t' is at least 1 MiB."},
		"tmpfs that is no tmpfs":      {tmp("/t", 1, "bind"), "Invalid setting for container 'app'. 'bind' is no mount option of a tmpfs."},
		"tmpfs with options in one":   {tmp("/t", 1, "uid=1,size=9g"), "Invalid setting for container 'app'. 'uid=1,size=9g' is no mount option of a tmpfs."},
		"tmpfs with another size":     {tmp("/t", 1, "size=9g"), "Invalid setting for container 'app'. 'size=9g' is no mount option of a tmpfs."},
		"tmpfs with an option's name": {tmp("/t", 1, "mode"), "Invalid setting for container 'app'. 'mode' is no mount option of a tmpfs."},
		"tmpfs twice": {first(func(c *types.ContainerDefinition) {
			one := types.Tmpfs{ContainerPath: aws.String("/t"), Size: 1}
			c.LinuxParameters = &types.LinuxParameters{Tmpfs: []types.Tmpfs{one, one}}
		}), "Invalid setting for container 'app'. Something else is mounted at the tmpfs containerPath '/t'."},
		"shared memory": {first(func(c *types.ContainerDefinition) {
			c.LinuxParameters = &types.LinuxParameters{SharedMemorySize: aws.Int32(64)}
		}), "Fargate doesn't support linuxParameters.sharedMemorySize: container 'app'."},
		"reservation": {first(func(c *types.ContainerDefinition) { c.Memory, c.MemoryReservation = aws.Int32(100), aws.Int32(100) }), "Invalid setting for container 'app'. 'memory' must be greater than 'memoryReservation'."},
		"soft above hard": {first(func(c *types.ContainerDefinition) {
			c.Ulimits = []types.Ulimit{{Name: types.UlimitNameCore, SoftLimit: -1, HardLimit: 5}}
		}), "Invalid setting for container 'app'. The softLimit of 'core' is above its hardLimit."},
		"kernel parameter": {first(func(c *types.ContainerDefinition) {
			c.SystemControls = []types.SystemControl{{Namespace: aws.String("kernel.shmmax"), Value: aws.String("1")}}
		}), "Invalid setting for container 'app'. systemControls are parameters of the network namespace (net.*) with a value, not 'kernel.shmmax'."},
		"too much cpu": {first(func(c *types.ContainerDefinition) { c.Cpu = 512 }), "The containers' cpu units add up to 512, more than the task's 256."},
		"64 KiB": {first(func(c *types.ContainerDefinition) { c.Command = []string{strings.Repeat("x", 65536)} }),
			"Actual length: '65759'. Max allowed length is '65536' bytes."},
		"wrong machine": {func(in *in) { in.RuntimePlatform = &types.RuntimePlatform{CpuArchitecture: types.CPUArchitectureArm64} },
			"This machine runs X86_64; runtimePlatform.cpuArchitecture 'ARM64' can't be met."},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := b.s.RegisterTaskDefinition(b.ctx, definition(tc.change))
			refused(t, err, "ClientException", tc.want)
		})
	}
	out := must(b.s.ListTaskDefinitions(b.ctx, &ecs.ListTaskDefinitionsInput{}))(t)
	if len(out.TaskDefinitionArns) != 0 {
		t.Errorf("refused definitions were registered: %v", out.TaskDefinitionArns)
	}
}

func TestDeregister(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	b.register()
	for _, tc := range []struct{ given, code, message string }{
		{"web", "ClientException", "Revision is missing."},
		{"web:x", "InvalidParameterException", "Invalid revision number. Number: x"},
		{"web:9", "ClientException", "Unable to describe task definition."},
	} {
		_, err := b.s.DeregisterTaskDefinition(b.ctx, &ecs.DeregisterTaskDefinitionInput{TaskDefinition: &tc.given})
		refused(t, err, tc.code, tc.message)
	}
	out := must(b.s.DeregisterTaskDefinition(b.ctx, &ecs.DeregisterTaskDefinitionInput{TaskDefinition: aws.String("web:2")}))(t)
	if out.TaskDefinition.Status != "INACTIVE" || out.TaskDefinition.DeregisteredAt == nil {
		t.Errorf("%+v", out.TaskDefinition)
	}
	_, err := b.runTask(func(in *ecs.RunTaskInput) { in.TaskDefinition = aws.String("web:2") })
	refused(t, err, "ClientException", "TaskDefinition is inactive")
	latest := must(b.s.DescribeTaskDefinition(b.ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: aws.String("web")}))(t)
	if latest.TaskDefinition.Revision != 1 {
		t.Errorf("the latest ACTIVE revision is %d, want 1", latest.TaskDefinition.Revision)
	}
	if a := b.register(); !strings.HasSuffix(a, ":3") { // numbers never go back
		t.Errorf("next revision %s", a)
	}
	_, err = b.s.DescribeTaskDefinition(b.ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: aws.String("gone")})
	refused(t, err, "ClientException", "Unable to describe task definition.")
}

func TestListTaskDefinitions(t *testing.T) {
	b := newBench(t)
	for _, family := range []string{"b", "a", "a-b", "a", "a"} {
		b.register(func(in *ecs.RegisterTaskDefinitionInput) { in.Family = aws.String(family) })
	}
	must(b.s.DeregisterTaskDefinition(b.ctx, &ecs.DeregisterTaskDefinitionInput{TaskDefinition: aws.String("a:1")}))(t)
	must(b.s.DeregisterTaskDefinition(b.ctx, &ecs.DeregisterTaskDefinitionInput{TaskDefinition: aws.String("b:1")}))(t)
	list := func(in ecs.ListTaskDefinitionsInput) string {
		in.MaxResults = aws.Int32(2)
		var got []string
		for {
			out := must(b.s.ListTaskDefinitions(b.ctx, &in))(t)
			for _, a := range out.TaskDefinitionArns {
				got = append(got, strings.TrimPrefix(a, here.ARN("ecs", "task-definition/")))
			}
			if in.NextToken = out.NextToken; in.NextToken == nil {
				return strings.Join(got, " ")
			}
		}
	}
	for _, tc := range []struct {
		in   ecs.ListTaskDefinitionsInput
		want string
	}{
		{ecs.ListTaskDefinitionsInput{}, "a:2 a:3 a-b:1"},
		{ecs.ListTaskDefinitionsInput{Sort: types.SortOrderDesc}, "a-b:1 a:3 a:2"},
		{ecs.ListTaskDefinitionsInput{FamilyPrefix: aws.String("a")}, "a:2 a:3"},
		{ecs.ListTaskDefinitionsInput{Status: types.TaskDefinitionStatusInactive}, "a:1 b:1"},
	} {
		if got := list(tc.in); got != tc.want {
			t.Errorf("%+v = %s, want %s", tc.in, got, tc.want)
		}
	}
	for status, want := range map[types.TaskDefinitionFamilyStatus]string{"": "a a-b b", "ALL": "a a-b b", "ACTIVE": "a a-b", "INACTIVE": "b"} {
		out := must(b.s.ListTaskDefinitionFamilies(b.ctx, &ecs.ListTaskDefinitionFamiliesInput{Status: status}))(t)
		if got := strings.Join(out.Families, " "); got != want {
			t.Errorf("families %q = %s, want %s", status, got, want)
		}
	}
	out := must(b.s.ListTaskDefinitionFamilies(b.ctx, &ecs.ListTaskDefinitionFamiliesInput{FamilyPrefix: aws.String("a-")}))(t)
	if len(out.Families) != 1 || out.Families[0] != "a-b" {
		t.Errorf("families with prefix a-: %v", out.Families)
	}
}
