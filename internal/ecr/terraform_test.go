package ecr

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
)

// What Terraform's AWS provider asks for its resources, in its order, from apply to destroy.
// Source: terraform-provider-aws, internal/service/ecr: repository.go, lifecycle_policy.go, repository_policy.go,
// repository_creation_template.go.
func TestTerraform(t *testing.T) {
	l := newLab(t)
	c, ctx := l.client(), t.Context()
	name, registry := str("team/app"), str(home.Account)
	policy := policyOf("any", "14")
	statement := `{"Statement":[{"Action":["ecr:BatchGetImage"],"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Sid":"pull"}],"Version":"2012-10-17"}`
	var arn *string
	describe := func() types.Repository {
		out, err := c.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{*name}})
		if err != nil || len(out.Repositories) != 1 {
			t.Fatalf("DescribeRepositories() = %+v, %v; want one", out, err)
		}
		return out.Repositories[0]
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"aws_ecr_repository/create", func() error {
			out, err := c.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: name, ImageTagMutability: types.ImageTagMutabilityMutable,
				EncryptionConfiguration:    &types.EncryptionConfiguration{EncryptionType: types.EncryptionTypeAes256},
				ImageScanningConfiguration: &types.ImageScanningConfiguration{ScanOnPush: false}, Tags: []types.Tag{{Key: str("env"), Value: str("test")}}})
			if err == nil {
				arn = out.Repository.RepositoryArn
			}
			return err
		}},
		{"aws_ecr_repository/read", func() error {
			r := describe()
			if r.ImageScanningConfiguration == nil || r.ImageScanningConfiguration.ScanOnPush || r.EncryptionConfiguration.EncryptionType != types.EncryptionTypeAes256 ||
				*r.RepositoryArn != *arn || *r.RegistryId != *registry || *r.RepositoryUri != "localhost:4566/team/app" {
				t.Errorf("repository %+v", r)
			}
			tags, err := c.ListTagsForResource(ctx, &ecr.ListTagsForResourceInput{ResourceArn: arn})
			if err == nil && (len(tags.Tags) != 1 || *tags.Tags[0].Key != "env") {
				t.Errorf("tags %+v", tags.Tags)
			}
			return err
		}},
		{"aws_ecr_repository/update", func() error {
			_, err := c.PutImageTagMutability(ctx, &ecr.PutImageTagMutabilityInput{RepositoryName: name, RegistryId: registry, ImageTagMutability: types.ImageTagMutabilityImmutableWithExclusion,
				ImageTagMutabilityExclusionFilters: []types.ImageTagMutabilityExclusionFilter{{Filter: str("dev-*"), FilterType: types.ImageTagMutabilityExclusionFilterTypeWildcard}}})
			_, err2 := c.PutImageScanningConfiguration(ctx, &ecr.PutImageScanningConfigurationInput{RepositoryName: name, RegistryId: registry, ImageScanningConfiguration: &types.ImageScanningConfiguration{}})
			_, err3 := c.UntagResource(ctx, &ecr.UntagResourceInput{ResourceArn: arn, TagKeys: []string{"env"}})
			_, err4 := c.TagResource(ctx, &ecr.TagResourceInput{ResourceArn: arn, Tags: []types.Tag{{Key: str("team"), Value: str("a")}}})
			if r := describe(); r.ImageTagMutability != types.ImageTagMutabilityImmutableWithExclusion || len(r.ImageTagMutabilityExclusionFilters) != 1 {
				t.Errorf("repository %+v", r)
			}
			return errors.Join(err, err2, err3, err4)
		}},
		{"aws_ecr_lifecycle_policy", func() error {
			_, err := c.PutLifecyclePolicy(ctx, &ecr.PutLifecyclePolicyInput{RepositoryName: name, LifecyclePolicyText: &policy})
			if err != nil {
				return err
			}
			got, err := c.GetLifecyclePolicy(ctx, &ecr.GetLifecyclePolicyInput{RepositoryName: name})
			if err != nil || *got.LifecyclePolicyText != policy || *got.RegistryId != *registry || *got.RepositoryName != *name {
				t.Errorf("GetLifecyclePolicy() = %+v, %v", got, err)
			}
			if _, err = c.DeleteLifecyclePolicy(ctx, &ecr.DeleteLifecyclePolicyInput{RepositoryName: name}); err != nil {
				return err
			}
			_, err = c.GetLifecyclePolicy(ctx, &ecr.GetLifecyclePolicyInput{RepositoryName: name})
			return gone[*types.LifecyclePolicyNotFoundException](err)
		}},
		{"aws_ecr_repository_policy", func() error {
			_, err := c.SetRepositoryPolicy(ctx, &ecr.SetRepositoryPolicyInput{RepositoryName: name, PolicyText: &statement})
			if err != nil {
				return err
			}
			got, err := c.GetRepositoryPolicy(ctx, &ecr.GetRepositoryPolicyInput{RepositoryName: name})
			if err != nil || *got.PolicyText != statement || *got.RegistryId != *registry || *got.RepositoryName != *name {
				t.Errorf("GetRepositoryPolicy() = %+v, %v", got, err)
			}
			if _, err = c.DeleteRepositoryPolicy(ctx, &ecr.DeleteRepositoryPolicyInput{RepositoryName: name, RegistryId: registry}); err != nil {
				return err
			}
			_, err = c.GetRepositoryPolicy(ctx, &ecr.GetRepositoryPolicyInput{RepositoryName: name})
			return gone[*types.RepositoryPolicyNotFoundException](err)
		}},
		{"aws_ecr_repository_creation_template/create", func() error {
			_, err := c.CreateRepositoryCreationTemplate(ctx, &ecr.CreateRepositoryCreationTemplateInput{Prefix: str("ROOT"), AppliedFor: []types.RCTAppliedFor{types.RCTAppliedForCreateOnPush, types.RCTAppliedForPullThroughCache},
				ImageTagMutability: types.ImageTagMutabilityMutable, EncryptionConfiguration: &types.EncryptionConfigurationForRepositoryCreationTemplate{EncryptionType: types.EncryptionTypeAes256},
				CustomRoleArn: str("arn:aws:iam::000000000000:role/ecr"), Description: str("all"), LifecyclePolicy: &policy, RepositoryPolicy: &statement, ResourceTags: []types.Tag{{Key: str("k"), Value: str("v")}}})
			return err
		}},
		{"aws_ecr_repository_creation_template/read", func() error {
			p := ecr.NewDescribeRepositoryCreationTemplatesPaginator(c, &ecr.DescribeRepositoryCreationTemplatesInput{Prefixes: []string{"ROOT"}})
			out, err := p.NextPage(ctx)
			if err != nil || p.HasMorePages() || len(out.RepositoryCreationTemplates) != 1 || *out.RegistryId != *registry {
				t.Fatalf("DescribeRepositoryCreationTemplates() = %+v, %v; want one", out, err)
			}
			r := out.RepositoryCreationTemplates[0]
			if *r.LifecyclePolicy != policy || *r.RepositoryPolicy != statement || !strings.HasSuffix(*r.CustomRoleArn, "role/ecr") || *r.Description != "all" || r.EncryptionConfiguration.EncryptionType != types.EncryptionTypeAes256 ||
				!slices.Equal(r.AppliedFor, []types.RCTAppliedFor{types.RCTAppliedForCreateOnPush, types.RCTAppliedForPullThroughCache}) || len(r.ResourceTags) != 1 {
				t.Errorf("template %+v", r)
			}
			return nil
		}},
		{"aws_ecr_repository_creation_template/update", func() error {
			out, err := c.UpdateRepositoryCreationTemplate(ctx, &ecr.UpdateRepositoryCreationTemplateInput{Prefix: str("ROOT"), ResourceTags: []types.Tag{}, Description: str(""), LifecyclePolicy: str(""),
				ImageTagMutability: types.ImageTagMutabilityImmutable, EncryptionConfiguration: &types.EncryptionConfigurationForRepositoryCreationTemplate{EncryptionType: types.EncryptionTypeAes256}})
			if err == nil {
				if r := out.RepositoryCreationTemplate; len(r.ResourceTags) != 0 || r.Description != nil || r.LifecyclePolicy != nil || r.ImageTagMutability != types.ImageTagMutabilityImmutable || aws.ToString(r.RepositoryPolicy) != statement {
					t.Errorf("template %+v", r)
				}
			}
			return err
		}},
		{"aws_ecr_repository_creation_template/delete", func() error {
			if _, err := c.DeleteRepositoryCreationTemplate(ctx, &ecr.DeleteRepositoryCreationTemplateInput{Prefix: str("ROOT")}); err != nil {
				return err
			}
			_, err := c.DeleteRepositoryCreationTemplate(ctx, &ecr.DeleteRepositoryCreationTemplateInput{Prefix: str("ROOT")})
			return gone[*types.TemplateNotFoundException](err)
		}},
		{"aws_ecr_repository/delete", func() error {
			l.push(*name, "one", "v1")
			_, err := c.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: name, RegistryId: registry})
			if e := (*types.RepositoryNotEmptyException)(nil); !errors.As(err, &e) {
				t.Errorf("delete of a full repository: %v, want RepositoryNotEmptyException", err)
			}
			if _, err := c.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: name, RegistryId: registry, Force: true}); err != nil {
				return err
			}
			_, err = c.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{*name}})
			return gone[*types.RepositoryNotFoundException](err)
		}},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
	}
}

// gone is nil if err is the SDK's own type for what isn't there, which is what Terraform looks for.
func gone[E error](err error) error {
	var e E
	if errors.As(err, &e) {
		return nil
	}
	return errors.Join(errors.New("not what Terraform takes for a missing resource"), err)
}
