package ecr

import (
	"archive/tar"
	"bytes"
	"errors"
	goruntime "runtime"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/store"
)

func TestLocate(t *testing.T) {
	l := newLab(t)
	const digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	for ref, want := range map[string]string{
		"localhost:4566/app":                         "000000000000/us-east-1/app latest",
		"localhost:4566/team/app:v1":                 "000000000000/us-east-1/team/app v1",
		"localhost:9999/app:v1":                      "000000000000/us-east-1/app v1",
		"localhost/app":                              "000000000000/us-east-1/app latest",
		"127.0.0.1:4566/app":                         "000000000000/us-east-1/app latest",
		"[::1]:4566/app":                             "000000000000/us-east-1/app latest",
		"localhost:4566/111122223333.eu-west-1/app":  "111122223333/eu-west-1/app latest",
		"localhost:4566/app@" + digest:               "000000000000/us-east-1/app " + digest,
		"localhost:4566/app:v1@" + digest:            "000000000000/us-east-1/app " + digest,
		"localhost:4566/mirror/library/golang:1.26":  "mirror/docker.io/library/golang 1.26",
		"localhost:4566/mirror.ghcr.io/owner/app:v1": "mirror/ghcr.io/owner/app v1",
		"golang":                        "mirror/docker.io/library/golang latest",
		"docker.io/library/golang:1.26": "mirror/docker.io/library/golang 1.26",
		"ghcr.io/owner/app:v1":          "mirror/ghcr.io/owner/app v1",
		"111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/app:v2":    "111122223333/eu-west-1/team/app v2",
		"111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn/app":        "111122223333/cn-north-1/app latest",
		"111122223333.dkr.ecr-fips.us-gov-west-1.amazonaws.com/app:a": "111122223333/us-gov-west-1/app a",
		"111122223333.dkr-ecr.eu-west-1.on.aws/app":                   "111122223333/eu-west-1/app latest",
		"111122223333.dkr.ecr.eu-west-1.amazonaws.com/mirror/app":     "111122223333/eu-west-1/mirror/app latest",
	} {
		repo, at, err := l.Locate(ref)
		if got := repo + " " + at; err != nil || got != want {
			t.Errorf("Locate(%q) = %q, %v; want %q", ref, got, err, want)
		}
	}
	for _, ref := range []string{"", "App", "localhost:4566/app:", "a b"} {
		if _, _, err := l.Locate(ref); err == nil {
			t.Errorf("Locate(%q) = nil, want an error", ref)
		}
	}
}

// The URI that a repository is shown with is the one by which it is found.
func TestURI(t *testing.T) {
	l := newLab(t)
	for _, sc := range []arn.Scope{home, {Account: "111122223333", Region: "us-east-1"}, {Account: home.Account, Region: "eu-west-1"}} {
		if repo, _, err := l.Locate(l.URI(sc, "team/app")); err != nil || repo != sc.Key("team/app") {
			t.Errorf("Locate(URI(%v)) = %q, %v", sc, repo, err)
		}
	}
}

func TestResolve(t *testing.T) {
	l := newLab(t)
	repo := l.create("app")
	one := l.push("app", "one", "v1")
	foreign := l.manifest(repo, "foreign")
	other := "s390x"
	multi := l.index(repo, on(foreign, "linux", other), on(l.manifest(repo, "here"), "linux", goruntime.GOARCH), on(l.manifest(repo, "attestation"), "unknown", "unknown"))
	l.adopt("app", "multi", multi.Digest)
	l.adopt("app", "foreign", l.index(repo, on(foreign, "linux", other)).Digest)
	for ref, want := range map[string]string{
		"localhost:4566/app:v1":                                  one.String(),
		"localhost:4566/app@" + one.String():                     one.String(),
		"000000000000.dkr.ecr.us-east-1.amazonaws.com/app:v1":    one.String(),
		"000000000000.dkr.ecr.us-east-1.amazonaws.com/app:multi": multi.Digest.String(),
	} {
		got, err := l.Resolve(t.Context(), ref, home)
		if err != nil || got.Digest != want || got.Name != ref || got.Size == 0 || got.MediaType == "" {
			t.Errorf("Resolve(%q) = %+v, %v; want %s", ref, got, err, want)
		}
	}
	for ref, want := range map[string]string{
		"localhost:4566/app:v9":      "pull image manifest has been retried 1 time(s): failed to resolve ref localhost:4566/app:v9: localhost:4566/app:v9: not found",
		"localhost:4566/app":         "not found",
		"localhost:4566/nope:v1":     "The repository with name 'nope' does not exist in the registry with id '000000000000'",
		"golang:1.26":                "lotse image import golang:1.26 FILE",
		"localhost:4566/app:foreign": "image Manifest does not contain descriptor matching platform 'linux/" + goruntime.GOARCH + "'; it has linux/s390x",
		"111122223333.dkr.ecr.us-east-1.amazonaws.com/app:v1": "arn:aws:ecr:us-east-1:111122223333:repository/app is of another account",
		"Not A Name": "failed to parse image reference",
	} {
		_, err := l.Resolve(t.Context(), ref, home)
		var e *ImageError
		if !errors.As(err, &e) || !strings.Contains(e.Reason, want) {
			t.Errorf("Resolve(%q) = %v, want an ImageError with %q", ref, err, want)
		}
	}
}

// An imported image is what its name means, in task definitions and below /v2/mirror.
func TestResolve_Imported(t *testing.T) {
	l := newLab(t)
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	m, err := l.Registry().Import(t.Context(), "base:1", &archive)
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"base:1", "docker.io/library/base:1", "localhost:4566/mirror/library/base:1"} {
		for _, sc := range []arn.Scope{home, {Account: "111122223333", Region: "eu-west-1"}} {
			if img, err := l.Resolve(t.Context(), ref, sc); err != nil || img.Digest != m.Digest.String() {
				t.Errorf("Resolve(%q) in %v = %v, %v; want %s", ref, sc, img, err, m.Digest)
			}
		}
	}
	if w := l.get("/v2/mirror/library/base/manifests/1", "AWS", l.login(as(home))); w.Code != 200 {
		t.Errorf("pull of an imported image = %d %s", w.Code, w.Body)
	}
	if out, err := l.DescribeRepositories(as(home), &ecr.DescribeRepositoriesInput{}); err != nil || len(out.Repositories) != 0 {
		t.Errorf("DescribeRepositories() = %v, %v; want no imported images there", out.Repositories, err)
	}
}

func TestTagDigest(t *testing.T) {
	l := newLab(t)
	l.create("app")
	d := l.push("app", "one", "v1", "latest").String()
	for ref, want := range map[string]string{
		"localhost:4566/app:v1": d, "localhost:4566/app": d, "000000000000.dkr.ecr.us-east-1.amazonaws.com/app:v1": d,
		"localhost:4566/app:v2": "", "localhost:4566/app@" + d: "", "localhost:4566/nope": "", "golang:1": "", "Not A Name": "",
	} {
		err := l.o.DB.View(t.Context(), func(tx *store.ReadTx) error {
			got, err := l.TagDigest(tx, ref, home)
			if err == nil && got != want {
				t.Errorf("TagDigest(%q) = %q, want %q", ref, got, want)
			}
			if got, err := l.TagDigest(tx, ref, arn.Scope{Account: "111122223333", Region: "us-east-1"}); got != "" || err != nil {
				t.Errorf("TagDigest(%q) of another account = %q, %v", ref, got, err)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}
