package ecs

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/store"
)

// Tasks are of launch type FARGATE, so that no cluster has container instances, nor attributes of any.

// ListContainerInstances finds none.
func (s *Service) ListContainerInstances(ctx context.Context, in *ecs.ListContainerInstancesInput) (*ecs.ListContainerInstancesOutput, error) {
	if err := onlyMembers("", in, "Cluster", "Filter", "MaxResults", "NextToken", "Status"); err != nil {
		return nil, err
	}
	page, _, err := paginate(nil, in.NextToken, in.MaxResults, 100)
	if err != nil {
		return nil, err
	}
	return &ecs.ListContainerInstancesOutput{ContainerInstanceArns: page}, s.clusterExists(ctx, in.Cluster)
}

// DescribeContainerInstances finds none of those given.
func (s *Service) DescribeContainerInstances(ctx context.Context, in *ecs.DescribeContainerInstancesInput) (*ecs.DescribeContainerInstancesOutput, error) {
	if err := onlyMembers("", in, "Cluster", "ContainerInstances", "Include"); err != nil {
		return nil, err
	}
	switch {
	case len(in.ContainerInstances) == 0:
		return nil, invalid("Container instances cannot be empty.")
	case len(in.ContainerInstances) > 100:
		return nil, invalid("containerInstances can have at most 100 items.")
	}
	out := &ecs.DescribeContainerInstancesOutput{ContainerInstances: []types.ContainerInstance{}}
	name, err := clusterName(scope(ctx), in.Cluster)
	if err != nil {
		return nil, err
	}
	for _, given := range in.ContainerInstances {
		if !arn.IsARN(given) {
			given = scope(ctx).ARN("ecs", "container-instance/"+name+"/"+given)
		}
		out.Failures = append(out.Failures, missing(given))
	}
	return out, s.clusterExists(ctx, in.Cluster)
}

// PutAttributes finds no container instance to put them on.
func (s *Service) PutAttributes(ctx context.Context, in *ecs.PutAttributesInput) (*ecs.PutAttributesOutput, error) {
	return nil, s.noTarget(ctx, in, in.Cluster, in.Attributes)
}

// DeleteAttributes finds no container instance to take them from.
func (s *Service) DeleteAttributes(ctx context.Context, in *ecs.DeleteAttributesInput) (*ecs.DeleteAttributesOutput, error) {
	return nil, s.noTarget(ctx, in, in.Cluster, in.Attributes)
}

// ListAttributes finds none.
func (s *Service) ListAttributes(ctx context.Context, in *ecs.ListAttributesInput) (*ecs.ListAttributesOutput, error) {
	if err := onlyMembers("", in, "AttributeName", "AttributeValue", "Cluster", "MaxResults", "NextToken", "TargetType"); err != nil {
		return nil, err
	}
	if _, _, err := paginate(nil, in.NextToken, in.MaxResults, 100); err != nil {
		return nil, err
	}
	return &ecs.ListAttributesOutput{Attributes: []types.Attribute{}}, s.clusterExists(ctx, in.Cluster)
}

// Private

// noTarget refuses to change attributes. Source: API reference, PutAttributes: TargetNotFoundException.
func (s *Service) noTarget(ctx context.Context, in any, cluster *string, attributes []types.Attribute) error {
	if err := onlyMembers("", in, "Cluster", "Attributes"); err != nil {
		return err
	}
	if len(attributes) == 0 || len(attributes) > 10 {
		return invalid("attributes should have between 1 and 10 items.")
	}
	for _, a := range attributes {
		if aws.ToString(a.Name) == "" {
			return invalid("Attribute name cannot be empty.")
		}
	}
	if err := s.clusterExists(ctx, cluster); err != nil {
		return err
	}
	return awsError("TargetNotFoundException", "The specified target wasn't found: there are no container instances.")
}

func (s *Service) clusterExists(ctx context.Context, given *string) error {
	return s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		_, err := s.cluster(tx, scope(ctx), given)
		return err
	})
}
