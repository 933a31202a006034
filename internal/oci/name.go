package oci

import (
	"errors"
	"fmt"
	"strings"

	_ "crypto/sha512" // the second digest algorithm of the image specification
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/lotse-project/lotse/internal/lazyregexp"
)

var (
	nameRE = lazyregexp.New(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagRE  = lazyregexp.New(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// MirrorPrefix is the first part of the path of images imported from docker.io: docker.io/library/golang is
// served as /v2/mirror/library/golang. Images of another registry have its name in it: /v2/mirror.ghcr.io/….
const MirrorPrefix = "mirror"

// MirrorRepo names the repository of images imported under a name of registry host, such as docker.io.
func MirrorRepo(host, path string) string { return MirrorPrefix + "/" + host + "/" + path }

// IsMirror tells a repository of imported images.
func IsMirror(repo string) bool { return strings.HasPrefix(repo, MirrorPrefix+"/") }

// MirrorName finds the repository of imported images that a name in a path stands for, if it does.
func MirrorName(name string) (repo string, ok bool) {
	first, path, found := strings.Cut(name, "/")
	if !found {
		return "", false
	}
	if first == MirrorPrefix {
		return MirrorRepo("docker.io", path), true
	}
	host, ok := strings.CutPrefix(first, MirrorPrefix+".")
	return MirrorRepo(host, path), ok && strings.Contains(host, ".")
}

// A Reference is an image's name taken apart, with what people leave out filled in.
type Reference struct {
	Host   string        // docker.io if none was given
	Path   string        // library/ before the short names of docker.io
	Tag    string        // "" if none was given
	Digest digest.Digest // "" if none was given
}

// ParseReference takes an image's name apart: golang, golang:1.26, ghcr.io/owner/app@sha256:….
func ParseReference(s string) (Reference, error) {
	n, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		if errors.Is(err, reference.ErrReferenceInvalidFormat) {
			err = errors.New("not of the form [HOST/]NAME[:TAG][@DIGEST]")
		}
		return Reference{}, fmt.Errorf("image name %q: %w", s, err)
	}
	r := Reference{Host: reference.Domain(n), Path: reference.Path(n)}
	if t, ok := n.(reference.Tagged); ok {
		r.Tag = t.Tag()
	}
	if d, ok := n.(reference.Digested); ok {
		r.Digest = d.Digest()
	}
	return r, nil
}

// String is ParseReference's inverse, with nothing left out.
func (r Reference) String() string {
	s := r.Host + "/" + r.Path
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest.String()
	}
	return s
}
