package build

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOpen_Refuses(t *testing.T) {
	empty := t.TempDir()
	if _, err := open(Options{Context: empty}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no Dockerfile at ") {
		t.Errorf("open(empty directory) = %v, want that there is no Dockerfile", err)
	}
	if _, err := open(Options{Context: filepath.Join(empty, "nope")}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open(nothing) = %v, want fs.ErrNotExist", err)
	}
	dir := contextDir(t, map[string]string{"Dockerfile": "# syntax=ghcr.io/someone/mockerfile:1\n"})
	if _, err := open(Options{Context: dir}); err == nil || !strings.Contains(err.Error(), "ghcr.io/someone/mockerfile:1") {
		t.Errorf("open(another syntax) = %v, want a refusal that names it", err)
	}
}

func TestCheckSyntax(t *testing.T) {
	for text, ok := range map[string]bool{
		"FROM scratch\n": true,
		"# syntax=docker/dockerfile:1\nFROM scratch\n":                       true,
		"# syntax=docker/dockerfile\nFROM scratch\n":                         true,
		"# syntax=docker.io/docker/dockerfile:1.7-labs\nFROM scratch\n":      true,
		"# syntax=docker/dockerfile:1@sha256:abcd\nFROM scratch\n":           true,
		"# syntax=docker/dockerfile-upstream:master\nFROM scratch\n":         true,
		"# syntax=localhost:5000/docker/dockerfile:1\nFROM scratch\n":        false,
		"# syntax=docker/dockerfile-evil\nFROM scratch\n":                    false,
		"FROM scratch\n# syntax=ghcr.io/not/at/the/top\n":                    true,
		"# escape=`\n# syntax=ghcr.io/after/another/directive\nFROM scratch": false,
	} {
		if err := checkSyntax([]byte(text)); (err == nil) != ok {
			t.Errorf("checkSyntax(%q) = %v, want accepted = %t", text, err, ok)
		}
	}
}

func TestSource_Ignored(t *testing.T) {
	files := map[string]string{
		"Dockerfile": "FROM scratch\n", ".dockerignore": "# comment\n*.log\n!keep.log\n/only/here\n", "a.go": "a", "x.log": "x", "keep.log": "k",
		"only/here/f": "f", "sub/only/here/f": "f",
	}
	dir := contextDir(t, files)
	want := ".dockerignore Dockerfile a.go keep.log only sub sub/only sub/only/here sub/only/here/f"
	if got := listed(t, Options{Context: dir}); got != want {
		t.Errorf("context = %q, want %q", got, want)
	}
	// A Dockerfile elsewhere with an ignore file of its own.
	other := contextDir(t, map[string]string{"My.Dockerfile": "FROM scratch\n", "My.Dockerfile.dockerignore": "**\n!a.go\n"})
	if got, want := listed(t, Options{Context: dir, Dockerfile: filepath.Join(other, "My.Dockerfile")}), "a.go"; got != want {
		t.Errorf("context = %q, want %q", got, want)
	}
}

func listed(t *testing.T, o Options) string {
	t.Helper()
	s, err := open(o)
	if err != nil {
		t.Fatal(err)
	}
	files, err := s.files()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	err = files.Walk(t.Context(), "", func(path string, _ fs.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

// contextDir makes a directory of files.
func contextDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		write(t, filepath.Join(dir, name), text)
	}
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
