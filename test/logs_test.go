package test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/test/server"
)

// flood writes numbered lines of 100 bytes at 10 MB/s for as long as its argument says, and says at
// last how long its longest write took.
const flood = `package main

import ("bufio"; "fmt"; "os"; "strings"; "time")

func main() {
	d, _ := time.ParseDuration(os.Args[1])
	w := bufio.NewWriterSize(os.Stdout, 10000)
	pad := strings.Repeat("x", 90)
	var longest time.Duration
	begin := time.Now()
	n := 0
	for ; time.Since(begin) < d; n += 100 {
		for i := range 100 { fmt.Fprintf(w, "%09d%s\n", n+i, pad) }
		t := time.Now()
		w.Flush()
		longest = max(longest, time.Since(t))
		time.Sleep(time.Until(begin.Add(time.Duration(n+100) * 10 * time.Microsecond)))
	}
	fmt.Printf("%d lines, longest write %d ms\n", n, longest.Milliseconds())
}
`

// What a container writes while the server is away is neither lost nor held up.
func TestLogsWhileTheServerIsAway(t *testing.T) {
	away := 5 * time.Second
	if os.Getenv("LOTSE_SOAK") != "" {
		away = 30 * time.Second
	}
	s := start(t)
	dir := t.TempDir()
	write(t, dir, "main.go", flood)
	write(t, dir, "go.mod", "module flood\n\ngo 1.26\n")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", "flood", ".")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lotse(t, s, "image", "import", "example.com/flood:1", imageOf(t, filepath.Join(dir, "flood"), map[string]any{"Entrypoint": []string{"/flood"}}))
	task := runTask(t, s, "example.com/flood:1", (away + 2*time.Second).String())
	time.Sleep(500 * time.Millisecond)
	s.Kill()
	time.Sleep(away)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	stopped(t, s, task)

	logs := cloudwatchlogs.NewFromConfig(s.Config())
	in := &cloudwatchlogs.GetLogEventsInput{LogGroupName: awssdk.String("/test"), LogStreamName: awssdk.String("t/main/" + task[strings.LastIndex(task, "/")+1:]), StartFromHead: awssdk.Bool(true)}
	next, last := 0, ""
	for {
		out, err := logs.GetLogEvents(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range out.Events {
			last = *e.Message
			if strings.HasSuffix(last, "x") {
				if want := fmt.Sprintf("%09d", next); !strings.HasPrefix(last, want) {
					t.Fatalf("line %s comes after %09d", last[:9], next-1)
				}
				next++
			}
		}
		if awssdk.ToString(out.NextForwardToken) == awssdk.ToString(in.NextToken) {
			break
		}
		in.NextToken = out.NextForwardToken
	}
	t.Log(last)
	if want := fmt.Sprintf("%d lines", next); next == 0 || !strings.HasPrefix(last, want) {
		t.Errorf("%d lines were kept; the container says %q", next, last)
	}
}

// Options of awslogs act: a stack trace is one event, and a filter pattern finds it by its members.
func TestLogOptions(t *testing.T) {
	s := start(t)
	dir := t.TempDir()
	write(t, dir, "main.go", `package main

import "time"

func main() {
	println("2026-11-23 first\n  at a\n  at b")
	println("2026-11-24 {\"x\":1}\n\n  at c")
	time.Sleep(2 * time.Second)
}
`)
	write(t, dir, "go.mod", "module say\n\ngo 1.26\n")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", "say", ".")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lotse(t, s, "image", "import", "example.com/say:1", imageOf(t, filepath.Join(dir, "say"), map[string]any{"Entrypoint": []string{"/say"}}))
	task := runContainer(t, s, ecstypes.ContainerDefinition{Image: awssdk.String("example.com/say:1"),
		LogConfiguration: &ecstypes.LogConfiguration{Options: map[string]string{"awslogs-datetime-format": "%Y-%m-%d", "mode": "non-blocking", "max-buffer-size": "2m"}}})
	stopped(t, s, task)
	for pattern, want := range map[string][]string{
		"":                      {"2026-11-23 first\n  at a\n  at b", "2026-11-24 {\"x\":1}\n\n  at c"},
		"[day=2026-11-24, ...]": {"2026-11-24 {\"x\":1}\n\n  at c"},
		"%at [ab]%":             {"2026-11-23 first\n  at a\n  at b"},
		"{ $.x = 1 }":           nil,
	} {
		var got []string
		var out struct{ Events []struct{ Message string } }
		if err := json.Unmarshal([]byte(aws(t, s, "logs", "filter-log-events", "--log-group-name", "/test", "--filter-pattern", pattern, "--output", "json")), &out); err != nil {
			t.Fatal(err)
		}
		for _, e := range out.Events {
			got = append(got, e.Message)
		}
		if !slices.Equal(got, want) {
			t.Errorf("events of %q: %q, want %q", pattern, got, want)
		}
	}
}

// runTask registers a definition of one container, in a log group /test, and runs it once.
func runTask(t *testing.T, s *server.Server, image string, command ...string) string {
	t.Helper()
	return runContainer(t, s, ecstypes.ContainerDefinition{Image: &image, Command: command})
}

func runContainer(t *testing.T, s *server.Server, def ecstypes.ContainerDefinition) string {
	t.Helper()
	return runContainerAs(t, s, "", def)
}

// runContainerAs is runContainer with a task role.
func runContainerAs(t *testing.T, s *server.Server, role string, def ecstypes.ContainerDefinition) string {
	t.Helper()
	def.Name, def.Essential = awssdk.String("main"), awssdk.Bool(true)
	options := map[string]string{"awslogs-group": "/test", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "t"}
	if def.LogConfiguration != nil {
		maps.Copy(options, def.LogConfiguration.Options)
	}
	def.LogConfiguration = &ecstypes.LogConfiguration{LogDriver: ecstypes.LogDriverAwslogs, Options: options}
	aws(t, s, "iam", "create-role", "--role-name", "execution", "--assume-role-policy-document",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)
	aws(t, s, "logs", "create-log-group", "--log-group-name", "/test")
	aws(t, s, "ecs", "create-cluster", "--cluster-name", "test")
	c := ecs.NewFromConfig(s.Config())
	_, err := c.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{Family: awssdk.String("t"), NetworkMode: ecstypes.NetworkModeAwsvpc,
		RequiresCompatibilities: []ecstypes.Compatibility{ecstypes.CompatibilityFargate}, Cpu: awssdk.String("1024"), Memory: awssdk.String("2048"),
		ExecutionRoleArn:     awssdk.String("arn:aws:iam::000000000000:role/execution"),
		TaskRoleArn:          awssdk.String(role),
		ContainerDefinitions: []ecstypes.ContainerDefinition{def}})
	if err != nil {
		t.Fatal(err)
	}
	subnets, err := ec2.NewFromConfig(s.Config()).DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{})
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.RunTask(t.Context(), &ecs.RunTaskInput{Cluster: awssdk.String("test"), TaskDefinition: awssdk.String("t"), LaunchType: ecstypes.LaunchTypeFargate,
		NetworkConfiguration: &ecstypes.NetworkConfiguration{AwsvpcConfiguration: &ecstypes.AwsVpcConfiguration{Subnets: []string{*subnets.Subnets[0].SubnetId}}}})
	if err != nil {
		t.Fatal(err)
	}
	d := &ecs.DescribeTasksInput{Cluster: awssdk.String("test"), Tasks: []string{*out.Tasks[0].TaskArn}}
	if err := ecs.NewTasksRunningWaiter(c, func(o *ecs.TasksRunningWaiterOptions) { o.MinDelay = 50 * time.Millisecond }).Wait(t.Context(), d, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	return d.Tasks[0]
}

func stopped(t *testing.T, s *server.Server, task string) ecstypes.Task {
	t.Helper()
	c := ecs.NewFromConfig(s.Config())
	d := &ecs.DescribeTasksInput{Cluster: awssdk.String("test"), Tasks: []string{task}}
	if err := ecs.NewTasksStoppedWaiter(c, func(o *ecs.TasksStoppedWaiterOptions) { o.MinDelay = 100 * time.Millisecond }).Wait(t.Context(), d, time.Minute); err != nil {
		t.Fatal(err)
	}
	out, err := c.DescribeTasks(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return out.Tasks[0]
}
