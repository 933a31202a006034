package task

import (
	"github.com/lotse-project/lotse/internal/state"
)

// environment is what every container finds, whatever its definition adds or puts in its place.
// Source: ECS developer guide, task metadata endpoint v4 for Fargate and task IAM roles.
func (c *Controller) environment(l life, container string) map[string]string {
	id := l.task.ID + "-" + runtimeSuffix(l.task.ID, container)
	env := map[string]string{
		"AWS_EXECUTION_ENV":             "AWS_ECS_FARGATE",
		"AWS_REGION":                    l.scope().Region,
		"AWS_DEFAULT_REGION":            l.scope().Region,
		"ECS_CONTAINER_METADATA_URI_V4": "http://169.254.170.2/v4/" + id,
		"ECS_AGENT_URI":                 "http://169.254.170.2/api/" + id,
		"ECS_CONTAINER_METADATA_URI":    "http://169.254.170.2/v3/" + id,
	}
	for _, name := range c.o.Endpoints {
		env[name] = apiEndpoint
	}
	if state.TaskRole(l.task, l.definition) != "" {
		env["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] = "/v2/credentials/" + state.CredentialsID(l.task.ID)
	}
	return env
}

// apiEndpoint is where tasks reach the AWS API, which lies outside of their VPC.
const apiEndpoint = "http://169.254.170.2:4566"
