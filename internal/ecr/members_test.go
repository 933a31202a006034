package ecr

import (
	"context"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/lotse-project/lotse/internal/awswire/wiretest"
)

// An operation is called with an input in which everything is in order.
type operation struct {
	input any
	call  func(ctx context.Context, in any) error
	acts  []string // paths of the members it acts on
}

func op[In, Out any](in *In, call func(context.Context, *In) (*Out, error), acts string) operation {
	return operation{in, func(ctx context.Context, v any) error { _, err := call(ctx, v.(*In)); return err }, strings.Fields(acts)}
}

func (l *lab) operations(digest, layer, upload, finished string) map[string]operation {
	app, one, other := str("app"), []types.ImageIdentifier{{ImageTag: str("v1")}}, str("sha256:"+strings.Repeat("0", 64))
	arn := str(home.ARN("ecr", "repository/app"))
	const repo, page, ids = "RepositoryName RegistryId ", "MaxResults NextToken ", "ImageIds ImageIds.ImageDigest ImageIds.ImageTag "
	const mutability = "ImageTagMutability ImageTagMutabilityExclusionFilters ImageTagMutabilityExclusionFilters.Filter ImageTagMutabilityExclusionFilters.FilterType "
	const scan, encryption = "ImageScanningConfiguration ImageScanningConfiguration.ScanOnPush ", "EncryptionConfiguration EncryptionConfiguration.EncryptionType EncryptionConfiguration.KmsKey "
	const template = "Prefix AppliedFor CustomRoleArn Description LifecyclePolicy RepositoryPolicy ResourceTags ResourceTags.Key ResourceTags.Value " + mutability + encryption
	return map[string]operation{
		"CreateRepository":            op(&ecr.CreateRepositoryInput{RepositoryName: str("new")}, l.CreateRepository, repo+"Tags Tags.Key Tags.Value "+mutability+scan+encryption),
		"DescribeRepositories":        op(&ecr.DescribeRepositoriesInput{}, l.DescribeRepositories, "RegistryId RepositoryNames "+page),
		"DeleteRepository":            op(&ecr.DeleteRepositoryInput{RepositoryName: app, Force: true}, l.DeleteRepository, repo+"Force"),
		"PutImageTagMutability":       op(&ecr.PutImageTagMutabilityInput{RepositoryName: app, ImageTagMutability: "IMMUTABLE"}, l.PutImageTagMutability, repo+mutability),
		"GetAuthorizationToken":       op(&ecr.GetAuthorizationTokenInput{}, l.GetAuthorizationToken, "RegistryIds"),
		"DescribeImages":              op(&ecr.DescribeImagesInput{RepositoryName: app}, l.DescribeImages, repo+page+ids+"Filter Filter.TagStatus Filter.ImageStatus"),
		"ListImages":                  op(&ecr.ListImagesInput{RepositoryName: app}, l.ListImages, repo+page+"Filter Filter.TagStatus Filter.ImageStatus"),
		"BatchGetImage":               op(&ecr.BatchGetImageInput{RepositoryName: app, ImageIds: one}, l.BatchGetImage, repo+ids+"AcceptedMediaTypes"),
		"BatchDeleteImage":            op(&ecr.BatchDeleteImageInput{RepositoryName: app, ImageIds: one}, l.BatchDeleteImage, repo+ids),
		"BatchCheckLayerAvailability": op(&ecr.BatchCheckLayerAvailabilityInput{RepositoryName: app, LayerDigests: []string{*other}}, l.BatchCheckLayerAvailability, repo+"LayerDigests"),
		"PutImage":                    op(&ecr.PutImageInput{RepositoryName: app, ImageManifest: &digest, ImageTag: str("new")}, l.PutImage, repo+"ImageManifest ImageManifestMediaType ImageTag ImageDigest"),
		"InitiateLayerUpload":         op(&ecr.InitiateLayerUploadInput{RepositoryName: app}, l.InitiateLayerUpload, repo),
		"UploadLayerPart": op(&ecr.UploadLayerPartInput{RepositoryName: app, UploadId: &upload, PartFirstByte: int64p(0), PartLastByte: int64p(0), LayerPartBlob: []byte("x")}, l.UploadLayerPart,
			repo+"UploadId PartFirstByte PartLastByte LayerPartBlob"),
		"CompleteLayerUpload":    op(&ecr.CompleteLayerUploadInput{RepositoryName: app, UploadId: &finished, LayerDigests: []string{sha256x}}, l.CompleteLayerUpload, repo+"UploadId LayerDigests"),
		"GetDownloadUrlForLayer": op(&ecr.GetDownloadUrlForLayerInput{RepositoryName: app, LayerDigest: &layer}, l.GetDownloadUrlForLayer, repo+"LayerDigest"),
		"PutLifecyclePolicy":     op(&ecr.PutLifecyclePolicyInput{RepositoryName: app, LifecyclePolicyText: str(policyOf("any", "1"))}, l.PutLifecyclePolicy, repo+"LifecyclePolicyText"),
		"GetLifecyclePolicy":     op(&ecr.GetLifecyclePolicyInput{RepositoryName: app}, l.GetLifecyclePolicy, repo),
		"DeleteLifecyclePolicy":  op(&ecr.DeleteLifecyclePolicyInput{RepositoryName: app}, l.DeleteLifecyclePolicy, repo),
		"StartLifecyclePolicyPreview": op(&ecr.StartLifecyclePolicyPreviewInput{RepositoryName: app}, l.StartLifecyclePolicyPreview,
			repo+"LifecyclePolicyText"),
		"GetLifecyclePolicyPreview": op(&ecr.GetLifecyclePolicyPreviewInput{RepositoryName: app}, l.GetLifecyclePolicyPreview, repo+page+ids+"Filter Filter.TagStatus"),
		"SetRepositoryPolicy":       op(&ecr.SetRepositoryPolicyInput{RepositoryName: app, PolicyText: str(pullForOthers)}, l.SetRepositoryPolicy, repo+"PolicyText Force"),
		"GetRepositoryPolicy":       op(&ecr.GetRepositoryPolicyInput{RepositoryName: app}, l.GetRepositoryPolicy, repo),
		"DeleteRepositoryPolicy":    op(&ecr.DeleteRepositoryPolicyInput{RepositoryName: app}, l.DeleteRepositoryPolicy, repo),
		"PutRegistryPolicy":         op(&ecr.PutRegistryPolicyInput{PolicyText: str(pullForRegistry)}, l.PutRegistryPolicy, "PolicyText"),
		"GetRegistryPolicy":         op(&ecr.GetRegistryPolicyInput{}, l.GetRegistryPolicy, ""),
		"DeleteRegistryPolicy":      op(&ecr.DeleteRegistryPolicyInput{}, l.DeleteRegistryPolicy, ""),
		"CreateRepositoryCreationTemplate": op(&ecr.CreateRepositoryCreationTemplateInput{Prefix: str("new"), AppliedFor: []types.RCTAppliedFor{"CREATE_ON_PUSH"}}, l.CreateRepositoryCreationTemplate,
			template),
		"UpdateRepositoryCreationTemplate":    op(&ecr.UpdateRepositoryCreationTemplateInput{Prefix: str("p")}, l.UpdateRepositoryCreationTemplate, template),
		"DeleteRepositoryCreationTemplate":    op(&ecr.DeleteRepositoryCreationTemplateInput{Prefix: str("p")}, l.DeleteRepositoryCreationTemplate, "Prefix"),
		"DescribeRepositoryCreationTemplates": op(&ecr.DescribeRepositoryCreationTemplatesInput{}, l.DescribeRepositoryCreationTemplates, page+"Prefixes"),
		"DescribeRegistry":                    op(&ecr.DescribeRegistryInput{}, l.DescribeRegistry, ""),
		"GetAccountSetting":                   op(&ecr.GetAccountSettingInput{Name: str("BLOB_MOUNTING")}, l.GetAccountSetting, "Name"),
		"PutAccountSetting":                   op(&ecr.PutAccountSettingInput{Name: str("BLOB_MOUNTING"), Value: str("ENABLED")}, l.PutAccountSetting, "Name Value"),
		"PutImageScanningConfiguration":       op(&ecr.PutImageScanningConfigurationInput{RepositoryName: app, ImageScanningConfiguration: &types.ImageScanningConfiguration{}}, l.PutImageScanningConfiguration, repo+scan),
		"ListImageReferrers": op(&ecr.ListImageReferrersInput{RepositoryName: app, SubjectId: &types.SubjectIdentifier{ImageDigest: other}}, l.ListImageReferrers,
			repo+page+"SubjectId SubjectId.ImageDigest Filter Filter.ArtifactStatus Filter.ArtifactTypes"),
		"TagResource":         op(&ecr.TagResourceInput{ResourceArn: arn, Tags: []types.Tag{{Key: str("k"), Value: str("v")}}}, l.TagResource, "ResourceArn Tags Tags.Key Tags.Value"),
		"UntagResource":       op(&ecr.UntagResourceInput{ResourceArn: arn, TagKeys: []string{"k"}}, l.UntagResource, "ResourceArn TagKeys"),
		"ListTagsForResource": op(&ecr.ListTagsForResourceInput{ResourceArn: arn}, l.ListTagsForResource, "ResourceArn"),
	}
}

const pullForRegistry = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"ecr:BatchGetImage","Resource":"*"}]}`

// sha256x is of "x".
const sha256x = "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"

func int64p(n int64) *int64 { return &n }

// Every member of the SDK's inputs, however deep, is acted on or refused.
func TestMembers_ActedOnOrRefused(t *testing.T) {
	for _, name := range newLab(t).API().Operations() {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.create("app")
			l.push("app", "one", "v1")
			layer := l.upload("app", []byte("layer of a manifest"))
			manifest := string(asJSON(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
				"config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": layer.Digest, "size": layer.Size}, "layers": []any{}}))
			for _, err := range []error{
				second(l.SetRepositoryPolicy(as(home), &ecr.SetRepositoryPolicyInput{RepositoryName: str("app"), PolicyText: str(pullForOthers)})),
				second(l.PutRegistryPolicy(as(home), &ecr.PutRegistryPolicyInput{PolicyText: str(pullForRegistry)})),
				second(l.CreateRepositoryCreationTemplate(as(home), &ecr.CreateRepositoryCreationTemplateInput{Prefix: str("p"), AppliedFor: []types.RCTAppliedFor{"CREATE_ON_PUSH"}})),
				second(l.PutLifecyclePolicy(as(home), &ecr.PutLifecyclePolicyInput{RepositoryName: str("app"), LifecyclePolicyText: str(policyOf("any", "5"))})),
				second(l.PutImage(as(home), &ecr.PutImageInput{RepositoryName: str("app"), ImageManifest: &manifest})),
				second(l.StartLifecyclePolicyPreview(as(home), &ecr.StartLifecyclePolicyPreviewInput{RepositoryName: str("app")})),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			upload, finished := l.begin("app"), l.begin("app")
			if _, err := l.part("app", finished, 0, []byte("x")); err != nil {
				t.Fatal(err)
			}
			o, ok := l.operations(manifest, layer.Digest.String(), *upload, *finished)[name]
			if !ok {
				t.Fatal("the operation is not in this test")
			}
			call := func(in any) error { return o.call(as(home), in) }
			wiretest.Members(t, o.input, o.acts, nil, call)
			wiretest.Broken(t, o.input, call)
		})
	}
}

func second[T any](_ T, err error) error { return err }
