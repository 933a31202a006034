package task

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/state"
)

func TestStorage_Full(t *testing.T) {
	id := strings.Repeat("ab", 16)
	b := newBench(t, func(_ *state.Task, d *ecstypes.TaskDefinition) {
		d.EphemeralStorage = &ecstypes.EphemeralStorage{SizeInGiB: 25}
	})
	if _, free, err := b.c.checkStorage(t.Context(), id, b.key); free != 25<<30 || err != nil {
		t.Errorf("before its creation: %d free, %v, want all of it", free, err)
	}
	b.until("RUNNING")
	b.engine.Write(id, 25<<30)
	if used, free, err := b.c.checkStorage(t.Context(), id, b.key); used != 25<<30 || free != 0 || err != nil || b.status().Stop != nil {
		t.Errorf("filled to the last byte: %d written, %d free, %v, %+v, want a task that goes on", used, free, err, b.status().Stop)
	}
	b.engine.Write(id, 512<<20)
	if _, _, err := b.c.checkStorage(t.Context(), id, b.key); err != nil {
		t.Fatal(err)
	}
	st := b.until("STOPPED")
	if want := "The task's ephemeral storage is full: its containers wrote 25.5 GiB, ephemeralStorage.sizeInGiB is 25."; st.Stop.Reason != want {
		t.Errorf("stopped for %q, want %q", st.Stop.Reason, want)
	}
	if c := aws.ToInt(st.Containers[0].ExitCode); c != 137 {
		t.Errorf("its container ended with %d, want 137: killed", c)
	}
	if _, _, err := b.c.checkStorage(t.Context(), id, b.key); err != nil {
		t.Errorf("of a task that has stopped: %v", err)
	}
}

func TestStorage_Pause(t *testing.T) {
	for _, test := range []struct {
		free       int64
		took, want time.Duration
	}{
		{0, 0, time.Second},
		{-1 << 30, 0, time.Second},
		{20 << 30, 0, 40 * time.Second},
		{200 << 30, 0, time.Minute},
		{0, 10 * time.Second, 200 * time.Second}, // millions of files: a twentieth of the time goes into looking
	} {
		if got := storagePause(test.free, test.took); got != test.want {
			t.Errorf("storagePause(%d, %v) = %v, want %v", test.free, test.took, got, test.want)
		}
	}
}

func TestStorage_IsTold(t *testing.T) {
	id := strings.Repeat("ab", 16)
	b := newBench(t)
	var told []map[string]int64
	b.c.o.Storage = func(used map[string]int64) error { told = append(told, maps.Clone(used)); return nil }
	w := &storageWatch{due: map[string]time.Time{}, used: map[string]int64{}}
	b.until("RUNNING")
	b.engine.Write(id, 3<<20)
	b.c.lookAtStorage(t.Context(), w)
	b.c.lookAtStorage(t.Context(), w)
	b.stopTask("Task stopped by user")
	b.until("STOPPED")
	b.c.lookAtStorage(t.Context(), w)
	want := []map[string]int64{{id: 3 << 20}, {}}
	if d := cmp.Diff(want, told); d != "" {
		t.Errorf("told (-want +got):\n%s", d)
	}
}
