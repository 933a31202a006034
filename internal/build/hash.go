package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
)

// ContextHash is a hash, 64 hex digits, over what a build of dir with its Dockerfile reads: names, modes, contents
// and link targets, without what .dockerignore names, and without times and owners, which a checkout makes anew.
func ContextHash(dir string) (string, error) { return Options{Context: dir}.Hash() }

// Hash is ContextHash for a build with other options, which count too: Dockerfile, target, arguments, labels, platform.
// Base images do not.
func (o Options) Hash() (string, error) {
	s, err := open(o)
	if err != nil {
		return "", err
	}
	if s.context == "" {
		return "", errors.New("only a directory has a hash before it is built")
	}
	h := sha256.New()
	field(h, string(s.text), o.Target, o.Platform, o.epoch())
	for _, m := range []map[string]string{o.Args, o.Labels, o.Annotations} {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			field(h, k, m[k])
		}
		field(h, "")
	}
	files, err := s.files()
	if err != nil {
		return "", err
	}
	if err := hashFiles(h, files); err != nil {
		return "", fmt.Errorf("hash %s: %w", s.context, err)
	}
	for _, name := range slices.Sorted(maps.Keys(o.Contexts)) {
		field(h, name, o.Contexts[name])
		dir, err := directory(o.Contexts[name])
		if err != nil {
			continue // an image, which counts by its name alone
		}
		named := &source{context: dir}
		if named.ignored, err = readIgnore(filepath.Join(dir, ".dockerignore")); err != nil {
			return "", err
		}
		if files, err = named.files(); err != nil {
			return "", err
		}
		if err := hashFiles(h, files); err != nil {
			return "", fmt.Errorf("hash %s: %w", dir, err)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Private

// field writes strings so that no two lists give the same bytes.
func field(h hash.Hash, fields ...string) {
	for _, f := range fields {
		fmt.Fprintf(h, "%d:%s", len(f), f)
	}
}

// hashFiles walks in the order of names.
func hashFiles(h hash.Hash, files fsutil.FS) error {
	return files.Walk(context.Background(), "", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		var link string
		if st, ok := info.Sys().(*types.Stat); ok {
			link = st.Linkname
		}
		field(h, path, info.Mode().String(), link)
		if !info.Mode().IsRegular() {
			return nil
		}
		return hashFile(h, files, path, info.Size())
	})
}

func hashFile(h hash.Hash, files fsutil.FS, path string, size int64) error {
	f, err := files.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	fmt.Fprintf(h, "%d:", size)
	_, err = io.Copy(h, f)
	return err
}
