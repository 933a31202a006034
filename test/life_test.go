package test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/test/server"
)

// lifeProgram is well as long as /tmp/well is there. "serve N" is well after a moment, for N seconds (0: for ever);
// "exit AFTER CODE" ends; "check" tells whether it is well; "again AFTER" ends with 1 after so many seconds the first time
// it runs, and with 40 and the RestartCount of its metadata the second.
const lifeProgram = `package main

import (
	"encoding/json"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	n := func(i int) int { v, _ := strconv.Atoi(os.Args[i]); return v }
	switch os.Args[1] {
	case "check":
		if _, err := os.Stat("/tmp/well"); err != nil {
			println("not well")
			os.Exit(1)
		}
	case "exit":
		time.Sleep(time.Duration(n(2)) * time.Second)
		os.Exit(n(3))
	case "again":
		if _, err := os.Stat("/ran"); err == nil {
			var meta struct{ RestartCount int }
			for range 100 { // what happened just now is told a moment later
				resp, err := http.Get(os.Getenv("ECS_CONTAINER_METADATA_URI_V4"))
				if err != nil {
					println(err.Error())
				} else if json.NewDecoder(resp.Body).Decode(&meta); meta.RestartCount > 0 {
					break
				}
				time.Sleep(100 * time.Millisecond)
			}
			os.Exit(40 + meta.RestartCount)
		}
		os.WriteFile("/ran", nil, 0o666)
		time.Sleep(time.Duration(n(2)) * time.Second)
		os.Exit(1)
	case "serve":
		ch := make(chan os.Signal, 1)
		signal.Notify(ch, syscall.SIGTERM)
		time.Sleep(300 * time.Millisecond)
		os.Mkdir("/tmp", 0o777)
		os.WriteFile("/tmp/well", nil, 0o666)
		if n(2) > 0 {
			time.AfterFunc(time.Duration(n(2))*time.Second, func() { os.Remove("/tmp/well") })
		}
		<-ch
	}
}
`

// lives has a server with the program's image and a task definition for every name, whose containers run it.
func lives(t *testing.T, s *server.Server, definitions map[string][]ecstypes.ContainerDefinition) (*ecs.Client, *ecstypes.NetworkConfiguration) {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "main.go", lifeProgram)
	write(t, dir, "go.mod", "module life\n\ngo 1.26\n")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", "life", ".")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lotse(t, s, "image", "import", "example.com/life:1", imageOf(t, filepath.Join(dir, "life"), map[string]any{"Entrypoint": []string{"/life"}}))
	c := ecs.NewFromConfig(s.Config())
	if _, err := c.CreateCluster(t.Context(), &ecs.CreateClusterInput{ClusterName: awssdk.String("test")}); err != nil {
		t.Fatal(err)
	}
	for name, containers := range definitions {
		for i := range containers {
			containers[i].Image = awssdk.String("example.com/life:1")
		}
		_, err := c.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{Family: &name, NetworkMode: ecstypes.NetworkModeAwsvpc, Cpu: awssdk.String("256"), Memory: awssdk.String("512"),
			RequiresCompatibilities: []ecstypes.Compatibility{ecstypes.CompatibilityFargate}, ContainerDefinitions: containers})
		if err != nil {
			t.Fatal(err)
		}
	}
	subnets, err := ec2.NewFromConfig(s.Config()).DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{})
	if err != nil {
		t.Fatal(err)
	}
	return c, &ecstypes.NetworkConfiguration{AwsvpcConfiguration: &ecstypes.AwsVpcConfiguration{Subnets: []string{*subnets.Subnets[0].SubnetId}}}
}

func runs(name string, command ...string) ecstypes.ContainerDefinition {
	return ecstypes.ContainerDefinition{Name: &name, Command: command, StopTimeout: awssdk.Int32(5)}
}

func wellCheck() *ecstypes.HealthCheck {
	return &ecstypes.HealthCheck{Command: []string{"CMD", "/life", "check"}, Interval: awssdk.Int32(5), Timeout: awssdk.Int32(5), Retries: awssdk.Int32(1)}
}

func dependsOn(name string, c ecstypes.ContainerCondition) ecstypes.ContainerDependency {
	return ecstypes.ContainerDependency{ContainerName: &name, Condition: c}
}

// launch runs a task of a definition and returns its ARN.
func launch(t *testing.T, c *ecs.Client, network *ecstypes.NetworkConfiguration, definition string) string {
	t.Helper()
	out, err := c.RunTask(t.Context(), &ecs.RunTaskInput{Cluster: awssdk.String("test"), TaskDefinition: &definition, LaunchType: ecstypes.LaunchTypeFargate, NetworkConfiguration: network})
	if err != nil {
		t.Fatal(err)
	}
	return *out.Tasks[0].TaskArn
}

// await describes a task until it is as wanted.
func await(t *testing.T, c *ecs.Client, task, what string, ok func(ecstypes.Task) bool) (v ecstypes.Task) {
	t.Helper()
	eventually(t, time.Minute, func() error {
		out, err := c.DescribeTasks(t.Context(), &ecs.DescribeTasksInput{Cluster: awssdk.String("test"), Tasks: []string{task}})
		if err != nil {
			return err
		}
		if v = out.Tasks[0]; ok(v) {
			return nil
		}
		return fmt.Errorf("%s: %s, %s, stopped because of %q; %s", what, *v.LastStatus, v.HealthStatus, awssdk.ToString(v.StoppedReason), containers(v))
	})
	return v
}

func containers(v ecstypes.Task) string {
	var b strings.Builder
	for _, c := range v.Containers {
		fmt.Fprintf(&b, "%s %s %s", *c.Name, *c.LastStatus, c.HealthStatus)
		if c.ExitCode != nil {
			fmt.Fprintf(&b, " exit %d", *c.ExitCode)
		}
		b.WriteString("; ")
	}
	return b.String()
}

// ordered are three containers: db, which must be healthy, and migrate, which must succeed, before app starts.
func ordered() []ecstypes.ContainerDefinition {
	migrate, db, app := runs("migrate", "exit", "0", "0"), runs("db", "serve", "0"), runs("app", "serve", "0")
	migrate.Essential = awssdk.Bool(false)
	migrate.DependsOn = []ecstypes.ContainerDependency{dependsOn("db", "START")}
	db.HealthCheck, app.HealthCheck = wellCheck(), wellCheck()
	app.DependsOn = []ecstypes.ContainerDependency{dependsOn("db", "HEALTHY"), dependsOn("migrate", "SUCCESS")}
	return []ecstypes.ContainerDefinition{app, migrate, db}
}

// A task's containers start in the order of their dependencies; one that must be healthy is, and stays so while the server
// is away; one that fails keeps the others from starting.
func TestContainerLives(t *testing.T) {
	s := start(t)
	failing := runs("migrate", "exit", "0", "3")
	failing.Essential = awssdk.Bool(false)
	blocked := runs("app", "serve", "0")
	blocked.DependsOn = []ecstypes.ContainerDependency{dependsOn("migrate", "SUCCESS")}
	c, network := lives(t, s, map[string][]ecstypes.ContainerDefinition{"good": ordered(), "bad": {blocked, failing}})
	good := launch(t, c, network, "good")
	running := await(t, c, good, "runs", func(v ecstypes.Task) bool { return *v.LastStatus == "RUNNING" && v.HealthStatus == "HEALTHY" })
	if got := containers(running); got != "app RUNNING HEALTHY; migrate STOPPED UNKNOWN exit 0; db RUNNING HEALTHY; " {
		t.Errorf("containers: %s", got)
	}
	t.Logf("three containers in order: RUNNING %s after the task was made", running.StartedAt.Sub(*running.CreatedAt))
	bad := await(t, c, launch(t, c, network, "bad"), "stops", func(v ecstypes.Task) bool { return *v.LastStatus == "STOPPED" })
	if *bad.StoppedReason != "Task failed to start" || bad.StopCode != "TaskFailedToStart" || bad.StartedAt != nil || *bad.Containers[0].ExitCode != 143 ||
		!strings.HasPrefix(*bad.Containers[0].Reason, "CannotStartContainerError: dependency graph: ") {
		t.Errorf("%s %s, %s", bad.StopCode, *bad.StoppedReason, awssdk.ToString(bad.Containers[0].Reason))
	}
	s.Kill()
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	c = ecs.NewFromConfig(s.Config())
	for range 20 { // checks go on, and none is mistaken for a failure
		v := await(t, c, good, "runs on", func(ecstypes.Task) bool { return true })
		if v.HealthStatus != "HEALTHY" || !v.StartedAt.Equal(*running.StartedAt) {
			t.Fatalf("after the server was away: %s, started %v", v.HealthStatus, v.StartedAt)
		}
	}
	if _, err := c.StopTask(t.Context(), &ecs.StopTaskInput{Cluster: awssdk.String("test"), Task: &good}); err != nil {
		t.Fatal(err)
	}
	v := await(t, c, good, "stops", func(v ecstypes.Task) bool { return *v.LastStatus == "STOPPED" })
	if got := containers(v); got != "app STOPPED HEALTHY exit 0; migrate STOPPED UNKNOWN exit 0; db STOPPED HEALTHY exit 0; " || *v.StoppedReason != "Task stopped by user" {
		t.Errorf("stopped: %s because of %s", got, *v.StoppedReason)
	}
	at := []*time.Time{v.CreatedAt, v.ConnectivityAt, v.PullStartedAt, v.PullStoppedAt, v.StartedAt, v.StoppingAt, v.ExecutionStoppedAt, v.StoppedAt}
	for i, when := range at {
		if when == nil || i > 0 && when.Before(*at[i-1]) {
			t.Errorf("the eight times are not in order: %v", at)
			break
		}
	}
}

// A service replaces a task whose container becomes unhealthy; its rollout waited for the container's health.
func TestContainerHealth_Service(t *testing.T) {
	s := start(t)
	app := runs("app", "serve", "8")
	app.HealthCheck = wellCheck()
	c, network := lives(t, s, map[string][]ecstypes.ContainerDefinition{"web": {app}})
	_, err := c.CreateService(t.Context(), &ecs.CreateServiceInput{Cluster: awssdk.String("test"), ServiceName: awssdk.String("web"), TaskDefinition: awssdk.String("web"), DesiredCount: awssdk.Int32(1),
		LaunchType: ecstypes.LaunchTypeFargate, NetworkConfiguration: network})
	if err != nil {
		t.Fatal(err)
	}
	var task string
	eventually(t, time.Minute, func() error {
		tasks, err := c.ListTasks(t.Context(), &ecs.ListTasksInput{Cluster: awssdk.String("test")})
		if err != nil || len(tasks.TaskArns) == 0 {
			return fmt.Errorf("%v, %v", tasks, err)
		}
		task = tasks.TaskArns[0]
		return nil
	})
	await(t, c, task, "becomes healthy", func(v ecstypes.Task) bool { return v.HealthStatus == "HEALTHY" })
	v := await(t, c, task, "is replaced", func(v ecstypes.Task) bool { return *v.LastStatus == "STOPPED" })
	if v.StopCode != "ServiceSchedulerInitiated" || *v.StoppedReason != "Task failed container health checks" || v.HealthStatus != "UNHEALTHY" {
		t.Errorf("%s %s, %s", v.StopCode, *v.StoppedReason, v.HealthStatus)
	}
	out, err := c.DescribeServices(t.Context(), &ecs.DescribeServicesInput{Cluster: awssdk.String("test"), Services: []string{"web"}})
	if err != nil {
		t.Fatal(err)
	}
	var events []string
	for _, e := range out.Services[0].Events {
		events = append(events, *e.Message)
	}
	id := task[strings.LastIndexByte(task, '/')+1:]
	if all := strings.Join(events, "\n"); !strings.Contains(all, "(service web) (task "+id+") failed container health checks.") || !strings.Contains(all, "has reached a steady state.") {
		t.Errorf("events:\n%s", all)
	}
}

// The server is killed at each point of the life of a task with dependencies and a health check, and comes back: the task
// comes to the same end and nothing is left over. Meanwhile a container of another task runs again in place, as its restart
// policy wants it after a minute at the earliest; its metadata says how often, and its task runs on.
func TestKilledDuringLives(t *testing.T) {
	s := start(t)
	main, side := runs("main", "serve", "0"), runs("side", "again", "61")
	side.Essential = awssdk.Bool(false)
	side.RestartPolicy = &ecstypes.ContainerRestartPolicy{Enabled: awssdk.Bool(true), RestartAttemptPeriod: awssdk.Int32(60)}
	c, network := lives(t, s, map[string][]ecstypes.ContainerDefinition{"good": ordered(), "again": {main, side}})
	again := launch(t, c, network, "again")
	await(t, c, again, "runs", func(v ecstypes.Task) bool { return *v.LastStatus == "RUNNING" })
	var points []string
	for _, p := range []string{"start:before", "start:before#2", "start:before#3", "start:started", "start:started#2", "start:started#3", "start:after", "start:after#2", "observe:before", "observe:after",
		"health:before", "health:after", "stop:before", "stop:before#2", "stop:signalled", "stop:signalled#2", "stop:after"} {
		points = append(points, "task."+p)
	}
	for _, point := range points {
		s.Kill()
		s.Env = []string{"LOTSE_FAULT=" + point}
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		c = ecs.NewFromConfig(s.Config())
		task := launch(t, c, network, "good")
		if strings.Contains(point, "stop") {
			await(t, c, task, point+": runs", func(v ecstypes.Task) bool { return *v.LastStatus == "RUNNING" && v.HealthStatus == "HEALTHY" })
			_, _ = c.StopTask(t.Context(), &ecs.StopTaskInput{Cluster: awssdk.String("test"), Task: &task})
		}
		died, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := s.Died(died); err != nil {
			t.Fatalf("%s was never reached", point)
		}
		cancel()
		s.Env = nil
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		c = ecs.NewFromConfig(s.Config())
		if !strings.Contains(point, "stop") {
			v := await(t, c, task, point+": runs", func(v ecstypes.Task) bool { return *v.LastStatus == "RUNNING" && v.HealthStatus == "HEALTHY" })
			if got := containers(v); got != "app RUNNING HEALTHY; migrate STOPPED UNKNOWN exit 0; db RUNNING HEALTHY; " {
				t.Errorf("%s: containers: %s", point, got)
			}
			if _, err := c.StopTask(t.Context(), &ecs.StopTaskInput{Cluster: awssdk.String("test"), Task: &task}); err != nil {
				t.Fatal(err)
			}
		}
		v := await(t, c, task, point+": stops", func(v ecstypes.Task) bool { return *v.LastStatus == "STOPPED" })
		if got := containers(v); got != "app STOPPED HEALTHY exit 0; migrate STOPPED UNKNOWN exit 0; db STOPPED HEALTHY exit 0; " || v.StopCode != "UserInitiated" {
			t.Errorf("%s: %s, %s", point, v.StopCode, got)
		}
		if left := leftOf(s, task); len(left) > 0 {
			t.Errorf("%s: left over: %v", point, left)
		}
	}
	c = ecs.NewFromConfig(s.Config())
	v := await(t, c, again, "runs again", func(v ecstypes.Task) bool { return *v.Containers[1].LastStatus == "STOPPED" })
	if got := containers(v); got != "main RUNNING UNKNOWN; side STOPPED UNKNOWN exit 41; " || *v.LastStatus != "RUNNING" {
		t.Errorf("restarted: %s: %s", *v.LastStatus, got)
	}
	if _, err := c.StopTask(t.Context(), &ecs.StopTaskInput{Cluster: awssdk.String("test"), Task: &again}); err != nil {
		t.Fatal(err)
	}
	await(t, c, again, "stops", func(v ecstypes.Task) bool { return *v.LastStatus == "STOPPED" })
	if left := leftOf(s, ""); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// leftOf is what the machine has of a task's containers, or with "" of all.
func leftOf(s *server.Server, task string) []string {
	name := task[strings.LastIndexByte(task, '/')+1:] + "*"
	bundles, _ := filepath.Glob("/run/lotse/*/containerd/io.containerd.runtime.v2.task/lotse-" + id(s) + "/" + name)
	files, _ := filepath.Glob("/run/lotse/" + id(s) + "/tasks/" + name)
	return append(bundles, files...)
}
