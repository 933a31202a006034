package test

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"

	"github.com/lotse-project/lotse/test/server"
)

// BenchmarkRegistryLarge is what happens to images of hundreds of MB on the machine: `lotse up` of one that has not changed,
// with all that the server, containerd and the builder read and write meanwhile by the kernel's counters, sockets and page
// cache included; and one that is pushed until a task of it runs.
func BenchmarkRegistryLarge(b *testing.B) {
	large, _ := strconv.Atoi(os.Getenv("LOTSE_BENCH_REGISTRY"))
	if large == 0 {
		b.Skip("make bench-registry")
	}
	s := benchServer(b)
	if err := s.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	noise := make([]byte, large*1_000_000)
	if _, err := rand.Read(noise); err != nil {
		b.Fatal(err)
	}
	dir := filepath.Join(b.TempDir(), "hello")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-o", filepath.Join(dir, "hello"), ".")
	cmd.Dir = filepath.Join(server.Root(), "examples", "hello")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	for name, text := range map[string][]byte{
		"Dockerfile": []byte("FROM scratch\nCOPY hello noise /\nEXPOSE 8080\nENTRYPOINT [\"/hello\"]\n"),
		"noise":      noise[:len(noise)/2],
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	benchCommand(b, s, "up", dir)
	b.Run("up", func(b *testing.B) {
		var took, moved samples
		for b.Loop() {
			before := charsOf(s)
			took.add(benchCommand(b, s, "up", dir))
			moved = append(moved, float64(charsOf(s)-before)/1e6)
		}
		took.report(b, "up", "s")
		moved.report(b, "moved", "MB")
	})
	b.Run("push-to-running", func(b *testing.B) {
		c, l := newBenchService(b, s), &benchLotse{s: s}
		_, password, err := loginOf(b.Context(), s)
		if err != nil {
			b.Fatal(err)
		}
		l.password = password
		repo, err := ecr.NewFromConfig(s.Config()).CreateRepository(b.Context(), &ecr.CreateRepositoryInput{RepositoryName: sdk.String("large")})
		if err != nil {
			b.Fatal(err)
		}
		binary, err := os.ReadFile(filepath.Join(dir, "hello"))
		if err != nil {
			b.Fatal(err)
		}
		var pushed, ran samples
		for n := 0; b.Loop(); n++ {
			image := runnable(b, binary, noise, n)
			began := time.Now()
			if _, _, err := image.push(b.Context(), l, "large"); err != nil {
				b.Fatal(err)
			}
			pushed.add(time.Since(began))
			c.revise(b, *repo.Repository.RepositoryUri+"@"+sha256Of(image.manifest))
			task := c.runTask(b, c.network)
			c.awaitTasks(b, "RUNNING", task)
			ran.add(time.Since(began))
			c.stopTasks(b, task)
		}
		pushed.report(b, "pushed", "s")
		ran.report(b, "running", "s")
	})
}

// Private

// charsOf is how many bytes the processes that images go through have read and written so far.
func charsOf(s *server.Server) (n int64) {
	for _, p := range []string{"server", "containerd", "buildkitd"} {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/io", pidFile(s, p)))
		for line := range strings.Lines(string(text)) {
			if k, v, _ := strings.Cut(strings.TrimSpace(line), ": "); k == "rchar" || k == "wchar" {
				x, _ := strconv.ParseInt(v, 10, 64)
				n += x
			}
		}
	}
	return n
}

// runnable is an image of one layer, which has a program and the noise.
func runnable(b *testing.B, program, noise []byte, n int) benchImage {
	b.Helper()
	var layer bytes.Buffer
	layer.Grow(len(program) + len(noise) + 10_000)
	w := tar.NewWriter(&layer)
	for name, content := range map[string][]byte{"hello": program, "noise": noise, "number": []byte(fmt.Sprint(n))} {
		err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg})
		if err == nil {
			_, err = w.Write(content)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	blob := func(text []byte) benchBlob { return benchBlob{own: text, digest: sha256Of(text)} }
	l := blob(layer.Bytes())
	config, _ := json.Marshal(map[string]any{"os": "linux", "architecture": "amd64", "rootfs": map[string]any{"type": "layers", "diff_ids": []string{l.digest}},
		"config": map[string]any{"Entrypoint": []string{"/hello"}}})
	c := blob(config)
	i := benchImage{blobs: []benchBlob{c, l}}
	i.manifest, _ = json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": ociManifest,
		"config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": c.digest, "size": c.size()},
		"layers": []any{map[string]any{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": l.digest, "size": l.size()}}})
	return i
}

// revise registers a revision that differs in its image.
func (c *benchService) revise(b *testing.B, image string) {
	b.Helper()
	was, err := c.DescribeTaskDefinition(b.Context(), &ecs.DescribeTaskDefinitionInput{TaskDefinition: sdk.String("hello")})
	if err != nil {
		b.Fatal(err)
	}
	d := was.TaskDefinition
	d.ContainerDefinitions[0].Image = &image
	_, err = c.RegisterTaskDefinition(b.Context(), &ecs.RegisterTaskDefinitionInput{Family: d.Family, ContainerDefinitions: d.ContainerDefinitions, Cpu: d.Cpu, Memory: d.Memory,
		NetworkMode: d.NetworkMode, RequiresCompatibilities: d.RequiresCompatibilities, ExecutionRoleArn: d.ExecutionRoleArn, TaskRoleArn: d.TaskRoleArn, RuntimePlatform: d.RuntimePlatform})
	if err != nil {
		b.Fatal(err)
	}
}
