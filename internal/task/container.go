package task

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awslogs"
	"github.com/lotse-project/lotse/internal/runtime"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// create makes all containers; none runs yet.
func (c *Controller) create(ctx context.Context, l life) (time.Duration, error) {
	spec, streams, err := c.spec(ctx, l)
	var se *startError
	if errors.As(err, &se) {
		return 0, c.fail(ctx, l, se.container, se.reason)
	}
	if err != nil {
		return 0, err
	}
	within, cancel := context.WithTimeout(ctx, c.createWithin)
	defer cancel()
	err = c.o.Engine.Create(within, spec)
	if err != nil && within.Err() != nil && ctx.Err() == nil {
		return 0, c.fail(ctx, l, "", tooSlow("created", c.createWithin))
	}
	if errors.Is(err, runtime.ErrNoImage) {
		return 0, c.fail(ctx, l, "", "CannotPullContainerError: "+err.Error())
	}
	if errors.Is(err, runtime.ErrUnrunnable) || errors.Is(err, runtime.ErrNoSpace) {
		return 0, c.fail(ctx, l, "", "CannotCreateContainerError: "+err.Error())
	}
	if err != nil {
		return 0, err
	}
	return 0, c.save(ctx, l, "create", func(tx *store.WriteTx, st *state.TaskStatus) error {
		for i := range st.Containers {
			st.Containers[i].RuntimeID = l.task.ID + "-" + runtimeSuffix(l.task.ID, st.Containers[i].Name)
			st.Containers[i].LogStream = streams[st.Containers[i].Name]
		}
		return nil
	})
}

// Private

// A startError keeps a task from starting for a reason its owner can mend.
type startError struct{ container, reason string }

func (e *startError) Error() string { return e.reason }

// spec says what the engine is to run.
func (c *Controller) spec(ctx context.Context, l life) (runtime.TaskSpec, map[string]string, error) {
	var none runtime.TaskSpec
	vpc, err := c.vpcCIDR(ctx, l)
	if err != nil {
		return none, nil, err
	}
	hostname := state.PrivateDNSName(l.scope().Region, l.status.Address)
	spec := runtime.TaskSpec{
		ID: l.task.ID, Netns: c.o.Netns(l.task.ID), CPU: l.task.CPU, Memory: int64(l.task.Memory) << 20, Hostname: hostname,
		// The resolver is the VPC's second address, as on AWS.
		Resolv: fmt.Sprintf("nameserver %s\nsearch %s\n", vpc.Masked().Addr().Next().Next(), strings.SplitN(hostname, ".", 2)[1]),
		Hosts:  fmt.Sprintf("127.0.0.1 localhost\n%s %s\n", l.status.Address, hostname),
	}
	spec.SharedPID = l.definition.PidMode == ecstypes.PidModeTask
	shared, err := c.fileSystems(ctx, l)
	if err != nil {
		return none, nil, err
	}
	for _, v := range l.definition.Volumes {
		if _, ok := shared[*v.Name]; !ok {
			spec.Volumes = append(spec.Volumes, *v.Name)
		}
	}
	streams := map[string]string{}
	for i, d := range l.definition.ContainerDefinitions {
		cs, stream, err := c.container(ctx, l, d, l.status.Containers[i].Digest)
		if err != nil {
			return none, nil, err
		}
		for i, m := range cs.Mounts {
			if fs, ok := shared[m.Volume]; ok {
				cs.Mounts[i].Volume, cs.Mounts[i].Source, cs.Mounts[i].As = "", fs.Source, fs.As
			}
		}
		spec.Containers = append(spec.Containers, cs)
		streams[*d.Name] = stream
	}
	return spec, streams, nil
}

func (c *Controller) container(ctx context.Context, l life, d ecstypes.ContainerDefinition, digest string) (runtime.ContainerSpec, string, error) {
	cs := runtime.ContainerSpec{
		Name: *d.Name, Image: runtime.Image{Digest: digest, Name: *d.Image}, EntryPoint: d.EntryPoint, Command: d.Command,
		User: aws.ToString(d.User), WorkingDir: aws.ToString(d.WorkingDirectory), ReadonlyRoot: aws.ToBool(d.ReadonlyRootFilesystem),
		CPU: int(d.Cpu), Memory: int64(aws.ToInt32(d.Memory)) << 20,
	}
	resources(&cs, d)
	cs.Mounts = mounts(l.definition.ContainerDefinitions, d)
	env := c.environment(l, *d.Name)
	files, err := c.environmentFiles(l, d)
	if err != nil {
		return cs, "", err
	}
	maps.Copy(env, files)
	for _, e := range d.Environment {
		env[aws.ToString(e.Name)] = aws.ToString(e.Value)
	}
	for _, v := range d.Secrets {
		value, err := c.o.Secret(ctx, l.scope(), aws.ToString(v.ValueFrom))
		var ie *state.InitializationError
		if errors.As(err, &ie) {
			return cs, "", &startError{*d.Name, ie.Message}
		}
		if err != nil {
			return cs, "", err
		}
		env[aws.ToString(v.Name)] = value
	}
	for _, o := range l.task.Overrides.ContainerOverrides {
		if aws.ToString(o.Name) != *d.Name {
			continue
		}
		if o.Command != nil {
			cs.Command = o.Command
		}
		if o.Cpu != nil {
			cs.CPU = int(*o.Cpu)
		}
		if o.Memory != nil {
			cs.Memory = int64(*o.Memory) << 20
		}
		if o.MemoryReservation != nil {
			cs.MemoryReservation = int64(*o.MemoryReservation) << 20
		}
		for _, e := range o.Environment {
			env[aws.ToString(e.Name)] = aws.ToString(e.Value)
		}
	}
	for k, v := range env {
		cs.Env = append(cs.Env, k+"="+v)
	}
	slices.Sort(cs.Env)
	lc := d.LogConfiguration
	if lc == nil {
		return cs, "", nil
	}
	lo, err := awslogs.Parse(lc.Options)
	if err != nil {
		return cs, "", &startError{*d.Name, "ResourceInitializationError: failed to validate logger args: " + err.Error()}
	}
	sc := l.scope()
	if lo.Region != "" {
		sc.Region = lo.Region
	}
	// Source: DG using_awslogs: prefix/container/task id.
	stream := lo.StreamPrefix + "/" + *d.Name + "/" + l.task.ID
	dir, err := c.o.Stream(ctx, sc, lo.Group, stream, lo.CreateGroup)
	if errors.Is(err, store.ErrNotFound) {
		return cs, "", &startError{*d.Name, "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: " +
			"failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist."}
	}
	if err != nil {
		return cs, "", err
	}
	if lo.Mode == "" {
		err = c.o.DB.View(ctx, func(tx *store.ReadTx) (err error) {
			lo.Mode, err = state.LogMode(tx, l.scope())
			return err
		})
	}
	cs.Log = runtime.Log{Dir: dir, Multiline: lo.Multiline, Mode: lo.Mode, MaxBuffer: lo.MaxBuffer}
	return cs, stream, err
}

// vpcCIDR reads the address range of the task's VPC.
func (c *Controller) vpcCIDR(ctx context.Context, l life) (netip.Prefix, error) {
	var cidr string
	err := c.o.DB.View(ctx, func(tx *store.ReadTx) error {
		v, err := state.VPCs.Get(tx, l.scope().Key(l.status.VPC))
		cidr = v.Val.CIDR
		return err
	})
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.ParsePrefix(cidr)
}

// leastUsed picks the subnet with the fewest interfaces, in the zone if there is one. Subnets that were deleted don't
// count unless all were.
func leastUsed(tx store.Reader, sc arn.Scope, subnets []string, zone string) (state.Subnet, error) {
	var in []state.Subnet
	var gone error
	for _, id := range subnets {
		s, err := state.Subnets.Get(tx, sc.Key(id))
		if errors.Is(err, store.ErrNotFound) {
			gone = err
			continue
		}
		if err != nil {
			return state.Subnet{}, err
		}
		in = append(in, s.Val)
	}
	if len(in) == 0 {
		return state.Subnet{}, gone
	}
	if there := slices.DeleteFunc(slices.Clone(in), func(s state.Subnet) bool { return s.Zone != zone }); len(there) > 0 {
		in = there
	}
	if len(in) == 1 {
		return in[0], nil
	}
	used := map[string]int{}
	for e, err := range state.NetworkInterfaces.List(tx, sc.Key()) {
		if err != nil {
			return state.Subnet{}, err
		}
		used[e.Val.Subnet]++
	}
	return slices.MinFunc(in, func(a, b state.Subnet) int { return used[a.ID] - used[b.ID] }), nil
}

// runtimeSuffix is ten digits that tell a task's containers apart, as in Fargate's runtime ids.
func runtimeSuffix(task, container string) string {
	h := uint32(2166136261) // FNV-1a
	for _, b := range []byte(task + "/" + container) {
		h = (h ^ uint32(b)) * 16777619
	}
	return fmt.Sprintf("%010d", h)
}
