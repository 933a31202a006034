package task

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/runtime"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// restarts decides whether a container that has ended runs again: its policy wants it, its exit code is not ignored, and it
// ran for the attempt period. Source: API Reference, ContainerRestartPolicy; ECS agent, restart tracker.
func restarts(d ecstypes.ContainerDefinition, w runtime.ContainerState) bool {
	p := d.RestartPolicy
	if p == nil || !aws.ToBool(p.Enabled) || w.Lost || slices.Contains(p.IgnoredExitCodes, int32(w.ExitCode)) {
		return false
	}
	return !w.StartedAt.IsZero() && w.FinishedAt.Sub(w.StartedAt) >= seconds(p.RestartAttemptPeriod, 300)
}

// fallen are the containers that run on record, have ended in truth, and are to run again. One whose restart was broken
// off is created.
func fallen(l life) (names []string) {
	if l.world == nil {
		return nil
	}
	for i, d := range l.definition.ContainerDefinitions {
		if i >= len(l.status.Containers) || l.status.Containers[i].LastStatus != "RUNNING" {
			continue
		}
		w, ok := l.world.Container(*d.Name)
		if ok && (w.Status == runtime.Created || w.Status == runtime.Stopped && restarts(d, w)) {
			names = append(names, *d.Name)
		}
	}
	return names
}

// restart lets containers run again in place. That it happened is seen by observe.
func (c *Controller) restart(ctx context.Context, l life) (time.Duration, error) {
	for _, name := range fallen(l) {
		err := c.o.Engine.Restart(ctx, l.task.ID, name)
		if errors.Is(err, runtime.ErrUnrunnable) || errors.Is(err, runtime.ErrNotFound) {
			return 0, c.save(ctx, l, "", func(tx *store.WriteTx, st *state.TaskStatus) error {
				cs := st.Container(name)
				cs.LastStatus, cs.StoppedAt, cs.Reason = "STOPPED", tx.Now(), "CannotStartContainerError: "+err.Error()
				endWithEssential(l, st, tx.Now())
				return nil
			})
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, nil
}
