package task

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/uuid"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// allocate gives the task its network interface: an address in one of its subnets, the least
// used first, so that a service spreads over zones.
func (c *Controller) allocate(ctx context.Context, l life) (time.Duration, error) {
	err := c.save(ctx, l, "interface", func(tx *store.WriteTx, st *state.TaskStatus) error {
		st.LastStatus = "PROVISIONING"
		if st.ENI == "" {
			if err := c.newInterface(tx, l, st); err != nil {
				return err
			}
		}
		st.LastStatus = "PENDING"
		if len(st.Containers) > 0 {
			return nil
		}
		for _, d := range l.definition.ContainerDefinitions {
			cs := state.ContainerStatus{Name: *d.Name, Image: *d.Image, LastStatus: "PENDING", ARNID: uuid.NewString(), Essential: aws.ToBool(d.Essential)}
			if _, has := ruleOf(d, false); has {
				cs.Health = state.ContainerHealth{Status: state.Unknown, Since: tx.Now()}
			}
			st.Containers = append(st.Containers, cs)
		}
		return nil
	})
	var subnet *state.NoFreeAddressError
	var pool *state.NoPublicAddressError
	if errors.As(err, &subnet) || errors.As(err, &pool) || errors.Is(err, store.ErrNotFound) { // a subnet or group that was deleted
		return 0, c.fail(ctx, l, "", "Unexpected EC2 error while attempting to create network interface: "+err.Error())
	}
	return 0, err
}

func (c *Controller) newInterface(tx *store.WriteTx, l life, st *state.TaskStatus) error {
	subnet, err := leastUsed(tx, l.scope(), l.task.Network.Subnets, l.task.Zone)
	if err != nil {
		return err
	}
	eni, err := state.NewInterface(tx, state.NewInterfaceInput{
		Scope: l.scope(), Subnet: subnet.ID, Groups: l.task.Network.SecurityGroups, Task: l.task.ID,
		Description: l.task.ARN(),
	})
	if err != nil {
		return err
	}
	if l.task.Network.AssignPublicIP {
		if eni.Public, err = c.o.PublicAddress(tx, l.scope(), eni.ID); err != nil {
			return err
		}
	}
	st.AttachmentID, st.ENI, st.Subnet, st.VPC = uuid.NewString(), eni.ID, subnet.ID, subnet.VPC
	st.Address, st.Public, st.Zone = eni.Address, eni.Public, subnet.Zone
	return nil
}

// connect makes the task's namespace and joins it with the VPC.
func (c *Controller) connect(ctx context.Context, l life) (time.Duration, error) {
	if err := c.o.Apply(ctx, l.scope(), l.status.VPC); err != nil {
		return 0, err
	}
	return 0, c.save(ctx, l, "network", func(tx *store.WriteTx, st *state.TaskStatus) error {
		st.ConnectivityAt = tx.Now()
		return nil
	})
}

// release gives the interface back; the task is STOPPED then.
func (c *Controller) release(ctx context.Context, l life) (time.Duration, error) {
	if l.status.ENI != "" {
		err := c.o.DB.Update(ctx, func(tx *store.WriteTx) error {
			return state.ReleaseInterface(tx, l.scope(), l.status.ENI)
		})
		if err != nil {
			return 0, err
		}
		if err := c.o.Apply(ctx, l.scope(), l.status.VPC); err != nil {
			return 0, err
		}
	}
	return 0, c.save(ctx, l, "release", func(tx *store.WriteTx, st *state.TaskStatus) error {
		if st.Stop == nil {
			st.Stop = l.task.Stop
		}
		if st.LastStatus != "STOPPED" {
			if err := state.ReleaseTask(tx, l.task); err != nil {
				return err
			}
		}
		st.LastStatus, st.StoppedAt = "STOPPED", tx.Now()
		for i := range st.Containers {
			st.Containers[i].LastStatus = "STOPPED"
		}
		return nil
	})
}
