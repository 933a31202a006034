package ecs

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/awslogs"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/lazyregexp"
)

// definition checks a registration and fills in what AWS fills in.
// The refusals' texts are those published by users of the real service.
func (s *Service) definition(in *ecs.RegisterTaskDefinitionInput) (types.TaskDefinition, error) {
	var none types.TaskDefinition
	if err := onlyMembers("", in, "Family", "ContainerDefinitions", "Cpu", "Memory", "NetworkMode", "RequiresCompatibilities",
		"ExecutionRoleArn", "TaskRoleArn", "RuntimePlatform", "Tags", "Volumes", "EphemeralStorage", "PidMode"); err != nil {
		return none, err
	}
	if !nameRE.MatchString(aws.ToString(in.Family)) {
		return none, client("Family contains invalid characters. Family names are 1 to 255 letters, digits, hyphens and underscores.")
	}
	if in.NetworkMode != types.NetworkModeAwsvpc {
		return none, client("Fargate only supports network mode ‘awsvpc’.")
	}
	if in.PidMode != "" && in.PidMode != types.PidModeTask { // Source: API reference, RegisterTaskDefinition
		return none, client("Fargate only supports pid mode ‘task’.")
	}
	for _, c := range in.RequiresCompatibilities {
		if c != types.CompatibilityFargate && c != types.CompatibilityEc2 {
			return none, client("Lotse runs tasks of launch type FARGATE; requiresCompatibilities '%s' can't be met.", c)
		}
	}
	if p := in.RuntimePlatform; p != nil {
		if err := onlyMembers("runtimePlatform", *p, "CpuArchitecture", "OperatingSystemFamily"); err != nil {
			return none, err
		}
		if p.CpuArchitecture != "" && string(p.CpuArchitecture) != s.o.Architecture {
			return none, client("This machine runs %s; runtimePlatform.cpuArchitecture '%s' can't be met.", s.o.Architecture, p.CpuArchitecture)
		}
		if p.OperatingSystemFamily != "" && p.OperatingSystemFamily != types.OSFamilyLinux {
			return none, client("This machine runs LINUX; runtimePlatform.operatingSystemFamily '%s' can't be met.", p.OperatingSystemFamily)
		}
	}
	if err := ephemeralStorage(in.EphemeralStorage, client); err != nil {
		return none, err
	}
	cpu, memory, err := fargateSize(aws.ToString(in.Cpu), aws.ToString(in.Memory))
	if err != nil {
		return none, err
	}
	if n := jsonSize(in); n > 65536 { // Source: DG service-quotas: 64 KiB
		return none, client("Actual length: '%d'. Max allowed length is '65536' bytes.", n)
	}
	containers, err := containerDefinitions(in, cpu, memory)
	if err != nil {
		return none, err
	}
	vols, err := volumes(in)
	if err != nil {
		return none, err
	}
	if err := mounts(containers, vols); err != nil {
		return none, err
	}
	compat := in.RequiresCompatibilities
	if len(compat) == 0 {
		compat = nil
	}
	return types.TaskDefinition{
		Family: in.Family, Status: types.TaskDefinitionStatusActive, NetworkMode: in.NetworkMode,
		Cpu: aws.String(strconv.Itoa(cpu)), Memory: aws.String(strconv.Itoa(memory)),
		ContainerDefinitions: containers, ExecutionRoleArn: in.ExecutionRoleArn, TaskRoleArn: in.TaskRoleArn, RuntimePlatform: in.RuntimePlatform,
		RequiresCompatibilities: compat,
		Compatibilities:         []types.Compatibility{types.CompatibilityEc2, types.CompatibilityFargate},
		Volumes:                 vols, PlacementConstraints: []types.TaskDefinitionPlacementConstraint{},
		RequiresAttributes: requiredAttributes(in), EphemeralStorage: in.EphemeralStorage, PidMode: in.PidMode,
	}, nil
}

// Private

func containerDefinitions(in *ecs.RegisterTaskDefinitionInput, taskCPU, taskMemory int) ([]types.ContainerDefinition, error) {
	if len(in.ContainerDefinitions) == 0 {
		return nil, client("Container list cannot be empty.")
	}
	if len(in.ContainerDefinitions) > 10 {
		return nil, client("A task definition has at most 10 containers.")
	}
	var out []types.ContainerDefinition
	essential, sumCPU := false, 0
	names, ports := map[string]bool{}, map[string]bool{}
	for _, c := range in.ContainerDefinitions {
		c, err := containerDefinition(c, in, taskMemory, ports)
		if err != nil {
			return nil, err
		}
		if names[*c.Name] {
			return nil, client("Container names must be unique: '%s'.", *c.Name)
		}
		names[*c.Name] = true
		essential = essential || *c.Essential
		sumCPU += int(c.Cpu)
		out = append(out, c)
	}
	if !essential {
		return nil, client("Invalid setting: At least one container must be marked essential")
	}
	if err := dependencies(out); err != nil {
		return nil, err
	}
	if sumCPU > taskCPU {
		return nil, client("The containers' cpu units add up to %d, more than the task's %d.", sumCPU, taskCPU)
	}
	return out, nil
}

var envNameRE = lazyregexp.New(`^[^=\x00]+$`)

func containerDefinition(c types.ContainerDefinition, in *ecs.RegisterTaskDefinitionInput, taskMemory int, ports map[string]bool) (types.ContainerDefinition, error) {
	if aws.ToString(c.Name) == "" {
		return c, client("Container.name should not be null or empty.")
	}
	if !nameRE.MatchString(*c.Name) {
		return c, client("Invalid container name '%s': 1 to 255 letters, digits, hyphens and underscores.", *c.Name)
	}
	if aws.ToString(c.Image) == "" {
		return c, client("Container.image should not be null or empty.")
	}
	if aws.ToBool(c.DisableNetworking) {
		return c, client("Disable Networking is not supported on container when networkMode=awsvpc")
	}
	if len(c.Links) > 0 {
		return c, client("Links are not supported when networkMode=awsvpc")
	}
	if err := notOnFargate(c); err != nil {
		return c, err
	}
	where := fmt.Sprintf("container '%s'", *c.Name)
	if err := onlyMembers(where, c, append(lifeMembers, "Name", "Image", "Cpu", "Memory", "PortMappings", "Essential", "Command", "EntryPoint",
		"Environment", "Secrets", "User", "WorkingDirectory", "ReadonlyRootFilesystem", "LogConfiguration",
		"VersionConsistency", "MemoryReservation", "Ulimits", "LinuxParameters", "MountPoints", "VolumesFrom", "SystemControls", "DockerLabels", "EnvironmentFiles")...); err != nil {
		return c, err
	}
	if err := resources(c, taskMemory); err != nil {
		return c, err
	}
	if err := life(&c); err != nil {
		return c, err
	}
	for _, e := range c.Environment {
		if err := onlyMembers("environment", e, "Name", "Value"); err != nil {
			return c, err
		}
		if !envNameRE.MatchString(aws.ToString(e.Name)) {
			return c, client("Invalid setting for container '%s'. Environment names are not empty and hold no '='.", *c.Name)
		}
	}
	if err := environmentFiles(c.EnvironmentFiles, client); err != nil {
		return c, err
	}
	if len(c.EnvironmentFiles) > 0 && aws.ToString(in.ExecutionRoleArn) == "" {
		return c, client("When you are specifying environment files, you must also specify a value for 'executionRoleArn'")
	}
	if err := secrets(c, in); err != nil {
		return c, err
	}
	if err := portMappings(&c, ports); err != nil {
		return c, err
	}
	if err := logConfiguration(c, in); err != nil {
		return c, err
	}
	if isECR(*c.Image) && aws.ToString(in.ExecutionRoleArn) == "" {
		return c, client("Fargate requires task definition to have execution role ARN to support ECR images.")
	}
	// What AWS adds. Source: RegisterTaskDefinition's answers.
	if c.Essential == nil {
		c.Essential = aws.Bool(true)
	}
	if c.Environment == nil {
		c.Environment = []types.KeyValuePair{}
	}
	if c.MountPoints == nil {
		c.MountPoints = []types.MountPoint{}
	}
	if c.VolumesFrom == nil {
		c.VolumesFrom = []types.VolumeFrom{}
	}
	if c.SystemControls == nil {
		c.SystemControls = []types.SystemControl{}
	}
	return c, nil
}

var envFileRE = lazyregexp.New(`^arn:aws[a-z-]*:s3:::[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.*\.env$`)

// environmentFiles checks where variables come from. Source: API reference, EnvironmentFile; DG use-environment-file.
func environmentFiles(files []types.EnvironmentFile, refuse func(string, ...any) *awswire.Error) error {
	if len(files) > 10 {
		return refuse("A container has at most 10 environment files.")
	}
	for _, f := range files {
		if f.Type != types.EnvironmentFileTypeS3 || !envFileRE.MatchString(aws.ToString(f.Value)) {
			return refuse("Invalid environment file '%s' of type '%s': the type is s3, the value arn:aws:s3:::BUCKET/KEY.env.", aws.ToString(f.Value), f.Type)
		}
	}
	return nil
}

// secrets accepts values that the task fetches at its start. Source: DG specifying-sensitive-data.
func secrets(c types.ContainerDefinition, in *ecs.RegisterTaskDefinitionInput) error {
	if len(c.Secrets) > 0 && aws.ToString(in.ExecutionRoleArn) == "" {
		return client("When you are specifying container secrets, you must also specify a value for 'executionRoleArn'")
	}
	seen := map[string]bool{}
	for _, e := range c.Environment {
		seen[aws.ToString(e.Name)] = true
	}
	for _, v := range c.Secrets {
		if err := onlyMembers("secrets", v, "Name", "ValueFrom"); err != nil {
			return err
		}
		name := aws.ToString(v.Name)
		if !envNameRE.MatchString(name) || aws.ToString(v.ValueFrom) == "" {
			return client("Invalid setting for container '%s'. Secrets have a name without '=' and a valueFrom.", *c.Name)
		}
		if seen[name] {
			return client("The secret name must be unique and not shared with any new or existing environment variables set on the container, such as '%s'.", name)
		}
		seen[name] = true
	}
	return nil
}

// portNameRE: Source: API reference, PortMapping.
var portNameRE = lazyregexp.New(`^[a-z0-9_][a-z0-9_-]{0,63}$`)

func portMappings(c *types.ContainerDefinition, ports map[string]bool) error {
	if c.PortMappings == nil {
		c.PortMappings = []types.PortMapping{}
	}
	for i := range c.PortMappings {
		p := &c.PortMappings[i]
		if err := onlyMembers(fmt.Sprintf("a port mapping of container '%s'", *c.Name), *p,
			"ContainerPort", "HostPort", "Protocol", "Name", "AppProtocol"); err != nil {
			return err
		}
		if p.Name != nil && !portNameRE.MatchString(*p.Name) {
			return client("Invalid setting for container '%s'. A port mapping's name has 1 to 64 lower-case letters, digits, _ and -, and does not start with -.", *c.Name)
		}
		if p.AppProtocol != "" && p.Name == nil {
			return client("Invalid setting for container '%s'. A port mapping with appProtocol needs a name.", *c.Name)
		}
		if p.AppProtocol != "" && p.AppProtocol != types.ApplicationProtocolHttp {
			return client("Lotse serves appProtocol http, not '%s', yet.", p.AppProtocol)
		}
		n := aws.ToInt32(p.ContainerPort)
		if n < 1 || n > 65535 {
			return client("Invalid setting for container '%s'. containerPort is between 1 and 65535.", *c.Name)
		}
		if p.HostPort != nil && *p.HostPort != n {
			return client("When networkMode=awsvpc, the host ports and container ports in port mappings must match.")
		}
		p.HostPort = aws.Int32(n)
		if p.Protocol == "" {
			p.Protocol = types.TransportProtocolTcp
		}
		if key := strconv.Itoa(int(n)); ports[key] {
			return client("Container port %d is mapped twice in this task.", n)
		} else {
			ports[key] = true
		}
	}
	return nil
}

// logConfiguration accepts the awslogs driver. Source: DG using_awslogs.
func logConfiguration(c types.ContainerDefinition, in *ecs.RegisterTaskDefinitionInput) error {
	l := c.LogConfiguration
	if l == nil {
		return nil
	}
	if err := onlyMembers("logConfiguration", *l, "LogDriver", "Options"); err != nil {
		return err
	}
	if l.LogDriver != types.LogDriverAwslogs {
		return client("Lotse supports the log driver awslogs, not '%s', yet.", l.LogDriver)
	}
	if _, err := awslogs.Parse(l.Options); err != nil {
		return client("%v", err)
	}
	if aws.ToString(in.ExecutionRoleArn) == "" {
		return client("Fargate requires task definition to have execution role ARN to support log driver awslogs.")
	}
	return nil
}

var ecrHost = lazyregexp.New(`^([0-9]{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com|localhost:[0-9]+|127\.0\.0\.1:[0-9]+)/`)

func isECR(image string) bool { return ecrHost.MatchString(image) }

// requiredAttributes lists the capabilities that AWS computes from a definition.
func requiredAttributes(in *ecs.RegisterTaskDefinitionInput) []types.Attribute {
	names := []string{"ecs.capability.task-eni", "com.amazonaws.ecs.capability.docker-remote-api.1.18"}
	var logs, ecr bool
	for _, c := range in.ContainerDefinitions {
		names = append(names, lifeAttributes(c)...)
		logs = logs || c.LogConfiguration != nil
		ecr = ecr || isECR(aws.ToString(c.Image))
	}
	if logs {
		names = append(names, "com.amazonaws.ecs.capability.logging-driver.awslogs", "ecs.capability.execution-role-awslogs")
	}
	if ecr {
		names = append(names, "com.amazonaws.ecs.capability.ecr-auth", "ecs.capability.execution-role-ecr-pull")
	}
	if aws.ToString(in.TaskRoleArn) != "" {
		names = append(names, "com.amazonaws.ecs.capability.task-iam-role")
	}
	out := []types.Attribute{}
	for _, n := range slices.Compact(slices.Sorted(slices.Values(names))) {
		out = append(out, types.Attribute{Name: aws.String(n)})
	}
	return out
}

var sizeUnit = lazyregexp.New(`(?i)^([0-9.]+) ?(vcpu|gb|mb)$`)

// fargateSize checks a pair of task sizes. Source: DG fargate-tasks-services.
func fargateSize(cpuText, memoryText string) (cpu, memory int, err error) {
	if cpuText == "" {
		return 0, 0, client("Fargate requires that 'cpu' be defined at the task level.")
	}
	if memoryText == "" {
		return 0, 0, client("Fargate requires that 'memory' be defined at the task level.")
	}
	cpu, ok := units(cpuText)
	if !ok {
		return 0, 0, client("Invalid 'cpu' setting for task. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.")
	}
	if memory, ok = units(memoryText); !ok {
		return 0, 0, client("Invalid 'memory' setting for task. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.")
	}
	between := func(lo, hi, step int) bool { return memory >= lo*1024 && memory <= hi*1024 && memory%(step*1024) == 0 }
	switch {
	case cpu == 256 && (memory == 512 || memory == 1024 || memory == 2048),
		cpu == 512 && between(1, 4, 1), cpu == 1024 && between(2, 8, 1), cpu == 2048 && between(4, 16, 1),
		cpu == 4096 && between(8, 30, 1), cpu == 8192 && between(16, 60, 4), cpu == 16384 && between(32, 120, 8):
		return cpu, memory, nil
	}
	return 0, 0, client("No Fargate configuration exists for given values.")
}

// units reads "256", "1 vCPU" (1024 units) or "2 GB" (2048 MiB).
func units(s string) (int, bool) {
	s = strings.TrimSpace(s)
	if n, err := strconv.Atoi(s); err == nil {
		return n, true
	}
	m := sizeUnit.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	f, err := strconv.ParseFloat(m[1], 64)
	if strings.EqualFold(m[2], "mb") {
		return int(f), err == nil
	}
	return int(f * 1024), err == nil
}
