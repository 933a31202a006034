package lb

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// A plan of results, one letter each with the state that follows: + success, - failure.
func TestHealth_States(t *testing.T) {
	conf := lbconfig.HealthCheck{Enabled: true, Interval: 10 * time.Second, Healthy: 3, Unhealthy: 2}
	strict := conf
	strict.Strict = true
	const i, h, u = lbconfig.Initial, lbconfig.Healthy, lbconfig.Unhealthy
	for _, c := range []struct {
		name  string
		conf  lbconfig.HealthCheck
		every time.Duration // between checks
		plan  string
		want  []string
	}{
		{"one success suffices for a new target", conf, time.Second, "+", []string{h}},
		{"also after failures", conf, time.Second, "--+", []string{i, i, h}},
		{"quick failures do not condemn", conf, time.Second, "-----------", []string{i, i, i, i, i, i, i, i, i, i, u}},
		{"at the interval's pace they do", conf, 10 * time.Second, "--", []string{i, u}},
		{"strict counts only", strict, 10 * time.Second, "--", []string{i, u}},
		{"one failure is no illness", conf, 10 * time.Second, "+-+-+", []string{h, h, h, h, h}},
		{"threshold down", conf, 10 * time.Second, "+--", []string{h, h, u}},
		{"threshold up", conf, 10 * time.Second, "+--+++", []string{h, h, u, u, u, h}},
		{"in a row", conf, 10 * time.Second, "+--++-+++", []string{h, h, u, u, u, u, u, u, h}},
	} {
		s, at := newHealth(), time.Now()
		for n, r := range c.plan {
			res := result{started: at}
			if r == '-' {
				res.reason, res.text = lbconfig.Timeout, lbconfig.Descriptions[lbconfig.Timeout]
			}
			s = s.observe(res, c.conf)
			if s.state != c.want[n] {
				t.Errorf("%s: after %s it is %s, want %s", c.name, c.plan[:n+1], s.state, c.want[n])
				break
			}
			if (s.state == h) != (s.reason == "") {
				t.Errorf("%s: %s with reason %q", c.name, s.state, s.reason)
			}
			at = at.Add(c.every)
		}
	}
}

func TestHealth_Delays(t *testing.T) {
	conf := lbconfig.HealthCheck{Enabled: true, Interval: 2 * time.Second, Healthy: 3, Unhealthy: 2}
	s, at, last := newHealth(), time.Now(), time.Duration(0)
	for n := range 40 {
		s = s.observe(result{started: at, reason: lbconfig.Timeout}, conf)
		if s.state != lbconfig.Initial {
			break
		}
		d := s.delay(conf)
		if n == 0 && d != 50*time.Millisecond || d < last || d > conf.Interval {
			t.Errorf("delay %d is %s after %s", n, d, last)
		}
		last, at = d, at.Add(d)
	}
	if s.state != lbconfig.Unhealthy || s.delay(conf) != conf.Interval {
		t.Errorf("in the end %s, next check in %s", s.state, s.delay(conf))
	}
	conf.Strict = true
	if d := newHealth().delay(conf); d != conf.Interval {
		t.Errorf("strict: %s", d)
	}
}

// Whatever comes, an initial target is never condemned before Unhealthy failures and (Unhealthy-1) intervals.
func TestHealth_NeverCondemnedEarly(t *testing.T) {
	for range 2000 {
		conf := lbconfig.HealthCheck{Interval: time.Duration(1+rand.IntN(30)) * time.Second, Healthy: 2 + rand.IntN(9), Unhealthy: 2 + rand.IntN(9)}
		s, began := newHealth(), time.Now()
		at := began
		for n := 1; s.state == lbconfig.Initial; n++ {
			s = s.observe(result{started: at, reason: lbconfig.Timeout}, conf)
			if s.state == lbconfig.Unhealthy && (n < conf.Unhealthy || at.Sub(began) < time.Duration(conf.Unhealthy-1)*conf.Interval) {
				t.Fatalf("%+v: condemned after %d failures and %s", conf, n, at.Sub(began))
			}
			at = at.Add(s.delay(conf))
		}
	}
}

func TestCheck_FormOfTheRequest(t *testing.T) {
	r, port := newRig(t), freePort(t)
	got := make(chan *http.Request, 1)
	target := backend(t, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { got <- req }))
	s := site(port, target)
	s.Groups[0].Health.Path = "/up?deep=1"
	r.put(s)
	r.wait("tg", target, lbconfig.Healthy)
	req := <-got
	if req.Method != "GET" || req.RequestURI != "/up?deep=1" || req.Host != target.String() || !req.Close ||
		req.UserAgent() != "ELB-HealthChecker/2.0" || len(req.Header) != 2 {
		t.Errorf("health check was %s %s, Host %s, %v", req.Method, req.RequestURI, req.Host, req.Header)
	}
}

func TestCheck_Results(t *testing.T) {
	t.Parallel()
	r, port := newRig(t), freePort(t)
	answer := func(code int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/") // not followed
			w.WriteHeader(code)
		})
	}
	slow := backend(t, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }))
	closed := netip.AddrPortFrom(loopback, freePort(t))
	teapot, moved, fine := backend(t, answer(418)), backend(t, answer(302)), backend(t, answer(204))
	s := site(port, slow, closed, teapot, moved, fine)
	hc := &s.Groups[0].Health
	hc.Interval, hc.Timeout, hc.Matcher = 60*time.Millisecond, 30*time.Millisecond, "200,202-204"
	r.put(s)
	for _, c := range []struct {
		addr                netip.AddrPort
		state, reason, text string
	}{
		{slow, lbconfig.Unhealthy, "Target.Timeout", "Request timed out"},
		{closed, lbconfig.Unhealthy, "Target.FailedHealthChecks", "Health checks failed"},
		{teapot, lbconfig.Unhealthy, "Target.ResponseCodeMismatch", "Health checks failed with these codes: [418]"},
		{moved, lbconfig.Unhealthy, "Target.ResponseCodeMismatch", "Health checks failed with these codes: [302]"},
		{fine, lbconfig.Healthy, "", ""},
	} {
		if st := r.wait("tg", c.addr, c.state); st.Reason != c.reason || st.Description != c.text {
			t.Errorf("%s: %+v, want %s, %s", c.addr, st, c.reason, c.text)
		}
	}
}

func TestCheck_OtherPortAndTCP(t *testing.T) {
	r, port := newRig(t), freePort(t)
	silent := newScripted(t, nil) // a port that accepts
	target := backend(t, http.NotFoundHandler())
	s := site(port, target)
	hc := &s.Groups[0].Health
	hc.Protocol, hc.Path, hc.Matcher, hc.Port = "TCP", "", "", fmt.Sprint(silent.addr.Port())
	r.put(s)
	r.wait("tg", target, lbconfig.Healthy)
}

// Checks of a new target begin at once and come quickly; with Strict they keep to the interval.
func TestCheck_BeginsAtOnce(t *testing.T) {
	t.Parallel()
	for _, strict := range []bool{false, true} {
		r, port := newRig(t), freePort(t)
		var checks atomic.Int32
		target := backend(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if checks.Add(1) < 4 {
				w.WriteHeader(503)
			}
		}))
		s := site(port, target)
		s.Groups[0].Health.Strict = strict
		r.put(s)
		if !strict {
			began := time.Now()
			r.wait("tg", target, lbconfig.Healthy)
			// 50 + 62 + 78 ms after the first
			if took := time.Since(began); took > time.Second {
				t.Errorf("healthy after %s", took)
			}
			continue
		}
		eventually(t, "the first check", func() bool { return checks.Load() == 1 })
		time.Sleep(300 * time.Millisecond)
		if n := checks.Load(); n != 1 {
			t.Errorf("strict: %d checks within 300 ms of an interval of 10 s", n)
		}
	}
}

func TestRouting_ByHealth(t *testing.T) {
	t.Parallel()
	r, port := newRig(t), freePort(t)
	var sick sync.Map // names that answer checks with 503
	target := func(name string) netip.AddrPort {
		return backend(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if _, bad := sick.Load(name); bad && req.URL.Path == "/health" {
				w.WriteHeader(503)
			}
			fmt.Fprint(w, name)
		}))
	}
	a, b := target("a"), target("b")
	ask := func() string {
		seen := map[string]bool{}
		var out []string
		for range 6 {
			resp, body := raw(t, local(port), get1("/"))
			if resp.StatusCode != 200 {
				body = fmt.Sprint(resp.StatusCode)
			}
			if !seen[body] {
				seen[body] = true
				out = append(out, body)
			}
		}
		if len(out) == 2 && out[0] > out[1] {
			out[0], out[1] = out[1], out[0]
		}
		return strings.Join(out, "")
	}
	sick.Store("a", true)
	s := site(port, a, b)
	hc := &s.Groups[0].Health
	hc.Interval, hc.Healthy = 50*time.Millisecond, 2
	r.put(s)
	r.wait("tg", b, lbconfig.Healthy)
	if got := ask(); got != "b" {
		t.Errorf("one initial, one healthy: %s answers", got)
	}
	r.wait("tg", a, lbconfig.Unhealthy)
	if got := ask(); got != "b" {
		t.Errorf("one unhealthy, one healthy: %s answers", got)
	}
	sick.Store("b", true)
	r.wait("tg", b, lbconfig.Unhealthy)
	if got := ask(); got != "ab" {
		t.Errorf("all unhealthy: %s answers, want both: fail open", got)
	}
	sick.Delete("a")
	r.wait("tg", a, lbconfig.Healthy)
	if got := ask(); got != "a" {
		t.Errorf("one is back: %s answers", got)
	}

	// Not in use, and not examined.
	s.Balancers[0].Listeners[0].Rules[0].Action = lbconfig.Action{Type: lbconfig.FixedResponse, Fixed: lbconfig.Fixed{Status: 200}}
	r.put(s)
	if st := r.wait("tg", a, lbconfig.Unused); st.Reason != "Target.NotInUse" {
		t.Errorf("%+v", st)
	}
	s.Balancers[0].Listeners[0].Rules[0].Action = forwardTo("tg")
	s.Groups[0].Health.Enabled = false
	r.put(s)
	if st := r.wait("tg", b, lbconfig.Unavailable); st.Reason != "Target.HealthCheckDisabled" {
		t.Errorf("%+v", st)
	}
	if got := ask(); got != "ab" {
		t.Errorf("checks disabled: %s answers", got)
	}
}

// Only new targets: they are waited for, and clients get 503.
func TestRouting_OnlyInitial(t *testing.T) {
	r, port := newRig(t), freePort(t)
	r.put(site(port, netip.AddrPortFrom(loopback, freePort(t))))
	if resp, _ := raw(t, local(port), get1("/")); resp.StatusCode != 503 {
		t.Errorf("status %d, want 503", resp.StatusCode)
	}
}

// A worker that starts again sends requests to those that were healthy without examining them first.
func TestHealth_RememberedAcrossRestarts(t *testing.T) {
	r, port := newRig(t), freePort(t)
	var checks atomic.Int32
	target := backend(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/health" && checks.Add(1) > 1 {
			<-req.Context().Done()
		}
	}))
	s := site(port, target)
	r.put(s)
	r.wait("tg", target, lbconfig.Healthy)
	r.stop()
	r.start()
	r.wait("tg", target, lbconfig.Healthy)
	if resp, _ := raw(t, local(port), get1("/")); resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
	// Another registration of the address is another target.
	s.Groups[0].Targets[0].Since = began.Add(time.Second)
	r.put(s)
	r.wait("tg", target, lbconfig.Initial)
}
