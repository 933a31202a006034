package test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lotse-project/lotse/test/server"
)

// A client is a program that speaks to the registry; run fails the test unless it ends as wanted.
type client struct {
	t     *testing.T
	s     *server.Server
	name  string
	flags []string
	env   []string
}

func (c client) run(want bool, args ...string) string {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), c.name, append(c.flags, args...)...)
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Stdin = strings.NewReader(password(c.t, c.s))
	out, err := cmd.CombinedOutput()
	if (err == nil) != want {
		c.t.Fatalf("%s %s: %v\n%s", filepath.Base(c.name), strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// The Docker engine logs in, pushes, pulls and hears ECR's words. It is Debian's, has a data root and a socket of its
// own, and no network but the host's loopback is asked for anything.
func TestDocker(t *testing.T) {
	s := start(t)
	repository(t, s, "app")
	docker := dockerEngine(t, s)
	app := host(s) + "/app"
	docker.run(true, "load", "-i", helloImage(t, "v1"))
	id := docker.run(true, "images", "-q")
	docker.run(true, "tag", id, app+":v1")
	if out := docker.run(false, "push", app+":v1"); !strings.Contains(out, "no basic auth credentials") {
		t.Errorf("push without login: %s", out)
	}
	docker.run(true, "login", "-u", "AWS", "--password-stdin", host(s))
	docker.run(true, "push", app+":v1")
	docker.run(true, "tag", id, app+":latest")
	if out := docker.run(true, "push", app+":latest"); !strings.Contains(out, "Layer already exists") {
		t.Errorf("pushed again: %s", out)
	}
	docker.run(true, "rmi", "-f", id)
	if out := docker.run(true, "images", "-q"); out != "" {
		t.Fatalf("still there: %s", out)
	}
	docker.run(true, "pull", app+":v1")
	if got := docker.run(true, "images", "-q"); got != id {
		t.Errorf("pulled %s, pushed %s", got, id)
	}
	digest := docker.run(true, "inspect", "--format", "{{index .RepoDigests 0}}", app+":v1")
	docker.run(true, "pull", digest)
	if want := aws(t, s, "ecr", "describe-images", "--repository-name", "app", "--query", "imageDetails[0].imageDigest", "--output", "text"); !strings.HasSuffix(digest, "@"+strings.TrimSpace(want)) {
		t.Errorf("docker says %s, ECR %s", digest, want)
	}
	docker.run(true, "tag", id, host(s)+"/nowhere:v1")
	if out := docker.run(false, "push", host(s)+"/nowhere:v1"); !strings.Contains(out, "The repository with name 'nowhere' does not exist in the registry with id '000000000000'") {
		t.Errorf("push to nowhere: %s", out)
	}
	aws(t, s, "ecr", "put-image-tag-mutability", "--repository-name", "app", "--image-tag-mutability", "IMMUTABLE")
	docker.run(true, "load", "-i", helloImage(t, "v2"))
	docker.run(true, "tag", docker.run(true, "images", "-q", "--filter", "dangling=true"), app+":v1")
	if out := docker.run(false, "push", app+":v1"); !strings.Contains(out, "cannot be overwritten because the tag is immutable") {
		t.Errorf("push to an immutable tag: %s", out)
	}
	if out := docker.run(false, "pull", app+":v9"); !strings.Contains(out, "Requested image not found") {
		t.Errorf("pull of a tag that isn't there: %s", out)
	}
	docker.run(true, "logout", host(s))
	if out := docker.run(false, "pull", app+":v1"); !strings.Contains(out, "no basic auth credentials") {
		t.Errorf("pull after logout: %s", out)
	}
}

// dockerEngine runs Docker's daemon in namespaces of mounts and processes, so that nothing of it stays, whatever ends it.
func dockerEngine(t *testing.T, s *server.Server) client {
	t.Helper()
	bin := filepath.Join(server.Root(), ".cache", "docker", "root", "usr")
	if _, err := os.Stat(filepath.Join(bin, "sbin", "dockerd")); err != nil {
		t.Fatalf("%v: make docker-engine fetches it", err)
	}
	dir, err := os.MkdirTemp("", "docker-") // its socket's path has to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	socket := "unix://" + dir + "/s"
	cmd := exec.Command("unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child", filepath.Join(bin, "sbin", "dockerd"), "-H", socket, "--data-root", dir+"/data",
		"--exec-root", dir+"/exec", "--pidfile", dir+"/pid", "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false",
		"--userland-proxy=false", "--storage-driver=vfs")
	cmd.Env = []string{"PATH=" + filepath.Join(server.Root(), "bin", "runtime") + ":" + bin + "/bin:" + os.Getenv("PATH"), "HTTP_PROXY=", "HTTPS_PROXY="}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // and, with it, all in its namespace of processes
		_ = cmd.Wait()
		if t.Failed() {
			out, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Logf("dockerd:\n%s", out)
		}
	})
	docker := client{t, s, filepath.Join(bin, "bin", "docker"), []string{"-H", socket}, []string{"DOCKER_CONFIG=" + t.TempDir()}}
	eventually(t, 30*time.Second, func() error {
		c := exec.CommandContext(t.Context(), docker.name, "-H", socket, "version")
		if out, err := c.CombinedOutput(); err != nil {
			return errors.New(string(out))
		}
		return nil
	})
	return docker
}

// buildah makes an image, pushes it in both formats, and pulls it again.
func TestBuildah(t *testing.T) {
	s := start(t)
	repository(t, s, "app")
	dir := t.TempDir()
	write(t, dir, "policy.json", `{"default":[{"type":"insecureAcceptAnything"}]}`)
	write(t, dir, "registries.conf", "")
	write(t, dir, "file", "hello\n")
	buildah := client{t, s, "buildah", []string{"--root", dir + "/root", "--runroot", dir + "/run", "--storage-driver", "vfs", "--registries-conf", dir + "/registries.conf"},
		[]string{"REGISTRY_AUTH_FILE=" + dir + "/auth.json", "HOME=" + dir}}
	app := host(s) + "/app"
	buildah.run(true, "login", "--tls-verify=false", "-u", "AWS", "--password-stdin", host(s))
	container := buildah.run(true, "from", "scratch")
	buildah.run(true, "copy", container, dir+"/file", "/file")
	buildah.run(true, "config", "--entrypoint", `["/file"]`, container)
	buildah.run(true, "commit", "--signature-policy", dir+"/policy.json", container, "app")
	for _, format := range []string{"oci", "v2s2"} {
		buildah.run(true, "push", "--signature-policy", dir+"/policy.json", "--tls-verify=false", "--format", format, "app", "docker://"+app+":"+format)
	}
	buildah.run(true, "rm", container)
	buildah.run(true, "rmi", "app")
	buildah.run(true, "pull", "--signature-policy", dir+"/policy.json", "--tls-verify=false", app+":oci")
	if out := buildah.run(true, "inspect", "--format", "{{.OCIv1.Config.Entrypoint}}", app+":oci"); out != "[/file]" {
		t.Errorf("entrypoint %s", out)
	}
	buildah.run(true, "manifest", "create", "both")
	buildah.run(true, "manifest", "add", "--tls-verify=false", "both", "docker://"+app+":oci")
	buildah.run(true, "manifest", "push", "--signature-policy", dir+"/policy.json", "--tls-verify=false", "--all", "both", "docker://"+app+":both")
	want := aws(t, s, "ecr", "batch-get-image", "--repository-name", "app", "--image-ids", "imageTag=both", "--query", "images[0].imageManifestMediaType", "--output", "text")
	if !strings.Contains(want, "index") && !strings.Contains(want, "list") {
		t.Errorf("both is a %s", want)
	}
	if out := buildah.run(false, "push", "--signature-policy", dir+"/policy.json", "--tls-verify=false", app+":oci", "docker://"+host(s)+"/nowhere:v1"); !strings.Contains(out, "nowhere") {
		t.Errorf("push to nowhere: %s", out)
	}
}
