package task

import (
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

func TestRestarts(t *testing.T) {
	begun := time.Unix(1e9, 0)
	for _, test := range []struct {
		name   string
		policy *ecstypes.ContainerRestartPolicy
		ran    time.Duration
		code   int
		want   bool
	}{
		{"no policy", nil, time.Hour, 1, false},
		{"disabled", &ecstypes.ContainerRestartPolicy{Enabled: aws.Bool(false)}, time.Hour, 1, false},
		{"ran for the default period", &ecstypes.ContainerRestartPolicy{Enabled: aws.Bool(true)}, 300 * time.Second, 1, true},
		{"ended before it", &ecstypes.ContainerRestartPolicy{Enabled: aws.Bool(true)}, 299 * time.Second, 1, false},
		{"ran for its own period", &ecstypes.ContainerRestartPolicy{Enabled: aws.Bool(true), RestartAttemptPeriod: aws.Int32(60)}, 61 * time.Second, 1, true},
		{"a success too", &ecstypes.ContainerRestartPolicy{Enabled: aws.Bool(true)}, time.Hour, 0, true},
		{"ignored", &ecstypes.ContainerRestartPolicy{Enabled: aws.Bool(true), IgnoredExitCodes: []int32{0, 3}}, time.Hour, 3, false},
		{"not ignored", &ecstypes.ContainerRestartPolicy{Enabled: aws.Bool(true), IgnoredExitCodes: []int32{0, 3}}, time.Hour, 1, true},
	} {
		w := runtime.ContainerState{Status: runtime.Stopped, StartedAt: begun, FinishedAt: begun.Add(test.ran), ExitCode: test.code}
		if got := restarts(ecstypes.ContainerDefinition{RestartPolicy: test.policy}, w); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
		w.Lost = true
		if restarts(ecstypes.ContainerDefinition{RestartPolicy: test.policy}, w) {
			t.Errorf("%s: runs again though nobody knows how it ended", test.name)
		}
	}
}

func restarting(_ *state.Task, d *ecstypes.TaskDefinition) {
	d.ContainerDefinitions[0].RestartPolicy = &ecstypes.ContainerRestartPolicy{Enabled: aws.Bool(true), RestartAttemptPeriod: aws.Int32(0), IgnoredExitCodes: []int32{9}}
}

// An essential container with a policy runs again in place, and the task runs on; its health is evaluated anew.
func TestRestart(t *testing.T) {
	b := newBench(t, restarting, checked)
	id := strings.Repeat("ab", 16)
	var code atomic.Int32
	b.answer(&code)
	b.untilHealth(state.Healthy)
	code.Store(-2)
	first := b.status().Containers[0].StartedAt
	for n := 1; n <= 2; n++ {
		b.engine.Exit(id, "app", 1)
		for b.status().Containers[0].Restarts < n {
			b.step()
		}
		st := b.status()
		if c := st.Containers[0]; st.LastStatus != "RUNNING" || c.LastStatus != "RUNNING" || c.Health.Status != state.Unknown || c.ExitCode != nil || !c.StartedAt.After(first) {
			t.Fatalf("restarted: %+v", st)
		}
	}
	code.Store(0)
	b.untilHealth(state.Healthy)
	b.engine.Exit(id, "app", 9)
	st := b.until("STOPPED")
	if st.Stop.Reason != "Essential container in task exited" || *st.Containers[0].ExitCode != 9 || st.Containers[0].Restarts != 2 {
		t.Errorf("after an ignored exit code: %+v %+v", st.Stop, st.Containers[0])
	}
}

func TestRestart_notWhenStopping(t *testing.T) {
	b := newBench(t, restarting)
	b.until("RUNNING")
	b.stopTask("enough")
	st := b.until("STOPPED")
	if st.Containers[0].Restarts != 0 || *st.Containers[0].ExitCode != 0 {
		t.Errorf("%+v", st.Containers[0])
	}
}

func TestRestart_impossible(t *testing.T) {
	b := newBench(t, restarting)
	b.until("RUNNING")
	b.engine.Fault = func(op, _ string) error {
		if op == "Restart" {
			return fmt.Errorf("no such program: %w", runtime.ErrUnrunnable)
		}
		return nil
	}
	b.engine.Exit(strings.Repeat("ab", 16), "app", 1)
	st := b.until("STOPPED")
	if !strings.HasPrefix(st.Containers[0].Reason, "CannotStartContainerError: ") || st.Stop.Code != "EssentialContainerExited" {
		t.Errorf("%+v %+v", st.Stop, st.Containers[0])
	}
}

// The steps that come when something has happened may be broken as well.
func TestEvents_killedAtEachStep(t *testing.T) {
	for _, s := range []*step{observe, restart, health} {
		for _, when := range []string{":before", ":after"} {
			t.Run(s.name+when, func(t *testing.T) {
				b := newBench(t, restarting, checked)
				id := strings.Repeat("ab", 16)
				var code atomic.Int32
				b.answer(&code)
				fired := false
				b.fault = func(p string) {
					if p == "task."+s.name+when && !fired {
						fired = true
						panic(errKilled)
					}
				}
				b.untilHealth(state.Healthy)
				b.engine.Exit(id, "app", 1)
				for b.status().Containers[0].Restarts == 0 {
					b.step()
				}
				b.untilHealth(state.Healthy)
				if n := b.status().Containers[0].Restarts; n != 1 || !fired {
					t.Errorf("%d restarts, fired %v; want one", n, fired)
				}
				b.stopTask("enough")
				st := b.until("STOPPED")
				if *st.Containers[0].ExitCode != 0 || b.interfaces() != 0 {
					t.Errorf("%+v, %d interfaces", st.Containers[0], b.interfaces())
				}
			})
		}
	}
}
