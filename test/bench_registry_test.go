package test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"github.com/lotse-project/lotse/test/server"
)

// BenchmarkRegistry pushes and pulls images, to and from Lotse's registry and CNCF's distribution in turn, and prints
// the table of doc/benchmarks.md. It takes some minutes and 10 GB of disk, and so runs only when LOTSE_BENCH_REGISTRY
// says how large the largest layer is, such as 1000 (MB).
func BenchmarkRegistry(b *testing.B) {
	large, _ := strconv.Atoi(os.Getenv("LOTSE_BENCH_REGISTRY"))
	if large == 0 {
		b.Skip("make bench-registry")
	}
	noise := make([]byte, large*1_000_000)
	if _, err := rand.Read(noise); err != nil {
		b.Fatal(err)
	}
	registries := []benchRegistry{newBenchLotse(b), newBenchDistribution(b)}
	for _, r := range registries {
		forgetPeak(r)
		fmt.Printf("| memory before the first push | %s | %.0f MB |\n", r.name(), float64(peak(r))/1e6)
	}
	for _, load := range []registryLoad{
		{"10 MB", 1, 10_000_000, 1, 20, 3}, {"10 MB", 1, 10_000_000, 8, 5, 3},
		{fmt.Sprintf("%d MB", large), 1, len(noise), 1, 1, 7}, {fmt.Sprintf("%d MB", large), 1, len(noise), 8, 1, 3},
		{"200 layers of 32 kB", 200, 32_000, 1, 1, 5}, {"200 layers of 32 kB", 200, 32_000, 8, 1, 3},
	} {
		b.Run(fmt.Sprintf("%s by %d", load.name, load.clients), func(b *testing.B) {
			// In turn, so that both meet the same machine.
			push, pull := map[string][]registryRun{}, map[string][]registryRun{}
			for run := range load.runs {
				for i := range registries {
					r := registries[(run+i)%len(registries)]
					p, q := load.run(b, r, noise, fmt.Sprintf("run%d", run))
					push[r.name()], pull[r.name()] = append(push[r.name()], p), append(pull[r.name()], q)
				}
			}
			for _, r := range registries {
				fmt.Printf("| push | %s | %d | %s | %s |\n", load.name, load.clients, r.name(), median(push[r.name()]))
			}
			for _, r := range registries {
				fmt.Printf("| pull | %s | %d | %s | %s |\n", load.name, load.clients, r.name(), median(pull[r.name()]))
			}
		})
	}
}

// Private

// registryLoad is images of so many layers of so many bytes, several one after the other by each of several clients.
type registryLoad struct {
	name          string
	layers, bytes int
	clients, each int
	runs          int
}

type registryRun struct {
	took, cpu time.Duration
	bytes     int64
	requests  int
	peak      int64 // resident bytes of all processes, each at its highest
}

// median is the run that took the median time, in words.
func median(runs []registryRun) string {
	var took samples
	for _, r := range runs {
		took.add(r.took)
	}
	for _, r := range runs {
		if r.took.Seconds() == took.quantile(0.5) {
			s := r.took.Seconds()
			return fmt.Sprintf("%.2f s | %.0f MB/s | %.0f/s | %.2f s | %.0f MB", s, float64(r.bytes)/1e6/s, float64(r.requests)/s, r.cpu.Seconds(), float64(r.peak)/1e6)
		}
	}
	return ""
}

// run makes new images, pushes them, pulls them and removes them.
func (l registryLoad) run(b *testing.B, r benchRegistry, noise []byte, repo string) (push, pull registryRun) {
	b.Helper()
	r.make(b, repo)
	images := make([][]benchImage, l.clients)
	var making sync.WaitGroup
	for c := range images {
		making.Go(func() {
			for range l.each {
				images[c] = append(images[c], newBenchImage(noise, l.layers, l.bytes))
			}
		})
	}
	making.Wait()
	syscall.Sync()
	do := func(one func(benchImage) (int64, int, error)) registryRun {
		forgetPeak(r)
		before, began := cpuOf(r.pids()), time.Now()
		var all sync.WaitGroup
		var mu sync.Mutex
		var out registryRun
		for c := range images {
			all.Go(func() {
				for _, i := range images[c] {
					n, k, err := one(i)
					mu.Lock()
					out.bytes, out.requests = out.bytes+n, out.requests+k
					if err != nil {
						b.Error(r.name(), err)
					}
					mu.Unlock()
				}
			})
		}
		all.Wait()
		out.took, out.cpu = time.Since(began), cpuOf(r.pids())-before
		out.peak = peak(r)
		return out
	}
	push = do(func(i benchImage) (int64, int, error) { return i.push(b.Context(), r, repo) })
	syscall.Sync()
	pull = do(func(i benchImage) (int64, int, error) { return i.pull(b.Context(), r, repo) })
	r.clear(b, repo)
	return push, pull
}

// cpuOf is the processor time of some processes so far.
func cpuOf(pids []int) (sum time.Duration) {
	for _, p := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
		_, rest, ok := strings.Cut(string(text), ") ")
		f := strings.Fields(rest)
		if err != nil || !ok || len(f) < 13 {
			continue
		}
		for _, ticks := range f[11:13] { // utime, stime: hundredths of a second
			n, _ := strconv.Atoi(ticks)
			sum += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return sum
}

// forgetPeak makes what a registry's processes have now their peak.
func forgetPeak(r benchRegistry) {
	for _, p := range r.pids() {
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p), []byte("5"), 0)
	}
}

func peak(r benchRegistry) (sum int64) {
	for _, p := range r.pids() {
		sum += peakOf(p)
	}
	return sum
}

func peakOf(pid int) int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	return 0
}

// benchBlob is a few bytes of its own and a part of the noise that all share.
type benchBlob struct {
	own, rest []byte
	digest    string
}

func newBenchBlob(noise []byte, n int) benchBlob {
	l := benchBlob{own: make([]byte, 32), rest: noise[:n-32]}
	_, _ = rand.Read(l.own)
	h := sha256.New()
	h.Write(l.own)
	h.Write(l.rest)
	l.digest = "sha256:" + hex.EncodeToString(h.Sum(nil))
	return l
}

func (l benchBlob) size() int64 { return int64(len(l.own) + len(l.rest)) }

type benchImage struct {
	blobs    []benchBlob // the first is the config
	manifest []byte
}

func newBenchImage(noise []byte, layers, size int) benchImage {
	var i benchImage
	desc := func(mediaType string, n int) map[string]any {
		l := newBenchBlob(noise, n)
		i.blobs = append(i.blobs, l)
		return map[string]any{"mediaType": mediaType, "digest": l.digest, "size": n}
	}
	m := map[string]any{"schemaVersion": 2, "mediaType": ociManifest, "config": desc("application/vnd.oci.image.config.v1+json", 1000)}
	var ls []any
	for range layers {
		ls = append(ls, desc("application/vnd.oci.image.layer.v1.tar", size))
	}
	m["layers"] = ls
	i.manifest, _ = json.Marshal(m)
	return i
}

// push does what Docker, containerd and crane do: it asks for each blob, begins an upload, and sends it in one go.
func (i benchImage) push(ctx context.Context, r benchRegistry, repo string) (n int64, requests int, err error) {
	c := &benchClient{ctx: ctx, r: r}
	for _, l := range i.blobs {
		c.ask("HEAD", "/v2/"+repo+"/blobs/"+l.digest, nil, 0, 404)
		h := c.ask("POST", "/v2/"+repo+"/blobs/uploads/", nil, 0, 202)
		at := h.Get("Location")
		if sep := "?"; at != "" {
			if strings.Contains(at, "?") {
				sep = "&"
			}
			at += sep + "digest=" + l.digest
		}
		c.ask("PUT", at, io.MultiReader(bytes.NewReader(l.own), bytes.NewReader(l.rest)), l.size(), 201)
		n += l.size()
	}
	c.ask("PUT", "/v2/"+repo+"/manifests/"+sha256Of(i.manifest), bytes.NewReader(i.manifest), int64(len(i.manifest)), 201)
	return n, c.requests, c.err
}

func (i benchImage) pull(ctx context.Context, r benchRegistry, repo string) (n int64, requests int, err error) {
	c := &benchClient{ctx: ctx, r: r}
	c.ask("GET", "/v2/"+repo+"/manifests/"+sha256Of(i.manifest), nil, 0, 200)
	for _, l := range i.blobs {
		c.ask("GET", "/v2/"+repo+"/blobs/"+l.digest, nil, 0, 200)
		n += l.size()
	}
	if c.err == nil && c.received < n {
		c.err = fmt.Errorf("%d of %d bytes", c.received, n)
	}
	return n, c.requests, c.err
}

// benchClient sends requests until one fails.
type benchClient struct {
	ctx      context.Context
	r        benchRegistry
	requests int
	received int64
	err      error
}

var benchHTTP = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16, DisableCompression: true}}

func (c *benchClient) ask(method, path string, body io.Reader, size int64, status int) http.Header {
	if c.err != nil {
		return http.Header{}
	}
	if !strings.HasPrefix(path, "http") {
		path = c.r.endpoint() + path
	}
	req, err := http.NewRequestWithContext(c.ctx, method, path, body)
	if err != nil {
		c.err = err
		return http.Header{}
	}
	req.ContentLength = size
	req.Header.Set("Accept", ociManifest)
	if strings.Contains(path, "/manifests/") {
		req.Header.Set("Content-Type", ociManifest)
	} else if body != nil {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	c.r.login(req)
	resp, err := benchHTTP.Do(req)
	if err != nil {
		c.err = err
		return http.Header{}
	}
	defer resp.Body.Close()
	c.requests++
	n, err := io.Copy(io.Discard, resp.Body)
	c.received += n
	if err == nil && resp.StatusCode != status {
		err = fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	c.err = err
	return resp.Header
}

// benchRegistry is a registry that runs.
type benchRegistry interface {
	name() string
	endpoint() string
	login(*http.Request)
	pids() []int
	make(b *testing.B, repo string)
	clear(b *testing.B, repo string)
}

type benchLotse struct {
	s        *server.Server
	password string
}

func newBenchLotse(b *testing.B) *benchLotse {
	s := benchServer(b)
	if err := s.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	_, password, err := loginOf(b.Context(), s)
	if err != nil {
		b.Fatal(err)
	}
	return &benchLotse{s, password}
}

func (l *benchLotse) name() string          { return "Lotse" }
func (l *benchLotse) endpoint() string      { return l.s.Endpoint }
func (l *benchLotse) login(r *http.Request) { r.SetBasicAuth("AWS", l.password) }
func (l *benchLotse) pids() []int {
	return []int{pidFile(l.s, "server"), pidFile(l.s, "containerd")}
}
func (l *benchLotse) make(b *testing.B, repo string) {
	if _, err := ecr.NewFromConfig(l.s.Config()).CreateRepository(b.Context(), &ecr.CreateRepositoryInput{RepositoryName: &repo}); err != nil {
		b.Fatal(err)
	}
}
func (l *benchLotse) clear(b *testing.B, repo string) {
	if _, err := ecr.NewFromConfig(l.s.Config()).DeleteRepository(b.Context(), &ecr.DeleteRepositoryInput{RepositoryName: &repo, Force: true}); err != nil {
		b.Fatal(err)
	}
	benchCommand(b, l.s, "image", "gc")
}

type benchDistribution struct {
	dir, address string
	cmd          *exec.Cmd
}

// newBenchDistribution builds and starts CNCF's registry, with its file system driver and no login.
func newBenchDistribution(b *testing.B) *benchDistribution {
	dir, err := os.MkdirTemp("", "lotse-bench-")
	if err != nil {
		b.Fatal(err)
	}
	bin := filepath.Join(dir, "registry")
	build := exec.CommandContext(b.Context(), "go", "build", "-o", bin, "github.com/distribution/distribution/v3/cmd/registry")
	build.Dir = filepath.Join(server.Root(), "tools", "registry")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	d := &benchDistribution{dir: dir, address: l.Addr().String()}
	l.Close()
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n", filepath.Join(dir, "data"), d.address)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	d.cmd = exec.Command(bin, "serve", config)
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	d.cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	if err := d.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = d.cmd.Process.Kill()
		_ = d.cmd.Wait()
		if err := os.RemoveAll(dir); err != nil {
			b.Error(err)
		}
	})
	until(b, "distribution answers", func() (bool, error) {
		resp, err := http.Get("http://" + d.address + "/v2/")
		if err != nil {
			return false, nil
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK, nil
	})
	return d
}

func (d *benchDistribution) name() string            { return "distribution" }
func (d *benchDistribution) endpoint() string        { return "http://" + d.address }
func (d *benchDistribution) login(*http.Request)     {}
func (d *benchDistribution) pids() []int             { return []int{d.cmd.Process.Pid} }
func (d *benchDistribution) make(*testing.B, string) {}
func (d *benchDistribution) clear(b *testing.B, _ string) {
	if err := os.RemoveAll(filepath.Join(d.dir, "data", "docker")); err != nil {
		b.Error(err)
	}
}
