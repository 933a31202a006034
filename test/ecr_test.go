package test

import (
	"encoding/base64"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/lotse-project/lotse/test/server"
)

// skopeoPush pushes an archive's image as user AWS with a password, and returns what skopeo said.
func skopeoPush(t *testing.T, s *server.Server, password, archive, to string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "skopeo", "copy", "--insecure-policy", "--dest-tls-verify=false", "--dest-creds", "AWS:"+password,
		"docker-archive:"+archive, "docker://"+host(s)+"/"+to).CombinedOutput()
	return string(out), err
}

// A push makes the repository as the template says; its lifecycle policy expires what is old, and the log says why.
func TestCreationTemplateAndLifecycle(t *testing.T) {
	s := start(t)
	const policy = `{"rules":[{"rulePriority":5,"description":"one image stays","selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":1},"action":{"type":"expire"}}]}`
	c, ctx, name := ecr.NewFromConfig(s.Config()), t.Context(), awssdk.String("team/app")
	if _, err := c.CreateRepositoryCreationTemplate(ctx, &ecr.CreateRepositoryCreationTemplateInput{Prefix: awssdk.String("team"),
		AppliedFor: []types.RCTAppliedFor{types.RCTAppliedForCreateOnPush}, ImageTagMutability: types.ImageTagMutabilityImmutable}); err != nil {
		t.Fatal(err)
	}
	one, two := helloImage(t, "v1"), helloImage(t, "v2")
	for tag, archive := range map[string]string{"v1": one, "again": one} {
		if out, err := skopeoPush(t, s, password(t, s), archive, "team/app:"+tag); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if out, err := skopeoPush(t, s, password(t, s), two, "team/app:v1"); err == nil || !strings.Contains(out, "cannot be overwritten because the tag is immutable") {
		t.Errorf("push to a tag of the template's repository: %v, %s", err, out)
	}
	if out, err := skopeoPush(t, s, password(t, s), two, "team/app:v2"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	preview := &ecr.GetLifecyclePolicyPreviewInput{RepositoryName: name}
	if _, err := c.StartLifecyclePolicyPreview(ctx, &ecr.StartLifecyclePolicyPreviewInput{RepositoryName: name, LifecyclePolicyText: awssdk.String(policy)}); err != nil {
		t.Fatal(err)
	}
	out, err := ecr.NewLifecyclePolicyPreviewCompleteWaiter(c).WaitForOutput(ctx, preview, time.Minute)
	if err != nil || len(out.PreviewResults) != 1 || !slices.Equal(out.PreviewResults[0].ImageTags, []string{"again", "v1"}) {
		t.Errorf("preview: %+v, %v; want the first image", out, err)
	}
	if _, err := c.PutLifecyclePolicy(ctx, &ecr.PutLifecyclePolicyInput{RepositoryName: name, LifecyclePolicyText: awssdk.String(policy)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, func() error {
		out, err := c.ListImages(ctx, &ecr.ListImagesInput{RepositoryName: name})
		if err != nil || len(out.ImageIds) != 1 || *out.ImageIds[0].ImageTag != "v2" {
			return fmt.Errorf("images %+v, %v; want v2 alone", out.ImageIds, err)
		}
		return nil
	})
	eventually(t, 30*time.Second, func() error {
		out, err := cloudwatchlogs.NewFromConfig(s.Config()).FilterLogEvents(ctx, &cloudwatchlogs.FilterLogEventsInput{LogGroupName: awssdk.String("/lotse/ecr/lifecycle")})
		if err != nil || len(out.Events) != 1 {
			return fmt.Errorf("events %+v, %v; want one", out, err)
		}
		for _, w := range []string{`"eventName":"PolicyExecutionEvent"`, `"repositoryName":"team/app"`, `"tagList":["again","v1"]`, `"rulePriority":5`} {
			if !strings.Contains(*out.Events[0].Message, w) {
				return fmt.Errorf("%s is not in %s", w, *out.Events[0].Message)
			}
		}
		return nil
	})
}

// A role's session logs in as itself: the repository's policy lets it push, and nothing else does.
func TestRepositoryPolicy(t *testing.T) {
	s := start(t)
	repository(t, s, "app")
	repository(t, s, "other")
	const account = "arn:aws:iam::000000000000:"
	ctx, roles, root, app := t.Context(), iam.NewFromConfig(s.Config()), ecr.NewFromConfig(s.Config()), awssdk.String("app")
	_, err := roles.CreateRole(ctx, &iam.CreateRoleInput{RoleName: awssdk.String("ci"), AssumeRolePolicyDocument: awssdk.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + account + `root"},"Action":"sts:AssumeRole"}]}`)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = roles.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: awssdk.String("ci"), PolicyName: awssdk.String("login"), PolicyDocument: awssdk.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecr:GetAuthorizationToken","Resource":"*"}]}`)})
	if err != nil {
		t.Fatal(err)
	}
	key, err := sts.NewFromConfig(s.Config()).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: awssdk.String(account + "role/ci"), RoleSessionName: awssdk.String("build")})
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.Config()
	cfg.Credentials = credentials.NewStaticCredentialsProvider(*key.Credentials.AccessKeyId, *key.Credentials.SecretAccessKey, *key.Credentials.SessionToken)
	session := ecr.NewFromConfig(cfg)
	token, err := session.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.StdEncoding.DecodeString(*token.AuthorizationData[0].AuthorizationToken)
	if err != nil {
		t.Fatal(err)
	}
	login := strings.TrimPrefix(string(raw), "AWS:")
	allow := func(actions string) {
		t.Helper()
		_, err := root.SetRepositoryPolicy(ctx, &ecr.SetRepositoryPolicyInput{RepositoryName: app, PolicyText: awssdk.String(
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + account + `role/ci"},"Action":[` + actions + `]}]}`)})
		if err != nil {
			t.Fatal(err)
		}
	}
	pull := func() error {
		out, err := session.BatchGetImage(ctx, &ecr.BatchGetImageInput{RepositoryName: app, ImageIds: []types.ImageIdentifier{{ImageTag: awssdk.String("v1")}}})
		if err == nil && len(out.Images) != 1 {
			err = fmt.Errorf("images %+v, want one", out.Images)
		}
		return err
	}
	image := helloImage(t, "v1")
	if out, err := skopeoPush(t, s, login, image, "app:v1"); err == nil || !strings.Contains(out, "403 (Forbidden)") {
		t.Errorf("push without leave: %v, %s", err, out)
	}
	allow(`"ecr:BatchCheckLayerAvailability","ecr:InitiateLayerUpload","ecr:UploadLayerPart","ecr:CompleteLayerUpload","ecr:PutImage"`)
	if out, err := skopeoPush(t, s, login, image, "app:v1"); err != nil {
		t.Errorf("push with leave: %v, %s", err, out)
	}
	if out, err := skopeoPush(t, s, login, image, "other:v1"); err == nil {
		t.Errorf("push to another repository: %s", out)
	}
	if err := pull(); err == nil || !strings.Contains(err.Error(), "assumed-role/ci/build is not authorized to perform: ecr:BatchGetImage on resource: arn:aws:ecr:us-east-1:000000000000:repository/app") {
		t.Errorf("pull through the API, without leave: %v", err)
	}
	allow(`"ecr:BatchGetImage"`)
	if err := pull(); err != nil {
		t.Errorf("pull through the API, with leave: %v", err)
	}
	if out, err := skopeoPush(t, s, login, image, "app:v2"); err == nil {
		t.Errorf("push after the leave was taken: %s", out)
	}
}
