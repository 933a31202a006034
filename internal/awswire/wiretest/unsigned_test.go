package wiretest_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/awswire/wiretest"
)

// TestMux_AuthenticatesEveryOperationFirst sends every operation without a signature.
func TestMux_AuthenticatesEveryOperationFirst(t *testing.T) {
	var asked string
	m := awswire.NewMux(awswire.MuxOptions{Authenticate: func(_ *http.Request, _ []byte, api *awswire.API, op string) (context.Context, error) {
		asked = api.SigningName + ":" + op
		return nil, &awswire.Error{Code: "MissingAuthenticationToken", Message: "Missing Authentication Token", Status: http.StatusForbidden}
	}})
	for _, s := range wiretest.Services() {
		api := s.API
		for _, op := range wiretest.Operations(s.Client(aws.Config{Region: "us-east-1"})) {
			awswire.HandleType(&api, op.In, op.Out, func(context.Context, any) (any, error) {
				t.Errorf("%s ran for an unknown caller", op.Name)
				return nil, nil
			})
		}
		m.Add(&api)
	}
	n := 0
	for api, op := range m.Operations() {
		n++
		w := httptest.NewRecorder()
		m.ServeHTTP(w, wiretest.Request(t, "http://lotse.test", api, op))
		if w.Code != http.StatusForbidden {
			t.Errorf("%s:%s answers %d to an unknown caller: %s", api.SigningName, op, w.Code, w.Body)
		}
		if want := api.SigningName + ":" + op; asked != want {
			t.Errorf("Authenticate was asked about %q, want %q", asked, want)
		}
	}
	if n < 1000 {
		t.Errorf("only %d operations", n)
	}
}
