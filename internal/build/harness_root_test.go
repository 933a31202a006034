package build

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	bkclient "github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// TestMain runs root's tests with a network of their own, which leads nowhere, and mounts of their own.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	if os.Getenv("LOTSE_BUILD_TEST") == "" {
		c := exec.Command("/proc/self/exe", os.Args[1:]...)
		c.Env = append(os.Environ(), "LOTSE_BUILD_TEST=inside")
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
		if err := c.Run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), loopbackUp()); err != nil {
		panic(err)
	}
	if args := os.Getenv("LOTSE_BUILD_CLIENT"); args != "" {
		clientMain(args)
	}
	os.Exit(m.Run())
}

func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(s), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(req))); e != 0 {
		return e
	}
	return nil
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("needs root: containerd, BuildKit, cgroups")
	}
}

// A lab is a containerd, a Daemon and a server with a Handler, in directories of their own.
type lab struct {
	dir    string // data and run directory in one
	id     string
	opts   DaemonOptions
	daemon *Daemon
	server *httptest.Server
	built  []Image

	held        int  // times that an image of an earlier build was held
	holdNothing bool // as if its content had gone
}

func newLab(t *testing.T) *lab {
	t.Helper()
	needsRoot(t)
	bin, err := filepath.Abs("../../bin/runtime")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []string{"containerd", "containerd-shim-runc-v2", "runc", "buildkitd"} {
		if _, err := os.Stat(filepath.Join(bin, b)); err != nil {
			t.Skipf("bin/runtime/%s is not built: run make runtime", b)
		}
	}
	dir, err := os.MkdirTemp("", "lotse-build") // short, for the sockets
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{dir: dir, id: filepath.Base(dir)}
	t.Cleanup(func() { l.remove(t) })
	l.startContainerd(t, bin)
	l.opts = DaemonOptions{
		Binary: filepath.Join(bin, "buildkitd"), Root: filepath.Join(dir, "buildkit"), RunDir: dir,
		Containerd: filepath.Join(dir, "c.sock"), Namespace: l.id, CgroupParent: "/" + l.id + "/build",
		Runc: filepath.Join(bin, "runc"), RuncRoot: filepath.Join(dir, "runc"),
		Network: NetworkNone, RemoveContainers: l.removeContainers, Log: testLog(t),
	}
	l.newDaemon(t)
	l.serve(t)
	return l
}

// serve has a server give builds by the daemon.
func (l *lab) serve(t *testing.T) {
	t.Helper()
	h := NewHandler(l.daemon, HandlerOptions{Built: func(_ context.Context, img Image) error { l.built = append(l.built, img); return nil }, Hold: l.hold, Log: testLog(t)})
	l.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "/us-east-1/lotse/aws4_request") {
			http.Error(w, "unsigned", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { h.Close(); l.server.Close() })
}

// hold does what the server's runtime does for HandlerOptions.Hold.
func (l *lab) hold(ctx context.Context, record string, img Image) (bool, error) {
	if l.holdNothing {
		return false, nil
	}
	c, err := containerd.New(l.opts.Containerd)
	if err != nil {
		return false, err
	}
	defer c.Close()
	ctx = namespaces.WithNamespace(ctx, l.opts.Namespace)
	_, err = c.ImageService().Create(ctx, images.Image{Name: record, Target: ocispec.Descriptor{MediaType: img.MediaType, Digest: digest.Digest(img.Digest), Size: img.Size}})
	l.held++
	return err == nil, err
}

// cacheSize is what buildkitd says its cache has.
func (l *lab) cacheSize(ctx context.Context) (bytes int64, err error) {
	c, err := bkclient.New(ctx, l.daemon.address())
	if err != nil {
		return 0, err
	}
	defer c.Close()
	all, err := c.DiskUsage(ctx)
	for _, u := range all {
		bytes += u.Size
	}
	return bytes, err
}

func (l *lab) newDaemon(t *testing.T) {
	t.Helper()
	var err error
	if l.daemon, err = NewDaemon(l.opts); err != nil {
		t.Fatal(err)
	}
}

func (l *lab) client(t *testing.T) *Client {
	t.Helper()
	c, err := NewClient(ClientOptions{Builder: "lotse", Endpoint: l.server.URL, Region: "us-east-1", Credentials: staticKey{}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (l *lab) startContainerd(t *testing.T, bin string) {
	t.Helper()
	config := fmt.Sprintf("version = 3\nroot = %q\nstate = %q\nimports = []\n[grpc]\naddress = %q\n[plugins.\"io.containerd.shim.v1.manager\"]\nsocket_dir = %q\n",
		filepath.Join(l.dir, "root"), filepath.Join(l.dir, "state"), filepath.Join(l.dir, "c.sock"), filepath.Join(l.dir, "s"))
	file := filepath.Join(l.dir, "containerd.toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(l.dir, "containerd.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(bin, "containerd"), "--config", file)
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Signal(syscall.SIGTERM); cmd.Wait() })
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("unix", filepath.Join(l.dir, "c.sock")); err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("containerd doesn't answer:\n%s", tail(log.Name(), 20))
		}
	}
}

// remove checks that nothing but files is left.
func (l *lab) remove(t *testing.T) {
	if t.Failed() {
		t.Logf("buildkitd's log:\n%s", tail(filepath.Join(l.dir, "buildkit", "buildkitd.log"), 40))
		t.Logf("containerd's log:\n%s", tail(filepath.Join(l.dir, "containerd.log"), 20))
	}
	for what, left := range l.traces(t) {
		t.Errorf("left over: %s: %v", what, left)
	}
	if err := errors.Join(unmountBelow(l.dir), os.RemoveAll(l.dir)); err != nil {
		t.Error(err)
	}
	if groups, err := cgroups("/" + l.id); err == nil {
		for _, g := range groups {
			os.Remove(g) // the parent's parent belongs to the server
		}
	}
}

// traces are what a stopped builder must not leave.
func (l *lab) traces(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	all, err := mounts()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if strings.HasPrefix(m.path, l.dir+"/") {
			out["mounts"] = append(out["mounts"], m.path)
		}
	}
	if groups, err := cgroups(l.opts.CgroupParent); err == nil && len(groups) > 0 && l.opts.CgroupParent != "" {
		out["cgroups"] = groups
	}
	out["processes"] = processes(l.dir+"/buildkit", l.dir+"/s/")
	if len(out["processes"]) == 0 {
		delete(out, "processes")
	}
	for _, f := range []string{"buildkitd.sock", "buildkitd.pid", "buildkitd-otel"} {
		if _, err := os.Stat(filepath.Join(l.dir, f)); err == nil {
			out["files"] = append(out["files"], f)
		}
	}
	return out
}

// processes are those with one of the texts in their command line.
func processes(texts ...string) []string {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var out []string
	for _, f := range files {
		b, _ := os.ReadFile(f)
		for _, text := range texts {
			if strings.Contains(string(b), text) {
				out = append(out, strings.ReplaceAll(string(b), "\x00", " "))
			}
		}
	}
	return out
}

// removeContainers does what the server's runtime does for DaemonOptions.RemoveContainers.
func (l *lab) removeContainers(ctx context.Context, parent string) error {
	c, err := containerd.New(l.opts.Containerd)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx = namespaces.WithNamespace(ctx, l.opts.Namespace)
	all, err := c.Containers(ctx)
	if err != nil {
		return err
	}
	for _, x := range all {
		spec, err := x.Spec(ctx)
		if err != nil || !strings.HasPrefix(spec.Linux.CgroupsPath, parent+"/") {
			continue
		}
		if task, err := x.Task(ctx, nil); err == nil {
			if _, err := task.Delete(ctx, containerd.WithProcessKill); err != nil {
				return err
			}
		}
		if err := x.Delete(ctx); err != nil {
			return err
		}
	}
	return nil
}

func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}
