package ecr

import (
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

var unexported = cmpopts.IgnoreUnexported(types.ImageDetail{}, types.ImageIdentifier{}, types.ImageFailure{})

func TestDescribeImages(t *testing.T) {
	l := newLab(t)
	l.create("app")
	d := l.push("app", "one", "v1", "latest").String()
	bare := l.push("app", "two").String()
	r, err := l.contents(as(home), str("app"), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	size := r.images[d].Layers[0].Size + r.images[d].Layers[1].Size
	out, err := l.DescribeImages(as(home), &ecr.DescribeImagesInput{RepositoryName: str("app"), ImageIds: []types.ImageIdentifier{{ImageTag: str("v1")}, {ImageDigest: &d}}})
	if err != nil {
		t.Fatal(err)
	}
	want := []types.ImageDetail{{
		RegistryId: str("000000000000"), RepositoryName: str("app"), ImageDigest: &d, ImageTags: []string{"latest", "v1"},
		ImageSizeInBytes: &size, ImagePushedAt: aws.Time(l.now), ImageStatus: types.ImageStatusActive,
		ImageManifestMediaType: str(ocispec.MediaTypeImageManifest), ArtifactMediaType: str(ocispec.MediaTypeImageConfig),
	}}
	if diff := cmp.Diff(want, out.ImageDetails, unexported); diff != "" {
		t.Error(diff)
	}
	for status, want := range map[types.TagStatus][]string{types.TagStatusTagged: {d}, types.TagStatusUntagged: {bare}, types.TagStatusAny: {d, bare}, "": {d, bare}} {
		out, err := l.DescribeImages(as(home), &ecr.DescribeImagesInput{RepositoryName: str("app"), Filter: &types.DescribeImagesFilter{TagStatus: status}})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, i := range out.ImageDetails {
			got = append(got, *i.ImageDigest)
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("DescribeImages(%q) = %q, want %q", status, got, want)
		}
	}
	_, err = l.DescribeImages(as(home), &ecr.DescribeImagesInput{RepositoryName: str("app"), ImageIds: []types.ImageIdentifier{{ImageTag: str("v2")}}})
	wantCode(t, err, "ImageNotFoundException", "The image with imageId {imageDigest:'null', imageTag:'v2'} does not exist within the repository with name 'app' in the registry with id '000000000000'")
	_, err = l.DescribeImages(as(home), &ecr.DescribeImagesInput{RepositoryName: str("nope")})
	wantCode(t, err, "RepositoryNotFoundException", "nope")
	_, err = l.DescribeImages(as(home), &ecr.DescribeImagesInput{RepositoryName: str("app"), Filter: &types.DescribeImagesFilter{TagStatus: "SOME"}})
	wantCode(t, err, "InvalidParameterException", "tagStatus")
}

// An index is as large as its largest image.
func TestDescribeImages_IndexSize(t *testing.T) {
	l := newLab(t)
	repo := l.create("app")
	small, large := l.manifest(repo, "a"), l.manifest(repo, "a long seed")
	idx := l.index(repo, on(small, "linux", "arm64"), on(large, "linux", "amd64"))
	l.adopt("app", "v1", idx.Digest)
	out, err := l.DescribeImages(as(home), &ecr.DescribeImagesInput{RepositoryName: str("app")})
	if err != nil || len(out.ImageDetails) != 3 {
		t.Fatalf("DescribeImages() = %d images, %v; want 3", len(out.ImageDetails), err)
	}
	sizes := map[string]int64{}
	for _, i := range out.ImageDetails {
		sizes[*i.ImageDigest] = *i.ImageSizeInBytes
	}
	if got, want := sizes[idx.Digest.String()], sizes[large.Digest.String()]; got != want || got <= sizes[small.Digest.String()] {
		t.Errorf("sizes = %v, want that of the index to be %d", sizes, want)
	}
}

func TestListImages_Pages(t *testing.T) {
	l := newLab(t)
	l.create("app")
	l.push("app", "one", "a", "b", "c")
	l.push("app", "two")
	var got []string
	in := &ecr.ListImagesInput{RepositoryName: str("app"), MaxResults: aws.Int32(1)}
	for {
		out, err := l.ListImages(as(home), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range out.ImageIds {
			got = append(got, aws.ToString(i.ImageTag))
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
	}
	slices.Sort(got)
	if want := []string{"", "a", "b", "c"}; !slices.Equal(got, want) {
		t.Errorf("tags = %q, want %q", got, want)
	}
	in.NextToken = str("?")
	_, err := l.ListImages(as(home), in)
	wantCode(t, err, "InvalidParameterException", "nextToken")
}

func TestBatchGetImage(t *testing.T) {
	l := newLab(t)
	l.create("app")
	d := l.push("app", "one", "v1")
	other := l.push("app", "two", "v2").String()
	out, err := l.BatchGetImage(as(home), &ecr.BatchGetImageInput{RepositoryName: str("app"), ImageIds: []types.ImageIdentifier{
		{ImageTag: str("v1")}, {ImageTag: str("v3")}, {}, {ImageDigest: str("x")}, {ImageTag: str("v1"), ImageDigest: &other}, {ImageTag: str("-")}}})
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := l.registry.Raw(t.Context(), d)
	if len(out.Images) != 1 || *out.Images[0].ImageManifest != string(raw) || *out.Images[0].ImageId.ImageDigest != d.String() || *out.Images[0].ImageManifestMediaType != ocispec.MediaTypeImageManifest {
		t.Errorf("images = %+v", out.Images)
	}
	var codes []types.ImageFailureCode
	for _, f := range out.Failures {
		codes = append(codes, f.FailureCode)
	}
	want := []types.ImageFailureCode{types.ImageFailureCodeImageNotFound, types.ImageFailureCodeMissingDigestAndTag,
		types.ImageFailureCodeInvalidImageDigest, types.ImageFailureCodeImageTagDoesNotMatchDigest, types.ImageFailureCodeInvalidImageTag}
	if !slices.Equal(codes, want) {
		t.Errorf("failures = %q, want %q", codes, want)
	}
	if got := *out.Failures[0].FailureReason; got != "Requested image not found" {
		t.Errorf("reason = %q", got)
	}
	out, err = l.BatchGetImage(as(home), &ecr.BatchGetImageInput{RepositoryName: str("app"), ImageIds: []types.ImageIdentifier{{ImageTag: str("v1")}},
		AcceptedMediaTypes: []string{ocispec.MediaTypeImageIndex}})
	if err != nil || len(out.Images) != 0 || len(out.Failures) != 1 {
		t.Errorf("BatchGetImage of another media type = %v, %v; want a failure", out, err)
	}
}

func TestBatchDeleteImage(t *testing.T) {
	l := newLab(t)
	repo := l.create("app")
	one := l.push("app", "one", "a", "b").String()
	child := l.manifest(repo, "child")
	idx := l.index(repo, on(child, "linux", "amd64"))
	l.adopt("app", "multi", idx.Digest)
	id := func(digest, tag string) types.ImageIdentifier {
		var i types.ImageIdentifier
		if digest != "" {
			i.ImageDigest = &digest
		}
		if tag != "" {
			i.ImageTag = &tag
		}
		return i
	}
	for _, step := range []struct {
		name   string
		delete []types.ImageIdentifier
		gone   []types.ImageIdentifier
		code   types.ImageFailureCode
		left   int // images
	}{
		{"ATag", []types.ImageIdentifier{id("", "a")}, []types.ImageIdentifier{id(one, "a")}, "", 3},
		{"Again", []types.ImageIdentifier{id("", "a")}, []types.ImageIdentifier{}, types.ImageFailureCodeImageNotFound, 3},
		{"PartOfAnIndex", []types.ImageIdentifier{id(child.Digest.String(), "")}, []types.ImageIdentifier{}, types.ImageFailureCodeImageReferencedByManifestList, 3},
		{"TheLastTag", []types.ImageIdentifier{id("", "b")}, []types.ImageIdentifier{id(one, "b")}, "", 2},
		{"IndexThenItsPart", []types.ImageIdentifier{id(idx.Digest.String(), ""), id(child.Digest.String(), "")},
			[]types.ImageIdentifier{id(idx.Digest.String(), "multi"), id(child.Digest.String(), "")}, "", 0},
	} {
		t.Run(step.name, func(t *testing.T) {
			out, err := l.BatchDeleteImage(as(home), &ecr.BatchDeleteImageInput{RepositoryName: str("app"), ImageIds: step.delete})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(step.gone, out.ImageIds, unexported); diff != "" {
				t.Error(diff)
			}
			var code types.ImageFailureCode
			if len(out.Failures) > 0 {
				code = out.Failures[0].FailureCode
			}
			if code != step.code {
				t.Errorf("failures = %v, want %q", out.Failures, step.code)
			}
			if c, _ := l.contents(as(home), str("app"), nil, ""); len(c.images) != step.left {
				t.Errorf("%d images left, want %d", len(c.images), step.left)
			}
		})
	}
}

func TestPutImage(t *testing.T) {
	l := newLab(t)
	repo := l.create("app")
	d := l.push("app", "one", "v1")
	raw, _ := l.registry.Raw(t.Context(), d)
	put := func(tag string, body []byte) (*ecr.PutImageOutput, error) {
		return l.PutImage(as(home), &ecr.PutImageInput{RepositoryName: str("app"), ImageManifest: str(string(body)), ImageTag: &tag})
	}
	_, err := put("v1", raw)
	wantCode(t, err, "ImageAlreadyExistsException", "Image with digest '"+d.String()+"' and tag 'v1' already exists in the repository with name 'app' in registry with id '000000000000'")
	out, err := put("v2", raw)
	if err != nil || *out.Image.ImageId.ImageDigest != d.String() || *out.Image.ImageId.ImageTag != "v2" || *out.Image.ImageManifestMediaType != ocispec.MediaTypeImageManifest {
		t.Errorf("PutImage(v2) = %+v, %v", out, err)
	}
	if _, err := l.PutImageTagMutability(as(home), &ecr.PutImageTagMutabilityInput{RepositoryName: str("app"), ImageTagMutability: types.ImageTagMutabilityImmutable}); err != nil {
		t.Fatal(err)
	}
	two := l.push("app", "two", "v3")
	raw2, _ := l.registry.Raw(t.Context(), two)
	_, err = put("v2", raw2)
	wantCode(t, err, "ImageTagAlreadyExistsException", "The image tag 'v2' already exists in the 'app' repository and cannot be overwritten because the tag is immutable.")
	absent := l.manifest(repo, "absent") // in the store, but the repository has not got its layers
	raw3, _ := l.registry.Raw(t.Context(), absent.Digest)
	_, err = put("v4", raw3)
	wantCode(t, err, "LayersNotFoundException", "")
	_, err = put("v4", []byte("{"))
	wantCode(t, err, "InvalidParameterException", "ImageManifest")
	_, err = l.PutImage(as(home), &ecr.PutImageInput{RepositoryName: str("app"), ImageManifest: str(string(raw)), ImageDigest: str(two.String())})
	wantCode(t, err, "ImageDigestDoesNotMatchException", "")
}

// An image that was found damaged is put again.
func TestPutImage_Damaged(t *testing.T) {
	l := newLab(t)
	l.create("app")
	content := []byte("a layer, and a config")
	blob := l.upload("app", content)
	raw := string(asJSON(ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: blob.Digest, Size: blob.Size}, Layers: []ocispec.Descriptor{}}))
	in := &ecr.PutImageInput{RepositoryName: str("app"), ImageManifest: &raw, ImageTag: str("v1")}
	for _, step := range []struct{ gone, code string }{
		{"", ""}, {"", "ImageAlreadyExistsException"},
		{blob.Digest.String(), "LayersNotFoundException"},
		{digest.FromString(raw).String(), ""}, {"", "ImageAlreadyExistsException"},
	} {
		if step.gone != "" {
			if err := l.o.Blobs.Discard(t.Context(), digest.Digest(step.gone)); err != nil {
				t.Fatal(err)
			}
		}
		_, err := l.PutImage(as(home), in)
		if step.code == "LayersNotFoundException" {
			wantCode(t, err, step.code, "")
			l.upload("app", content)
			continue
		}
		if step.code == "" && err != nil {
			t.Errorf("after %q went: %v", step.gone, err)
		} else if step.code != "" {
			wantCode(t, err, step.code, "")
		}
	}
}

func TestBatchCheckLayerAvailability(t *testing.T) {
	l := newLab(t)
	l.create("app")
	d := l.push("app", "one")
	c, _ := l.contents(as(home), str("app"), nil, "")
	layer := c.images[d.String()].Layers[1]
	out, err := l.BatchCheckLayerAvailability(as(home), &ecr.BatchCheckLayerAvailabilityInput{RepositoryName: str("app"), LayerDigests: []string{layer.Digest, "sha256:00", "x"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Layers) != 2 || *out.Layers[0].LayerSize != layer.Size || out.Layers[0].LayerAvailability != types.LayerAvailabilityAvailable || out.Layers[1].LayerAvailability != types.LayerAvailabilityUnavailable {
		t.Errorf("layers = %+v", out.Layers)
	}
	if len(out.Failures) != 1 || out.Failures[0].FailureCode != types.LayerFailureCodeInvalidLayerDigest {
		t.Errorf("failures = %+v", out.Failures)
	}

	// Damaged content is taken out of the store; then clients are to bring it again.
	if err := l.o.Blobs.Discard(t.Context(), digest.Digest(layer.Digest)); err != nil {
		t.Fatal(err)
	}
	out, err = l.BatchCheckLayerAvailability(as(home), &ecr.BatchCheckLayerAvailabilityInput{RepositoryName: str("app"), LayerDigests: []string{layer.Digest}})
	if err != nil || out.Layers[0].LayerAvailability != types.LayerAvailabilityUnavailable {
		t.Errorf("a layer that the store has lost: %+v, %v", out, err)
	}
}

// BatchGetImage, and a task that starts, are pulls; a look isn't.
func TestDescribeImages_LastPull(t *testing.T) {
	l := newLab(t)
	l.create("app")
	d := l.push("app", "one", "v1").String()
	pulled := func() *time.Time {
		t.Helper()
		out, err := l.DescribeImages(as(home), &ecr.DescribeImagesInput{RepositoryName: str("app")})
		if err != nil {
			t.Fatal(err)
		}
		return out.ImageDetails[0].LastRecordedPullTime
	}
	want := func(what string, at time.Time) {
		t.Helper()
		if got := pulled(); got == nil || !got.Equal(at) {
			t.Errorf("%s: last pull at %v, want %v", what, got, at)
		}
	}
	if got := pulled(); got != nil {
		t.Errorf("never pulled: last pull at %v", got)
	}
	first := l.advance(0)
	if _, err := l.BatchGetImage(as(home), &ecr.BatchGetImageInput{RepositoryName: str("app"), ImageIds: []types.ImageIdentifier{{ImageDigest: &d}}}); err != nil {
		t.Fatal(err)
	}
	want("BatchGetImage", first)
	l.advance(time.Hour)
	if _, err := l.Resolve(t.Context(), "localhost:4566/app:v1", home); err != nil {
		t.Fatal(err)
	}
	want("an hour later", first)
	at := l.advance(24 * time.Hour)
	if _, err := l.Resolve(t.Context(), "localhost:4566/app:v1", home); err != nil {
		t.Fatal(err)
	}
	want("a task, a day later", at)
}
