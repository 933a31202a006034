package task

import (
	"context"
	"errors"
	"time"

	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/runtime"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// A life is one task as it stands: its wish, how far it has come, and what runs.
type life struct {
	key        string
	task       state.Task
	status     state.TaskStatus
	definition ecstypes.TaskDefinition
	world      *runtime.TaskState // nil: the engine has nothing of it
	verdicts   map[string]verdict // container → what its health check says now
}

// A step is one thing to do in a task's life. A positive wait means "not done yet, look again then".
type step struct {
	name string
	do   func(c *Controller, ctx context.Context, l life) (wait time.Duration, err error)
}

// The steps up and the steps down, in order, and those that come when something has happened.
var (
	up = []*step{
		{"interface", (*Controller).allocate},
		{"network", (*Controller).connect},
		{"pull", (*Controller).pull},
		{"create", (*Controller).create},
		{"start", (*Controller).start},
		{"register", (*Controller).register},
	}
	observe = &step{"observe", (*Controller).observe}
	restart = &step{"restart", (*Controller).restart}
	health  = &step{"health", (*Controller).health}
	down    = []*step{
		{"deregister", (*Controller).deregister},
		{"drain", (*Controller).drain},
		{"stop", (*Controller).stop},
		{"remove", (*Controller).remove},
		{"release", (*Controller).release},
	}
)

// next decides what to do: up while the task should run, down once there is a reason to stop.
// nil means that there is nothing to do until something changes.
func next(l life) *step {
	if l.status.Stop != nil || l.task.Stop != nil {
		return undone(down, l.status)
	}
	if l.status.Is("create") {
		switch {
		case len(fallen(l)) > 0:
			return restart
		case changed(l):
			return observe
		case judged(l):
			return health
		}
	}
	return undone(up, l.status)
}

func undone(steps []*step, st state.TaskStatus) *step {
	for _, s := range steps {
		if !st.Is(s.name) {
			return s
		}
	}
	return nil
}

// changed reports whether the containers are no longer what the status says.
func changed(l life) bool {
	if l.world == nil {
		return true // gone without our doing
	}
	for _, cs := range l.status.Containers {
		w, ok := l.world.Container(cs.Name)
		if cs.LastStatus != "STOPPED" && (!ok || w.Status == runtime.Stopped || w.Restarts > cs.Restarts) {
			return true
		}
	}
	return false
}

// load reads a task's records and looks at what runs.
func (c *Controller) load(ctx context.Context, key string) (life, error) {
	l := life{key: key}
	err := c.o.DB.View(ctx, func(tx *store.ReadTx) error {
		t, err := state.Tasks.Get(tx, key)
		if err != nil {
			return err
		}
		l.task = t.Val
		td, err := state.TaskDefinitions.Get(tx, state.TaskDefinitionKey(t.Val.TaskDefinitionARN))
		if err != nil {
			return err
		}
		l.definition = td.Val.Definition
		st, err := state.TaskStatuses.Get(tx, key)
		if errors.Is(err, store.ErrNotFound) {
			l.status = state.TaskStatus{LastStatus: "PROVISIONING", Version: 1}
			return nil
		}
		l.status = st.Val
		return err
	})
	if err != nil || !l.status.Is("create") || l.status.LastStatus == "STOPPED" {
		return l, err
	}
	world, err := c.o.Engine.State(ctx, l.task.ID)
	if errors.Is(err, runtime.ErrNotFound) {
		return l, nil
	}
	l.world = &world
	return l, err
}

// save changes the status in one transaction. A step named done is noted with it.
func (c *Controller) save(ctx context.Context, l life, done string, change func(tx *store.WriteTx, st *state.TaskStatus) error) error {
	return c.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := state.TaskStatuses.Get(tx, l.key)
		if errors.Is(err, store.ErrNotFound) {
			o = store.Object[state.TaskStatus]{Key: l.key, Val: state.TaskStatus{LastStatus: "PROVISIONING"}}
		} else if err != nil {
			return err
		}
		if err := change(tx, &o.Val); err != nil {
			return err
		}
		if done != "" && !o.Val.Is(done) {
			o.Val.Done, o.Val.DoneAt = append(o.Val.Done, done), append(o.Val.DoneAt, tx.Now())
		}
		o.Val.Version++
		return state.TaskStatuses.Put(tx, &o)
	})
}

// fail ends a task that can't start, for a reason its owner can read.
func (c *Controller) fail(ctx context.Context, l life, container, reason string) error {
	return c.save(ctx, l, "", func(tx *store.WriteTx, st *state.TaskStatus) error {
		st.Stop = &state.Stop{At: tx.Now(), Code: string(ecstypes.TaskStopCodeTaskFailedToStart), Reason: reason}
		l.addContainers(tx, st)
		for i := range st.Containers {
			if container == "" || st.Containers[i].Name == container {
				st.Containers[i].Reason = reason
			}
		}
		return nil
	})
}

// scope is where the task lives.
func (l life) scope() arn.Scope { return l.task.Scope }
