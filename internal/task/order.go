package task

import (
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/runtime"
	"github.com/lotse-project/lotse/internal/state"
)

// A beginning is what to do about containers that have not started.
//
//	db ◀─HEALTHY─ app     migrate ◀─SUCCESS─ app
//
//	db PENDING, migrate PENDING     start both
//	db UNKNOWN, migrate exited 0    app waits, at most for db's startTimeout
//	db HEALTHY, migrate exited 0    start app
//	migrate exited 1                app never starts
type beginning struct {
	start []string
	never map[string]string // containers that can't start any more, with the reason
	wait  time.Duration     // until the next startTimeout runs out; 0: none does
}

// begin decides which containers start. Source: DG container dependency; ECS agent, dependencygraph.
func begin(defs []ecstypes.ContainerDefinition, sts []state.ContainerStatus, now time.Time) beginning {
	b := beginning{never: map[string]string{}}
	for i, d := range defs {
		if sts[i].LastStatus != "PENDING" {
			continue
		}
		resolved := true
		for _, dep := range d.DependsOn {
			j := index(defs, *dep.ContainerName)
			ok, why, wait := resolve(defs[j], sts[j], dep.Condition, now)
			if why != "" {
				b.never[*d.Name] = "CannotStartContainerError: dependency graph: " + fmt.Sprintf(why, describe(sts[j]), describe(sts[i]))
			}
			if wait > 0 && (b.wait == 0 || wait < b.wait) {
				b.wait = wait
			}
			resolved = resolved && ok
		}
		if resolved && b.never[*d.Name] == "" {
			b.start = append(b.start, *d.Name)
		}
	}
	return b
}

// Why a container never starts, in the ECS agent's words (engine/dependencygraph), with the dependency and the dependent.
const (
	neverStarts = "failed to resolve container ordering dependency [%s] for target [%s] because dependency will never start"
	noSuccess   = "failed to resolve container ordering dependency [%s] for target [%s] as dependency did not exit successfully."
	unresolved  = "failed to resolve the container ordering dependency [%s] for target [%s]"
	timedOut    = "container ordering dependency [%s] for target [%s] has timed out."
)

// resolve tells whether a condition on a container is met, or why it never will be, or how long its startTimeout leaves.
func resolve(d ecstypes.ContainerDefinition, st state.ContainerStatus, on ecstypes.ContainerCondition, now time.Time) (ok bool, why string, wait time.Duration) {
	ended := st.LastStatus == "STOPPED"
	switch {
	case st.StartedAt.IsZero() && ended:
		return false, neverStarts, 0
	case st.StartedAt.IsZero():
		return false, "", 0
	case on == ecstypes.ContainerConditionStart,
		on == ecstypes.ContainerConditionComplete && ended,
		on == ecstypes.ContainerConditionSuccess && ended && st.ExitCode != nil && *st.ExitCode == 0,
		on == ecstypes.ContainerConditionHealthy && st.Health.Status == state.Healthy:
		return true, "", 0
	case ended && on == ecstypes.ContainerConditionSuccess:
		return false, noSuccess, 0
	case ended: // and never HEALTHY
		return false, unresolved, 0
	case d.StartTimeout == nil:
		return false, "", 0
	}
	wait = st.StartedAt.Add(seconds(d.StartTimeout, 0)).Sub(now)
	if wait <= 0 {
		return false, timedOut, 0
	}
	return false, "", wait
}

// An ending is what to do about containers that have not ended though the task is to stop.
type ending struct {
	signal, kill []string
	wait         time.Duration // until a stopTimeout runs out; 0: all have ended
}

// end decides which containers are told to stop: those first that depend on others. Source: API Reference, ContainerDefinition:
// for container shutdown the dependencies are reversed.
func end(defs []ecstypes.ContainerDefinition, sts []state.ContainerStatus, world *runtime.TaskState, now time.Time) ending {
	var e ending
	runs := func(name string) bool {
		w, ok := world.Container(name)
		return ok && w.Status != runtime.Stopped
	}
	for i, d := range defs {
		if !runs(*d.Name) || needed(defs, *d.Name, runs) {
			continue
		}
		left := sts[i].StoppingAt.Add(stopTimeout(d.StopTimeout)).Sub(now)
		switch {
		case sts[i].StoppingAt.IsZero():
			e.signal = append(e.signal, *d.Name)
			left = seconds(d.StopTimeout, 0)
		case left <= 0:
			e.kill = append(e.kill, *d.Name)
			left = killPoll
		}
		if left = max(left, time.Millisecond); e.wait == 0 || left < e.wait {
			e.wait = left
		}
	}
	return e
}

// killPoll is how often the end of a killed container is looked for besides the engine's hints, which may be lost.
const killPoll = 100 * time.Millisecond

// Private

// needed tells whether another container that still runs depends on this one.
func needed(defs []ecstypes.ContainerDefinition, name string, runs func(string) bool) bool {
	for _, d := range defs {
		for _, dep := range d.DependsOn {
			if *dep.ContainerName == name && runs(*d.Name) {
				return true
			}
		}
	}
	return false
}

func index(defs []ecstypes.ContainerDefinition, name string) int {
	for i, d := range defs {
		if aws.ToString(d.Name) == name {
			return i
		}
	}
	return -1 // the definition was checked when it was registered
}

// describe is a container as the ECS agent prints it.
func describe(st state.ContainerStatus) string {
	known := st.LastStatus
	if known == "PENDING" {
		known = "CREATED"
	}
	s := fmt.Sprintf("%s(%s) (%s->RUNNING)", st.Name, st.Image, known)
	if st.ExitCode != nil {
		s += fmt.Sprintf(" - Exit: %d", *st.ExitCode)
	}
	return s
}
