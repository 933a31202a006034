package iam

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
)

// linked is the roles of the services that run containers: name and managed policy.
// Source: ECS, Elastic Load Balancing and Application Auto Scaling guides, "service-linked roles".
var linked = map[string]struct{ role, policy string }{
	"ecs.amazonaws.com":                         {"AWSServiceRoleForECS", "AmazonECSServiceRolePolicy"},
	"elasticloadbalancing.amazonaws.com":        {"AWSServiceRoleForElasticLoadBalancing", "AWSElasticLoadBalancingServiceRolePolicy"},
	"ecs.application-autoscaling.amazonaws.com": {"AWSServiceRoleForApplicationAutoScaling_ECSService", "AWSApplicationAutoscalingECSServicePolicy"},
}

// CreateServiceLinkedRole makes the role that a service itself uses. Tutorials begin with it.
func (s *Service) CreateServiceLinkedRole(ctx context.Context, in *iam.CreateServiceLinkedRoleInput) (*iam.CreateServiceLinkedRoleOutput, error) {
	if err := onlyMembers(in, "AWSServiceName", "Description", "CustomSuffix"); err != nil {
		return nil, err
	}
	var c check
	service := c.required("aWSServiceName", in.AWSServiceName, serviceName)
	text := c.optional("description", in.Description, description)
	c.optional("customSuffix", in.CustomSuffix, suffix)
	if err := c.err(); err != nil {
		return nil, err
	}
	l, ok := linked[service]
	if !ok {
		return nil, invalidInput("Lotse has no service-linked role for %s: it has those of ecs.amazonaws.com, elasticloadbalancing.amazonaws.com and ecs.application-autoscaling.amazonaws.com.", service)
	}
	if in.CustomSuffix != nil {
		return nil, invalidInput("Custom suffix is not allowed for %s", service)
	}
	r := state.Role{
		Account: account(ctx), Name: l.role, Path: linkedPath + service + "/", Description: text, MaxSessionDuration: 3600, ServiceLinked: service,
		Trust:    `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":["` + service + `"]},"Action":["sts:AssumeRole"]}]}`,
		Attached: []string{arn.ARN{Partition: "aws", Service: "iam", Account: "aws", Resource: "policy" + linkedPath + l.policy}.String()},
	}
	taken := invalidInput("Service role name %s has been taken in this account, please try a different suffix.", r.Name)
	if err := s.addRole(ctx, &r, taken); err != nil {
		return nil, err
	}
	v := roleView(r)
	return &iam.CreateServiceLinkedRoleOutput{Role: &v}, nil
}
