package lb

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

func members(n int) (out []*member) {
	for i := range n {
		out = append(out, &member{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), 80)})
	}
	return out
}

func TestChoose_LeastOutstanding(t *testing.T) {
	ms := members(3)
	r := &roster{members: ms, turn: &atomic.Uint64{}, algorithm: lbconfig.LeastOutstanding}
	ms[0].inflight.Store(2)
	ms[1].inflight.Store(1)
	ms[2].inflight.Store(2)
	for range 5 {
		if m := r.choose(0); m != ms[1] {
			t.Fatalf("chose %s with %d in flight", m.addr, m.inflight.Load())
		}
	}
	ms[1].inflight.Store(2) // all alike: each in turn
	got := map[*member]int{}
	for range 30 {
		got[r.choose(0)]++
	}
	for _, m := range ms {
		if got[m] != 10 {
			t.Errorf("%s was chosen %d of 30 times, want 10", m.addr, got[m])
		}
	}
}

// However requests come and go, no target has two more than another that could have had one of them.
func TestChoose_LeastOutstandingKeepsEven(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	ms := members(7)
	r := &roster{members: ms, turn: &atomic.Uint64{}, algorithm: lbconfig.LeastOutstanding}
	for range 10000 {
		if rnd.IntN(2) == 0 {
			m := r.choose(0)
			for _, o := range ms {
				if o.inflight.Load() < m.inflight.Load() {
					t.Fatalf("chose one with %d while another has %d", m.inflight.Load(), o.inflight.Load())
				}
			}
			m.inflight.Add(1)
		} else if m := ms[rnd.IntN(7)]; m.inflight.Load() > 0 {
			m.inflight.Add(-1)
		}
	}
}

func TestChoose_WeightedRandomReachesAll(t *testing.T) {
	ms := members(4)
	r := &roster{members: ms, turn: &atomic.Uint64{}, algorithm: lbconfig.WeightedRandom}
	got := map[*member]int{}
	for range 4000 {
		got[r.choose(0)]++
	}
	for _, m := range ms { // 1000 expected; 27 is one standard deviation
		if got[m] < 800 || got[m] > 1200 {
			t.Errorf("%s was chosen %d of 4000 times", m.addr, got[m])
		}
	}
}

func TestChoose_SlowStart(t *testing.T) {
	const slow = 100 * time.Second
	for _, c := range []struct {
		at       time.Duration
		low, upp int // of 2000 requests to two targets
	}{{0, 0, 0}, {10 * time.Second, 100, 270}, {50 * time.Second, 550, 780}, {100 * time.Second, 1000, 1000}, {time.Hour, 1000, 1000}} {
		ms := members(2)
		ms[1].slowSince.Store(int64(time.Second))
		r := &roster{members: ms, turn: &atomic.Uint64{}, slow: slow}
		n := 0
		for range 2000 {
			if r.choose(time.Second+c.at) == ms[1] {
				n++
			}
		}
		if n < c.low || n > c.upp {
			t.Errorf("after %s of %s the new target got %d of 2000 requests, want %d to %d", c.at, slow, n, c.low, c.upp)
		}
		ms[0].slowSince.Store(int64(time.Second)) // all start slowly: somebody is chosen all the same
		if r.choose(time.Second+c.at) == nil {
			t.Error("nobody was chosen")
		}
	}
}

// Source: ALB user guide, slow start mode.
func TestStartSlowly(t *testing.T) {
	at := 10 * time.Minute
	g := newGroup("tg")
	ms := members(3)
	for _, m := range ms {
		m.group, m.health = g, health{state: lbconfig.Healthy}
		g.members[m.addr] = m
	}
	if g.startSlowlyLocked(ms[0], at) {
		t.Error("without slow start")
	}
	g.conf.SlowStart = time.Minute
	if !g.startSlowlyLocked(ms[0], at) {
		t.Error("beside two others it should")
	}
	ms[1].health.state = lbconfig.Unhealthy
	ms[2].slowSince.Store(int64(at - 30*time.Second))
	if g.startSlowlyLocked(ms[0], at) {
		t.Error("nobody has its full share, and it should wait")
	}
	if !g.startSlowlyLocked(ms[0], at+31*time.Second) {
		t.Error("the other one has its full share now")
	}
	ms[2].conf.Draining = true
	if g.startSlowlyLocked(ms[0], at+31*time.Second) {
		t.Error("the only other one drains")
	}
}

func TestRoutable(t *testing.T) {
	for _, c := range []struct {
		states         string // h healthy, u unhealthy, i initial, n unexamined, d draining and healthy
		count, percent int
		want           string
	}{
		{"hhu", 0, 0, "hh"}, {"uu", 0, 0, "uu"}, {"ui", 0, 0, "u"}, {"ii", 0, 0, ""}, {"nu", 0, 0, "n"}, {"du", 0, 0, "u"}, {"", 0, 0, ""},
		{"hhu", 1, 0, "hh"}, {"hhu", 2, 0, "hh"}, {"hhu", 3, 0, "hhu"}, {"hhui", 3, 0, "hhu"},
		{"huuu", 0, 25, "h"}, {"huuu", 0, 26, "huuu"}, {"hhuu", 1, 51, "hhuu"}, {"hhuudd", 1, 50, "hh"}, {"hhhh", 0, 100, "hhhh"}, {"hhhu", 0, 100, "hhhu"},
		{"hu", 2, 1, "hu"}, {"hh", 5, 0, "hh"},
	} {
		var list []*member
		for i, s := range c.states {
			m := members(i + 1)[i]
			m.conf.Draining = s == 'd'
			m.health.state = map[rune]string{'h': lbconfig.Healthy, 'd': lbconfig.Healthy, 'u': lbconfig.Unhealthy, 'i': lbconfig.Initial, 'n': lbconfig.Unavailable}[s]
			list = append(list, m)
		}
		got := ""
		routed, open := routable(list, c.count, c.percent)
		for _, m := range routed {
			got += map[string]string{lbconfig.Healthy: "h", lbconfig.Unhealthy: "u", lbconfig.Unavailable: "n"}[m.health.state]
		}
		if got != c.want {
			t.Errorf("routable(%s, %d, %d %%) = %s, want %s", c.states, c.count, c.percent, got, c.want)
		}
		if strings.Contains(got, "u") && !open {
			t.Errorf("routable(%s, %d, %d %%) has unhealthy ones and did not fail open", c.states, c.count, c.percent)
		}
	}
}

func TestAlgorithm_LeastOutstandingAvoidsTheBusy(t *testing.T) {
	r, port := newRig(t), freePort(t)
	busy := newHolder(t)
	idle := backend(t, named("idle"))
	s := site(port, busy.addr, idle)
	s.Groups[0].Algorithm = lbconfig.LeastOutstanding
	r.put(s)
	r.wait("tg", busy.addr, lbconfig.Healthy)
	r.wait("tg", idle, lbconfig.Healthy)
	done := make(chan struct{}, 64)
	for held := false; !held; { // those that go to idle end
		go func() {
			resp, err := noKeepAlive.Get("http://" + local(port) + "/")
			if err == nil {
				resp.Body.Close()
			}
			done <- struct{}{}
		}()
		select {
		case <-busy.arrived:
			held = true
		case <-done:
		}
	}
	for i := range 6 {
		// An answer reaches the client a moment before its request is over.
		eventually(t, "the other target is idle", func() bool {
			st, err := r.client.Status(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			return slices.ContainsFunc(st.Targets, func(ts lbconfig.TargetStatus) bool { return ts.Addr == idle && ts.InFlight == 0 })
		})
		if _, body := raw(t, local(port), get1("/")); body != "idle" {
			t.Errorf("request %d went to %q", i, body)
		}
	}
	busy.release()
	<-done
}
