package metric

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/lbconfig"
	"github.com/lotse-project/lotse/internal/segment"
)

// balancer has minutes; one that has none is broken.
type balancer []lbconfig.Minute

func (b balancer) Minutes(_ context.Context, from time.Time) (out []lbconfig.Minute, err error) {
	for _, m := range b {
		if !m.Time.Before(from) {
			out = append(out, m)
		}
	}
	if len(b) == 0 {
		err = errors.New("the process is gone")
	}
	return out, err
}

func TestRecorder_EachMinuteOnce(t *testing.T) {
	dir, begin := t.TempDir(), time.Now().UTC().Truncate(time.Hour).Add(-24*time.Hour)
	minute := func(n int, sum float64) lbconfig.Minute {
		return lbconfig.Minute{Time: begin.Add(time.Duration(n) * time.Minute), Series: []lbconfig.Series{
			{Balancer: "lb", Metrics: map[string]lbconfig.Sample{"RequestCount": {Sum: sum, Min: 1, Max: 1, Count: int64(sum)}}},
			{Balancer: "lb", Group: "tg", Metrics: map[string]lbconfig.Sample{"RequestCount": {Sum: 100 * sum, Min: 1, Max: 1, Count: int64(100 * sum)}}},
			{Balancer: "lb", Group: "tg", Zone: "b", Metrics: map[string]lbconfig.Sample{"RequestCount": {Sum: 50 * sum, Min: 1, Max: 1, Count: int64(50 * sum)}}},
		}}
	}
	// Servers come and go; the balancer's process keeps minutes that were read already.
	for _, b := range []balancer{{minute(0, 1)}, {minute(0, 1), minute(1, 2)}, {}, {minute(1, 2), minute(2, 4), minute(5, 8)}} {
		w, err := segment.OpenWriter(dir, segment.WriterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r := NewRecorder(dir, b, slog.New(slog.DiscardHandler))
		if err := r.pull(t.Context(), w); (err != nil) != (len(b) == 0) {
			t.Fatal(err)
		}
		w.Close()
	}
	s := NewStore(dir)
	sums := func(q Query) map[int]float64 {
		t.Helper()
		q.Balancer, q.Name = "lb", "RequestCount"
		list, err := s.Query(q)
		if err != nil {
			t.Fatal(err)
		}
		out := map[int]float64{}
		for _, p := range list {
			out[int(p.Time.Sub(begin)/time.Minute)] = p.Sum
		}
		return out
	}
	at := func(n int) time.Time { return begin.Add(time.Duration(n) * time.Minute) }
	for what, c := range map[string]struct {
		q    Query
		want map[int]float64
	}{
		"all":           {Query{Start: at(0), End: at(9)}, map[int]float64{0: 1, 1: 2, 2: 4, 5: 8}},
		"a part":        {Query{Start: at(1), End: at(5)}, map[int]float64{1: 2, 2: 4}},
		"a group":       {Query{Start: at(1), End: at(2), Group: "tg"}, map[int]float64{1: 200}},
		"a zone":        {Query{Start: at(1), End: at(2), Group: "tg", Zone: "b"}, map[int]float64{1: 100}},
		"five minutes":  {Query{Start: at(0), End: at(9), Period: 5 * time.Minute}, map[int]float64{0: 7, 5: 8}},
		"before all":    {Query{Start: at(-9), End: at(0)}, map[int]float64{}},
		"another group": {Query{Start: at(0), End: at(9), Group: "other"}, map[int]float64{}},
	} {
		if d := cmp.Diff(c.want, sums(c.q)); d != "" {
			t.Errorf("%s (-want +got):\n%s", what, d)
		}
	}
	if _, err := s.Query(Query{Period: time.Second}); err == nil {
		t.Error("a period of a second was taken")
	}
	names, err := s.Names(at(0), at(9))
	if d := cmp.Diff([]Name{{"lb", "", "", "RequestCount"}, {"lb", "tg", "", "RequestCount"}, {"lb", "tg", "b", "RequestCount"}}, names); err != nil || d != "" {
		t.Errorf("names: %v (-want +got):\n%s", err, d)
	}
	// As servers wrote it before minutes were packed.
	w, err := segment.OpenWriter(dir, segment.WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	plain, _ := json.Marshal(minute(7, 16))
	err = w.Append(segment.Event{Time: at(7), Data: plain})
	w.Close()
	if got := sums(Query{Start: at(5), End: at(9)}); err != nil || got[7] != 16 || got[5] != 8 {
		t.Errorf("%v, %v", got, err)
	}
	if none, err := NewStore(dir + "/none").Query(Query{End: at(9)}); err != nil || len(none) != 0 {
		t.Errorf("of nothing: %v, %v", none, err)
	}
}
