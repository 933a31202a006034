package build

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/sourcepolicy"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var (
	ours    = registryNames{at: "127.0.0.1:4566", aliases: []string{"localhost:4566", "builds.example:4566"}, prefix: "mirror", imported: []string{"quay.io"}}
	offline = limits{net: NetworkNone, names: ours}
	online  = limits{net: NetworkHost, names: ours}
)

func request() *controlapi.SolveRequest {
	return &controlapi.SolveRequest{
		Ref: "r", Session: "s", Frontend: frontend,
		FrontendAttrs: frontendAttrs(Options{Target: "t", Platform: "linux/arm64", NoCache: true, Args: map[string]string{"A": "1"}, Labels: map[string]string{"l": "2"}}, "Dockerfile"),
		Exporters:     []*controlapi.Exporter{{Type: "image", Attrs: exportAttrs("localhost:4566/shop:1")}},
		Cache:         &controlapi.CacheOptions{},
	}
}

func TestRestrict(t *testing.T) {
	req := request()
	// What older clients still send beside.
	req.ExporterDeprecated, req.ExporterAttrsDeprecated = "image", map[string]string{"push": "true"}
	req.Exporters[0].Attrs["push"] = "true"
	req.Internal, req.ProxyNetwork, req.EnableSessionExporter = true, true, true
	got, name, record, err := offline.restrict(req)
	if err != nil {
		t.Fatal(err)
	}
	if name != "localhost:4566/shop:1" || !strings.HasPrefix(record, recordPrefix) {
		t.Errorf("name = %q, record = %q", name, record)
	}
	want := map[string]string{"filename": "Dockerfile", "cmdline": "x", "target": "t", "platform": "linux/arm64", "no-cache": "", "build-arg:A": "1", "label:l": "2", "force-network-mode": "none", "build-arg:SOURCE_DATE_EPOCH": DefaultEpoch}
	if d := cmp.Diff(want, got.FrontendAttrs); d != "" {
		t.Errorf("attributes (-want +got):\n%s", d)
	}
	if d := cmp.Diff(exportAttrs(record), got.Exporters[0].Attrs); d != "" {
		t.Errorf("export (-want +got):\n%s", d)
	}
	if got.ExporterDeprecated != "" || got.Internal || got.ProxyNetwork || got.EnableSessionExporter || got.Ref != "r" || got.Session != "s" {
		t.Errorf("request = %v", got)
	}
	if got, _, _, _ := online.restrict(request()); got.FrontendAttrs["force-network-mode"] != "" {
		t.Errorf("with the machine's network: %v", got)
	}
	_, _, other, _ := online.restrict(request())
	if other == record {
		t.Error("two builds have the same record")
	}
}

func TestRestrict_Refuses(t *testing.T) {
	attr := func(k, v string) func(*controlapi.SolveRequest) {
		return func(r *controlapi.SolveRequest) { r.FrontendAttrs[k] = v }
	}
	for name, change := range map[string]func(*controlapi.SolveRequest){
		"another frontend": func(r *controlapi.SolveRequest) { r.Frontend = "gateway.v0" },
		"no frontend":      func(r *controlapi.SolveRequest) { r.Frontend = "" },
		"a definition":     func(r *controlapi.SolveRequest) { r.Definition = &pb.Definition{Def: [][]byte{{1}}} },
		"frontend inputs":  func(r *controlapi.SolveRequest) { r.FrontendInputs = map[string]*pb.Definition{"x": {}} },
		"entitlements":     func(r *controlapi.SolveRequest) { r.Entitlements = []string{"network.host"} },
		"a cache export":   func(r *controlapi.SolveRequest) { r.Cache.Exports = []*controlapi.CacheOptionsEntry{{Type: "s3"}} },
		"a cache import":   func(r *controlapi.SolveRequest) { r.Cache.Imports = []*controlapi.CacheOptionsEntry{{Type: "s3"}} },
		"inline imported":  func(r *controlapi.SolveRequest) { r.Cache.Imports = []*controlapi.CacheOptionsEntry{{Type: "inline"}} },
		"a cache's option": func(r *controlapi.SolveRequest) {
			r.Cache.Exports = []*controlapi.CacheOptionsEntry{{Type: "registry", Attrs: map[string]string{"ref": "localhost:4566/a", "registry.insecure": "true"}}}
		},
		"old cache options":  func(r *controlapi.SolveRequest) { r.Cache.ExportRefDeprecated = "x" },
		"a source policy":    func(r *controlapi.SolveRequest) { r.SourcePolicy = &spb.Policy{} },
		"a policy session":   func(r *controlapi.SolveRequest) { r.SourcePolicySession = "x" },
		"another exporter":   func(r *controlapi.SolveRequest) { r.Exporters[0].Type = "gha" },
		"two images":         func(r *controlapi.SolveRequest) { r.Exporters = append(r.Exporters, r.Exporters[0]) },
		"an output's option": func(r *controlapi.SolveRequest) { r.Exporters[0].Attrs["store"] = "false" },
		"the network mode":   attr("force-network-mode", "host"),
		"the cgroup":         attr("cgroup-parent", "/"),
		"a frontend's image": attr("source", "docker/dockerfile"),
		"anything new":       attr("something", "new"),
	} {
		req := request()
		change(req)
		_, _, _, err := online.restrict(req)
		if status.Code(err) != codes.PermissionDenied || !strings.HasPrefix(status.Convert(err).Message(), refusal) {
			t.Errorf("%s: restrict() = %v, want a refusal", name, err)
		}
	}
}

func TestRestrict_WithoutExport(t *testing.T) {
	req := request()
	req.Exporters = nil
	got, name, record, err := online.restrict(req)
	if err != nil || name != "" || record != "" || len(got.Exporters) != 0 {
		t.Errorf("restrict() = %v, %q, %q, %v", got, name, record, err)
	}
}

func TestRestrict_Results(t *testing.T) {
	req := request()
	req.Exporters = []*controlapi.Exporter{
		{Type: "local", Attrs: map[string]string{"mode": "delete"}}, {Type: "oci", Attrs: map[string]string{"name": "a:1", "annotation.k": "v"}},
		{Type: "image", Attrs: map[string]string{"name": "a:1", "push": "true", "compression": "gzip", "rewrite-timestamp": "true"}},
	}
	got, name, record, err := offline.restrict(req)
	if err != nil || name != "a:1" {
		t.Fatalf("restrict() = %q, %v", name, err)
	}
	image := exportAttrs(record)
	image["compression"], image["rewrite-timestamp"] = "gzip", "true"
	want := []map[string]string{{"mode": "delete"}, {"name": "a:1", "annotation.k": "v"}, image}
	for i, e := range got.Exporters {
		if d := cmp.Diff(want[i], e.Attrs); d != "" {
			t.Errorf("%s (-want +got):\n%s", e.Type, d)
		}
	}
}

func TestRestrict_Caches(t *testing.T) {
	entry := func(typ, key, value string) []*controlapi.CacheOptionsEntry {
		return []*controlapi.CacheOptionsEntry{{Type: typ, Attrs: map[string]string{key: value}}}
	}
	req := request()
	req.Cache.Imports, req.Cache.Exports = entry("registry", "ref", "builds.example:4566/shop:cache"), entry("registry", "ref", "123456789012.dkr.ecr.eu-central-1.amazonaws.com/shop:cache")
	req.FrontendAttrs["cache-imports"] = `[{"Type":"s3"}]` // what the frontend reads isn't the client's
	got, _, _, err := offline.restrict(req)
	if err != nil {
		t.Fatal(err)
	}
	if ref := got.Cache.Exports[0].Attrs["ref"]; ref != "127.0.0.1:4566/123456789012.eu-central-1/shop:cache" {
		t.Errorf("export to %s", ref)
	}
	if text := got.FrontendAttrs["cache-imports"]; !strings.Contains(text, `"127.0.0.1:4566/shop:cache"`) || strings.Contains(text, "s3") {
		t.Errorf("import from %s", text)
	}
	elsewhere := request()
	elsewhere.Cache.Exports = entry("registry", "ref", "ghcr.io/me/shop:cache")
	if _, _, _, err := offline.restrict(elsewhere); status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "ghcr.io/me/shop:cache") {
		t.Errorf("a cache elsewhere without a network: %v", err)
	}
	if _, _, _, err := online.restrict(elsewhere); err != nil {
		t.Errorf("a cache elsewhere: %v", err)
	}
}

// BuildKit's own engine says what becomes of each source.
func TestPolicy(t *testing.T) {
	const denied = "denied"
	for _, c := range []struct{ source, offline, online string }{
		{"docker-image://docker.io/library/golang:1.26", "", ""}, // the mirror's
		{"docker-image://quay.io/a/b@sha256:00", "docker-image://127.0.0.1:4566/mirror.quay.io/a/b@sha256:00", "docker-image://127.0.0.1:4566/mirror.quay.io/a/b@sha256:00"},
		{"docker-image://localhost:4566/shop:1", "docker-image://127.0.0.1:4566/shop:1", "docker-image://127.0.0.1:4566/shop:1"},
		{"docker-image://builds.example:4566/team/shop:1", "docker-image://127.0.0.1:4566/team/shop:1", "docker-image://127.0.0.1:4566/team/shop:1"},
		{"docker-image://127.0.0.1:4566/shop:1", "", ""},
		{"docker-image://000000000000.dkr.ecr.us-east-1.amazonaws.com/team/shop:1", "docker-image://127.0.0.1:4566/000000000000.us-east-1/team/shop:1", "docker-image://127.0.0.1:4566/000000000000.us-east-1/team/shop:1"},
		{"docker-image://buildsXexample:4566/shop:1", "", ""},
		{"https://example.com/x", denied, ""},
		{"http://example.com/x", denied, ""},
		{"git://github.com/a/b.git", denied, ""},
		{"http://buildkit-session/abc", "", ""},
		{"local://context", "", ""},
	} {
		for _, l := range []limits{offline, online} {
			want := c.online
			if l.net == NetworkNone {
				want = c.offline
			}
			op := &pb.SourceOp{Identifier: c.source}
			_, err := sourcepolicy.NewEngine([]*spb.Policy{l.policy()}).Evaluate(t.Context(), op)
			if want == "" {
				want = c.source
			}
			if err != nil && want != denied || err == nil && op.Identifier != want {
				t.Errorf("%s, network %s: %s, %v, want %s", c.source, l.net, op.Identifier, err, want)
			}
		}
	}
	if p := (limits{net: NetworkHost}).policy(); p != nil {
		t.Errorf("without a registry: %v", p)
	}
}
