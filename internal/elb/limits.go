package elb

import (
	"context"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// Quotas of an account in a region. Source: ALB user guide, quotas.
const (
	maxBalancers    = 50
	maxListeners    = 50   // of a load balancer
	maxCertificates = 25   // of a load balancer, default ones not counted
	maxRules        = 100  // of a load balancer, default rules not counted
	maxGroups       = 3000 // target groups
	maxTargets      = 1000 // of a target group
)

// DescribeAccountLimits shows the quotas.
func (s *Service) DescribeAccountLimits(_ context.Context, in *elb.DescribeAccountLimitsInput) (*elb.DescribeAccountLimitsOutput, error) {
	var all []types.Limit
	for _, l := range []struct {
		name string
		max  int
	}{ // by name, which the pages follow
		{"application-load-balancers", maxBalancers},
		{"certificates-per-application-load-balancer", maxCertificates},
		{"condition-values-per-alb-rule", maxConditionValues},
		{"condition-wildcards-per-alb-rule", maxWildcards},
		{"listeners-per-application-load-balancer", maxListeners},
		{"rules-per-application-load-balancer", maxRules},
		{"target-groups", maxGroups},
		{"target-groups-per-action-on-application-load-balancer", maxForwardGroups},
		{"targets-per-application-load-balancer", maxTargets},
	} {
		all = append(all, types.Limit{Name: aws.String(l.name), Max: aws.String(strconv.Itoa(l.max))})
	}
	page, next, err := paginate(all, func(l types.Limit) string { return *l.Name }, in.Marker, in.PageSize)
	return &elb.DescribeAccountLimitsOutput{Limits: page, NextMarker: next}, err
}
