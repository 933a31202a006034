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

// defaultStorage is a task's ephemeral storage when nothing is said. Source: DG fargate-task-storage.
const defaultStorage = 20

// EphemeralStorage is how much a task may write to its containers' file systems and its volumes, in GiB.
func EphemeralStorage(t Task, def ecstypes.TaskDefinition) int {
	for _, e := range []*ecstypes.EphemeralStorage{t.Overrides.EphemeralStorage, def.EphemeralStorage} {
		if e != nil {
			return int(e.SizeInGiB)
		}
	}
	return defaultStorage
}

// CredentialsID is a task's own in AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: the same at every asking.
// It is no secret: who may have the credentials is known by the address that asks.
func CredentialsID(task string) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("credentials/"+task)).String()
}
