package build

import (
	"context"
	"encoding/json"
	"maps"
	"strings"
	"sync"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/identity"
	"google.golang.org/grpc"
)

// maxRewritten is how many images are remembered; one has about 2 KiB.
const maxRewritten = 1000

// rewritten remembers what images became when the times in their layers were rewritten. BuildKit compresses all layers
// above the base image for that, each time; an image with the same layers as before needs none of it.
//
//	build, times as they are ──► digest ── known? ──► hold what it became: 0.1 s, whatever the size
//	                                    └─ new ─────► export once more, rewritten: about 1 s for 100 MB
//
// It is a cache and no more: forgetting it costs time, and gives the same image.
type rewritten struct {
	hold func(ctx context.Context, record string, img Image) (bool, error)

	mu      sync.Mutex
	results map[string]map[string]string // BuildKit's response by key
}

// Private

// solve is BuildKit's Solve, whose image is to be held by record.
func (r *rewritten) solve(ctx context.Context, backend grpc.ClientConnInterface, req *controlapi.SolveRequest, record string) (*controlapi.SolveResponse, error) {
	bk := controlapi.NewControlClient(backend)
	first, ok := unwritten(req)
	if !ok || r.hold == nil {
		return bk.Solve(ctx, req)
	}
	resp, err := bk.Solve(ctx, first)
	if err != nil {
		return nil, err
	}
	key := rewriteKey(req, resp.ExporterResponse[exptypes.ExporterImageDigestKey])
	if known := r.get(key); known != nil {
		img, err := imageOf(known)
		if err != nil {
			return nil, err
		}
		if held, err := r.hold(ctx, record, img); held || err != nil {
			return &controlapi.SolveResponse{ExporterResponse: known}, err
		}
	}
	req.Ref = identity.NewID()
	if resp, err = bk.Solve(ctx, req); err == nil {
		r.put(key, resp.ExporterResponse)
	}
	return resp, err
}

// unwritten is the same build without rewriting, if a second one takes all steps from the cache and does nothing twice.
func unwritten(req *controlapi.SolveRequest) (*controlapi.SolveRequest, bool) {
	a := req.FrontendAttrs
	_, anew := a["no-cache"]
	_, provenance := a["attest:provenance"]
	_, sbom := a["attest:sbom"]
	upload := strings.HasPrefix(a["context"], "http://buildkit-session/") // comes once
	if anew || provenance || sbom || upload || len(req.Exporters) != 1 || req.Exporters[0].Attrs["rewrite-timestamp"] != "true" || len(req.Cache.GetExports()) > 0 {
		return nil, false
	}
	attrs := maps.Clone(req.Exporters[0].Attrs)
	delete(attrs, "rewrite-timestamp")
	delete(attrs, "name") // nothing is to keep it
	attrs["unpack"] = "false"
	return &controlapi.SolveRequest{Ref: req.Ref, Session: req.Session, Frontend: req.Frontend, FrontendAttrs: a, Cache: req.Cache, SourcePolicy: req.SourcePolicy,
		Exporters: []*controlapi.Exporter{{Type: req.Exporters[0].Type, Attrs: attrs}}}, true
}

// rewriteKey is all that a rewritten image depends on.
func rewriteKey(req *controlapi.SolveRequest, digest string) string {
	attrs := maps.Clone(req.Exporters[0].Attrs)
	delete(attrs, "name")
	text, _ := json.Marshal(attrs) // in the order of keys
	return digest + " " + req.FrontendAttrs["build-arg:"+epochArg] + " " + string(text)
}

func (r *rewritten) get(key string) map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.results[key])
}

func (r *rewritten) put(key string, response map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.results) >= maxRewritten {
		clear(r.results)
	}
	r.results[key] = maps.Clone(response)
}
