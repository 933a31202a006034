package ecr

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lotse-project/lotse/internal/arn"
)

func TestCreateRepository(t *testing.T) {
	l := newLab(t)
	out, err := l.CreateRepository(as(home), &ecr.CreateRepositoryInput{
		RepositoryName: str("team/app"), ImageScanningConfiguration: &types.ImageScanningConfiguration{},
		EncryptionConfiguration: &types.EncryptionConfiguration{EncryptionType: types.EncryptionTypeAes256},
		Tags:                    []types.Tag{{Key: str("a"), Value: str("b")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if out.Repository.CreatedAt.IsZero() {
		t.Error("no createdAt")
	}
	want := &types.Repository{
		RepositoryArn: str("arn:aws:ecr:us-east-1:000000000000:repository/team/app"), RegistryId: str("000000000000"),
		RepositoryName: str("team/app"), RepositoryUri: str("localhost:4566/team/app"), CreatedAt: out.Repository.CreatedAt,
		ImageTagMutability:         types.ImageTagMutabilityMutable,
		ImageScanningConfiguration: &types.ImageScanningConfiguration{},
		EncryptionConfiguration:    &types.EncryptionConfiguration{EncryptionType: types.EncryptionTypeAes256},
	}
	if diff := cmp.Diff(want, out.Repository, cmpopts.IgnoreUnexported(types.Repository{}, types.ImageScanningConfiguration{}, types.EncryptionConfiguration{})); diff != "" {
		t.Error(diff)
	}
	_, err = l.CreateRepository(as(home), &ecr.CreateRepositoryInput{RepositoryName: str("team/app")})
	wantCode(t, err, "RepositoryAlreadyExistsException", "The repository with name 'team/app' already exists in the registry with id '000000000000'")

	other, err := l.CreateRepository(as(arn.Scope{Account: "111122223333", Region: "eu-west-1"}), &ecr.CreateRepositoryInput{RepositoryName: str("team/app")})
	if err != nil {
		t.Fatal(err)
	}
	if got := *other.Repository.RepositoryUri; got != "localhost:4566/111122223333.eu-west-1/team/app" {
		t.Errorf("URI in another account = %s", got)
	}
}

func TestCreateRepository_Refuses(t *testing.T) {
	l := newLab(t)
	for name, test := range map[string]struct {
		in          ecr.CreateRepositoryInput
		code, words string
	}{
		"NoName":    {ecr.CreateRepositoryInput{}, "InvalidParameterException", "'repositoryName'"},
		"Upper":     {ecr.CreateRepositoryInput{RepositoryName: str("App")}, "InvalidParameterException", "Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must satisfy regular expression '"},
		"Slash":     {ecr.CreateRepositoryInput{RepositoryName: str("app/")}, "InvalidParameterException", "regular expression"},
		"Long":      {ecr.CreateRepositoryInput{RepositoryName: str(strings.Repeat("a", 257))}, "InvalidParameterException", "256"},
		"Mirror":    {ecr.CreateRepositoryInput{RepositoryName: str("mirror/app")}, "InvalidParameterException", "imported"},
		"Scope":     {ecr.CreateRepositoryInput{RepositoryName: str("111122223333.eu-west-1/app")}, "InvalidParameterException", "another account"},
		"Scan":      {ecr.CreateRepositoryInput{RepositoryName: str("app"), ImageScanningConfiguration: &types.ImageScanningConfiguration{ScanOnPush: true}}, "InvalidParameterException", "scanOnPush"},
		"KMS":       {ecr.CreateRepositoryInput{RepositoryName: str("app"), EncryptionConfiguration: &types.EncryptionConfiguration{EncryptionType: types.EncryptionTypeKms}}, "InvalidParameterException", "KMS"},
		"Mutable":   {ecr.CreateRepositoryInput{RepositoryName: str("app"), ImageTagMutability: "NEVER"}, "InvalidParameterException", "imageTagMutability"},
		"Registry":  {ecr.CreateRepositoryInput{RepositoryName: str("app"), RegistryId: str("111122223333")}, "AccessDeniedException", "arn:aws:ecr:us-east-1:111122223333:repository/app"},
		"TagKey":    {ecr.CreateRepositoryInput{RepositoryName: str("app"), Tags: []types.Tag{{Key: str("aws:x"), Value: str("")}}}, "InvalidTagParameterException", "aws:"},
		"TooMany":   {ecr.CreateRepositoryInput{RepositoryName: str("app"), Tags: make([]types.Tag, 51)}, "TooManyTagsException", "50"},
		"Exclusion": {ecr.CreateRepositoryInput{RepositoryName: str("app"), ImageTagMutability: types.ImageTagMutabilityImmutableWithExclusion}, "InvalidParameterException", "1 to 5"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := l.CreateRepository(as(home), &test.in)
			wantCode(t, err, test.code, test.words)
		})
	}
}

func TestDescribeRepositories_Pages(t *testing.T) {
	l := newLab(t)
	var want []string
	for i := range 5 {
		want = append(want, fmt.Sprintf("app-%d", i))
		l.create(want[i])
	}
	var got []string
	in, n := &ecr.DescribeRepositoriesInput{MaxResults: new(int32)}, 0
	for *in.MaxResults = 2; ; n++ {
		out, err := l.DescribeRepositories(as(home), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range out.Repositories {
			got = append(got, *r.RepositoryName)
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
	}
	if !cmp.Equal(got, want) || n != 2 {
		t.Errorf("%d pages with %q, want 3 with %q", n+1, got, want)
	}
	_, err := l.DescribeRepositories(as(home), &ecr.DescribeRepositoriesInput{RepositoryNames: []string{"app-1", "nope"}})
	wantCode(t, err, "RepositoryNotFoundException", "The repository with name 'nope' does not exist in the registry with id '000000000000'")
	_, err = l.DescribeRepositories(as(home), &ecr.DescribeRepositoriesInput{RepositoryNames: []string{"app-1"}, MaxResults: in.MaxResults})
	wantCode(t, err, "InvalidParameterException", "maxResults")
	out, err := l.DescribeRepositories(as(arn.Scope{Account: home.Account, Region: "eu-west-1"}), &ecr.DescribeRepositoriesInput{})
	if err != nil || len(out.Repositories) != 0 {
		t.Errorf("another region has %v, %v; want none", out.Repositories, err)
	}
}

func TestDeleteRepository(t *testing.T) {
	l := newLab(t)
	l.create("app")
	l.push("app", "one", "v1")
	_, err := l.DeleteRepository(as(home), &ecr.DeleteRepositoryInput{RepositoryName: str("app")})
	wantCode(t, err, "RepositoryNotEmptyException", "The repository with name 'app' in registry with id '000000000000' cannot be deleted because it still contains images")
	out, err := l.DeleteRepository(as(home), &ecr.DeleteRepositoryInput{RepositoryName: str("app"), Force: true})
	if err != nil || *out.Repository.RepositoryName != "app" {
		t.Errorf("DeleteRepository() = %v, %v", out, err)
	}
	_, err = l.DeleteRepository(as(home), &ecr.DeleteRepositoryInput{RepositoryName: str("app")})
	wantCode(t, err, "RepositoryNotFoundException", "does not exist")
	if err := l.registry.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if holds, _ := l.o.Blobs.Holds(t.Context()); len(holds) != 0 {
		t.Errorf("holds after delete and collection: %v, want none", holds)
	}
}

func TestTags(t *testing.T) {
	l := newLab(t)
	l.create("app")
	name := str("arn:aws:ecr:us-east-1:000000000000:repository/app")
	if _, err := l.TagResource(as(home), &ecr.TagResourceInput{ResourceArn: name, Tags: []types.Tag{{Key: str("b"), Value: str("2")}, {Key: str("a"), Value: str("1")}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.UntagResource(as(home), &ecr.UntagResourceInput{ResourceArn: name, TagKeys: []string{"b", "c"}}); err != nil {
		t.Fatal(err)
	}
	out, err := l.ListTagsForResource(as(home), &ecr.ListTagsForResourceInput{ResourceArn: name})
	if err != nil || len(out.Tags) != 1 || *out.Tags[0].Key != "a" || *out.Tags[0].Value != "1" {
		t.Errorf("tags = %v, %v", out.Tags, err)
	}
	_, err = l.ListTagsForResource(as(home), &ecr.ListTagsForResourceInput{ResourceArn: str("arn:aws:ecr:us-east-1:000000000000:repository/nope")})
	wantCode(t, err, "RepositoryNotFoundException", "'nope'")
	_, err = l.ListTagsForResource(as(home), &ecr.ListTagsForResourceInput{ResourceArn: str("app")})
	wantCode(t, err, "InvalidParameterException", "resourceArn")
}
