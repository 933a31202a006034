package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lotse-project/lotse/internal/lazyregexp"
)

// Import takes an image out of an archive and records it in the repository of images imported under
// that name, from where it is found by builds (FROM golang:1.26) and task definitions. The archive is one
// that docker save, podman save or skopeo made, an OCI layout in a tar, or a root file system in a tar,
// which becomes an image of one layer with an empty config. Each may be compressed with gzip or zstd. It
// is read once, from start to end, and every digest in it is checked.
//
// Source: OCI Image Layout 1.1; Docker image specification 1.2 (manifest.json).
func (g *Registry) Import(ctx context.Context, ref string, r io.Reader) (Manifest, error) {
	name, err := importName(ref)
	if err != nil {
		return Manifest{}, err
	}
	plain, err := decompress(r)
	if err != nil {
		return Manifest{}, fmt.Errorf("import %s: %w", ref, err)
	}
	defer plain.Close()
	repo := MirrorRepo(name.Host, name.Path)
	if err := g.o.Records.Ensure(ctx, repo); err != nil {
		return Manifest{}, fmt.Errorf("import %s: %w", ref, err)
	}
	i := &importer{g: g, repo: repo, ref: name, files: map[string]Blob{}, small: map[string][]byte{}, links: map[string]string{}}
	d, err := i.read(ctx, plain)
	if err != nil {
		return Manifest{}, fmt.Errorf("import %s: %w", ref, err)
	}
	if name.Digest != "" && name.Digest != d {
		return Manifest{}, fmt.Errorf("import %s: the archive's image is %s", ref, d)
	}
	m, err := g.Adopt(ctx, repo, name.Tag, d)
	if err != nil {
		return m, fmt.Errorf("import %s: %w", ref, err)
	}
	return m, nil
}

// Private

// maxEntries is how many files an image archive may hold; the largest real ones have some hundreds.
const maxEntries = 10_000

var errNoImage = errors.New("neither an image archive (docker save, OCI layout) nor a root file system in a tar")

type importer struct {
	g     *Registry
	repo  string
	ref   Reference
	files map[string]Blob   // by name in the archive
	small map[string][]byte // documents, by name
	links map[string]string // name → name
}

func importName(ref string) (Reference, error) {
	name, err := ParseReference(ref)
	if err != nil {
		return name, err
	}
	if name.Host == "localhost" || strings.Contains(name.Host, ":") || ecrHostRE.MatchString(name.Host) {
		return name, fmt.Errorf("import %s: images of this registry are pushed, not imported; import is for names of other registries, such as docker.io/library/golang:1.26", ref)
	}
	if name.Tag == "" && name.Digest == "" {
		name.Tag = "latest"
	}
	return name, nil
}

var ecrHostRE = lazyregexp.New(`^\d{12}\.dkr[.-]ecr\.`)

// archiveRE matches the names that image archives consist of. One that no image archive has tells a root
// file system. Kinds: docker save old and new, podman, skopeo, kaniko and ggcr (sha256:…), jib (config.json).
var archiveRE = lazyregexp.New(`^(blobs(/.*)?|oci-layout|index\.json|manifest\.json|repositories|config\.json|(sha256:)?[0-9a-f]{64}(/.*|\.json|\.tar|\.tar\.gz)?)$`)

// read decides by the first name what the archive is.
func (i *importer) read(ctx context.Context, r io.Reader) (digest.Digest, error) {
	var head bytes.Buffer // what was read to decide
	tr := tar.NewReader(io.TeeReader(r, &head))
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return "", errNoImage
		}
		if err != nil {
			return "", fmt.Errorf("%w: %w", errNoImage, err)
		}
		name := path.Clean(strings.TrimPrefix(h.Name, "/"))
		if name == "." {
			continue
		}
		rest := io.MultiReader(bytes.NewReader(bytes.Clone(head.Bytes())), r)
		if archiveRE.MatchString(name) {
			return i.archive(ctx, rest)
		}
		return i.rootFS(ctx, rest)
	}
}

// archive stores all files of an image archive as blobs, then finds out what image they make up.
func (i *importer) archive(ctx context.Context, r io.Reader) (digest.Digest, error) {
	tr := tar.NewReader(r)
	for n := 0; ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", fmt.Errorf("read the archive: %w", err)
		}
		if n > maxEntries {
			return "", fmt.Errorf("the archive has more than %d entries", maxEntries)
		}
		if err := i.entry(ctx, h, tr); err != nil {
			return "", err
		}
	}
	// Since Docker 25 docker save writes both; the layout says more.
	if _, ok := i.small["oci-layout"]; ok && i.small["index.json"] != nil {
		return i.layout(ctx)
	}
	if i.small["manifest.json"] != nil {
		return i.dockerSave(ctx)
	}
	return "", fmt.Errorf("the archive has neither manifest.json (docker save) nor oci-layout and index.json (OCI layout): %w", errNoImage)
}

func (i *importer) entry(ctx context.Context, h *tar.Header, r io.Reader) error {
	name, err := inside(h.Name)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
	case tar.TypeSymlink: // old docker save: a layer that occurs twice
		target, err := inside(path.Join(path.Dir(name), h.Linkname))
		if err != nil {
			return err
		}
		i.links[name] = target
	case tar.TypeLink:
		target, err := inside(h.Linkname)
		if err != nil {
			return err
		}
		i.links[name] = target
	case tar.TypeReg:
		return i.file(ctx, name, h.Size, r)
	default:
		return fmt.Errorf("%q is neither file, directory nor link: %w", h.Name, errNoImage)
	}
	return nil
}

// inside cleans a name in an archive, and refuses those that lead out of it.
func inside(name string) (string, error) {
	clean := path.Clean(strings.TrimPrefix(name, "/"))
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return "", fmt.Errorf("the archive's entry %q leads out of it", name)
	}
	return clean, nil
}

// layoutBlobRE matches files of an OCI layout whose names state their content.
var layoutBlobRE = lazyregexp.New(`^blobs/([a-z0-9]+)/([0-9a-f]+)$`)

// file stores one file. In a layout its name is its digest, and must be.
func (i *importer) file(ctx context.Context, name string, size int64, r io.Reader) error {
	alg, want := digest.SHA256, digest.Digest("")
	if m := layoutBlobRE.FindStringSubmatch(name); m != nil {
		want = digest.NewDigestFromEncoded(digest.Algorithm(m[1]), m[2])
		if err := want.Validate(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		alg = want.Algorithm()
	}
	if ignoredRE.MatchString(name) {
		return nil
	}
	if document(name) && size <= MaxManifest {
		raw, err := io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		i.small[name] = raw
		return nil
	}
	b, err := i.store(ctx, alg, want, r)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	i.files[name] = b
	return nil
}

// ignoredRE matches what docker save wrote for Docker before 1.10.
var ignoredRE = lazyregexp.New(`^(repositories|[0-9a-f]{64}/(VERSION|json))$`)

// document tells files that describe the archive, which need not be stored.
func document(name string) bool {
	return name == "oci-layout" || !strings.Contains(name, "/") && strings.HasSuffix(name, ".json")
}

// store uploads content; want "" takes whatever digest it has.
func (i *importer) store(ctx context.Context, alg digest.Algorithm, want digest.Digest, r io.Reader) (Blob, error) {
	id, u, err := i.g.newUpload(ctx, i.repo)
	if err != nil {
		return Blob{}, err
	}
	defer u.Unlock()
	dg := alg.Digester()
	err = i.g.appendTo(ctx, i.repo, id, u, io.TeeReader(r, dg.Hash()), -1)
	if err == nil && want != "" && want != dg.Digest() {
		err = fmt.Errorf("its content has digest %s: %w", dg.Digest(), ErrDigestMismatch)
	}
	if err != nil {
		return Blob{}, errors.Join(err, i.g.abandon(ctx, i.repo, id, u))
	}
	return i.g.commitUpload(ctx, i.repo, id, u, dg.Digest())
}

// put stores a document that the importer made.
func (i *importer) put(ctx context.Context, raw []byte) (Blob, error) {
	return i.store(ctx, digest.SHA256, "", bytes.NewReader(raw))
}

// find follows links to a stored file.
func (i *importer) find(name string) (Blob, string, error) {
	name = path.Clean(name)
	for range 8 {
		if b, ok := i.files[name]; ok {
			return b, name, nil
		}
		target, ok := i.links[name]
		if !ok {
			break
		}
		name = target
	}
	return Blob{}, "", fmt.Errorf("the archive names %q, but has no such file", name)
}

// config is that of an image made out of layers alone.
func emptyConfig(diffIDs []digest.Digest) ocispec.Image {
	return ocispec.Image{
		Platform: ocispec.Platform{Architecture: runtime.GOARCH, OS: "linux"},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: diffIDs},
	}
}
