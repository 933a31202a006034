package lb

import (
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name string
		all  []conduct
		want []bool
	}{
		{"none fails", []conduct{{100, 0, false}, {100, 0, false}, {100, 0, false}}, []bool{false, false, false}},
		{"one fails", []conduct{{100, 0, false}, {100, 50, false}, {100, 0, false}}, []bool{false, true, false}},
		{"all fail alike", []conduct{{100, 50, false}, {100, 52, false}, {100, 47, false}}, []bool{false, false, false}},
		{"by chance", []conduct{{100, 2, false}, {100, 5, false}, {100, 1, false}}, []bool{false, false, false}},
		{"seldom, but out of many", []conduct{{100000, 0, false}, {100000, 1000, false}, {100000, 0, false}}, []bool{false, false, false}},
		{"two of four", []conduct{{100, 90, false}, {100, 0, false}, {100, 100, false}, {100, 1, false}}, []bool{true, false, true, false}},
		{"few requests: what was known", []conduct{{100, 0, false}, {9, 9, false}, {9, 0, true}, {100, 0, false}}, []bool{false, false, true, false}},
		{"recovered", []conduct{{100, 0, false}, {10, 0, true}, {100, 1, false}}, []bool{false, false, false}},
		{"nobody to compare with", []conduct{{100, 100, false}, {0, 0, false}, {9, 0, false}}, nil},
	} {
		if got := judge(c.all); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestNextShare(t *testing.T) {
	share, steps := int64(fullShare), 0
	for ; share > negligible; steps++ {
		next := nextShare(share, true)
		if next >= share || next < negligible {
			t.Fatalf("from %d to %d", share, next)
		}
		share = next
	}
	if nextShare(share, true) != negligible || steps < 3 {
		t.Errorf("after %d steps %d, and then %d", steps, share, nextShare(share, true))
	}
	for steps = 0; share < fullShare; steps++ {
		share = nextShare(share, false)
	}
	if share != fullShare || steps != 10 {
		t.Errorf("grew to %d in %d steps", share, steps)
	}
}

func TestWeighted(t *testing.T) {
	ms := members(4)
	ms[1].lost.Store(fullShare / 2)
	r := &roster{members: ms, algorithm: lbconfig.WeightedRandom}
	got := map[*member]int{}
	for range 7000 { // 2000, and 1000 for one; 28 is one standard deviation
		got[r.choose(0)]++
	}
	for i, m := range ms {
		want := 2000
		if i == 1 {
			want = 1000
		}
		if n := got[m]; n < want-250 || n > want+250 {
			t.Errorf("member %d was chosen %d times, want some %d", i, n, want)
		}
	}
}

// What the client did is nobody's anomaly.
func TestNote(t *testing.T) {
	m := &member{}
	for _, c := range [][2]int{{200, 200}, {404, 404}, {500, 500}, {0, 502}, {0, 504}, {101, 101}, {0, 0}, {0, 408}, {0, 400}, {0, 460}} {
		m.note(c[0], c[1])
	}
	if r, e := m.tally.requests.Load(), m.tally.errors.Load(); r != 6 || e != 3 {
		t.Errorf("%d errors of %d requests, want 3 of 6", e, r)
	}
}

// A target that fails in a third of its answers gets next to nothing, and all of its share again when it has recovered.
// Without mitigation it is only told.
func TestAnomaly_IsMitigated(t *testing.T) {
	r, port := newRig(t), freePort(t)
	var ill atomic.Bool
	ill.Store(true)
	var got atomic.Int64
	bad := backend(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/health" && got.Add(1)%3 == 0 && ill.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
		io.WriteString(w, "bad")
	}))
	s := site(port, backend(t, named("a")), bad, backend(t, named("c")))
	s.Groups[0].Algorithm = lbconfig.WeightedRandom
	r.put(s)
	for _, target := range s.Groups[0].Targets {
		r.wait("tg", target.Addr, lbconfig.Healthy)
	}
	send := func(n int) {
		t.Helper()
		for range n {
			resp, err := http.Get("http://" + local(port) + "/")
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}
	sendUntil := func(what string, anomalous, mitigated bool) {
		t.Helper()
		for range 200 {
			send(100)
			st, err := r.client.Status(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(st.Targets, func(ts lbconfig.TargetStatus) bool { return ts.Addr == bad })
			for j, ts := range st.Targets {
				if j != i && ts.Mitigated {
					t.Fatalf("%s: %+v", what, ts)
				}
			}
			if st.Targets[i].Anomalous == anomalous && st.Targets[i].Mitigated == mitigated {
				return
			}
		}
		t.Fatalf("never: %s", what)
	}
	sendUntil("the target is anomalous", true, false)
	s.Groups[0].Mitigate = true
	r.put(s)
	sendUntil("and gets less", true, true)
	few := int64(100)
	for i := 0; few > 8; i++ { // of a third it would get 33; of a fiftieth of that, 1
		if i == 100 {
			t.Fatal("never next to nothing")
		}
		before := got.Load()
		send(100)
		few = got.Load() - before
	}
	ill.Store(false)
	sendUntil("it has recovered", false, false)
}
