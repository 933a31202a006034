// Package iam is the API of AWS IAM as far as running containers needs it, roles and their
// policies, and the API of AWS STS. Trust policies are acted on: ECS refuses roles that don't
// trust it. Permission policies are asked for everything that a session of a role wants to do
// (Authorize); the account's root may do all.
package iam

import (
	"context"
	"log/slog"
	"time"

	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/seal"
	"github.com/lotse-project/lotse/internal/store"
)

// Options is what the service needs to know of its surroundings.
type Options struct {
	DB  *store.DB
	Key *seal.Key        // seals session tokens; nil: there are no temporary keys
	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // who made, changed and deleted roles; nil: slog.Default
}

// Service answers the operations of IAM and STS.
type Service struct{ o Options }

// New makes the service. It starts nothing.
func New(o Options) *Service {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Service{o: o}
}

// API lists IAM's operations.
func (s *Service) API() *awswire.API {
	// Source: IAM service model: query protocol, version 2010-05-08.
	a := &awswire.API{SigningName: "iam", Protocol: awswire.Query, Version: "2010-05-08", Namespace: "https://iam.amazonaws.com/doc/2010-05-08/"}
	awswire.Handle(a, s.CreateRole)
	awswire.Handle(a, s.GetRole)
	awswire.Handle(a, s.ListRoles)
	awswire.Handle(a, s.UpdateRole)
	awswire.Handle(a, s.UpdateRoleDescription)
	awswire.Handle(a, s.UpdateAssumeRolePolicy)
	awswire.Handle(a, s.DeleteRole)
	awswire.Handle(a, s.CreateServiceLinkedRole)
	awswire.Handle(a, s.AttachRolePolicy)
	awswire.Handle(a, s.DetachRolePolicy)
	awswire.Handle(a, s.ListAttachedRolePolicies)
	awswire.Handle(a, s.PutRolePolicy)
	awswire.Handle(a, s.GetRolePolicy)
	awswire.Handle(a, s.DeleteRolePolicy)
	awswire.Handle(a, s.ListRolePolicies)
	awswire.Handle(a, s.TagRole)
	awswire.Handle(a, s.UntagRole)
	awswire.Handle(a, s.ListRoleTags)
	awswire.Handle(a, s.ListInstanceProfilesForRole)
	awswire.Handle(a, s.GetPolicy)
	awswire.Handle(a, s.GetPolicyVersion)
	return a
}

// STS lists STS's operations.
func (s *Service) STS() *awswire.API {
	// Source: STS service model: query protocol, version 2011-06-15.
	a := &awswire.API{SigningName: "sts", Protocol: awswire.Query, Version: "2011-06-15", Namespace: "https://sts.amazonaws.com/doc/2011-06-15/"}
	awswire.Handle(a, s.GetCallerIdentity)
	awswire.Handle(a, s.AssumeRole)
	return a
}

// account is the caller's. IAM is global: the caller's region plays no part.
func account(ctx context.Context) string { return awsauth.CallerFrom(ctx).Account }
