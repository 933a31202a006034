package ecs

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

func TestHistory(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	must(b.createService())(t)
	id := strings.Repeat("1", 32)
	task := b.serviceTask(id, "ecs-svc/1", "STOPPED")
	at := func(ms int) time.Time { return task.CreatedAt.Add(time.Duration(ms) * time.Millisecond) }
	b.update(func(tx *store.WriteTx) error {
		st, err := state.TaskStatuses.Get(tx, task.Key())
		if err != nil {
			return err
		}
		st.Val.Done, st.Val.DoneAt = []string{"interface", "pull", "deregister", "stop"}, []time.Time{at(2), at(10), at(101), at(110)}
		st.Val.Stop = &state.Stop{At: at(100), Code: "EssentialContainerExited", Reason: "Essential container in task exited"}
		if err := state.TaskStatuses.Put(tx, &st); err != nil {
			return err
		}
		for i, a := range []state.ServiceAction{{At: at(0), Task: id, What: "START", Why: "0 of 2"}, {At: at(50), What: "EVENT", Why: "(service svc) is well."}} {
			key := here.Key("default", "svc", "00000000000000000001", string(rune('0'+i)))
			if err := state.ServiceActions.Put(tx, &store.Object[state.ServiceAction]{Key: key, Val: a}); err != nil {
				return err
			}
		}
		return nil
	})
	got, err := b.s.History(b.ctx, here, "default", "svc", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	const ms = time.Millisecond
	want := []Entry{
		{At: at(0), Task: id, What: "START", Why: "0 of 2"},
		{At: at(2), Task: id, Deployment: "ecs-svc/1", What: "interface", Took: 2 * ms},
		{At: at(10), Task: id, Deployment: "ecs-svc/1", What: "pull", Took: 8 * ms},
		{At: at(50), What: "EVENT", Why: "(service svc) is well."},
		{At: at(100), Task: id, Deployment: "ecs-svc/1", What: "end", Why: "EssentialContainerExited: Essential container in task exited"},
		{At: at(101), Task: id, Deployment: "ecs-svc/1", What: "deregister", Took: 1 * ms},
		{At: at(110), Task: id, Deployment: "ecs-svc/1", What: "stop", Took: 9 * ms},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if late, err := b.s.History(b.ctx, here, "default", "svc", at(101)); err != nil || len(late) != 2 {
		t.Errorf("since then %d entries, %v", len(late), err)
	}
	_, err = b.s.History(b.ctx, here, "default", "nope", time.Time{})
	refused(t, err, "ServiceNotFoundException", "Service not found.")
}
