package wiretest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/go-cmp/cmp"

	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/sdkhttp"
)

// beyond are the operations that random input doesn't work for, or that need what awswire doesn't
// have: unions in requests, and event streams.
var beyond = map[string]bool{
	"acm.CreateAcmeDomainValidation": true, // union
	"acm.CreateAcmeEndpoint":         true, // union
	"cloudwatchlogs.GetLogObject":    true, // event stream
	"cloudwatchlogs.PutIntegration":  true, // union
	"cloudwatchlogs.StartLiveTail":   true, // event stream
	"ecs.CreateGateway":              true, // union
	"ssm.CreateCloudConnector":       true, // union
	"ec2.CopySnapshot":               true, // the client presigns another request to the region in the input
}

// Everything has cmp look at all there is in SDK types.
var Everything = cmp.Options{
	cmp.Exporter(func(reflect.Type) bool { return true }),
	// The SDK loses up to a millisecond when it reads seconds as a float.
	cmp.Comparer(func(a, b time.Time) bool { return a.Sub(b).Abs() <= time.Millisecond }),
}

// An Echo is a Mux with all operations of one service's client. Each notes its input and answers
// with what it was given.
type Echo struct {
	Service    Service
	Operations []Operation
	Mux        *awswire.Mux
	URL        string
	Client     any

	got   any // input of the last call
	reply any // output of the next one
}

// NewEcho starts an Echo that stands until the test ends. Authentication lets everyone in.
func NewEcho(t testing.TB, s Service) *Echo {
	t.Helper()
	e := &Echo{Service: s, Operations: Operations(s.Client(aws.Config{Region: "us-east-1"}))}
	api := s.API
	e.Operations = slices.DeleteFunc(e.Operations, func(op Operation) bool { return beyond[s.Name+"."+op.Name] })
	for _, op := range e.Operations {
		awswire.HandleType(&api, op.In, op.Out, func(_ context.Context, in any) (any, error) {
			e.got = in
			return e.reply, nil
		})
	}
	e.Mux = awswire.NewMux(awswire.MuxOptions{
		Authenticate: func(r *http.Request, _ []byte, _ *awswire.API, _ string) (context.Context, error) {
			return r.Context(), nil
		},
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	e.Mux.Add(&api)
	server := httptest.NewServer(e.Mux)
	t.Cleanup(server.Close)
	e.URL = server.URL
	e.Client = s.Client(Config(server.URL))
	return e
}

// Config is a client configuration for a server of ours. It doesn't retry.
func Config(url string) aws.Config {
	return aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(url),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}, nil
		}),
		RetryMaxAttempts: 1,
		HTTPClient:       sdkhttp.Client{HTTPClient: http.DefaultClient},
	}
}

// Check sends in through the client and has out come back. It returns what is wrong, or "".
func (e *Echo) Check(ctx context.Context, op Operation, in, out any) string {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	e.got, e.reply = nil, out
	got, err := op.call(ctx, e.Client, in)
	if err != nil {
		return fmt.Sprintf("call: %v", err)
	}
	if d := cmp.Diff(in, e.got, Everything); d != "" {
		return "input at the handler, -sent +got:\n" + d
	}
	reflect.ValueOf(got).Elem().FieldByName("ResultMetadata").SetZero()
	if d := cmp.Diff(out, got, Everything); d != "" {
		return "output at the client, -sent +got:\n" + d
	}
	return ""
}

// Reply sets what the next calls are answered with, for clients of another kind.
func (e *Echo) Reply(out any) { e.reply = out }

// Got is the input of the last call.
func (e *Echo) Got() any { return e.got }

// Filler makes values for the service's operations.
func (e *Echo) Filler(seed uint64) *Filler {
	f := NewFiller(seed)
	if name := e.Service.API.SigningName; name == "iam" || name == "sts" {
		f.Unit = time.Second // so they write their times
	}
	return f
}
