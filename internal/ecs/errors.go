package ecs

import (
	"fmt"
	"strings"

	"github.com/lotse-project/lotse/internal/awswire"
)

// ECS's errors and fixed texts, as users of the real service have published them.
var (
	errClusterNotFound  = awsError("ClusterNotFoundException", "Cluster not found.")
	errClusterServices  = awsError("ClusterContainsServicesException", "The Cluster cannot be deleted while Services are active.")
	errClusterTasks     = awsError("ClusterContainsTasksException", "The Cluster cannot be deleted while Tasks are active.")
	errServiceNotFound  = awsError("ServiceNotFoundException", "Service not found.")
	errServiceNotActive = awsError("ServiceNotActiveException", "Service was not ACTIVE.")
	errTaskNotFound     = invalid("The referenced task was not found.")
	errTaskDefMissing   = client("TaskDefinition not found.")
	errTaskDefInactive  = client("TaskDefinition is inactive")
	errRoleInvalid      = client("Role is not valid")
	errNoSuchResource   = awsError("ResourceNotFoundException", "The specified resource could not be found.")
	errTooManyTags      = awsError("LimitExceededException", "The maximum number of tags per resource is 50.")
	// Source: API reference, ServiceDeploymentNotFoundException.
	errNoServiceDeployment = awsError("ServiceDeploymentNotFoundException", "The service deploy ARN that you specified in the StopServiceDeployment doesn't exist. You can use ListServiceDeployments to retrieve the service deployment ARNs.")
	errDescribeTaskDef     = client("Unable to describe task definition.")
)

func awsError(code, message string) *awswire.Error {
	return &awswire.Error{Code: code, Message: message}
}

// invalid is a bad parameter.
func invalid(format string, a ...any) *awswire.Error {
	return awsError("InvalidParameterException", fmt.Sprintf(format, a...))
}

// client is ECS's catch-all for what one may not do.
func client(format string, a ...any) *awswire.Error {
	return awsError("ClientException", fmt.Sprintf(format, a...))
}

// conflict is something that can't be done in the present state.
func conflict(format string, a ...any) *awswire.Error {
	return awsError("ConflictException", fmt.Sprintf(format, a...))
}

// onlyMembers refuses every member of in that is set and not named: a field that nobody acts
// on must not look accepted.
func onlyMembers(where string, in any, names ...string) error {
	extra := awswire.SetMembers(in, names...)
	if len(extra) == 0 {
		return nil
	}
	if where != "" {
		where = " in " + where
	}
	return invalid("Lotse does not act on %s%s yet, so it does not accept it.", strings.Join(extra, ", "), where)
}
