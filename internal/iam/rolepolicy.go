package iam

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lotse-project/lotse/internal/policy"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// inlineSize is how long all inline policies of a role may be together, in characters without
// white space. Source: IAM quotas.
const inlineSize = 10240

// PutRolePolicy writes a policy into a role, in place of one of the same name.
func (s *Service) PutRolePolicy(ctx context.Context, in *iam.PutRolePolicyInput) (*iam.PutRolePolicyOutput, error) {
	if err := onlyMembers(in, "RoleName", "PolicyName", "PolicyDocument"); err != nil {
		return nil, err
	}
	var c check
	role := c.required("roleName", in.RoleName, roleName)
	name := c.required("policyName", in.PolicyName, policyName)
	doc := c.required("policyDocument", in.PolicyDocument, document)
	if err := c.err(); err != nil {
		return nil, err
	}
	d, err := policy.Parse(doc)
	if err == nil {
		err = d.CheckPermissions()
	}
	if err != nil {
		return nil, malformedPolicy(err)
	}
	return &iam.PutRolePolicyOutput{}, s.changeRole(ctx, role, func(_ *store.WriteTx, r *state.Role) error {
		m := maps.Clone(r.Inline)
		if m == nil {
			m = map[string]string{}
		}
		m[name] = doc
		size := 0
		for _, d := range m {
			size += sizeOf(d)
		}
		if size > inlineSize {
			return iamError("LimitExceeded", http.StatusConflict, "Maximum policy size of %d bytes exceeded for role %s", inlineSize, r.Name)
		}
		r.Inline = m
		return nil
	})
}

// GetRolePolicy shows an inline policy.
func (s *Service) GetRolePolicy(ctx context.Context, in *iam.GetRolePolicyInput) (*iam.GetRolePolicyOutput, error) {
	var c check
	name := c.required("policyName", in.PolicyName, policyName)
	if err := c.err(); err != nil {
		return nil, err
	}
	r, err := s.readRole(ctx, in, in.RoleName, "PolicyName")
	if err != nil {
		return nil, err
	}
	doc, ok := r.Inline[name]
	if !ok {
		return nil, noSuchRolePolicy(name)
	}
	return &iam.GetRolePolicyOutput{RoleName: &r.Name, PolicyName: &name, PolicyDocument: aws.String(encode(doc))}, nil
}

// DeleteRolePolicy deletes an inline policy.
func (s *Service) DeleteRolePolicy(ctx context.Context, in *iam.DeleteRolePolicyInput) (*iam.DeleteRolePolicyOutput, error) {
	if err := onlyMembers(in, "RoleName", "PolicyName"); err != nil {
		return nil, err
	}
	var c check
	role := c.required("roleName", in.RoleName, roleName)
	name := c.required("policyName", in.PolicyName, policyName)
	if err := c.err(); err != nil {
		return nil, err
	}
	return &iam.DeleteRolePolicyOutput{}, s.changeRole(ctx, role, func(_ *store.WriteTx, r *state.Role) error {
		if _, ok := r.Inline[name]; !ok {
			return noSuchRolePolicy(name)
		}
		delete(r.Inline, name)
		return nil
	})
}

// ListRolePolicies names a role's inline policies.
func (s *Service) ListRolePolicies(ctx context.Context, in *iam.ListRolePoliciesInput) (*iam.ListRolePoliciesOutput, error) {
	var c check
	p := c.page(in.Marker, in.MaxItems)
	if err := c.err(); err != nil {
		return nil, err
	}
	r, err := s.readRole(ctx, in, in.RoleName, "Marker", "MaxItems")
	if err != nil {
		return nil, err
	}
	out := &iam.ListRolePoliciesOutput{}
	out.PolicyNames, out.IsTruncated, out.Marker, err = p.cut(slices.Sorted(maps.Keys(r.Inline)))
	return out, err
}

// Private

func noSuchRolePolicy(name string) error {
	return noSuchEntity("The role policy with name %s cannot be found.", name)
}
