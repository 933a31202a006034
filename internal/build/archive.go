package build

import (
	"archive/tar"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxMetadata is the greatest file of an archive that is kept while reading it, in bytes; layers are greater or not needed.
const maxMetadata = 4 << 20

// Private

// fromArchive completes a result with what an OCI archive says. Source: OCI image layout specification.
func fromArchive(r Result, file string) (Result, error) {
	small, err := readArchive(file)
	if err != nil {
		return r, fmt.Errorf("read %s: %w", file, err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(small["index.json"], &index); err != nil {
		return r, fmt.Errorf("%s: index.json: %w", file, err)
	}
	if len(index.Manifests) != 1 {
		return r, fmt.Errorf("%s holds %d images, not one", file, len(index.Manifests))
	}
	at := index.Manifests[0]
	r.Digest = at.Digest.String()
	var image ocispec.Descriptor
	for image.Digest == "" {
		var m struct {
			Config    ocispec.Descriptor
			Manifests []ocispec.Descriptor
		}
		if err := json.Unmarshal(small[blobPath(at.Digest)], &m); err != nil {
			return r, fmt.Errorf("%s: manifest: %w", file, err)
		}
		if m.Config.Digest == "" && len(m.Manifests) == 0 {
			return r, fmt.Errorf("%s: manifest %s names neither a config nor images", file, at.Digest)
		}
		image = m.Config
		if len(m.Manifests) > 0 {
			at = m.Manifests[0] // the first platform's; attestations are the last
		}
	}
	config, ok := small[blobPath(image.Digest)]
	if !ok {
		return r, fmt.Errorf("%s: its image has no config", file)
	}
	r.Archive = file
	platform, info, err := parseConfig(config)
	r.Platform, r.Config = cmp.Or(r.Platform, platform), info
	return r, err
}

func blobPath(d digest.Digest) string {
	if d.Validate() != nil {
		return ""
	}
	return path.Join("blobs", d.Algorithm().String(), d.Encoded())
}

// readArchive reads the small files of a tar file.
func readArchive(file string) (map[string][]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	small := map[string][]byte{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return small, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag != tar.TypeReg || h.Size > maxMetadata {
			continue
		}
		if small[path.Clean(h.Name)], err = io.ReadAll(r); err != nil {
			return nil, err
		}
	}
}
