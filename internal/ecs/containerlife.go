package ecs

import (
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// lifeMembers are the members of a container that say how it lives: checked here, acted on by the package task.
var lifeMembers = []string{"DependsOn", "HealthCheck", "RestartPolicy", "StartTimeout", "StopTimeout"}

// life checks how a container starts, is looked after, and ends.
func life(c *types.ContainerDefinition) error {
	where := fmt.Sprintf("container '%s'", *c.Name)
	if t := c.StopTimeout; t != nil && *t > 120 { // Source: refusals as published by users of Fargate
		return client("Tasks using the Fargate launch type must have a container stop timeout of less than 120 seconds.")
	}
	if t := c.StopTimeout; t != nil && *t < 2 { // Source: API Reference, ContainerDefinition: 2 to 120
		return client("Invalid setting for %s. On Fargate 'stopTimeout' is between 2 and 120 seconds.", where)
	}
	if t := c.StartTimeout; t != nil && (*t < 2 || *t > 120) { // Source: API Reference, ContainerDefinition: 2 to 120
		return client("Invalid setting for %s. On Fargate 'startTimeout' is between 2 and 120 seconds.", where)
	}
	if err := healthCheck(c, where); err != nil {
		return err
	}
	return restartPolicy(c, where)
}

// dependencies checks in which order the containers of a task start. Source: API Reference, ContainerDependency.
func dependencies(containers []types.ContainerDefinition) error {
	byName := map[string]types.ContainerDefinition{}
	for _, c := range containers {
		byName[*c.Name] = c
	}
	for _, c := range containers {
		for _, d := range c.DependsOn {
			if err := onlyMembers(fmt.Sprintf("dependsOn of container '%s'", *c.Name), d, "Condition", "ContainerName"); err != nil {
				return err
			}
			name := aws.ToString(d.ContainerName)
			on, known := byName[name]
			switch {
			case !known: // AWS's own plus sign. Source: refusals as published by users
				return client("Cannot depend on container + '%s' because it does not exist", name)
			case !slices.Contains(d.Condition.Values(), d.Condition):
				return client("Invalid setting for container '%s'. The condition of a dependency is START, COMPLETE, SUCCESS or HEALTHY, not '%s'.", *c.Name, d.Condition)
			case aws.ToBool(on.Essential) && (d.Condition == types.ContainerConditionComplete || d.Condition == types.ContainerConditionSuccess):
				return client("A dependency container with SUCCESS or COMPLETE condition cannot be an essential container")
			case d.Condition == types.ContainerConditionHealthy && (on.HealthCheck == nil || len(on.HealthCheck.Command) < 2):
				return client("Invalid setting for container '%s'. It depends on container '%s' being HEALTHY, which has no health check.", *c.Name, name)
			}
		}
	}
	for _, c := range containers {
		if reaches(byName, *c.Name, *c.Name, map[string]bool{}) {
			return client("Container dependencies should not have a cycle")
		}
	}
	return nil
}

// lifeAttributes are the capabilities that a container's life needs. Source: ECS agent, capabilities.
func lifeAttributes(c types.ContainerDefinition) (names []string) {
	if c.HealthCheck != nil {
		names = append(names, "ecs.capability.container-health-check")
	}
	if len(c.DependsOn) > 0 || c.StartTimeout != nil || c.StopTimeout != nil {
		names = append(names, "ecs.capability.container-ordering")
	}
	if c.RestartPolicy != nil {
		names = append(names, "ecs.capability.container-restart-policy")
	}
	return names
}

// Private

// healthCheck checks a container's health check and fills in AWS's defaults. Source: API Reference, HealthCheck.
func healthCheck(c *types.ContainerDefinition, where string) error {
	h := c.HealthCheck
	if h == nil {
		return nil
	}
	if err := onlyMembers("healthCheck of "+where, *h, "Command", "Interval", "Timeout", "Retries", "StartPeriod"); err != nil {
		return err
	}
	kind := ""
	if len(h.Command) > 0 {
		kind = h.Command[0]
	}
	if ok := kind == "NONE" && len(h.Command) == 1 || (kind == "CMD" || kind == "CMD-SHELL") && len(h.Command) > 1; !ok {
		return client("Invalid setting for %s. The command of a health check starts with CMD or CMD-SHELL, and what to run follows.", where)
	}
	check := *h
	for _, n := range []struct {
		name        string
		value       **int32
		least, most int32
		def         int32 // 0: none
	}{
		{"interval", &check.Interval, 5, 300, 30},
		{"timeout", &check.Timeout, 2, 60, 5},
		{"retries", &check.Retries, 1, 10, 3},
		{"startPeriod", &check.StartPeriod, 0, 300, 0},
	} {
		if *n.value == nil && n.def > 0 {
			*n.value = aws.Int32(n.def)
		}
		if v := *n.value; v != nil && (*v < n.least || *v > n.most) {
			return client("Invalid setting for %s. 'healthCheck.%s' is between %d and %d, not %d.", where, n.name, n.least, n.most, *v)
		}
	}
	c.HealthCheck = &check
	return nil
}

// restartPolicy checks when a container runs again. Source: API Reference, ContainerRestartPolicy.
func restartPolicy(c *types.ContainerDefinition, where string) error {
	p := c.RestartPolicy
	if p == nil {
		return nil
	}
	if err := onlyMembers("restartPolicy of "+where, *p, "Enabled", "IgnoredExitCodes", "RestartAttemptPeriod"); err != nil {
		return err
	}
	if len(p.IgnoredExitCodes) > 50 {
		return client("Invalid setting for %s. A restart policy ignores at most 50 exit codes.", where)
	}
	policy := *p
	if policy.RestartAttemptPeriod == nil && aws.ToBool(policy.Enabled) {
		policy.RestartAttemptPeriod = aws.Int32(300)
	}
	if v := policy.RestartAttemptPeriod; v != nil && (*v < 60 || *v > 1800) {
		return client("Invalid setting for %s. 'restartPolicy.restartAttemptPeriod' is between 60 and 1800 seconds, not %d.", where, *v)
	}
	c.RestartPolicy = &policy
	return nil
}

// reaches tells whether a container depends on another, by way of others too.
func reaches(byName map[string]types.ContainerDefinition, from, to string, seen map[string]bool) bool {
	for _, d := range byName[from].DependsOn {
		name := *d.ContainerName
		if name == to {
			return true
		}
		if !seen[name] {
			seen[name] = true
			if reaches(byName, name, to, seen) {
				return true
			}
		}
	}
	return false
}
