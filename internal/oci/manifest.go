package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// MaxManifest is the size of the largest manifest accepted, in bytes. Source: ECR service model, imageManifest.
const MaxManifest = 4 << 20

// Docker's media types, as docker and buildx without OCI export push them.
const (
	DockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	DockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// A Manifest is what records know of an image, an index of images, or an artifact.
type Manifest struct {
	Digest       digest.Digest
	MediaType    string
	Size         int64             // bytes, of the manifest itself
	Config       string            // media type of the config; "" for an index
	ArtifactType string            // its own, or its config's media type
	Annotations  map[string]string `json:",omitempty"`
	Subject      digest.Digest     `json:",omitempty"`
	Blobs        []Child           // config and layers that are kept here
	Manifests    []Child           // of an index: those that are there
	PushedAt     time.Time
	PulledAt     time.Time // zero: never
}

// A Child is content that a manifest names.
type Child struct {
	Digest digest.Digest
	Size   int64 // bytes
}

// Index tells an index of images from an image.
func (m Manifest) Index() bool {
	return m.MediaType == ocispec.MediaTypeImageIndex || m.MediaType == DockerIndex
}

// ImageSize is the size of config and layers as they are stored, in bytes.
func (m Manifest) ImageSize() int64 {
	var n int64
	for _, c := range m.Blobs {
		n += c.Size
	}
	return n
}

// children lists all content that the manifest names and that is kept here.
func (m Manifest) children() []digest.Digest {
	var ds []digest.Digest
	for _, c := range m.Blobs {
		ds = append(ds, c.Digest)
	}
	for _, c := range m.Manifests {
		ds = append(ds, c.Digest)
	}
	return ds
}

// ParseManifest checks a manifest of the given media type ("": the one that it states itself). Layers that
// are to be fetched elsewhere (with urls) come back apart: they may be here, too. The result has no times.
func ParseManifest(raw []byte, mediaType string, alg digest.Algorithm) (m Manifest, foreign []Child, err error) {
	if len(raw) > MaxManifest {
		return m, nil, errSize("the manifest", MaxManifest)
	}
	var doc manifestDoc
	dec := json.NewDecoder(bytes.NewReader(raw))
	if err := dec.Decode(&doc); err != nil {
		return m, nil, errManifest("not JSON of a manifest: %v", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return m, nil, errManifest("something follows the JSON of the manifest")
	}
	if m.MediaType, err = doc.mediaType(mediaType); err != nil {
		return m, nil, err
	}
	m.Digest, m.Size = alg.FromBytes(raw), int64(len(raw))
	m.ArtifactType, m.Annotations = doc.ArtifactType, doc.Annotations
	if doc.Subject != nil {
		if err := checkDescriptor("subject", *doc.Subject); err != nil {
			return m, nil, err
		}
		m.Subject = doc.Subject.Digest
	}
	if m.Index() {
		return m, nil, doc.index(&m)
	}
	foreign, err = doc.image(&m)
	return m, foreign, err
}

// Private

type manifestDoc struct {
	SchemaVersion int                  `json:"schemaVersion"`
	MediaType     string               `json:"mediaType"`
	ArtifactType  string               `json:"artifactType"`
	Config        *ocispec.Descriptor  `json:"config"`
	Layers        []ocispec.Descriptor `json:"layers"`
	Manifests     []ocispec.Descriptor `json:"manifests"`
	Subject       *ocispec.Descriptor  `json:"subject"`
	Annotations   map[string]string    `json:"annotations"`
}

func (doc *manifestDoc) mediaType(stated string) (string, error) {
	if stated != "" {
		t, _, err := mime.ParseMediaType(stated)
		if err != nil {
			return "", errManifest("media type %q: %v", stated, err)
		}
		stated = t
	}
	switch {
	case stated == "" && doc.MediaType == "":
		return "", errManifest("image manifest mediatype not provided in manifest or parameter")
	case stated == "":
		stated = doc.MediaType
	case doc.MediaType != "" && doc.MediaType != stated:
		return "", errManifest("the manifest says that it is %q, the request that it is %q", doc.MediaType, stated)
	}
	switch stated {
	case ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex, DockerManifest, DockerIndex:
	default:
		return "", errManifest("media type %q is not supported; known are OCI image manifests and indexes, and Docker's schema 2", stated)
	}
	if doc.SchemaVersion != 2 {
		return "", errManifest("schemaVersion is %d, not 2", doc.SchemaVersion)
	}
	return stated, nil
}

// index refuses documents that are image and index at once, since clients don't agree on what those are.
// Source: CVE-2021-41190.
func (doc *manifestDoc) index(m *Manifest) error {
	if doc.Config != nil || len(doc.Layers) > 0 {
		return errManifest("an index must not have config or layers")
	}
	for i, c := range doc.Manifests {
		if err := checkDescriptor(fmt.Sprintf("manifests[%d]", i), c); err != nil {
			return err
		}
		m.Manifests = append(m.Manifests, Child{c.Digest, c.Size})
	}
	return nil
}

func (doc *manifestDoc) image(m *Manifest) (foreign []Child, err error) {
	if len(doc.Manifests) > 0 {
		return nil, errManifest("an image manifest must not have manifests")
	}
	if doc.Config == nil {
		return nil, errManifest("the manifest has no config")
	}
	if err := checkDescriptor("config", *doc.Config); err != nil {
		return nil, err
	}
	m.Config = doc.Config.MediaType
	if m.ArtifactType == "" {
		m.ArtifactType = doc.Config.MediaType
	}
	m.Blobs = []Child{{doc.Config.Digest, doc.Config.Size}}
	for i, l := range doc.Layers {
		if err := checkDescriptor(fmt.Sprintf("layers[%d]", i), l); err != nil {
			return nil, err
		}
		if len(l.URLs) > 0 {
			foreign = append(foreign, Child{l.Digest, l.Size})
			continue
		}
		m.Blobs = append(m.Blobs, Child{l.Digest, l.Size})
	}
	return foreign, nil
}

func checkDescriptor(what string, d ocispec.Descriptor) error {
	if err := d.Digest.Validate(); err != nil {
		return errManifest("%s: digest %q: %v", what, d.Digest, err)
	}
	if d.Size < 0 {
		return errManifest("%s: size %d is negative", what, d.Size)
	}
	return nil
}
