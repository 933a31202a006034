package iam

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/policy"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// The ends of AWS's sentences. Source: IAM User Guide, "Troubleshoot access denied error messages".
const (
	whyDenied  = "with an explicit deny in an identity-based policy"
	whySession = "because no session policy allows the %s action"
	whySilent  = "because no identity-based policy allows the %s action"
	whyGuarded = "with an explicit deny in a resource-based policy"
)

// Authorize is awswire.MuxOptions.Authorize: it asks the policies of the caller's role for
// everything that the call needs. The account's root may do all.
func (s *Service) Authorize(ctx context.Context, api *awswire.API, op string, in any) error {
	c := awsauth.CallerFrom(ctx)
	if c.Root {
		return nil
	}
	return s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		needs, err := needsOf(tx, c, api.SigningName, op, in)
		if err != nil {
			return err
		}
		for _, n := range needs {
			if err := s.permit(tx, api.Protocol, c, n); err != nil {
				return err
			}
		}
		return nil
	})
}

// Permit is Authorize for callers that don't come through an API, such as the registry's.
func (s *Service) Permit(ctx context.Context, c awsauth.Caller, action, resource string) error {
	if c.Root {
		return nil
	}
	return s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		return s.permit(tx, awswire.JSON11, c, need{Action: action, Resource: resource, Request: request(c)})
	})
}

// Private

func (s *Service) permit(tx store.Reader, p awswire.Protocol, c awsauth.Caller, n need) error {
	d, err := s.decide(tx, c, n.Action, n.Resource, n.Request)
	if err != nil {
		return err
	}
	resource, err := decideResource(tx, c, n)
	switch {
	case err != nil:
		return err
	case d != policy.Deny && resource == policy.Deny:
		return awsauth.Denied(p, c, n.Action, n.Resource, whyGuarded)
	case d == policy.Allow || d == policy.Silent && resource == policy.Allow:
		return nil
	case d == policy.Deny:
		return awsauth.Denied(p, c, n.Action, n.Resource, whyDenied)
	case d == sessionSilent:
		return awsauth.Denied(p, c, n.Action, n.Resource, fmt.Sprintf(whySession, n.Action))
	}
	return awsauth.Denied(p, c, n.Action, n.Resource, fmt.Sprintf(whySilent, n.Action))
}

// sessionSilent: the role allows it, the session's own policy doesn't.
const sessionSilent policy.Decision = 100

// decide asks the role's policies and the session's. Who is neither root nor a role has none.
func (s *Service) decide(tx store.Reader, c awsauth.Caller, action, resource string, r policy.Request) (policy.Decision, error) {
	if c.Root {
		return policy.Allow, nil
	}
	role, err := state.RoleOf(tx, c.Account, c.Role)
	if errors.Is(err, store.ErrNotFound) {
		return policy.Silent, nil
	}
	if err != nil {
		return policy.Silent, err
	}
	own, err := documents(role)
	if err != nil {
		return policy.Silent, err
	}
	d := policy.Decide(own, action, resource, r)
	if c.SessionPolicy == "" || d == policy.Deny {
		return d, nil
	}
	narrow, err := policy.Parse(c.SessionPolicy)
	if err != nil {
		return policy.Silent, err
	}
	switch n := policy.Decide([]policy.Document{narrow}, action, resource, r); {
	case n == policy.Deny:
		return policy.Deny, nil
	case n == policy.Silent && d == policy.Allow:
		return sessionSilent, nil
	}
	return d, nil
}

// documents are a role's policies, inline and attached.
func documents(r state.Role) ([]policy.Document, error) {
	var texts []string
	for _, t := range r.Inline {
		texts = append(texts, t)
	}
	for _, a := range r.Attached {
		texts = append(texts, string(managed[a].Document))
	}
	slices.Sort(texts)
	var out []policy.Document
	for _, t := range texts {
		d, err := policy.Parse(t)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}
