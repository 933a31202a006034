package ecs

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

var here = arn.Scope{Account: "000000000000", Region: "us-east-1"}

const (
	trustTasks = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	trustOther = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	roleARN    = "arn:aws:iam::000000000000:role/exec"
)

// A bench is the service over a real store, with a default VPC, a role and a target group in use.
type bench struct {
	t       *testing.T
	db      *store.DB
	s       *Service
	ctx     context.Context
	clock   time.Time
	subnets []string
	group   string // the VPC's default security group
	tg      string // ARN of a target group that a listener forwards to
	spare   string // ARN of one that nobody uses
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, clock: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	db, err := store.Open(filepath.Join(t.TempDir(), "db"), store.Options{Now: func() time.Time {
		b.clock = b.clock.Add(time.Millisecond)
		return b.clock
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	b.db, b.s = db, New(Options{DB: db})
	b.ctx = b.as(here)
	b.update(func(tx *store.WriteTx) error {
		if err := state.EnsureDefaultVPC(tx, here, netip.MustParsePrefix("172.31.0.0/16")); err != nil {
			return err
		}
		vpc := ""
		for s, err := range state.Subnets.List(tx, here.Key()) {
			if err != nil {
				return err
			}
			b.subnets, vpc = append(b.subnets, s.Val.ID), s.Val.VPC
		}
		if b.group, err = state.DefaultSecurityGroup(tx, here, vpc); err != nil {
			return err
		}
		for name, trust := range map[string]string{"exec": trustTasks, "lambda": trustOther} {
			r := state.Role{Account: here.Account, Name: name, Path: "/", Trust: trust}
			if err := state.Roles.Put(tx, &store.Object[state.Role]{Key: state.RoleKey(here.Account, name), Val: r}); err != nil {
				return err
			}
		}
		used := state.TargetGroup{Scope: here, Name: "used", ID: "0123456789abcdef", VPC: vpc, TargetType: "ip"}
		spare := state.TargetGroup{Scope: here, Name: "spare", ID: "fedcba9876543210", VPC: vpc, TargetType: "ip"}
		b.tg, b.spare = used.ARN(), spare.ARN()
		for _, g := range []state.TargetGroup{used, spare} {
			if err := state.TargetGroups.Put(tx, &store.Object[state.TargetGroup]{Key: g.Key(), Val: g}); err != nil {
				return err
			}
		}
		l := state.Listener{Scope: here, Balancer: "lb/0123456789abcdef", ID: "1111111111111111", Port: 80, Protocol: "HTTP",
			Default: []state.Action{{Type: "forward", Groups: []state.WeightedGroup{{ARN: b.tg, Weight: 1}}}}}
		return state.Listeners.Put(tx, &store.Object[state.Listener]{Key: l.Key(), Val: l})
	})
	return b
}

// as is a context of a root caller of the scope.
func (b *bench) as(sc arn.Scope) context.Context {
	return awsauth.WithCaller(b.t.Context(), awsauth.Caller{Account: sc.Account, Region: sc.Region, ARN: "arn:aws:iam::" + sc.Account + ":root", Root: true})
}

func (b *bench) update(fn func(tx *store.WriteTx) error) {
	b.t.Helper()
	if err := b.db.Update(b.t.Context(), fn); err != nil {
		b.t.Fatal(err)
	}
}

// cluster makes the cluster default.
func (b *bench) cluster() {
	b.t.Helper()
	must(b.s.CreateCluster(b.ctx, &ecs.CreateClusterInput{}))(b.t)
}

func (b *bench) network() *types.NetworkConfiguration {
	return &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: b.subnets[:2], SecurityGroups: []string{b.group}}}
}

// definition is a task definition that can be registered.
func definition(change ...func(*ecs.RegisterTaskDefinitionInput)) *ecs.RegisterTaskDefinitionInput {
	in := &ecs.RegisterTaskDefinitionInput{
		Family: aws.String("web"), NetworkMode: types.NetworkModeAwsvpc, Cpu: aws.String("256"), Memory: aws.String("512"),
		RequiresCompatibilities: []types.Compatibility{types.CompatibilityFargate},
		ContainerDefinitions: []types.ContainerDefinition{{
			Name: aws.String("app"), Image: aws.String("app:1"), PortMappings: []types.PortMapping{{ContainerPort: aws.Int32(8080)}},
		}},
	}
	for _, f := range change {
		f(in)
	}
	return in
}

// register registers and gives the revision's ARN.
func (b *bench) register(change ...func(*ecs.RegisterTaskDefinitionInput)) string {
	b.t.Helper()
	out := must(b.s.RegisterTaskDefinition(b.ctx, definition(change...)))(b.t)
	return *out.TaskDefinition.TaskDefinitionArn
}

func (b *bench) runTask(change ...func(*ecs.RunTaskInput)) (*ecs.RunTaskOutput, error) {
	in := &ecs.RunTaskInput{TaskDefinition: aws.String("web"), LaunchType: types.LaunchTypeFargate, NetworkConfiguration: b.network()}
	for _, f := range change {
		f(in)
	}
	return b.s.RunTask(b.ctx, in)
}

func (b *bench) createService(change ...func(*ecs.CreateServiceInput)) (*ecs.CreateServiceOutput, error) {
	in := &ecs.CreateServiceInput{ServiceName: aws.String("svc"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(2),
		LaunchType: types.LaunchTypeFargate, NetworkConfiguration: b.network()}
	for _, f := range change {
		f(in)
	}
	return b.s.CreateService(b.ctx, in)
}

func (b *bench) updateService(in ecs.UpdateServiceInput) (*ecs.UpdateServiceOutput, error) {
	in.Service = aws.String("svc")
	return b.s.UpdateService(b.ctx, &in)
}

// service describes the service svc.
func (b *bench) service() types.Service {
	b.t.Helper()
	out := must(b.s.DescribeServices(b.ctx, &ecs.DescribeServicesInput{Services: []string{"svc"}}))(b.t)
	if len(out.Services) != 1 {
		b.t.Fatalf("%d services, failures %+v", len(out.Services), out.Failures)
	}
	return out.Services[0]
}

// scheduled changes the status of the service svc, as the scheduler would.
func (b *bench) scheduled(change func(*state.ServiceStatus)) {
	b.t.Helper()
	b.update(func(tx *store.WriteTx) error {
		key := here.Key("default", "svc")
		o, err := state.ServiceStatuses.Get(tx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		o.Key = key
		if o.Val.Deployments == nil {
			o.Val.Deployments = map[string]state.DeploymentStatus{}
		}
		change(&o.Val)
		return state.ServiceStatuses.Put(tx, &o)
	})
}

// ran gives a task a status, as its controller would.
func (b *bench) ran(key, lastStatus string) {
	b.t.Helper()
	b.update(func(tx *store.WriteTx) error {
		o, err := state.TaskStatuses.Get(tx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if lastStatus == "STOPPED" {
			t, err := state.Tasks.Get(tx, key)
			if err != nil {
				return err
			}
			if err := state.ReleaseTask(tx, t.Val); err != nil {
				return err
			}
		}
		o.Key, o.Val.LastStatus = key, lastStatus
		o.Val.Version++
		return state.TaskStatuses.Put(tx, &o)
	})
}

// serviceTask makes a task of the service svc, as the scheduler would.
func (b *bench) serviceTask(id, deployment, lastStatus string) state.Task {
	b.t.Helper()
	t := state.Task{Scope: here, ID: id, Cluster: "default", TaskDefinitionARN: here.ARN("ecs", "task-definition/web:1"), Service: "svc", Group: "service:svc",
		Deployment: deployment, StartedBy: deployment, CPU: 256, Memory: 512, LaunchType: "FARGATE", Network: state.AwsvpcConfiguration{Subnets: b.subnets}}
	b.update(func(tx *store.WriteTx) error {
		t.CreatedAt = tx.Now()
		_, err := state.AddTask(tx, t, 0)
		return err
	})
	b.ran(t.Key(), lastStatus)
	return t
}

// must gives the value, or ends the test: must(f())(t).
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// refused checks an error's code and text.
func refused(t *testing.T, err error, code, message string) {
	t.Helper()
	var e *awswire.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v, want %s: %s", err, code, message)
	}
	if e.Code != code || e.Message != message {
		t.Errorf("got  %s: %s\nwant %s: %s", e.Code, e.Message, code, message)
	}
}
