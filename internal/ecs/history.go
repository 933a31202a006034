package ecs

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// An Entry is one line of a service's history: an event, a decision of the scheduler, or a step of a task's life.
type Entry struct {
	At         time.Time
	Deployment string        `json:",omitempty"`
	Task       string        `json:",omitempty"`
	What       string        // EVENT, START, STOP, or the name of a step
	Why        string        `json:",omitempty"`
	Took       time.Duration `json:",omitempty"` // of a step, ns
}

// History tells what became of a service since a moment, and why, the oldest first: what its scheduler did and how its
// tasks got up and down, each step with how long it took.
func (s *Service) History(ctx context.Context, sc arn.Scope, cluster, service string, since time.Time) ([]Entry, error) {
	out := []Entry{}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		svc, err := s.anyService(tx, sc, &cluster, &service)
		if err != nil {
			return err
		}
		for a, err := range state.ServiceActions.List(tx, svc.Key+"/") {
			if err != nil {
				return err
			}
			out = append(out, Entry{At: a.Val.At, Deployment: a.Val.Deployment, Task: a.Val.Task, What: a.Val.What, Why: a.Val.Why})
		}
		for t, err := range state.Tasks.List(tx, sc.Key(svc.Val.Cluster, "")) {
			if err != nil {
				return err
			}
			if t.Val.Service != svc.Val.Name {
				continue
			}
			st, err := taskStatus(tx, t.Key)
			if err != nil {
				return err
			}
			out = append(out, steps(t.Val, st)...)
		}
		return nil
	})
	out = slices.DeleteFunc(out, func(e Entry) bool { return e.At.Before(since) })
	slices.SortStableFunc(out, func(a, b Entry) int { return a.At.Compare(b.At) })
	return out, err
}

// Private

// steps are the steps of a task's life that are done. A step begins when the one before it is done; the first when
// the task is made, the first of those down when it is told to stop or ends.
func steps(t state.Task, st state.TaskStatus) []Entry {
	var out []Entry
	began, stopped := t.CreatedAt, false
	for i, name := range st.Done {
		if i >= len(st.DoneAt) {
			break // done before steps had times
		}
		at := st.DoneAt[i]
		if stop := cmp.Or(st.Stop, t.Stop); name == "deregister" && stop != nil && !stopped {
			stopped = true
			began = stop.At
			out = append(out, Entry{At: stop.At, Deployment: t.Deployment, Task: t.ID, What: "end", Why: stop.Code + ": " + stop.Reason})
		}
		out = append(out, Entry{At: at, Deployment: t.Deployment, Task: t.ID, What: name, Took: max(0, at.Sub(began))})
		began = at
	}
	return out
}
