package ecr

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// maxPrefix and maxDescription are in characters. Source: ECR service model, Prefix and RepositoryTemplateDescription.
const maxPrefix, maxDescription = 256, 256

// CreateRepositoryCreationTemplate says what the repositories are like that a push makes.
func (s *Service) CreateRepositoryCreationTemplate(ctx context.Context, in *ecr.CreateRepositoryCreationTemplateInput) (*ecr.CreateRepositoryCreationTemplateOutput, error) {
	sc := scope(ctx)
	t := state.RepositoryTemplate{Scope: sc, Prefix: aws.ToString(in.Prefix)}
	change := templateChange{AppliedFor: in.AppliedFor, Role: in.CustomRoleArn, Description: in.Description, Encryption: in.EncryptionConfiguration,
		Mutability: in.ImageTagMutability, Exclusions: in.ImageTagMutabilityExclusionFilters, Policy: in.RepositoryPolicy, Lifecycle: in.LifecyclePolicy, Tags: in.ResourceTags}
	if change.Mutability == "" {
		change.Mutability = types.ImageTagMutabilityMutable
	}
	if err := errors.Join(checkPrefix(t.Prefix), checkAppliedFor(in.AppliedFor)); err != nil {
		return nil, err
	}
	if err := change.apply(&t); err != nil {
		return nil, err
	}
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := state.RepositoryTemplates.Get(tx, sc.Key(t.Prefix))
		if err == nil {
			return awsError("TemplateAlreadyExistsException", fmt.Sprintf("The repository creation template with prefix '%s' already exists in the registry with id '%s'", t.Prefix, sc.Account))
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		t.CreatedAt, t.UpdatedAt = tx.Now(), tx.Now()
		o.Val = t
		return state.RepositoryTemplates.Put(tx, &o)
	})
	if err != nil {
		return nil, err
	}
	return &ecr.CreateRepositoryCreationTemplateOutput{RegistryId: &sc.Account, RepositoryCreationTemplate: templateView(t)}, nil
}

// UpdateRepositoryCreationTemplate changes what it is given; repositories that are there stay as they are.
func (s *Service) UpdateRepositoryCreationTemplate(ctx context.Context, in *ecr.UpdateRepositoryCreationTemplateInput) (*ecr.UpdateRepositoryCreationTemplateOutput, error) {
	sc, prefix := scope(ctx), aws.ToString(in.Prefix)
	if err := checkPrefix(prefix); err != nil {
		return nil, err
	}
	if in.AppliedFor != nil {
		if err := checkAppliedFor(in.AppliedFor); err != nil {
			return nil, err
		}
	}
	change := templateChange{AppliedFor: in.AppliedFor, Role: in.CustomRoleArn, Description: in.Description, Encryption: in.EncryptionConfiguration,
		Mutability: in.ImageTagMutability, Exclusions: in.ImageTagMutabilityExclusionFilters, Policy: in.RepositoryPolicy, Lifecycle: in.LifecyclePolicy, Tags: in.ResourceTags}
	var t state.RepositoryTemplate
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := template(tx, sc, prefix)
		if err != nil {
			return err
		}
		if err := change.apply(&o.Val); err != nil {
			return err
		}
		o.Val.UpdatedAt = tx.Now()
		t = o.Val
		return state.RepositoryTemplates.Put(tx, &o)
	})
	if err != nil {
		return nil, err
	}
	return &ecr.UpdateRepositoryCreationTemplateOutput{RegistryId: &sc.Account, RepositoryCreationTemplate: templateView(t)}, nil
}

// DeleteRepositoryCreationTemplate deletes a template; the repositories that it made stay.
func (s *Service) DeleteRepositoryCreationTemplate(ctx context.Context, in *ecr.DeleteRepositoryCreationTemplateInput) (*ecr.DeleteRepositoryCreationTemplateOutput, error) {
	sc, prefix := scope(ctx), aws.ToString(in.Prefix)
	if err := checkPrefix(prefix); err != nil {
		return nil, err
	}
	var t state.RepositoryTemplate
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := template(tx, sc, prefix)
		if err != nil {
			return err
		}
		t = o.Val
		return state.RepositoryTemplates.Delete(tx, o.Key, 0)
	})
	if err != nil {
		return nil, err
	}
	return &ecr.DeleteRepositoryCreationTemplateOutput{RegistryId: &sc.Account, RepositoryCreationTemplate: templateView(t)}, nil
}

// DescribeRepositoryCreationTemplates shows templates by prefix, or all of them by pages. Prefixes without one are left out.
func (s *Service) DescribeRepositoryCreationTemplates(ctx context.Context, in *ecr.DescribeRepositoryCreationTemplatesInput) (*ecr.DescribeRepositoryCreationTemplatesOutput, error) {
	if len(in.Prefixes) > 100 {
		return nil, invalid("prefixes", "must have length less than or equal to 100")
	}
	sc := scope(ctx)
	var all []state.RepositoryTemplate
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for o, err := range state.RepositoryTemplates.List(tx, sc.Key()) {
			if err != nil {
				return err
			}
			if len(in.Prefixes) == 0 || slices.Contains(in.Prefixes, o.Val.Prefix) {
				all = append(all, o.Val)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	page, next, err := paginate(all, func(t state.RepositoryTemplate) string { return t.Prefix }, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	out := &ecr.DescribeRepositoryCreationTemplatesOutput{RegistryId: &sc.Account, NextToken: next, RepositoryCreationTemplates: []types.RepositoryCreationTemplate{}}
	for _, t := range page {
		out.RepositoryCreationTemplates = append(out.RepositoryCreationTemplates, *templateView(t))
	}
	return out, nil
}

// Private

// templateChange is what creating and updating a template have in common; what is nil or "" stays.
type templateChange struct {
	AppliedFor        []types.RCTAppliedFor
	Role, Description *string
	Encryption        *types.EncryptionConfigurationForRepositoryCreationTemplate
	Mutability        types.ImageTagMutability
	Exclusions        []types.ImageTagMutabilityExclusionFilter
	Policy, Lifecycle *string
	Tags              []types.Tag
}

func (c templateChange) apply(t *state.RepositoryTemplate) (err error) {
	if e := c.Encryption; e != nil {
		if err := checkConfiguration(&types.EncryptionConfiguration{EncryptionType: e.EncryptionType, KmsKey: e.KmsKey}, nil); err != nil {
			return err
		}
	}
	if c.Role != nil {
		a, err := arn.Parse(*c.Role)
		if *c.Role != "" && (err != nil || a.Service != "iam" || a.Type() != "role" || a.Account != t.Scope.Account) {
			return invalid("customRoleArn", "must be the ARN of a role of the registry's account")
		}
		t.Role = *c.Role
	}
	if c.Description != nil {
		if len([]rune(*c.Description)) > maxDescription {
			return invalid("description", "must have length less than or equal to %d", maxDescription)
		}
		t.Description = *c.Description
	}
	if c.Mutability != "" || len(c.Exclusions) > 0 {
		if c.Mutability == "" {
			c.Mutability = types.ImageTagMutability(t.Mutability)
		}
		if t.Mutability, t.Exclusions, err = mutability(c.Mutability, c.Exclusions); err != nil {
			return err
		}
	}
	if c.Policy != nil {
		if *c.Policy != "" {
			if _, err := repositoryPolicy(*c.Policy); err != nil {
				return err
			}
		}
		t.Policy = *c.Policy
	}
	if c.Lifecycle != nil {
		if *c.Lifecycle != "" {
			if _, err := lifecyclePolicy(*c.Lifecycle); err != nil {
				return err
			}
		}
		t.Lifecycle = *c.Lifecycle
	}
	if c.Tags != nil {
		if t.Tags, err = tagMap(c.Tags); err != nil {
			return err
		}
	}
	if c.AppliedFor != nil {
		t.AppliedFor = nil
		for _, a := range c.AppliedFor {
			t.AppliedFor = append(t.AppliedFor, string(a))
		}
	}
	return nil
}

func checkPrefix(prefix string) error {
	switch {
	case prefix == state.RootPrefix:
		return nil
	case prefix == "" || len(prefix) > maxPrefix:
		return invalid("prefix", "must have length between 1 and %d", maxPrefix)
	case !nameRE.MatchString(strings.TrimSuffix(prefix, "/")):
		return invalid("prefix", "must satisfy regular expression '^((?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*/?|ROOT)$'")
	case strings.HasSuffix(prefix, "/"):
		return refused("Lotse does not take a prefix that ends in '/': there is always an assumed one.")
	}
	return nil
}

// checkAppliedFor refuses templates that nothing would ever use.
func checkAppliedFor(list []types.RCTAppliedFor) error {
	for _, a := range list {
		if !slices.Contains(a.Values(), a) {
			return invalid("appliedFor", "must satisfy enum value set: [PULL_THROUGH_CACHE, REPLICATION, CREATE_ON_PUSH]")
		}
	}
	if !slices.Contains(list, types.RCTAppliedForCreateOnPush) {
		return refused("Lotse has neither pull-through cache nor replication, so it does not accept a repository creation template that is not applied for CREATE_ON_PUSH.")
	}
	return nil
}

func template(tx store.Reader, sc arn.Scope, prefix string) (store.Object[state.RepositoryTemplate], error) {
	o, err := state.RepositoryTemplates.Get(tx, sc.Key(prefix))
	if errors.Is(err, store.ErrNotFound) {
		err = awsError("TemplateNotFoundException", fmt.Sprintf("The repository creation template with prefix '%s' does not exist in the registry with id '%s'", prefix, sc.Account))
	}
	return o, err
}

func templateView(t state.RepositoryTemplate) *types.RepositoryCreationTemplate {
	out := &types.RepositoryCreationTemplate{Prefix: &t.Prefix, CreatedAt: &t.CreatedAt, UpdatedAt: &t.UpdatedAt,
		ImageTagMutability: types.ImageTagMutability(t.Mutability), ImageTagMutabilityExclusionFilters: filters(t.Exclusions),
		EncryptionConfiguration: &types.EncryptionConfigurationForRepositoryCreationTemplate{EncryptionType: types.EncryptionTypeAes256}}
	for _, a := range t.AppliedFor {
		out.AppliedFor = append(out.AppliedFor, types.RCTAppliedFor(a))
	}
	for at, v := range map[**string]string{&out.Description: t.Description, &out.CustomRoleArn: t.Role, &out.RepositoryPolicy: t.Policy, &out.LifecyclePolicy: t.Lifecycle} {
		if v != "" {
			*at = aws.String(v)
		}
	}
	if len(t.Tags) > 0 {
		out.ResourceTags = tagList(t.Tags)
	}
	return out
}

// creatable tells whether a template is for a repository that isn't there.
func creatable(tx store.Reader, repo string) (bool, error) {
	if has, err := there(tx, state.Repositories, repo); has || err != nil {
		return false, err
	}
	sc, name := arn.ScopeOf(repo)
	_, err := state.TemplateFor(tx, sc, name)
	return err == nil, known(missing(err))
}

// createOnPush makes a repository that somebody pushes to, if a template is for it. store.ErrNotFound: none is.
func createOnPush(tx *store.WriteTx, repo string) error {
	sc, name := arn.ScopeOf(repo)
	if newName(name) != nil {
		return store.ErrNotFound
	}
	t, err := state.TemplateFor(tx, sc, name)
	if err != nil {
		return err
	}
	o, err := state.Repositories.Get(tx, repo)
	if err == nil || !errors.Is(err, store.ErrNotFound) {
		return err
	}
	o.Val = state.Repository{Scope: sc, Name: name, CreatedAt: tx.Now(), Mutability: t.Mutability, Exclusions: t.Exclusions, Policy: t.Policy,
		Lifecycle: t.Lifecycle, Tags: t.Tags}
	if t.Lifecycle != "" {
		o.Val.LifecycleAt = tx.Now()
	}
	return state.Repositories.Put(tx, &o)
}
