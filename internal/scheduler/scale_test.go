package scheduler

import (
	"fmt"
	"testing"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// others adds services with ten running tasks each, beside the one of the bench.
func (b *bench) others(from, to int) {
	b.t.Helper()
	for i := from; i < to; i++ {
		b.update(func(tx *store.WriteTx) error {
			s := state.Service{Scope: here, Cluster: "c", Name: fmt.Sprintf("other-%04d", i), DesiredCount: 10, MinimumHealthy: 100, Maximum: 200, Sequence: 1, CreatedAt: tx.Now()}
			if err := state.Services.Put(tx, &store.Object[state.Service]{Key: s.Key(), Val: s}); err != nil {
				return err
			}
			d := state.Deployment{Sequence: 1, ID: fmt.Sprint("ecs-svc/other-", i), TaskDefinitionARN: here.ARN("ecs", "task-definition/web:1")}
			if err := state.Deployments.Put(tx, &store.Object[state.Deployment]{Key: state.DeploymentKey(s.Key(), 1), Val: d}); err != nil {
				return err
			}
			for n := range 10 {
				t := state.Task{Scope: here, ID: fmt.Sprintf("%028d%04d", i, n), Cluster: "c", Service: s.Name, Deployment: d.ID, Memory: 512}
				if _, err := state.AddTask(tx, t, 0); err != nil {
					return err
				}
				st := state.TaskStatus{LastStatus: "RUNNING", StartedAt: tx.Now()}
				if err := state.TaskStatuses.Put(tx, &store.Object[state.TaskStatus]{Key: t.Key(), Val: st}); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// cost is how much of the store an action reads.
func (b *bench) cost(do func()) int64 {
	b.t.Helper()
	before := b.db.Reads()
	do()
	return b.db.Reads() - before
}

// Looking at a service, rolling it out and stopping its tasks read the same of the store whether there is no other
// service or a thousand with ten thousand tasks.
func TestScale_OthersCostNothing(t *testing.T) {
	most := 1000
	if testing.Short() {
		most = 50
	}
	var costs []int64
	for _, n := range []int{0, most} {
		b := newBench(t, true)
		b.memory = 1 << 30 // a limit, so that reservations are looked at
		b.start()
		b.create(4)
		b.settle()
		b.others(0, n)
		costs = append(costs, b.cost(func() { b.pass() }))
		costs = append(costs, b.cost(func() {
			b.deploy(2)
			for range 3 {
				b.pass()
			}
		}))
		r := b.of(b.primary())[0]
		costs = append(costs, b.cost(func() { b.c.Changed(background, state.TaskStatuses.Kind(), r.Key()) }))
		costs = append(costs, b.cost(func() {
			b.c.Changed(background, state.Targets.Kind(), here.Key("g", "0123456789abcdef", "172.31.0.4:8080"))
		}))
	}
	t.Logf("rows read alone: pass %d, rollout %d, news of a task %d, of a target %d; beside %d services: %v", costs[0], costs[1], costs[2], costs[3], most, costs[4:])
	for i, what := range []string{"a pass", "a rollout", "news of a task", "news of a target"} {
		if costs[i] != costs[4+i] || i < 3 && costs[i] == 0 {
			t.Errorf("%s reads %d rows, and %d beside %d services", what, costs[i], costs[4+i], most)
		}
	}
}
