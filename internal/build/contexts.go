package build

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/ociindex"
	buildctl "github.com/moby/buildkit/cmd/buildctl/build"
	"github.com/opencontainers/go-digest"
	"github.com/tonistiigi/fsutil"
)

// Private

// named adds the named contexts to what is asked of BuildKit.
func named(contexts map[string]string, opt *bkclient.SolveOpt) error {
	for _, key := range slices.Sorted(maps.Keys(contexts)) {
		n, err := reference.ParseNormalizedNamed(key)
		if err != nil {
			return fmt.Errorf("build context %q: %w", key, err)
		}
		// BuildKit looks for the short name. Source: docker buildx, build/opt.go.
		name := strings.TrimSuffix(reference.FamiliarString(n), ":latest")
		at, err := namedSource(name, contexts[key], opt)
		if err != nil {
			return fmt.Errorf("build context %s: %w", key, err)
		}
		opt.FrontendAttrs["context:"+name] = at
	}
	return nil
}

func namedSource(name, value string, opt *bkclient.SolveOpt) (string, error) {
	if strings.HasPrefix(value, "docker-image://") || !strings.HasPrefix(value, "oci-layout://") && isRemote(value) {
		return value, nil
	}
	if path, ok := strings.CutPrefix(value, "oci-layout://"); ok {
		return ociLayout(path, opt)
	}
	dir, err := directory(value)
	if err != nil {
		return "", err
	}
	files, err := fsutil.NewFS(dir)
	if err != nil {
		return "", err
	}
	local := "named-" + name // apart from "context" and "dockerfile"
	opt.LocalMounts[local] = files
	return "local:" + local, nil
}

// ociLayout opens the content of DIR[:TAG][@DIGEST] for BuildKit.
func ociLayout(path string, opt *bkclient.SolveOpt) (string, error) {
	path, dgst, pinned := strings.Cut(path, "@")
	tag := "latest"
	if i := strings.LastIndex(path, ":"); i > strings.LastIndex(path, "/") {
		path, tag = path[:i], path[i+1:]
	}
	dir, err := directory(path)
	if err != nil {
		return "", err
	}
	if !pinned {
		d, err := ociindex.NewStoreIndex(dir).Get(tag)
		if err != nil {
			return "", err
		}
		if d == nil && tag == "latest" {
			d, err = ociindex.NewStoreIndex(dir).GetSingle()
		}
		if err != nil || d == nil {
			return "", fmt.Errorf("%s has no image tagged %s", filepath.Join(dir, "index.json"), tag)
		}
		dgst = d.Digest.String()
	}
	if _, err := digest.Parse(dgst); err != nil {
		return "", fmt.Errorf("digest %q: %w", dgst, err)
	}
	id := sharedKey(dir)
	stores, err := buildctl.ParseOCILayout([]string{id + "=" + dir})
	if err != nil {
		return "", err
	}
	if opt.OCIStores == nil {
		opt.OCIStores = stores
	}
	opt.OCIStores[id] = stores[id]
	return "oci-layout://" + id + "@" + dgst, nil
}
