package ecr

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/lotse-project/lotse/internal/lazyregexp"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

const mutable = string(types.ImageTagMutabilityMutable)

// CreateRepository makes a repository.
func (s *Service) CreateRepository(ctx context.Context, in *ecr.CreateRepositoryInput) (*ecr.CreateRepositoryOutput, error) {
	r, err := newRepository(ctx, in)
	if err != nil {
		return nil, err
	}
	err = s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := state.Repositories.Get(tx, r.Key())
		if err == nil {
			return errRepositoryExists(r.Name, r.Scope.Account)
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		r.CreatedAt = tx.Now()
		o.Val = r
		return state.Repositories.Put(tx, &o)
	})
	if err != nil {
		return nil, err
	}
	return &ecr.CreateRepositoryOutput{Repository: s.view(r)}, nil
}

// DescribeRepositories shows repositories by name, or all of them by pages.
func (s *Service) DescribeRepositories(ctx context.Context, in *ecr.DescribeRepositoriesInput) (*ecr.DescribeRepositoriesOutput, error) {
	if err := onlyMembers(in, "MaxResults", "NextToken", "RegistryId", "RepositoryNames"); err != nil {
		return nil, err
	}
	if len(in.RepositoryNames) > 0 && (in.MaxResults != nil || in.NextToken != nil) {
		return nil, refused("Invalid parameter: 'maxResults' and 'nextToken' cannot be used with 'repositoryNames'")
	}
	if len(in.RepositoryNames) > 100 {
		return nil, invalid("repositoryNames", "must have length less than or equal to 100")
	}
	if err := ownRegistry(ctx, in.RegistryId, "DescribeRepositories", "*"); err != nil {
		return nil, err
	}
	sc := scope(ctx)
	var all []state.Repository
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for _, name := range in.RepositoryNames {
			o, err := repository(tx, sc, &name)
			if err != nil {
				return err
			}
			all = append(all, o.Val)
		}
		if len(in.RepositoryNames) > 0 {
			return nil
		}
		for o, err := range state.Repositories.List(tx, sc.Key()) {
			if err != nil {
				return err
			}
			all = append(all, o.Val)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	page, next := all, (*string)(nil)
	if len(in.RepositoryNames) == 0 {
		if page, next, err = paginate(all, func(r state.Repository) string { return r.Name }, in.NextToken, in.MaxResults); err != nil {
			return nil, err
		}
	}
	out := &ecr.DescribeRepositoriesOutput{NextToken: next, Repositories: []types.Repository{}}
	for _, r := range page {
		out.Repositories = append(out.Repositories, *s.view(r))
	}
	return out, nil
}

// DeleteRepository deletes a repository; with images in it only if forced.
func (s *Service) DeleteRepository(ctx context.Context, in *ecr.DeleteRepositoryInput) (*ecr.DeleteRepositoryOutput, error) {
	if err := onlyMembers(in, "RepositoryName", "Force", "RegistryId"); err != nil {
		return nil, err
	}
	if err := ownRegistry(ctx, in.RegistryId, "DeleteRepository", aws.ToString(in.RepositoryName)); err != nil {
		return nil, err
	}
	var r state.Repository
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := repository(tx, scope(ctx), in.RepositoryName)
		if err != nil {
			return err
		}
		r = o.Val
		for _, err := range state.Images.List(tx, state.RepositoryImages(r.Key())) {
			if err != nil {
				return err
			}
			if !in.Force {
				return errRepositoryNotEmpty(r.Name, r.Scope.Account)
			}
			break
		}
		return state.DropRepository(tx, r.Key())
	})
	if err != nil {
		return nil, err
	}
	s.o.Fault("registry.delete:after")
	s.registry.Wake()
	s.o.Changed(Change{Repository: r.Key(), Deleted: true})
	return &ecr.DeleteRepositoryOutput{Repository: s.view(r)}, nil
}

// PutImageTagMutability says whether tags may move from now on.
func (s *Service) PutImageTagMutability(ctx context.Context, in *ecr.PutImageTagMutabilityInput) (*ecr.PutImageTagMutabilityOutput, error) {
	if err := onlyMembers(in, "RepositoryName", "ImageTagMutability", "ImageTagMutabilityExclusionFilters", "RegistryId"); err != nil {
		return nil, err
	}
	how, exclusions, err := mutability(in.ImageTagMutability, in.ImageTagMutabilityExclusionFilters)
	if err != nil {
		return nil, err
	}
	r, err := s.changeRepository(ctx, in.RepositoryName, in.RegistryId, "PutImageTagMutability", func(_ *store.WriteTx, r *state.Repository) error {
		r.Mutability, r.Exclusions = how, exclusions
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ecr.PutImageTagMutabilityOutput{RegistryId: &r.Scope.Account, RepositoryName: &r.Name,
		ImageTagMutability: types.ImageTagMutability(how), ImageTagMutabilityExclusionFilters: filters(exclusions)}, nil
}

// Private

// changeRepository changes a repository of the caller's.
func (s *Service) changeRepository(ctx context.Context, name, registry *string, action string, change func(*store.WriteTx, *state.Repository) error) (r state.Repository, err error) {
	if err := ownRegistry(ctx, registry, action, aws.ToString(name)); err != nil {
		return r, err
	}
	err = s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := repository(tx, scope(ctx), name)
		if err != nil {
			return err
		}
		if err := change(tx, &o.Val); err != nil {
			return err
		}
		r = o.Val
		return state.Repositories.Put(tx, &o)
	})
	return r, err
}

// newRepository checks everything about a repository to be made, except that there is none of the name.
func newRepository(ctx context.Context, in *ecr.CreateRepositoryInput) (state.Repository, error) {
	r := state.Repository{Scope: scope(ctx), Name: aws.ToString(in.RepositoryName)}
	if err := onlyMembers(in, "RepositoryName", "EncryptionConfiguration", "ImageScanningConfiguration", "ImageTagMutability", "ImageTagMutabilityExclusionFilters", "RegistryId", "Tags"); err != nil {
		return r, err
	}
	if err := newName(r.Name); err != nil {
		return r, err
	}
	if err := ownRegistry(ctx, in.RegistryId, "CreateRepository", r.Name); err != nil {
		return r, err
	}
	if err := checkConfiguration(in.EncryptionConfiguration, in.ImageScanningConfiguration); err != nil {
		return r, err
	}
	var err error
	if r.Mutability, r.Exclusions, err = mutability(in.ImageTagMutability, in.ImageTagMutabilityExclusionFilters); err != nil {
		return r, err
	}
	r.Tags, err = tagMap(in.Tags)
	return r, err
}

func (s *Service) view(r state.Repository) *types.Repository {
	return &types.Repository{
		RepositoryArn: aws.String(r.ARN()), RegistryId: aws.String(r.Scope.Account), RepositoryName: aws.String(r.Name),
		RepositoryUri: aws.String(s.URI(r.Scope, r.Name)), CreatedAt: aws.Time(r.CreatedAt),
		ImageTagMutability: types.ImageTagMutability(r.Mutability), ImageTagMutabilityExclusionFilters: filters(r.Exclusions),
		ImageScanningConfiguration: &types.ImageScanningConfiguration{},
		EncryptionConfiguration:    &types.EncryptionConfiguration{EncryptionType: types.EncryptionTypeAes256},
	}
}

// checkConfiguration refuses what nobody would do.
func checkConfiguration(e *types.EncryptionConfiguration, c *types.ImageScanningConfiguration) error {
	if c != nil && c.ScanOnPush {
		return refused("Lotse does not scan images, so it does not accept imageScanningConfiguration with scanOnPush=true.")
	}
	switch {
	case e == nil || e.EncryptionType == types.EncryptionTypeAes256 && aws.ToString(e.KmsKey) == "":
		return nil
	case e.EncryptionType == types.EncryptionTypeAes256:
		return refused("Invalid parameter: 'kmsKey' cannot be used with encryption type AES256")
	case !slices.Contains(e.EncryptionType.Values(), e.EncryptionType):
		return invalid("encryptionConfiguration.encryptionType", "must satisfy enum value set: [AES256, KMS, KMS_DSSE]")
	}
	return refused("Lotse has no KMS, so it does not accept encryptionConfiguration with encryptionType=%s; AES256 is the default.", e.EncryptionType)
}

// filterRE is a pattern of tags. Source: ECR service model, ImageTagMutabilityExclusionFilterValue.
var filterRE = lazyregexp.New(`^[0-9a-zA-Z._*-]{1,128}$`)

// mutability checks whether tags may move, and the patterns of those that have it the other way round.
func mutability(how types.ImageTagMutability, fs []types.ImageTagMutabilityExclusionFilter) (string, []string, error) {
	if how == "" {
		how = types.ImageTagMutabilityMutable
	}
	if !slices.Contains(how.Values(), how) {
		return "", nil, invalid("imageTagMutability", "must satisfy enum value set: [MUTABLE, IMMUTABLE, MUTABLE_WITH_EXCLUSION, IMMUTABLE_WITH_EXCLUSION]")
	}
	excluding := strings.HasSuffix(string(how), "_WITH_EXCLUSION")
	if excluding && (len(fs) < 1 || len(fs) > 5) {
		return "", nil, invalid("imageTagMutabilityExclusionFilters", "must have 1 to 5 filters with image tag mutability %s", how)
	}
	if !excluding && len(fs) > 0 {
		return "", nil, invalid("imageTagMutabilityExclusionFilters", "must not be given with image tag mutability %s", how)
	}
	var patterns []string
	for _, f := range fs {
		p := aws.ToString(f.Filter)
		if f.FilterType != types.ImageTagMutabilityExclusionFilterTypeWildcard {
			return "", nil, invalid("imageTagMutabilityExclusionFilters", "must have filter type WILDCARD")
		}
		if !filterRE.MatchString(p) || strings.Count(p, "*") > 2 {
			return "", nil, invalid("imageTagMutabilityExclusionFilters", "must satisfy regular expression '[0-9a-zA-Z._*-]{1,128}' with at most two wildcards")
		}
		patterns = append(patterns, p)
	}
	return string(how), patterns, nil
}

func filters(patterns []string) []types.ImageTagMutabilityExclusionFilter {
	var out []types.ImageTagMutabilityExclusionFilter
	for _, p := range patterns {
		out = append(out, types.ImageTagMutabilityExclusionFilter{Filter: aws.String(p), FilterType: types.ImageTagMutabilityExclusionFilterTypeWildcard})
	}
	return out
}
