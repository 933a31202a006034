package ecs

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// UpdateTaskProtection keeps tasks of services from being scaled in or replaced by deployments, for
// a while. Source: DG task-scale-in-protection: 2 hours unless told, 1 minute to 48 hours.
func (s *Service) UpdateTaskProtection(ctx context.Context, in *ecs.UpdateTaskProtectionInput) (*ecs.UpdateTaskProtectionOutput, error) {
	if err := onlyMembers("", in, "Cluster", "Tasks", "ProtectionEnabled", "ExpiresInMinutes"); err != nil {
		return nil, err
	}
	minutes := 120
	if in.ExpiresInMinutes != nil {
		minutes = int(*in.ExpiresInMinutes)
	}
	switch {
	case len(in.Tasks) == 0:
		return nil, invalid("Tasks cannot be empty.")
	case len(in.Tasks) > 10:
		return nil, invalid("tasks can have at most 10 items.")
	case minutes < 1 || minutes > 2880:
		return nil, invalid("expiresInMinutes should be between 1 and 2880.")
	}
	out := &ecs.UpdateTaskProtectionOutput{ProtectedTasks: []types.ProtectedTask{}, Failures: []types.Failure{}}
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		return s.eachProtected(tx, ctx, in.Cluster, in.Tasks, &out.Failures, func(t store.Object[state.Task]) error {
			t.Val.ProtectedUntil = time.Time{}
			if in.ProtectionEnabled {
				t.Val.ProtectedUntil = tx.Now().Add(time.Duration(minutes) * time.Minute)
			}
			out.ProtectedTasks = append(out.ProtectedTasks, protectedView(t.Val, tx.Now()))
			return state.Tasks.Put(tx, &t)
		})
	})
	return out, err
}

// GetTaskProtection shows which tasks of services are protected: those given, or all of a cluster.
func (s *Service) GetTaskProtection(ctx context.Context, in *ecs.GetTaskProtectionInput) (*ecs.GetTaskProtectionOutput, error) {
	if err := onlyMembers("", in, "Cluster", "Tasks"); err != nil {
		return nil, err
	}
	if len(in.Tasks) > 100 {
		return nil, invalid("tasks can have at most 100 items.")
	}
	out := &ecs.GetTaskProtectionOutput{ProtectedTasks: []types.ProtectedTask{}, Failures: []types.Failure{}}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		ids := in.Tasks
		if len(ids) == 0 {
			c, err := s.cluster(tx, scope(ctx), in.Cluster)
			if err != nil {
				return err
			}
			for t, err := range state.LiveTasks(tx, scope(ctx).Key(c.Val.Name, "")) {
				if err != nil {
					return err
				}
				st, err := taskStatus(tx, t.Key)
				if err != nil {
					return err
				}
				if t.Val.Service != "" && desiredStatus(t.Val, st) == "RUNNING" {
					ids = append(ids, t.Val.ID)
				}
			}
		}
		return s.eachProtected(tx, ctx, in.Cluster, ids, &out.Failures, func(t store.Object[state.Task]) error {
			out.ProtectedTasks = append(out.ProtectedTasks, protectedView(t.Val, s.o.Now()))
			return nil
		})
	})
	return out, err
}

// Private

// eachProtected calls do with the tasks that can be protected; the others are failures.
// Source of the reasons: ECS API failure reasons.
func (s *Service) eachProtected(tx store.Reader, ctx context.Context, cluster *string, tasks []string, failures *[]types.Failure, do func(store.Object[state.Task]) error) error {
	sc := scope(ctx)
	c, err := s.cluster(tx, sc, cluster)
	if err != nil {
		return err
	}
	for _, given := range tasks {
		id, err := lastName(sc, c.Val.Name, "task", given)
		if err != nil {
			return err
		}
		t, err := state.Tasks.Get(tx, sc.Key(c.Val.Name, id))
		if errors.Is(err, store.ErrNotFound) {
			*failures = append(*failures, missing(sc.ARN("ecs", "task/"+c.Val.Name+"/"+id)))
			continue
		}
		if err != nil {
			return err
		}
		st, err := taskStatus(tx, t.Key)
		if err != nil {
			return err
		}
		if t.Val.Service == "" || desiredStatus(t.Val, st) != "RUNNING" {
			*failures = append(*failures, types.Failure{Arn: aws.String(t.Val.ARN()), Reason: aws.String("TASK_NOT_VALID"),
				Detail: aws.String("The specified task is not part of a service, or it is stopping or stopped.")})
			continue
		}
		if err := do(t); err != nil {
			return err
		}
	}
	return nil
}

func protectedView(t state.Task, now time.Time) types.ProtectedTask {
	v := types.ProtectedTask{TaskArn: aws.String(t.ARN()), ProtectionEnabled: t.ProtectedUntil.After(now)}
	if v.ProtectionEnabled {
		v.ExpirationDate = &t.ProtectedUntil
	}
	return v
}
