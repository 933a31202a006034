package test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What `lotse image` prints can be typed; what it removes is gone; damage is found, told, and healed by the next push.
func TestImageCommands(t *testing.T) {
	s := start(t)
	repository(t, s, "app")
	dir := t.TempDir()
	if err := os.Rename(helloImage(t, "v1"), filepath.Join(dir, "app.tar")); err != nil {
		t.Fatal(err)
	}
	crane := tool(t, "github.com/google/go-containerregistry/cmd/crane")
	commands := lotse(t, s, "image", "push-commands", "app")
	typed := func(client string) {
		t.Helper()
		_, text, ok := strings.Cut(commands, "# "+client+"\n")
		if !ok {
			t.Fatalf("no commands for %s in:\n%s", client, commands)
		}
		text, _, _ = strings.Cut(text, "\n\n")
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", text)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), append(s.Environ(), "DOCKER_CONFIG="+dir, "PATH="+filepath.Dir(crane)+":"+os.Getenv("PATH"))...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", text, err, out)
		}
	}
	typed("crane")
	typed("skopeo")

	type image struct {
		RepositoryName, ImageDigest string
		ImageTags                   []string
	}
	list := func() (out []image) {
		t.Helper()
		if err := json.Unmarshal([]byte(lotse(t, s, "image", "ls", "-o", "json")), &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	if text := lotse(t, s, "image", "ls", "app"); !strings.Contains(text, "REPOSITORY") || !strings.Contains(text, "latest") {
		t.Errorf("ls: %s", text)
	}

	for _, want := range []string{"linux/", "/hello", "65534:65534", "8080/tcp", "sha256:"} {
		if text := lotse(t, s, "image", "inspect", "app:latest"); !strings.Contains(text, want) {
			t.Errorf("inspect lacks %s:\n%s", want, text)
		}
	}
	repository(t, s, "team/copy")
	lotse(t, s, "image", "copy", "app:latest", "team/copy:v1")
	lotse(t, s, "image", "export", "team/copy:v1", filepath.Join(dir, "out.tar"))
	lotse(t, s, "image", "export", "team/copy:v1", filepath.Join(dir, "out"), "--format", "oci")
	refused(t, s, 10, "image", "export", "team/copy:v1", filepath.Join(dir, "out.tar"))
	refused(t, s, 1, "image", "export", "team/copy:gone", filepath.Join(dir, "gone.tar"))
	if left, _ := filepath.Glob(filepath.Join(dir, "gone*")); len(left) > 0 {
		t.Errorf("half an export: %v", left)
	}
	if out, err := exec.CommandContext(t.Context(), "skopeo", "inspect", "oci:"+filepath.Join(dir, "out")).CombinedOutput(); err != nil || !strings.Contains(string(out), "linux") {
		t.Errorf("the layout: %v\n%s", err, out)
	}
	if out := lotse(t, s, "image", "import", "example.com/again:1", filepath.Join(dir, "out.tar")); !strings.HasPrefix(out, "example.com/again:1@sha256:") {
		t.Errorf("import of what was exported: %s", out)
	}

	if text := lotse(t, s, "image", "verify"); !strings.Contains(text, " 0 damaged") {
		t.Errorf("verify of what is whole: %s", text)
	}
	var files []string
	for _, client := range []string{"skopeo", "crane"} { // crane asks for the image alone, skopeo for each layer
		typed(client)
		var manifest struct{ Layers []struct{ Digest string } }
		if err := json.Unmarshal([]byte(aws(t, s, "ecr", "batch-get-image", "--repository-name", "app", "--image-ids", "imageTag=latest", "--query", "images[0].imageManifest")), &manifest); err != nil {
			t.Fatal(err)
		}
		layer := manifest.Layers[0].Digest
		if files, _ = filepath.Glob(filepath.Join(contentDir(s), "blobs", "sha256", strings.TrimPrefix(layer, "sha256:"))); len(files) != 1 {
			t.Fatalf("files of %s: %v", layer, files)
		}
		f, err := os.OpenFile(files[0], os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("damage"), 100); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if out, _, err := s.Run(t.Context(), "image", "verify"); err == nil || !strings.Contains(out, "damaged  "+layer) || !strings.Contains(out, "/app") {
			t.Errorf("verify of damage: %v\n%s", err, out)
		}
		typed(client)
		if text := lotse(t, s, "image", "verify"); !strings.Contains(text, " 0 damaged") {
			t.Errorf("verify after a push of %s: %s", client, text)
		}
	}

	for _, i := range list() {
		lotse(t, s, "image", "rm", i.RepositoryName+"@"+i.ImageDigest)
	}
	if left := list(); len(left) > 0 {
		t.Errorf("left: %+v", left)
	}
	refused(t, s, 64, "image", "rm", "app")
	refused(t, s, 1, "image", "rm", "app:gone")
	lotse(t, s, "image", "gc") // layers of the last minutes stay, for a manifest to come
	if _, err := os.Stat(files[0]); err != nil {
		t.Errorf("a layer that was pushed just now: %v", err)
	}
}
