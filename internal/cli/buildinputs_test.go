package cli

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/lotse-project/lotse/internal/build"
	"github.com/lotse-project/lotse/internal/deploy"
)

// Flags come on top of lotse.yml, whose paths are relative to it; those of flags are to the working directory.
func TestBuildInputs(t *testing.T) {
	t.Setenv("FROM_ENV", "e")
	t.Setenv("LOTSE_BUILDER", "")
	t.Setenv("SOURCE_DATE_EPOCH", "")
	in := deploy.Build{Dockerfile: "build/Dockerfile", Context: "src", Target: "a", Platform: "linux/amd64", Args: map[string]string{"A": "1", "B": "1"},
		Contexts: map[string]string{"lib": "../lib", "base": "docker-image://base:1"}, Secrets: []string{"id=s,src=f"}, CacheFrom: []string{"shop:cache"}}
	options := func(args ...string) (build.Options, error) {
		t.Helper()
		var b buildInputs
		f := pflag.NewFlagSet("", pflag.ContinueOnError)
		b.flags(f)
		f.StringVarP(&b.file, "file", "f", "", "")
		if err := f.Parse(args); err != nil {
			t.Fatal(err)
		}
		return b.options("/app", in)
	}
	want := build.Options{Context: "/app/src", Dockerfile: "/app/build/Dockerfile", Target: "a", Platform: "linux/amd64", Args: map[string]string{"A": "1", "B": "1"},
		Contexts: map[string]string{"lib": filepath.Clean("/lib"), "base": "docker-image://base:1"}, Secrets: []build.Secret{{ID: "s", File: "/app/f"}},
		CacheFrom: []build.Cache{{Type: "registry", Attrs: map[string]string{"ref": "shop:cache"}}}}
	got, err := options()
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("of lotse.yml: %v (-want +got):\n%s", err, d)
	}
	got, err = options("-f", "D", "--target", "b", "--build-arg", "B=2", "--build-arg", "FROM_ENV", "--build-arg", "NOT_SET_ANYWHERE", "--build-context", "lib=l", "--secret", "id=t,env=T",
		"--platform", "linux/amd64,linux/arm64", "--shm-size", "1m", "--ssh", "default", "--cache-to", "type=inline", "--no-cache-filter", "x,y", "--source-date-epoch", "none")
	want.Dockerfile, want.Target, want.Platform, want.ShmSize, want.Epoch = "D", "b", "linux/amd64,linux/arm64", 1<<20, "none"
	want.Args, want.Contexts = map[string]string{"A": "1", "B": "2", "FROM_ENV": "e"}, map[string]string{"lib": "l", "base": "docker-image://base:1"}
	want.Secrets, want.SSH = append(want.Secrets, build.Secret{ID: "t", Env: "T"}), []build.Agent{{ID: "default"}}
	want.CacheTo, want.NoCacheStages = []build.Cache{{Type: "inline", Attrs: map[string]string{}}}, []string{"x", "y"}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("with flags: %v (-want +got):\n%s", err, d)
	}
	if len(in.Args) != 2 {
		t.Error("flags changed lotse.yml's")
	}
	for _, args := range [][]string{{"--secret", "src=x"}, {"--cache-to", "type=gha"}, {"--build-context", "x"}, {"--shm-size", "much"}} {
		var usage usageError
		if _, err := options(args...); !errors.As(err, &usage) {
			t.Errorf("%v: %v, want a usage error", args, err)
		}
	}
}

func TestNames(t *testing.T) {
	l := &local{t: &target{endpoint: "http://127.0.0.1:4566", account: "000000000000"}}
	l.t.cfg.Region = "us-east-1"
	for text, want := range map[string]string{
		"shop": "127.0.0.1:4566/shop:latest", "team/shop:1": "127.0.0.1:4566/team/shop:1", "localhost:4566/shop:1": "127.0.0.1:4566/shop:1",
		"127.0.0.1:4566/shop": "127.0.0.1:4566/shop:latest", "000000000000.dkr.ecr.us-east-1.amazonaws.com/a/b:2": "127.0.0.1:4566/a/b:2",
	} {
		if got, err := l.names([]string{text}); err != nil || got[0].String() != want {
			t.Errorf("names(%s) = %v, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"ghcr.io/me/shop", "localhost:5000/shop", "111111111111.dkr.ecr.us-east-1.amazonaws.com/a", "000000000000.dkr.ecr.eu-west-1.amazonaws.com/a", "localhost/shop", ":1", "shop:", "shop@sha256:00", "a b", "Shop", "shop:a/b"} {
		if got, err := l.names([]string{text}); err == nil {
			t.Errorf("names(%s) = %v, want an error", text, got)
		}
	}
}
