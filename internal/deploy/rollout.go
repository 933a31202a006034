package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/google/uuid"
)

// A Rollout is how a deployment stands.
type Rollout struct {
	Revision      string // FAMILY:REVISION that is to serve
	Desired       int
	New, Old      Side
	Healthy       int // healthy targets of the new revision
	State, Reason string
	NotPlaced     string        // the event that says that tasks found no room; "" if there is none
	Left          time.Duration // until the deadline
}

// A Side is the tasks of the new revision or of all older ones.
type Side struct{ Pending, Running, Stopping, Failed int }

// await polls until our deployment is done: it has completed, and enough targets of its own
// revision are healthy. Success after a rollback, or of somebody else's deployment, is none.
func (w *Workflow) await(ctx context.Context, revision, deployment, targetGroup string) (Rollout, error) {
	limit := w.App.Deployment.Timeout.or(defaultTimeout)
	deadline := time.Now().Add(limit)
	pause := 50 * time.Millisecond
	for {
		r, done, err := w.look(ctx, revision, deployment, targetGroup)
		if err != nil {
			return r, err
		}
		r.Left = time.Until(deadline)
		w.Report.Rollout(r)
		if done {
			return r, nil
		}
		if r.Left <= 0 {
			f := &Failure{Exit: ExitDeadline, Cause: fmt.Sprintf("After %s the deployment %s is still running: %s", limit, deployment, r.waitsFor()),
				Fix: "It goes on by itself; lotse status shows it."}
			if r.NotPlaced != "" {
				f.Known = append(f.Known, r.NotPlaced)
			}
			return r, f
		}
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-time.After(pause):
		}
		if !w.App.Lotse {
			pause = 3 * time.Second
		} else if pause < 200*time.Millisecond {
			pause += 10 * time.Millisecond
		}
	}
}

// look takes one picture.
func (w *Workflow) look(ctx context.Context, revision, deployment, targetGroup string) (Rollout, bool, error) {
	a := w.App
	r := Rollout{Revision: short(revision)}
	out, err := w.ECS.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: aws.String(a.Cluster()), Services: []string{a.Service()}})
	if err != nil {
		return r, false, &Failure{Exit: ExitLost, Cause: "Lost contact while waiting: how it ended is not known.", Fix: "lotse status", Err: err}
	}
	if len(out.Services) == 0 {
		return r, false, &Failure{Exit: ExitFailed, Cause: "The service is gone."}
	}
	s := out.Services[0]
	r.Desired = int(s.DesiredCount)
	var ours *ecstypes.Deployment
	for _, d := range s.Deployments {
		if aws.ToString(d.Id) == deployment {
			ours = &d
			r.New = Side{Pending: int(d.PendingCount), Running: int(d.RunningCount), Failed: int(d.FailedTasks)}
			r.State, r.Reason = string(d.RolloutState), aws.ToString(d.RolloutStateReason)
		} else {
			r.Old.Pending += int(d.PendingCount)
			r.Old.Running += int(d.RunningCount)
		}
	}
	if r.State == string(ecstypes.DeploymentRolloutStateFailed) {
		return r, false, w.failure(ctx, s, deployment)
	}
	if p := primaryID(&s); p != deployment {
		return r, false, w.superseded(ctx, s, deployment, p)
	}
	if ours != nil && r.State != string(ecstypes.DeploymentRolloutStateCompleted) {
		if err := w.hopeless(ctx, s, *ours); err != nil {
			return r, false, err
		}
		r.NotPlaced = notPlaced(s, *ours)
	}
	healthy, err := w.healthyTargets(ctx, deployment, targetGroup)
	if err != nil {
		return r, false, err
	}
	r.Healthy = len(healthy)
	done := r.State == string(ecstypes.DeploymentRolloutStateCompleted) && r.Healthy >= r.Desired && len(s.Deployments) == 1
	return r, done, nil
}

// healthyTargets lists the addresses of the deployment's tasks whose targets are healthy.
func (w *Workflow) healthyTargets(ctx context.Context, deployment, targetGroup string) ([]string, error) {
	h, err := w.ELB.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: aws.String(targetGroup)})
	if err != nil {
		return nil, err
	}
	ours, err := w.addresses(ctx, deployment)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, t := range h.TargetHealthDescriptions {
		if t.TargetHealth.State == elbtypes.TargetHealthStateEnumHealthy && ours[aws.ToString(t.Target.Id)] {
			out = append(out, aws.ToString(t.Target.Id))
		}
	}
	return out, nil
}

// addresses are those of the deployment's running tasks.
func (w *Workflow) addresses(ctx context.Context, deployment string) (map[string]bool, error) {
	tasks, err := w.tasks(ctx, deployment, ecstypes.DesiredStatusRunning)
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, t := range tasks {
		out[privateAddress(t)] = true
	}
	return out, nil
}

func (w *Workflow) tasks(ctx context.Context, deployment string, desired ecstypes.DesiredStatus) ([]ecstypes.Task, error) {
	l, err := w.ECS.ListTasks(ctx, &ecs.ListTasksInput{Cluster: aws.String(w.App.Cluster()), StartedBy: aws.String(deployment), DesiredStatus: desired})
	if err != nil || len(l.TaskArns) == 0 {
		return nil, err
	}
	d, err := w.ECS.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: aws.String(w.App.Cluster()), Tasks: l.TaskArns})
	if err != nil {
		return nil, err
	}
	return d.Tasks, nil
}

// superseded tells a rollback from a newer deployment by somebody else.
func (w *Workflow) superseded(ctx context.Context, s ecstypes.Service, ours, primary string) error {
	for _, e := range s.Events {
		if strings.Contains(aws.ToString(e.Message), "rolling back to deployment") {
			return w.failure(ctx, s, ours)
		}
	}
	return &Failure{Exit: ExitSuperseded, Cause: fmt.Sprintf("Another deployment (%s) was started while %s was under way.", primary, ours), Fix: "lotse status shows what serves."}
}

// hopeless looks whether waiting is no use. Where an older deployment still serves, the circuit
// breaker ends ours and rolls back; a first one has nothing to go back to.
func (w *Workflow) hopeless(ctx context.Context, s ecstypes.Service, ours ecstypes.Deployment) error {
	if len(s.Deployments) > 1 {
		return nil
	}
	stopped, err := w.tasks(ctx, aws.ToString(ours.Id), ecstypes.DesiredStatusStopped)
	if err != nil {
		return err
	}
	for _, t := range stopped {
		if strings.Contains(aws.ToString(t.StoppedReason), "CannotPullContainerError") {
			return w.explain(ctx, t, ExitFailed)
		}
	}
	if e := notPlaced(s, ours); e != "" && ours.PendingCount+ours.RunningCount < ours.DesiredCount {
		return &Failure{Exit: ExitFailed, Code: "D-CAP-501", Cause: "The machine has no room for the tasks.", Known: []string{e}, Fix: "Lower memory or count in lotse.yml, or stop something else."}
	}
	return nil
}

// notPlaced is the event that says that the deployment's tasks found no room; "" if there is none.
func notPlaced(s ecstypes.Service, ours ecstypes.Deployment) string {
	for _, e := range s.Events {
		if !e.CreatedAt.Before(aws.ToTime(ours.CreatedAt)) && strings.Contains(aws.ToString(e.Message), "unable to place a task") {
			return aws.ToString(e.Message)
		}
	}
	return ""
}

// failure says why our deployment failed, from its own stopped tasks.
func (w *Workflow) failure(ctx context.Context, s ecstypes.Service, deployment string) error {
	exit := ExitFailed
	for _, d := range s.Deployments {
		if aws.ToString(d.Status) == "PRIMARY" && aws.ToString(d.Id) != deployment {
			exit = ExitRolledBack
		}
	}
	stopped, err := w.tasks(ctx, deployment, ecstypes.DesiredStatusStopped)
	if err != nil {
		return err
	}
	for _, t := range stopped {
		if t.StopCode != ecstypes.TaskStopCodeServiceSchedulerInitiated || strings.HasPrefix(aws.ToString(t.StoppedReason), "Task failed") {
			return w.explain(ctx, t, exit)
		}
	}
	return &Failure{Exit: exit, Cause: "The deployment failed: " + lastEvent(s)}
}

// explain makes a Failure of a stopped task.
func (w *Workflow) explain(ctx context.Context, t ecstypes.Task, exit int) error {
	f := &Failure{Exit: exit, Cause: aws.ToString(t.StoppedReason)}
	id := short(aws.ToString(t.TaskArn))
	for _, c := range t.Containers {
		switch {
		case strings.Contains(aws.ToString(c.Reason), "OutOfMemory"):
			f.Code, f.Cause = "D-EXIT-337", fmt.Sprintf("Container %s used more memory than it may and was killed.", aws.ToString(c.Name))
			f.Fix = "Raise memory in lotse.yml."
		case strings.Contains(aws.ToString(c.Reason), "CannotPullContainerError"):
			f.Code, f.Cause = "D-IMG-201", aws.ToString(c.Reason)
		case c.ExitCode != nil && t.StopCode == ecstypes.TaskStopCodeEssentialContainerExited:
			f.Code, f.Cause = "D-EXIT-301", fmt.Sprintf("Container %s exited with code %d.", aws.ToString(c.Name), *c.ExitCode)
			if *c.ExitCode == 0 {
				f.Code, f.Cause = "D-EXIT-340", fmt.Sprintf("Container %s exited with code 0: it is not a server.", aws.ToString(c.Name))
			}
		}
	}
	if strings.HasPrefix(aws.ToString(t.StoppedReason), "Task failed ELB health checks") {
		f.Code = "D-HC-100"
		f.Fix = "http.healthcheck.path and image.port in lotse.yml must name what the container answers."
	}
	f.Known = append(f.Known, fmt.Sprintf("task %s stopped: %s", id, aws.ToString(t.StoppedReason)))
	f.Logs = w.lastLines(ctx, id, 20)
	return f
}

// lastLines are the end of a task's log.
func (w *Workflow) lastLines(ctx context.Context, task string, n int32) []string {
	out, err := w.Clients.Logs.GetLogEvents(ctx, &cloudwatchlogs.GetLogEventsInput{LogGroupName: aws.String(w.App.LogGroup()),
		LogStreamName: aws.String("lotse/" + w.App.Name + "/" + task), Limit: aws.Int32(n)})
	if err != nil {
		return nil
	}
	var lines []string
	for _, e := range out.Events {
		lines = append(lines, aws.ToString(e.Message))
	}
	return lines
}

// probe sends one request through the load balancer and asks which target answered it: only an
// answer of our own revision is a success.
//
// A rule that was just made or changed is in force a moment later: till then the wrong answer is none.
func (w *Workflow) probe(ctx context.Context, revision string, b Balancer) (url, said string, err error) {
	for end := time.Now().Add(probeWithin); ; {
		url, said, err = w.ask(ctx, revision, b)
		var f *Failure
		if !errors.As(err, &f) || time.Now().After(end) {
			return url, said, err
		}
		select {
		case <-ctx.Done():
			return url, said, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// probeWithin is how long a rule may take to be in force.
const probeWithin = 5 * time.Second

// ask is one probe.
func (w *Workflow) ask(ctx context.Context, revision string, b Balancer) (url, said string, err error) {
	at, host := b.DNSName+":80", b.DNSName
	if w.Local != nil {
		if at, err = w.Local.Front(ctx); err != nil {
			return "", "", err
		}
	}
	if h := w.App.Host(); h != "" {
		host = h
	}
	path := w.App.http().Path
	url = urlOf(host, at, path)
	trace := "Root=1-" + fmt.Sprintf("%08x", time.Now().Unix()) + "-" + strings.ReplaceAll(uuid.NewString(), "-", "")[:24]
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at+path, nil)
	if err != nil {
		return url, "", err
	}
	req.Host = host
	req.Header.Set("X-Amzn-Trace-Id", trace)
	client := &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return url, "", err
	}
	took := time.Since(t)
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	resp.Body.Close()
	if resp.StatusCode >= 500 {
		return url, "", &Failure{Exit: ExitFailed, Code: "D-HC-104", Cause: fmt.Sprintf("GET %s → %d", url, resp.StatusCode), Logs: strings.Split(strings.TrimSpace(string(body)), "\n")}
	}
	said = fmt.Sprintf("GET %s → %d in %d ms", path, resp.StatusCode, took.Milliseconds())
	if w.Local == nil {
		return url, said, nil
	}
	target, err := w.Local.Answered(ctx, trace)
	if err != nil {
		return url, said, err
	}
	ip, _, _ := net.SplitHostPort(target)
	if err := w.isOurs(ctx, ip, revision); err != nil {
		return url, said, err
	}
	return url, said + ", answered by " + target + " of " + short(revision), nil
}

func (w *Workflow) isOurs(ctx context.Context, ip, revision string) error {
	l, err := w.ECS.ListTasks(ctx, &ecs.ListTasksInput{Cluster: aws.String(w.App.Cluster()), ServiceName: aws.String(w.App.Service())})
	if err != nil {
		return err
	}
	if len(l.TaskArns) > 0 {
		d, err := w.ECS.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: aws.String(w.App.Cluster()), Tasks: l.TaskArns})
		if err != nil {
			return err
		}
		for _, t := range d.Tasks {
			if privateAddress(t) == ip && aws.ToString(t.TaskDefinitionArn) == revision {
				return nil
			}
		}
	}
	return &Failure{Exit: ExitFailed, Code: "D-ROUTE-127", Cause: fmt.Sprintf("The request was answered by %q, which is no task of %s.", ip, short(revision)),
		Fix: "Look which rule takes the request: aws elbv2 describe-rules."}
}

// Private

// waitsFor says in words what an unfinished rollout lacks.
func (r Rollout) waitsFor() string {
	switch {
	case r.New.Running+r.New.Pending < r.Desired:
		return fmt.Sprintf("%d of %d new tasks started", r.New.Running+r.New.Pending, r.Desired)
	case r.New.Running < r.Desired:
		return fmt.Sprintf("%d of %d new tasks running", r.New.Running, r.Desired)
	case r.Healthy < r.Desired:
		return fmt.Sprintf("%d of %d new targets healthy", r.Healthy, r.Desired)
	case r.Old.Running+r.Old.Pending > 0:
		return fmt.Sprintf("%d old tasks draining", r.Old.Running+r.Old.Pending)
	}
	return "the deployment to complete"
}

func lastEvent(s ecstypes.Service) string {
	if len(s.Events) == 0 {
		return "the service has no events"
	}
	return aws.ToString(s.Events[0].Message)
}

func privateAddress(t ecstypes.Task) string {
	for _, a := range t.Attachments {
		for _, d := range a.Details {
			if aws.ToString(d.Name) == "privateIPv4Address" {
				return aws.ToString(d.Value)
			}
		}
	}
	return ""
}

// urlOf is the address to print: with the port where it isn't 80.
func urlOf(host, at, path string) string {
	_, port, err := net.SplitHostPort(at)
	if err == nil && port != "80" {
		host = net.JoinHostPort(host, port)
	}
	return "http://" + host + path
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// sameDefinition compares what we would register with what is there, leaving out what AWS adds.
func sameDefinition(in *ecs.RegisterTaskDefinitionInput, d *ecstypes.TaskDefinition) bool {
	if d == nil || len(d.ContainerDefinitions) != 1 {
		return false
	}
	c, o := in.ContainerDefinitions[0], d.ContainerDefinitions[0]
	port := func(c ecstypes.ContainerDefinition) any {
		if len(c.PortMappings) == 0 {
			return nil
		}
		return aws.ToInt32(c.PortMappings[0].ContainerPort)
	}
	env := func(c ecstypes.ContainerDefinition) any {
		m := map[string]string{}
		for _, e := range c.Environment {
			m[aws.ToString(e.Name)] = aws.ToString(e.Value)
		}
		return m
	}
	j := func(v ...any) string { b, _ := json.Marshal(v); return string(b) }
	return j(in.Cpu, in.Memory, in.ExecutionRoleArn, c.Name, c.Image, c.Command, c.EntryPoint, port(c), env(c), c.LogConfiguration) ==
		j(d.Cpu, d.Memory, d.ExecutionRoleArn, o.Name, o.Image, o.Command, o.EntryPoint, port(o), env(o), o.LogConfiguration)
}
