package test

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/lotse-project/lotse/test/server"
)

// What users of docker buildx type works with lotse build, and what doesn't build says why and what to do.
func TestBuildCommand(t *testing.T) {
	s := start(t)
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	write(t, dir, "main.go", `package main
import ("bytes"; "crypto/rand"; "fmt"; "os")
func main() {
	if len(os.Args) == 1 { os.WriteFile("/random", []byte(rand.Text()), 0o644); return }
	b, err := os.ReadFile(os.Args[1])
	if err != nil { fmt.Println("cannot read", os.Args[1]); os.Exit(2) }
	_, text, _ := bytes.Cut(b, []byte("\n"))
	os.WriteFile("/greeting", append(text, os.Getenv("WHO")...), 0o644)
}`)
	program := exec.CommandContext(t.Context(), "go", "build", "-o", file("program"), file("main.go"))
	program.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := program.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	write(t, dir, "Dockerfile", "FROM scratch AS base\nARG WHO=nobody\nCOPY program /\nRUN --mount=type=secret,id=token,required=true [\"/program\", \"/run/secrets/token\"]\nSHELL [\"/program\"]\n"+
		"RUN <<SCRIPT\n#!/program\nhello\nSCRIPT\nFROM scratch AS files\nCOPY --from=base /greeting /\nFROM base\nEXPOSE 8080\n")
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
	lotse(t, s, "build", "--target", "files", "--build-arg", "WHO=me", "--secret", "id=token,env=TOKEN", "--output", file("out"), dir)
	if text, err := os.ReadFile(file("out/greeting")); err != nil || string(text) != "hello\nme" {
		t.Errorf("output: %q, %v", text, err)
	}

	// A base image in a repository has all of its names; a missing one is told with what to do.
	port := s.Endpoint[strings.LastIndex(s.Endpoint, ":")+1:]
	write(t, dir, "Next", "FROM localhost:"+port+"/team/shop:1 AS a\nFROM 000000000000.dkr.ecr.us-east-1.amazonaws.com/shop:two\nCOPY --from=a /greeting /again\nRUN [\"/program\", \"/again\"]\n")
	lotse(t, s, "build", "-f", file("Next"), "-t", "next", dir)
	write(t, dir, "Missing", "FROM quay.io/nobody/nothing:1\n")
	for _, want := range []string{"Missing:1", "1 | >>> FROM quay.io", "lotse image import quay.io/nobody/nothing:1"} {
		if text := refused(t, s, 11, "build", "-f", file("Missing"), "-t", "missing", dir); !strings.Contains(text, want) {
			t.Errorf("a missing base lacks %q:\n%s", want, text)
		}
	}
	lotse(t, s, "image", "import", "quay.io/nobody/nothing:1", helloImage(t, "v1"))
	lotse(t, s, "build", "-f", file("Missing"), "-t", "missing", dir)

	write(t, dir, "Failing", "FROM scratch\nCOPY program /\nRUN [\"/program\", \"/nothing\"]\n")
	for _, want := range []string{"Failing:3", "3 | >>> RUN [", "exit code 2", "cannot read /nothing"} {
		if text := refused(t, s, 11, "build", "-f", file("Failing"), "-t", "failing", dir); !strings.Contains(text, want) {
			t.Errorf("a failing step lacks %q:\n%s", want, text)
		}
	}
	// What a step made at random is the same only if it comes from a cache.
	write(t, dir, "Random", "FROM scratch AS a\nCOPY program /\nRUN [\"/program\"]\nFROM scratch\nCOPY --from=a /random /\n")
	random := func(args ...string) string {
		t.Helper()
		lotse(t, s, "build", "prune", "--all")
		ref := lotse(t, s, append([]string{"build", "-f", file("Random"), "-t", "random:1", dir}, args...)...)
		return ref[strings.Index(ref, "@"):]
	}
	first := random("--cache-to", "type=registry,ref=random:cache,mode=max")
	if got := random("--cache-from", "random:cache"); got != first {
		t.Errorf("with the cache in the registry: %s, want %s", got, first)
	}
	if got := random("--cache-to", "type=local,dest="+file("cache"), "--cache-from", "type=registry,ref=localhost:"+port+"/random:cache"); got != first {
		t.Errorf("under the registry's own name: %s, want %s", got, first)
	}
	inline := random("--cache-to", "type=inline")
	if inline == first {
		t.Error("without a cache it is the same, too: the test tests nothing")
	}
	if got := random("--cache-from", "random:1", "--cache-to", "type=inline"); got != inline {
		t.Errorf("with the cache in the image: %s, want %s", got, inline)
	}
	if got := random("--cache-from", "type=local,src="+file("cache")); got != first {
		t.Errorf("with the cache in a folder: %s, want %s", got, first)
	}
	if text := refused(t, s, 1, "build", "-f", file("Random"), "-t", "random:1", "--cache-to", "ghcr.io/me/cache", dir); !strings.Contains(text, "ghcr.io/me/cache") {
		t.Errorf("a cache elsewhere: %s", text)
	}

	// Another BuildKit gives the same image, which is pushed then.
	id, err := s.ID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "Plain", "FROM scratch\nWORKDIR /a/b\nCOPY program main.go .\n")
	want := lotse(t, s, "build", "-f", file("Plain"), "-t", "own:1", dir)
	got := lotse(t, s, "build", "-f", file("Plain"), "-t", "own:1", "--builder", "unix:///run/lotse/"+id+"/buildkitd.sock", dir)
	if got != want {
		t.Errorf("another BuildKit: %s, want %s", got, want)
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

// Who isn't root, has an environment with nothing in it, and reaches nothing of the server but its endpoint, builds, pushes
// and deploys. A role's session does
// with the leave to build and to put images.
func TestBuild_AsNobody(t *testing.T) {
	s := start(t)
	dir, err := os.MkdirTemp("", "lotse-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	bin, app := filepath.Join(dir, "lotse"), filepath.Join(dir, "app")
	copyFile(t, server.Lotse(), bin)
	endpoint := forwarded(t, s.Endpoint)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", filepath.Join(app, "hello"), ".")
	cmd.Dir = filepath.Join(server.Root(), "examples", "hello")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	write(t, app, "Dockerfile", "FROM scratch\nCOPY hello /hello\nEXPOSE 8080\nENTRYPOINT [\"/hello\"]\n")
	write(t, app, "Next", "FROM "+strings.TrimPrefix(endpoint, "http://")+"/base:1\nCOPY Next /\n")
	for _, d := range []string{dir, app} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	nobody := func(env []string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), bin, args...)
		cmd.Dir = app
		cmd.Env = append(append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent"}, env...), "AWS_ENDPOINT_URL="+endpoint)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, args := range [][]string{{"build", "-t", "base:1", "."}, {"build", "-t", "next:1", "-f", "Next", "."}, {"up"}, {"url"}} {
		if out, err := nobody(s.Environ(), args...); err != nil {
			t.Fatalf("lotse %v: %v\n%s", args, err, out)
		}
	}
	if text, err := get(s, "app.localhost"); err != nil || text == "" {
		t.Errorf("the application: %q, %v", text, err)
	}

	const account = "arn:aws:iam::000000000000:"
	ctx, roles, ci := t.Context(), iam.NewFromConfig(s.Config()), awssdk.String("ci")
	if _, err := roles.CreateRole(ctx, &iam.CreateRoleInput{RoleName: ci, AssumeRolePolicyDocument: awssdk.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + account + `root"},"Action":"sts:AssumeRole"}]}`)}); err != nil {
		t.Fatal(err)
	}
	key, err := sts.NewFromConfig(s.Config()).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: awssdk.String(account + "role/ci"), RoleSessionName: awssdk.String("job")})
	if err != nil {
		t.Fatal(err)
	}
	session := []string{"AWS_ACCESS_KEY_ID=" + *key.Credentials.AccessKeyId, "AWS_SECRET_ACCESS_KEY=" + *key.Credentials.SecretAccessKey,
		"AWS_SESSION_TOKEN=" + *key.Credentials.SessionToken, "AWS_REGION=us-east-1"}
	allow := func(actions string) {
		t.Helper()
		if _, err := roles.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: ci, PolicyName: ci, PolicyDocument: awssdk.String(
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":[` + actions + `],"Resource":"*"}]}`)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ actions, lacks string }{
		{`"ecr:*"`, "lotse:Build"}, {`"lotse:Build","ecr:DescribeRepositories"`, "ecr:PutImage"}, {`"lotse:Build","ecr:DescribeRepositories","ecr:PutImage"`, ""},
	} {
		allow(c.actions)
		out, err := nobody(session, "build", "-t", "base:2", ".")
		if (err == nil) != (c.lacks == "") || !strings.Contains(out, c.lacks) {
			t.Errorf("with %s: %v\n%s", c.actions, err, out)
		}
	}
	if out, err := nobody(session, "build", "prune"); err == nil || !strings.Contains(out, "root key's alone") {
		t.Errorf("prune by a role: %v\n%s", err, out)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

// forwarded gives an endpoint another address, by which its own server doesn't know it.
func forwarded(t *testing.T, endpoint string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.9:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer in.Close()
				out, err := net.Dial("tcp", strings.TrimPrefix(endpoint, "http://"))
				if err != nil {
					return
				}
				defer out.Close()
				go func() { _, _ = io.Copy(out, in); _ = out.(*net.TCPConn).CloseWrite() }()
				_, _ = io.Copy(in, out)
			}()
		}
	}()
	return "http://" + l.Addr().String()
}
