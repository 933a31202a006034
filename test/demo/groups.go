package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// groups tells the story of security groups as one would on AWS: with the calls that the AWS CLI
// makes, printed as its commands.
func (s *story) groups(ctx context.Context) error {
	t := &groupStory{ctx: ctx, ec2: ec2.NewFromConfig(s.srv.Config()), ecs: ecs.NewFromConfig(s.srv.Config())}
	sv, err := t.ecs.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: aws.String("lotse-local"), Services: []string{"hello"}})
	if err != nil {
		return err
	}
	t.service = sv.Services[0]
	t.network = t.service.NetworkConfiguration.AwsvpcConfiguration
	if t.balancer, err = t.groupNamed("lotse-local-alb"); err != nil {
		return err
	}
	if t.vpc, err = t.vpcOf(t.balancer); err != nil {
		return err
	}
	return errors.Join(t.tell(s), t.clean())
}

type groupStory struct {
	ctx      context.Context
	ec2      *ec2.Client
	ecs      *ecs.Client
	service  ecstypes.Service
	network  *ecstypes.AwsVpcConfiguration
	vpc      string
	balancer string // the balancer's group

	groups []string // made here
	tasks  []string
}

func (t *groupStory) tell(s *story) error {
	open, err := t.group("open")
	if err != nil {
		return err
	}
	if err := t.authorize(open, ec2types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(8080), ToPort: aws.Int32(8080),
		IpRanges: []ec2types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}}}, "--cidr 0.0.0.0/0"); err != nil {
		return err
	}
	public, _, err := t.run(open, true)
	if err != nil {
		return err
	}
	direct := "http://" + net.JoinHostPort(public, "8080") + "/"
	if err := expect(direct, true, "a task with a public address, its group open to 0.0.0.0/0"); err != nil {
		return err
	}

	say("aws ec2 revoke-security-group-ingress --group-id %s --protocol tcp --port 8080 --cidr 0.0.0.0/0", open)
	if _, err := t.ec2.RevokeSecurityGroupIngress(t.ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: &open, IpPermissions: []ec2types.IpPermission{{
		IpProtocol: aws.String("tcp"), FromPort: aws.Int32(8080), ToPort: aws.Int32(8080), IpRanges: []ec2types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}}}}}); err != nil {
		return err
	}
	if err := t.authorize(open, from(t.balancer), "--source-group "+t.balancer); err != nil {
		return err
	}
	if err := expect(direct, false, "the same, its group admits only the balancer's"); err != nil {
		return err
	}
	if _, err := s.get(t.ctx); err != nil {
		return fmt.Errorf("through the balancer: %w", err)
	}
	fmt.Printf("  $ curl %s\n    answered: the balancer is in an admitted group\n", s.url)
	if err := t.between(open); err != nil {
		return err
	}
	out, err := s.lotse(t.ctx, "network", "counters")
	if err != nil {
		return err
	}
	dropped := false
	for line := range strings.Lines(out) {
		fmt.Print("    ", line)
		n, _, _ := strings.Cut(line, " ")
		dropped = dropped || strings.Contains(line, "dropped") && n != "0"
	}
	fmt.Println()
	if !dropped {
		return errors.New("the kernel counted no dropped packet")
	}
	return nil
}

// between has a second task in the VPC get through exactly when its group is admitted.
func (t *groupStory) between(closed string) error {
	_, private, err := t.run(closed, false)
	if err != nil {
		return err
	}
	for _, admitted := range []bool{false, true} {
		client, err := t.group(map[bool]string{false: "stranger", true: "friend"}[admitted])
		if err != nil {
			return err
		}
		if admitted {
			if err := t.authorize(closed, from(client), "--source-group "+client); err != nil {
				return err
			}
		}
		code, err := t.probe(client, private)
		if err != nil {
			return err
		}
		fmt.Printf("    a second task, in a group that is %s: GET http://%s:8080/ %s\n", map[bool]string{false: "not admitted", true: "admitted"}[admitted], private,
			map[bool]string{false: "timed out", true: "answered"}[code == 0])
		if (code == 0) != admitted {
			return fmt.Errorf("the probe ended with %d; admitted: %v", code, admitted)
		}
	}
	return nil
}

// probe runs a task that asks address once and returns its exit code: 0 if it was answered.
func (t *groupStory) probe(group, address string) (int32, error) {
	out, err := t.ecs.RunTask(t.ctx, t.input(group, false, "probe", "http://"+net.JoinHostPort(address, "8080")+"/"))
	if err != nil {
		return 0, err
	}
	if len(out.Failures) > 0 {
		return 0, errors.New(aws.ToString(out.Failures[0].Reason))
	}
	arn := *out.Tasks[0].TaskArn
	t.tasks = append(t.tasks, arn)
	if err := ecs.NewTasksStoppedWaiter(t.ecs, quick).Wait(t.ctx, &ecs.DescribeTasksInput{Cluster: t.service.ClusterArn, Tasks: []string{arn}}, time.Minute); err != nil {
		return 0, err
	}
	d, err := t.ecs.DescribeTasks(t.ctx, &ecs.DescribeTasksInput{Cluster: t.service.ClusterArn, Tasks: []string{arn}})
	if err != nil {
		return 0, err
	}
	c := d.Tasks[0].Containers[0]
	if c.ExitCode == nil {
		return 0, fmt.Errorf("the probe did not run: %s", aws.ToString(d.Tasks[0].StoppedReason))
	}
	return *c.ExitCode, nil
}

func quick(o *ecs.TasksStoppedWaiterOptions) {
	o.MinDelay, o.MaxDelay = 50*time.Millisecond, time.Second
}

func (t *groupStory) input(group string, public bool, command ...string) *ecs.RunTaskInput {
	in := &ecs.RunTaskInput{Cluster: t.service.ClusterArn, TaskDefinition: t.service.TaskDefinition, LaunchType: ecstypes.LaunchTypeFargate,
		NetworkConfiguration: &ecstypes.NetworkConfiguration{AwsvpcConfiguration: &ecstypes.AwsVpcConfiguration{
			Subnets: t.network.Subnets, SecurityGroups: []string{group}, AssignPublicIp: ecstypes.AssignPublicIpDisabled}}}
	if public {
		in.NetworkConfiguration.AwsvpcConfiguration.AssignPublicIp = ecstypes.AssignPublicIpEnabled
	}
	if len(command) > 0 {
		in.Overrides = &ecstypes.TaskOverride{ContainerOverrides: []ecstypes.ContainerOverride{{Name: aws.String("hello"), Command: command}}}
	}
	return in
}

// run starts the example once more, in a group of its own, and waits until it runs.
func (t *groupStory) run(group string, public bool) (publicAddress, private string, err error) {
	in := t.input(group, public)
	say("aws ecs run-task --task-definition hello --network-configuration 'awsvpcConfiguration={subnets=[…],securityGroups=[%s],assignPublicIp=%s}'",
		group, in.NetworkConfiguration.AwsvpcConfiguration.AssignPublicIp)
	out, err := t.ecs.RunTask(t.ctx, in)
	if err != nil {
		return "", "", err
	}
	if len(out.Failures) > 0 {
		return "", "", errors.New(aws.ToString(out.Failures[0].Reason))
	}
	arn := *out.Tasks[0].TaskArn
	t.tasks = append(t.tasks, arn)
	d := &ecs.DescribeTasksInput{Cluster: t.service.ClusterArn, Tasks: []string{arn}}
	if err := ecs.NewTasksRunningWaiter(t.ecs, func(o *ecs.TasksRunningWaiterOptions) { o.MinDelay, o.MaxDelay = 50*time.Millisecond, time.Second }).Wait(t.ctx, d, time.Minute); err != nil {
		return "", "", err
	}
	tasks, err := t.ecs.DescribeTasks(t.ctx, d)
	if err != nil {
		return "", "", err
	}
	for _, kv := range tasks.Tasks[0].Attachments[0].Details {
		switch *kv.Name {
		case "privateIPv4Address":
			private = *kv.Value
		case "networkInterfaceId":
			enis, err := t.ec2.DescribeNetworkInterfaces(t.ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{*kv.Value}})
			if err != nil {
				return "", "", err
			}
			if a := enis.NetworkInterfaces[0].Association; a != nil {
				publicAddress = aws.ToString(a.PublicIp)
			}
		}
	}
	return publicAddress, private, nil
}

func (t *groupStory) group(name string) (string, error) {
	say("aws ec2 create-security-group --group-name demo-%s --description demo --vpc-id %s", name, t.vpc)
	out, err := t.ec2.CreateSecurityGroup(t.ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("demo-" + name), Description: aws.String("demo"), VpcId: &t.vpc})
	if err != nil {
		return "", err
	}
	t.groups = append(t.groups, *out.GroupId)
	return *out.GroupId, nil
}

func (t *groupStory) authorize(group string, p ec2types.IpPermission, args string) error {
	say("aws ec2 authorize-security-group-ingress --group-id %s --protocol tcp --port 8080 %s", group, args)
	_, err := t.ec2.AuthorizeSecurityGroupIngress(t.ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &group, IpPermissions: []ec2types.IpPermission{p}})
	return err
}

func (t *groupStory) groupNamed(name string) (string, error) {
	out, err := t.ec2.DescribeSecurityGroups(t.ctx, &ec2.DescribeSecurityGroupsInput{Filters: []ec2types.Filter{{Name: aws.String("group-name"), Values: []string{name}}}})
	if err != nil {
		return "", err
	}
	if len(out.SecurityGroups) != 1 {
		return "", fmt.Errorf("%d groups are named %s", len(out.SecurityGroups), name)
	}
	return *out.SecurityGroups[0].GroupId, nil
}

func (t *groupStory) vpcOf(group string) (string, error) {
	out, err := t.ec2.DescribeSecurityGroups(t.ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{group}})
	if err != nil {
		return "", err
	}
	return *out.SecurityGroups[0].VpcId, nil
}

// clean stops the tasks and deletes the groups.
func (t *groupStory) clean() error {
	var errs []error
	for _, arn := range t.tasks {
		_, err := t.ecs.StopTask(t.ctx, &ecs.StopTaskInput{Cluster: t.service.ClusterArn, Task: aws.String(arn)})
		errs = append(errs, err)
	}
	if len(t.tasks) > 0 {
		errs = append(errs, ecs.NewTasksStoppedWaiter(t.ecs, quick).Wait(t.ctx, &ecs.DescribeTasksInput{Cluster: t.service.ClusterArn, Tasks: t.tasks}, time.Minute))
	}
	for _, g := range t.groups {
		_, err := t.ec2.DeleteSecurityGroup(t.ctx, &ec2.DeleteSecurityGroupInput{GroupId: &g})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Private

func from(group string) ec2types.IpPermission {
	return ec2types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(8080), ToPort: aws.Int32(8080), UserIdGroupPairs: []ec2types.UserIdGroupPair{{GroupId: &group}}}
}

// expect asks a URL directly: it answers, or the request times out, as a dropped packet's does.
// Anything else, such as a refused connection, is neither, but for the moment that a process takes
// between its start and its first listen.
func expect(url string, answers bool, what string) error {
	client := &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	fmt.Printf("  $ curl --max-time 3 %s\n", url)
	var err error
	for range 30 {
		var resp *http.Response
		if resp, err = client.Get(url); err == nil {
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			fmt.Printf("    %s: %s\n", what, strings.TrimSpace(string(b)))
			if !answers {
				return fmt.Errorf("%s answered", url)
			}
			return nil
		}
		if !answers || !errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	var ne net.Error
	if answers || !errors.As(err, &ne) || !ne.Timeout() {
		return fmt.Errorf("%s: %w", what, err)
	}
	fmt.Printf("    %s: timed out\n", what)
	return nil
}

func say(format string, args ...any) { fmt.Printf("  $ "+format+"\n", args...) }
