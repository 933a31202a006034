package build

import (
	"regexp"
	"slices"
	"strings"

	spb "github.com/moby/buildkit/sourcepolicy/pb"
)

// ecrHost is what ECR's registries are called. Source: Amazon ECR User Guide, "Private registry".
const ecrHost = `([0-9]{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com`

// registryNames are what a client may call the server's own registry, and where builds find it.
type registryNames struct {
	at       string   // "127.0.0.1:4566"; empty: there is none
	aliases  []string // "localhost:4566", …
	prefix   string   // of imported images, "mirror"
	imported []string // registries of imported images, besides those that have a mirror
}

// Private

// registryNames are the daemon's, and the host under which this client knows the server.
func (d *Daemon) registryNames(host string, imported []string) registryNames {
	at, prefix, _ := strings.Cut(d.o.Mirror, "/")
	if at == "" {
		return registryNames{}
	}
	_, port, _ := strings.Cut(at, ":")
	n := registryNames{at: at, prefix: prefix, aliases: []string{"localhost:" + port}}
	for _, a := range append([]string{host}, d.o.RegistryHosts...) {
		if a != "" && a != at && !slices.Contains(n.aliases, a) {
			n.aliases = append(n.aliases, a)
		}
	}
	for _, h := range imported {
		if !slices.Contains(mirrored, h) {
			n.imported = append(n.imported, h)
		}
	}
	return n
}

// local is the name by which the builder finds an image of the server's registry; false: it is of another.
func (n registryNames) local(ref string) (string, bool) {
	host, path, ok := strings.Cut(ref, "/")
	switch {
	case !ok || n.at == "":
		return ref, false
	case host == n.at, slices.Contains(n.aliases, host):
		return n.at + "/" + path, true
	}
	m := regexp.MustCompile("^" + ecrHost + "$").FindStringSubmatch(host)
	if m == nil {
		return ref, false
	}
	return n.at + "/" + m[1] + "." + m[2] + "/" + path, true
}

// policy says where sources come from: images of the server's registry, under all of its names, from there, and so
// those that were imported, where BuildKit has no mirror for them. Without a network there are no others than images
// and the client's files.
//
// Source: BuildKit, docs/build-repro.md and sourcepolicy/engine.go: the first conversion is taken, then all begins anew;
// of denials and permissions the last counts.
func (l limits) policy() *spb.Policy {
	p := &spb.Policy{Version: 1}
	convert := func(pattern, to string) {
		p.Rules = append(p.Rules, &spb.Rule{Action: spb.PolicyAction_CONVERT,
			Selector: &spb.Selector{Identifier: "^docker-image://" + pattern + "$", MatchType: spb.MatchType_REGEX},
			Updates:  &spb.Update{Identifier: "docker-image://" + l.names.at + "/" + to}})
	}
	if l.names.at != "" {
		for _, a := range l.names.aliases {
			convert(regexp.QuoteMeta(a)+"/(.*)", "${1}")
		}
		convert(ecrHost+"/(.*)", "${1}.${2}/${3}")
		for _, h := range l.names.imported {
			convert(regexp.QuoteMeta(h)+"/(.*)", l.names.prefix+"."+h+"/${1}")
		}
	}
	if l.net == NetworkNone {
		for _, scheme := range []string{"http", "https", "git"} {
			p.Rules = append(p.Rules, &spb.Rule{Action: spb.PolicyAction_DENY, Selector: &spb.Selector{Identifier: scheme + "://*"}})
		}
		// An archive that the client sends. Source: BuildKit, source/http/transport.go.
		p.Rules = append(p.Rules, &spb.Rule{Action: spb.PolicyAction_ALLOW, Selector: &spb.Selector{Identifier: "http://buildkit-session/*"}})
	}
	if len(p.Rules) == 0 {
		return nil
	}
	return p
}
