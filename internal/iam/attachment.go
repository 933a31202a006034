package iam

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// policiesPerRole is how many managed policies a role may have. Source: IAM quotas.
const policiesPerRole = 10

// AttachRolePolicy gives a role a managed policy. Doing it twice is no error.
func (s *Service) AttachRolePolicy(ctx context.Context, in *iam.AttachRolePolicyInput) (*iam.AttachRolePolicyOutput, error) {
	name, resource, err := roleAndPolicy(in, in.RoleName, in.PolicyArn)
	if err != nil {
		return nil, err
	}
	return &iam.AttachRolePolicyOutput{}, s.changeRole(ctx, name, func(_ *store.WriteTx, r *state.Role) error {
		p, ok := managed[resource]
		if !ok {
			return noSuchEntity("Policy %s does not exist or is not attachable.", resource)
		}
		if p.Path == linkedPath {
			return errNotForRoles
		}
		i, there := slices.BinarySearch(r.Attached, resource)
		if there {
			return nil
		}
		if len(r.Attached) >= policiesPerRole {
			return limitExceeded("PoliciesPerRole", policiesPerRole)
		}
		r.Attached = slices.Insert(r.Attached, i, resource)
		return nil
	})
}

// DetachRolePolicy takes a managed policy from a role.
func (s *Service) DetachRolePolicy(ctx context.Context, in *iam.DetachRolePolicyInput) (*iam.DetachRolePolicyOutput, error) {
	name, resource, err := roleAndPolicy(in, in.RoleName, in.PolicyArn)
	if err != nil {
		return nil, err
	}
	return &iam.DetachRolePolicyOutput{}, s.changeRole(ctx, name, func(_ *store.WriteTx, r *state.Role) error {
		i, there := slices.BinarySearch(r.Attached, resource)
		if !there {
			return noSuchEntity("Policy %s was not found.", resource)
		}
		r.Attached = slices.Delete(r.Attached, i, i+1)
		return nil
	})
}

// ListAttachedRolePolicies shows a role's managed policies.
func (s *Service) ListAttachedRolePolicies(ctx context.Context, in *iam.ListAttachedRolePoliciesInput) (*iam.ListAttachedRolePoliciesOutput, error) {
	var c check
	prefix := c.optional("pathPrefix", in.PathPrefix, policyPath)
	p := c.page(in.Marker, in.MaxItems)
	if err := c.err(); err != nil {
		return nil, err
	}
	r, err := s.readRole(ctx, in, in.RoleName, "Marker", "MaxItems", "PathPrefix")
	if err != nil {
		return nil, err
	}
	var list []string
	for _, a := range r.Attached {
		if strings.HasPrefix(managed[a].Path, prefix) {
			list = append(list, a)
		}
	}
	out := &iam.ListAttachedRolePoliciesOutput{AttachedPolicies: []types.AttachedPolicy{}}
	if list, out.IsTruncated, out.Marker, err = p.cut(list); err != nil {
		return nil, err
	}
	for _, a := range list {
		out.AttachedPolicies = append(out.AttachedPolicies, types.AttachedPolicy{PolicyArn: aws.String(a), PolicyName: aws.String(a[strings.LastIndexByte(a, '/')+1:])})
	}
	return out, nil
}

// Private

func roleAndPolicy(in any, role, resource *string) (name, policy string, err error) {
	if err := onlyMembers(in, "RoleName", "PolicyArn"); err != nil {
		return "", "", err
	}
	var c check
	name, policy = c.required("roleName", role, roleName), c.required("policyArn", resource, policyARN)
	if err := c.err(); err != nil {
		return "", "", err
	}
	return name, policy, checkPolicyARN(policy)
}
