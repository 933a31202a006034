package ecr

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// limited is a lab with quotas.
func limited(t *testing.T, q Quotas) *lab {
	l := newLab(t)
	o := l.o
	o.Quotas = q
	l.Service = New(o)
	return l
}

// layer uploads a layer through the API.
func (l *lab) layer(name string, content []byte) (ocispec.Descriptor, error) {
	up, err := l.InitiateLayerUpload(as(home), &ecr.InitiateLayerUploadInput{RepositoryName: &name})
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if _, err := l.UploadLayerPart(as(home), &ecr.UploadLayerPartInput{RepositoryName: &name, UploadId: up.UploadId, LayerPartBlob: content,
		PartFirstByte: aws.Int64(0), PartLastByte: aws.Int64(int64(len(content)) - 1)}); err != nil {
		return ocispec.Descriptor{}, err
	}
	d := digest.FromBytes(content)
	_, err = l.CompleteLayerUpload(as(home), &ecr.CompleteLayerUploadInput{RepositoryName: &name, UploadId: up.UploadId, LayerDigests: []string{d.String()}})
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: d, Size: int64(len(content))}, err
}

func (l *lab) put(name, tag string, layers ...ocispec.Descriptor) error {
	layers[0].MediaType = ocispec.MediaTypeImageConfig
	_, err := l.PutImage(as(home), &ecr.PutImageInput{RepositoryName: &name, ImageTag: &tag, ImageManifest: str(string(asJSON(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: layers[0], Layers: layers[1:]})))})
	return err
}

func bytesOf(c byte, n int) []byte { return bytes.Repeat([]byte{c}, n) }

func TestQuotas_BytesOfARepository(t *testing.T) {
	l := limited(t, Quotas{Repository: 10_000, Total: 16_000})
	for _, name := range []string{"app", "web", "more"} {
		l.create(name)
	}
	a, err := l.layer("app", bytesOf('a', 6000))
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.layer("app", bytesOf('b', 6000)) // no image has either, so far
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, l.put("app", "both", a, b), "LimitExceededException", "The repository with name 'app' in registry with id '000000000000' would have more than the maximum allowed size which is '9.766KiB'")
	if err := l.put("app", "v1", a); err != nil {
		t.Fatal(err)
	}
	if err := l.put("app", "v2", a, a); err != nil { // the same layer counts once
		t.Fatal(err)
	}
	wantCode(t, l.put("app", "v3", b), "LimitExceededException", "--repository-quota")
	_, err = l.layer("app", bytesOf('c', 4000))
	wantCode(t, err, "LimitExceededException", "--repository-quota")
	if _, err := l.layer("app", bytesOf('c', 2000)); err != nil {
		t.Errorf("within the quota: %v", err)
	}

	w, err := l.layer("web", bytesOf('w', 8000))
	if err == nil {
		err = l.put("web", "v1", w)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.layer("more", bytesOf('m', 6000))
	wantCode(t, err, "LimitExceededException", "--registry-quota")
	if l.adoptError("more", "v1", "0123456789abcdef") == nil {
		t.Error("a build's result beyond the quota was adopted")
	}

	// Deleting makes room at once.
	if _, err := l.BatchDeleteImage(as(home), &ecr.BatchDeleteImageInput{RepositoryName: str("app"), ImageIds: []types.ImageIdentifier{{ImageTag: str("v1")}, {ImageTag: str("v2")}}}); err != nil {
		t.Fatal(err)
	}
	if err := l.put("app", "v3", b); err != nil {
		t.Errorf("after the deletion: %v", err)
	}
}

// adoptError adopts an image of some hundred bytes.
func (l *lab) adoptError(name, tag, seed string) error {
	_, err := l.Adopt(as(home), home, name, tag, l.manifest(home.Key(name), seed).Digest)
	return err
}

func TestQuotas_ImagesAndTags(t *testing.T) {
	l := limited(t, Quotas{Images: 2, Tags: 3})
	l.create("app")
	l.push("app", "one", "1")
	l.push("app", "two", "a", "b", "c")
	l.push("app", "two", "a") // again
	err := l.adoptError("app", "3", "three")
	if err == nil || err.Error() != "DENIED: The repository with name 'app' in registry with id '000000000000' already has the maximum allowed number of images which is '2'" {
		t.Errorf("a third image: %v", err)
	}
	err = l.adoptError("app", "d", "two")
	if want := fmt.Sprintf("already has the maximum allowed number of tags which is '%d'", 3); err == nil || !bytes.Contains([]byte(err.Error()), []byte(want)) {
		t.Errorf("a fourth tag: %v", err)
	}
	l.push("app", "one", "c") // it moves
	l.push("app", "two", "d")
}

// A disk with little room refuses what doesn't fit, in words of the API.
func TestDiskFull(t *testing.T) {
	l := newLab(t)
	o := l.o
	free := int64(50)
	o.Free = func() (int64, error) { return free, nil }
	l.Service = New(o)
	l.create("app")
	_, err := l.layer("app", bytesOf('a', 51))
	wantCode(t, err, "InsufficientStorage", "no space left")
	d, err := l.layer("app", bytesOf('a', 50))
	if err != nil {
		t.Fatal(err)
	}
	free = 0
	wantCode(t, l.put("app", "v1", d), "InsufficientStorage", "no space left")
	_, err = l.layer("app", bytesOf('b', 1))
	wantCode(t, err, "InsufficientStorage", "no space left")
	free = 1 << 20
	if err := l.put("app", "v1", d); err != nil {
		t.Error(err)
	}
}
