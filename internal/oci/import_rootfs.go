package oci

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Private

// rootFS stores the tar as the only layer of an image with an empty config. It stays uncompressed: it
// is on this machine, and unpacks fastest so. While it is stored, its entries are checked.
func (i *importer) rootFS(ctx context.Context, r io.Reader) (digest.Digest, error) {
	pr, pw := io.Pipe()
	checked := make(chan error, 1)
	go func() {
		err := checkRootFS(pr)
		_ = pr.CloseWithError(err) // a bad entry ends the upload, too
		checked <- err
	}()
	layer, err := i.store(ctx, digest.SHA256, "", io.TeeReader(r, pw))
	_ = pw.CloseWithError(err)
	if cerr := <-checked; cerr != nil {
		return "", cerr
	}
	if err != nil {
		return "", err
	}
	raw, err := json.Marshal(emptyConfig([]digest.Digest{layer.Digest}))
	if err != nil {
		return "", err
	}
	config, err := i.put(ctx, raw)
	if err != nil {
		return "", err
	}
	return i.putManifest(ctx, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: config.Digest, Size: config.Size},
		Layers: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayer, Digest: layer.Digest, Size: layer.Size}},
	})
}

// topDirs are what a root file system has at least one of. A tar without is something else.
var topDirs = map[string]bool{"bin": true, "etc": true, "usr": true, "lib": true, "sbin": true, "var": true, "opt": true, "home": true, "root": true, "app": true, "tmp": true, "dev": true}

// checkRootFS reads a tar to its end and refuses entries that lead out of it, whiteouts, and a tar that
// isn't one of a root file system.
func checkRootFS(r io.Reader) error {
	tr := tar.NewReader(r)
	known := false
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the root file system: %w", err)
		}
		name, err := inside(h.Name)
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeLink {
			if _, err := inside(h.Linkname); err != nil {
				return fmt.Errorf("%s: hard link: %w", h.Name, err)
			}
		}
		if strings.HasPrefix(path.Base(name), ".wh.") {
			return fmt.Errorf("%s is a whiteout: this is a layer of an image, not a root file system", h.Name)
		}
		top, _, _ := strings.Cut(name, "/")
		known = known || topDirs[top]
	}
	if !known {
		return fmt.Errorf("the tar holds none of the directories of a root file system (bin, etc, usr, …): %w", errNoImage)
	}
	// The padding after the end belongs to the layer.
	_, err := io.Copy(io.Discard, r)
	return err
}
