package task

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/runtime"
	"github.com/lotse-project/lotse/internal/runtime/fake"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// Whatever ends a task is told in AWS's words, and nothing of it is left. In a want, * stands for anything.
func TestCauses(t *testing.T) {
	id := strings.Repeat("ab", 16)
	fault := func(b *bench, at string, err error) {
		b.engine.Fault = func(op, _ string) error {
			if op == at {
				return fmt.Errorf("as it is: %w", err)
			}
			return nil
		}
	}
	logs := func(_ *state.Task, d *ecstypes.TaskDefinition) {
		d.ContainerDefinitions[0].LogConfiguration = &ecstypes.LogConfiguration{LogDriver: "awslogs", Options: map[string]string{"awslogs-group": "gone", "awslogs-stream-prefix": "p"}}
	}
	secret := func(_ *state.Task, d *ecstypes.TaskDefinition) {
		d.ContainerDefinitions[0].Secrets = []ecstypes.Secret{{Name: aws.String("P"), ValueFrom: aws.String("gone")}}
	}
	public := func(task *state.Task, _ *ecstypes.TaskDefinition) { task.Network.AssignPublicIP = true }
	const failed, exited = "TaskFailedToStart", "EssentialContainerExited"
	const eni = "Unexpected EC2 error while attempting to Create Network Interface with public IP assignment "
	for _, test := range []struct {
		name              string
		change            func(*state.Task, *ecstypes.TaskDefinition)
		before            func(b *bench) // it starts
		running           func(b *bench) // what happens once it runs
		code, reason, why string         // stopCode, stoppedReason, containers[0].reason
		exit              int            // containers[0].exitCode; -1: none
	}{
		{"StopTask", nil, nil, func(b *bench) { b.stopTask("Task stopped by user") }, "UserInitiated", "Task stopped by user", "", 0},
		{"an essential container exits", nil, nil, func(b *bench) { b.engine.Exit(id, "app", 3) }, exited, "Essential container in task exited", "", 3},
		{"out of memory", nil, nil, func(b *bench) { b.engine.OOM(id, "app") }, exited, "Essential container in task exited", "OutOfMemoryError: Container killed due to memory usage", 137},
		{"the machine is restarted", nil, nil, func(b *bench) { _ = b.engine.Remove(b.t.Context(), id) }, "TerminationNotice", "The machine was restarted: the task's containers are gone.", "", -1},
		{"nobody saw the end", nil, nil, func(b *bench) { b.engine.Lose(id) }, exited, "Essential container in task exited", "The container ended while nobody watched: its exit code is not known.", 137},
		{"no image", nil, func(b *bench) {
			b.resolve = func(string) (runtime.Image, error) {
				return runtime.Image{}, &ImageError{"pull image manifest has been retried 1 time(s): not found"}
			}
		}, nil, failed, "CannotPullContainerError: pull image manifest has been retried 1 time(s): not found", "CannotPullContainerError: pull image manifest has been retried 1 time(s): not found", -1},
		{"image of another machine", nil, func(b *bench) { fault(b, "Prepare", runtime.ErrUnrunnable) }, nil, failed, "CannotPullContainerError: as it is: cannot be run", "CannotPullContainerError: *", -1},
		{"an impossible specification", nil, func(b *bench) { fault(b, "Create", runtime.ErrUnrunnable) }, nil, failed, "CannotCreateContainerError: as it is: cannot be run", "CannotCreateContainerError: *", -1},
		{"no such program", nil, func(b *bench) { fault(b, "Start", runtime.ErrUnrunnable) }, nil, failed, "CannotStartContainerError: as it is: cannot be run", "CannotStartContainerError: *", -1},
		{"no log group", logs, nil, nil, failed, "ResourceInitializationError: failed to validate logger args: *", "ResourceInitializationError: *", -1},
		{"no secret", secret, nil, nil, failed, "ResourceInitializationError: no parameter gone", "ResourceInitializationError: *", -1},
		{"no subnet", func(task *state.Task, _ *ecstypes.TaskDefinition) { task.Network.Subnets = []string{"subnet-gone"} }, nil, nil,
			failed, eni + "disabled in subnet 'subnet-gone': InvalidSubnetID.NotFound", eni + "*", -1},
		{"no security group", func(task *state.Task, _ *ecstypes.TaskDefinition) { task.Network.SecurityGroups = []string{"sg-gone"} }, nil, nil,
			failed, eni + "disabled in subnet '*': InvalidSecurityGroupID.NotFound", eni + "*", -1},
		{"no public address", public, func(b *bench) {
			b.c.o.PublicAddress = func(*store.WriteTx, arn.Scope, string) (string, error) {
				return "", &state.NoPublicAddressError{Pool: netip.MustParsePrefix("127.64.1.0/24")}
			}
		}, nil, failed, eni + "enabled in subnet '*': AddressLimitExceeded", eni + "*", -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.change == nil {
				test.change = func(*state.Task, *ecstypes.TaskDefinition) {}
			}
			b := newBench(t, test.change)
			if test.before != nil {
				test.before(b)
			}
			if test.running != nil {
				b.until("RUNNING")
				test.running(b)
			}
			st := b.until("STOPPED")
			if st.Stop == nil || st.Stop.Code != test.code || !like(st.Stop.Reason, test.reason) {
				t.Errorf("%+v, want %s %q", st.Stop, test.code, test.reason)
			}
			if len(st.Containers) != 1 {
				t.Fatalf("containers: %+v", st.Containers)
			}
			c := st.Containers[0]
			if c.LastStatus != "STOPPED" || !like(c.Reason, test.why) || (c.ExitCode == nil) != (test.exit < 0) || c.ExitCode != nil && *c.ExitCode != test.exit {
				t.Errorf("container %s, reason %q, exit code %v; want reason %q, exit code %d", c.LastStatus, c.Reason, c.ExitCode, test.why, test.exit)
			}
			if st.StoppedAt.IsZero() || st.StoppingAt.IsZero() || st.StartedAt.IsZero() != (test.running == nil) || st.ExecutionStoppedAt.IsZero() != (test.running == nil) {
				t.Errorf("times: %+v", st)
			}
			if n := b.interfaces(); n != 0 {
				t.Errorf("%d interfaces left", n)
			}
			if all, _ := b.engine.List(t.Context()); len(all) != 0 {
				t.Errorf("the engine still has %v", all)
			}
		})
	}
}

// like compares with a pattern in which one * stands for anything.
func like(s, pattern string) bool {
	before, after, any := strings.Cut(pattern, "*")
	return s == pattern || any && strings.HasPrefix(s, before) && strings.HasSuffix(s, after) && len(s) >= len(before)+len(after)
}

// The states come in AWS's order and none is left out, whoever looks after each write; a task that RUNS is a target.
func TestStates(t *testing.T) {
	b := newBench(t)
	group := newGroup(t, b.db)
	err := b.db.Update(t.Context(), func(tx *store.WriteTx) error {
		o, err := state.Tasks.Get(tx, b.key)
		if err != nil {
			return err
		}
		o.Val.LoadBalancers = []state.ServiceLoadBalancer{{TargetGroupARN: group, Container: "app", Port: 8080}}
		return state.Tasks.Put(tx, &o)
	})
	if err != nil {
		t.Fatal(err)
	}
	b.engine.Program = func(runtime.TaskSpec, runtime.ContainerSpec) (fake.Program, error) { return fake.Program{}, nil }
	seen := []string{"PROVISIONING"}
	b.fault = func(string) {
		if s := b.status().LastStatus; s != "" && s != seen[len(seen)-1] {
			seen = append(seen, s)
		}
		if st := b.status(); st.LastStatus == "RUNNING" && (len(st.Targets) == 0 || st.StartedAt.IsZero()) {
			t.Errorf("RUNNING, with targets %v, since %v", st.Targets, st.StartedAt)
		}
	}
	b.until("RUNNING")
	b.stopTask("enough")
	for !b.status().Is("deregister") {
		b.step()
	}
	if err := b.db.Update(t.Context(), func(tx *store.WriteTx) error { return state.Targets.Delete(tx, b.status().Targets[0], 0) }); err != nil {
		t.Fatal(err)
	}
	for b.status().StoppingAt.IsZero() {
		b.step()
	}
	b.engine.Exit(strings.Repeat("ab", 16), "app", 0)
	b.until("STOPPED")
	if got, want := strings.Join(seen, " "), "PROVISIONING PENDING ACTIVATING RUNNING DEACTIVATING STOPPING DEPROVISIONING STOPPED"; got != want {
		t.Errorf("states: %s\nwant    %s", got, want)
	}
}

// An engine that doesn't get a container made or started ends the task, and no worker waits for it any longer.
func TestTooSlow(t *testing.T) {
	for op, want := range map[string]string{
		"Create": "ContainerRuntimeTimeoutError: Could not transition to created; timed out after waiting 1ms",
		"Start":  "ContainerRuntimeTimeoutError: Could not transition to running; timed out after waiting 1ms",
	} {
		b := newBench(t)
		b.c.createWithin, b.c.startWithin = time.Millisecond, time.Millisecond
		b.engine.Fault = func(what, _ string) error {
			if what != op {
				return nil
			}
			time.Sleep(200 * time.Millisecond) // the deadline is long over, also on a busy machine
			return errors.New("cancelled")
		}
		st := b.until("STOPPED")
		if st.Stop.Code != "TaskFailedToStart" || st.Stop.Reason != want || st.Containers[0].Reason != want {
			t.Errorf("%s: %s: %s; container: %s", op, st.Stop.Code, st.Stop.Reason, st.Containers[0].Reason)
		}
	}
}
