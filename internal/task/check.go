package task

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/lotse-project/lotse/internal/runtime"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// maxHealthOutput is how much of a check's output is kept, in bytes: as much as a container's reason may have.
const maxHealthOutput = 1024

// maxChecks is how many commands run at once, of all containers' checks: on two processors so many begin in less than the
// shortest timeout, 2 s. The others wait; that counts for no timeout.
const maxChecks = 16

// A verdict is what the checks of a container say now.
type verdict struct {
	run      int // ContainerState.Restarts of the run that was checked
	status   string
	exitCode int
	output   string
}

// checks are the health checks under way, one for each running container that has one. They are held in memory only: a
// server that comes back goes on from the health on record.
type checks struct {
	exec   func(ctx context.Context, taskID, container string, c runtime.Command) (runtime.Result, error)
	strict bool
	news   func(key string) // a verdict of the task has changed
	slots  chan struct{}    // one is taken by each command that runs

	mu   sync.Mutex
	of   map[string]map[string]*check // task key → container
	done bool                         // no more are begun
	wait sync.WaitGroup
}

type check struct {
	verdict
	cancel context.CancelFunc
}

// sync begins the checks that the task's containers need now, ends the others, and returns what they say.
func (cs *checks) sync(ctx context.Context, l life) map[string]verdict {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	wanted := map[string]bool{}
	for i, d := range l.definition.ContainerDefinitions {
		r, has := ruleOf(d, cs.strict)
		if !has || !checkable(l, i) {
			continue
		}
		st := l.status.Containers[i]
		wanted[st.Name] = true
		if c := cs.of[l.key][st.Name]; c != nil && c.run == st.Restarts {
			continue
		}
		cs.endLocked(l.key, st.Name)
		cs.beginLocked(ctx, l, st, r)
	}
	out := map[string]verdict{}
	for name, c := range maps.Clone(cs.of[l.key]) {
		if !wanted[name] {
			cs.endLocked(l.key, name)
			continue
		}
		out[name] = c.verdict
	}
	return out
}

// end ends all checks and waits for them.
func (cs *checks) end() {
	cs.mu.Lock()
	cs.done = true
	for key, m := range cs.of {
		for name := range maps.Clone(m) {
			cs.endLocked(key, name)
		}
	}
	cs.mu.Unlock()
	cs.wait.Wait()
}

// health writes down what the checks say.
func (c *Controller) health(ctx context.Context, l life) (time.Duration, error) {
	return 0, c.save(ctx, l, "", func(tx *store.WriteTx, st *state.TaskStatus) error {
		for i := range st.Containers {
			cs := &st.Containers[i]
			v, ok := l.verdicts[cs.Name]
			if !ok || !differs(v, *cs) {
				continue
			}
			if v.status != cs.Health.Status {
				cs.Health.Since = tx.Now()
			}
			cs.Health.Status, cs.Health.ExitCode, cs.Health.Output = v.status, v.exitCode, v.output
		}
		return nil
	})
}

// Private

// checkable tells whether the checks of a container go on: it runs, as far as we know and in truth, and nobody stops it.
func checkable(l life, i int) bool {
	if l.world == nil || l.task.Stop != nil || l.status.Stop != nil || l.status.LastStatus == "STOPPED" {
		return false
	}
	st := l.status.Containers[i]
	w, ok := l.world.Container(st.Name)
	return ok && st.LastStatus == "RUNNING" && w.Status == runtime.Running && w.Restarts == st.Restarts
}

// judged tells whether a verdict is not on record yet.
func judged(l life) bool {
	for _, cs := range l.status.Containers {
		if v, ok := l.verdicts[cs.Name]; ok && differs(v, cs) {
			return true
		}
	}
	return false
}

func differs(v verdict, cs state.ContainerStatus) bool {
	h := cs.Health
	return v.run == cs.Restarts && (v.status != h.Status || v.exitCode != h.ExitCode || v.output != h.Output)
}

func (cs *checks) beginLocked(ctx context.Context, l life, st state.ContainerStatus, r checkRule) {
	if cs.done {
		return
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := &check{cancel: cancel, verdict: verdict{run: st.Restarts, status: st.Health.Status, exitCode: st.Health.ExitCode, output: st.Health.Output}}
	if cs.of[l.key] == nil {
		if cs.of == nil {
			cs.of = map[string]map[string]*check{}
		}
		cs.of[l.key] = map[string]*check{}
	}
	cs.of[l.key][st.Name] = c
	p := newPulse(st.Health.Status, st.StartedAt, time.Now(), r)
	cs.wait.Go(func() { cs.run(ctx, l.key, l.task.ID, st.Name, c, p, r) })
}

func (cs *checks) endLocked(key, name string) {
	c := cs.of[key][name]
	if c == nil {
		return
	}
	c.cancel()
	if delete(cs.of[key], name); len(cs.of[key]) == 0 {
		delete(cs.of, key)
	}
}

// run checks one run of a container until ctx ends.
func (cs *checks) run(ctx context.Context, key, taskID, name string, c *check, p pulse, r checkRule) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(p.delay):
		}
		select {
		case <-ctx.Done():
			return
		case cs.slots <- struct{}{}:
		}
		begun := time.Now()
		exitCode, output, err := cs.once(ctx, taskID, name, r)
		<-cs.slots
		if ctx.Err() != nil {
			return
		}
		if err != nil { // the engine is away, or the container has just ended: that tells nothing of its health
			p.delay = max(p.delay, firstDelay)
			continue
		}
		before := p.status
		var counted bool
		if p, counted = p.after(exitCode == 0, begun, time.Now(), r); !counted && p.status == before && exitCode != 0 {
			continue // a failure that makes no difference, as there are many while a container starts
		}
		cs.mu.Lock()
		changed := c.status != p.status || c.exitCode != exitCode || c.output != output
		c.status, c.exitCode, c.output = p.status, exitCode, output
		cs.mu.Unlock()
		if changed {
			cs.news(key)
		}
	}
}

// once runs the check; an error is no result.
func (cs *checks) once(ctx context.Context, taskID, name string, r checkRule) (exitCode int, output string, err error) {
	within, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	res, err := cs.exec(within, taskID, name, runtime.Command{Args: r.args, MaxOutput: maxHealthOutput})
	switch {
	case err == nil:
		if res.ExitCode == 0 { // what a success says may differ every time, and nobody asks
			res.Output = nil
		}
		return res.ExitCode, string(res.Output), nil
	case errors.Is(err, context.DeadlineExceeded) && within.Err() != nil: // Docker's words
		return -1, fmt.Sprintf("Health check exceeded timeout (%s)", r.timeout), nil
	case errors.Is(err, runtime.ErrUnrunnable):
		msg := err.Error()
		return -1, msg[:min(len(msg), maxHealthOutput)], nil
	}
	return 0, "", err
}
