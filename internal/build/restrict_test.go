package build

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/solver/pb"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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
	got, name, record, err := restrict(req, NetworkNone)
	if err != nil {
		t.Fatal(err)
	}
	if name != "localhost:4566/shop:1" || !strings.HasPrefix(record, recordPrefix) {
		t.Errorf("name = %q, record = %q", name, record)
	}
	want := map[string]string{"filename": "Dockerfile", "cmdline": "x", "target": "t", "platform": "linux/arm64", "no-cache": "", "build-arg:A": "1", "label:l": "2", "force-network-mode": "none"}
	if d := cmp.Diff(want, got.FrontendAttrs); d != "" {
		t.Errorf("attributes (-want +got):\n%s", d)
	}
	if d := cmp.Diff(exportAttrs(record), got.Exporters[0].Attrs); d != "" {
		t.Errorf("export (-want +got):\n%s", d)
	}
	if got.ExporterDeprecated != "" || got.Internal || got.ProxyNetwork || got.EnableSessionExporter || got.Ref != "r" || got.Session != "s" {
		t.Errorf("request = %v", got)
	}
	if len(got.SourcePolicy.GetRules()) != 3 {
		t.Errorf("source policy = %v, want http, https and git denied", got.SourcePolicy)
	}
	if got, _, _, _ := restrict(request(), NetworkHost); got.SourcePolicy != nil || got.FrontendAttrs["force-network-mode"] != "" {
		t.Errorf("with the machine's network: %v", got)
	}
	_, _, other, _ := restrict(request(), NetworkHost)
	if other == record {
		t.Error("two builds have the same record")
	}
}

func TestRestrict_Refuses(t *testing.T) {
	attr := func(k, v string) func(*controlapi.SolveRequest) {
		return func(r *controlapi.SolveRequest) { r.FrontendAttrs[k] = v }
	}
	for name, change := range map[string]func(*controlapi.SolveRequest){
		"another frontend":   func(r *controlapi.SolveRequest) { r.Frontend = "gateway.v0" },
		"no frontend":        func(r *controlapi.SolveRequest) { r.Frontend = "" },
		"a definition":       func(r *controlapi.SolveRequest) { r.Definition = &pb.Definition{Def: [][]byte{{1}}} },
		"frontend inputs":    func(r *controlapi.SolveRequest) { r.FrontendInputs = map[string]*pb.Definition{"x": {}} },
		"entitlements":       func(r *controlapi.SolveRequest) { r.Entitlements = []string{"network.host"} },
		"a cache export":     func(r *controlapi.SolveRequest) { r.Cache.Exports = []*controlapi.CacheOptionsEntry{{Type: "s3"}} },
		"a cache import":     func(r *controlapi.SolveRequest) { r.Cache.Imports = []*controlapi.CacheOptionsEntry{{Type: "s3"}} },
		"old cache options":  func(r *controlapi.SolveRequest) { r.Cache.ExportRefDeprecated = "x" },
		"a source policy":    func(r *controlapi.SolveRequest) { r.SourcePolicy = &spb.Policy{} },
		"a policy session":   func(r *controlapi.SolveRequest) { r.SourcePolicySession = "x" },
		"another exporter":   func(r *controlapi.SolveRequest) { r.Exporters[0].Type = "local" },
		"two exporters":      func(r *controlapi.SolveRequest) { r.Exporters = append(r.Exporters, r.Exporters[0]) },
		"the network mode":   attr("force-network-mode", "host"),
		"the cgroup":         attr("cgroup-parent", "/"),
		"attestations":       attr("attest:provenance", ""),
		"a remote cache":     attr("cache-imports", "[]"),
		"a remote context":   attr("context", "https://example.com/x.tar"),
		"a named context":    attr("context:golang", "docker-image://other"),
		"a frontend's image": attr("source", "docker/dockerfile"),
		"several platforms":  attr("platform", "linux/amd64,linux/arm64"),
		"anything new":       attr("something", "new"),
	} {
		req := request()
		change(req)
		_, _, _, err := restrict(req, NetworkHost)
		if status.Code(err) != codes.PermissionDenied || !strings.HasPrefix(status.Convert(err).Message(), refusal) {
			t.Errorf("%s: restrict() = %v, want a refusal", name, err)
		}
	}
}

func TestRestrict_WithoutExport(t *testing.T) {
	req := request()
	req.Exporters = nil
	got, name, record, err := restrict(req, NetworkHost)
	if err != nil || name != "" || record != "" || len(got.Exporters) != 0 {
		t.Errorf("restrict() = %v, %q, %q, %v", got, name, record, err)
	}
}
