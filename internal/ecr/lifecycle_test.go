package ecr

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/segment"
)

// policyOf keeps n images, and is long enough to be one.
func policyOf(status string, n string) string {
	return `{"rules":[{"rulePriority":7,"description":"keep the newest images only","selection":{"tagStatus":"` + status + `","countType":"imageCountMoreThan","countNumber":` + n + `},"action":{"type":"expire"}}]}`
}

func (l *lab) putLifecycle(repo, text string) {
	l.t.Helper()
	if _, err := l.PutLifecyclePolicy(as(home), &ecr.PutLifecyclePolicyInput{RepositoryName: &repo, LifecyclePolicyText: &text}); err != nil {
		l.t.Fatal(err)
	}
}

// left are the digests of a repository.
func (l *lab) left(repo string) []string {
	l.t.Helper()
	c, err := l.contents(as(home), &repo, nil, "")
	if err != nil {
		l.t.Fatal(err)
	}
	return c.digests
}

func TestLifecyclePolicy(t *testing.T) {
	l := newLab(t)
	l.create("app")
	_, err := l.GetLifecyclePolicy(as(home), &ecr.GetLifecyclePolicyInput{RepositoryName: str("app")})
	wantCode(t, err, "LifecyclePolicyNotFoundException", "Lifecycle policy does not exist for the repository with name 'app' in the registry with id '000000000000'")
	_, err = l.DeleteLifecyclePolicy(as(home), &ecr.DeleteLifecyclePolicyInput{RepositoryName: str("app")})
	wantCode(t, err, "LifecyclePolicyNotFoundException", "'app'")
	text := policyOf("any", "2")
	l.putLifecycle("app", text)
	got, err := l.GetLifecyclePolicy(as(home), &ecr.GetLifecyclePolicyInput{RepositoryName: str("app")})
	if err != nil || *got.LifecyclePolicyText != text || got.LastEvaluatedAt != nil {
		t.Errorf("GetLifecyclePolicy() = %+v, %v", got, err)
	}
	if err := l.evaluateDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	at := l.advance(0)
	if got, err = l.GetLifecyclePolicy(as(home), &ecr.GetLifecyclePolicyInput{RepositoryName: str("app")}); err != nil || !aws.ToTime(got.LastEvaluatedAt).Equal(at) {
		t.Errorf("evaluated at %v, %v; want %v", got.LastEvaluatedAt, err, at)
	}
	gone, err := l.DeleteLifecyclePolicy(as(home), &ecr.DeleteLifecyclePolicyInput{RepositoryName: str("app")})
	if err != nil || *gone.LifecyclePolicyText != text || !aws.ToTime(gone.LastEvaluatedAt).Equal(at) {
		t.Errorf("DeleteLifecyclePolicy() = %+v, %v", gone, err)
	}
	for _, test := range []struct{ text, want string }{
		{`{"rules":[]}`, "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: 'must have length greater than or equal to 100'"},
		{strings.Repeat(" ", 30721), "must have length less than or equal to 30720"},
		{policyOf("some", "1"), `Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: 'Lifecycle policy validation failure: instance value ("some") not found in enum`},
		{strings.Replace(policyOf("any", "1"), `"expire"`, `"transition","targetStorageClass":"archive"`, 1), "no archive storage"},
	} {
		_, err := l.PutLifecyclePolicy(as(home), &ecr.PutLifecyclePolicyInput{RepositoryName: str("app"), LifecyclePolicyText: &test.text})
		wantCode(t, err, "InvalidParameterException", test.want)
	}
	_, err = l.PutLifecyclePolicy(as(home), &ecr.PutLifecyclePolicyInput{RepositoryName: str("nope"), LifecyclePolicyText: &text})
	wantCode(t, err, "RepositoryNotFoundException", "'nope'")
}

func TestLifecyclePolicyPreview(t *testing.T) {
	l := newLab(t)
	l.create("app")
	start := func(text *string) error {
		_, err := l.StartLifecyclePolicyPreview(as(home), &ecr.StartLifecyclePolicyPreviewInput{RepositoryName: str("app"), LifecyclePolicyText: text})
		return err
	}
	get := func(in ecr.GetLifecyclePolicyPreviewInput) (*ecr.GetLifecyclePolicyPreviewOutput, error) {
		in.RepositoryName = str("app")
		return l.GetLifecyclePolicyPreview(as(home), &in)
	}
	_, err := get(ecr.GetLifecyclePolicyPreviewInput{})
	wantCode(t, err, "LifecyclePolicyPreviewNotFoundException", "'app'")
	wantCode(t, start(nil), "LifecyclePolicyNotFoundException", "'app'")
	old := l.push("app", "one", "v1", "v1.0").String()
	oldAt := l.advance(0)
	l.advance(time.Minute)
	bare := l.push("app", "two").String()
	l.advance(time.Minute)
	l.push("app", "three", "v3")
	if err := start(str(policyOf("any", "1"))); err != nil {
		t.Fatal(err)
	}
	out, err := get(ecr.GetLifecyclePolicyPreviewInput{})
	if err != nil || out.Status != types.LifecyclePolicyPreviewStatusComplete || *out.Summary.ExpiringImageTotalCount != 2 || len(out.PreviewResults) != 2 {
		t.Fatalf("GetLifecyclePolicyPreview() = %+v, %v; want two images", out, err)
	}
	for _, test := range []struct {
		name string
		in   ecr.GetLifecyclePolicyPreviewInput
		want []string
	}{
		{"Tagged", ecr.GetLifecyclePolicyPreviewInput{Filter: &types.LifecyclePolicyPreviewFilter{TagStatus: types.TagStatusTagged}}, []string{old}},
		{"Untagged", ecr.GetLifecyclePolicyPreviewInput{Filter: &types.LifecyclePolicyPreviewFilter{TagStatus: types.TagStatusUntagged}}, []string{bare}},
		{"ByTag", ecr.GetLifecyclePolicyPreviewInput{ImageIds: []types.ImageIdentifier{{ImageTag: str("v1")}, {ImageTag: str("v3")}}}, []string{old}},
		{"ByDigest", ecr.GetLifecyclePolicyPreviewInput{ImageIds: []types.ImageIdentifier{{ImageDigest: &bare}}}, []string{bare}},
		{"APage", ecr.GetLifecyclePolicyPreviewInput{MaxResults: aws.Int32(1)}, []string{min(old, bare)}},
	} {
		out, err := get(test.in)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range out.PreviewResults {
			got = append(got, *r.ImageDigest)
			if *r.AppliedRulePriority != 7 || r.Action.Type != types.ImageActionTypeExpire || *r.ImageDigest == old && (!r.ImagePushedAt.Equal(oldAt) || !slices.Equal(r.ImageTags, []string{"v1", "v1.0"})) {
				t.Errorf("%s: %+v", test.name, r)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
	_, err = get(ecr.GetLifecyclePolicyPreviewInput{MaxResults: aws.Int32(101)})
	wantCode(t, err, "InvalidParameterException", "maxResults")
	if n := len(l.left("app")); n != 3 {
		t.Errorf("a preview left %d images, want 3", n)
	}
	l.advance(previewTTL)
	if out, err := get(ecr.GetLifecyclePolicyPreviewInput{}); err != nil || out.Status != types.LifecyclePolicyPreviewStatusExpired || out.PreviewResults != nil {
		t.Errorf("a day later: %+v, %v; want EXPIRED", out, err)
	}
}

// What a policy expires goes, with what refers to it; an index goes before its images; and the log says why.
func TestExpire(t *testing.T) {
	l := newLab(t)
	dir := t.TempDir()
	var streams []string
	l.o.Events = func(_ context.Context, sc arn.Scope, group, stream string) (string, error) {
		streams = append(streams, sc.Region+" "+group+" "+stream)
		return dir, nil
	}
	repo := l.create("team/app")
	child := l.manifest(repo, "child")
	idx := l.index(repo, on(child, "linux", "amd64"))
	l.adopt("team/app", "old", idx.Digest)
	signature := l.referrer(repo, idx)
	l.adopt("team/app", "", signature.Digest)
	l.advance(time.Hour)
	kept := l.push("team/app", "new", "new").String()
	l.putLifecycle("team/app", policyOf("any", "1"))
	if err := l.evaluateDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := l.left("team/app"); !slices.Equal(got, []string{kept}) {
		t.Errorf("left: %q, want the newest image alone", got)
	}
	for _, d := range []string{idx.Digest.String(), child.Digest.String(), signature.Digest.String()} {
		if !slices.ContainsFunc(l.changes, func(c Change) bool { return c.Deleted && c.Digest == d && c.Repository == repo }) {
			t.Errorf("nobody was told that %s went", d)
		}
	}
	if want := []string{"us-east-1 /lotse/ecr/lifecycle team/app", "us-east-1 /lotse/ecr/lifecycle team/app"}; !slices.Equal(streams, want) {
		t.Errorf("streams %q, want %q: the index, then its image", streams, want)
	}
	r, err := segment.OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	events, err := r.Read(0, 10)
	if err != nil || len(events) != 2 {
		t.Fatalf("%d events, %v; want 2", len(events), err)
	}
	var e execution
	if err := json.Unmarshal(events[0].Data, &e); err != nil {
		t.Fatal(err)
	}
	if e.EventName != "PolicyExecutionEvent" || e.Details.Repository != "team/app" || len(e.Details.Actions) != 1 || e.Details.Actions[0].Image.Digest != idx.Digest.String() ||
		e.Details.Actions[0].Priority != 7 || e.Details.Policy.Rules[0].Selection.CountType != "Image count more than" {
		t.Errorf("event %s", events[0].Data)
	}
}

// A policy is evaluated when it is new, then every hour, also by a server that has just started.
func TestExpire_Due(t *testing.T) {
	l := newLab(t)
	l.create("app")
	l.putLifecycle("app", policyOf("untagged", "1"))
	evaluate := func(s *Service, want int) {
		t.Helper()
		if err := s.evaluateDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := len(l.left("app")); got != want {
			t.Errorf("%d images left, want %d", got, want)
		}
	}
	evaluate(l.Service, 0)
	for _, seed := range []string{"a", "b", "c"} {
		l.push("app", seed)
	}
	evaluate(l.Service, 3)
	l.advance(lifecycleEvery)
	again := New(l.o)
	evaluate(again, 1)
	l.push("app", "d")
	evaluate(again, 2)
	l.putLifecycle("app", policyOf("any", "1"))
	evaluate(again, 1)
	if _, err := l.DeleteRepository(as(home), &ecr.DeleteRepositoryInput{RepositoryName: str("app"), Force: true}); err != nil {
		t.Fatal(err)
	}
	l.create("app")
	_, err := l.GetLifecyclePolicy(as(home), &ecr.GetLifecyclePolicyInput{RepositoryName: str("app")})
	wantCode(t, err, "LifecyclePolicyNotFoundException", "")
}

// referrer is an artifact about a manifest.
func (l *lab) referrer(repo string, subject ocispec.Descriptor) ocispec.Descriptor {
	l.t.Helper()
	config := l.blob(repo, []byte("{}"))
	config.MediaType = ocispec.MediaTypeEmptyJSON
	d := l.blob(repo, asJSON(ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		ArtifactType: "application/vnd.example.signature", Config: config, Layers: []ocispec.Descriptor{}, Subject: &subject}))
	d.MediaType = ocispec.MediaTypeImageManifest
	return d
}
