package test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/lotse-project/lotse/test/server"
)

// registryFaults are the named points of pushes, deletions and collections. The second and later times that a point is
// reached are those of other repositories and of the server's own collections.
func registryFaults() []string {
	points := []string{"commit:held", "manifest:held", "release:before"}
	if os.Getenv("LOTSE_SOAK") != "" {
		points = append(points, "begin:recorded", "begin:after", "append:after", "append:after#2", "append:after#3", "commit:before", "commit:before#2", "commit:held#2", "commit:after", "commit:after#2",
			"take:held", "manifest:before", "manifest:after", "delete:after", "delete:after#2", "delete:after#3", "abandon:before", "abandon:recorded", "collect:before", "collect:before#2", "collect:expired", "collect:expired#2",
			"release:before#2", "release:before#4", "release:after", "discard:before", "discard:after")
	}
	for i, p := range points {
		points[i] = "registry." + p
	}
	return points
}

// The server is killed at each named point of pushes, deletions and collections, and comes back: what it acknowledged
// holds, the same push then succeeds, and once the repositories are deleted nothing is left in the store.
func TestKilledDuringPush(t *testing.T) {
	s := start(t)
	for _, point := range registryFaults() {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		w := newRegistryWork(t, s)
		w.prepare(ctx)
		s.Kill()
		s.Env = []string{"LOTSE_FAULT=" + point}
		err := s.Start(ctx)
		if err == nil {
			err = w.all(ctx)
		}
		if s.Died(ctx) != nil {
			t.Fatalf("%s was never reached: %v", point, err)
		}
		s.Env = nil
		if err := s.Start(ctx); err != nil {
			t.Fatal(err)
		}
		for _, lost := range w.lost(ctx) {
			t.Errorf("%s: acknowledged, then not so: %s", point, lost)
		}
		if err := w.all(ctx); err != nil {
			t.Errorf("%s: again after the restart: %v", point, err)
		}
		for _, lost := range w.lost(ctx) {
			t.Errorf("%s: after the second try: %s", point, lost)
		}
		w.clear(ctx)
		lotse(t, s, "image", "gc")
		if left := stored(t, s); len(left) > 0 {
			t.Errorf("%s: left in the store: %v", point, left)
		}
		cancel()
		t.Logf("%s: %.1f s", point, time.Since(began).Seconds())
	}
}

// Eight clients push the same layer at once to two repositories, while a third one that has it is deleted: it is there
// once, whole, and for both.
func TestSameLayerAtOnce(t *testing.T) {
	s := start(t)
	w := newRegistryWork(t, s)
	for _, name := range []string{"one", "two", "third"} {
		repository(t, s, name)
	}
	layer := noise(4 << 20)
	if err := w.push(t.Context(), "third", layer, 1); err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 9)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() { errs <- w.push(t.Context(), []string{"one", "two"}[i%2], layer, 1+i/2) })
	}
	all.Go(func() {
		_, err := w.ecr.DeleteRepository(t.Context(), &ecr.DeleteRepositoryInput{RepositoryName: awssdk.String("third"), Force: true})
		errs <- err
	})
	all.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	lotse(t, s, "image", "gc")
	for _, repo := range []string{"one", "two"} {
		if status, b, err := w.ask(t.Context(), "GET", "/v2/"+repo+"/blobs/"+sha256Of(layer), nil); err != nil || status != 200 || !bytes.Equal(b, layer) {
			t.Errorf("%s: %d, %d bytes, %v", repo, status, len(b), err)
		}
	}
	if left := stored(t, s); len(left) != 1 {
		t.Errorf("the store has %v", left)
	}
}

// registryWork is one client's pushes and deletions, with what of them was acknowledged.
type registryWork struct {
	t        *testing.T
	s        *server.Server
	ecr      *ecr.Client
	password string

	old, spare, damaged, pushed image
	there, gone                 map[string]string // path below /v2/ → digest
}

type image struct{ config, layer, manifest []byte }

func newImage() image {
	i := image{config: fmt.Appendf(nil, `{"os":"linux","comment":"%x"}`, noise(8)), layer: noise(3 << 19)}
	i.manifest = manifestOf(i.config, i.layer)
	return i
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func newRegistryWork(t *testing.T, s *server.Server) *registryWork {
	return &registryWork{t: t, s: s, ecr: ecr.NewFromConfig(s.Config()), password: password(t, s),
		old: newImage(), spare: newImage(), damaged: newImage(), pushed: newImage(), there: map[string]string{}, gone: map[string]string{}}
}

func (w *registryWork) ask(ctx context.Context, method, path string, body []byte, headers ...string) (status int, answer []byte, err error) {
	resp, answer, err := w.send(ctx, method, path, body, headers...)
	if err != nil {
		return 0, nil, err
	}
	return resp.StatusCode, answer, nil
}

func (w *registryWork) send(ctx context.Context, method, path string, body []byte, headers ...string) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, w.s.Endpoint+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.SetBasicAuth("AWS", w.password)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp, answer, err
}

// must sends a request that is to be answered with the status.
func (w *registryWork) must(ctx context.Context, status int, method, path string, body []byte, headers ...string) (*http.Response, error) {
	resp, answer, err := w.send(ctx, method, path, body, headers...)
	if err == nil && resp.StatusCode != status {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, answer)
	}
	return resp, err
}

// push uploads a blob in so many chunks.
func (w *registryWork) push(ctx context.Context, repo string, blob []byte, chunks int) error {
	resp, err := w.must(ctx, 202, "POST", "/v2/"+repo+"/blobs/uploads/", nil)
	rest := blob
	for i := 1; err == nil && i < chunks; i++ {
		n := len(blob) / chunks
		resp, err = w.must(ctx, 202, "PATCH", resp.Header.Get("Location"), rest[:n])
		rest = rest[n:]
	}
	if err == nil {
		_, err = w.must(ctx, 201, "PUT", resp.Header.Get("Location")+"?digest="+sha256Of(blob), rest)
	}
	return err
}

func (w *registryWork) pushImage(ctx context.Context, repo, tag string, i image) error {
	for _, b := range []struct {
		blob   []byte
		chunks int
	}{{i.layer, 3}, {i.config, 1}} {
		if err := w.push(ctx, repo, b.blob, b.chunks); err != nil {
			return err
		}
		w.there[repo+"/blobs/"+sha256Of(b.blob)] = sha256Of(b.blob)
	}
	if _, err := w.must(ctx, 201, "PUT", "/v2/"+repo+"/manifests/"+tag, i.manifest, "Content-Type", ociManifest); err != nil {
		return err
	}
	w.there[repo+"/manifests/"+tag] = sha256Of(i.manifest)
	return nil
}

// prepare makes what will be deleted and damaged.
func (w *registryWork) prepare(ctx context.Context) {
	w.t.Helper()
	for _, name := range []string{"app", "copy", "doomed"} {
		repository(w.t, w.s, name)
	}
	if err := errors.Join(w.pushImage(ctx, "app", "old", w.old), w.pushImage(ctx, "app", "spare", w.spare), w.pushImage(ctx, "doomed", "old", w.old), w.pushImage(ctx, "app", "damaged", w.damaged)); err != nil {
		w.t.Fatal(err)
	}
	d := sha256Of(w.damaged.layer)
	if err := os.Truncate(filepath.Join(contentDir(w.s), "blobs", "sha256", strings.TrimPrefix(d, "sha256:")), 1); err != nil {
		w.t.Fatal(err)
	}
	delete(w.there, "app/blobs/"+d)
}

// all pushes, mounts, breaks off, deletes, heals and collects. It may be called again, and goes as far as it can.
func (w *registryWork) all(ctx context.Context) error {
	if err := w.pushImage(ctx, "app", "new", w.pushed); err != nil {
		return err
	}
	d := sha256Of(w.pushed.layer)
	if _, err := w.must(ctx, 201, "POST", "/v2/copy/blobs/uploads/?from=app&mount="+d, nil); err != nil {
		return err
	}
	w.there["copy/blobs/"+d] = d
	resp, err := w.must(ctx, 202, "POST", "/v2/app/blobs/uploads/", nil)
	if err == nil {
		resp, err = w.must(ctx, 202, "PATCH", resp.Header.Get("Location"), w.pushed.layer[:100])
	}
	if err == nil {
		_, err = w.must(ctx, 204, "DELETE", resp.Header.Get("Location"), nil)
	}
	if err != nil {
		return err
	}
	return errors.Join(w.deletions(ctx), w.heal(ctx), w.collect(ctx))
}

// deletions acknowledge also what an earlier try deleted.
func (w *registryWork) deletions(ctx context.Context) error {
	manifest, doomed := w.unsure("app/manifests/old"), w.unsure("doomed/")
	status, answer, err := w.ask(ctx, "DELETE", "/v2/app/manifests/"+sha256Of(w.old.manifest), nil)
	if err != nil || status != 202 && status != 404 {
		return fmt.Errorf("delete: %d, %s, %w", status, answer, err)
	}
	maps.Copy(w.gone, manifest)
	spare := w.unsure("app/manifests/spare")
	if _, err := w.ecr.BatchDeleteImage(ctx, &ecr.BatchDeleteImageInput{RepositoryName: awssdk.String("app"), ImageIds: []ecrtypes.ImageIdentifier{{ImageTag: awssdk.String("spare")}}}); err != nil {
		return err
	}
	maps.Copy(w.gone, spare)
	var gone *ecrtypes.RepositoryNotFoundException
	if _, err := w.ecr.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: awssdk.String("doomed"), Force: true}); err != nil && !errors.As(err, &gone) {
		return err
	}
	maps.Copy(w.gone, doomed)
	return nil
}

// unsure takes out of what is there what is about to be deleted: until that is acknowledged it may be there or not.
func (w *registryWork) unsure(prefix string) map[string]string {
	out := map[string]string{}
	for path, d := range w.there {
		if strings.HasPrefix(path, prefix) {
			delete(w.there, path)
			out[path] = d
		}
	}
	return out
}

// heal takes damage out of the store and pushes the same again.
func (w *registryWork) heal(ctx context.Context) error {
	_, _, _ = w.s.Run(ctx, "image", "verify") // it ends with an error when there is damage
	return w.pushImage(ctx, "app", "damaged", w.damaged)
}

func (w *registryWork) collect(ctx context.Context) error {
	_, text, err := w.s.Run(ctx, "image", "gc")
	if err != nil {
		return fmt.Errorf("gc: %w: %s", err, text)
	}
	return nil
}

// lost is what was acknowledged and isn't so.
func (w *registryWork) lost(ctx context.Context) (out []string) {
	for path, d := range w.there {
		if status, b, err := w.ask(ctx, "GET", "/v2/"+path, nil); err != nil || status != 200 || sha256Of(b) != d {
			out = append(out, fmt.Sprintf("%s: %d, %d bytes, %v", path, status, len(b), err))
		}
	}
	for path := range w.gone {
		if status, _, err := w.ask(ctx, "GET", "/v2/"+path, nil); err != nil || status != 404 {
			out = append(out, fmt.Sprintf("%s is still there: %d, %v", path, status, err))
		}
	}
	return out
}

func (w *registryWork) clear(ctx context.Context) {
	w.t.Helper()
	for _, name := range []string{"app", "copy"} {
		if _, err := w.ecr.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: &name, Force: true}); err != nil {
			w.t.Error(err)
		}
	}
}

func contentDir(s *server.Server) string {
	return filepath.Join(s.Dir, "containerd", "root", "io.containerd.content.v1.content")
}

// stored lists the files of the content store, and of uploads that have not ended.
func stored(t *testing.T, s *server.Server) (out []string) {
	t.Helper()
	for _, dir := range []string{contentDir(s), filepath.Join(filepath.Dir(contentDir(s)), "lotse.uploads")} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				out = append(out, strings.TrimPrefix(path, filepath.Dir(dir)))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}
