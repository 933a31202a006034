package test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/test/server"
)

// mostMemory is what Lotse may add for each task, in MB. Source: the aim of doc/benchmarks.md.
const mostMemory = 15

// Many small tasks are started at once, live on when the server is killed, and end at once; nothing is left of them.
// They reserve more memory than the machine has.
func TestManyTasks(t *testing.T) {
	n := soak(10, 200)
	s := start(t, "--task-memory", "200000")
	c, network := lives(t, s, map[string][]ecstypes.ContainerDefinition{"small": {runs("app", "serve", "0")}})
	first := launch(t, c, network, "small") // makes what is made once
	awaitAll(t, c, []string{first}, "RUNNING")
	stopAll(t, c, []string{first})
	before, rows, resident := left(t, s), records(t, s), footprint(t, s)

	began := time.Now()
	var tasks []string
	for len(tasks) < n {
		out, err := c.RunTask(t.Context(), &ecs.RunTaskInput{Cluster: awssdk.String("test"), TaskDefinition: awssdk.String("small"), LaunchType: ecstypes.LaunchTypeFargate,
			NetworkConfiguration: network, Count: awssdk.Int32(int32(min(10, n-len(tasks))))})
		if err != nil || len(out.Failures) > 0 {
			t.Fatalf("after %d tasks: %v, %v", len(tasks), err, out.Failures)
		}
		for _, task := range out.Tasks {
			tasks = append(tasks, *task.TaskArn)
		}
	}
	running := awaitAll(t, c, tasks, "RUNNING")
	t.Logf("%d tasks run after %.1f s", n, time.Since(began).Seconds())
	addresses := map[string]bool{}
	for _, v := range running {
		addresses[*v.Containers[0].NetworkInterfaces[0].PrivateIpv4Address] = true
	}
	if len(addresses) != n {
		t.Errorf("%d addresses for %d tasks", len(addresses), n)
	}
	each := (footprint(t, s) - resident) / float64(n)
	t.Logf("%.1f MB for each task besides its own", each)
	if each > mostMemory {
		t.Errorf("%.1f MB for each task besides its own, want at most %d", each, mostMemory)
	}

	s.Kill()
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for task, v := range awaitAll(t, c, tasks, "RUNNING") {
		if !v.StartedAt.Equal(*running[task].StartedAt) || *v.Containers[0].RuntimeId != *running[task].Containers[0].RuntimeId {
			t.Errorf("%s was started anew", task)
		}
	}

	began = time.Now()
	for task, v := range stopAll(t, c, tasks) {
		if v.Containers[0].ExitCode == nil || *v.Containers[0].ExitCode != 0 {
			t.Errorf("%s: %s", task, containers(v))
		}
	}
	t.Logf("%d tasks stopped after %.1f s", n, time.Since(began).Seconds())
	after := left(t, s)
	maps.DeleteFunc(after, func(what string, n int) bool { return n <= before[what]+8 && what[:5] == "files" }) // connections of clients that idle
	maps.DeleteFunc(before, func(what string, _ int) bool { return what[:5] == "files" })
	if d := cmp.Diff(before, after); d != "" {
		t.Errorf("before and after: %s", d)
	}
	if d := cmp.Diff(rows, records(t, s)); d != "" {
		t.Errorf("records, before and after: %s", d)
	}
}

// footprint is the memory of Lotse's own processes, those of its tasks included, in MB.
func footprint(t *testing.T, s *server.Server) (mb float64) {
	t.Helper()
	for _, name := range benchProcesses {
		mb += pss(t, pidFile(s, name))
	}
	for _, more := range taskProcesses(t, s) {
		mb += more
	}
	return mb
}

// stopAll stops tasks and describes them then.
func stopAll(t *testing.T, c *ecs.Client, tasks []string) map[string]ecstypes.Task {
	t.Helper()
	for _, task := range tasks {
		if _, err := c.StopTask(t.Context(), &ecs.StopTaskInput{Cluster: awssdk.String("test"), Task: &task}); err != nil {
			t.Fatal(err)
		}
	}
	return awaitAll(t, c, tasks, "STOPPED")
}

// awaitAll describes tasks until all have a status.
func awaitAll(t *testing.T, c *ecs.Client, tasks []string, status string) map[string]ecstypes.Task {
	t.Helper()
	all := map[string]ecstypes.Task{}
	for some := range slices.Chunk(tasks, 100) {
		in := &ecs.DescribeTasksInput{Cluster: awssdk.String("test"), Tasks: some}
		eventually(t, 3*time.Minute, func() error {
			out, err := c.DescribeTasks(t.Context(), in)
			if err != nil {
				return err
			}
			for _, v := range out.Tasks {
				if *v.LastStatus != status {
					return fmt.Errorf("%s is %s (%s), not %s", *v.TaskArn, *v.LastStatus, awssdk.ToString(v.StoppedReason), status)
				}
				all[*v.TaskArn] = v
			}
			return nil
		})
	}
	return all
}
