package ecr

import (
	"bytes"
	"context"
	"net/url"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lotse-project/lotse/internal/oci/ocitest"
)

func (l *lab) begin(repo string) *string {
	l.t.Helper()
	out, err := l.InitiateLayerUpload(as(home), &ecr.InitiateLayerUploadInput{RepositoryName: &repo})
	if err != nil {
		l.t.Fatal(err)
	}
	if !uploadRE.MatchString(*out.UploadId) || *out.PartSize != 10<<20 {
		l.t.Errorf("upload %s, parts of %d bytes", *out.UploadId, *out.PartSize)
	}
	return out.UploadId
}

func (l *lab) part(repo string, id *string, first int64, b []byte) (int64, error) {
	out, err := l.UploadLayerPart(as(home), &ecr.UploadLayerPartInput{RepositoryName: &repo, UploadId: id, LayerPartBlob: b,
		PartFirstByte: &first, PartLastByte: aws.Int64(first + int64(len(b)) - 1)})
	if err != nil {
		return 0, err
	}
	return *out.LastByteReceived, nil
}

func (l *lab) complete(repo string, id *string, d digest.Digest) error {
	_, err := l.CompleteLayerUpload(as(home), &ecr.CompleteLayerUploadInput{RepositoryName: &repo, UploadId: id, LayerDigests: []string{d.String()}})
	return err
}

// upload brings a layer in one part.
func (l *lab) upload(repo string, b []byte) ocispec.Descriptor {
	l.t.Helper()
	id := l.begin(repo)
	if _, err := l.part(repo, id, 0, b); err != nil {
		l.t.Fatal(err)
	}
	d := digest.FromBytes(b)
	if err := l.complete(repo, id, d); err != nil {
		l.t.Fatal(err)
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: d, Size: int64(len(b))}
}

// An image comes and goes by the API alone.
func TestLayersByTheAPI(t *testing.T) {
	l := newLab(t)
	l.create("app")
	big, d := ocitest.Random(12 << 20)
	id := l.begin("app")
	for _, cut := range [][2]int{{0, 5 << 20}, {5 << 20, 10 << 20}, {10 << 20, 12 << 20}} {
		last, err := l.part("app", id, int64(cut[0]), big[cut[0]:cut[1]])
		if err != nil || last != int64(cut[1])-1 {
			t.Fatalf("part %v: last byte %d, %v", cut, last, err)
		}
	}
	if err := l.complete("app", id, d); err != nil {
		t.Fatal(err)
	}
	_, err := l.GetDownloadUrlForLayer(as(home), &ecr.GetDownloadUrlForLayerInput{RepositoryName: str("app"), LayerDigest: str(d.String())})
	wantCode(t, err, "LayerInaccessibleException", d.String())

	config := l.upload("app", []byte(`{"os":"linux"}`))
	config.MediaType = ocispec.MediaTypeImageConfig
	m := asJSON(ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config,
		Layers: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayer, Digest: d, Size: 12 << 20}}})
	if _, err := l.PutImage(as(home), &ecr.PutImageInput{RepositoryName: str("app"), ImageManifest: str(string(m)), ImageTag: str("v1")}); err != nil {
		t.Fatal(err)
	}
	out, err := l.GetDownloadUrlForLayer(as(home), &ecr.GetDownloadUrlForLayerInput{RepositoryName: str("app"), LayerDigest: str(d.String())})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(*out.DownloadUrl)
	if err != nil || u.Host != "localhost:4566" {
		t.Fatalf("%s, %v", *out.DownloadUrl, err)
	}
	if w := l.get(u.RequestURI(), "", ""); w.Code != 200 || !bytes.Equal(w.Body.Bytes(), big) {
		t.Errorf("download: %d, %d bytes", w.Code, w.Body.Len())
	}
	for name, path := range map[string]string{
		"another layer":      "/v2/app/blobs/" + config.Digest.String() + "?" + u.RawQuery,
		"another repository": "/v2/other/blobs/" + d.String() + "?" + u.RawQuery,
		"the manifest":       "/v2/app/manifests/v1?" + u.RawQuery,
		"a later end":        u.Path + "?Expires=99999999999&Signature=" + u.Query().Get("Signature"),
		"no signature":       u.Path + "?Expires=" + u.Query().Get("Expires"),
	} {
		if w := l.get(path, "", ""); w.Code != 401 {
			t.Errorf("%s: %d, want 401", name, w.Code)
		}
	}
	l.advance(urlTTL + time.Second)
	if w := l.get(u.RequestURI(), "", ""); w.Code != 403 {
		t.Errorf("expired: %d %s", w.Code, w.Body)
	}
}

func TestUploadLayerPart_Refused(t *testing.T) {
	l := newLab(t)
	l.create("app")
	l.create("other")
	small, d := ocitest.Random(1000)
	id := l.begin("app")
	wantCode(t, l.complete("app", id, d), "EmptyUploadException", *id)
	_, err := l.part("app", id, 5, small)
	wantCode(t, err, "InvalidLayerPartException", "first byte 5")
	_, err = l.UploadLayerPart(as(home), &ecr.UploadLayerPartInput{RepositoryName: str("app"), UploadId: id, LayerPartBlob: small, PartFirstByte: aws.Int64(0), PartLastByte: aws.Int64(1000)})
	wantCode(t, err, "InvalidLayerPartException", "1000 bytes")
	_, err = l.part("other", id, 0, small)
	wantCode(t, err, "UploadNotFoundException", *id)
	_, err = l.part("app", str("x"), 0, small)
	wantCode(t, err, "InvalidParameterException", "uploadId")
	_, err = l.part("app", id, 0, make([]byte, maxPart+1))
	wantCode(t, err, "InvalidParameterException", "layerPartBlob")
	if _, err := l.part("app", id, 0, small); err != nil {
		t.Fatal(err)
	}
	_, err = l.part("app", id, 1000, small)
	wantCode(t, err, "InvalidLayerPartException", "at least 5242880 bytes")
	wantCode(t, l.complete("app", id, digest.FromString("other")), "InvalidLayerException", "digest")
	wantCode(t, l.complete("app", id, d), "UploadNotFoundException", *id)

	l.upload("app", small)
	id = l.begin("app")
	if _, err := l.part("app", id, 0, small); err != nil {
		t.Fatal(err)
	}
	wantCode(t, l.complete("app", id, d), "LayerAlreadyExistsException", d.String())
	if ups, err := l.o.Blobs.Uploads(context.Background()); err != nil || len(ups) != 0 {
		t.Errorf("%d uploads left, %v", len(ups), err)
	}
	_, err = l.GetDownloadUrlForLayer(as(home), &ecr.GetDownloadUrlForLayerInput{RepositoryName: str("other"), LayerDigest: str(d.String())})
	wantCode(t, err, "LayersNotFoundException", d.String())
}
