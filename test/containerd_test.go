package test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	ctr "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/platforms"
)

// containerd imports, pushes, pulls and inspects with its own client, in a namespace of somebody else's, and hears ECR's words.
func TestContainerd(t *testing.T) {
	s := start(t)
	repository(t, s, "app")
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(t.Context(), "other"), time.Minute)
	defer cancel()
	c, err := ctr.New(filepath.Join(runDir(s), "containerd.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	login := password(t, s)
	resolver := func(password string) ctr.RemoteOpt {
		return ctr.WithResolver(docker.NewResolver(docker.ResolverOptions{Hosts: docker.ConfigureDefaultRegistries(docker.WithPlainHTTP(docker.MatchAllHosts),
			docker.WithAuthorizer(docker.NewDockerAuthorizer(docker.WithAuthCreds(func(string) (string, string, error) { return "AWS", password, nil }))))}))
	}
	f, err := os.Open(helloImage(t, "v1"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	names, err := archive.ImportIndex(ctx, c.ContentStore(), f)
	if err != nil {
		t.Fatal(err)
	}
	app := host(s) + "/app"
	if err := c.Push(ctx, app+":v1", names, resolver(login)); err != nil {
		t.Fatal(err)
	}
	if err := c.Push(ctx, app+":again", names, resolver(login)); err != nil {
		t.Fatal(err)
	}
	tags := strings.Fields(aws(t, s, "ecr", "describe-images", "--repository-name", "app", "--query", "imageDetails[].imageTags[]", "--output", "text"))
	if slices.Sort(tags); !slices.Contains(tags, "v1") || !slices.Contains(tags, "again") {
		t.Errorf("tags %q", tags)
	}
	i, err := c.Fetch(ctx, app+":v1", resolver(login))
	if err != nil {
		t.Fatal(err)
	}
	if i.Target.Digest != names.Digest {
		t.Errorf("fetched %s, pushed %s", i.Target.Digest, names.Digest)
	}
	spec, err := ctr.NewImageWithPlatform(c, i, platforms.All).Spec(ctx)
	if err != nil || len(spec.Config.Entrypoint) != 1 || spec.Config.Entrypoint[0] != "/hello" {
		t.Errorf("the image: %+v, %v", spec.Config, err)
	}
	if err := c.ImageService().Delete(ctx, app+":v1"); err != nil {
		t.Error(err)
	}
	for _, bad := range []struct{ ref, password, words string }{
		{host(s) + "/nowhere:v1", login, "404"}, {app + ":v2", "wrong", "400"},
	} {
		if err := c.Push(ctx, bad.ref, names, resolver(bad.password)); err == nil || !strings.Contains(err.Error(), bad.words) {
			t.Errorf("push to %s: %v", bad.ref, err)
		}
	}
	if _, err := c.Fetch(ctx, app+":gone", resolver(login)); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("fetch of what isn't there: %v", err)
	}
}
