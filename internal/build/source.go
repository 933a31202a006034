package build

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/util/archiveutil"
	"github.com/moby/buildkit/util/staticfs"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
)

// maxDockerfile is how much of standard input is taken for a Dockerfile, in bytes.
const maxDockerfile = 4 << 20

// A source is what a build reads on the client's machine.
type source struct {
	context    string    // the directory, absolute; empty: none, or remote
	remote     string    // URL of the context
	upload     io.Reader // an archive that is the context
	dockerfile string    // absolute; where there is no directory, the path in the context; empty: text alone
	text       []byte    // the Dockerfile's, if it is here
	ignored    []string  // patterns of .dockerignore
}

// open finds the context and the Dockerfile, and refuses what would fail later with a worse message.
func open(o Options) (*source, error) {
	s := &source{}
	var err error
	switch {
	case o.Context == "-":
		if o.Dockerfile == "-" {
			return nil, errors.New("standard input is the context or the Dockerfile, not both")
		}
		return s, s.openStdin(o)
	case isRemote(o.Context):
		s.remote, s.dockerfile = o.Context, o.Dockerfile
		if o.Dockerfile == "-" {
			s.text, err = readDockerfile(o.Stdin)
			s.dockerfile = ""
		}
		return s, err
	}
	return s, s.openDirectory(o)
}

// files is the context without what .dockerignore names.
func (s *source) files() (fsutil.FS, error) {
	all, err := fsutil.NewFS(s.context)
	if err != nil {
		return nil, err
	}
	return fsutil.NewFilterFS(all, &fsutil.FilterOpt{ExcludePatterns: s.ignored})
}

// mounts are the directories that the builder may read: "context" and "dockerfile". filename is the Dockerfile's in
// the second, or in a remote context.
func (s *source) mounts() (m map[string]fsutil.FS, filename string, err error) {
	m = map[string]fsutil.FS{}
	switch {
	case s.context != "":
		if m["context"], err = fsutil.NewFS(s.context); err != nil {
			return nil, "", err
		}
	case s.remote == "" && s.upload == nil:
		m["context"] = staticfs.NewFS()
	}
	switch {
	case s.dockerfile == "" && s.text != nil:
		file := staticfs.NewFS()
		file.Add("Dockerfile", &types.Stat{Mode: 0o644}, s.text)
		m["dockerfile"] = file
		return m, "Dockerfile", nil
	case s.context != "":
		m["dockerfile"], err = fsutil.NewFS(filepath.Dir(s.dockerfile))
		return m, filepath.Base(s.dockerfile), err
	}
	return m, s.dockerfile, nil
}

// Private

func (s *source) openDirectory(o Options) error {
	dir, err := directory(o.Context)
	if err != nil {
		return fmt.Errorf("build context: %w", err)
	}
	s.context = dir
	ignores := []string{filepath.Join(dir, ".dockerignore")}
	if o.Dockerfile == "-" {
		if s.text, err = readDockerfile(o.Stdin); err != nil {
			return err
		}
	} else {
		file := o.Dockerfile
		if file == "" {
			file = filepath.Join(dir, "Dockerfile")
		}
		if s.dockerfile, err = filepath.Abs(file); err != nil {
			return err
		}
		s.text, err = os.ReadFile(s.dockerfile)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("no Dockerfile at %s (%w)", s.dockerfile, fs.ErrNotExist)
		} else if err != nil {
			return err
		}
		ignores = slices.Insert(ignores, 0, s.dockerfile+".dockerignore")
	}
	if err := checkSyntax(s.text); err != nil {
		return fmt.Errorf("%s: %w", s.dockerfile, err)
	}
	s.ignored, err = readIgnore(ignores...)
	return err
}

// openStdin takes an archive for the context, and anything else for a Dockerfile that has none.
func (s *source) openStdin(o Options) error {
	if o.Stdin == nil {
		return errors.New("build context -: there is no standard input")
	}
	in := bufio.NewReader(o.Stdin)
	head, err := in.Peek(1024)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("build context -: %w", err)
	}
	if archiveutil.IsArchive(head) {
		s.upload, s.dockerfile = in, o.Dockerfile
		return nil
	}
	if o.Dockerfile != "" {
		return errors.New("standard input is no archive, so that no other Dockerfile can be named")
	}
	s.text, err = readDockerfile(in)
	return err
}

func readDockerfile(r io.Reader) ([]byte, error) {
	if r == nil {
		return nil, errors.New("there is no standard input for the Dockerfile")
	}
	text, err := io.ReadAll(io.LimitReader(r, maxDockerfile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxDockerfile {
		return nil, fmt.Errorf("a Dockerfile on standard input has at most %d bytes", maxDockerfile)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, errors.New("standard input is empty: it was to be a Dockerfile or an archive")
	}
	return text, checkSyntax(text)
}

// directory makes a path absolute, and sure that a directory is there.
func directory(path string) (string, error) {
	dir, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	st, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	if !st.IsDir() {
		return "", fmt.Errorf("%s is not a directory", dir)
	}
	return dir, nil
}

// isRemote tells the URL of an archive or a git repository from a directory, which comes first.
func isRemote(context string) bool {
	if _, err := os.Stat(context); err == nil {
		return false
	}
	if strings.HasPrefix(context, "http://") || strings.HasPrefix(context, "https://") {
		return true
	}
	_, git, err := dfgitutil.ParseGitRef(context)
	return git && err == nil
}

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
