package ecs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// keyOf is the key of a task's records.
func keyOf(t types.Task) string {
	a, _ := arn.Parse(*t.TaskArn)
	return here.Key(a.Name())
}

func TestRunTask_Answers(t *testing.T) {
	b := newBench(t)
	b.cluster()
	td := b.register()
	out := must(b.runTask(func(in *ecs.RunTaskInput) {
		in.Count, in.StartedBy = aws.Int32(2), aws.String("me/1")
		in.Tags = []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}
		in.EnableECSManagedTags = true
	}))(t)
	if len(out.Tasks) != 2 || len(out.Failures) != 0 {
		t.Fatalf("%d tasks, failures %v", len(out.Tasks), out.Failures)
	}
	got := out.Tasks[0]
	want := types.Task{
		TaskArn: got.TaskArn, ClusterArn: aws.String(here.ARN("ecs", "cluster/default")), TaskDefinitionArn: &td, LastStatus: aws.String("PROVISIONING"),
		DesiredStatus: aws.String("RUNNING"), Cpu: aws.String("256"), Memory: aws.String("512"), Version: 1, Group: aws.String("family:web"),
		LaunchType: types.LaunchTypeFargate, PlatformVersion: aws.String("1.4.0"), PlatformFamily: aws.String("Linux"), CreatedAt: got.CreatedAt,
		HealthStatus: types.HealthStatusUnknown, StartedBy: aws.String("me/1"),
		Attributes:  []types.Attribute{{Name: aws.String("ecs.cpu-architecture"), Value: aws.String("x86_64")}},
		Tags:        []types.Tag{{Key: aws.String("aws:ecs:clusterName"), Value: aws.String("default")}, {Key: aws.String("k"), Value: aws.String("v")}},
		Attachments: []types.Attachment{{Type: aws.String("ElasticNetworkInterface"), Status: aws.String("PRECREATED"), Details: []types.KeyValuePair{{Name: aws.String("subnetId"), Value: &b.subnets[0]}}}},
		Containers: []types.Container{{TaskArn: got.TaskArn, Name: aws.String("app"), Image: aws.String("app:1"), LastStatus: aws.String("PENDING"),
			HealthStatus: types.HealthStatusUnknown, Cpu: aws.String("0"), NetworkBindings: []types.NetworkBinding{}, NetworkInterfaces: []types.NetworkInterface{}}},
		Overrides:        &types.TaskOverride{ContainerOverrides: []types.ContainerOverride{{Name: aws.String("app")}}, InferenceAcceleratorOverrides: []types.InferenceAcceleratorOverride{}},
		EphemeralStorage: &types.EphemeralStorage{SizeInGiB: 20}, FargateEphemeralStorage: &types.TaskEphemeralStorage{SizeInGiB: 20},
	}
	if d := cmp.Diff(want, got, ignoreNoSmithy); d != "" {
		t.Errorf("task (-want +got): %s", d)
	}
}

func TestRunTask_Overrides(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	ov := &types.TaskOverride{Cpu: aws.String("512"), Memory: aws.String("1024"), ExecutionRoleArn: aws.String(roleARN), EphemeralStorage: &types.EphemeralStorage{SizeInGiB: 50},
		ContainerOverrides: []types.ContainerOverride{{Name: aws.String("app"), Command: []string{"x"}, Environment: []types.KeyValuePair{{Name: aws.String("A"), Value: aws.String("1")}}}}}
	out := must(b.runTask(func(in *ecs.RunTaskInput) { in.Overrides = ov }))(t)
	v := out.Tasks[0]
	if *v.Cpu != "512" || *v.Memory != "1024" || !slices.Equal(v.Overrides.ContainerOverrides[0].Command, []string{"x"}) ||
		v.EphemeralStorage.SizeInGiB != 50 || v.Overrides.EphemeralStorage.SizeInGiB != 50 {
		t.Errorf("%+v", v)
	}
	for _, tc := range []struct {
		ov            types.TaskOverride
		code, message string
	}{
		{types.TaskOverride{EphemeralStorage: &types.EphemeralStorage{SizeInGiB: 20}}, "InvalidParameterException", "Invalid ephemeralStorage.sizeInGiB '20': the size is 21 to 200 GiB."},
		{types.TaskOverride{ContainerOverrides: []types.ContainerOverride{{Name: aws.String("db")}}}, "InvalidParameterException", "Override for container named db is not a container in the TaskDefinition."},
		{types.TaskOverride{Cpu: aws.String("512")}, "ClientException", "No Fargate configuration exists for given values."},
		{types.TaskOverride{ExecutionRoleArn: aws.String("arn:aws:iam::000000000000:role/nobody")}, "ClientException", state.CannotAssume("arn:aws:iam::000000000000:role/nobody")},
		{types.TaskOverride{TaskRoleArn: aws.String("arn:aws:iam::000000000000:role/lambda")}, "ClientException", state.CannotAssume("arn:aws:iam::000000000000:role/lambda")},
		{types.TaskOverride{ContainerOverrides: []types.ContainerOverride{{Name: aws.String("app"), Command: []string{strings.Repeat("x", 8200)}}}}, "InvalidParameterException", "Overrides have at most 8192 characters."},
	} {
		_, err := b.runTask(func(in *ecs.RunTaskInput) { in.Overrides = &tc.ov })
		refused(t, err, tc.code, tc.message)
	}
}

func TestRunTask_ClientToken(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	run := func(count int32) (*ecs.RunTaskOutput, error) {
		return b.runTask(func(in *ecs.RunTaskInput) { in.ClientToken, in.Count = aws.String("once"), &count })
	}
	first := must(run(2))(t)
	b.ran(keyOf(first.Tasks[0]), "RUNNING")
	must(b.s.DeregisterTaskDefinition(b.ctx, &ecs.DeregisterTaskDefinitionInput{TaskDefinition: aws.String("web:1")}))(t)
	again := must(run(2))(t) // answered from the first, whatever has become of the definition
	var a, c []string
	for i := range first.Tasks {
		a, c = append(a, *first.Tasks[i].TaskArn), append(c, *again.Tasks[i].TaskArn)
	}
	slices.Sort(a)
	slices.Sort(c)
	if d := cmp.Diff(a, c); d != "" {
		t.Errorf("the same token made other tasks: %s", d)
	}
	_, err := run(1)
	refused(t, err, "ConflictException", "A request with this clientToken and other parameters has started "+strings.Join(a, ", ")+".")
	b.clock = b.clock.Add(25 * time.Hour)
	b.register()
	late := must(run(1))(t)
	if len(late.Tasks) != 1 || slices.Contains(a, *late.Tasks[0].TaskArn) {
		t.Errorf("a token is forgotten after a day: %+v", late.Tasks)
	}
	if n := len(must(b.s.ListTasks(b.ctx, &ecs.ListTasksInput{}))(t).TaskArns); n != 3 {
		t.Errorf("%d tasks, want 3", n)
	}
	if again := must(run(1))(t); *again.Tasks[0].TaskArn != *late.Tasks[0].TaskArn {
		t.Errorf("the token was not remembered anew: %+v", again.Tasks)
	}
	var tokens int
	b.update(func(tx *store.WriteTx) (err error) { tokens, err = state.RunTokens.Count(tx, ""); return err })
	if tokens != 1 {
		t.Errorf("%d tokens are kept, want 1", tokens)
	}
}

func TestRunTask_NoMemoryLeft(t *testing.T) {
	b := newBench(t)
	b.s = New(Options{DB: b.db, Memory: 1500})
	b.cluster()
	b.register()
	out := must(b.runTask(func(in *ecs.RunTaskInput) { in.Count = aws.Int32(3) }))(t)
	if len(out.Tasks) != 2 || len(out.Failures) != 1 || *out.Failures[0].Reason != "RESOURCE:MEMORY" {
		t.Fatalf("%d tasks, failures %+v", len(out.Tasks), out.Failures)
	}
	b.ran(keyOf(out.Tasks[0]), "DEPROVISIONING")
	if out := must(b.runTask())(t); len(out.Tasks) != 0 {
		t.Error("memory of a task that is not STOPPED was given away")
	}
	b.ran(keyOf(out.Tasks[0]), "STOPPED")
	if out := must(b.runTask())(t); len(out.Tasks) != 1 {
		t.Errorf("a stopped task still takes memory: %+v", out.Failures)
	}
}

func TestRunTask_Refuses(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	type in = ecs.RunTaskInput
	vpc := func(f func(*types.AwsVpcConfiguration)) func(*in) {
		return func(in *in) { f(in.NetworkConfiguration.AwsvpcConfiguration) }
	}
	for name, tc := range map[string]struct {
		change        func(*in)
		code, message string
	}{
		"count":          {func(in *in) { in.Count = aws.Int32(11) }, "InvalidParameterException", "count should be between 1 and 10."},
		"count 0":        {func(in *in) { in.Count = aws.Int32(0) }, "InvalidParameterException", "count should be between 1 and 10."},
		"cluster":        {func(in *in) { in.Cluster = aws.String("nope") }, "ClusterNotFoundException", "Cluster not found."},
		"definition":     {func(in *in) { in.TaskDefinition = aws.String("nope") }, "ClientException", "TaskDefinition not found."},
		"no network":     {func(in *in) { in.NetworkConfiguration = nil }, "InvalidParameterException", "Network Configuration must be provided when networkMode 'awsvpc' is specified."},
		"no subnets":     {vpc(func(c *types.AwsVpcConfiguration) { c.Subnets = nil }), "InvalidParameterException", "subnets can not be empty."},
		"unknown subnet": {vpc(func(c *types.AwsVpcConfiguration) { c.Subnets = []string{"subnet-1"} }), "InvalidParameterException", "Error retrieving subnet information for [subnet-1]: The subnet ID 'subnet-1' does not exist (ErrorCode: InvalidSubnetID.NotFound)"},
		"unknown group":  {vpc(func(c *types.AwsVpcConfiguration) { c.SecurityGroups = []string{"sg-1"} }), "InvalidParameterException", "Error retrieving security group information for [sg-1]: The security group 'sg-1' does not exist (ErrorCode: InvalidGroup.NotFound)"},
		"SERVICE tags":   {func(in *in) { in.PropagateTags = types.PropagateTagsService }, "InvalidParameterException", "propagateTags SERVICE is only for tasks of a service."},
		"platform":       {func(in *in) { in.PlatformVersion = aws.String("9.9") }, "PlatformUnknownException", "The specified platform '9.9' does not exist."},
		"EC2":            {func(in *in) { in.LaunchType = "" }, "InvalidParameterException", "No Container Instances were found in your cluster. Lotse runs tasks with launch type FARGATE: pass it."},
		"group":          {func(in *in) { in.Group = aws.String("service:svc") }, "InvalidParameterException", "Invalid namespace for group."},
		"startedBy":      {func(in *in) { in.StartedBy = aws.String("a b") }, "InvalidParameterException", "startedBy should have at most 128 letters, digits, hyphens, forward slashes and underscores."},
		"other region": {func(in *in) { in.Cluster = aws.String("arn:aws:ecs:eu-west-1:000000000000:cluster/default") }, "InvalidParameterException",
			"Invalid Region in ARN: eu-west-1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := b.runTask(tc.change)
			refused(t, err, tc.code, tc.message)
		})
	}
	if n := len(must(b.s.ListTasks(b.ctx, &ecs.ListTasksInput{}))(t).TaskArns); n != 0 {
		t.Errorf("%d tasks were made by refused requests", n)
	}
}

func TestRunTask_DefaultGroupOfTheVPC(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	out := must(b.runTask(func(in *ecs.RunTaskInput) { in.NetworkConfiguration.AwsvpcConfiguration.SecurityGroups = nil }))(t)
	err := b.db.View(t.Context(), func(tx *store.ReadTx) error {
		o, err := state.Tasks.Get(tx, keyOf(out.Tasks[0]))
		if !slices.Equal(o.Val.Network.SecurityGroups, []string{b.group}) {
			t.Errorf("groups %v, want %s", o.Val.Network.SecurityGroups, b.group)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRunTask_PropagateTags(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register(func(in *ecs.RegisterTaskDefinitionInput) {
		in.Tags = []types.Tag{{Key: aws.String("a"), Value: aws.String("definition")}, {Key: aws.String("b"), Value: aws.String("definition")}}
	})
	out := must(b.runTask(func(in *ecs.RunTaskInput) {
		in.PropagateTags = types.PropagateTagsTaskDefinition
		in.Tags = []types.Tag{{Key: aws.String("b"), Value: aws.String("task")}}
	}))(t)
	want := []types.Tag{{Key: aws.String("a"), Value: aws.String("definition")}, {Key: aws.String("b"), Value: aws.String("task")}}
	if d := cmp.Diff(want, out.Tasks[0].Tags, ignoreNoSmithy); d != "" {
		t.Error(d)
	}
}

func TestStopTask(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	task := must(b.runTask())(t).Tasks[0]
	_, id, _ := strings.Cut(*task.TaskArn, "task/default/")
	out := must(b.s.StopTask(b.ctx, &ecs.StopTaskInput{Task: &id}))(t)
	if *out.Task.DesiredStatus != "STOPPED" || *out.Task.LastStatus != "PROVISIONING" || out.Task.StopCode != "UserInitiated" || *out.Task.StoppedReason != "Task stopped by user" {
		t.Errorf("%+v", out.Task)
	}
	out = must(b.s.StopTask(b.ctx, &ecs.StopTaskInput{Task: task.TaskArn, Reason: aws.String("late")}))(t)
	if *out.Task.StoppedReason != "Task stopped by user" {
		t.Errorf("the second StopTask changed the reason to %q", *out.Task.StoppedReason)
	}
	task = must(b.runTask())(t).Tasks[0]
	out = must(b.s.StopTask(b.ctx, &ecs.StopTaskInput{Task: task.TaskArn, Reason: aws.String("because")}))(t)
	if *out.Task.StoppedReason != "because" {
		t.Errorf("reason %q", *out.Task.StoppedReason)
	}
	_, err := b.s.StopTask(b.ctx, &ecs.StopTaskInput{Task: aws.String(strings.Repeat("0", 32))})
	refused(t, err, "InvalidParameterException", "The referenced task was not found.")
	_, err = b.s.StopTask(b.ctx, &ecs.StopTaskInput{Task: aws.String(here.ARN("ecs", "task/prod/"+id))})
	refused(t, err, "InvalidParameterException", "Invalid identifier: Identifier is for cluster prod. Your cluster is default")
}

// A task that ended by itself keeps its own reason.
func TestStopTask_AfterTheEnd(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	task := must(b.runTask())(t).Tasks[0]
	b.update(func(tx *store.WriteTx) error {
		st := state.TaskStatus{LastStatus: "STOPPED", Stop: &state.Stop{At: tx.Now(), Code: "EssentialContainerExited", Reason: "Essential container in task exited"}}
		return state.TaskStatuses.Put(tx, &store.Object[state.TaskStatus]{Key: keyOf(task), Val: st})
	})
	out := must(b.s.StopTask(b.ctx, &ecs.StopTaskInput{Task: task.TaskArn}))(t)
	if out.Task.StopCode != "EssentialContainerExited" {
		t.Errorf("%s: %s", out.Task.StopCode, *out.Task.StoppedReason)
	}
	err := b.db.View(t.Context(), func(tx *store.ReadTx) error {
		o, err := state.Tasks.Get(tx, keyOf(task))
		if o.Val.Stop != nil {
			t.Errorf("intent %+v on a stopped task", o.Val.Stop)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestDescribeTasks(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	task := must(b.runTask(func(in *ecs.RunTaskInput) { in.Tags = []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}} }))(t).Tasks[0]
	code := 137
	b.update(func(tx *store.WriteTx) error {
		st := state.TaskStatus{LastStatus: "RUNNING", Version: 7, AttachmentID: "at", ENI: "eni-1", Subnet: b.subnets[1], Address: "172.31.16.4", Zone: "us-east-1b",
			ConnectivityAt: tx.Now(), StartedAt: tx.Now(), Containers: []state.ContainerStatus{{Name: "app", ARNID: "c1", LastStatus: "RUNNING", Digest: "sha256:1", RuntimeID: "r", ExitCode: &code, Reason: "why"}}}
		return state.TaskStatuses.Put(tx, &store.Object[state.TaskStatus]{Key: keyOf(task), Val: st})
	})
	gone := strings.Repeat("0", 32)
	out := must(b.s.DescribeTasks(b.ctx, &ecs.DescribeTasksInput{Tasks: []string{*task.TaskArn, gone}, Include: []types.TaskField{types.TaskFieldTags}}))(t)
	wantFailures := []types.Failure{{Arn: aws.String(here.ARN("ecs", "task/default/"+gone)), Reason: aws.String("MISSING")}}
	if d := cmp.Diff(wantFailures, out.Failures, ignoreNoSmithy); d != "" {
		t.Error(d)
	}
	v := out.Tasks[0]
	if *v.LastStatus != "RUNNING" || v.Version != 7 || v.Connectivity != "CONNECTED" || *v.AvailabilityZone != "us-east-1b" || len(v.Tags) != 1 {
		t.Errorf("%+v", v)
	}
	var details []string
	for _, d := range v.Attachments[0].Details {
		details = append(details, *d.Name+"="+*d.Value)
	}
	want := []string{"subnetId=" + b.subnets[1], "networkInterfaceId=eni-1", "macAddress=" + state.MACOf("172.31.16.4"), "privateDnsName=ip-172-31-16-4.ec2.internal", "privateIPv4Address=172.31.16.4"}
	if d := cmp.Diff(want, details); d != "" || *v.Attachments[0].Status != "ATTACHED" {
		t.Errorf("%s: %s", *v.Attachments[0].Status, d)
	}
	c := v.Containers[0]
	if *c.ExitCode != 137 || *c.Reason != "why" || *c.ImageDigest != "sha256:1" || *c.NetworkInterfaces[0].PrivateIpv4Address != "172.31.16.4" ||
		*c.NetworkInterfaces[0].AttachmentId != "at" || !strings.HasSuffix(*c.ContainerArn, ":container/default/"+strings.TrimPrefix(*task.TaskArn, here.ARN("ecs", "task/default/"))+"/c1") {
		t.Errorf("%+v", c)
	}
	_, err := b.s.DescribeTasks(b.ctx, &ecs.DescribeTasksInput{})
	refused(t, err, "InvalidParameterException", "Tasks cannot be empty.")
}

func TestListTasks(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	b.register(func(in *ecs.RegisterTaskDefinitionInput) { in.Family = aws.String("job") })
	must(b.createService())(t)
	names := map[string]string{}
	run := func(name string, change func(*ecs.RunTaskInput)) {
		names[*must(b.runTask(change))(t).Tasks[0].TaskArn] = name
	}
	run("web", func(in *ecs.RunTaskInput) {})
	run("job", func(in *ecs.RunTaskInput) { in.TaskDefinition = aws.String("job") })
	run("mine", func(in *ecs.RunTaskInput) { in.StartedBy = aws.String("me") })
	run("stopped", func(in *ecs.RunTaskInput) {})
	for a, name := range names {
		if name == "stopped" {
			must(b.s.StopTask(b.ctx, &ecs.StopTaskInput{Task: &a}))(t)
		}
	}
	names[b.serviceTask(strings.Repeat("1", 32), "ecs-svc/1", "RUNNING").ARN()] = "service"
	for _, tc := range []struct {
		in   ecs.ListTasksInput
		want string
	}{
		{ecs.ListTasksInput{}, "job mine service web"},
		{ecs.ListTasksInput{DesiredStatus: types.DesiredStatusStopped}, "stopped"},
		{ecs.ListTasksInput{DesiredStatus: types.DesiredStatusPending}, ""},
		{ecs.ListTasksInput{Family: aws.String("job")}, "job"},
		{ecs.ListTasksInput{Family: aws.String("jo")}, ""},
		{ecs.ListTasksInput{ServiceName: aws.String("svc")}, "service"},
		{ecs.ListTasksInput{ServiceName: aws.String(here.ARN("ecs", "service/default/svc"))}, "service"},
		{ecs.ListTasksInput{StartedBy: aws.String("me")}, "mine"},
		{ecs.ListTasksInput{StartedBy: aws.String("ecs-svc/1")}, "service"},
		{ecs.ListTasksInput{LaunchType: types.LaunchTypeEc2}, ""},
		{ecs.ListTasksInput{LaunchType: types.LaunchTypeFargate, Family: aws.String("web")}, "mine service web"},
	} {
		var got []string
		tc.in.MaxResults = aws.Int32(2)
		for {
			out := must(b.s.ListTasks(b.ctx, &tc.in))(t)
			for _, a := range out.TaskArns {
				got = append(got, names[a])
			}
			if tc.in.NextToken = out.NextToken; out.NextToken == nil {
				break
			}
		}
		slices.Sort(got)
		if got := strings.Join(got, " "); got != tc.want {
			t.Errorf("%s = %s, want %s", fmt.Sprint(awswire.SetMembers(tc.in, "MaxResults")), got, tc.want)
		}
	}
	_, err := b.s.ListTasks(b.ctx, &ecs.ListTasksInput{ServiceName: aws.String("nope")})
	refused(t, err, "ServiceNotFoundException", "Service not found.")
	_, err = b.s.ListTasks(b.ctx, &ecs.ListTasksInput{StartedBy: aws.String("me"), Family: aws.String("web")})
	refused(t, err, "InvalidParameterException", "startedBy must be the only filter.")
}

// Tasks that have STOPPED, which are kept for weeks, cost nothing when somebody looks at a cluster.
func TestStoppedTasks_CostNothing(t *testing.T) {
	b := newBench(t)
	b.cluster()
	b.register()
	live := must(b.runTask(func(in *ecs.RunTaskInput) { in.Count = aws.Int32(2) }))(t)
	b.ran(keyOf(live.Tasks[0]), "RUNNING")
	look := func() (reads int64) {
		t.Helper()
		before := b.db.Reads()
		c := must(b.s.DescribeClusters(b.ctx, &ecs.DescribeClustersInput{}))(t).Clusters[0]
		list := must(b.s.ListTasks(b.ctx, &ecs.ListTasksInput{}))(t).TaskArns
		if c.RunningTasksCount != 1 || c.PendingTasksCount != 1 || len(list) != 2 {
			t.Errorf("%d tasks run, %d are to, %d listed", c.RunningTasksCount, c.PendingTasksCount, len(list))
		}
		return b.db.Reads() - before
	}
	before := look()
	b.update(func(tx *store.WriteTx) error {
		o, err := state.Tasks.Get(tx, keyOf(live.Tasks[1]))
		if err != nil {
			return err
		}
		for n := range 300 {
			o.Val.ID = fmt.Sprintf("%032x", n)
			st := store.Object[state.TaskStatus]{Key: o.Val.Key(), Val: state.TaskStatus{LastStatus: "STOPPED", StoppedAt: tx.Now(), Stop: &state.Stop{}}}
			_, err := state.AddTask(tx, o.Val, 0)
			if err = errors.Join(err, state.TaskStatuses.Put(tx, &st), state.ReleaseTask(tx, o.Val)); err != nil {
				return err
			}
		}
		return nil
	})
	if after := look(); after != before {
		t.Errorf("%d records were read, with 300 STOPPED tasks %d", before, after)
	}
	if n := len(must(b.s.ListTasks(b.ctx, &ecs.ListTasksInput{DesiredStatus: types.DesiredStatusStopped}))(t).TaskArns); n != 100 {
		t.Errorf("a page of the STOPPED has %d, want 100", n)
	}
	b.update(state.CountTasks) // as when a server starts
	if after := look(); after != before {
		t.Errorf("%d records were read, counted anew %d", before, after)
	}
}
