package build

import (
	"crypto/rand"
	"maps"
	"slices"
	"strings"

	controlapi "github.com/moby/buildkit/api/services/control"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const frontend = "dockerfile.v0"

// recordPrefix begins the names of containerd's image records that builds make. A record is what keeps a result from
// collection until it is adopted; whoever adopts it deletes the record.
const recordPrefix = "lotse.build/"

// refusal begins what a client is told whose request the handler doesn't pass on.
const refusal = "lotse builder: "

// attributes are the frontend's options that a client may set; those that end in a colon begin a family.
// Source: BuildKit, frontend/dockerui/config.go.
var attributes = []string{
	"filename", "target", "platform", "no-cache", "image-resolve-mode", "cmdline", "shm-size", "ulimit", "add-hosts", "hostname",
	"build-arg:", "label:", "frontend.caps",
}

// Private

// exportAttrs are how every image is written: zstd (half of gzip's time), unpacked, so that a task starts without
// delay, no attestations, which would make an index of each image, and no timestamps rewritten, which would compress
// everything anew on every build.
func exportAttrs(name string) map[string]string {
	return map[string]string{
		"name":              name,
		"push":              "false",
		"unpack":            "true",
		"oci-mediatypes":    "true",
		"compression":       "zstd",
		"force-compression": "false",
	}
}

// restrict makes of a client's request one that builds a Dockerfile and leaves an image in the store, and nothing
// else, or refuses it. A request that exports nothing is one to check whether it builds. It returns what the
// client calls the image, and the name of the record that will hold it; both are empty when nothing is exported.
func restrict(req *controlapi.SolveRequest, net Network) (out *controlapi.SolveRequest, name, record string, err error) {
	switch {
	case req.Frontend != frontend || req.Definition != nil && len(req.Definition.Def) > 0 || len(req.FrontendInputs) > 0:
		return nil, "", "", refuse("only Dockerfiles are built: frontend %q", req.Frontend)
	case len(req.Entitlements) > 0:
		return nil, "", "", refuse("entitlements %v are not granted", req.Entitlements)
	case req.Cache != nil && (len(req.Cache.Exports) > 0 || len(req.Cache.Imports) > 0 || req.Cache.ExportRefDeprecated != "" || len(req.Cache.ImportRefsDeprecated) > 0):
		return nil, "", "", refuse("cache exports and imports are not supported: the cache is kept here")
	case req.SourcePolicy != nil || req.SourcePolicySession != "":
		return nil, "", "", refuse("source policies are not supported")
	case len(req.Exporters) > 1 || len(req.Exporters) == 1 && req.Exporters[0].Type != "image":
		return nil, "", "", refuse("only one image is exported")
	}
	attrs := map[string]string{}
	for k, v := range req.FrontendAttrs {
		if !allowed(k) {
			return nil, "", "", refuse("option %q is not supported", k)
		}
		attrs[k] = v
	}
	if strings.Contains(attrs["platform"], ",") {
		return nil, "", "", refuse("one platform at a time: %q", attrs["platform"])
	}
	attrs["cmdline"] = "x" // the frontend built in, whatever "# syntax=" says
	out = &controlapi.SolveRequest{Ref: req.Ref, Session: req.Session, Frontend: frontend, FrontendAttrs: attrs, Cache: &controlapi.CacheOptions{}}
	if net == NetworkNone {
		attrs["force-network-mode"] = "none"
		out.SourcePolicy = noDownloads()
	}
	if len(req.Exporters) == 1 {
		name, record = req.Exporters[0].Attrs["name"], recordPrefix+strings.ToLower(rand.Text())
		out.Exporters = []*controlapi.Exporter{{Type: "image", Attrs: exportAttrs(record)}}
	}
	return out, name, record, nil
}

func allowed(key string) bool {
	return slices.ContainsFunc(attributes, func(a string) bool {
		return key == a || strings.HasSuffix(a, ":") && strings.HasPrefix(key, a)
	})
}

// noDownloads refuses sources that are not images and not the client's files; what images there are the mirror says.
func noDownloads() *spb.Policy {
	p := &spb.Policy{Version: 1}
	for _, scheme := range []string{"http", "https", "git"} {
		p.Rules = append(p.Rules, &spb.Rule{Action: spb.PolicyAction_DENY, Selector: &spb.Selector{Identifier: scheme + "://*"}})
	}
	return p
}

func refuse(format string, args ...any) error {
	return status.Errorf(codes.PermissionDenied, refusal+format, args...)
}

// frontendAttrs are the frontend's options for a build.
func frontendAttrs(o Options, filename string) map[string]string {
	a := map[string]string{"filename": filename, "cmdline": "x"}
	if o.Target != "" {
		a["target"] = o.Target
	}
	if o.Platform != "" {
		a["platform"] = o.Platform
	}
	if o.NoCache {
		a["no-cache"] = ""
	}
	maps.Insert(a, prefixed("build-arg:", o.Args))
	maps.Insert(a, prefixed("label:", o.Labels))
	return a
}

func prefixed(prefix string, m map[string]string) func(yield func(string, string) bool) {
	return func(yield func(string, string) bool) {
		for k, v := range m {
			if !yield(prefix+k, v) {
				return
			}
		}
	}
}
