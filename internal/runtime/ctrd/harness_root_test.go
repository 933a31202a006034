package ctrd

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/lotse-project/lotse/internal/runtime"
	"github.com/lotse-project/lotse/internal/runtime/contract"
)

func needsRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("needs root: containerd, namespaces, cgroups")
	}
}

// binaries is bin/runtime of this checkout.
func binaries(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../../../bin/runtime")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []string{"containerd", "containerd-shim-runc-v2", "runc", "lotse-init"} {
		if _, err := os.Stat(filepath.Join(dir, b)); err != nil {
			t.Skipf("%s is not built: run make runtime", filepath.Join("bin/runtime", b))
		}
	}
	return dir
}

// lab is a server's worth of runtime, with an image in its store.
type lab struct {
	contract.Subject
	o      Options
	sup    *Supervisor
	engine *Engine
	stop   func() // ends the Supervisor, as the end of the server does; containerd stays
}

// newLab starts one in directories of its own and checks at the end that nothing of it is left on the machine.
func newLab(t testing.TB) *lab {
	t.Helper()
	return newLabIn(t, t.TempDir())
}

// newLabIn is newLab with a data directory of one's own.
func newLabIn(t testing.TB, dir string) *lab {
	t.Helper()
	needsRoot(t)
	var b [4]byte
	rand.Read(b[:])
	id := "t" + hex.EncodeToString(b[:])
	l := &lab{o: Options{Dir: dir, RunDir: "/run/lotse/" + id, ID: id, BinDir: binaries(t), Log: testLog(t)}}
	l.run(t)
	t.Cleanup(func() { l.destroy(t) })
	l.Subject = contract.Subject{
		Engine: l.engine,
		Image:  l.importImage(t, testImage(t)),
		Absent: runtime.Image{Digest: digest.FromString("absent").String(), Name: "absent"},
	}
	return l
}

// run starts a Supervisor, as the start of a server does.
func (l *lab) run(t testing.TB) {
	t.Helper()
	var err error
	if l.sup, err = New(l.o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := l.sup.Run(ctx); err != nil {
			t.Errorf("Run() = %v", err)
		}
	}()
	l.stop = sync.OnceFunc(func() { cancel(); <-done })
	within, cancel2 := context.WithTimeout(ctx, 20*time.Second)
	defer cancel2()
	if err := l.sup.Ready(within); err != nil {
		t.Fatalf("Ready() = %v\n%s", err, l.daemonLog())
	}
	l.engine = NewEngine(l.sup)
	l.Engine = l.engine
}

func (l *lab) destroy(t testing.TB) {
	l.stop()
	if t.Failed() {
		t.Logf("containerd's log:\n%s", l.daemonLog())
	}
	if err := l.sup.Stop(context.Background()); err != nil {
		t.Errorf("Stop() = %v", err)
	}
	for what, left := range l.traces() {
		t.Errorf("left over: %s: %v", what, left)
	}
	os.Remove("/run/lotse")
}

func (l *lab) daemonLog() string {
	b, _ := os.ReadFile(l.sup.logFile())
	return string(b)
}

// traces is what the machine shows of this lab outside its data directory.
func (l *lab) traces() map[string][]string {
	out := map[string][]string{}
	add := func(what string, found ...string) {
		if len(found) > 0 {
			out[what] = append(out[what], found...)
		}
	}
	cmds, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range cmds {
		b, _ := os.ReadFile(f)
		if bytes.Contains(b, []byte(l.o.RunDir)) || bytes.Contains(b, []byte(l.o.Dir)) {
			add("process", filepath.Dir(f)+" "+string(bytes.ReplaceAll(b, []byte{0}, []byte{' '})))
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range bytes.Lines(mounts) {
		if bytes.Contains(line, []byte(l.o.RunDir)) || bytes.Contains(line, []byte(l.o.Dir)) {
			add("mount", string(line))
		}
	}
	for _, m := range l.sup.groups.mounts {
		if _, err := os.Stat(filepath.Join(m, l.sup.groups.parent)); err == nil {
			add("cgroup", filepath.Join(m, l.sup.groups.parent))
		}
	}
	files, _ := filepath.Glob(l.o.RunDir)
	add("run directory", files...)
	return out
}

// Spec is contract.Subject.Spec, but removes the task with the Supervisor of the moment.
func (l *lab) Spec(t testing.TB, commands ...[]string) runtime.TaskSpec {
	t.Helper()
	spec := runtime.TaskSpec{ID: contract.NewID(), Memory: 64 << 20, CPU: 1024}
	for i, c := range commands {
		spec.Containers = append(spec.Containers, runtime.ContainerSpec{Name: fmt.Sprintf("c%d", i), Image: l.Image, Command: c})
	}
	t.Cleanup(func() {
		if err := l.engine.Remove(context.Background(), spec.ID); err != nil {
			t.Errorf("Remove(%s) = %v", spec.ID, err)
		}
	})
	return spec
}

// ctx has the lab's containerd namespace.
func (l *lab) ctx(t testing.TB) context.Context {
	return namespaces.WithNamespace(context.Background(), l.sup.Namespace())
}

// testLog writes to the test's log while the test runs.
func testLog(t testing.TB) *slog.Logger {
	if !testing.Verbose() {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}

// blob is content with the labels that keep what it refers to.
type blob struct {
	desc   ocispec.Descriptor
	data   []byte
	labels map[string]string
}

func newBlob(mediaType string, v any, refs ...blob) blob {
	data, ok := v.([]byte)
	if !ok {
		var err error
		if data, err = json.Marshal(v); err != nil {
			panic(err)
		}
	}
	b := blob{desc: ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}, data: data}
	for i, r := range refs {
		if b.labels == nil {
			b.labels = map[string]string{}
		}
		b.labels[fmt.Sprintf("containerd.io/gc.ref.content.%d", i)] = r.desc.Digest.String()
	}
	return b
}

// program is the static test program.
var program = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "lotse-program")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, "program"), "./testdata/program")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return os.ReadFile(filepath.Join(dir, "program"))
})

// testImage returns the blobs of an image that runs the program, its manifest last.
func testImage(t testing.TB) []blob {
	t.Helper()
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, h := range []tar.Header{
		{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777},
		{Name: "program", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(bin))},
	} {
		w.WriteHeader(&h)
		if h.Name == "program" {
			w.Write(bin)
		}
	}
	for _, f := range [][2]string{ // in this order: the image is made more than once, and is to be the same
		{"etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n"},
		{"etc/group", "root:x:0:\napp:x:1001:\nextra:x:2000:app\n"},
	} {
		w.WriteHeader(&tar.Header{Name: f[0], Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(f[1]))})
		w.Write([]byte(f[1]))
	}
	w.Close()
	return newImage(ocispec.ImageConfig{
		Entrypoint: []string{"/program"}, Cmd: []string{"serve"}, Env: []string{"FROM=image", "BOTH=image"}, WorkingDir: "/tmp",
	}, layer.Bytes())
}

// newImage is an image of layers, the lowest first.
func newImage(conf ocispec.ImageConfig, layers ...[]byte) []blob {
	var blobs []blob
	var descs []ocispec.Descriptor
	var ids []digest.Digest
	for _, l := range layers {
		b := newBlob(ocispec.MediaTypeImageLayer, l)
		blobs, descs, ids = append(blobs, b), append(descs, b.desc), append(ids, b.desc.Digest)
	}
	config := newBlob(ocispec.MediaTypeImageConfig, ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: goruntime.GOARCH}, Config: conf, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: ids},
	})
	manifest := newBlob(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config.desc, Layers: descs,
	}, append([]blob{config}, blobs...)...)
	return append(blobs, config, manifest)
}

// importImage writes blobs into the store under a lease, as the registry does; the last one is the image.
func (l *lab) importImage(t testing.TB, blobs []blob) runtime.Image {
	t.Helper()
	c, err := l.sup.Client()
	if err != nil {
		t.Fatal(err)
	}
	ctx := l.ctx(t)
	if _, err := c.LeasesService().Create(ctx, leases.WithID("repo/test")); err != nil && !errdefs.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	ctx = leases.WithLease(ctx, "repo/test")
	for _, b := range blobs {
		err := content.WriteBlob(ctx, c.ContentStore(), "test-"+b.desc.Digest.String(), bytes.NewReader(b.data), b.desc, content.WithLabels(b.labels))
		if err != nil {
			t.Fatal(err)
		}
	}
	last := blobs[len(blobs)-1].desc
	return runtime.Image{Digest: last.Digest.String(), MediaType: last.MediaType, Size: last.Size, Name: "test"}
}
