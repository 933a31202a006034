package wiretest

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/lotse-project/lotse/internal/awswire"
)

// Request is an unsigned request for an operation, without any input: what a server must refuse
// before it looks at anything else.
func Request(t testing.TB, baseURL string, api *awswire.API, op string) *http.Request {
	t.Helper()
	body, kind := "{}", "application/x-amz-json-1.1"
	method, path := http.MethodPost, "/"
	switch api.Protocol {
	case awswire.JSON11:
	case awswire.RestJSON:
		method, path = api.Line(op, "x")
		kind = "application/json"
	default:
		body, kind = url.Values{"Action": {op}, "Version": {api.Version}}.Encode(), "application/x-www-form-urlencoded; charset=utf-8"
	}
	r, err := http.NewRequestWithContext(t.Context(), method, baseURL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	if api.Protocol == awswire.JSON11 {
		r.Header.Set("X-Amz-Target", api.Target+"."+op)
	}
	return r
}
