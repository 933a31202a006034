package iam

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/policy"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// Quotas, the defaults. Source: IAM User Guide, "IAM and AWS STS quotas".
const (
	rolesPerAccount = 1000
	trustSize       = 2048 // characters without white space
	linkedPath      = "/aws-service-role/"
)

// CreateRole makes a role.
func (s *Service) CreateRole(ctx context.Context, in *iam.CreateRoleInput) (*iam.CreateRoleOutput, error) {
	if err := onlyMembers(in, "RoleName", "Path", "AssumeRolePolicyDocument", "Description", "MaxSessionDuration", "Tags"); err != nil {
		return nil, err
	}
	var c check
	r := state.Role{
		Account:            account(ctx),
		Name:               c.required("roleName", in.RoleName, roleName),
		Path:               c.optional("path", in.Path, path),
		Trust:              c.required("assumeRolePolicyDocument", in.AssumeRolePolicyDocument, document),
		Description:        c.optional("description", in.Description, description),
		MaxSessionDuration: c.number("maxSessionDuration", in.MaxSessionDuration, 3600, 43200, 3600),
		Tags:               c.tags(in.Tags),
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	if r.Path == "" {
		r.Path = "/"
	}
	if strings.HasPrefix(strings.ToLower(r.Path), linkedPath) {
		return nil, invalidInput("The path %s is reserved for service-linked roles: use CreateServiceLinkedRole.", linkedPath)
	}
	if err := checkTags(in.Tags, nil); err != nil {
		return nil, err
	}
	if err := checkTrust(r.Trust); err != nil {
		return nil, err
	}
	if err := s.addRole(ctx, &r, alreadyExists(r.Name)); err != nil {
		return nil, err
	}
	v := roleView(r)
	return &iam.CreateRoleOutput{Role: &v}, nil
}

// GetRole shows a role.
func (s *Service) GetRole(ctx context.Context, in *iam.GetRoleInput) (*iam.GetRoleOutput, error) {
	r, err := s.readRole(ctx, in, in.RoleName)
	if err != nil {
		return nil, err
	}
	v := roleView(r)
	v.RoleLastUsed = &types.RoleLastUsed{} // empty: nobody has assumed it
	return &iam.GetRoleOutput{Role: &v}, nil
}

// ListRoles shows the roles under a path. As on AWS, without their tags.
func (s *Service) ListRoles(ctx context.Context, in *iam.ListRolesInput) (*iam.ListRolesOutput, error) {
	if err := onlyMembers(in, "Marker", "MaxItems", "PathPrefix"); err != nil {
		return nil, err
	}
	var c check
	prefix := c.optional("pathPrefix", in.PathPrefix, pathPrefix)
	p := c.page(in.Marker, in.MaxItems)
	if err := c.err(); err != nil {
		return nil, err
	}
	var keys []string
	roles := map[string]state.Role{}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for r, err := range state.Roles.List(tx, state.RoleKey(account(ctx), "")) {
			if err != nil {
				return err
			}
			if strings.HasPrefix(r.Val.Path, prefix) {
				keys, roles[r.Key] = append(keys, r.Key), r.Val
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := &iam.ListRolesOutput{Roles: []types.Role{}}
	if keys, out.IsTruncated, out.Marker, err = p.cut(keys); err != nil {
		return nil, err
	}
	for _, k := range keys {
		v := roleView(roles[k])
		v.Tags = nil
		out.Roles = append(out.Roles, v)
	}
	return out, nil
}

// UpdateRole changes the description and the longest session. What isn't given stays.
func (s *Service) UpdateRole(ctx context.Context, in *iam.UpdateRoleInput) (*iam.UpdateRoleOutput, error) {
	if err := onlyMembers(in, "RoleName", "Description", "MaxSessionDuration"); err != nil {
		return nil, err
	}
	var c check
	name := c.required("roleName", in.RoleName, roleName)
	text := c.optional("description", in.Description, description)
	seconds := c.number("maxSessionDuration", in.MaxSessionDuration, 3600, 43200, 0)
	if err := c.err(); err != nil {
		return nil, err
	}
	return &iam.UpdateRoleOutput{}, s.changeRole(ctx, name, func(_ *store.WriteTx, r *state.Role) error {
		if in.Description != nil {
			r.Description = text
		}
		if in.MaxSessionDuration != nil {
			r.MaxSessionDuration = seconds
		}
		return nil
	})
}

// UpdateRoleDescription is the older way to change the description. It may be changed on a
// service-linked role too. Source: IAM User Guide, "Edit a service-linked role".
func (s *Service) UpdateRoleDescription(ctx context.Context, in *iam.UpdateRoleDescriptionInput) (*iam.UpdateRoleDescriptionOutput, error) {
	if err := onlyMembers(in, "RoleName", "Description"); err != nil {
		return nil, err
	}
	var c check
	name := c.required("roleName", in.RoleName, roleName)
	text := c.required("description", in.Description, description)
	if err := c.err(); err != nil {
		return nil, err
	}
	var v types.Role
	err := s.changeAnyRole(ctx, name, func(_ *store.WriteTx, r *state.Role) error {
		r.Description = text
		v = roleView(*r)
		return nil
	})
	return &iam.UpdateRoleDescriptionOutput{Role: &v}, err
}

// UpdateAssumeRolePolicy replaces the trust policy.
func (s *Service) UpdateAssumeRolePolicy(ctx context.Context, in *iam.UpdateAssumeRolePolicyInput) (*iam.UpdateAssumeRolePolicyOutput, error) {
	if err := onlyMembers(in, "RoleName", "PolicyDocument"); err != nil {
		return nil, err
	}
	var c check
	name := c.required("roleName", in.RoleName, roleName)
	doc := c.required("policyDocument", in.PolicyDocument, document)
	if err := c.err(); err != nil {
		return nil, err
	}
	if err := checkTrust(doc); err != nil {
		return nil, err
	}
	err := s.changeRole(ctx, name, func(_ *store.WriteTx, r *state.Role) error {
		r.Trust = doc
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.tell(ctx, "trust policy replaced", name)
	return &iam.UpdateAssumeRolePolicyOutput{}, nil
}

// DeleteRole deletes a role that has no policies any more.
func (s *Service) DeleteRole(ctx context.Context, in *iam.DeleteRoleInput) (*iam.DeleteRoleOutput, error) {
	if err := onlyMembers(in, "RoleName"); err != nil {
		return nil, err
	}
	var c check
	name := c.required("roleName", in.RoleName, roleName)
	if err := c.err(); err != nil {
		return nil, err
	}
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := getRole(tx, account(ctx), name)
		switch {
		case err != nil:
			return err
		case o.Val.ServiceLinked != "":
			return unmodifiable(o.Val.Name)
		case len(o.Val.Attached) > 0:
			return errDetachFirst
		case len(o.Val.Inline) > 0:
			return errDeleteFirst
		}
		return state.Roles.Delete(tx, o.Key, o.Rev)
	})
	if err != nil {
		return nil, err
	}
	s.tell(ctx, "role deleted", name)
	return &iam.DeleteRoleOutput{}, nil
}

// ListInstanceProfilesForRole is empty: there are no instances here, so no profiles for them.
// Tools ask before they delete a role.
func (s *Service) ListInstanceProfilesForRole(ctx context.Context, in *iam.ListInstanceProfilesForRoleInput) (*iam.ListInstanceProfilesForRoleOutput, error) {
	var c check
	if c.page(in.Marker, in.MaxItems); c.err() != nil {
		return nil, c.err()
	}
	_, err := s.readRole(ctx, in, in.RoleName, "Marker", "MaxItems")
	return &iam.ListInstanceProfilesForRoleOutput{InstanceProfiles: []types.InstanceProfile{}}, err
}

// Private

// addRole stores a new role; its id and time are made here.
func (s *Service) addRole(ctx context.Context, r *state.Role, exists error) error {
	r.ID = newID("AROA")
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		n := 0
		for _, err := range state.Roles.List(tx, state.RoleKey(r.Account, "")) {
			if err != nil {
				return err
			}
			n++
		}
		key := state.RoleKey(r.Account, r.Name)
		switch _, err := state.Roles.Get(tx, key); {
		case err == nil:
			return exists
		case !errors.Is(err, store.ErrNotFound):
			return err
		case n >= rolesPerAccount:
			return limitExceeded("RolesPerAccount", rolesPerAccount)
		}
		r.CreatedAt = tx.Now().Truncate(time.Second) // IAM's times are whole seconds
		return state.Roles.Put(tx, &store.Object[state.Role]{Key: key, Val: *r})
	})
	if err == nil {
		s.tell(ctx, "role created", r.Name)
	}
	return err
}

// readRole is the start of all operations that read one role; members are those that the input
// may have besides RoleName.
func (s *Service) readRole(ctx context.Context, in any, given *string, members ...string) (r state.Role, err error) {
	if err := onlyMembers(in, append(members, "RoleName")...); err != nil {
		return r, err
	}
	var c check
	name := c.required("roleName", given, roleName)
	if err := c.err(); err != nil {
		return r, err
	}
	err = s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		o, err := getRole(tx, account(ctx), name)
		r = o.Val
		return err
	})
	return r, err
}

// changeRole changes a role that isn't a service's.
func (s *Service) changeRole(ctx context.Context, name string, change func(*store.WriteTx, *state.Role) error) error {
	return s.changeAnyRole(ctx, name, func(tx *store.WriteTx, r *state.Role) error {
		if r.ServiceLinked != "" {
			return unmodifiable(r.Name)
		}
		return change(tx, r)
	})
}

func (s *Service) changeAnyRole(ctx context.Context, name string, change func(*store.WriteTx, *state.Role) error) error {
	return s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := getRole(tx, account(ctx), name)
		if err != nil {
			return err
		}
		if err := change(tx, &o.Val); err != nil {
			return err
		}
		return state.Roles.Put(tx, &o)
	})
}

func getRole(tx store.Reader, account, name string) (store.Object[state.Role], error) {
	o, err := state.Roles.Get(tx, state.RoleKey(account, name))
	if errors.Is(err, store.ErrNotFound) {
		return o, noSuchRole(name)
	}
	return o, err
}

func checkTrust(doc string) error {
	d, err := policy.Parse(doc)
	if err == nil {
		err = d.CheckTrust()
	}
	if err != nil {
		return malformedPolicy(err)
	}
	if sizeOf(doc) > trustSize {
		return limitExceeded("ACLSizePerRole", trustSize)
	}
	return nil
}

// sizeOf counts as IAM does: without white space.
func sizeOf(doc string) int { return len([]rune(strings.Join(strings.Fields(doc), ""))) }

func roleView(r state.Role) types.Role {
	v := types.Role{
		Arn: aws.String(r.ARN()), RoleName: &r.Name, RoleId: &r.ID, Path: &r.Path, CreateDate: &r.CreatedAt,
		AssumeRolePolicyDocument: aws.String(encode(r.Trust)),
		MaxSessionDuration:       aws.Int32(int32(r.MaxSessionDuration)), Tags: tagList(r.Tags),
	}
	if r.Description != "" {
		v.Description = &r.Description
	}
	return v
}

// encode is how IAM gives policy documents: URL-encoded (RFC 3986). Source: API reference, GetRole.
func encode(doc string) string { return strings.ReplaceAll(url.QueryEscape(doc), "+", "%20") }

// newID makes a unique id: a prefix for the kind and 17 letters and digits.
// Source: IAM User Guide, "IAM identifiers".
func newID(prefix string) string {
	b := make([]byte, 17)
	rand.Read(b)
	return prefix + idText(b)
}

func idText(b []byte) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	out := make([]byte, len(b))
	for i, x := range b {
		out[i] = letters[x%32]
	}
	return string(out)
}

func (s *Service) tell(ctx context.Context, what, role string) {
	s.o.Log.InfoContext(ctx, what, "role", role, "account", account(ctx), "by", awsauth.CallerFrom(ctx).ARN)
}
