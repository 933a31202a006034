package task

import (
	"context"
	"errors"
	"fmt"
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
		l.addContainers(tx, st)
		return nil
	})
	var refused *interfaceError
	if errors.As(err, &refused) {
		return 0, c.fail(ctx, l, "", refused.Error())
	}
	return 0, err
}

// An interfaceError is why the task gets no network interface. Source: reasons as published by users of Fargate, with the
// error code of EC2.
type interfaceError struct {
	public       bool
	subnet, code string
}

func (e *interfaceError) Error() string {
	assignment := "disabled"
	if e.public {
		assignment = "enabled"
	}
	return fmt.Sprintf("Unexpected EC2 error while attempting to Create Network Interface with public IP assignment %s in subnet '%s': %s", assignment, e.subnet, e.code)
}

// addContainers notes the containers that the task will have.
func (l life) addContainers(tx *store.WriteTx, st *state.TaskStatus) {
	if len(st.Containers) > 0 {
		return
	}
	for _, d := range l.definition.ContainerDefinitions {
		cs := state.ContainerStatus{Name: *d.Name, Image: *d.Image, LastStatus: "PENDING", ARNID: uuid.NewString(), Essential: aws.ToBool(d.Essential)}
		if _, has := ruleOf(d, false); has {
			cs.Health = state.ContainerHealth{Status: state.Unknown, Since: tx.Now()}
		}
		st.Containers = append(st.Containers, cs)
	}
}

func (c *Controller) newInterface(tx *store.WriteTx, l life, st *state.TaskStatus) error {
	refuse := func(subnet, code string) error {
		return &interfaceError{l.task.Network.AssignPublicIP, subnet, code}
	}
	subnet, err := leastUsed(tx, l.scope(), l.task.Network.Subnets, l.task.Zone)
	if errors.Is(err, store.ErrNotFound) { // deleted since
		return refuse(l.task.Network.Subnets[0], "InvalidSubnetID.NotFound")
	}
	if err != nil {
		return err
	}
	eni, err := state.NewInterface(tx, state.NewInterfaceInput{
		Scope: l.scope(), Subnet: subnet.ID, Groups: l.task.Network.SecurityGroups, Task: l.task.ID, Cluster: l.task.Cluster,
		Description: l.task.ARN(),
	})
	var full *state.NoFreeAddressError
	if errors.As(err, &full) {
		return refuse(subnet.ID, "InsufficientFreeAddressesInSubnet")
	}
	if errors.Is(err, store.ErrNotFound) {
		return refuse(subnet.ID, "InvalidSecurityGroupID.NotFound")
	}
	if err != nil {
		return err
	}
	if l.task.Network.AssignPublicIP {
		eni.Public, err = c.o.PublicAddress(tx, l.scope(), eni.ID)
		var taken *state.NoPublicAddressError
		if errors.As(err, &taken) {
			return refuse(subnet.ID, "AddressLimitExceeded")
		}
		if err != nil {
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
