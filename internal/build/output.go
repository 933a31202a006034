package build

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	bkclient "github.com/moby/buildkit/client"
)

// An Output is a result that is written on the client's machine, or the image.
type Output struct {
	Type  string            // "local", "tar", "oci", "docker"; "image" or "registry"
	Dest  string            // a directory for local, else a file; "-": Stdout; empty for an image
	Attrs map[string]string // further ones of BuildKit's exporter

	Stdout io.Writer // where "-" goes
}

// A Cache is where the cache of steps is taken from or put, besides the builder's own.
type Cache struct {
	Type  string            // "registry", "local" or "inline"
	Attrs map[string]string // ref, mode, …; src or dest
}

// outputAttributes are the exporters' attributes that a client may set. Those that end in a dot or dash begin a family.
// Source: BuildKit, exporter/containerimage/exptypes/keys.go, exporter/local, exporter/tar.
var outputAttributes = []string{
	"name", "compression", "compression-level", "force-compression", "oci-mediatypes", "rewrite-timestamp", "annotation.", "annotation-",
	"annotation[", "platform-split", "mode", "tar", "attestation-prefix",
}

// Private

func (w Output) image() bool { return w.Type == "image" || w.Type == "registry" }

// image tells whether an image is wanted, not only what is written here.
func (o Options) image() bool {
	return len(o.Outputs) == 0 || slices.ContainsFunc(o.Outputs, Output.image)
}

// exports are what a build leaves, the image last: what is said of the results is said of the last.
func exports(o Options, image bkclient.ExportEntry) ([]bkclient.ExportEntry, error) {
	var out []bkclient.ExportEntry
	for _, w := range o.Outputs {
		if w.image() {
			maps.Copy(image.Attrs, w.Attrs)
			continue
		}
		e := bkclient.ExportEntry{Type: w.Type, Attrs: maps.Clone(w.Attrs)}
		if e.Attrs == nil {
			e.Attrs = map[string]string{}
		}
		switch {
		case w.Type == bkclient.ExporterLocal, e.Attrs["tar"] == "false":
			e.OutputDir = w.Dest
		case w.Type == bkclient.ExporterTar, w.Type == bkclient.ExporterOCI, w.Type == bkclient.ExporterDocker:
			e.Output = func(map[string]string) (io.WriteCloser, error) { return w.open() }
		default:
			return nil, fmt.Errorf("output type %q: local, tar, oci, docker or image", w.Type)
		}
		if w.Dest == "" {
			return nil, fmt.Errorf("output type %s: dest is missing", w.Type)
		}
		if w.Type == bkclient.ExporterOCI || w.Type == bkclient.ExporterDocker {
			if e.Attrs["name"] == "" && len(o.Names) > 0 {
				e.Attrs["name"] = strings.Join(o.Names, ",")
			}
			maps.Copy(e.Attrs, annotations(o))
		}
		if w.Type != bkclient.ExporterLocal && w.Type != bkclient.ExporterTar && o.epoch() != "" { // which set times to the epoch anyway
			e.Attrs["rewrite-timestamp"] = "true"
		}
		out = append(out, e)
	}
	if o.image() {
		maps.Copy(image.Attrs, annotations(o))
		out = append(out, image)
	}
	return out, nil
}

func annotations(o Options) map[string]string {
	m := map[string]string{}
	for k, v := range o.Annotations {
		m["annotation."+k] = v
	}
	return m
}

func (w Output) open() (io.WriteCloser, error) {
	if w.Dest != "-" {
		return os.Create(w.Dest)
	}
	if w.Stdout == nil {
		return nil, errors.New("output to -: there is no standard output")
	}
	return keptOpen{w.Stdout}, nil
}

// keptOpen is a writer that others go on to use.
type keptOpen struct{ io.Writer }

func (keptOpen) Close() error { return nil }

func caches(cs []Cache) []bkclient.CacheOptionsEntry {
	var out []bkclient.CacheOptionsEntry
	for _, c := range cs {
		out = append(out, bkclient.CacheOptionsEntry{Type: c.Type, Attrs: maps.Clone(c.Attrs)})
	}
	return out
}
