package ecs

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
)

// boto3, in testdata/judge.py, finds results and errors as it finds them on AWS, when it asks what
// Terraform's provider and ecspresso ask.
func TestBoto3(t *testing.T) {
	if testing.Short() {
		t.Skip("runs python")
	}
	b := newBench(t)
	mux := awswire.NewMux(awswire.MuxOptions{Authenticate: func(r *http.Request, _ []byte, _ *awswire.API, _ string) (context.Context, error) {
		return awsauth.WithCaller(r.Context(), awsauth.CallerFrom(b.ctx)), nil
	}})
	mux.Add(b.s.API())
	server := httptest.NewServer(mux)
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "python3", "testdata/judge.py", server.URL, b.subnets[0], b.group, roleARN).CombinedOutput()
	if err != nil {
		t.Errorf("%v (script/deps installs python3-boto3)\n%s", err, out)
	}
}
