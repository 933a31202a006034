package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/test/load"
	"github.com/lotse-project/lotse/test/server"
)

const benchCluster = "lotse-local"

// BenchmarkUp is `lotse up` of source that has not changed, from the start of the command to its
// end, after which the URL has answered. The service's two tasks run.
func BenchmarkUp(b *testing.B) {
	s, dir := benchApp(b)
	b.Run("unchanged", func(b *testing.B) {
		var took samples
		for b.Loop() {
			took.add(benchCommand(b, s, "up", dir))
		}
		took.report(b, "up", "s")
	})
	b.Run("builder-stopped", func(b *testing.B) {
		var took samples
		for b.Loop() {
			p := pidFile(s, "buildkitd")
			_ = syscall.Kill(p, syscall.SIGTERM)
			until(b, "the builder ends", func() (bool, error) { return errors.Is(syscall.Kill(p, 0), syscall.ESRCH), nil })
			took.add(benchCommand(b, s, "up", dir))
		}
		took.report(b, "up", "s")
	})
}

// BenchmarkTask is from the call of RunTask until DescribeTasks, asked every 5 ms, says RUNNING, of
// an image that is on the machine; and from the call of StopTask to STOPPED.
func BenchmarkTask(b *testing.B) {
	s, _ := benchApp(b)
	c := newBenchService(b, s)
	var running, stopped samples
	for b.Loop() {
		began := time.Now()
		task := c.runTask(b, c.network)
		c.awaitTasks(b, "RUNNING", task)
		running.add(time.Since(began))
		time.Sleep(100 * time.Millisecond)
		began = time.Now()
		c.stopTasks(b, task)
		stopped.add(time.Since(began))
	}
	running.report(b, "running", "s")
	stopped.report(b, "stopped", "s")
}

// BenchmarkUpdate is a rolling update of two tasks: from the call of UpdateService until all old
// tasks are STOPPED, and until the deployment is COMPLETED, idle and at 600 requests per second.
func BenchmarkUpdate(b *testing.B) {
	s, dir := benchApp(b)
	if err := os.WriteFile(filepath.Join(dir, "VERSION"), []byte("v2\n"), 0o644); err != nil {
		b.Fatal(err)
	}
	benchCommand(b, s, "deploy", dir)
	c := newBenchService(b, s)
	revision := 2
	updates := func(b *testing.B) {
		var running, stopped, completed samples
		for b.Loop() {
			revision = 3 - revision
			r, s, c := c.update(b, fmt.Sprintf("hello:%d", revision))
			running.add(r)
			stopped.add(s)
			completed.add(c)
			time.Sleep(200 * time.Millisecond)
		}
		running.report(b, "new-running", "s")
		stopped.report(b, "old-stopped", "s")
		completed.report(b, "completed", "s")
	}
	b.Run("idle", updates)
	b.Run("traffic", func(b *testing.B) {
		ctx, stop := context.WithCancel(b.Context())
		done := make(chan load.Summary, 1)
		go func() {
			sum, _ := load.Run(ctx, load.Options{URL: "http://" + s.Front + "/", Host: "hello.localhost", Rate: 600})
			done <- sum
		}()
		updates(b)
		stop()
		sum := <-done
		b.ReportMetric(float64(sum.Failed), "failed")
		b.ReportMetric(float64(sum.Sent), "requests")
		b.ReportMetric(sum.P99.Seconds()*1000, "request-p99-ms")
		if sum.Failed > 0 {
			b.Errorf("%d of %d requests failed: %s", sum.Failed, sum.Sent, strings.Join(sum.Errors, "; "))
		}
	})
}

// BenchmarkRollout is a rolling update of services of several sizes, idle, until the deployment is COMPLETED: minimum 100 %,
// maximum 200 %, so that for a moment there are twice as many tasks.
func BenchmarkRollout(b *testing.B) {
	s, dir := benchApp(b, "--task-memory", "200000")
	if err := os.WriteFile(filepath.Join(dir, "VERSION"), []byte("v2\n"), 0o644); err != nil {
		b.Fatal(err)
	}
	benchCommand(b, s, "deploy", dir)
	c := newBenchService(b, s)
	revision := 2
	for _, n := range []int32{2, 10, 50} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			if _, err := c.UpdateService(b.Context(), &ecs.UpdateServiceInput{Cluster: sdk.String(benchCluster), Service: sdk.String("hello"), DesiredCount: &n}); err != nil {
				b.Fatal(err)
			}
			until(b, "the service is scaled", func() (bool, error) {
				s := c.describe(b)
				return s.RunningCount == n && s.Events[0].CreatedAt.After(*s.Deployments[0].CreatedAt) && strings.HasSuffix(*s.Events[0].Message, "steady state."), nil
			})
			server := []int{pidFile(s, "server")}
			var completed, processor samples
			for b.Loop() {
				revision = 3 - revision
				before := cpuOf(server)
				_, _, took := c.update(b, fmt.Sprintf("hello:%d", revision))
				completed.add(took)
				processor.add(cpuOf(server) - before)
			}
			completed.report(b, "completed", "s")
			processor.report(b, "server", "cpu-s")
		})
	}
}

// Private

// A benchService is the example's service as the SDK's client sees it.
type benchService struct {
	*ecs.Client
	network *types.NetworkConfiguration
}

func newBenchService(b *testing.B, s *server.Server) *benchService {
	b.Helper()
	c := &benchService{Client: ecs.NewFromConfig(s.Config())}
	c.network = c.describe(b).NetworkConfiguration
	return c
}

func (c *benchService) describe(b *testing.B) types.Service {
	b.Helper()
	out, err := c.DescribeServices(b.Context(), &ecs.DescribeServicesInput{Cluster: sdk.String(benchCluster), Services: []string{"hello"}})
	if err != nil {
		b.Fatal(err)
	}
	return out.Services[0]
}

// runTask starts one task more of the service's revision and returns its ARN.
func (c *benchService) runTask(b *testing.B, network *types.NetworkConfiguration) string {
	b.Helper()
	out, err := c.RunTask(b.Context(), &ecs.RunTaskInput{Cluster: sdk.String(benchCluster), TaskDefinition: sdk.String("hello"), LaunchType: types.LaunchTypeFargate, NetworkConfiguration: network})
	if err != nil {
		b.Fatal(err)
	}
	if len(out.Failures) > 0 {
		b.Fatal(sdk.ToString(out.Failures[0].Reason))
	}
	return *out.Tasks[0].TaskArn
}

// stopTasks stops tasks and waits until they are STOPPED.
func (c *benchService) stopTasks(b *testing.B, tasks ...string) {
	b.Helper()
	for _, t := range tasks {
		if _, err := c.StopTask(b.Context(), &ecs.StopTaskInput{Cluster: sdk.String(benchCluster), Task: &t}); err != nil {
			b.Fatal(err)
		}
	}
	c.awaitTasks(b, "STOPPED", tasks...)
}

func (c *benchService) awaitTasks(b *testing.B, status string, tasks ...string) {
	b.Helper()
	until(b, strings.Join(tasks, ", ")+" "+status, func() (bool, error) { return c.all(b, status, tasks) })
}

func (c *benchService) all(b *testing.B, status string, tasks []string) (bool, error) {
	out, err := c.DescribeTasks(b.Context(), &ecs.DescribeTasksInput{Cluster: sdk.String(benchCluster), Tasks: tasks})
	if err != nil {
		return false, err
	}
	for _, t := range out.Tasks {
		if sdk.ToString(t.LastStatus) != status {
			return false, nil
		}
	}
	return true, nil
}

// update deploys a revision and returns the times until all new tasks run, until all old ones
// are stopped, and until the deployment is completed.
func (c *benchService) update(b *testing.B, revision string) (running, stopped, completed time.Duration) {
	b.Helper()
	old, err := c.ListTasks(b.Context(), &ecs.ListTasksInput{Cluster: sdk.String(benchCluster), ServiceName: sdk.String("hello")})
	n := c.describe(b).DesiredCount
	if err != nil || len(old.TaskArns) != int(n) {
		b.Fatalf("%d tasks, want %d: %v", len(old.TaskArns), n, err)
	}
	began := time.Now()
	if _, err := c.UpdateService(b.Context(), &ecs.UpdateServiceInput{Cluster: sdk.String(benchCluster), Service: sdk.String("hello"), TaskDefinition: &revision}); err != nil {
		b.Fatal(err)
	}
	until(b, "update to "+revision, func() (bool, error) {
		s := c.describe(b)
		for _, d := range s.Deployments {
			if sdk.ToString(d.Status) != "PRIMARY" {
				continue
			}
			if running == 0 && d.RunningCount == n {
				running = time.Since(began)
			}
			if completed == 0 && d.RolloutState == types.DeploymentRolloutStateCompleted {
				completed = time.Since(began)
			}
		}
		if stopped == 0 {
			gone, err := c.all(b, "STOPPED", old.TaskArns)
			if err != nil {
				return false, err
			}
			if gone {
				stopped = time.Since(began)
			}
		}
		return completed > 0 && stopped > 0, nil
	})
	return running, stopped, completed
}
