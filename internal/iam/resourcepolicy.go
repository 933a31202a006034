package iam

import (
	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/policy"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// Private

// decideResource asks the policies of the resource, if it can have some: those of an ECR repository and its registry.
// In the resource's own account, an Allow for the account as a whole leaves the decision to identities' policies.
// Source: IAM User Guide, "Policy evaluation logic" and "AWS account principals".
func decideResource(tx store.Reader, c awsauth.Caller, n need) (policy.Decision, error) {
	a, err := arn.Parse(n.Resource)
	if err != nil || a.Service != "ecr" || a.Type() != "repository" {
		return policy.Silent, nil
	}
	who := state.Principal{Account: c.Account, Role: c.Role, ARN: c.ARN}
	d, err := state.DecideRepository(tx, arn.Scope{Account: a.Account, Region: a.Region}, a.Name(), who, n.Action, n.Request)
	if d == policy.Allow && c.SessionPolicy != "" {
		return policy.Silent, err // what a session was narrowed to isn't widened by what its role is given
	}
	return d, err
}
