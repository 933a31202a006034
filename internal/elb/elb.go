// Package elb is the API of Elastic Load Balancing v2: application load balancers, listeners,
// rules and target groups. Its handlers check, read and write records; the controller target makes
// of them what the balancer process serves, and reports states and healths.
package elb

import (
	"context"
	"log/slog"
	"net/netip"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/store"
)

// Options is what the service needs to know of its surroundings.
type Options struct {
	DB *store.DB
	// DNSDomain ends the names of load balancers: NAME-DIGITS.REGION.DNSDomain. "" is elb.localhost.
	DNSDomain string
	// PublicPool gives internet-facing load balancers their public addresses. Zero: they have none,
	// and are reached through the shared front only.
	PublicPool netip.Prefix
	Log        *slog.Logger // nil: slog.Default
}

// Service answers ELBv2's operations.
type Service struct{ o Options }

// New makes the service. It starts nothing.
func New(o Options) *Service {
	if o.DNSDomain == "" {
		o.DNSDomain = "elb.localhost"
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Service{o: o}
}

// API lists the operations.
func (s *Service) API() *awswire.API {
	// Source: ELBv2 service model: query protocol, version 2015-12-01.
	a := &awswire.API{SigningName: "elasticloadbalancing", Protocol: awswire.Query, Version: "2015-12-01",
		Namespace: "http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"}
	awswire.Handle(a, s.CreateLoadBalancer)
	awswire.Handle(a, s.DescribeLoadBalancers)
	awswire.Handle(a, s.DeleteLoadBalancer)
	awswire.Handle(a, s.DescribeLoadBalancerAttributes)
	awswire.Handle(a, s.ModifyLoadBalancerAttributes)
	awswire.Handle(a, s.DescribeCapacityReservation)
	awswire.Handle(a, s.SetSecurityGroups)
	awswire.Handle(a, s.SetSubnets)
	awswire.Handle(a, s.SetIpAddressType)
	awswire.Handle(a, s.CreateTargetGroup)
	awswire.Handle(a, s.DescribeTargetGroups)
	awswire.Handle(a, s.ModifyTargetGroup)
	awswire.Handle(a, s.DeleteTargetGroup)
	awswire.Handle(a, s.DescribeTargetGroupAttributes)
	awswire.Handle(a, s.ModifyTargetGroupAttributes)
	awswire.Handle(a, s.RegisterTargets)
	awswire.Handle(a, s.DeregisterTargets)
	awswire.Handle(a, s.DescribeTargetHealth)
	awswire.Handle(a, s.CreateListener)
	awswire.Handle(a, s.DescribeListeners)
	awswire.Handle(a, s.ModifyListener)
	awswire.Handle(a, s.DeleteListener)
	awswire.Handle(a, s.DescribeListenerAttributes)
	awswire.Handle(a, s.ModifyListenerAttributes)
	awswire.Handle(a, s.AddListenerCertificates)
	awswire.Handle(a, s.RemoveListenerCertificates)
	awswire.Handle(a, s.DescribeListenerCertificates)
	awswire.Handle(a, s.DescribeSSLPolicies)
	awswire.Handle(a, s.CreateRule)
	awswire.Handle(a, s.DescribeRules)
	awswire.Handle(a, s.ModifyRule)
	awswire.Handle(a, s.DeleteRule)
	awswire.Handle(a, s.SetRulePriorities)
	awswire.Handle(a, s.AddTags)
	awswire.Handle(a, s.RemoveTags)
	awswire.Handle(a, s.DescribeTags)
	awswire.Handle(a, s.DescribeAccountLimits)
	return a
}

// scope is the caller's account and region.
func scope(ctx context.Context) arn.Scope { return awsauth.ScopeFrom(ctx) }
