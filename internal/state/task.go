package state

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/uuid"
)

// TaskRole is the role whose credentials a task's containers get, by ARN or name; "" for none.
func TaskRole(t Task, def ecstypes.TaskDefinition) string {
	if t.Overrides.TaskRoleArn != nil {
		return *t.Overrides.TaskRoleArn
	}
	return aws.ToString(def.TaskRoleArn)
}

// CredentialsID is a task's own in AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: the same at every asking.
// It is no secret: who may have the credentials is known by the address that asks.
func CredentialsID(task string) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("credentials/"+task)).String()
}
