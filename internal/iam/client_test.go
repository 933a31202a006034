package iam

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
)

// The SDK's clients, their signatures verified, find what they expect: waiters, error types,
// presigned requests.
func TestClients(t *testing.T) {
	cfg := serve(t)
	ctx := t.Context()
	roles, who := iam.NewFromConfig(cfg), sts.NewFromConfig(cfg)

	id, err := who.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil || *id.Arn != "arn:aws:iam::000000000000:root" {
		t.Fatalf("GetCallerIdentity = %+v, %v", id, err)
	}
	if _, err := roles.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("Web"), AssumeRolePolicyDocument: aws.String(trustECS)}); err != nil {
		t.Fatal(err)
	}
	if err := iam.NewRoleExistsWaiter(roles).Wait(ctx, &iam.GetRoleInput{RoleName: aws.String("Web")}, time.Minute); err != nil {
		t.Error(err)
	}
	_, err = roles.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("Web"), AssumeRolePolicyDocument: aws.String(trustECS)})
	if exists := new(types.EntityAlreadyExistsException); !errors.As(err, &exists) {
		t.Errorf("second CreateRole: %v, want EntityAlreadyExists", err)
	}
	_, err = roles.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("No")})
	if missing := new(types.NoSuchEntityException); !errors.As(err, &missing) {
		t.Errorf("GetRole: %v, want NoSuchEntity", err)
	}

	presigned, err := sts.NewPresignClient(who).PresignGetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	if status := post(t, presigned); status != http.StatusOK {
		t.Errorf("presigned GetCallerIdentity: status %d", status)
	}
	presigned.URL = strings.Replace(presigned.URL, "X-Amz-Date=2", "X-Amz-Date=1", 1)
	if status := post(t, presigned); status != http.StatusForbidden {
		t.Errorf("presigned GetCallerIdentity, changed: status %d, want 403", status)
	}
}

func TestClients_WrongSecret(t *testing.T) {
	cfg := serve(t)
	cfg.Credentials = credentials.NewStaticCredentialsProvider("AKIAIOSFODNN7EXAMPLE", "guess", "")
	_, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	var e smithy.APIError
	if !errors.As(err, &e) || e.ErrorCode() != "SignatureDoesNotMatch" {
		t.Errorf("GetCallerIdentity: %v, want SignatureDoesNotMatch", err)
	}
}

// Helpers

// serve runs both APIs as the server does, and gives a configuration for clients.
func serve(t *testing.T) aws.Config {
	t.Helper()
	s, _ := newService(t)
	return serveAll(t, s)
}

func serveAll(t *testing.T, s *Service, others ...*awswire.API) aws.Config {
	t.Helper()
	verifier := awsauth.NewVerifier(rootKey{s}, awsauth.Options{Now: s.o.Now})
	mux := awswire.NewMux(awswire.MuxOptions{
		Log: s.o.Log, Authorize: s.Authorize,
		Authenticate: func(r *http.Request, body []byte, api *awswire.API, _ string) (context.Context, error) {
			c, err := verifier.Verify(r, body, api)
			return awsauth.WithCaller(r.Context(), c), err
		},
	})
	mux.Add(s.API())
	mux.Add(s.STS())
	for _, a := range others {
		mux.Add(a)
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return aws.Config{Region: "eu-central-1", BaseEndpoint: &server.URL, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("AKIAIOSFODNN7EXAMPLE", "secret", "")}
}

// rootKey knows the root's key, and the temporary ones.
type rootKey struct{ s *Service }

func (k rootKey) Lookup(ctx context.Context, id, token string) (awsauth.Key, error) {
	if id != "AKIAIOSFODNN7EXAMPLE" {
		return k.s.Lookup(ctx, id, token)
	}
	return awsauth.Key{AccessKeyID: id, SecretAccessKey: "secret", Account: "000000000000", ARN: "arn:aws:iam::000000000000:root", UserID: "000000000000", Root: true}, nil
}

func post(t *testing.T, p *v4.PresignedHTTPRequest) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), p.Method, p.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range p.SignedHeader {
		req.Header[k] = v
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}
