package lb

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// gate is a target that answers a request when it is told to.
type gate struct {
	addr netip.AddrPort
	came chan struct{}
	open chan struct{}
	once sync.Once
}

func newGate(t *testing.T) *gate {
	g := &gate{came: make(chan struct{}, 16), open: make(chan struct{})}
	g.addr = backend(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/health" {
			return
		}
		g.came <- struct{}{}
		select {
		case <-g.open:
			io.WriteString(w, "done")
		case <-req.Context().Done():
		}
	}))
	t.Cleanup(g.release)
	return g
}

func (g *gate) release() { g.once.Do(func() { close(g.open) }) }

// asked is an answer to come.
type asked struct {
	status int
	body   string
}

func ask(port uint16) <-chan asked {
	out := make(chan asked, 1)
	go func() {
		resp, err := http.Get("http://" + local(port) + "/")
		if err != nil {
			out <- asked{body: err.Error()}
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			body = []byte(err.Error())
		}
		out <- asked{resp.StatusCode, string(body)}
	}()
	return out
}

func drained(s lbconfig.TargetStatus) bool { return s.Drained }

func TestDrain_EndsWhenNothingIsInFlight(t *testing.T) {
	r, port := newRig(t), freePort(t)
	g := newGate(t)
	other := backend(t, named("other"))
	s := site(port, g.addr)
	r.put(s)
	r.wait("tg", g.addr, lbconfig.Healthy)
	answer := ask(port)
	<-g.came

	s.Groups[0].Targets = append(s.Groups[0].Targets, lbconfig.Target{Addr: other, Since: began})
	s.Groups[0].Targets[0].Draining, s.Groups[0].Targets[0].Since = true, time.Now()
	r.put(s)
	st := r.wait("tg", g.addr, lbconfig.Draining)
	if st.Reason != "Target.DeregistrationInProgress" || st.InFlight != 1 || st.Drained {
		t.Errorf("with a request in flight: %+v", st)
	}
	r.wait("tg", other, lbconfig.Healthy)
	for range 4 {
		if _, body := raw(t, local(port), get1("/")); body != "other" {
			t.Errorf("a new request got %q", body)
		}
	}
	g.release()
	if a := <-answer; a.status != 200 || a.body != "done" {
		t.Errorf("the request in flight got %+v", a)
	}
	waitTarget(t, r.client, "tg", g.addr, drained)
}

func TestDrain_NothingInFlightIsDrainedAtOnce(t *testing.T) {
	t.Parallel()
	for _, strict := range []bool{false, true} {
		r, port := newRig(t), freePort(t)
		a := backend(t, named("a"))
		s := site(port, a)
		r.put(s)
		r.wait("tg", a, lbconfig.Healthy)
		s.Groups[0].Targets[0].Draining, s.Groups[0].Targets[0].Since = true, time.Now()
		s.Groups[0].Health.Strict = strict
		s.Groups[0].Deregistration = 150 * time.Millisecond
		began := time.Now()
		st := r.put(s)
		if st.Targets[0].Drained == strict {
			t.Errorf("strict %v: Drained %v at once", strict, st.Targets[0].Drained)
		}
		waitTarget(t, r.client, "tg", a, drained)
		if took := time.Since(began); strict && took < 150*time.Millisecond {
			t.Errorf("strict: drained after %s of a delay of 150ms", took)
		}
		if resp, _ := raw(t, local(port), get1("/")); resp.StatusCode != 503 {
			t.Errorf("only a draining target: status %d, want 503", resp.StatusCode)
		}
	}
}

// The deregistration delay is a ceiling: what is open then is cut, before an answer with 502.
func TestDrain_DelayIsACeiling(t *testing.T) {
	t.Parallel()
	r, port := newRig(t), freePort(t)
	g := newGate(t)
	s := site(port, g.addr)
	r.put(s)
	r.wait("tg", g.addr, lbconfig.Healthy)
	answer := ask(port)
	<-g.came
	s.Groups[0].Targets[0].Draining, s.Groups[0].Targets[0].Since = true, time.Now()
	s.Groups[0].Deregistration = 100 * time.Millisecond
	r.put(s)
	if a := <-answer; a.status != 502 || a.body != page(502) {
		t.Errorf("the request in flight got %+v, want 502", a)
	}
	waitTarget(t, r.client, "tg", g.addr, drained)
}

// A target that is registered again while it drains takes requests again.
func TestDrain_Revived(t *testing.T) {
	r, port := newRig(t), freePort(t)
	a := backend(t, named("a"))
	s := site(port, a)
	r.put(s)
	r.wait("tg", a, lbconfig.Healthy)
	s.Groups[0].Targets[0].Draining, s.Groups[0].Targets[0].Since = true, time.Now()
	r.put(s)
	waitTarget(t, r.client, "tg", a, drained)
	s.Groups[0].Targets[0].Draining, s.Groups[0].Targets[0].Since = false, time.Now()
	r.put(s)
	r.wait("tg", a, lbconfig.Healthy)
	if resp, _ := raw(t, local(port), get1("/")); resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// 200 targets come and go, each stopped for good as soon as it is reported drained: no request fails.
func TestDrain_NoRequestIsLost(t *testing.T) {
	t.Parallel()
	r, port := newRig(t), freePort(t)
	type server struct {
		addr netip.AddrPort
		http *httptest.Server
	}
	start := func(n int) server {
		s := httptest.NewServer(named(fmt.Sprint(n)))
		return server{netip.MustParseAddrPort(s.Listener.Addr().String()), s}
	}
	live := []server{start(0), start(1)}
	defer func() {
		for _, s := range live {
			s.http.CloseClientConnections()
			s.http.Close()
		}
	}()
	s := site(port, live[0].addr, live[1].addr)
	r.put(s)
	for _, x := range live {
		r.wait("tg", x.addr, lbconfig.Healthy)
	}
	l := startLoad(t, local(port), 6)
	const changes = 200
	for n := range changes {
		fresh := start(n + 2)
		target := func(x server) lbconfig.Target { return lbconfig.Target{Addr: x.addr, Since: began} }
		g := &s.Groups[0]
		g.Targets = []lbconfig.Target{target(live[0]), target(live[1]), target(fresh)}
		r.put(s)
		r.wait("tg", fresh.addr, lbconfig.Healthy)
		g.Targets[0].Draining, g.Targets[0].Since = true, time.Now()
		r.put(s)
		waitTarget(t, r.client, "tg", live[0].addr, drained)
		g.Targets = g.Targets[1:]
		// The process may end before the balancer hears that the target is gone, or after.
		if n%2 == 0 {
			live[0].http.CloseClientConnections()
			live[0].http.Close()
			r.put(s)
		} else {
			r.put(s)
			live[0].http.CloseClientConnections()
			live[0].http.Close()
		}
		live = []server{live[1], fresh}
	}
	l.none(changes)
	t.Logf("%d requests through %d changes", l.sent, changes)
}

// Listeners, rules and groups change under load.
func TestApply_SwapsUnderLoad(t *testing.T) {
	t.Parallel()
	r, port := newRig(t), freePort(t)
	a, b := backend(t, named("a")), backend(t, named("b"))
	first := site(port, a)
	second := site(port, b)
	second.Groups[0].ARN = "tg2"
	second.Balancers[0].Listeners[0].Rules[0].Action = forwardTo("tg2")
	both := site(port, a)
	both.Groups = append(both.Groups, second.Groups[0])
	r.put(both)
	r.wait("tg", a, lbconfig.Healthy)
	l := startLoad(t, local(port), 6)
	for n := range 50 {
		// The next group is examined before it takes over, as a deployment would.
		to, addr, arn := second, b, "tg2"
		if n%2 == 1 {
			to, addr, arn = first, a, "tg"
		}
		mixed := to
		mixed.Groups = both.Groups
		mixed.Balancers = []lbconfig.Balancer{first.Balancers[0]}
		rules := first.Balancers[0].Listeners[0].Rules
		if n%2 == 1 {
			rules = second.Balancers[0].Listeners[0].Rules
		}
		mixed.Balancers[0].Listeners = []lbconfig.Listener{{ARN: "listener", Port: port, Rules: append([]lbconfig.Rule{
			{ARN: "canary", Conditions: []lbconfig.Condition{{Field: lbconfig.PathPattern, Values: []string{"/canary"}}}, Action: forwardTo(arn)}}, rules...)}}
		r.put(mixed)
		r.wait(arn, addr, lbconfig.Healthy)
		r.put(to)
	}
	l.none(100)
}

func TestApply_RefusesOlder(t *testing.T) {
	r, port := newRig(t), freePort(t)
	r.put(site(port))
	r.put(site(port))
	s := site(port)
	s.Rev = 1
	if _, err := r.client.Put(context.Background(), s); err == nil {
		t.Error("an older snapshot was taken")
	}
}

// A port that goes is closed; the others go on.
func TestApply_PortsComeAndGo(t *testing.T) {
	r := newRig(t)
	a, b := freePort(t), freePort(t)
	s := site(a)
	s.Balancers[0].Listeners = append(s.Balancers[0].Listeners, lbconfig.Listener{ARN: "l2", Port: b, Rules: []lbconfig.Rule{{ARN: "r2", Action: forwardTo("tg")}}})
	r.put(s)
	raw(t, local(b), get1("/"))
	r.put(site(a))
	if c, err := net.Dial("tcp", local(b)); err == nil {
		c.Close()
		t.Error("a port that is gone accepts")
	}
	raw(t, local(a), get1("/"))
}
