package ecr

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
)

const pullForOthers = `{"Version":"2012-10-17","Statement":[{"Sid":"pull","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":["ecr:BatchGetImage","ecr:GetDownloadUrlForLayer"]}]}`

func TestRepositoryPolicy(t *testing.T) {
	l := newLab(t)
	l.create("app")
	_, err := l.GetRepositoryPolicy(as(home), &ecr.GetRepositoryPolicyInput{RepositoryName: str("app")})
	wantCode(t, err, "RepositoryPolicyNotFoundException", "Repository policy does not exist for the repository with name 'app' in the registry with id '000000000000'")
	_, err = l.DeleteRepositoryPolicy(as(home), &ecr.DeleteRepositoryPolicyInput{RepositoryName: str("app")})
	wantCode(t, err, "RepositoryPolicyNotFoundException", "'app'")
	set := func(text string, force bool) error {
		_, err := l.SetRepositoryPolicy(as(home), &ecr.SetRepositoryPolicyInput{RepositoryName: str("app"), PolicyText: &text, Force: force})
		return err
	}
	for _, bad := range []string{
		`{`, `{"Version":"2012-10-17","Statement":[]}`,
		strings.Replace(pullForOthers, `"Principal":{"AWS":"arn:aws:iam::111122223333:root"},`, "", 1),
		strings.Replace(pullForOthers, `"ecr:BatchGetImage"`, `"s3:GetObject"`, 1),
		strings.Replace(pullForOthers, `"Effect"`, `"Resource":"*","Effect"`, 1),
	} {
		wantCode(t, set(bad, false), "InvalidParameterException", "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid repository policy provided'")
	}
	wantCode(t, set(strings.Repeat(" ", 10241), false), "InvalidParameterException", "10240")
	lockout := `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"ecr:*"}]}`
	wantCode(t, set(lockout, false), "InvalidParameterException", "force")
	if err := set(lockout, true); err != nil {
		t.Errorf("a policy that locks out, by force: %v", err)
	}
	if err := set(pullForOthers, false); err != nil {
		t.Fatal(err)
	}
	got, err := l.GetRepositoryPolicy(as(home), &ecr.GetRepositoryPolicyInput{RepositoryName: str("app")})
	if err != nil || *got.PolicyText != pullForOthers {
		t.Errorf("GetRepositoryPolicy() = %+v, %v", got, err)
	}
	gone, err := l.DeleteRepositoryPolicy(as(home), &ecr.DeleteRepositoryPolicyInput{RepositoryName: str("app")})
	if err != nil || *gone.PolicyText != pullForOthers {
		t.Errorf("DeleteRepositoryPolicy() = %+v, %v", gone, err)
	}
}

func TestRegistryPolicy(t *testing.T) {
	l := newLab(t)
	_, err := l.GetRegistryPolicy(as(home), &ecr.GetRegistryPolicyInput{})
	wantCode(t, err, "RegistryPolicyNotFoundException", "Registry policy does not exist in the registry with id '000000000000'")
	_, err = l.DeleteRegistryPolicy(as(home), &ecr.DeleteRegistryPolicyInput{})
	wantCode(t, err, "RegistryPolicyNotFoundException", "")
	_, err = l.PutRegistryPolicy(as(home), &ecr.PutRegistryPolicyInput{PolicyText: str(pullForOthers)})
	wantCode(t, err, "InvalidParameterException", "Invalid registry policy provided")
	text := strings.Replace(pullForOthers, `"Effect"`, `"Resource":"*","Effect"`, 1)
	if _, err := l.PutRegistryPolicy(as(home), &ecr.PutRegistryPolicyInput{PolicyText: &text}); err != nil {
		t.Fatal(err)
	}
	if got, err := l.GetRegistryPolicy(as(home), &ecr.GetRegistryPolicyInput{}); err != nil || *got.PolicyText != text {
		t.Errorf("GetRegistryPolicy() = %+v, %v", got, err)
	}
	_, err = l.GetRegistryPolicy(as(arn.Scope{Account: home.Account, Region: "eu-west-1"}), &ecr.GetRegistryPolicyInput{})
	wantCode(t, err, "RegistryPolicyNotFoundException", "")
	if gone, err := l.DeleteRegistryPolicy(as(home), &ecr.DeleteRegistryPolicyInput{}); err != nil || *gone.PolicyText != text {
		t.Errorf("DeleteRegistryPolicy() = %+v, %v", gone, err)
	}
}

// What a repository's policy lets others do is just that.
func TestAuthorize_RepositoryPolicy(t *testing.T) {
	l := newLab(t)
	l.create("app")
	l.push("app", "one", "v1")
	theirs := l.login(as(arn.Scope{Account: "111122223333", Region: "us-east-1"}))
	if w := l.get("/v2/app/manifests/v1", "AWS", theirs); w.Code != 403 {
		t.Errorf("without a policy: %d, want 403", w.Code)
	}
	if _, err := l.SetRepositoryPolicy(as(home), &ecr.SetRepositoryPolicyInput{RepositoryName: str("app"), PolicyText: str(pullForOthers)}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/v2/app/manifests/v1": 200, "/v2/app/tags/list": 403} {
		if w := l.get(path, "AWS", theirs); w.Code != want {
			t.Errorf("GET %s = %d %s, want %d", path, w.Code, w.Body, want)
		}
	}
	if w := l.do(http.MethodPost, "/v2/app/blobs/uploads/", theirs); w.Code != 403 || !strings.Contains(w.Body.String(), "ecr:InitiateLayerUpload") {
		t.Errorf("a push = %d %s, want 403", w.Code, w.Body)
	}
}

// Each request of a session of a role is asked for by the name of its operation.
func TestAuthorize_Permissions(t *testing.T) {
	l := newLab(t)
	l.create("app")
	digest := "sha256:" + strings.Repeat("0", 64)
	var asked []string
	l.o.Permit = func(_ context.Context, c awsauth.Caller, action, resource string) error {
		asked = append(asked, action)
		if !strings.HasPrefix(resource, "arn:aws:ecr:us-east-1:000000000000:repository/") || c.Role != "ci" {
			t.Errorf("%s on %s by %+v", action, resource, c)
		}
		return &awswire.Error{Code: "AccessDeniedException", Message: "no"}
	}
	c := awsauth.CallerFrom(as(home))
	c.Role = "ci"
	password, _ := l.token(c)
	for _, test := range []struct{ method, path, want string }{
		{"GET", "/v2/app/manifests/v1", "BatchGetImage"}, {"HEAD", "/v2/app/manifests/v1", "BatchGetImage"}, {"PUT", "/v2/app/manifests/v1", "PutImage"},
		{"DELETE", "/v2/app/manifests/v1", "BatchDeleteImage"}, {"GET", "/v2/app/tags/list", "ListImages"}, {"GET", "/v2/app/referrers/" + digest, "ListImageReferrers"},
		{"GET", "/v2/app/blobs/" + digest, "GetDownloadUrlForLayer"}, {"HEAD", "/v2/app/blobs/" + digest, "BatchCheckLayerAvailability"},
		{"DELETE", "/v2/app/blobs/" + digest, "BatchDeleteImage"}, {"POST", "/v2/app/blobs/uploads/", "InitiateLayerUpload"}, {"GET", "/v2/app/blobs/uploads/x", "InitiateLayerUpload"},
		{"PATCH", "/v2/app/blobs/uploads/x", "UploadLayerPart"}, {"PUT", "/v2/app/blobs/uploads/x", "CompleteLayerUpload"},
	} {
		asked = nil
		if w := l.do(test.method, test.path, password); w.Code != 403 || len(asked) != 1 || asked[0] != "ecr:"+test.want {
			t.Errorf("%s %s = %d, asked for %q; want 403 for ecr:%s", test.method, test.path, w.Code, asked, test.want)
		}
	}
}

func (l *lab) do(method, path, password string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://localhost:4566"+path, nil)
	r.SetBasicAuth("AWS", password)
	w := httptest.NewRecorder()
	l.registry.ServeHTTP(w, r)
	return w
}

func TestRepositoryCreationTemplates(t *testing.T) {
	l := newLab(t)
	mine := l.login(as(home))
	push := func(repo string) int {
		return l.do(http.MethodPost, "/v2/"+repo+"/blobs/uploads/", mine).Code
	}
	if got := push("team/app"); got != 404 {
		t.Errorf("a push without a template = %d, want 404", got)
	}
	create := func(in ecr.CreateRepositoryCreationTemplateInput) error {
		if in.AppliedFor == nil {
			in.AppliedFor = []types.RCTAppliedFor{types.RCTAppliedForCreateOnPush}
		}
		_, err := l.CreateRepositoryCreationTemplate(as(home), &in)
		return err
	}
	lifecycle := policyOf("any", "3")
	if err := create(ecr.CreateRepositoryCreationTemplateInput{Prefix: str("team"), Description: str("d"), ImageTagMutability: types.ImageTagMutabilityImmutable,
		LifecyclePolicy: &lifecycle, RepositoryPolicy: str(pullForOthers), ResourceTags: []types.Tag{{Key: str("k"), Value: str("v")}},
		EncryptionConfiguration: &types.EncryptionConfigurationForRepositoryCreationTemplate{EncryptionType: types.EncryptionTypeAes256}}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, create(ecr.CreateRepositoryCreationTemplateInput{Prefix: str("team")}), "TemplateAlreadyExistsException", "'team'")
	for _, bad := range []ecr.CreateRepositoryCreationTemplateInput{
		{Prefix: str("")}, {Prefix: str("Team")}, {Prefix: str("team/")}, {Prefix: str("x"), AppliedFor: []types.RCTAppliedFor{"PULL"}},
		{Prefix: str("x"), AppliedFor: []types.RCTAppliedFor{types.RCTAppliedForReplication}}, {Prefix: str("x"), LifecyclePolicy: str("{}")},
		{Prefix: str("x"), RepositoryPolicy: str("{}")}, {Prefix: str("x"), CustomRoleArn: str("role")}, {Prefix: str("x"), ImageTagMutability: "SOMETIMES"},
		{Prefix: str("x"), EncryptionConfiguration: &types.EncryptionConfigurationForRepositoryCreationTemplate{EncryptionType: types.EncryptionTypeKms}},
		{Prefix: str("x"), Description: str(strings.Repeat("x", 257))},
	} {
		wantCode(t, create(bad), "InvalidParameterException", "")
	}
	if got := push("teams/app"); got != 404 {
		t.Errorf("a push beside the prefix = %d, want 404", got)
	}
	if got := push("team/app"); got != 202 {
		t.Errorf("a push below the prefix = %d, want 202", got)
	}
	if w := l.get("/v2/team/other/tags/list", "AWS", mine); w.Code != 404 {
		t.Errorf("a pull below the prefix = %d, want 404", w.Code)
	}
	r, err := l.contents(as(home), str("team/app"), nil, "")
	if err != nil || r.Mutability != "IMMUTABLE" || r.Lifecycle != lifecycle || r.LifecycleAt.IsZero() || r.Policy != pullForOthers || r.Tags["k"] != "v" {
		t.Errorf("repository %+v, %v", r, err)
	}
	for prefix, mutability := range map[string]types.ImageTagMutability{"ROOT": types.ImageTagMutabilityMutable, "team/a": types.ImageTagMutabilityMutable} {
		if err := create(ecr.CreateRepositoryCreationTemplateInput{Prefix: &prefix, ImageTagMutability: mutability}); err != nil {
			t.Fatal(err)
		}
	}
	for repo, want := range map[string]string{"team/b": "IMMUTABLE", "team/a/b": "MUTABLE", "else": "MUTABLE"} {
		if got := push(repo); got != 202 {
			t.Errorf("a push to %s = %d, want 202", repo, got)
		}
		if r, err := l.contents(as(home), &repo, nil, ""); err != nil || r.Mutability != want {
			t.Errorf("%s is %s, %v; want %s", repo, r.Mutability, err, want)
		}
	}
	out, err := l.UpdateRepositoryCreationTemplate(as(home), &ecr.UpdateRepositoryCreationTemplateInput{Prefix: str("team"), LifecyclePolicy: str("")})
	if tpl := out.RepositoryCreationTemplate; err != nil || tpl.LifecyclePolicy != nil || *tpl.Description != "d" || tpl.ImageTagMutability != types.ImageTagMutabilityImmutable || len(tpl.ResourceTags) != 1 {
		t.Errorf("UpdateRepositoryCreationTemplate() = %+v, %v", out, err)
	}
	all, err := l.DescribeRepositoryCreationTemplates(as(home), &ecr.DescribeRepositoryCreationTemplatesInput{})
	if err != nil || len(all.RepositoryCreationTemplates) != 3 {
		t.Errorf("DescribeRepositoryCreationTemplates() = %+v, %v; want three", all, err)
	}
	some, err := l.DescribeRepositoryCreationTemplates(as(home), &ecr.DescribeRepositoryCreationTemplatesInput{Prefixes: []string{"team", "nope"}})
	if err != nil || len(some.RepositoryCreationTemplates) != 1 {
		t.Errorf("DescribeRepositoryCreationTemplates(team, nope) = %+v, %v; want one", some, err)
	}
	if _, err := l.DeleteRepositoryCreationTemplate(as(home), &ecr.DeleteRepositoryCreationTemplateInput{Prefix: str("team")}); err != nil {
		t.Fatal(err)
	}
	_, err = l.DeleteRepositoryCreationTemplate(as(home), &ecr.DeleteRepositoryCreationTemplateInput{Prefix: str("team")})
	wantCode(t, err, "TemplateNotFoundException", "'team'")
	_, err = l.UpdateRepositoryCreationTemplate(as(home), &ecr.UpdateRepositoryCreationTemplateInput{Prefix: str("team")})
	wantCode(t, err, "TemplateNotFoundException", "'team'")
}

// A role that may push but not make repositories doesn't make one by pushing.
func TestRepositoryCreationTemplates_Permission(t *testing.T) {
	l := newLab(t)
	if _, err := l.CreateRepositoryCreationTemplate(as(home), &ecr.CreateRepositoryCreationTemplateInput{Prefix: str("ROOT"), AppliedFor: []types.RCTAppliedFor{types.RCTAppliedForCreateOnPush}}); err != nil {
		t.Fatal(err)
	}
	may := map[string]bool{"ecr:InitiateLayerUpload": true}
	l.o.Permit = func(_ context.Context, _ awsauth.Caller, action, _ string) error {
		if may[action] {
			return nil
		}
		return &awswire.Error{Code: "AccessDeniedException", Message: "not " + action}
	}
	c := awsauth.CallerFrom(as(home))
	c.Role = "ci"
	password, _ := l.token(c)
	if w := l.do(http.MethodPost, "/v2/app/blobs/uploads/", password); w.Code != 403 || !strings.Contains(w.Body.String(), "not ecr:CreateRepository") {
		t.Errorf("push = %d %s, want 403", w.Code, w.Body)
	}
	may["ecr:CreateRepository"] = true
	if w := l.do(http.MethodPost, "/v2/app/blobs/uploads/", password); w.Code != 202 {
		t.Errorf("push = %d %s, want 202", w.Code, w.Body)
	}
}

func TestAccountSettings(t *testing.T) {
	l := newLab(t)
	repo := l.create("app")
	l.create("other")
	l.push("app", "one", "v1")
	c, err := l.contents(as(home), str("app"), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	layer := c.images[c.digests[0]].Layers[0].Digest
	mount := func() int {
		return l.do(http.MethodPost, "/v2/other/blobs/uploads/?mount="+layer+"&from=app", l.login(as(home))).Code
	}
	put := func(name, value string) error {
		_, err := l.PutAccountSetting(as(home), &ecr.PutAccountSettingInput{Name: &name, Value: &value})
		return err
	}
	if err := put("BLOB_MOUNTING", "DISABLED"); err != nil {
		t.Fatal(err)
	}
	if got := mount(); got != 202 {
		t.Errorf("mount from %s, disabled = %d, want 202: upload it", repo, got)
	}
	if err := put("BLOB_MOUNTING", "ENABLED"); err != nil {
		t.Fatal(err)
	}
	if got := mount(); got != 201 {
		t.Errorf("mount from %s, enabled = %d, want 201", repo, got)
	}
	for _, test := range [][2]string{{"BLOB_MOUNTING", "ON"}, {"REGISTRY_POLICY_SCOPE", "V1"}, {"BASIC_SCAN_TYPE_VERSION", "AWS_NATIVE"}, {"X", "Y"}} {
		wantCode(t, put(test[0], test[1]), "InvalidParameterException", "")
	}
	if out, err := l.GetAccountSetting(as(home), &ecr.GetAccountSettingInput{Name: str("REGISTRY_POLICY_SCOPE")}); err != nil || *out.Value != "V2" {
		t.Errorf("GetAccountSetting() = %+v, %v; want V2", out, err)
	}
	_, err = l.GetAccountSetting(as(home), &ecr.GetAccountSettingInput{Name: str("X")})
	wantCode(t, err, "InvalidParameterException", "BLOB_MOUNTING")
}

func TestListImageReferrers(t *testing.T) {
	l := newLab(t)
	repo := l.create("app")
	subject := l.manifest(repo, "one")
	l.adopt("app", "v1", subject.Digest)
	about := l.referrer(repo, subject)
	l.adopt("app", "", about.Digest)
	list := func(in ecr.ListImageReferrersInput) []types.ImageReferrer {
		t.Helper()
		in.RepositoryName = str("app")
		if in.SubjectId == nil {
			in.SubjectId = &types.SubjectIdentifier{ImageDigest: str(subject.Digest.String())}
		}
		out, err := l.ListImageReferrers(as(home), &in)
		if err != nil {
			t.Fatal(err)
		}
		return out.Referrers
	}
	got := list(ecr.ListImageReferrersInput{})
	if len(got) != 1 || *got[0].Digest != about.Digest.String() || *got[0].Size != about.Size || *got[0].ArtifactType != "application/vnd.example.signature" || got[0].ArtifactStatus != types.ArtifactStatusActive {
		t.Errorf("ListImageReferrers() = %+v", got)
	}
	if got := list(ecr.ListImageReferrersInput{Filter: &types.ListImageReferrersFilter{ArtifactTypes: []string{"x"}}}); len(got) != 0 {
		t.Errorf("of another type: %+v", got)
	}
	if got := list(ecr.ListImageReferrersInput{Filter: &types.ListImageReferrersFilter{ArtifactStatus: types.ArtifactStatusFilterArchived}}); len(got) != 0 {
		t.Errorf("archived: %+v", got)
	}
	if got := list(ecr.ListImageReferrersInput{SubjectId: &types.SubjectIdentifier{ImageDigest: str(about.Digest.String())}}); len(got) != 0 {
		t.Errorf("of the artifact: %+v", got)
	}
	_, err := l.ListImageReferrers(as(home), &ecr.ListImageReferrersInput{RepositoryName: str("app"), SubjectId: &types.SubjectIdentifier{ImageDigest: str("x")}})
	wantCode(t, err, "InvalidParameterException", "subjectId")
}
