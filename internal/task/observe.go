package task

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/runtime"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// observe writes down what became of the containers. The end of an essential one ends the task.
func (c *Controller) observe(ctx context.Context, l life) (time.Duration, error) {
	return 0, c.save(ctx, l, "", func(tx *store.WriteTx, st *state.TaskStatus) error {
		note(l.world, st, tx.Now())
		if st.Stop != nil || l.task.Stop != nil {
			return nil
		}
		if l.world == nil {
			st.Stop = &state.Stop{At: tx.Now(), Code: string(ecstypes.TaskStopCodeTerminationNotice),
				Reason: "The machine was restarted: the task's containers are gone."}
			return nil
		}
		endWithEssential(l, st, tx.Now())
		return nil
	})
}

// endWithEssential ends the task when an essential container has ended.
func endWithEssential(l life, st *state.TaskStatus, now time.Time) {
	for i, d := range l.definition.ContainerDefinitions {
		if aws.ToBool(d.Essential) && st.Containers[i].LastStatus == "STOPPED" && st.Stop == nil {
			st.Stop = &state.Stop{At: now, Code: string(ecstypes.TaskStopCodeEssentialContainerExited), Reason: "Essential container in task exited"}
		}
	}
}

// note copies what the engine says into the containers' statuses.
func note(world *runtime.TaskState, st *state.TaskStatus, now time.Time) {
	for i := range st.Containers {
		cs := &st.Containers[i]
		if cs.LastStatus == "STOPPED" {
			continue
		}
		if world == nil {
			cs.LastStatus, cs.StoppedAt = "STOPPED", now
			continue
		}
		w, ok := world.Container(cs.Name)
		if ok && w.Restarts > cs.Restarts { // a new run: what was known of the last one is over
			cs.Restarts, cs.StartedAt = w.Restarts, w.StartedAt
			if cs.Health.Status != "" {
				cs.Health = state.ContainerHealth{Status: state.Unknown, Since: now}
			}
		}
		if ok && cs.StartedAt.IsZero() { // started by a server that was killed before it could say so
			cs.StartedAt = w.StartedAt
		}
		if ok && w.Status != runtime.Stopped {
			continue
		}
		cs.LastStatus, cs.StoppedAt = "STOPPED", now
		if !ok {
			continue
		}
		if !w.FinishedAt.IsZero() {
			cs.StoppedAt = w.FinishedAt
		}
		if !cs.StartedAt.IsZero() {
			cs.ExitCode = aws.Int(w.ExitCode)
		}
		switch {
		case w.OOM: // Source: ECS agent
			cs.Reason = "OutOfMemoryError: Container killed due to memory usage"
		case w.Lost:
			cs.Reason = "The container ended while nobody watched: its exit code is not known."
		}
	}
}
