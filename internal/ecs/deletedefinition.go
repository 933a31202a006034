package ecs

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// DeleteTaskDefinitions marks INACTIVE revisions as DELETE_IN_PROGRESS. They go when no task and
// no service is left that was made from them. Source: DG delete-task-definition-v2.
func (s *Service) DeleteTaskDefinitions(ctx context.Context, in *ecs.DeleteTaskDefinitionsInput) (*ecs.DeleteTaskDefinitionsOutput, error) {
	if err := onlyMembers("", in, "TaskDefinitions"); err != nil {
		return nil, err
	}
	if len(in.TaskDefinitions) == 0 {
		return nil, invalid("Task definitions cannot be empty.")
	}
	if len(in.TaskDefinitions) > 10 { // Source: API reference
		return nil, invalid("taskDefinitions can have at most 10 items.")
	}
	sc := scope(ctx)
	out := &ecs.DeleteTaskDefinitionsOutput{TaskDefinitions: []types.TaskDefinition{}, Failures: []types.Failure{}}
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		for _, given := range in.TaskDefinitions {
			family, rev, err := familyRevision(sc, given)
			if err != nil {
				return err
			}
			if rev == 0 {
				return invalid("Invalid revision number. Number: %s", "null")
			}
			failed := func(reason string) {
				out.Failures = append(out.Failures, types.Failure{Arn: aws.String(given), Reason: &reason})
			}
			td, err := state.TaskDefinitions.Get(tx, taskDefinitionKey(sc, family, rev))
			if err != nil {
				if absent(err, nil) != nil {
					return err
				}
				failed("The specified task definition does not exist. Specify a valid account, family, revision and try again.")
				continue
			}
			d := &td.Val.Definition
			switch d.Status {
			case types.TaskDefinitionStatusActive: // text as published by users of the real service
				failed("The specified task definition is still in ACTIVE status. Please deregister the target and try again.")
				continue
			case types.TaskDefinitionStatusInactive:
				d.Status, d.DeleteRequestedAt = types.TaskDefinitionStatusDeleteInProgress, aws.Time(tx.Now())
				if err := state.TaskDefinitions.Put(tx, &td); err != nil {
					return err
				}
			}
			out.TaskDefinitions = append(out.TaskDefinitions, *d)
		}
		return nil
	})
	return out, err
}
