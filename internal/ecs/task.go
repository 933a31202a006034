package ecs

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/lazyregexp"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// RunTask starts up to 10 tasks. The answer comes before they run.
func (s *Service) RunTask(ctx context.Context, in *ecs.RunTaskInput) (*ecs.RunTaskOutput, error) {
	if err := onlyMembers("", in, "Cluster", "TaskDefinition", "Count", "LaunchType", "PlatformVersion", "NetworkConfiguration",
		"Overrides", "Group", "StartedBy", "ClientToken", "PropagateTags", "EnableECSManagedTags", "Tags", "CapacityProviderStrategy", "ReferenceId"); err != nil {
		return nil, err
	}
	count := 1
	if in.Count != nil {
		count = int(*in.Count)
	}
	switch {
	case count < 1 || count > 10:
		return nil, invalid("count should be between 1 and 10.")
	case !startedByRE.MatchString(aws.ToString(in.StartedBy)):
		return nil, invalid("startedBy should have at most 128 letters, digits, hyphens, forward slashes and underscores.")
	case reservedGroup(aws.ToString(in.Group)):
		return nil, invalid("Invalid namespace for group.")
	case !isToken(aws.ToString(in.ClientToken), 64):
		return nil, invalid("clientToken should have at most 64 characters, of those from 33 to 126 in ASCII.")
	case in.PropagateTags == types.PropagateTagsService:
		return nil, invalid("propagateTags SERVICE is only for tasks of a service.")
	}
	if len(aws.ToString(in.ReferenceId)) > 1024 {
		return nil, invalid("referenceId should have at most 1024 characters.")
	}
	if err := checkLaunch(types.LaunchTypeFargate, in.PlatformVersion); err != nil {
		return nil, err
	}
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	sc, out := scope(ctx), &ecs.RunTaskOutput{Tasks: []types.Task{}, Failures: []types.Failure{}}
	err = s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		c, err := s.cluster(tx, sc, in.Cluster)
		if err != nil {
			return err
		}
		request := ""
		if aws.ToString(in.ClientToken) != "" {
			request = digest(in)
			if done, err := s.earlier(tx, c.Val, *in.ClientToken, request, out); done || err != nil {
				return err
			}
		}
		_, strategy, err := launch(c.Val, in.LaunchType, in.CapacityProviderStrategy)
		if err != nil {
			return err
		}
		td, err := findTaskDefinition(tx, sc, aws.ToString(in.TaskDefinition))
		if err != nil {
			return err
		}
		def := td.Val.Definition
		if def.Status != types.TaskDefinitionStatusActive {
			return errTaskDefInactive
		}
		network, err := awsvpc(tx, sc, in.NetworkConfiguration)
		if err != nil {
			return err
		}
		t := state.Task{
			Scope: sc, Cluster: c.Val.Name, TaskDefinitionARN: *def.TaskDefinitionArn, LaunchType: "FARGATE", PlatformVersion: platformVersion,
			Group: aws.ToString(in.Group), StartedBy: aws.ToString(in.StartedBy),
			Network: network, Tags: tags, CreatedAt: tx.Now(),
		}
		if t.Group == "" {
			t.Group = "family:" + aws.ToString(def.Family)
		}
		if err := s.override(tx, sc, &t, def, in.Overrides); err != nil {
			return err
		}
		if in.PropagateTags == types.PropagateTagsTaskDefinition {
			t.Tags = merge(td.Val.Tags, t.Tags)
		}
		if ownTags(t.Tags) > maxTags {
			return errTooManyTagsGiven
		}
		if in.EnableECSManagedTags {
			t.Tags = merge(map[string]string{"aws:ecs:clusterName": t.Cluster}, t.Tags)
		}
		var started []string
		for _, provider := range providers(strategy, count) {
			t.ID, t.CapacityProvider = randomHex(16), provider
			ok, err := state.AddTask(tx, t, s.o.Memory)
			if err != nil {
				return err
			}
			if !ok {
				// Source: API_failures_messages. The machine is the one container instance.
				out.Failures = append(out.Failures, types.Failure{
					Arn: aws.String(sc.ARN("ecs", "container-instance/"+t.Cluster+"/"+machineID)), Reason: aws.String("RESOURCE:MEMORY")})
				continue
			}
			v, err := s.taskView(tx, t, true)
			if err != nil {
				return err
			}
			out.Tasks = append(out.Tasks, v)
			started = append(started, t.ID)
		}
		if request == "" || len(started) == 0 {
			return nil
		}
		o, err := state.RunTokens.Get(tx, sc.Key(c.Val.Name, *in.ClientToken)) // one that is forgotten is replaced
		if absent(err, nil) != nil {
			return err
		}
		o.Key, o.Val = sc.Key(c.Val.Name, *in.ClientToken), state.RunToken{Request: request, Tasks: started, At: tx.Now()}
		return state.RunTokens.Put(tx, &o)
	})
	return out, err
}

// StopTask asks a task to stop and returns at once. A service's scheduler replaces it.
func (s *Service) StopTask(ctx context.Context, in *ecs.StopTaskInput) (*ecs.StopTaskOutput, error) {
	if err := onlyMembers("", in, "Cluster", "Task", "Reason"); err != nil {
		return nil, err
	}
	sc := scope(ctx)
	out := &ecs.StopTaskOutput{}
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		c, err := s.cluster(tx, sc, in.Cluster)
		if err != nil {
			return err
		}
		id, err := lastName(sc, c.Val.Name, "task", aws.ToString(in.Task))
		if err != nil {
			return err
		}
		t, err := state.Tasks.Get(tx, sc.Key(c.Val.Name, id))
		if errors.Is(err, store.ErrNotFound) {
			return errTaskNotFound
		}
		if err != nil {
			return err
		}
		st, err := taskStatus(tx, t.Key)
		if err != nil {
			return err
		}
		if desiredStatus(t.Val, st) == "RUNNING" {
			reason := aws.ToString(in.Reason)
			if reason == "" {
				reason = "Task stopped by user"
			}
			t.Val.Stop = &state.Stop{At: tx.Now(), Code: string(types.TaskStopCodeUserInitiated), Reason: reason}
			if err := state.Tasks.Put(tx, &t); err != nil {
				return err
			}
		}
		v, err := s.taskView(tx, t.Val, false)
		out.Task = &v
		return err
	})
	return out, err
}

// DescribeTasks shows tasks, also stopped ones; what isn't there is a failure.
func (s *Service) DescribeTasks(ctx context.Context, in *ecs.DescribeTasksInput) (*ecs.DescribeTasksOutput, error) {
	if err := onlyMembers("", in, "Cluster", "Tasks", "Include"); err != nil {
		return nil, err
	}
	if len(in.Tasks) == 0 {
		return nil, invalid("Tasks cannot be empty.")
	}
	if len(in.Tasks) > 100 {
		return nil, invalid("tasks can have at most 100 items.")
	}
	sc, out := scope(ctx), &ecs.DescribeTasksOutput{Tasks: []types.Task{}, Failures: []types.Failure{}}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		c, err := s.cluster(tx, sc, in.Cluster)
		if err != nil {
			return err
		}
		for _, given := range in.Tasks {
			id, err := lastName(sc, c.Val.Name, "task", given)
			if err != nil {
				return err
			}
			t, err := state.Tasks.Get(tx, sc.Key(c.Val.Name, id))
			if errors.Is(err, store.ErrNotFound) {
				out.Failures = append(out.Failures, missing(sc.ARN("ecs", "task/"+c.Val.Name+"/"+id)))
				continue
			}
			if err != nil {
				return err
			}
			v, err := s.taskView(tx, t.Val, slices.Contains(in.Include, types.TaskFieldTags))
			if err != nil {
				return err
			}
			out.Tasks = append(out.Tasks, v)
		}
		return nil
	})
	return out, err
}

// ListTasks lists the ARNs of tasks that pass every given filter.
func (s *Service) ListTasks(ctx context.Context, in *ecs.ListTasksInput) (*ecs.ListTasksOutput, error) {
	if err := onlyMembers("", in, "Cluster", "ContainerInstance", "DesiredStatus", "Family", "LaunchType", "MaxResults", "NextToken",
		"ServiceName", "StartedBy"); err != nil {
		return nil, err
	}
	if in.StartedBy != nil && (in.Family != nil || in.ServiceName != nil || in.ContainerInstance != nil) {
		return nil, invalid("startedBy must be the only filter.")
	}
	if in.ContainerInstance != nil {
		return nil, invalid("Lotse runs FARGATE tasks: there are no container instances.")
	}
	desired := string(in.DesiredStatus)
	if desired == "" {
		desired = "RUNNING"
	}
	sc := scope(ctx)
	var arns []string
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		c, err := s.cluster(tx, sc, in.Cluster)
		if err != nil {
			return err
		}
		service := ""
		if in.ServiceName != nil {
			if service, err = lastName(sc, c.Val.Name, "service", *in.ServiceName); err != nil {
				return err
			}
			if _, err := state.Services.Get(tx, sc.Key(c.Val.Name, service)); err != nil {
				return absent(err, errServiceNotFound)
			}
		}
		list := state.LiveTasks // a STOPPED task is not desired to run
		if desired != "RUNNING" {
			list = state.Tasks.List
		}
		for t, err := range list(tx, sc.Key(c.Val.Name, "")) {
			if err != nil {
				return err
			}
			st, err := taskStatus(tx, t.Key)
			if err != nil {
				return err
			}
			if desiredStatus(t.Val, st) != desired ||
				service != "" && t.Val.Service != service ||
				in.StartedBy != nil && t.Val.StartedBy != *in.StartedBy ||
				in.Family != nil && !strings.Contains(t.Val.TaskDefinitionARN, "/"+*in.Family+":") ||
				in.LaunchType != "" && t.Val.LaunchType != string(in.LaunchType) {
				continue
			}
			arns = append(arns, t.Val.ARN())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	page, next, err := paginate(arns, in.NextToken, in.MaxResults, 100)
	return &ecs.ListTasksOutput{TaskArns: page, NextToken: next}, err
}

// Private

// platformVersion is the Fargate platform whose behaviour we follow. Source: DG: LATEST is 1.4.0.
const platformVersion = "1.4.0"

// machineID stands for this machine where AWS names a container instance.
const machineID = "00000000000000000000000000000001"

func checkLaunch(lt types.LaunchType, platform *string) error {
	switch lt {
	case types.LaunchTypeFargate:
	case "", types.LaunchTypeEc2:
		return invalid("No Container Instances were found in your cluster. Lotse runs tasks with launch type FARGATE: pass it.")
	default:
		return invalid("Lotse runs tasks with launch type FARGATE, not %s.", lt)
	}
	switch p := aws.ToString(platform); p {
	case "", "LATEST", platformVersion:
		return nil
	default:
		return awsError("PlatformUnknownException", "The specified platform '"+p+"' does not exist.")
	}
}

// override applies RunTask's overrides: what containers they name must exist.
func (s *Service) override(tx store.Reader, sc arn.Scope, t *state.Task, def types.TaskDefinition, ov *types.TaskOverride) error {
	cpu, memory, role := aws.ToString(def.Cpu), aws.ToString(def.Memory), def.ExecutionRoleArn
	if ov != nil {
		if jsonSize(ov) > 8192 {
			return invalid("Overrides have at most 8192 characters.")
		}
		if err := onlyMembers("overrides", *ov, "ContainerOverrides", "Cpu", "Memory", "ExecutionRoleArn", "TaskRoleArn", "EphemeralStorage"); err != nil {
			return err
		}
		if err := ephemeralStorage(ov.EphemeralStorage, invalid); err != nil {
			return err
		}
		for _, co := range ov.ContainerOverrides {
			if err := onlyMembers("a container override", co, "Name", "Command", "Environment", "EnvironmentFiles", "Cpu", "Memory", "MemoryReservation"); err != nil {
				return err
			}
			if container(def, aws.ToString(co.Name)) == nil {
				return invalid("Override for container named %s is not a container in the TaskDefinition.", aws.ToString(co.Name))
			}
			for _, e := range co.Environment {
				if !envNameRE.MatchString(aws.ToString(e.Name)) {
					return invalid("Environment names in overrides are not empty and hold no '='.")
				}
			}
			if err := environmentFiles(co.EnvironmentFiles, invalid); err != nil {
				return err
			}
			if r := co.MemoryReservation; r != nil && *r < 6 {
				return invalid("Overrides of container %s: memoryReservation is at least 6 MiB.", aws.ToString(co.Name))
			}
			if co.Memory != nil && *co.Memory < 6 || co.Cpu != nil && *co.Cpu < 0 {
				return invalid("Overrides of container %s: memory is at least 6 MiB, cpu not negative.", aws.ToString(co.Name))
			}
		}
		if ov.ExecutionRoleArn != nil {
			role = ov.ExecutionRoleArn
		}
		if ov.Cpu != nil {
			cpu = *ov.Cpu
		}
		if ov.Memory != nil {
			memory = *ov.Memory
		}
		t.Overrides = *ov
	}
	taskRole := state.TaskRole(*t, def)
	for _, role := range []*string{role, &taskRole} {
		if err := checkRole(tx, sc, role, nil); err != nil {
			return err
		}
	}
	var err error
	t.CPU, t.Memory, err = fargateSize(cpu, memory)
	return err
}

// isToken: a client token is of visible ASCII, or there is none. Source: ECS API, RunTask and CreateService, clientToken.
func isToken(s string, most int) bool {
	return len(s) <= most && !strings.ContainsFunc(s, func(r rune) bool { return r < '!' || r > '~' })
}

// earlier answers a repeated clientToken with the tasks of the first call, as far as they can still be described.
func (s *Service) earlier(tx *store.WriteTx, c state.Cluster, token, request string, out *ecs.RunTaskOutput) (bool, error) {
	o, err := state.RunTokens.Get(tx, c.Scope.Key(c.Name, token))
	if err != nil || tx.Now().Sub(o.Val.At) > state.RunTokenLife {
		return false, absent(err, nil)
	}
	if o.Val.Request != request {
		var arns []string
		for _, id := range o.Val.Tasks {
			arns = append(arns, c.Scope.ARN("ecs", "task/"+c.Name+"/"+id))
		}
		slices.Sort(arns)
		return false, awsError("ConflictException", "A request with this clientToken and other parameters has started "+strings.Join(arns, ", ")+".")
	}
	for _, id := range o.Val.Tasks {
		t, err := state.Tasks.Get(tx, c.Scope.Key(c.Name, id))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return false, err
		}
		v, err := s.taskView(tx, t.Val, true)
		if err != nil {
			return false, err
		}
		out.Tasks = append(out.Tasks, v)
	}
	return true, nil
}

// digest tells two requests apart.
func digest(in *ecs.RunTaskInput) string {
	b, _ := json.Marshal(in)
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

// startedByRE: Source: API reference, RunTask.
var startedByRE = lazyregexp.New(`^[A-Za-z0-9/_-]{0,128}$`)

// reservedGroup reports a group name of the kinds that ECS gives itself.
func reservedGroup(g string) bool {
	return strings.HasPrefix(g, "service:") || strings.HasPrefix(g, "family:")
}

// container finds a container of a definition by name; nil if there is none.
func container(def types.TaskDefinition, name string) *types.ContainerDefinition {
	for i, c := range def.ContainerDefinitions {
		if aws.ToString(c.Name) == name {
			return &def.ContainerDefinitions[i]
		}
	}
	return nil
}

// merge is a with b's entries over it.
func merge(a, b map[string]string) map[string]string {
	m := map[string]string{}
	for k, v := range a {
		m[k] = v
	}
	for k, v := range b {
		m[k] = v
	}
	return m
}
