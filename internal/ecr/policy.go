package ecr

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/policy"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// maxPolicy is how long a repository's or registry's policy may be, in characters. Source: ECR service model.
const maxPolicy = 10240

// SetRepositoryPolicy says who else may do what with a repository, and who may not.
func (s *Service) SetRepositoryPolicy(ctx context.Context, in *ecr.SetRepositoryPolicyInput) (*ecr.SetRepositoryPolicyOutput, error) {
	if err := onlyMembers(in, "RepositoryName", "RegistryId", "PolicyText", "Force"); err != nil {
		return nil, err
	}
	text := aws.ToString(in.PolicyText)
	doc, err := repositoryPolicy(text)
	if err != nil {
		return nil, err
	}
	c := awsauth.CallerFrom(ctx)
	r, err := s.changeRepository(ctx, in.RepositoryName, in.RegistryId, "SetRepositoryPolicy", func(tx *store.WriteTx, r *state.Repository) error {
		r.Policy = text
		if in.Force || c.Root {
			return nil // root can always take it away
		}
		_, all, err := state.Principal{Account: c.Account, Role: c.Role, ARN: c.ARN}.Names(tx)
		if err == nil && doc.DecideFor(all, "ecr:SetRepositoryPolicy", "", policy.Request{"aws:PrincipalAccount": c.Account}) == policy.Deny {
			err = invalid("PolicyText", "the policy must not prevent you from setting another one; use force if it shall")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &ecr.SetRepositoryPolicyOutput{PolicyText: &text, RegistryId: &r.Scope.Account, RepositoryName: &r.Name}, nil
}

// GetRepositoryPolicy shows a repository's policy.
func (s *Service) GetRepositoryPolicy(ctx context.Context, in *ecr.GetRepositoryPolicyInput) (*ecr.GetRepositoryPolicyOutput, error) {
	if err := onlyMembers(in, "RepositoryName", "RegistryId"); err != nil {
		return nil, err
	}
	r, err := s.repository(ctx, in.RepositoryName, in.RegistryId, "GetRepositoryPolicy")
	if err != nil {
		return nil, err
	}
	if r.Policy == "" {
		return nil, errNoPolicy(r)
	}
	return &ecr.GetRepositoryPolicyOutput{PolicyText: &r.Policy, RegistryId: &r.Scope.Account, RepositoryName: &r.Name}, nil
}

// DeleteRepositoryPolicy takes a repository's policy away.
func (s *Service) DeleteRepositoryPolicy(ctx context.Context, in *ecr.DeleteRepositoryPolicyInput) (*ecr.DeleteRepositoryPolicyOutput, error) {
	if err := onlyMembers(in, "RepositoryName", "RegistryId"); err != nil {
		return nil, err
	}
	var text string
	r, err := s.changeRepository(ctx, in.RepositoryName, in.RegistryId, "DeleteRepositoryPolicy", func(_ *store.WriteTx, r *state.Repository) error {
		if r.Policy == "" {
			return errNoPolicy(*r)
		}
		text, r.Policy = r.Policy, ""
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ecr.DeleteRepositoryPolicyOutput{PolicyText: &text, RegistryId: &r.Scope.Account, RepositoryName: &r.Name}, nil
}

// PutRegistryPolicy says who else may do what with all repositories of the account in a region, and who may not.
func (s *Service) PutRegistryPolicy(ctx context.Context, in *ecr.PutRegistryPolicyInput) (*ecr.PutRegistryPolicyOutput, error) {
	text := aws.ToString(in.PolicyText)
	if _, err := registryPolicy(text); err != nil {
		return nil, err
	}
	sc := scope(ctx)
	return &ecr.PutRegistryPolicyOutput{PolicyText: &text, RegistryId: &sc.Account}, s.changeRegistry(ctx, func(r *state.Registry) error {
		r.Policy = text
		return nil
	})
}

// GetRegistryPolicy shows the registry's policy.
func (s *Service) GetRegistryPolicy(ctx context.Context, _ *ecr.GetRegistryPolicyInput) (*ecr.GetRegistryPolicyOutput, error) {
	sc := scope(ctx)
	r, err := view(ctx, s.o.DB, state.Registries, state.RegistryKey(sc))
	if err := known(err); err != nil {
		return nil, err
	}
	if r.Policy == "" {
		return nil, errNoRegistryPolicy(sc.Account)
	}
	return &ecr.GetRegistryPolicyOutput{PolicyText: &r.Policy, RegistryId: &sc.Account}, nil
}

// DeleteRegistryPolicy takes the registry's policy away.
func (s *Service) DeleteRegistryPolicy(ctx context.Context, _ *ecr.DeleteRegistryPolicyInput) (*ecr.DeleteRegistryPolicyOutput, error) {
	sc := scope(ctx)
	var text string
	err := s.changeRegistry(ctx, func(r *state.Registry) error {
		if r.Policy == "" {
			return errNoRegistryPolicy(sc.Account)
		}
		text, r.Policy = r.Policy, ""
		return nil
	})
	return &ecr.DeleteRegistryPolicyOutput{PolicyText: &text, RegistryId: &sc.Account}, err
}

// Private

// repositoryPolicy parses a repository's policy, which speaks of the repository alone.
func repositoryPolicy(text string) (policy.Document, error) {
	return resourcePolicy(text, "Invalid repository policy provided", false)
}

// registryPolicy parses a registry's policy, which names the repositories that it speaks of.
func registryPolicy(text string) (policy.Document, error) {
	return resourcePolicy(text, "Invalid registry policy provided", true)
}

// resourcePolicy parses a policy that names principals. Source of the texts: answers that users have published.
func resourcePolicy(text, wrong string, resources bool) (policy.Document, error) {
	if len([]rune(text)) > maxPolicy {
		return policy.Document{}, invalid("PolicyText", "must have length less than or equal to %d", maxPolicy)
	}
	d, err := policy.Parse(text)
	if err == nil {
		err = d.CheckResource(resources)
	}
	for _, s := range d.Statements {
		for _, a := range append(s.Action, s.NotAction...) {
			if service, _, _ := strings.Cut(a, ":"); err == nil && a != "*" && !strings.EqualFold(service, "ecr") {
				err = errors.New("an action of another service")
			}
		}
	}
	if err != nil {
		return d, invalid("PolicyText", "%s", wrong)
	}
	return d, nil
}

// changeRegistry changes the settings of the caller's registry.
func (s *Service) changeRegistry(ctx context.Context, change func(*state.Registry) error) error {
	return s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := state.Registries.Get(tx, state.RegistryKey(scope(ctx)))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err := change(&o.Val); err != nil {
			return err
		}
		return state.Registries.Put(tx, &o)
	})
}

func errNoPolicy(r state.Repository) error {
	return awsError("RepositoryPolicyNotFoundException", fmt.Sprintf("Repository policy does not exist for the repository with name '%s' in the registry with id '%s'", r.Name, r.Scope.Account))
}

func errNoRegistryPolicy(account string) error {
	return awsError("RegistryPolicyNotFoundException", fmt.Sprintf("Registry policy does not exist in the registry with id '%s'", account))
}
