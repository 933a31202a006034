package deploy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// A Reporter shows progress. Its methods are called in order, from one goroutine.
type Reporter interface {
	Begin(phase string)                            // a phase begins
	Note(line string)                              // a line within it
	Done(phase, result string, took time.Duration) // it has ended well
	Rollout(r Rollout)                             // how the service stands, several times a second
}

// A Workflow brings one application to where its folder says it should be.
type Workflow struct {
	Clients
	App    App
	Local  Local // nil on AWS
	Report Reporter
	Image  string // "": build; else a reference to run as it is
	Force  bool   // deploy although nothing changed
	Count  *int32 // desired count to set

	Timings []Timing
	start   time.Time
}

// A Timing is how long a phase took.
type Timing struct {
	Phase       string
	Start, Took time.Duration
}

// A Result is what a finished run has brought about.
type Result struct {
	URL, Revision, Deployment, Image string
	Unchanged                        bool // all was as it should be: there is no new deployment
	Total                            time.Duration
}

// Up runs the five steps. A second run of unchanged source changes nothing.
func (w *Workflow) Up(ctx context.Context) (Result, error) {
	w.start = time.Now()
	var res Result
	var image string
	var network Network
	if err := w.phase("check", ExitRefused, "Nothing was changed: the checks failed.", func() (string, error) {
		var err error
		network, err = findNetwork(ctx, w.Clients)
		return fmt.Sprintf("%s, 2 subnets", network.VPC), err
	}); err != nil {
		return res, err
	}
	image, err := w.image(ctx)
	if err != nil {
		return res, err
	}
	res.Image = image
	if err := w.port(ctx); err != nil {
		return res, err
	}
	var b Balancer
	var taskGroup, role string
	if err := w.phase("network", ExitProvision, "A security group could not be made.", func() (string, error) {
		balancer, task, err := ensureGroups(ctx, w.Clients, w.App, network.VPC)
		taskGroup = task
		b.Listener = balancer
		return fmt.Sprintf("security groups %s, %s (%d only from %s)", w.App.BalancerGroup(), w.App.TaskGroup(), w.App.Port, w.App.BalancerGroup()), err
	}); err != nil {
		return res, err
	}
	if err := w.phase("balancer", ExitProvision, "The load balancer could not be made.", func() (string, error) {
		var err error
		b, err = ensureBalancer(ctx, w.Clients, w.App, network, b.Listener)
		return fmt.Sprintf("%s listener :80 → rule → target group %s", w.App.Balancer(), w.App.TargetGroup()), err
	}); err != nil {
		return res, err
	}
	if err := w.phase("task def", ExitProvision, "The task definition could not be registered.", func() (string, error) {
		var err error
		if role, err = ensureExecutionRole(ctx, w.Clients, w.App); err != nil {
			return "", err
		}
		if err = ensureLogGroup(ctx, w.Clients, w.App); err != nil {
			return "", err
		}
		res.Revision, err = w.taskDefinition(ctx, image, role)
		return short(res.Revision), err
	}); err != nil {
		return res, err
	}
	if err := w.phase("service", ExitFailed, "The service did not come up.", func() (string, error) {
		var err error
		res.Deployment, res.Unchanged, err = w.service(ctx, res.Revision, b, network, taskGroup)
		if err != nil {
			return "", err
		}
		r, err := w.await(ctx, res.Revision, res.Deployment, b.TargetGroup)
		var f *Failure
		if errors.As(err, &f) && f.Exit == ExitRolledBack {
			err = errors.Join(err, b.restore(ctx, w.Clients))
		}
		said := fmt.Sprintf("%d of %d targets healthy, revision %s serves", r.Healthy, r.Desired, short(res.Revision))
		if res.Unchanged {
			said = "nothing changed: " + said
		}
		return said, err
	}); err != nil {
		return res, err
	}
	if err := w.phase("probe", ExitFailed, "The service is up, but a request through the load balancer failed.", func() (string, error) {
		var err error
		var said string
		res.URL, said, err = w.probe(ctx, res.Revision, b)
		return said, err
	}); err != nil {
		return res, err
	}
	res.Total = time.Since(w.start)
	return res, nil
}

// image builds and pushes, or takes the image that was named.
func (w *Workflow) image(ctx context.Context) (string, error) {
	if ref := w.Image; ref != "" {
		return ref, nil
	}
	if ref := w.App.Config.Image.Location; ref != "" {
		return ref, nil
	}
	if w.Local == nil {
		return "", &Failure{Exit: ExitRefused, Cause: "Building and pushing works against a Lotse server so far.", Fix: "Push the image yourself and pass --image REF."}
	}
	var built BuildOutput
	if err := w.phase("build", ExitBuild, "The image could not be built.", func() (string, error) {
		var err error
		built, err = w.Local.Build(ctx, BuildInput{Dir: w.App.Dir, Build: w.App.Config.Image.Build, Line: w.Report.Note})
		return fmt.Sprintf("%s:%s  %s  %d/%d steps cached", w.App.Name, built.Tag, built.Platform, built.Cached, built.Steps), err
	}); err != nil {
		return "", err
	}
	if w.App.Port == 0 {
		w.App.Port = built.Port
	}
	var ref string
	err := w.phase("push", ExitPush, "The image could not be pushed.", func() (string, error) {
		uri, _, err := EnsureRepository(ctx, w.Clients, w.App)
		if err != nil {
			return "", err
		}
		if err := w.Local.Adopt(ctx, w.App.Repository(), built.Tag, built.Digest); err != nil {
			return "", err
		}
		ref = uri + "@" + built.Digest
		return fmt.Sprintf("%s@%.19s…  no bytes copied", w.App.Repository(), built.Digest), nil
	})
	return ref, err
}

// port makes sure that it is known where the application listens: from lotse.yml, the image that
// was built, or the service as it is.
func (w *Workflow) port(ctx context.Context) error {
	if w.App.Port != 0 {
		return nil
	}
	found, err := w.ECS.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: aws.String(w.App.Cluster()), Services: []string{w.App.Service()}})
	var none *ecstypes.ClusterNotFoundException
	if err != nil && !errors.As(err, &none) {
		return fail(ExitRefused, "The service could not be read.", err)
	}
	if err == nil && len(found.Services) > 0 && len(found.Services[0].LoadBalancers) > 0 {
		w.App.Port = int(aws.ToInt32(found.Services[0].LoadBalancers[0].ContainerPort))
		return nil
	}
	return &Failure{Exit: ExitRefused, Cause: "It is not known on which port the application listens.", Fix: "Write EXPOSE 8080 into the Dockerfile, or image.port into lotse.yml."}
}

// taskDefinition registers a revision unless the newest one says the same.
func (w *Workflow) taskDefinition(ctx context.Context, image, role string) (string, error) {
	in := w.definition(image, role)
	d, err := w.ECS.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: aws.String(w.App.Family())})
	if err == nil && sameDefinition(in, d.TaskDefinition) {
		return aws.ToString(d.TaskDefinition.TaskDefinitionArn), nil
	}
	out, err := w.ECS.RegisterTaskDefinition(ctx, in)
	if err != nil {
		return "", err
	}
	return aws.ToString(out.TaskDefinition.TaskDefinitionArn), nil
}

func (w *Workflow) definition(image, role string) *ecs.RegisterTaskDefinitionInput {
	a := w.App
	cpu, memory := a.size()
	c := ecstypes.ContainerDefinition{
		Name: aws.String(a.Name), Image: aws.String(image), Essential: aws.Bool(true), Command: a.Command, EntryPoint: a.EntryPoint,
		PortMappings: []ecstypes.PortMapping{{ContainerPort: aws.Int32(int32(a.Port)), Protocol: ecstypes.TransportProtocolTcp}},
		LogConfiguration: &ecstypes.LogConfiguration{LogDriver: ecstypes.LogDriverAwslogs, Options: map[string]string{
			"awslogs-group": a.LogGroup(), "awslogs-region": a.Region, "awslogs-stream-prefix": "lotse"}},
	}
	for _, k := range sortedKeys(a.Variables) {
		c.Environment = append(c.Environment, ecstypes.KeyValuePair{Name: aws.String(k), Value: aws.String(a.Variables[k])})
	}
	in := &ecs.RegisterTaskDefinitionInput{Family: aws.String(a.Family()), Cpu: aws.String(cpu), Memory: aws.String(memory), NetworkMode: ecstypes.NetworkModeAwsvpc,
		RequiresCompatibilities: []ecstypes.Compatibility{ecstypes.CompatibilityFargate}, ExecutionRoleArn: aws.String(role), ContainerDefinitions: []ecstypes.ContainerDefinition{c}}
	for _, k := range sortedKeys(a.Tags) {
		in.Tags = append(in.Tags, ecstypes.Tag{Key: aws.String(k), Value: aws.String(a.Tags[k])})
	}
	return in
}

// service creates or updates the service and tells the id of its newest deployment, and whether that was there before.
func (w *Workflow) service(ctx context.Context, revision string, b Balancer, n Network, group string) (id string, unchanged bool, err error) {
	a := w.App
	if err := ensureCluster(ctx, w.Clients, a); err != nil {
		return "", false, err
	}
	found, err := w.ECS.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: aws.String(a.Cluster()), Services: []string{a.Service()}})
	if err != nil {
		return "", false, err
	}
	rollback := true
	if cb := a.Deployment.CircuitBreaker; cb != nil && cb.Rollback != nil {
		rollback = *cb.Rollback
	}
	dc := &ecstypes.DeploymentConfiguration{MinimumHealthyPercent: aws.Int32(100), MaximumPercent: aws.Int32(200),
		DeploymentCircuitBreaker: &ecstypes.DeploymentCircuitBreaker{Enable: true, Rollback: rollback}}
	grace := aws.Int32(int32(a.http().HealthCheck.GracePeriod.or(0).Seconds()))
	lbs := []ecstypes.LoadBalancer{{TargetGroupArn: aws.String(b.TargetGroup), ContainerName: aws.String(a.Name), ContainerPort: aws.Int32(int32(a.Port))}}
	assign := ecstypes.AssignPublicIpDisabled
	if !a.Lotse {
		assign = ecstypes.AssignPublicIpEnabled // a default subnet on AWS reaches ECR only with a public address
	}
	nc := &ecstypes.NetworkConfiguration{AwsvpcConfiguration: &ecstypes.AwsVpcConfiguration{Subnets: n.Subnets, SecurityGroups: []string{group}, AssignPublicIp: assign}}
	update := func() (string, bool, error) {
		out, err := w.ECS.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: aws.String(a.Cluster()), Service: aws.String(a.Service()), TaskDefinition: aws.String(revision),
			DesiredCount: w.Count, DeploymentConfiguration: dc, NetworkConfiguration: nc, LoadBalancers: lbs, HealthCheckGracePeriodSeconds: grace, ForceNewDeployment: w.Force})
		if err != nil {
			return "", false, err
		}
		id := primaryID(out.Service)
		same := len(found.Services) > 0 && id == primaryID(&found.Services[0]) && out.Service.DesiredCount == found.Services[0].DesiredCount
		return id, same, nil
	}
	if len(found.Services) > 0 && aws.ToString(found.Services[0].Status) == "ACTIVE" {
		return update()
	}
	count := a.count()
	if w.Count != nil {
		count = *w.Count
	}
	out, err := w.ECS.CreateService(ctx, &ecs.CreateServiceInput{Cluster: aws.String(a.Cluster()), ServiceName: aws.String(a.Service()), TaskDefinition: aws.String(revision),
		DesiredCount: aws.Int32(count), LaunchType: ecstypes.LaunchTypeFargate, DeploymentConfiguration: dc, NetworkConfiguration: nc, LoadBalancers: lbs,
		HealthCheckGracePeriodSeconds: grace, Tags: []ecstypes.Tag{{Key: aws.String(ownerTag), Value: aws.String(a.Owner())}}})
	if err != nil && strings.Contains(err.Error(), "not idempotent") { // somebody else was a moment faster
		return update()
	}
	if err != nil {
		return "", false, err
	}
	return primaryID(out.Service), false, nil
}

// Private

// phase runs one step, reports it and keeps its time.
func (w *Workflow) phase(name string, exit int, cause string, run func() (string, error)) error {
	w.Report.Begin(name)
	t := time.Now()
	said, err := run()
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return err
		}
		return fail(exit, cause, err)
	}
	took := time.Since(t)
	w.Timings = append(w.Timings, Timing{name, t.Sub(w.start), took})
	w.Report.Done(name, said, took)
	return nil
}

func primaryID(s *ecstypes.Service) string {
	for _, d := range s.Deployments {
		if aws.ToString(d.Status) == "PRIMARY" {
			return aws.ToString(d.Id)
		}
	}
	return ""
}

// short is FAMILY:REVISION of a task definition's ARN.
func short(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }
