package state

import (
	"errors"
	"fmt"
	"iter"

	"github.com/lotse-project/lotse/internal/store"
)

// Three facts about tasks are kept beside them, so that neither a launch nor a look at a cluster or service costs more
// the more other tasks there are, or were: which tasks are not STOPPED, which a service still has, and how much memory
// all that are not STOPPED reserve. They are written with what they are made from, in one transaction, and counted anew
// when a server starts.
var (
	liveTasks = store.NewTable[struct{}]("ecs.task.live") // as Tasks

	// ServiceTasks has the tasks of a service that are not STOPPED, or of whose end its scheduler has yet to hear.
	ServiceTasks = store.NewTable[struct{}]("ecs.service.task") // scope/cluster/service/id

	reservations = store.NewTable[int]("ecs.reserved") // the one key "memory": MiB
)

const reservedKey = "memory"

// AddTask stores a new task if the machine has room for it. Capacity is what it gives to tasks, in MiB; 0: no limit.
func AddTask(tx *store.WriteTx, t Task, capacity int) (ok bool, err error) {
	r, err := reserved(tx)
	if err != nil || capacity > 0 && r.Val+t.Memory > capacity {
		return false, err
	}
	r.Val += t.Memory
	if err := reservations.Put(tx, &r); err != nil {
		return false, err
	}
	if err := Tasks.Put(tx, &store.Object[Task]{Key: t.Key(), Val: t}); err != nil {
		return false, err
	}
	return true, addLiveTask(tx, t)
}

// ReleaseTask gives back what a task reserved; it is called in the transaction that makes the task STOPPED.
func ReleaseTask(tx *store.WriteTx, t Task) error {
	r, err := reserved(tx)
	if err != nil {
		return err
	}
	r.Val -= t.Memory
	if err := reservations.Put(tx, &r); err != nil {
		return err
	}
	if err := liveTasks.Delete(tx, t.Key(), 0); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return nil
}

// CountTasks counts reservations, living tasks and services' tasks anew.
func CountTasks(tx *store.WriteTx) error {
	r, err := reserved(tx)
	if err != nil {
		return err
	}
	r.Val = 0
	for t, err := range Tasks.List(tx, "") {
		if err != nil {
			return err
		}
		st, err := TaskStatuses.Get(tx, t.Key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if st.Val.LastStatus == "STOPPED" {
			continue
		}
		r.Val += t.Val.Memory
		if err := addLiveTask(tx, t.Val); err != nil {
			return err
		}
	}
	return reservations.Put(tx, &r)
}

// LiveTasks lists the tasks that are not STOPPED whose keys begin with prefix.
func LiveTasks(tx store.Reader, prefix string) iter.Seq2[store.Object[Task], error] {
	return func(yield func(store.Object[Task], error) bool) {
		for o, err := range liveTasks.List(tx, prefix) {
			var t store.Object[Task]
			if err == nil {
				t, err = Tasks.Get(tx, o.Key)
			}
			if !yield(t, err) || err != nil {
				return
			}
		}
	}
}

// TasksOf lists the tasks that ServiceTasks has of the service under key.
func TasksOf(tx store.Reader, key string) iter.Seq2[store.Object[Task], error] {
	return func(yield func(store.Object[Task], error) bool) {
		for o, err := range ServiceTasks.List(tx, key+"/") {
			if err != nil {
				yield(store.Object[Task]{}, err)
				return
			}
			t, err := Tasks.Get(tx, taskKeyOf(key, o.Key))
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if !yield(t, err) || err != nil {
				return
			}
		}
	}
}

// DeploymentKey is the key in Deployments and DeploymentStatuses of a deployment of the service under key.
func DeploymentKey(service string, sequence int) string {
	return service + fmt.Sprintf("/%010d", sequence)
}

// LiveDeployments are a service's deployments that aren't Gone, oldest first.
func LiveDeployments(tx store.Reader, s Service, st ServiceStatus) ([]Deployment, error) {
	var out []Deployment
	for n := max(1, st.Oldest); n <= s.Sequence; n++ {
		d, err := Deployments.Get(tx, DeploymentKey(s.Key(), n))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		is, err := StatusOf(tx, s, st, d.Val)
		if err != nil {
			return nil, err
		}
		if !is.Gone {
			out = append(out, d.Val)
		}
	}
	return out, nil
}

// StatusOf is how far a deployment has come, the zero value while no controller has seen it.
func StatusOf(tx store.Reader, s Service, st ServiceStatus, d Deployment) (DeploymentStatus, error) {
	if ds, ok := st.Deployments[d.ID]; ok {
		return ds, nil
	}
	o, err := DeploymentStatuses.Get(tx, DeploymentKey(s.Key(), d.Sequence))
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return o.Val, err
}

// ArchiveDeployments moves what is Gone of a service's status into DeploymentStatuses, so that the record that each
// pass writes doesn't grow with the service's history.
func ArchiveDeployments(tx *store.WriteTx, s Service, st *ServiceStatus, ds []Deployment) error {
	st.Oldest = s.Sequence + 1
	for _, d := range ds {
		is, ok := st.Deployments[d.ID]
		if !ok || !is.Gone {
			st.Oldest = min(st.Oldest, d.Sequence)
			continue
		}
		o, err := DeploymentStatuses.Get(tx, DeploymentKey(s.Key(), d.Sequence))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		o.Val = is
		if err := DeploymentStatuses.Put(tx, &o); err != nil {
			return err
		}
		delete(st.Deployments, d.ID)
	}
	return nil
}

// Private

// taskKeyOf is the key of a task: service scope/cluster/name, listed scope/cluster/name/id.
func taskKeyOf(service, listed string) string {
	end := len(service)
	for end > 0 && service[end-1] != '/' {
		end--
	}
	return service[:end] + listed[len(service)+1:]
}

// ServiceTaskKey is the task's key in ServiceTasks.
func (t Task) ServiceTaskKey() string { return t.Scope.Key(t.Cluster, t.Service, t.ID) }

func addLiveTask(tx *store.WriteTx, t Task) error {
	live, err := liveTasks.Get(tx, t.Key())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err := liveTasks.Put(tx, &live); err != nil {
		return err
	}
	if t.Service == "" {
		return nil
	}
	o, err := ServiceTasks.Get(tx, t.ServiceTaskKey())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return ServiceTasks.Put(tx, &o)
}

func reserved(tx store.Reader) (store.Object[int], error) {
	r, err := reservations.Get(tx, reservedKey)
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return r, err
}
