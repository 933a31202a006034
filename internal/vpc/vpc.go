// Package vpc is the part of Amazon EC2's API that describes virtual networks: VPCs, subnets,
// security groups, network interfaces and their tags. Its handlers check, read and write records;
// the controller fabric makes networks of them.
package vpc

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// Options is what the service needs to know of its surroundings.
type Options struct {
	DB *store.DB
	// DefaultVPC is the range of the default VPC that every account gets in every region on
	// first use. Zero: 172.31.0.0/16, as on AWS.
	DefaultVPC netip.Prefix
	// Apply brings the network of a VPC in line with the records, so that rules are in force when
	// the call that changed them returns. Nil: they are a moment later.
	Apply func(ctx context.Context, sc arn.Scope, vpc string) error
	Log   *slog.Logger
}

// Service answers EC2's operations.
type Service struct {
	o    Options
	have sync.Map // arn.Scope → nothing: accounts and regions that have their default VPC, which nobody can delete
}

// New makes the service. It starts nothing.
func New(o Options) *Service {
	if !o.DefaultVPC.IsValid() {
		o.DefaultVPC = netip.MustParsePrefix("172.31.0.0/16")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Service{o: o}
}

// API lists the operations.
func (s *Service) API() *awswire.API {
	// Source: EC2 service model: protocol ec2, version 2016-11-15.
	a := &awswire.API{SigningName: "ec2", Protocol: awswire.EC2, Version: "2016-11-15", Namespace: "http://ec2.amazonaws.com/doc/2016-11-15/"}
	awswire.Handle(a, s.DescribeVpcs)
	awswire.Handle(a, s.DescribeVpcAttribute)
	awswire.Handle(a, s.DescribeSubnets)
	awswire.Handle(a, s.DescribeAvailabilityZones)
	awswire.Handle(a, s.DescribeRegions)
	awswire.Handle(a, s.DescribeAccountAttributes)
	awswire.Handle(a, s.CreateSecurityGroup)
	awswire.Handle(a, s.DeleteSecurityGroup)
	awswire.Handle(a, s.DescribeSecurityGroups)
	awswire.Handle(a, s.DescribeSecurityGroupRules)
	awswire.Handle(a, s.AuthorizeSecurityGroupIngress)
	awswire.Handle(a, s.AuthorizeSecurityGroupEgress)
	awswire.Handle(a, s.RevokeSecurityGroupIngress)
	awswire.Handle(a, s.RevokeSecurityGroupEgress)
	awswire.Handle(a, s.DescribeNetworkInterfaces)
	awswire.Handle(a, s.CreateTags)
	awswire.Handle(a, s.DeleteTags)
	awswire.Handle(a, s.DescribeTags)
	return a
}

// Ensure gives an account its default VPC in a region if it has none yet. Operations of other
// services that name subnets want it first.
func (s *Service) Ensure(ctx context.Context, sc arn.Scope) error {
	if _, known := s.have.Load(sc); known {
		return nil
	}
	has := false
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) (err error) {
		has, err = state.HasDefaultVPC(tx, sc)
		return err
	})
	if err == nil && !has {
		s.o.Log.Info("making the default VPC", "account", sc.Account, "region", sc.Region, "cidr", s.o.DefaultVPC)
		err = s.o.DB.Update(ctx, func(tx *store.WriteTx) error { return state.EnsureDefaultVPC(tx, sc, s.o.DefaultVPC) })
	}
	if err == nil {
		s.have.Store(sc, nil)
	}
	return err
}

// Forget is called when all records have been deleted: Ensure looks again.
func (s *Service) Forget() { s.have.Clear() }

// Private

// scope is the caller's account and region.
func scope(ctx context.Context) arn.Scope { return awsauth.ScopeFrom(ctx) }

// view reads within the caller's scope, which has its default VPC by then. A dry run ends with
// errDryRun when everything else was right.
func (s *Service) view(ctx context.Context, dryRun *bool, fn func(tx store.Reader, sc arn.Scope) error) error {
	sc := scope(ctx)
	if err := s.Ensure(ctx, sc); err != nil {
		return err
	}
	return s.o.DB.View(ctx, func(tx *store.ReadTx) error { return dry(dryRun, fn(tx, sc)) })
}

// update is view for what writes. The error of a dry run undoes what fn wrote.
func (s *Service) update(ctx context.Context, dryRun *bool, fn func(tx *store.WriteTx, sc arn.Scope) error) error {
	sc := scope(ctx)
	return s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		if err := state.EnsureDefaultVPC(tx, sc, s.o.DefaultVPC); err != nil {
			return err
		}
		return dry(dryRun, fn(tx, sc))
	})
}

// enforce has changed rules take effect. The change is made, whether or not that works at once:
// what fails is tried again by whoever keeps the network.
func (s *Service) enforce(ctx context.Context, vpc string) {
	if s.o.Apply == nil {
		return
	}
	if err := s.o.Apply(ctx, scope(ctx), vpc); err != nil {
		s.o.Log.Warn("rules are not in force yet", "vpc", vpc, "err", err)
	}
}

func dry(dryRun *bool, err error) error {
	if err == nil && aws.ToBool(dryRun) {
		return errDryRun
	}
	return err
}
