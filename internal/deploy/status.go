package deploy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// A Status is one screen about a service.
type Status struct {
	URL         string           `json:"url"`
	Service     string           `json:"service"`
	State       string           `json:"status"`
	Revision    string           `json:"revision"`
	Desired     int              `json:"desired"`
	Running     int              `json:"running"`
	Pending     int              `json:"pending"`
	Tasks       []TaskLine       `json:"tasks"`
	Deployments []DeploymentLine `json:"deployments"`
	Stopped     []TaskLine       `json:"stopped"` // that did not end because somebody wanted it
	Events      []string         `json:"events"`  // newest first
}

// A TaskLine is one task.
type TaskLine struct {
	ID       string `json:"id"`
	Revision string `json:"revision"`
	Status   string `json:"status"`
	Address  string `json:"address"`
	Health   string `json:"health"` // of its target, with the reason
	Reason   string `json:"reason,omitempty"`
}

// A DeploymentLine is one deployment that still matters.
type DeploymentLine struct {
	ID       string `json:"id"`
	State    string `json:"state"`
	Revision string `json:"revision"`
	Reason   string `json:"reason"`
}

// Status looks at the application's service.
func (w *Workflow) Status(ctx context.Context) (Status, error) {
	a := w.App
	out, err := w.ECS.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: aws.String(a.Cluster()), Services: []string{a.Service()}})
	if isCode(err, "ClusterNotFoundException") || err == nil && len(out.Services) == 0 {
		return Status{}, &Failure{Exit: ExitUnexpected, Code: "D-NAME-020", Cause: fmt.Sprintf("no service %q in cluster %s, region %s", a.Service(), a.Cluster(), a.Region), Fix: "lotse up"}
	}
	if err != nil {
		return Status{}, err
	}
	s := out.Services[0]
	st := Status{Service: a.Service(), State: aws.ToString(s.Status), Revision: short(aws.ToString(s.TaskDefinition)),
		Desired: int(s.DesiredCount), Running: int(s.RunningCount), Pending: int(s.PendingCount)}
	for _, d := range s.Deployments {
		st.Deployments = append(st.Deployments, DeploymentLine{aws.ToString(d.Id), string(d.RolloutState), short(aws.ToString(d.TaskDefinition)), aws.ToString(d.RolloutStateReason)})
	}
	for _, e := range s.Events[:min(5, len(s.Events))] {
		st.Events = append(st.Events, e.CreatedAt.Local().Format(time.TimeOnly)+" "+aws.ToString(e.Message))
	}
	health := map[string]string{}
	if len(s.LoadBalancers) > 0 {
		h, err := w.ELB.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: s.LoadBalancers[0].TargetGroupArn})
		if err != nil {
			return st, err
		}
		for _, t := range h.TargetHealthDescriptions {
			health[aws.ToString(t.Target.Id)] = healthText(t.TargetHealth)
		}
	}
	for _, desired := range []ecstypes.DesiredStatus{ecstypes.DesiredStatusRunning, ecstypes.DesiredStatusStopped} {
		if err := w.taskLines(ctx, &st, desired, health); err != nil {
			return st, err
		}
	}
	st.URL, err = w.URL(ctx)
	return st, err
}

// URL is where the service answers.
func (w *Workflow) URL(ctx context.Context) (string, error) {
	lbs, err := w.ELB.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{Names: []string{w.App.Balancer()}})
	if err != nil {
		return "", fail(ExitUnexpected, "there is no load balancer "+w.App.Balancer()+": run lotse up", err)
	}
	host := w.App.Host()
	at := aws.ToString(lbs.LoadBalancers[0].DNSName) + ":80"
	if host == "" {
		host = aws.ToString(lbs.LoadBalancers[0].DNSName)
	}
	if w.Local != nil {
		if at, err = w.Local.Front(ctx); err != nil {
			return "", err
		}
	}
	return urlOf(host, at, w.App.http().Path), nil
}

// LogOptions choose lines.
type LogOptions struct {
	Follow bool
	Since  time.Time
	Task   string // id or its beginning; "" all
}

// Logs passes the service's log lines on, in order of their time, until ctx ends when following.
func (w *Workflow) Logs(ctx context.Context, o LogOptions, line func(at time.Time, task, text string)) error {
	since, seen := o.Since.UnixMilli(), map[string]bool{}
	for {
		in := &cloudwatchlogs.FilterLogEventsInput{LogGroupName: aws.String(w.App.LogGroup()), StartTime: aws.Int64(max(0, since))}
		if o.Task != "" {
			in.LogStreamNamePrefix = aws.String("lotse/" + w.App.Name + "/" + o.Task)
		}
		p := cloudwatchlogs.NewFilterLogEventsPaginator(w.Clients.Logs, in)
		for p.HasMorePages() {
			page, err := p.NextPage(ctx)
			if err != nil {
				return fail(ExitUnexpected, "no logs of "+w.App.Name, err)
			}
			for _, e := range page.Events {
				id := aws.ToString(e.EventId)
				if seen[id] {
					continue
				}
				at := aws.ToInt64(e.Timestamp)
				if at > since {
					since, seen = at, map[string]bool{}
				}
				seen[id] = true
				line(time.UnixMilli(at), short(aws.ToString(e.LogStreamName)), aws.ToString(e.Message))
			}
		}
		if !o.Follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// AccessLog gives the lines that the load balancer logs of the application's requests.
func (w *Workflow) AccessLog(ctx context.Context, follow bool, line func(string)) error {
	if w.Local == nil {
		return &Failure{Exit: ExitRefused, Cause: "Access logs are watched on a Lotse server only. On AWS they are in the bucket that the load balancer's attributes name."}
	}
	lbs, err := w.ELB.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{Names: []string{w.App.Balancer()}})
	if err != nil {
		return fail(ExitUnexpected, "there is no load balancer "+w.App.Balancer()+": run lotse up", err)
	}
	balancer := lbs.LoadBalancers[0].LoadBalancerArn
	attrs, err := w.ELB.DescribeLoadBalancerAttributes(ctx, &elb.DescribeLoadBalancerAttributesInput{LoadBalancerArn: balancer})
	if err != nil {
		return err
	}
	on := func(x elbtypes.LoadBalancerAttribute) bool {
		return aws.ToString(x.Key) == "access_logs.s3.enabled" && aws.ToString(x.Value) == "true"
	}
	if !slices.ContainsFunc(attrs.Attributes, on) {
		return &Failure{Exit: ExitRefused, Cause: "The load balancer " + w.App.Balancer() + " writes no access log.",
			Fix: "aws elbv2 modify-load-balancer-attributes --load-balancer-arn " + *balancer + " --attributes Key=access_logs.s3.enabled,Value=true Key=access_logs.s3.bucket,Value=logs"}
	}
	tg, err := w.ELB.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{Names: []string{w.App.TargetGroup()}})
	if err != nil {
		return err
	}
	for from := int64(-1); ; {
		lines, next, err := w.Local.AccessLog(ctx, *balancer, aws.ToString(tg.TargetGroups[0].TargetGroupArn), from)
		if ctx.Err() != nil && follow {
			return nil
		}
		if err != nil {
			return err
		}
		for _, l := range lines {
			line(l)
		}
		if from = next; !follow {
			return nil
		}
	}
}

// Private

func (w *Workflow) taskLines(ctx context.Context, st *Status, desired ecstypes.DesiredStatus, health map[string]string) error {
	l, err := w.ECS.ListTasks(ctx, &ecs.ListTasksInput{Cluster: aws.String(w.App.Cluster()), ServiceName: aws.String(w.App.Service()), DesiredStatus: desired})
	if err != nil || len(l.TaskArns) == 0 {
		return err
	}
	d, err := w.ECS.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: aws.String(w.App.Cluster()), Tasks: l.TaskArns})
	if err != nil {
		return err
	}
	for _, t := range d.Tasks {
		line := TaskLine{ID: short(aws.ToString(t.TaskArn)), Revision: short(aws.ToString(t.TaskDefinitionArn)), Status: aws.ToString(t.LastStatus),
			Address: privateAddress(t), Reason: aws.ToString(t.StoppedReason)}
		line.Health = health[line.Address]
		if aws.ToString(t.LastStatus) != "STOPPED" {
			st.Tasks = append(st.Tasks, line)
		} else if t.StopCode == ecstypes.TaskStopCodeTaskFailedToStart || t.StopCode == ecstypes.TaskStopCodeEssentialContainerExited {
			line.Health = ""
			st.Stopped = append(st.Stopped, line)
		}
	}
	return nil
}

func healthText(h *elbtypes.TargetHealth) string {
	if h.Description == nil {
		return string(h.State)
	}
	return fmt.Sprintf("%s (%s: %s)", h.State, h.Reason, *h.Description)
}
