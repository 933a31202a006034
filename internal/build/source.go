package build

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/tonistiigi/fsutil"
)

// A source is what a build reads on the client's machine.
type source struct {
	context    string   // absolute
	dockerfile string   // absolute
	text       []byte   // the Dockerfile's
	ignored    []string // patterns of .dockerignore
}

// open finds the context and the Dockerfile, and refuses what would fail later with a worse message.
func open(o Options) (*source, error) {
	dir, err := filepath.Abs(o.Context)
	if err != nil {
		return nil, err
	}
	if st, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("build context: %w", err)
	} else if !st.IsDir() {
		return nil, fmt.Errorf("build context %s is not a directory", dir)
	}
	file := o.Dockerfile
	if file == "" {
		file = filepath.Join(dir, "Dockerfile")
	}
	if file, err = filepath.Abs(file); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no Dockerfile at %s: %w", file, err)
	} else if err != nil {
		return nil, err
	}
	if err := checkSyntax(text); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	s := &source{context: dir, dockerfile: file, text: text}
	s.ignored, err = readIgnore(file+".dockerignore", filepath.Join(dir, ".dockerignore"))
	return s, err
}

// files is the context without what .dockerignore names.
func (s *source) files() (fsutil.FS, error) {
	all, err := fsutil.NewFS(s.context)
	if err != nil {
		return nil, err
	}
	return fsutil.NewFilterFS(all, &fsutil.FilterOpt{ExcludePatterns: s.ignored})
}

// Private

// readIgnore reads the first of the files that is there.
func readIgnore(paths ...string) ([]string, error) {
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		patterns, err := ignorefile.ReadAll(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		return patterns, nil
	}
	return nil, nil
}

// dockerfileFrontends are the images of the frontend that BuildKit has built in. "# syntax=" with one of them is
// served by that; it needs no image, hence no network.
var dockerfileFrontends = []string{"docker/dockerfile", "docker.io/docker/dockerfile", "docker/dockerfile-upstream", "docker.io/docker/dockerfile-upstream"}

// checkSyntax refuses a Dockerfile that asks for another language.
func checkSyntax(text []byte) error {
	ref, _, _, ok := parser.DetectSyntax(text)
	if !ok {
		return nil
	}
	name, _, _ := strings.Cut(ref, "@")
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		name = name[:i]
	}
	if slices.Contains(dockerfileFrontends, name) {
		return nil
	}
	return fmt.Errorf("# syntax=%s is not supported: only Dockerfiles are built (docker/dockerfile)", ref)
}

// sortPorts sorts by number, then protocol.
func sortPorts(ports []Port) {
	slices.SortFunc(ports, func(a, b Port) int {
		if a.Number != b.Number {
			return int(a.Number) - int(b.Number)
		}
		return strings.Compare(a.Protocol, b.Protocol)
	})
}
