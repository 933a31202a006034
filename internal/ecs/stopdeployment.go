package ecs

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// StopServiceDeployment ends a deployment that is under way: with ROLLBACK, the default, by a return to what served
// before, with ABORT by leaving what runs. ABORT is in AWS's model, whose text allows ROLLBACK only.
func (s *Service) StopServiceDeployment(ctx context.Context, in *ecs.StopServiceDeploymentInput) (*ecs.StopServiceDeploymentOutput, error) {
	if err := onlyMembers("", in, "ServiceDeploymentArn", "StopType"); err != nil {
		return nil, err
	}
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		var svc state.Service
		var d state.Deployment
		err := eachDeployment(tx, scope(ctx), "service-deployment", []string{aws.ToString(in.ServiceDeploymentArn)},
			func(d state.Deployment) string { return d.ARNID },
			func(of state.Service, found state.Deployment) error { svc, d = of, found; return nil },
			func(string) {})
		if err != nil {
			return err
		}
		if d.ID == "" {
			return errNoServiceDeployment
		}
		is, err := observe(tx, svc)
		if err != nil {
			return err
		}
		v, err := is.serviceDeploymentView(tx, d)
		if err != nil {
			return err
		}
		switch v.Status { // Source: DG stop-service-deployment: which states it is allowed in, and what it does there
		case types.ServiceDeploymentStatusPending, types.ServiceDeploymentStatusInProgress:
		case types.ServiceDeploymentStatusStopRequested, types.ServiceDeploymentStatusRollbackRequested, types.ServiceDeploymentStatusRollbackInProgress:
			return nil // it goes on doing so
		default:
			return conflict("The service deployment cannot be stopped because its status is %s.", v.Status)
		}
		o, err := state.Services.Get(tx, svc.Key())
		if err != nil {
			return err
		}
		o.Val.StopDeployment = state.DeploymentStop{ID: d.ID, Rollback: in.StopType != types.StopServiceDeploymentStopTypeAbort}
		return state.Services.Put(tx, &o)
	})
	return &ecs.StopServiceDeploymentOutput{ServiceDeploymentArn: in.ServiceDeploymentArn}, err
}
