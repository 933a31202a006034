package build

import (
	"crypto/rand"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	controlapi "github.com/moby/buildkit/api/services/control"
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
// Source: BuildKit, frontend/dockerui/config.go, context.go and namedcontext.go.
var attributes = []string{
	"filename", "target", "platform", "no-cache", "image-resolve-mode", "cmdline", "shm-size", "ulimit", "add-hosts", "hostname",
	"build-arg:", "label:", "frontend.caps", "context", "context:", "contextsubdir", "dockerfilekey", "attest:provenance", "attest:sbom",
	"cache-imports",
}

// cacheAttributes are those of caches. Source: BuildKit, README.md, "Export cache".
var cacheAttributes = []string{
	"ref", "mode", "image-manifest", "oci-mediatypes", "oci-artifact", "compression", "compression-level", "force-compression", "ignore-error",
	"src", "dest", "digest", "tag", "reset",
}

// limits are what the requests of one client are held to.
type limits struct {
	net   Network
	names registryNames
}

// Private

// exportAttrs are how every image is written: zstd (half of gzip's time), unpacked, so that a task starts without
// delay.
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

// restrict makes of a client's request one that builds a Dockerfile and leaves an image in the store, or files with
// the client, and nothing else, or refuses it. A request that exports nothing is one to check whether it builds. It
// returns what the client calls the image, and the name of the record that will hold it; both are empty when no image
// is exported.
func (l limits) restrict(req *controlapi.SolveRequest) (out *controlapi.SolveRequest, name, record string, err error) {
	switch {
	case req.Frontend != frontend || req.Definition != nil && len(req.Definition.Def) > 0 || len(req.FrontendInputs) > 0:
		return nil, "", "", refuse("only Dockerfiles are built: frontend %q", req.Frontend)
	case len(req.Entitlements) > 0:
		return nil, "", "", refuse("entitlements %v are not granted", req.Entitlements)
	case req.Cache != nil && (req.Cache.ExportRefDeprecated != "" || len(req.Cache.ImportRefsDeprecated) > 0):
		return nil, "", "", refuse("caches are to be given with their type")
	case req.SourcePolicy != nil || req.SourcePolicySession != "":
		return nil, "", "", refuse("source policies are not supported")
	}
	attrs := map[string]string{}
	for k, v := range req.FrontendAttrs {
		if !among(attributes, k) {
			return nil, "", "", refuse("option %q is not supported", k)
		}
		if k == "cache-imports" {
			continue // made anew of what the request says
		}
		attrs[k] = v
	}
	attrs["cmdline"] = "x" // the frontend built in, whatever "# syntax=" says
	out = &controlapi.SolveRequest{Ref: req.Ref, Session: req.Session, Frontend: frontend, FrontendAttrs: attrs, Cache: &controlapi.CacheOptions{}, SourcePolicy: l.policy()}
	if l.net == NetworkNone {
		attrs["force-network-mode"] = "none"
	}
	if err := l.caches(req, out); err != nil {
		return nil, "", "", err
	}
	name, record, err = exporters(req, out)
	return out, name, record, err
}

// exporters lets results go to the client that asked, and one image into the store.
func exporters(req, out *controlapi.SolveRequest) (name, record string, err error) {
	for i, e := range req.Exporters {
		attrs := map[string]string{}
		switch e.Type {
		case "image":
			if i != len(req.Exporters)-1 {
				return "", "", refuse("one image is exported, the last of the results")
			}
			name, record = e.Attrs["name"], recordPrefix+strings.ToLower(rand.Text())
			attrs = exportAttrs(record)
		case "local", "tar", "oci", "docker":
		default:
			return "", "", refuse("output type %q is not supported", e.Type)
		}
		for k, v := range e.Attrs {
			_, ours := attrs[k]
			switch {
			case e.Type == "image" && ours && !strings.Contains(k, "compression"): // decided here
			case among(outputAttributes, k):
				attrs[k] = v
			default:
				return "", "", refuse("output option %q is not supported", k)
			}
		}
		out.Exporters = append(out.Exporters, &controlapi.Exporter{Type: e.Type, Attrs: attrs})
	}
	return name, record, nil
}

// caches lets caches go to and come from the client that asked, this server's registry, and others if there is a network.
func (l limits) caches(req, out *controlapi.SolveRequest) error {
	if req.Cache == nil {
		return nil
	}
	var err error
	if out.Cache.Exports, err = l.cacheEntries(req.Cache.Exports, "registry", "local", "inline"); err != nil {
		return err
	}
	if out.Cache.Imports, err = l.cacheEntries(req.Cache.Imports, "registry", "local"); err != nil || len(out.Cache.Imports) == 0 {
		return err
	}
	b, err := json.Marshal(out.Cache.Imports)
	out.FrontendAttrs["cache-imports"] = string(b)
	return err
}

func (l limits) cacheEntries(in []*controlapi.CacheOptionsEntry, types ...string) (out []*controlapi.CacheOptionsEntry, err error) {
	for _, e := range in {
		if !slices.Contains(types, e.Type) {
			return nil, refuse("cache type %q is not supported: %s", e.Type, strings.Join(types, ", "))
		}
		attrs := maps.Clone(e.Attrs)
		for k := range attrs {
			if !slices.Contains(cacheAttributes, k) {
				return nil, refuse("cache option %q is not supported", k)
			}
		}
		if e.Type == "registry" {
			ref, ours := l.names.local(attrs["ref"])
			if !ours && l.net == NetworkNone {
				return nil, refuse("builds reach no registry but this server's: a cache in %s", attrs["ref"])
			}
			attrs["ref"] = ref
		}
		out = append(out, &controlapi.CacheOptionsEntry{Type: e.Type, Attrs: attrs})
	}
	return out, nil
}

func among(list []string, key string) bool {
	return slices.ContainsFunc(list, func(a string) bool {
		return key == a || strings.ContainsAny(a[len(a)-1:], ":.-[") && strings.HasPrefix(key, a)
	})
}

func refuse(format string, args ...any) error {
	return status.Errorf(codes.PermissionDenied, refusal+format, args...)
}

// frontendAttrs are the frontend's options for a build. filename "" is the frontend's default.
func frontendAttrs(o Options, filename string) map[string]string {
	a := map[string]string{"cmdline": "x"}
	set := func(key, value string) {
		if value != "" {
			a[key] = value
		}
	}
	set("filename", filename)
	set("target", o.Target)
	set("platform", o.Platform)
	if o.ShmSize > 0 {
		a["shm-size"] = strconv.FormatInt(o.ShmSize, 10)
	}
	set("ulimit", strings.Join(o.Ulimits, ","))
	set("add-hosts", hosts(o.AddHosts))
	set("no-cache", strings.Join(o.NoCacheStages, ","))
	if o.NoCache {
		a["no-cache"] = ""
	}
	if o.Pull {
		a["image-resolve-mode"] = "pull"
	}
	attest(a, "attest:provenance", o.Provenance, "mode=min")
	attest(a, "attest:sbom", o.SBOM, "")
	set("build-arg:"+epochArg, o.epoch())
	maps.Insert(a, prefixed("build-arg:", o.Args))
	maps.Insert(a, prefixed("label:", o.Labels))
	return a
}

// attest asks for an attestation. The key alone turns it on, whatever its value.
func attest(a map[string]string, key, value, plain string) {
	switch value {
	case "", "false":
	case "true":
		a[key] = plain
	default:
		a[key] = value
	}
}

// hosts turns docker's "name:address", or "name=address", into what BuildKit reads.
func hosts(lines []string) string {
	var out []string
	for _, l := range lines {
		name, addr, ok := strings.Cut(l, "=")
		if !ok {
			name, addr, _ = strings.Cut(l, ":")
		}
		out = append(out, name+"="+strings.Trim(addr, "[]"))
	}
	return strings.Join(out, ",")
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
