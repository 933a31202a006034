package build

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tonistiigi/go-csvvalue"
)

// ParseOutput reads --output: "type=local,dest=out", or "out" alone for that; "-" alone is a tar archive on standard
// output. Source: docker buildx build reference, --output.
func ParseOutput(s string) (Output, error) {
	if !strings.Contains(s, "=") {
		if s == "-" {
			return Output{Type: "tar", Dest: "-"}, nil
		}
		return Output{Type: "local", Dest: s}, nil
	}
	attrs, err := fields("--output", s)
	if err != nil {
		return Output{}, err
	}
	o := Output{Type: take(attrs, "type"), Dest: take(attrs, "dest"), Attrs: attrs}
	switch o.Type {
	case "image", "registry":
		if o.Dest != "" {
			return o, fmt.Errorf("--output type=%s has no dest", o.Type)
		}
		return o, nil
	case "local", "tar", "oci", "docker":
	default:
		return o, fmt.Errorf("--output type=%s: local, tar, oci, docker or image", o.Type)
	}
	if o.Dest == "" && o.Type == "local" {
		return o, fmt.Errorf("--output %s: dest is missing", s)
	}
	if o.Dest == "" {
		o.Dest = "-"
	}
	return o, nil
}

// ParseCache reads --cache-from and --cache-to, "type=registry,ref=REF", or REF alone for that.
func ParseCache(flag, s string) (Cache, error) {
	if !strings.Contains(s, "type=") {
		return Cache{Type: "registry", Attrs: map[string]string{"ref": s}}, nil
	}
	attrs, err := fields(flag, s)
	if err != nil {
		return Cache{}, err
	}
	c := Cache{Type: take(attrs, "type"), Attrs: attrs}
	needs := map[string]string{"registry": "ref", "local": "dest", "inline": ""}
	if flag == "--cache-from" {
		needs = map[string]string{"registry": "ref", "local": "src"}
	}
	need, known := needs[c.Type]
	if !known {
		return c, fmt.Errorf("%s type=%s: registry, local%s", flag, c.Type, map[bool]string{true: " or inline"}[flag == "--cache-to"])
	}
	if need != "" && attrs[need] == "" {
		return c, fmt.Errorf("%s %s: %s is missing", flag, s, need)
	}
	return c, nil
}

// ParseSecret reads --secret, "id=ID[,src=FILE|,env=VARIABLE]".
func ParseSecret(s string) (Secret, error) {
	attrs, err := fields("--secret", s)
	if err != nil {
		return Secret{}, err
	}
	typ := take(attrs, "type")
	out := Secret{ID: take(attrs, "id"), File: take(attrs, "src", "source"), Env: take(attrs, "env")}
	if typ == "env" && out.Env == "" {
		out.Env, out.File = out.File, ""
	}
	switch {
	case len(attrs) > 0:
		return out, fmt.Errorf("--secret %s: id, src, env or type", s)
	case typ != "" && typ != "file" && typ != "env":
		return out, fmt.Errorf("--secret type=%s: file or env", typ)
	case out.ID == "":
		return out, fmt.Errorf("--secret %s: id is missing", s)
	}
	return out, nil
}

// ParseAgent reads --ssh, "default", "ID" or "ID=SOCKET_OR_KEY[,KEY…]".
func ParseAgent(s string) Agent {
	id, paths, ok := strings.Cut(s, "=")
	a := Agent{ID: id}
	if ok {
		a.Paths = strings.Split(paths, ",")
	}
	return a
}

// Private

// fields reads "a=b,c=d", where a value with a comma is in double quotes.
func fields(flag, s string) (map[string]string, error) {
	all, err := csvvalue.Fields(s, nil)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", flag, s, err)
	}
	m := map[string]string{}
	for _, f := range all {
		k, v, ok := strings.Cut(f, "=")
		if !ok {
			return nil, fmt.Errorf("%s %s: %q is not of the form KEY=VALUE", flag, s, f)
		}
		m[strings.ToLower(k)] = v
	}
	return m, nil
}

// take gives the first of the keys that is there, and removes them all.
func take(m map[string]string, keys ...string) (value string) {
	for _, k := range slices.Backward(keys) {
		if v, ok := m[k]; ok {
			value = v
		}
		delete(m, k)
	}
	return value
}
