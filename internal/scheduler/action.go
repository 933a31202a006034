package scheduler

import (
	"fmt"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// act notes what this pass does; it is written with what it is about, in the pass's transaction.
func (s *service) act(a state.ServiceAction) {
	a.At = s.now
	s.actions = append(s.actions, a)
}

// log writes the pass's actions. The transaction's revision keeps them apart and in order.
func (s *service) log(tx *store.WriteTx) error {
	rev, err := tx.Rev()
	if err != nil {
		return err
	}
	for i, a := range s.actions {
		o := store.Object[state.ServiceAction]{Key: s.svc.Key + fmt.Sprintf("/%020d/%03d", rev, i), Val: a}
		if err := state.ServiceActions.Put(tx, &o); err != nil {
			return err
		}
	}
	return nil
}

// whyStart gives the numbers by which plan decided to start tasks.
func (s *service) whyStart(start Start, p Plan) string {
	svc, there := s.svc.Val, 0
	for _, m := range s.tasks {
		if m.task.Deployment == start.Deployment && !m.stopping() && !m.stopped() {
			there++
		}
	}
	switch {
	case start.Rebalances:
		return "a zone has two tasks or more less than another"
	case p.Replaces > 0:
		return fmt.Sprintf("in place of %d tasks that fail their health checks", p.Replaces)
	case start.Deployment != s.primary():
		return fmt.Sprintf("a task of what serves was lost before the new deployment is up; at least %d stay healthy", lowerBound(svc.DesiredCount, svc.MinimumHealthy))
	}
	return fmt.Sprintf("%d of %d tasks are there; at least %d stay healthy, at most %d may run", there, svc.DesiredCount,
		lowerBound(svc.DesiredCount, svc.MinimumHealthy), upperBound(svc.DesiredCount, svc.Maximum))
}
