package awswire

import (
	"cmp"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// A route is where a request wants to go, as far as it says.
type route struct {
	protocol Protocol // of the answer
	api      *API     // nil: no API of ours
	op       string   // "" when the request names none
	version  string   // of query and EC2 requests
	form     url.Values
	labels   map[string]string // of a REST request's path
	err      error             // told to callers that are known
}

// routeOf finds the API and operation of a request. It refuses nothing: who isn't authenticated
// learns nothing about what there is.
// But for REST services only X-Amz-Target or Action count, neither path nor host. Source: Smithy specification,
// awsJson1.1 and awsQuery.
func (m *Mux) routeOf(r *http.Request, body []byte) route {
	service := scopeService(r)
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		prefix, op, _ := strings.Cut(target, ".")
		return route{protocol: JSON11, api: m.targets[prefix], op: op}
	}
	if rt, ok := m.restRoute(r); ok {
		return rt
	}
	form, err := formOf(r, body)
	if form.Get("Action") == "" {
		// A request of no protocol we speak. With a known service in its scope it is answered as
		// that service does.
		rt := route{protocol: JSON11, api: m.named(service)}
		if rt.api != nil {
			rt.protocol = rt.api.Protocol
		}
		if err != nil {
			rt.protocol, rt.err = Query, malformedQuery("The query string contains a syntax error.")
		}
		return rt
	}
	rt := route{protocol: Query, op: form.Get("Action"), version: form.Get("Version"), form: form}
	rt.api = m.queryAPI(rt.op, rt.version, service)
	if rt.api != nil {
		rt.protocol = rt.api.Protocol
	}
	if err != nil {
		rt.err = malformedQuery("The query string contains a syntax error.")
	}
	return rt
}

// queryAPI finds an API by version, then by the service that the request is signed for, then by
// the action. A version of nobody's leaves the service.
func (m *Mux) queryAPI(op, version, service string) *API {
	var same []*API
	for _, a := range m.apis {
		if !a.Protocol.JSON() && (a.Version == version || version == "") {
			same = append(same, a)
		}
	}
	for _, a := range same {
		if a.SigningName == service {
			return a
		}
	}
	for _, a := range same {
		if a.has(op) {
			return a
		}
	}
	if len(same) > 0 && version != "" {
		return same[0]
	}
	if a := m.named(service); a != nil && !a.Protocol.JSON() {
		return a
	}
	return nil
}

// operation returns what the request asks for, when it is ours.
func (rt route) operation() (operation, bool) {
	if rt.err != nil || rt.api == nil || !rt.versionFits() {
		return operation{}, false
	}
	op, ok := rt.api.ops[rt.op]
	return op, ok
}

func (rt route) versionFits() bool {
	return rt.protocol.JSON() || rt.version == rt.api.Version
}

// refuse explains why a request that goes nowhere goes nowhere, to a caller that is known.
func (m *Mux) refuse(r *http.Request, rt route) error {
	service := scopeService(r)
	switch {
	case rt.err != nil:
		return rt.err
	case rt.api == nil && service != "" && m.named(service) == nil:
		return m.notImplemented(service, rt.op)
	case rt.op == "" || rt.api == nil && rt.protocol.JSON():
		return &Error{Code: "UnknownOperationException", Status: http.StatusNotFound, Message: "The request names no operation that is known here."}
	case rt.api == nil, !rt.versionFits(), !rt.api.has(rt.op):
		if rt.protocol.JSON() {
			return &Error{Code: "UnknownOperationException", Status: http.StatusNotFound, Message: fmt.Sprintf("The operation %s is not known.", rt.op)}
		}
		return &Error{Code: "InvalidAction", Message: fmt.Sprintf("Could not find operation %s for version %s", rt.op, cmp.Or(rt.version, "NO_VERSION_SPECIFIED"))}
	}
	return m.notImplemented(rt.api.SigningName, rt.op)
}

func (m *Mux) notImplemented(service, op string) error {
	what := service
	if op != "" {
		what += ":" + op
	}
	text := fmt.Sprintf("Lotse does not have %s.", what)
	if m.o.Coverage != "" {
		text += " What it has is listed in " + m.o.Coverage + "."
	}
	return &Error{Code: "NotImplemented", Status: http.StatusNotImplemented, Message: text}
}

// Private

// named returns the API with that signing name, or nil.
func (m *Mux) named(service string) *API {
	for _, a := range m.apis {
		if a.SigningName == service {
			return a
		}
	}
	return nil
}

// has says whether AWS, or the API, has the operation.
func (a *API) has(op string) bool {
	_, ours := a.ops[op]
	return ours || operations()[a.SigningName][op]
}

// formOf reads the parameters of a query request: of the body, and of the URL for what the body
// doesn't have.
func formOf(r *http.Request, body []byte) (url.Values, error) {
	form, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || r.Method != http.MethodPost {
		return form, err
	}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/x-www-form-urlencoded" {
		return form, nil
	}
	posted, err := url.ParseQuery(string(body))
	for name, values := range form {
		if _, ok := posted[name]; !ok {
			posted[name] = values
		}
	}
	return posted, err
}

// scopeService returns the service that the request claims to be signed for, or "".
// Source: SigV4: Credential=KEY/DATE/REGION/SERVICE/aws4_request.
func scopeService(r *http.Request) string {
	_, credential, ok := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	if !ok {
		if !strings.Contains(r.URL.RawQuery, "X-Amz-Credential=") {
			return ""
		}
		credential = r.URL.Query().Get("X-Amz-Credential")
	}
	credential, _, _ = strings.Cut(credential, ",")
	if parts := strings.Split(credential, "/"); len(parts) >= 5 {
		return parts[len(parts)-2]
	}
	return ""
}
