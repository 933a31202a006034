package build

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

func TestContextHash(t *testing.T) {
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\n", ".dockerignore": "ignored\n", "a": "1", "sub/b": "2", "ignored": "x"})
	hash := func() string {
		t.Helper()
		h, err := ContextHash(dir)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	before := hash()
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(before) {
		t.Fatalf("ContextHash() = %q", before)
	}
	for _, same := range []struct {
		what string
		do   func() error
	}{
		{"nothing", func() error { return nil }},
		{"an ignored file", func() error { return os.WriteFile(filepath.Join(dir, "ignored"), []byte("y"), 0o644) }},
		{"a time", func() error { return os.Chtimes(filepath.Join(dir, "a"), time.Unix(1, 0), time.Unix(1, 0)) }},
	} {
		if err := same.do(); err != nil {
			t.Fatal(err)
		}
		if got := hash(); got != before {
			t.Errorf("%s changed: the hash changed too", same.what)
		}
	}
	for _, other := range []struct {
		what string
		do   func() error
	}{
		{"contents", func() error { return os.WriteFile(filepath.Join(dir, "a"), []byte("3"), 0o644) }},
		{"a mode", func() error { return os.Chmod(filepath.Join(dir, "a"), 0o755) }},
		{"a name", func() error { return os.Rename(filepath.Join(dir, "sub/b"), filepath.Join(dir, "sub/c")) }},
		{"a link", func() error { return os.Symlink("a", filepath.Join(dir, "link")) }},
		{"a link's target", func() error {
			os.Remove(filepath.Join(dir, "link"))
			return os.Symlink("sub/c", filepath.Join(dir, "link"))
		}},
		{"the Dockerfile", func() error { return os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\n\n"), 0o644) }},
		{"an empty directory", func() error { return os.Mkdir(filepath.Join(dir, "empty"), 0o755) }},
	} {
		if err := other.do(); err != nil {
			t.Fatal(err)
		}
		after := hash()
		if after == before {
			t.Errorf("%s changed: the hash didn't", other.what)
		}
		before = after
	}
}

func TestOptions_Hash(t *testing.T) {
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\n"})
	seen := map[string]Options{}
	for _, o := range []Options{
		{}, {Target: "t"}, {Platform: "t"}, {Args: map[string]string{"a": "b"}}, {Labels: map[string]string{"a": "b"}}, {Args: map[string]string{"a": ""}},
	} {
		o.Context = dir
		h, err := o.Hash()
		if err != nil {
			t.Fatal(err)
		}
		if twin, ok := seen[h]; ok {
			t.Errorf("the same hash for %+v and %+v", o, twin)
		}
		seen[h] = o
	}
}

func TestOptions_Tag(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git")
	}
	for k, v := range map[string]string{"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_CEILING_DIRECTORIES": "/"} {
		t.Setenv(k, v)
	}
	dir := contextDir(t, map[string]string{"app/Dockerfile": "FROM scratch\n", "other": "1"})
	app := Options{Context: filepath.Join(dir, "app")}
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=n", "-c", "user.email=e"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	want := func(what, pattern string) string {
		t.Helper()
		got, err := app.Tag(t.Context())
		if err != nil || !regexp.MustCompile("^"+pattern+"$").MatchString(got) {
			t.Errorf("%s: Tag() = %q, %v, want %s", what, got, err, pattern)
		}
		return got
	}
	want("no repository", "[0-9a-f]{12}")
	run("init", "-q")
	want("no commit", "[0-9a-f]{12}")
	run("add", ".")
	run("commit", "-q", "-m", "1")
	clean := want("clean", "[0-9a-f]{12}")
	write(t, filepath.Join(dir, "other"), "2")
	if got := want("a change elsewhere", "[0-9a-f]{12}"); got != clean {
		t.Errorf("a change outside the context changed the tag from %s to %s", clean, got)
	}
	write(t, filepath.Join(dir, "app/new"), "2")
	want("a new file", clean+"-dirty-[0-9a-f]{8}")
}
