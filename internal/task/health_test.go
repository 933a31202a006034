package task

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/runtime"
	"github.com/lotse-project/lotse/internal/state"
)

// Checks of one run, each at so many seconds after its start and 1 s long; +: a success.
func TestPulse(t *testing.T) {
	rule := checkRule{interval: 30 * time.Second, timeout: 5 * time.Second, retries: 3}
	graced := rule
	graced.startPeriod = 100 * time.Second
	strict := rule
	strict.strict = true
	type at struct {
		second float64
		ok     bool
	}
	for _, test := range []struct {
		name   string
		rule   checkRule
		checks []at
		want   string
	}{
		{"the first success is enough", rule, []at{{0, false}, {0.1, true}}, state.Healthy},
		{"quick failures don't condemn", rule, []at{{0, false}, {1, false}, {2, false}, {3, false}, {29, false}}, state.Unknown},
		{"three intervals of failures do", rule, []at{{0, false}, {30, false}, {61, false}, {92, false}}, state.Unhealthy},
		{"two don't", rule, []at{{0, false}, {30, false}, {61, false}, {80, false}}, state.Unknown},
		{"a success begins anew", rule, []at{{0, true}, {31, false}, {62, false}, {93, true}, {124, false}, {155, false}}, state.Healthy},
		{"from healthy to unhealthy", rule, []at{{0, true}, {31, false}, {62, false}, {93, false}}, state.Unhealthy},
		{"and back at once", rule, []at{{0, true}, {31, false}, {62, false}, {93, false}, {124, true}}, state.Healthy},
		{"failures in the start period don't count", graced, []at{{30, false}, {61, false}, {92, false}, {99, false}}, state.Unknown},
		{"after it they do", graced, []at{{99, false}, {100, false}, {131, false}, {162, false}}, state.Unhealthy},
		{"a success ends the start period", graced, []at{{1, true}, {32, false}, {63, false}, {94, false}}, state.Unhealthy},
		{"strict", strict, []at{{30, false}, {61, false}, {92, false}}, state.Unhealthy},
	} {
		began := time.Unix(1e9, 0)
		p := newPulse(state.Unknown, began, began, test.rule)
		for _, c := range test.checks {
			begun := began.Add(time.Duration(c.second * float64(time.Second)))
			p, _ = p.after(c.ok, begun, begun.Add(time.Second), test.rule)
		}
		if p.status != test.want {
			t.Errorf("%s: %s, want %s", test.name, p.status, test.want)
		}
	}
}

// A server that was away begins with what is on record; what failed before and meanwhile doesn't count.
func TestPulse_afterTheServerWasAway(t *testing.T) {
	r := checkRule{interval: 30 * time.Second, retries: 1}
	began, now := time.Unix(1e9, 0), time.Unix(1e9+1000, 0)
	p := newPulse(state.Healthy, began, now, r)
	if p.delay != 0 {
		t.Errorf("the first look comes after %v, want at once", p.delay)
	}
	if p, _ = p.after(false, now, now, r); p.status != state.Healthy {
		t.Errorf("a failure at once: %s, want HEALTHY still", p.status)
	}
	if p, _ = p.after(false, now.Add(30*time.Second), now.Add(31*time.Second), r); p.status != state.Unhealthy {
		t.Errorf("a failure an interval later: %s, want UNHEALTHY", p.status)
	}
}

func TestPulse_delays(t *testing.T) {
	r := checkRule{interval: 5 * time.Second, retries: 3}
	now := time.Unix(1e9, 0)
	p := newPulse(state.Unknown, now, now, r)
	sum, n := p.delay, 0
	for ; p.delay < r.interval; n++ {
		p, _ = p.after(false, now, now, r)
		sum += p.delay
	}
	if p.delay != r.interval || n < 15 || n > 30 {
		t.Errorf("%d quick checks in %v, then every %v; want some 20 and then the interval", n, sum, p.delay)
	}
	if p, _ = p.after(true, now, now, r); p.delay != r.interval {
		t.Errorf("after a success: %v, want the interval", p.delay)
	}
	r.strict = true
	p = newPulse(state.Unknown, now, now, r)
	if first := p.delay; first != r.interval {
		t.Errorf("strict: the first check after %v, want the interval", first)
	}
	if p, _ = p.after(false, now, now, r); p.delay != r.interval {
		t.Errorf("strict: the next after %v, want the interval", p.delay)
	}
}

func TestRuleOf(t *testing.T) {
	d := ecstypes.ContainerDefinition{HealthCheck: &ecstypes.HealthCheck{Command: []string{"CMD-SHELL", "curl -f localhost"}, Retries: aws.Int32(1)}}
	r, has := ruleOf(d, false)
	if !has || strings.Join(r.args, "|") != "/bin/sh|-c|curl -f localhost" || r.interval != 30*time.Second || r.timeout != 5*time.Second || r.retries != 1 || r.startPeriod != 0 {
		t.Errorf("%+v", r)
	}
	d.HealthCheck.Command = []string{"CMD", "/check", "-x"}
	if r, _ := ruleOf(d, false); strings.Join(r.args, "|") != "/check|-x" {
		t.Errorf("%+v", r)
	}
	for _, none := range []*ecstypes.HealthCheck{nil, {Command: []string{"NONE"}}} {
		if _, has := ruleOf(ecstypes.ContainerDefinition{HealthCheck: none}, false); has {
			t.Errorf("%+v is a health check", none)
		}
	}
}

// checked gives the container a health check that looks all the time.
func checked(_ *state.Task, d *ecstypes.TaskDefinition) {
	d.ContainerDefinitions[0].HealthCheck = &ecstypes.HealthCheck{Command: []string{"CMD", "/check"}, Interval: aws.Int32(0), Timeout: aws.Int32(1), Retries: aws.Int32(2)}
}

// answer is what the check says: an exit code, or -1: it never ends, or -2: the engine is away.
func (b *bench) answer(code *atomic.Int32) {
	b.engine.Command = func(ctx context.Context, _, _ string, args []string) (runtime.Result, error) {
		if len(args) != 1 || args[0] != "/check" {
			b.t.Errorf("ran %q", args)
		}
		switch c := code.Load(); c {
		case -1:
			<-ctx.Done()
			return runtime.Result{}, context.Cause(ctx)
		case -2:
			return runtime.Result{}, errors.New("the engine is away")
		default:
			return runtime.Result{ExitCode: int(c), Output: []byte("said so")}, nil
		}
	}
}

// untilHealth reconciles until the container's health is that.
func (b *bench) untilHealth(want string) state.ContainerHealth {
	b.t.Helper()
	for range 2000 {
		b.step()
		if st := b.status(); len(st.Containers) > 0 && st.Containers[0].Health.Status == want {
			return st.Containers[0].Health
		}
		time.Sleep(5 * time.Millisecond)
	}
	b.t.Fatalf("never became %s: %+v", want, b.status())
	return state.ContainerHealth{}
}

func TestHealth(t *testing.T) {
	b := newBench(t, checked)
	var code atomic.Int32
	code.Store(1)
	b.answer(&code)
	if st := b.until("RUNNING"); st.Containers[0].Health.Status == state.Healthy {
		t.Errorf("healthy though its check fails: %+v", st.Containers[0].Health)
	}
	if h := b.untilHealth(state.Unhealthy); h.ExitCode != 1 || h.Output != "said so" || h.Since.IsZero() {
		t.Errorf("unhealthy: %+v", h)
	}
	if st := b.status(); st.LastStatus != "RUNNING" || st.Stop != nil || st.Health() != state.Unhealthy {
		t.Errorf("a task runs on whatever its health: %+v", st)
	}
	code.Store(0)
	if h := b.untilHealth(state.Healthy); h.ExitCode != 0 || h.Output != "" {
		t.Errorf("healthy: %+v", h)
	}
	code.Store(-1)
	if h := b.untilHealth(state.Unhealthy); h.ExitCode != -1 || h.Output != "Health check exceeded timeout (1s)" {
		t.Errorf("too slow: %+v", h)
	}
	b.stopTask("enough")
	b.until("STOPPED")
	b.c.checks.end()
	if len(b.c.checks.of) != 0 {
		t.Errorf("checks of a stopped task: %v", b.c.checks.of)
	}
}

// What the engine can't run says nothing: neither healthy nor unhealthy. A server that comes back checks on.
func TestHealth_goesOnAfterTheServerWasAway(t *testing.T) {
	b := newBench(t, checked)
	var code atomic.Int32
	b.answer(&code)
	b.untilHealth(state.Healthy)
	code.Store(-2)
	b.c.checks.end()
	b.start()
	for range 20 {
		b.step()
		time.Sleep(5 * time.Millisecond)
	}
	if h := b.status().Containers[0].Health; h.Status != state.Healthy {
		t.Errorf("after a time without results: %+v, want HEALTHY as before", h)
	}
	code.Store(3)
	b.untilHealth(state.Unhealthy)
}

func TestTaskHealth(t *testing.T) {
	c := func(essential bool, health string) state.ContainerStatus {
		return state.ContainerStatus{Essential: essential, Health: state.ContainerHealth{Status: health}}
	}
	for _, test := range []struct {
		containers []state.ContainerStatus
		want       string
	}{
		{nil, ""},
		{[]state.ContainerStatus{c(true, "")}, ""},
		{[]state.ContainerStatus{c(true, ""), c(true, "HEALTHY")}, "HEALTHY"},
		{[]state.ContainerStatus{c(true, "HEALTHY"), c(true, "")}, "HEALTHY"},
		{[]state.ContainerStatus{c(true, "HEALTHY"), c(true, "UNKNOWN")}, "UNKNOWN"},
		{[]state.ContainerStatus{c(true, "UNKNOWN"), c(true, "HEALTHY")}, "UNKNOWN"},
		{[]state.ContainerStatus{c(true, "UNKNOWN"), c(true, "UNHEALTHY"), c(true, "HEALTHY")}, "UNHEALTHY"},
		{[]state.ContainerStatus{c(true, "HEALTHY"), c(false, "UNHEALTHY")}, "HEALTHY"},
		{[]state.ContainerStatus{c(false, "UNHEALTHY")}, ""},
	} {
		if got := (state.TaskStatus{Containers: test.containers}).Health(); got != test.want {
			t.Errorf("Health(%+v) = %q, want %q", test.containers, got, test.want)
		}
	}
}

// Commands of more checks than may run at once wait for one another; whoever ends its checks doesn't wait.
func TestChecks_atMost(t *testing.T) {
	var running, most atomic.Int32
	began, end := make(chan struct{}, 10), make(chan struct{})
	cs := &checks{slots: make(chan struct{}, 3), news: func(string) {}, exec: func(context.Context, string, string, runtime.Command) (runtime.Result, error) {
		most.Store(max(most.Load(), running.Add(1)))
		began <- struct{}{}
		<-end
		running.Add(-1)
		return runtime.Result{}, nil
	}}
	r := checkRule{interval: time.Hour, timeout: time.Hour, retries: 3}
	for i := range 10 {
		cs.mu.Lock()
		cs.beginLocked(t.Context(), life{key: fmt.Sprint(i)}, state.ContainerStatus{Name: "app", Health: state.ContainerHealth{Status: state.Healthy}}, r)
		cs.mu.Unlock()
	}
	for range 3 {
		<-began
	}
	cs.mu.Lock()
	cs.endLocked("9", "app") // whether or not it waits
	cs.mu.Unlock()
	close(end)
	for range 6 {
		<-began
	}
	cs.end()
	if n := most.Load(); n != 3 {
		t.Errorf("%d commands at once, want 3", n)
	}
}
