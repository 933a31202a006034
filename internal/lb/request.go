package lb

import (
	"net/http"
	"net/textproto"
	"strings"
)

// request is a client's request, as all that is decided about it needs it: each engine makes it of what it has read.
type request struct {
	major         int    // of the version of HTTP
	proto         string // the version
	method        string
	host          string // as in the Host field
	target        string // of the request line
	fields        fields
	fieldTooLarge bool
}

// fields are the header fields of a message.
type fields interface {
	// value is the i-th value of the field with the name, which is in canonical form. ok: there are as many.
	value(name string, i int) (v string, ok bool)
}

// first is the field's first value, "" without one.
func first(f fields, name string) string {
	v, _ := f.value(name, 0)
	return v
}

// valueIn is fields' value in a list.
func valueIn(list []field, name string, i int) (string, bool) {
	for j := range list {
		if f := &list[j]; len(f.name) == len(name) && strings.EqualFold(f.name, name) {
			if i == 0 {
				return f.value, true
			}
			i--
		}
	}
	return "", false
}

// httpFields are those of net/http.
type httpFields http.Header

func (h httpFields) value(name string, i int) (string, bool) {
	if all := h[name]; i < len(all) {
		return all[i], true
	}
	return "", false
}

// newRequest is what net/http has read.
func newRequest(r *http.Request) request {
	a := request{major: r.ProtoMajor, proto: r.Proto, method: r.Method, host: r.Host, target: r.RequestURI, fields: httpFields(r.Header)}
	for name, values := range r.Header {
		for _, v := range values {
			a.fieldTooLarge = a.fieldTooLarge || len(name)+len(v) > maxHeader
		}
	}
	return a
}

// isGRPC says whether a request is a call of gRPC. That of gRPC-Web, application/grpc-web, is another protocol, for
// browsers, of ordinary requests. Source: gRPC over HTTP2, requests, Content-Type.
func (a *request) isGRPC() bool {
	rest, ok := strings.CutPrefix(first(a.fields, "Content-Type"), "application/grpc")
	return ok && a.major == 2 && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// cookie goes through the values of the cookie of a name until found is true.
func (a *request) cookie(name string, found func(value string) bool) bool {
	for i := 0; ; i++ {
		line, ok := a.fields.value("Cookie", i)
		if !ok {
			return false
		}
		for part := range strings.SplitSeq(line, ";") {
			if k, v, ok := strings.Cut(textproto.TrimString(part), "="); ok && k == name && found(v) {
				return true
			}
		}
	}
}
