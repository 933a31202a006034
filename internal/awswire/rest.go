package awswire

import (
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// A binding is where a REST request has a member that isn't in its body.
type binding struct {
	label bool   // of the path; else of the query string
	name  string // there
}

// A restRoute is what the line of a request says when it is for an operation.
type restRoute struct {
	op, method string
	segments   []string // of the path; a label is in braces
}

// rest maps the rows of the generated table to their words.
var rest = sync.OnceValue(func() map[string][]string { return rows(generatedRest) })

// bindings returns which members of an input are not in the body.
func bindings(owner reflect.Type) map[string]binding {
	out := map[string]binding{}
	for _, w := range rest()[tableKey(owner)] {
		field, at, _ := strings.Cut(w, "=")
		where, name, _ := strings.Cut(at, ":")
		out[field] = binding{label: where == "label", name: name}
	}
	return out
}

// restRoutes are those of a service, for all operations that AWS has.
func restRoutes(signingName string) []restRoute {
	var out []restRoute
	for _, w := range rest()[signingName] {
		op, line, _ := strings.Cut(w, "=")
		method, path, _ := strings.Cut(line, ":")
		out = append(out, restRoute{op, method, strings.Split(path, "/")})
	}
	// A word counts before a label. Source: Smithy specification, http trait, specificity routing.
	labels := func(r restRoute) int { return strings.Count(strings.Join(r.segments, "/"), "{") }
	slices.SortStableFunc(out, func(a, b restRoute) int { return labels(a) - labels(b) })
	return out
}

// restRoute finds the operation that a request's method and path are for, and the labels in the path.
func (m *Mux) restRoute(r *http.Request) (route, bool) {
	segments := strings.Split(r.URL.EscapedPath(), "/")
	for _, a := range m.apis {
		for _, rr := range a.routes {
			if labels, ok := rr.match(r.Method, segments); ok {
				return route{protocol: RestJSON, api: a, op: rr.op, labels: labels}, true
			}
		}
	}
	return route{}, false
}

// Line returns the method and path of a request for an operation of a REST service, label in the place of every label.
func (a *API) Line(op, label string) (method, path string) {
	for _, r := range restRoutes(a.SigningName) {
		if r.op != op {
			continue
		}
		segments := slices.Clone(r.segments)
		for i, s := range segments {
			if strings.HasPrefix(s, "{") {
				segments[i] = url.PathEscape(label)
			}
		}
		return r.method, strings.Join(segments, "/")
	}
	return "", ""
}

// Private

func (rr restRoute) match(method string, segments []string) (map[string]string, bool) {
	if method != rr.method || len(segments) != len(rr.segments) {
		return nil, false
	}
	labels := map[string]string{}
	for i, want := range rr.segments {
		got, err := url.PathUnescape(segments[i])
		if err != nil {
			return nil, false
		}
		if name, ok := strings.CutPrefix(want, "{"); ok && got != "" {
			labels[strings.TrimSuffix(name, "}")] = got
		} else if got != want {
			return nil, false
		}
	}
	return labels, true
}

// decodeLine fills the members of v that the path and the query string have.
func decodeLine(labels map[string]string, query string, s *shape, v reflect.Value, c *checker) error {
	q, err := url.ParseQuery(query)
	if err != nil {
		return serialization("The query string contains a syntax error.")
	}
	for i := range s.fields {
		f := &s.fields[i]
		var values []string
		switch {
		case f.bound == nil:
			continue
		case f.bound.label:
			values = []string{labels[f.bound.name]}
		default:
			values = q[f.bound.name]
		}
		if len(values) == 0 {
			continue
		}
		c.enter(f.in, 0)
		err := lineValue(f.shape, v.Field(f.index), values, c)
		c.leave()
		if err != nil {
			return err
		}
	}
	return nil
}

func lineValue(s *shape, v reflect.Value, values []string, c *checker) error {
	v = alloc(v)
	switch s.kind {
	case kindList:
		v.Set(reflect.MakeSlice(v.Type(), len(values), len(values)))
		for i, text := range values {
			if err := lineValue(s.elem, v.Index(i), []string{text}, c); err != nil {
				return err
			}
		}
	case kindString:
		c.enumValue(s, values[0])
		v.SetString(values[0])
	case kindInt:
		n, err := strconv.ParseInt(values[0], 10, v.Type().Bits())
		if err != nil {
			return serialization("STRING_VALUE cannot be converted to " + typeName(s))
		}
		v.SetInt(n)
	case kindBool:
		if values[0] != "true" && values[0] != "false" {
			return serialization("STRING_VALUE cannot be converted to Boolean")
		}
		v.SetBool(values[0] == "true")
	default:
		panic("awswire: no query parameter is a " + s.typ.String())
	}
	return nil
}
