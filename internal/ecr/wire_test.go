package ecr

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/awswire/wiretest"
)

// serve serves the API to a caller of the lab's own account, who may do everything.
func (l *lab) serve() string {
	mux := awswire.NewMux(awswire.MuxOptions{Log: slog.New(slog.DiscardHandler), Authenticate: func(r *http.Request, _ []byte, _ *awswire.API, _ string) (context.Context, error) {
		return as(home), nil
	}})
	mux.Add(l.API())
	s := httptest.NewServer(mux)
	l.t.Cleanup(s.Close)
	return s.URL
}

// client is the SDK's.
func (l *lab) client() *ecr.Client { return ecr.NewFromConfig(wiretest.Config(l.serve())) }

// call sends a body as no SDK would, and returns the error's code and message.
func call(t *testing.T, url, op string, body any) (code, message string) {
	t.Helper()
	raw, ok := body.(string)
	if !ok {
		raw = string(asJSON(body))
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Amz-Target", "AmazonEC2ContainerRegistry_V20150921."+op)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode >= 500 {
		t.Errorf("%s %s: %s %s", op, raw, resp.Status, answer)
	}
	if resp.StatusCode == http.StatusOK {
		return "", ""
	}
	var e struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal(answer, &e); err != nil {
		t.Fatalf("%s: %s", err, answer)
	}
	return e.Type[strings.LastIndexByte(e.Type, '#')+1:], e.Message
}

type m = map[string]any

// inputs are, for every operation, one that is in order but for what it is about: nothing of that is there.
func inputs() map[string]m {
	digest := "sha256:" + strings.Repeat("0", 64)
	upload := "00000000-0000-0000-0000-000000000000"
	ids := []m{{"imageTag": "v1"}}
	lifecycle := policyOf("any", "1")
	return map[string]m{
		"CreateRepository": {"repositoryName": "new"}, "DescribeRepositories": {"repositoryNames": []string{"nope"}}, "DeleteRepository": {"repositoryName": "app"},
		"PutImageTagMutability": {"repositoryName": "app", "imageTagMutability": "IMMUTABLE"}, "GetAuthorizationToken": {},
		"DescribeImages": {"repositoryName": "app"}, "ListImages": {"repositoryName": "app"}, "BatchGetImage": {"repositoryName": "app", "imageIds": ids},
		"BatchDeleteImage": {"repositoryName": "app", "imageIds": ids}, "BatchCheckLayerAvailability": {"repositoryName": "app", "layerDigests": []string{digest}},
		"PutImage": {"repositoryName": "app", "imageManifest": "{}"}, "InitiateLayerUpload": {"repositoryName": "app"},
		"UploadLayerPart":        {"repositoryName": "app", "uploadId": upload, "partFirstByte": 0, "partLastByte": 0, "layerPartBlob": "AA=="},
		"CompleteLayerUpload":    {"repositoryName": "app", "uploadId": upload, "layerDigests": []string{digest}},
		"GetDownloadUrlForLayer": {"repositoryName": "app", "layerDigest": digest}, "PutLifecyclePolicy": {"repositoryName": "app", "lifecyclePolicyText": lifecycle},
		"GetLifecyclePolicy": {"repositoryName": "app"}, "DeleteLifecyclePolicy": {"repositoryName": "app"},
		"StartLifecyclePolicyPreview": {"repositoryName": "app", "lifecyclePolicyText": lifecycle}, "GetLifecyclePolicyPreview": {"repositoryName": "app"},
		"SetRepositoryPolicy": {"repositoryName": "app", "policyText": pullForOthers}, "GetRepositoryPolicy": {"repositoryName": "app"}, "DeleteRepositoryPolicy": {"repositoryName": "app"},
		"PutRegistryPolicy": {"policyText": pullForOthers}, "GetRegistryPolicy": {}, "DeleteRegistryPolicy": {},
		"CreateRepositoryCreationTemplate": {"prefix": "p", "appliedFor": []string{"CREATE_ON_PUSH"}}, "UpdateRepositoryCreationTemplate": {"prefix": "p"},
		"DeleteRepositoryCreationTemplate": {"prefix": "p"}, "DescribeRepositoryCreationTemplates": {}, "DescribeRegistry": {},
		"GetAccountSetting": {"name": "BLOB_MOUNTING"}, "PutAccountSetting": {"name": "BLOB_MOUNTING", "value": "ENABLED"},
		"PutImageScanningConfiguration": {"repositoryName": "app", "imageScanningConfiguration": m{"scanOnPush": false}},
		"ListImageReferrers":            {"repositoryName": "app", "subjectId": m{"imageDigest": digest}},
		"TagResource":                   {"resourceArn": "arn:aws:ecr:us-east-1:000000000000:repository/nope", "tags": []m{{"Key": "k", "Value": "v"}}},
		"UntagResource":                 {"resourceArn": "arn:aws:ecr:us-east-1:000000000000:repository/nope", "tagKeys": []string{"k"}},
		"ListTagsForResource":           {"resourceArn": "arn:aws:ecr:us-east-1:000000000000:repository/nope"},
	}
}

// optional are members of inputs that may be left out.
var optional = map[string]bool{"DescribeRepositories.repositoryNames": true, "StartLifecyclePolicyPreview.lifecyclePolicyText": true}

// with is an input with some members changed; nil takes one out.
func with(in, changes m) m {
	out := maps.Clone(in)
	for k, v := range changes {
		if out[k] = v; v == nil {
			delete(out, k)
		}
	}
	return out
}

// Bad input gets AWS's error, whatever the operation, and changes nothing.
func TestRefusals(t *testing.T) {
	l := newLab(t)
	l.create("app")
	l.push("app", "one", "kept")
	url, in := l.serve(), inputs()
	if got, want := slices.Sorted(maps.Keys(in)), l.API().Operations(); !slices.Equal(got, want) {
		t.Fatalf("inputs for %q, operations are %q", got, want)
	}
	refused := func(op string, body any, want, words string) {
		t.Helper()
		before, err := l.o.DB.Rev(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if code, message := call(t, url, op, body); code != want || !strings.Contains(message, words) {
			t.Errorf("%s %v: %s %q, want %s with %q", op, body, code, message, want, words)
		}
		if after, err := l.o.DB.Rev(t.Context()); err != nil || after != before {
			t.Errorf("%s %v changed something: revision %d, then %d, %v", op, body, before, after, err)
		}
	}
	for op, body := range in {
		refused(op, `{"repositoryName":`, "SerializationException", "")
		for member := range body {
			if !optional[op+"."+member] {
				refused(op, with(body, m{member: nil}), "InvalidParameterException", "")
			}
		}
		if _, ok := body["repositoryName"]; !ok {
			continue
		}
		refused(op, with(body, m{"repositoryName": nil}), "InvalidParameterException", "repositoryName")
		refused(op, with(body, m{"repositoryName": 1}), "SerializationException", "")
		refused(op, with(body, m{"repositoryName": "App"}), "InvalidParameterException", "Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must satisfy regular expression")
		refused(op, with(body, m{"repositoryName": "a"}), "InvalidParameterException", "'must have length greater than or equal to 2'")
		refused(op, with(body, m{"repositoryName": strings.Repeat("a", 257)}), "InvalidParameterException", "'must have length less than or equal to 256'")
		if op == "CreateRepository" {
			continue
		}
		refused(op, with(body, m{"registryId": "12"}), "InvalidParameterException", "registryId")
		refused(op, with(body, m{"registryId": "111122223333"}), "AccessDeniedException", "is not authorized to perform: ecr:"+op)
		refused(op, with(body, m{"repositoryName": "nope"}), "RepositoryNotFoundException", "The repository with name 'nope' does not exist in the registry with id '000000000000'")
	}
	for _, test := range []struct {
		op      string
		changes m
		want    string
	}{
		{"CreateRepository", m{"repositoryName": "app"}, "RepositoryAlreadyExistsException"},
		{"CreateRepository", m{"imageTagMutability": "SOMETIMES"}, "InvalidParameterException"},
		{"CreateRepository", m{"imageTagMutability": "IMMUTABLE_WITH_EXCLUSION"}, "InvalidParameterException"},
		{"CreateRepository", m{"imageTagMutabilityExclusionFilters": []m{{"filterType": "WILDCARD", "filter": "x"}}}, "InvalidParameterException"},
		{"CreateRepository", m{"encryptionConfiguration": m{"encryptionType": "KMS"}}, "InvalidParameterException"},
		{"CreateRepository", m{"imageScanningConfiguration": m{"scanOnPush": true}}, "InvalidParameterException"},
		{"CreateRepository", m{"tags": []m{{"Key": "aws:x", "Value": "y"}}}, "InvalidTagParameterException"},
		{"DescribeRepositories", m{}, "RepositoryNotFoundException"},
		{"DescribeRepositories", m{"maxResults": 1}, "InvalidParameterException"},
		{"DescribeRepositories", m{"repositoryNames": nil, "maxResults": 1001}, "InvalidParameterException"},
		{"DescribeRepositories", m{"repositoryNames": nil, "nextToken": "?"}, "InvalidParameterException"},
		{"DeleteRepository", m{}, "RepositoryNotEmptyException"},
		{"PutImageTagMutability", m{"imageTagMutability": "MUTABLE_WITH_EXCLUSION", "imageTagMutabilityExclusionFilters": []m{{"filterType": "WILDCARD", "filter": "a*b*c*"}}}, "InvalidParameterException"},
		{"PutImageTagMutability", m{"imageTagMutability": "MUTABLE_WITH_EXCLUSION", "imageTagMutabilityExclusionFilters": []m{{"filterType": "REGEX", "filter": "a"}}}, "InvalidParameterException"},
		{"GetAuthorizationToken", m{"registryIds": []string{"x"}}, "InvalidParameterException"},
		{"DescribeImages", m{"imageIds": []m{{"imageTag": "v1"}}}, "ImageNotFoundException"},
		{"DescribeImages", m{"imageIds": []m{{"imageTag": "v1"}}, "maxResults": 3}, "InvalidParameterException"},
		{"DescribeImages", m{"imageIds": []m{{}}}, "InvalidParameterException"},
		{"DescribeImages", m{"filter": m{"imageStatus": "GONE"}}, "InvalidParameterException"},
		{"ListImages", m{"filter": m{"tagStatus": "SOME"}}, "InvalidParameterException"},
		{"ListImages", m{"maxResults": 0}, "InvalidParameterException"},
		{"BatchGetImage", m{"imageIds": []m{}}, "InvalidParameterException"},
		{"BatchDeleteImage", m{"imageIds": slices.Repeat([]m{{"imageTag": "x"}}, 101)}, "InvalidParameterException"},
		{"BatchCheckLayerAvailability", m{"layerDigests": []string{}}, "InvalidParameterException"},
		{"PutImage", m{}, "InvalidParameterException"},
		{"PutImage", m{"imageDigest": "sha256:1"}, "ImageDigestDoesNotMatchException"},
		{"UploadLayerPart", m{}, "UploadNotFoundException"},
		{"UploadLayerPart", m{"uploadId": "x"}, "InvalidParameterException"},
		{"UploadLayerPart", m{"partFirstByte": -1}, "InvalidParameterException"},
		{"UploadLayerPart", m{"partLastByte": 9}, "InvalidLayerPartException"},
		{"CompleteLayerUpload", m{}, "UploadNotFoundException"},
		{"GetDownloadUrlForLayer", m{}, "LayersNotFoundException"},
		{"GetDownloadUrlForLayer", m{"layerDigest": "x"}, "InvalidParameterException"},
		{"PutLifecyclePolicy", m{"lifecyclePolicyText": "{}"}, "InvalidParameterException"},
		{"PutLifecyclePolicy", m{"lifecyclePolicyText": strings.Repeat("x", 100)}, "InvalidParameterException"},
		{"GetLifecyclePolicy", m{}, "LifecyclePolicyNotFoundException"}, {"DeleteLifecyclePolicy", m{}, "LifecyclePolicyNotFoundException"},
		{"StartLifecyclePolicyPreview", m{"lifecyclePolicyText": nil}, "LifecyclePolicyNotFoundException"},
		{"StartLifecyclePolicyPreview", m{"lifecyclePolicyText": "{}"}, "InvalidParameterException"},
		{"GetLifecyclePolicyPreview", m{}, "LifecyclePolicyPreviewNotFoundException"},
		{"SetRepositoryPolicy", m{"policyText": "{}"}, "InvalidParameterException"},
		{"GetRepositoryPolicy", m{}, "RepositoryPolicyNotFoundException"}, {"DeleteRepositoryPolicy", m{}, "RepositoryPolicyNotFoundException"},
		{"PutRegistryPolicy", m{}, "InvalidParameterException"},
		{"GetRegistryPolicy", m{}, "RegistryPolicyNotFoundException"}, {"DeleteRegistryPolicy", m{}, "RegistryPolicyNotFoundException"},
		{"CreateRepositoryCreationTemplate", m{"appliedFor": nil}, "InvalidParameterException"},
		{"CreateRepositoryCreationTemplate", m{"prefix": "P"}, "InvalidParameterException"},
		{"UpdateRepositoryCreationTemplate", m{}, "TemplateNotFoundException"}, {"DeleteRepositoryCreationTemplate", m{}, "TemplateNotFoundException"},
		{"DescribeRepositoryCreationTemplates", m{"maxResults": 1001}, "InvalidParameterException"},
		{"GetAccountSetting", m{"name": "X"}, "InvalidParameterException"}, {"PutAccountSetting", m{"value": "ON"}, "InvalidParameterException"},
		{"PutImageScanningConfiguration", m{"imageScanningConfiguration": m{"scanOnPush": true}}, "InvalidParameterException"},
		{"ListImageReferrers", m{"maxResults": 51}, "InvalidParameterException"},
		{"TagResource", m{}, "RepositoryNotFoundException"}, {"TagResource", m{"resourceArn": "x"}, "InvalidParameterException"},
		{"TagResource", m{"tags": []m{{"Key": "k", "Value": "v"}, {"Key": "k", "Value": "w"}}}, "InvalidTagParameterException"},
		{"UntagResource", m{}, "RepositoryNotFoundException"}, {"ListTagsForResource", m{}, "RepositoryNotFoundException"},
	} {
		refused(test.op, with(in[test.op], test.changes), test.want, "")
	}
}
