package ecs

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

func depends(on string, c types.ContainerCondition) types.ContainerDependency {
	return types.ContainerDependency{ContainerName: &on, Condition: c}
}

// with adds a container that isn't essential.
func with(name string, deps ...types.ContainerDependency) func(*ecs.RegisterTaskDefinitionInput) {
	return func(in *ecs.RegisterTaskDefinitionInput) {
		in.ContainerDefinitions = append(in.ContainerDefinitions, types.ContainerDefinition{Name: &name, Image: aws.String(name), Essential: aws.Bool(false), DependsOn: deps})
	}
}

func app(f func(*types.ContainerDefinition)) func(*ecs.RegisterTaskDefinitionInput) {
	return func(in *ecs.RegisterTaskDefinitionInput) { f(&in.ContainerDefinitions[0]) }
}

func check(change func(*types.HealthCheck)) func(*ecs.RegisterTaskDefinitionInput) {
	return app(func(c *types.ContainerDefinition) {
		c.HealthCheck = &types.HealthCheck{Command: []string{"CMD-SHELL", "true"}}
		change(c.HealthCheck)
	})
}

func restarting(change func(*types.ContainerRestartPolicy)) func(*ecs.RegisterTaskDefinitionInput) {
	return app(func(c *types.ContainerDefinition) {
		c.RestartPolicy = &types.ContainerRestartPolicy{Enabled: aws.Bool(true)}
		change(c.RestartPolicy)
	})
}

func TestRegister_RefusesLives(t *testing.T) {
	const command = "Invalid setting for container 'app'. The command of a health check starts with CMD or CMD-SHELL, and what to run follows."
	type change = func(*ecs.RegisterTaskDefinitionInput)
	on := func(name string, c types.ContainerCondition) change {
		return app(func(d *types.ContainerDefinition) { d.DependsOn = append(d.DependsOn, depends(name, c)) })
	}
	b := newBench(t)
	for name, tc := range map[string]struct {
		changes []change
		want    string
	}{
		"stopTimeout":         {[]change{app(func(c *types.ContainerDefinition) { c.StopTimeout = aws.Int32(121) })}, "Tasks using the Fargate launch type must have a container stop timeout of less than 120 seconds."},
		"no stopTimeout":      {[]change{app(func(c *types.ContainerDefinition) { c.StopTimeout = aws.Int32(1) })}, "Invalid setting for container 'app'. On Fargate 'stopTimeout' is between 2 and 120 seconds."},
		"startTimeout":        {[]change{app(func(c *types.ContainerDefinition) { c.StartTimeout = aws.Int32(1) })}, "Invalid setting for container 'app'. On Fargate 'startTimeout' is between 2 and 120 seconds."},
		"no command":          {[]change{check(func(h *types.HealthCheck) { h.Command = nil })}, command},
		"only CMD":            {[]change{check(func(h *types.HealthCheck) { h.Command = []string{"CMD"} })}, command},
		"neither":             {[]change{check(func(h *types.HealthCheck) { h.Command = []string{"curl", "localhost"} })}, command},
		"interval too short":  {[]change{check(func(h *types.HealthCheck) { h.Interval = aws.Int32(4) })}, "Invalid setting for container 'app'. 'healthCheck.interval' is between 5 and 300, not 4."},
		"interval too long":   {[]change{check(func(h *types.HealthCheck) { h.Interval = aws.Int32(301) })}, "Invalid setting for container 'app'. 'healthCheck.interval' is between 5 and 300, not 301."},
		"timeout":             {[]change{check(func(h *types.HealthCheck) { h.Timeout = aws.Int32(61) })}, "Invalid setting for container 'app'. 'healthCheck.timeout' is between 2 and 60, not 61."},
		"retries":             {[]change{check(func(h *types.HealthCheck) { h.Retries = aws.Int32(0) })}, "Invalid setting for container 'app'. 'healthCheck.retries' is between 1 and 10, not 0."},
		"startPeriod":         {[]change{check(func(h *types.HealthCheck) { h.StartPeriod = aws.Int32(-1) })}, "Invalid setting for container 'app'. 'healthCheck.startPeriod' is between 0 and 300, not -1."},
		"attempt period":      {[]change{restarting(func(p *types.ContainerRestartPolicy) { p.RestartAttemptPeriod = aws.Int32(59) })}, "Invalid setting for container 'app'. 'restartPolicy.restartAttemptPeriod' is between 60 and 1800 seconds, not 59."},
		"exit codes":          {[]change{restarting(func(p *types.ContainerRestartPolicy) { p.IgnoredExitCodes = make([]int32, 51) })}, "Invalid setting for container 'app'. A restart policy ignores at most 50 exit codes."},
		"unknown container":   {[]change{on("db", "START")}, "Cannot depend on container + 'db' because it does not exist"},
		"unknown condition":   {[]change{with("db"), on("db", "READY")}, "Invalid setting for container 'app'. The condition of a dependency is START, COMPLETE, SUCCESS or HEALTHY, not 'READY'."},
		"end of an essential": {[]change{with("side", depends("app", "SUCCESS"))}, "A dependency container with SUCCESS or COMPLETE condition cannot be an essential container"},
		"no health check":     {[]change{with("db"), on("db", "HEALTHY")}, "Invalid setting for container 'app'. It depends on container 'db' being HEALTHY, which has no health check."},
		"itself":              {[]change{on("app", "START")}, "Container dependencies should not have a cycle"},
		"a cycle":             {[]change{with("a", depends("b", "START")), with("b", depends("app", "START")), on("a", "START")}, "Container dependencies should not have a cycle"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := b.s.RegisterTaskDefinition(b.ctx, definition(tc.changes...))
			refused(t, err, "ClientException", tc.want)
		})
	}
	// What looks like a cycle and is none.
	b.register(with("a", depends("b", "START")), with("b"), on("a", "START"), on("b", "COMPLETE"))
}

func TestRegister_FillsInLives(t *testing.T) {
	b := newBench(t)
	b.register(check(func(*types.HealthCheck) {}), restarting(func(p *types.ContainerRestartPolicy) { p.IgnoredExitCodes = []int32{0} }))
	d := must(b.s.DescribeTaskDefinition(b.ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: aws.String("web")}))(t).TaskDefinition
	wantCheck := &types.HealthCheck{Command: []string{"CMD-SHELL", "true"}, Interval: aws.Int32(30), Timeout: aws.Int32(5), Retries: aws.Int32(3)}
	if d := cmp.Diff(wantCheck, d.ContainerDefinitions[0].HealthCheck, ignoreNoSmithy); d != "" {
		t.Error(d)
	}
	wantPolicy := &types.ContainerRestartPolicy{Enabled: aws.Bool(true), IgnoredExitCodes: []int32{0}, RestartAttemptPeriod: aws.Int32(300)}
	if d := cmp.Diff(wantPolicy, d.ContainerDefinitions[0].RestartPolicy, ignoreNoSmithy); d != "" {
		t.Error(d)
	}
	var attrs []string
	for _, a := range d.RequiresAttributes {
		attrs = append(attrs, *a.Name)
	}
	if got := strings.Join(attrs, " "); !strings.Contains(got, "container-health-check") || !strings.Contains(got, "container-restart-policy") {
		t.Errorf("attributes: %s", got)
	}
}

func TestDescribeTasks_Health(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register(with("side"))
	task := must(b.runTask())(t).Tasks[0]
	if task.HealthStatus != "UNKNOWN" || task.Containers[0].HealthStatus != "UNKNOWN" {
		t.Errorf("a new task: %s, %s", task.HealthStatus, task.Containers[0].HealthStatus)
	}
	b.update(func(tx *store.WriteTx) error {
		st := state.TaskStatus{LastStatus: "RUNNING", Containers: []state.ContainerStatus{
			{Name: "app", Essential: true, Health: state.ContainerHealth{Status: state.Healthy}}, {Name: "side", Health: state.ContainerHealth{Status: state.Unhealthy, ExitCode: 7, Output: "connection refused\n"}}}}
		return state.TaskStatuses.Put(tx, &store.Object[state.TaskStatus]{Key: keyOf(task), Val: st})
	})
	v := must(b.s.DescribeTasks(b.ctx, &ecs.DescribeTasksInput{Tasks: []string{*task.TaskArn}}))(t).Tasks[0]
	if v.HealthStatus != "HEALTHY" || v.Containers[0].HealthStatus != "HEALTHY" || v.Containers[1].HealthStatus != "UNHEALTHY" {
		t.Errorf("task %s, containers %s %s", v.HealthStatus, v.Containers[0].HealthStatus, v.Containers[1].HealthStatus)
	}
	if got, want := aws.ToString(v.Containers[1].Reason), "The health check failed with exit code 7: connection refused"; got != want || v.Containers[0].Reason != nil {
		t.Errorf("reason %q, want %q", got, want)
	}
}
