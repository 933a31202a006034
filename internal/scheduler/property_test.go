package scheduler

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// Tasks come up, fall ill, recover, exit, drain and end in any order; the service is updated,
// scaled and reconfigured meanwhile; the controller is killed before and after its writes. At every
// pass: a stop never takes the healthy tasks below the lower bound, a start never goes above the
// upper one, and each event tells of something that happened, once. Left alone, it comes to rest.
func TestController_KeepsItsBoundsWhateverHappens(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBench(t, rapid.Bool().Draw(rt, "balancer"))
		defer b.db.Close()
		b.t = rt
		b.create(rapid.IntRange(0, 4).Draw(rt, "desired"), func(s *state.Service) {
			s.MinimumHealthy, s.Maximum = bounds(rt)
			s.CircuitBreaker = state.CircuitBreaker{Enable: rapid.Bool().Draw(rt, "breaker"), Rollback: rapid.Bool().Draw(rt, "rollback")}
		})
		b.checked()
		for range rapid.IntRange(4, 24).Draw(rt, "steps") {
			b.happen(rt)
			b.checked()
		}
		b.fault = nil
		b.change(func(s *state.Service) { s.MinimumHealthy, s.Maximum = 100, 200 })
		b.settle()
		if b.status().Deployments[b.primary()].RolloutState == "FAILED" { // only a new deployment goes on from there
			b.deploy(9)
			b.settle()
		}
		b.atRest()
		b.truthful()
	})
}

func bounds(rt *rapid.T) (least, most int) {
	return rapid.SampledFrom([]int{0, 34, 50, 100}).Draw(rt, "min"), rapid.SampledFrom([]int{101, 150, 200}).Draw(rt, "max")
}

// happen lets one thing happen in the world.
func (b *bench) happen(rt *rapid.T) {
	kinds := rapid.IntRange(0, 13).Draw(rt, "what")
	pick := func(rs []row) (row, bool) {
		if len(rs) == 0 {
			return row{}, false
		}
		return rs[rapid.IntRange(0, len(rs)-1).Draw(rt, "which")], true
	}
	going := slices.DeleteFunc(b.tasks(), func(r row) bool { return r.Stop != nil || r.status.Stop != nil })
	running := slices.DeleteFunc(slices.Clone(going), func(r row) bool { return r.status.LastStatus != "RUNNING" })
	starting := slices.DeleteFunc(slices.Clone(going), func(r row) bool { return r.status.LastStatus == "RUNNING" })
	switch kinds {
	case 0, 1:
		if r, ok := pick(starting); ok {
			b.run(r)
		}
	case 2, 3:
		if r, ok := pick(running); ok {
			b.health("healthy", "", r)
		}
	case 4:
		if r, ok := pick(running); ok {
			b.health("unhealthy", "Request timed out", r)
		}
	case 5:
		if r, ok := pick(running); ok {
			b.exit("EssentialContainerExited", "Essential container in task exited", r)
		}
	case 6:
		if r, ok := pick(starting); ok {
			b.exit("TaskFailedToStart", rapid.SampledFrom([]string{"CannotPullContainerError", "CannotStartContainerError"}).Draw(rt, "why"), r)
		}
	case 7, 8:
		if r, ok := pick(b.stopping()); ok {
			if !r.status.Is("deregister") {
				b.drain(r)
			} else {
				b.end(r)
			}
		}
	case 9:
		b.deploy(rapid.IntRange(1, 9).Draw(rt, "revision"))
	case 10:
		b.change(func(s *state.Service) {
			s.DesiredCount = rapid.IntRange(0, 4).Draw(rt, "desired")
			s.MinimumHealthy, s.Maximum = bounds(rt)
		})
	case 13:
		if r, ok := pick(going); ok {
			until := b.clock.Add(time.Duration(rapid.IntRange(0, 5000).Draw(rt, "protected")) * time.Millisecond)
			b.update(func(tx *store.WriteTx) error {
				o, err := state.Tasks.Get(tx, r.Key())
				if err == nil {
					o.Val.ProtectedUntil = until
					err = state.Tasks.Put(tx, &o)
				}
				return err
			})
		}
	case 12:
		id := b.primary()
		b.change(func(s *state.Service) {
			s.StopDeployment = state.DeploymentStop{ID: id, Rollback: rapid.Bool().Draw(rt, "stop by rollback")}
		})
	case 11:
		b.clock = b.clock.Add(time.Duration(rapid.IntRange(0, 5000).Draw(rt, "ms")) * time.Millisecond)
	}
	b.fault = nil
	if point := rapid.SampledFrom([]string{"", "", "scheduler.apply:before", "scheduler.apply:after"}).Draw(rt, "kill"); point != "" {
		b.fault = func(p string) {
			if p == point {
				b.fault = nil
				panic(errKilled)
			}
		}
	}
}

// checked reconciles and looks at what each pass did.
func (b *bench) checked() {
	b.t.Helper()
	for range 50 {
		b.clock = b.clock.Add(time.Millisecond)
		rev, killed, before := b.rev(), b.killed, b.tasks()
		b.pass()
		after, s := b.tasks(), b.service()
		lower, upper := lowerBound(s.DesiredCount, s.MinimumHealthy), upperBound(s.DesiredCount, s.Maximum)
		was, is := b.healthyIn(before), b.healthyIn(after)
		if is < was && is < lower {
			b.t.Fatalf("healthy %d → %d, below the lower bound %d\n%s", was, is, lower, strings.Join(b.events(), "\n"))
		}
		if was, is := b.upIn(before), b.upIn(after); is < was && is < lower {
			b.t.Fatalf("running %d → %d, below the lower bound %d\n%s", was, is, lower, strings.Join(b.events(), "\n"))
		}
		if was, is := activeIn(before), activeIn(after); is > was && is > upper {
			b.t.Fatalf("active %d → %d, above the upper bound %d\n%s", was, is, upper, strings.Join(b.events(), "\n"))
		}
		for _, r := range before {
			i := slices.IndexFunc(after, func(a row) bool { return a.ID == r.ID })
			if r.Stop == nil && r.ProtectedUntil.After(b.clock) && r.health != "unhealthy" && i >= 0 && after[i].Stop != nil {
				b.t.Fatalf("stopped although it is protected: %s\n%s", r.ID, strings.Join(b.events(), "\n"))
			}
		}
		if b.rev() == rev && b.killed == killed {
			return
		}
	}
	b.t.Fatalf("the controller writes for ever:\n%s", strings.Join(b.events(), "\n"))
}

func (b *bench) healthyIn(rs []row) int { return b.healthyFor(rs, settleTime) }

// upIn counts in a service without a balancer those, too, that have only just begun to run.
func (b *bench) upIn(rs []row) int { return b.healthyFor(rs, 0) }

func (b *bench) healthyFor(rs []row, settled time.Duration) int {
	n := 0
	for _, r := range rs {
		if r.Stop != nil || r.status.Stop != nil || r.status.LastStatus != "RUNNING" {
			continue
		}
		if b.group != "" && r.health == "healthy" || b.group == "" && b.clock.Sub(r.status.StartedAt) >= settled {
			n++
		}
	}
	return n
}

func activeIn(rs []row) int {
	return len(slices.DeleteFunc(slices.Clone(rs), func(r row) bool { return r.Stop != nil || r.status.Stop != nil }))
}

// primary is the ID of the newest deployment.
func (b *bench) primary() string {
	b.t.Helper()
	id := ""
	b.view(func(tx *store.ReadTx) error {
		for o, err := range state.Deployments.List(tx, serviceKey+"/") {
			if err != nil {
				return err
			}
			id = o.Val.ID
		}
		return nil
	})
	return id
}

// atRest: the newest deployment has all its tasks, nothing else is left.
func (b *bench) atRest() {
	b.t.Helper()
	s, st, p := b.service(), b.status(), b.primary()
	if st.Deployments[p].RolloutState != "COMPLETED" || !st.Steady || len(b.tasks()) != s.DesiredCount || len(b.of(p)) != s.DesiredCount {
		b.t.Fatalf("%s is %+v, steady %t; %d tasks, %d of it, desired %d\n%s", p, st.Deployments[p], st.Steady, len(b.tasks()), len(b.of(p)), s.DesiredCount, strings.Join(b.events(), "\n"))
	}
	for id, d := range st.Deployments {
		if id != p && !d.Gone {
			b.t.Fatalf("%s is not gone: %+v", id, d)
		}
	}
	if n := len(st.Events); n < maxEvents && !strings.HasSuffix(st.Events[0].Message, "has reached a steady state.") && !strings.Contains(st.Events[0].Message, "has begun draining") {
		b.t.Fatalf("the last event is %s", st.Events[0].Message)
	}
}

var (
	startedEvent    = regexp.MustCompile(`has started (\d+) tasks: (.*?)\.`)
	stoppedEvent    = regexp.MustCompile(`has stopped (\d+) running tasks: (.*?)\.`)
	registeredEvent = regexp.MustCompile(`\) (registered|deregistered) (\d+) targets in`)
	completedEvent  = regexp.MustCompile(`\(deployment (ecs-svc/\d+)\) deployment completed`)
)

// truthful: the events are what the records say, each once.
func (b *bench) truthful() {
	b.t.Helper()
	st := b.status()
	if len(st.Events) == maxEvents {
		return // the first have been dropped
	}
	told, completed, targets := map[string]int{}, map[string]int{}, map[string]int{}
	for _, e := range st.Events {
		for fact, re := range map[string]*regexp.Regexp{"started": startedEvent, "stopped": stoppedEvent} {
			if m := re.FindStringSubmatch(e.Message); m != nil {
				ids := taskID.FindAllString(m[2], -1)
				if strconv.Itoa(len(ids)) != m[1] {
					b.t.Fatalf("the count is wrong: %s", e.Message)
				}
				for _, id := range ids {
					told[fact+id]++
				}
			}
		}
		if m := completedEvent.FindStringSubmatch(e.Message); m != nil {
			completed[m[1]]++
		}
		if m := registeredEvent.FindStringSubmatch(e.Message); m != nil {
			n, _ := strconv.Atoi(m[2])
			targets[m[1]] += n
		}
	}
	want := map[string]int{}
	for _, r := range b.allTasks() {
		id := fmt.Sprintf("(task %s)", r.ID)
		check := func(fact string, happened bool) {
			if n := told[fact+id]; n != map[bool]int{true: 1}[happened] {
				b.t.Fatalf("%s %s: told %d times, happened: %t\n%s", id, fact, n, happened, strings.Join(b.events(), "\n"))
			}
		}
		check("started", true)
		check("stopped", r.Stop != nil)
		if len(r.status.Targets) > 0 {
			want["registered"]++
			if r.status.Is("deregister") {
				want["deregistered"]++
			}
		}
	}
	for what, n := range want {
		if targets[what] != n {
			b.t.Fatalf("%d targets told as %s, %d were\n%s", targets[what], what, n, strings.Join(b.events(), "\n"))
		}
	}
	for id, d := range st.Deployments {
		if n := completed[id]; n != map[bool]int{true: 1}[d.RolloutState == "COMPLETED"] {
			b.t.Fatalf("%s is %s, told completed %d times", id, d.RolloutState, n)
		}
	}
}
