package build

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// mirrored are the registries whose images are asked for at our own registry first: docker.io's below the mirror's
// prefix, those of another below the prefix with a dot and its name appended, "mirror.ghcr.io".
var mirrored = []string{"docker.io", "public.ecr.aws", "ghcr.io"}

// deadProxy is an address where nobody listens (discard). Whoever is told to go through it stays on this machine, and
// looks no name up.
const deadProxy = "http://127.0.0.1:9"

// Private

// config is buildkitd's configuration file. Source: BuildKit 0.34, docs/buildkitd.toml.md and cmd/buildkitd/config.
func (d *Daemon) config() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("root = %q", d.o.Root)
	line("insecure-entitlements = []") // no RUN --network=host, no --security=insecure
	line("provenanceEnvDir = %q", filepath.Join(d.o.Root, "provenance.d"))
	line("[log]\nlevel = \"info\"")
	line("[grpc]\naddress = [%q]", d.address())
	line("[otel]\nsocketPath = %q", filepath.Join(d.traceDir(), "sock"))
	line("[cdi]\ndisabled = true")
	line("[history]\nmaxAge = \"24h\"\nmaxEntries = 20") // it holds the images of builds
	line("[worker.oci]\nenabled = false")
	line("[worker.containerd]\nenabled = true")
	line("address = %q\nnamespace = %q", d.o.Containerd, d.o.Namespace)
	// What was used last stays; a disk that is nearly full for other reasons loses all of it.
	line("gc = true\nmaxUsedSpace = \"%d\"\nminFreeSpace = \"5%%\"", d.o.Cache)
	line("networkMode = \"host\"") // NetworkNone is enforced for each build, see restrict
	line("defaultCgroupParent = %q", d.o.CgroupParent)
	line("[worker.containerd.runtime]\nname = \"io.containerd.runc.v2\"")
	line("[worker.containerd.runtime.options]")
	if d.o.Runc != "" {
		line("BinaryName = %q", d.o.Runc)
	}
	if d.o.RuncRoot != "" {
		line("Root = %q", d.o.RuncRoot)
	}
	line("[frontend.\"gateway.v0\"]\nenabled = false") // no frontend but the one built in
	if d.o.Mirror != "" {
		for _, r := range mirrored {
			at := d.o.Mirror
			if r != "docker.io" {
				at += "." + r
			}
			line("[registry.%q]\nmirrors = [%q]", r, at)
		}
		host, _, _ := strings.Cut(d.o.Mirror, "/")
		line("[registry.%q]\nhttp = true", host)
	}
	return b.String()
}

// configHash tells whether a running buildkitd was started as we would start it now.
func (d *Daemon) configHash() string {
	h := sha256.Sum256([]byte(d.o.Binary + "\x00" + d.config() + "\x00" + strings.Join(d.environ(), "\x00")))
	return hex.EncodeToString(h[:8])
}

// environ is buildkitd's whole environment.
func (d *Daemon) environ() []string {
	env := []string{"HOME=" + d.o.Root, "TMPDIR=" + d.tmp()}
	keep := []string{"PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"}
	proxies := []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"}
	if d.o.Network == NetworkNone {
		for _, name := range proxies {
			env = append(env, name+"="+deadProxy)
		}
		env = append(env, "NO_PROXY=127.0.0.1,localhost", "no_proxy=127.0.0.1,localhost")
	} else {
		keep = append(append(keep, proxies...), "NO_PROXY", "no_proxy")
	}
	for _, name := range keep {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}
