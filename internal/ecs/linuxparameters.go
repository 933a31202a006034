package ecs

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// linuxCapabilities may be dropped; on Fargate only SYS_PTRACE may be added. Source: API reference, KernelCapabilities.
var linuxCapabilities = strings.Fields(`ALL AUDIT_CONTROL AUDIT_WRITE BLOCK_SUSPEND CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID
	IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW
	SETFCAP SETGID SETPCAP SETUID SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE
	SYS_TIME SYS_TTY_CONFIG SYSLOG WAKE_ALARM`)

// notOnFargate refuses what AWS has for EC2 instances alone. Source: API reference, ContainerDefinition, LinuxParameters.
func notOnFargate(c types.ContainerDefinition) error {
	if aws.ToBool(c.Privileged) {
		return client("Fargate doesn't support privileged containers: container '%s'.", *c.Name)
	}
	if c.Hostname != nil || len(c.ExtraHosts) > 0 || len(c.DnsServers) > 0 || len(c.DnsSearchDomains) > 0 {
		return client("hostname, extraHosts, dnsServers and dnsSearchDomains are not supported on container '%s' when networkMode=awsvpc", *c.Name)
	}
	if len(c.DockerSecurityOptions) > 0 {
		return client("Fargate doesn't support dockerSecurityOptions: container '%s'.", *c.Name)
	}
	p := c.LinuxParameters
	if p == nil {
		return nil
	}
	for name, set := range map[string]bool{"devices": len(p.Devices) > 0, "sharedMemorySize": p.SharedMemorySize != nil,
		"maxSwap": p.MaxSwap != nil, "swappiness": p.Swappiness != nil} {
		if set {
			return client("Fargate doesn't support linuxParameters.%s: container '%s'.", name, *c.Name)
		}
	}
	if err := tmpfs(c); err != nil || p.Capabilities == nil {
		return err
	}
	for _, a := range p.Capabilities.Add {
		if a != "SYS_PTRACE" {
			return client("Fargate supports adding the capability SYS_PTRACE alone, not '%s': container '%s'.", a, *c.Name)
		}
	}
	for _, d := range p.Capabilities.Drop {
		if !slices.Contains(linuxCapabilities, d) {
			return client("Invalid setting for container '%s'. '%s' is no capability that can be dropped.", *c.Name, d)
		}
	}
	return nil
}

// tmpfsOptions are those of Docker that mean something to a tmpfs which is mounted for one container; those with a value are
// given as "mode=1777". Source: API reference, Tmpfs.
var tmpfsOptions = strings.Fields(`defaults ro rw suid nosuid dev nodev exec noexec sync async dirsync atime noatime diratime nodiratime
	relatime norelatime strictatime nostrictatime private rprivate slave rslave mode= uid= gid= nr_inodes= nr_blocks= mpol=`)

// tmpfs checks a container's file systems in memory, which Fargate has since January 2026.
// Source: API reference, Tmpfs; "Amazon ECS now supports tmpfs mounts on AWS Fargate".
func tmpfs(c types.ContainerDefinition) error {
	paths := map[string]bool{}
	for _, m := range c.MountPoints {
		paths[path.Clean(aws.ToString(m.ContainerPath))] = true
	}
	for _, m := range c.LinuxParameters.Tmpfs {
		at := aws.ToString(m.ContainerPath)
		switch {
		case !strings.HasPrefix(at, "/") || path.Clean(at) == "/" || strings.Contains(at+"/", "/../"):
			return client("Invalid setting for container '%s'. The tmpfs containerPath '%s' is not an absolute path below '/'.", *c.Name, at)
		case paths[path.Clean(at)]:
			return client("Invalid setting for container '%s'. Something else is mounted at the tmpfs containerPath '%s'.", *c.Name, at)
		case m.Size < 1:
			return client("Invalid setting for container '%s'. The size of the tmpfs '%s' is at least 1 MiB.", *c.Name, at)
		}
		for _, o := range m.MountOptions {
			name, value, given := strings.Cut(o, "=")
			if given {
				name += "="
			}
			if !slices.Contains(tmpfsOptions, name) || given && (value == "" || strings.Contains(value, ",")) {
				return client("Invalid setting for container '%s'. '%s' is no mount option of a tmpfs.", *c.Name, o)
			}
		}
		paths[path.Clean(at)] = true
	}
	return nil
}

// resources checks what a container may use.
func resources(c types.ContainerDefinition, taskMemory int) error {
	if m := c.Memory; m != nil && (*m < 6 || int(*m) > taskMemory) {
		return client("Invalid setting for container '%s'. 'memory' is between 6 MiB and the task's %d MiB.", *c.Name, taskMemory)
	}
	if r := c.MemoryReservation; r != nil {
		if *r < 6 || int(*r) > taskMemory {
			return client("Invalid setting for container '%s'. 'memoryReservation' is between 6 MiB and the task's %d MiB.", *c.Name, taskMemory)
		}
		if c.Memory != nil && *r >= *c.Memory { // Source: API reference, ContainerDefinition
			return client("Invalid setting for container '%s'. 'memory' must be greater than 'memoryReservation'.", *c.Name)
		}
	}
	if c.Cpu < 0 {
		return client("Invalid setting for container '%s'. 'cpu' can't be negative.", *c.Name)
	}
	seen := map[types.UlimitName]bool{}
	for _, u := range c.Ulimits {
		switch {
		case !slices.Contains(u.Name.Values(), u.Name):
			return client("Invalid setting for container '%s'. '%s' is no ulimit.", *c.Name, u.Name)
		case seen[u.Name]:
			return client("Invalid setting for container '%s'. The ulimit '%s' is there twice.", *c.Name, u.Name)
		case u.HardLimit >= 0 && (u.SoftLimit < 0 || u.SoftLimit > u.HardLimit):
			return client("Invalid setting for container '%s'. The softLimit of '%s' is above its hardLimit.", *c.Name, u.Name)
		}
		seen[u.Name] = true
	}
	for _, s := range c.SystemControls {
		name := aws.ToString(s.Namespace)
		// Source: DG, system controls: with awsvpc those of the network; those of IPC not on Fargate.
		if !strings.HasPrefix(name, "net.") || strings.ContainsAny(name, "/ ") || aws.ToString(s.Value) == "" {
			return client("Invalid setting for container '%s'. systemControls are parameters of the network namespace (net.*) with a value, not '%s'.", *c.Name, name)
		}
	}
	for k := range c.DockerLabels {
		if k == "" || strings.HasPrefix(k, "com.amazonaws.ecs.") {
			return client("Invalid setting for container '%s'. The label '%s' is reserved.", *c.Name, k)
		}
	}
	return members(c)
}

// members refuses what is unknown within a container's parts.
func members(c types.ContainerDefinition) error {
	where := fmt.Sprintf("container '%s'", *c.Name)
	for _, m := range c.MountPoints {
		if err := onlyMembers(where, m, "SourceVolume", "ContainerPath", "ReadOnly"); err != nil {
			return err
		}
	}
	if c.LinuxParameters != nil {
		return onlyMembers(where, *c.LinuxParameters, "Capabilities", "InitProcessEnabled", "Tmpfs")
	}
	return nil
}
