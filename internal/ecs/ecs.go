// Package ecs is the API of Amazon ECS: clusters, task definitions, services, deployments and
// tasks. Its handlers check, read and write records; the controllers scheduler and task do the work.
package ecs

import (
	"context"
	"time"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/store"
)

// Options is what the service needs to know of its surroundings.
type Options struct {
	DB *store.DB
	// Memory is how much the machine gives to tasks, in MiB. A task that does not fit is
	// refused with the failure RESOURCE:MEMORY. 0: no limit.
	Memory int
	// Architecture is the machine's, as ECS names it: X86_64 or ARM64.
	Architecture string
	// LogGroup makes a log group within the caller's transaction, for awslogs-create-group.
	// Nil refuses the option.
	Now func() time.Time
}

// Service answers ECS's operations.
type Service struct{ o Options }

// New makes the service. It starts nothing.
func New(o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Architecture == "" {
		o.Architecture = "X86_64"
	}
	return &Service{o: o}
}

// API lists the operations.
func (s *Service) API() *awswire.API {
	// Source: ECS service model: awsJson1.1, target prefix AmazonEC2ContainerServiceV20141113.
	a := &awswire.API{SigningName: "ecs", Protocol: awswire.JSON11, Target: "AmazonEC2ContainerServiceV20141113"}
	awswire.Handle(a, s.CreateCluster)
	awswire.Handle(a, s.DescribeClusters)
	awswire.Handle(a, s.ListClusters)
	awswire.Handle(a, s.DeleteCluster)
	awswire.Handle(a, s.UpdateCluster)
	awswire.Handle(a, s.UpdateClusterSettings)
	awswire.Handle(a, s.PutClusterCapacityProviders)
	awswire.Handle(a, s.DescribeCapacityProviders)
	awswire.Handle(a, s.PutAccountSetting)
	awswire.Handle(a, s.PutAccountSettingDefault)
	awswire.Handle(a, s.ListAccountSettings)
	awswire.Handle(a, s.DeleteAccountSetting)
	awswire.Handle(a, s.ListContainerInstances)
	awswire.Handle(a, s.DescribeContainerInstances)
	awswire.Handle(a, s.PutAttributes)
	awswire.Handle(a, s.ListAttributes)
	awswire.Handle(a, s.DeleteAttributes)
	awswire.Handle(a, s.RegisterTaskDefinition)
	awswire.Handle(a, s.DescribeTaskDefinition)
	awswire.Handle(a, s.ListTaskDefinitions)
	awswire.Handle(a, s.ListTaskDefinitionFamilies)
	awswire.Handle(a, s.DeregisterTaskDefinition)
	awswire.Handle(a, s.DeleteTaskDefinitions)
	awswire.Handle(a, s.RunTask)
	awswire.Handle(a, s.StopTask)
	awswire.Handle(a, s.DescribeTasks)
	awswire.Handle(a, s.ListTasks)
	awswire.Handle(a, s.UpdateTaskProtection)
	awswire.Handle(a, s.GetTaskProtection)
	awswire.Handle(a, s.CreateService)
	awswire.Handle(a, s.UpdateService)
	awswire.Handle(a, s.DeleteService)
	awswire.Handle(a, s.DescribeServices)
	awswire.Handle(a, s.ListServices)
	awswire.Handle(a, s.ListServiceDeployments)
	awswire.Handle(a, s.DescribeServiceDeployments)
	awswire.Handle(a, s.DescribeServiceRevisions)
	awswire.Handle(a, s.StopServiceDeployment)
	awswire.Handle(a, s.TagResource)
	awswire.Handle(a, s.UntagResource)
	awswire.Handle(a, s.ListTagsForResource)
	return a
}

// scope is the caller's account and region.
func scope(ctx context.Context) arn.Scope { return awsauth.ScopeFrom(ctx) }
