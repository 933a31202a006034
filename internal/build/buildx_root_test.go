package build

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/agent"
)

// probe is what RUN steps of these tests run: it prints files, lists directories, and asks an ssh agent for its keys.
const probe = `package main
import ("fmt"; "io"; "net"; "os")
func main() {
	for _, a := range os.Args[2:] {
		switch os.Args[1] {
		case "cat": b, err := os.ReadFile(a); fmt.Printf("%s%v\n", b, err)
		case "ls": es, err := os.ReadDir(a); for _, e := range es { fmt.Println(e.Name()) }; fmt.Println(err)
		case "ssh":
			c, err := net.Dial("unix", os.Getenv("SSH_AUTH_SOCK"))
			if err != nil { panic(err) }
			c.Write([]byte{0, 0, 0, 1, 11}) // SSH_AGENTC_REQUEST_IDENTITIES
			b := make([]byte, 9)
			if _, err := io.ReadFull(c, b); err != nil { panic(err) }
			fmt.Println("answer", b[4], "keys", b[8])
		}
	}
}`

// What docker buildx's users write works here.
func TestBuild_AsBuildx(t *testing.T) {
	l := newLab(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	t.Cleanup(func() {
		if err := l.daemon.Stop(context.Background()); err != nil {
			t.Errorf("Stop() = %v", err)
		}
	})
	base := t.TempDir()
	goBuild(t, base, probe)

	t.Run("secrets and contexts", func(t *testing.T) { l.mounts(ctx, t, base) })
	t.Run("ssh", func(t *testing.T) { l.ssh(ctx, t, base) })
	t.Run("standard input", func(t *testing.T) { l.stdin(ctx, t) })
	t.Run("outputs", func(t *testing.T) { l.outputs(ctx, t) })
	t.Run("an OCI layout as context", func(t *testing.T) { l.layout(ctx, t) })
	t.Run("platforms and attestations", func(t *testing.T) { l.platforms(ctx, t) })
	t.Run("another platform's program", func(t *testing.T) { l.foreign(ctx, t) })
}

// run builds, and gives what the steps printed.
func (l *lab) run(ctx context.Context, t *testing.T, o Options) (Result, string) {
	t.Helper()
	var said strings.Builder
	o.Progress = func(p Progress) {
		for _, x := range p.Lines {
			said.WriteString(x.Text + "\n")
		}
	}
	r, err := l.client(t).Build(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return r, said.String()
}

func (l *lab) mounts(ctx context.Context, t *testing.T, base string) {
	dir := contextDir(t, map[string]string{
		"Dockerfile": "FROM scratch\nCOPY --from=tools probe /probe\n" +
			"COPY --chmod=755 <<TEXT /here\nhere is $V\nTEXT\nARG V\n" +
			`RUN --mount=type=secret,id=token --mount=type=secret,id=env,target=/e ["/probe", "cat", "/run/secrets/token", "/e"]` + "\n" +
			`RUN --mount=type=bind,target=/ctx ["/probe", "ls", "/ctx"]` + "\n" +
			`RUN --mount=type=cache,target=/c ["/probe", "ls", "/c"]` + "\n",
		"Dockerfile.dockerignore": "ignored\n", ".dockerignore": "kept\n", "ignored": "", "kept": "", "token": "sesame",
	})
	t.Setenv("LOTSE_TEST_SECRET", "open")
	o := Options{Context: dir, Contexts: map[string]string{"tools": base}, Secrets: []Secret{{ID: "token", File: filepath.Join(dir, "token")}, {ID: "env", Env: "LOTSE_TEST_SECRET"}}}
	_, said := l.run(ctx, t, o)
	for _, want := range []string{"sesame<nil>\n", "open<nil>\n", "kept\n"} {
		if !strings.Contains(said, want) {
			t.Errorf("the steps said:\n%swant %q", said, want)
		}
	}
	if strings.Contains(said, "ignored") {
		t.Error("Dockerfile.dockerignore does not count")
	}
	o.Secrets = []Secret{{ID: "env", Env: "LOTSE_TEST_NOT_SET"}}
	if _, err := l.client(t).Build(ctx, o); err == nil || !strings.Contains(err.Error(), "LOTSE_TEST_NOT_SET is not set") {
		t.Errorf("a secret of no variable: %v", err)
	}
	o.Secrets, o.Contexts = nil, map[string]string{"tools": filepath.Join(base, "nowhere")}
	if _, err := l.client(t).Build(ctx, o); err == nil || !strings.Contains(err.Error(), "build context tools") {
		t.Errorf("a context that isn't there: %v", err)
	}
}

func (l *lab) ssh(ctx context.Context, t *testing.T, base string) {
	keys := agent.NewKeyring()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.Add(agent.AddedKey{PrivateKey: private}); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(l.dir, "agent.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _ = agent.ServeAgent(keys, c) }()
		}
	}()
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY --from=tools probe /probe\nRUN --mount=type=ssh [\"/probe\", \"ssh\", \"default\"]\n"})
	o := Options{Context: dir, Contexts: map[string]string{"tools": base}, SSH: []Agent{ParseAgent("default=" + socket)}}
	if _, said := l.run(ctx, t, o); said != "answer 12 keys 1\n" { // SSH_AGENT_IDENTITIES_ANSWER
		t.Errorf("the agent said %q", said)
	}
	o.SSH = []Agent{ParseAgent("default=" + socket + ".not")}
	if _, err := l.client(t).Build(ctx, o); err == nil || !strings.Contains(err.Error(), "agent.sock.not") {
		t.Errorf("an agent that isn't there: %v", err)
	}
}

func (l *lab) stdin(ctx context.Context, t *testing.T) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for name, text := range map[string]string{"Other": "FROM scratch\nCOPY f /\nEXPOSE 81\n", "f": "file"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, text)
	}
	w.Close()
	dir := contextDir(t, map[string]string{"f": "file"})
	for name, o := range map[string]Options{
		"archive":                  {Context: "-", Dockerfile: "Other", Stdin: &archive},
		"Dockerfile alone":         {Context: "-", Stdin: strings.NewReader("FROM scratch\nCOPY <<T /f\nfile\nT\nEXPOSE 81\n")},
		"Dockerfile and directory": {Context: dir, Dockerfile: "-", Stdin: strings.NewReader("FROM scratch\nCOPY f /\nEXPOSE 81\n")},
	} {
		if r, _ := l.run(ctx, t, o); r.Config.Port() != 81 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	for want, o := range map[string]Options{
		"not both":    {Context: "-", Dockerfile: "-", Stdin: strings.NewReader("x")},
		"is empty":    {Context: "-", Stdin: strings.NewReader("")},
		"no archive":  {Context: "-", Dockerfile: "x", Stdin: strings.NewReader("FROM scratch")},
		"denied":      {Context: "https://192.0.2.1/x.tar"},
		"denied by p": {Context: "https://192.0.2.1/x.git"},
	} {
		if _, err := l.client(t).Build(ctx, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func (l *lab) outputs(ctx context.Context, t *testing.T) {
	dir, out := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY f /d/\n", "f": "file"}), t.TempDir()
	var stdout bytes.Buffer
	o := Options{Context: dir, Names: []string{"a:1", "a:2"}, Outputs: []Output{
		{Type: "local", Dest: filepath.Join(out, "files")}, {Type: "tar", Dest: "-", Stdout: &stdout}, {Type: "docker", Dest: filepath.Join(out, "docker.tar")}, {Type: "image"},
	}}
	before := len(l.built)
	r, _ := l.run(ctx, t, o)
	if b, err := os.ReadFile(filepath.Join(out, "files", "d", "f")); err != nil || string(b) != "file" {
		t.Errorf("files: %q, %v", b, err)
	}
	if got := names(t, &stdout); !slices.Contains(got, "d/f") {
		t.Errorf("archive: %v", got)
	}
	f, err := os.Open(filepath.Join(out, "docker.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := names(t, f); !slices.Contains(got, "manifest.json") {
		t.Errorf("docker's archive: %v", got)
	}
	if len(l.built) != before+1 || r.Digest != l.built[before].Digest || l.built[before].Name != "a:1,a:2" {
		t.Errorf("image %s, built %+v", r.Digest, l.built[before:])
	}
	o.Outputs = []Output{{Type: "local", Dest: filepath.Join(out, "again")}}
	if r, _ := l.run(ctx, t, o); r.Digest != "" || len(l.built) != before+1 {
		t.Errorf("files alone: an image %q", r.Digest)
	}
}

func names(t *testing.T, r io.Reader) (out []string) {
	t.Helper()
	for all := tar.NewReader(r); ; {
		h, err := all.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, h.Name)
	}
}

func (l *lab) layout(ctx context.Context, t *testing.T) {
	dir, out := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nEXPOSE 82\nCOPY f /\n", "f": "file"}), t.TempDir()
	l.run(ctx, t, Options{Context: dir, Outputs: []Output{{Type: "oci", Dest: out, Attrs: map[string]string{"tar": "false"}}}})
	for _, value := range []string{out, out + ":latest"} {
		next := Options{Context: contextDir(t, map[string]string{"Dockerfile": "FROM golang:1.26\nCOPY --from=golang:1.26 /f /g\n"}), Contexts: map[string]string{"golang:1.26": "oci-layout://" + value}}
		if r, _ := l.run(ctx, t, next); r.Config.Port() != 82 {
			t.Errorf("%s: %+v", value, r)
		}
	}
	_, err := l.client(t).Build(ctx, Options{Context: dir, Contexts: map[string]string{"x": "oci-layout://" + out + ":not"}})
	if err == nil || !strings.Contains(err.Error(), "no image tagged not") {
		t.Errorf("a tag that isn't there: %v", err)
	}
}

func (l *lab) platforms(ctx context.Context, t *testing.T) {
	dir := contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nARG TARGETARCH\nLABEL arch=$TARGETARCH\nEXPOSE 83\nCOPY Dockerfile /\n"})
	plain, _ := l.run(ctx, t, Options{Context: dir})
	both, _ := l.run(ctx, t, Options{Context: dir, Platform: "linux/amd64,linux/arm64", Annotations: map[string]string{"a": "b"}})
	if both.Config.Port() != 83 || both.Platform != "linux/amd64,linux/arm64" || both.Digest == plain.Digest {
		t.Errorf("two platforms: %+v", both)
	}
	off, _ := l.run(ctx, t, Options{Context: dir, Provenance: "false", SBOM: "false"})
	if off.Digest != plain.Digest {
		t.Error("attestations that are off change the image")
	}
	attested, _ := l.run(ctx, t, Options{Context: dir, Provenance: "mode=max"})
	if attested.Config.Port() != 83 || !strings.Contains(l.built[len(l.built)-1].MediaType, "index") {
		t.Errorf("with provenance: %+v, %+v", attested, l.built[len(l.built)-1])
	}
}

func (l *lab) foreign(ctx context.Context, t *testing.T) {
	dir, other := t.TempDir(), "arm64"
	if l.arch(ctx, t) == "linux/arm64" {
		other = "amd64"
	}
	write(t, filepath.Join(dir, "main.go"), "package main\nfunc main() {}\n")
	write(t, filepath.Join(dir, "Dockerfile"), "FROM scratch\nCOPY probe /\nRUN [\"/probe\"]\n")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", "probe", "main.go")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+other)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, err := l.client(t).Build(ctx, Options{Context: dir, Platform: "linux/" + other})
	var e *Error
	if err == nil {
		t.Skip("this machine emulates " + other)
	}
	if !errors.As(err, &e) || e.Line != 3 || !strings.Contains(e.Hint, "qemu") {
		t.Errorf("Build() = %#v", err)
	}
}

// arch is the platform of an image that says nothing of it.
func (l *lab) arch(ctx context.Context, t *testing.T) string {
	t.Helper()
	r, _ := l.run(ctx, t, Options{Context: contextDir(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})})
	return r.Platform
}
