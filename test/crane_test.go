package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lotse-project/lotse/test/server"
)

// crane pushes, pulls, copies, inspects, checks, appends and deletes.
func TestCrane(t *testing.T) {
	s := start(t)
	repository(t, s, "app")
	repository(t, s, "team/copy")
	dir := t.TempDir()
	bin := tool(t, "github.com/google/go-containerregistry/cmd/crane")
	run := func(want bool, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), bin, append([]string{"--insecure"}, args...)...)
		cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+dir)
		cmd.Stdin = strings.NewReader(password(t, s))
		out, err := cmd.CombinedOutput()
		if (err == nil) != want {
			t.Fatalf("crane %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	app, team := host(s)+"/app", host(s)+"/team/copy"
	run(true, "auth", "login", host(s), "--username", "AWS", "--password-stdin")
	image := helloImage(t, "v1")
	run(true, "push", image, app+":v1")
	run(true, "copy", app+":v1", team+":v1")
	run(true, "tag", app+":v1", "latest")
	if out := run(true, "ls", app); out != "latest\nv1" {
		t.Errorf("ls: %q", out)
	}
	digest := run(true, "digest", app+":v1")
	if d := run(true, "digest", team+":v1"); d != digest {
		t.Errorf("the copy is %s, the original %s", d, digest)
	}
	if out := run(true, "config", app+":v1"); !strings.Contains(out, "/hello") {
		t.Errorf("config: %s", out)
	}
	run(true, "validate", "--remote", app+":v1")
	run(true, "pull", app+":v1", filepath.Join(dir, "pulled.tar"))
	run(true, "pull", "--format", "oci", app+":v1", filepath.Join(dir, "layout"))
	run(true, "push", filepath.Join(dir, "layout"), team+":v2")
	write(t, dir, "more.tar", string(tarOf(t, entry{"more", []byte("more\n"), 0o644})))
	run(true, "append", "--base", app+":v1", "--new_layer", filepath.Join(dir, "more.tar"), "--new_tag", app+":more")
	run(true, "index", "append", "--manifest", app+":v1", "--manifest", app+":more", "--tag", app+":both")
	run(true, "validate", "--remote", app+":both")
	run(true, "delete", team+"@"+digest)
	if out := run(false, "manifest", team+":v1"); !strings.Contains(out, "MANIFEST_UNKNOWN") {
		t.Errorf("after delete: %s", out)
	}
	if out := run(false, "push", image, host(s)+"/nowhere:v1"); !strings.Contains(out, "aws ecr create-repository --repository-name nowhere") {
		t.Errorf("push to a missing repository: %s", out)
	}
}

// tool builds a program that tools/go.mod pins, and returns its path.
func tool(t *testing.T, pkg string) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), filepath.Base(pkg))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-modfile=tools/go.mod", "-o", bin, pkg)
	cmd.Dir = server.Root()
	begin := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("built %s in %.1f s", filepath.Base(pkg), time.Since(begin).Seconds())
	return bin
}
