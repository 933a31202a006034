package test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lotse-project/lotse/test/server"
)

// What users of docker buildx type works with lotse build, and what doesn't build says why and what to do.
func TestBuildCommand(t *testing.T) {
	s := start(t)
	if err := s.ImportBases(t.Context()); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	write(t, dir, "Dockerfile", "FROM debian:bookworm-slim AS base\nARG WHO=nobody\nRUN <<SH\nset -e\necho \"hello $WHO\" >/greeting\nSH\n"+
		"RUN --mount=type=secret,id=token test \"$(cat /run/secrets/token)\" = sesame\nFROM scratch AS files\nCOPY --from=base /greeting /\nFROM base\nEXPOSE 8080\n")
	t.Setenv("TOKEN", "sesame")

	out := lotse(t, s, "build", "-t", "team/shop:1", "-t", strings.TrimPrefix(s.Endpoint, "http://")+"/shop:two", "--build-arg", "WHO=me", "--secret", "id=token,env=TOKEN",
		"--label", "a=b", "--metadata-file", file("meta.json"), "--iidfile", file("iid"), "--progress", "plain", dir)
	refs := strings.Fields(out)
	if len(refs) != 2 || !strings.Contains(refs[0], "/team/shop:1@sha256:") || !strings.Contains(refs[1], "/shop:two@sha256:") {
		t.Fatalf("build printed %s", out)
	}
	var meta map[string]any
	b, err := os.ReadFile(file("meta.json"))
	if err != nil || json.Unmarshal(b, &meta) != nil || !strings.HasSuffix(refs[0], "@"+meta["containerimage.digest"].(string)) {
		t.Errorf("metadata: %s, %v", b, err)
	}
	if id, err := os.ReadFile(file("iid")); err != nil || string(id) != meta["containerimage.config.digest"] {
		t.Errorf("image id: %s, %v", id, err)
	}
	lotse(t, s, "build", "--target", "files", "--build-arg", "WHO=me", "--output", file("out"), dir)
	if text, err := os.ReadFile(file("out/greeting")); err != nil || string(text) != "hello me\n" {
		t.Errorf("output: %q, %v", text, err)
	}

	// A base image in a repository has all of its names; a missing one is told with what to do.
	port := s.Endpoint[strings.LastIndex(s.Endpoint, ":")+1:]
	write(t, dir, "Next", "FROM localhost:"+port+"/team/shop:1 AS a\nFROM 000000000000.dkr.ecr.us-east-1.amazonaws.com/shop:two\nCOPY --from=a /greeting /again\nRUN cmp /greeting /again\n")
	lotse(t, s, "build", "-f", file("Next"), "-t", "next", dir)
	write(t, dir, "Missing", "FROM quay.io/nobody/nothing:1\n")
	for _, want := range []string{"Missing:1", "1 | >>> FROM quay.io", "lotse image import quay.io/nobody/nothing:1"} {
		if text := refused(t, s, 11, "build", "-f", file("Missing"), "-t", "missing", dir); !strings.Contains(text, want) {
			t.Errorf("a missing base lacks %q:\n%s", want, text)
		}
	}
	lotse(t, s, "image", "import", "quay.io/nobody/nothing:1", helloImage(t, "v1"))
	lotse(t, s, "build", "-f", file("Missing"), "-t", "missing", dir)

	write(t, dir, "Failing", "FROM debian:bookworm-slim\nRUN true\nRUN ls /nothing\n")
	for _, want := range []string{"Failing:3", "3 | >>> RUN ls /nothing", "exit code 2", "cannot access '/nothing'"} {
		if text := refused(t, s, 11, "build", "-f", file("Failing"), "-t", "failing", dir); !strings.Contains(text, want) {
			t.Errorf("a failing step lacks %q:\n%s", want, text)
		}
	}
	refused(t, s, 64, "build", "-t", "ghcr.io/me/shop:1", dir)
	refused(t, s, 64, "build", "--secret", "src=x", dir)
	refused(t, s, 64, "build", "--output", "type=gha", dir)
}

// A deployment of the same source does nothing and says so: after a touch, from another folder, and from an empty cache.
func TestDeploy_Unchanged(t *testing.T) {
	s := start(t)
	dir := filepath.Join(t.TempDir(), "same")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", filepath.Join(dir, "hello"), ".")
	cmd.Dir = filepath.Join(server.Root(), "examples", "hello")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	write(t, dir, "Dockerfile", "FROM scratch\nWORKDIR /srv\nCOPY hello /bin/hello\nCOPY page .\nEXPOSE 8080\nENTRYPOINT [\"/bin/hello\"]\n")
	write(t, dir, "page", "a page")
	type result struct {
		Unchanged                   bool
		Image, Revision, Deployment string
	}
	up := func(dir string) (r result) {
		t.Helper()
		lines := strings.Split(lotse(t, s, "deploy", "--count", "1", "--progress", "json", dir), "\n")
		for _, l := range lines {
			if strings.Contains(l, `"type":"result"`) {
				if err := json.Unmarshal([]byte(l), &r); err != nil {
					t.Fatal(err)
				}
			}
		}
		return r
	}
	first := up(dir)
	if first.Unchanged || first.Image == "" {
		t.Errorf("the first: %+v", first)
	}
	want := first
	want.Unchanged = true

	at := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "page"), at, at); err != nil {
		t.Fatal(err)
	}
	if got := up(dir); got != want {
		t.Errorf("after a touch: %+v, want %+v", got, want)
	}
	other := filepath.Join(t.TempDir(), "same")
	if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if freed := lotse(t, s, "build", "prune", "--all"); strings.HasPrefix(freed, "freed 0B") {
		t.Errorf("prune: %s", freed)
	}
	if got := up(other); got != want {
		t.Errorf("elsewhere, from an empty cache: %+v, want %+v", got, want)
	}
	if _, text, err := s.Run(t.Context(), "deploy", "--count", "1", dir); err != nil || !strings.Contains(text, "nothing changed: same:1 serves already") {
		t.Errorf("it does not say so: %v\n%s", err, text)
	}
	write(t, dir, "page", "b page")
	if got := up(dir); got.Unchanged || got.Image == first.Image {
		t.Errorf("a changed page: %+v", got)
	}
}
