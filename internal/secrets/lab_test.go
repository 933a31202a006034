package secrets

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/seal"
	"github.com/lotse-project/lotse/internal/store"
)

var here = arn.Scope{Account: "123456789012", Region: "eu-central-1"}

const caller = "arn:aws:iam::123456789012:user/ann"

// lab is the service behind the Mux, asked by the SDK's client.
type lab struct {
	*secretsmanager.Client
	s   *Service
	dir string // has the store
	url string
	log *strings.Builder

	mu  sync.Mutex
	now time.Time
}

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{dir: t.TempDir(), log: &strings.Builder{}, now: time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)}
	clock := func() time.Time { l.mu.Lock(); defer l.mu.Unlock(); return l.now }
	db, err := store.Open(filepath.Join(l.dir, "db"), store.Options{Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	key, err := seal.Open(filepath.Join(l.dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.MultiWriter(l.log), &slog.HandlerOptions{Level: slog.LevelDebug}))
	l.s = New(Options{DB: db, Key: key, Now: clock, Log: log})
	mux := awswire.NewMux(awswire.MuxOptions{Log: log, Authenticate: func(r *http.Request, _ []byte, _ *awswire.API, _ string) (context.Context, error) {
		return awsauth.WithCaller(r.Context(), awsauth.Caller{Account: here.Account, Region: here.Region, ARN: caller, Root: true}), nil
	}})
	mux.Add(l.s.API())
	srv := httptest.NewServer(mux)
	l.url = srv.URL
	t.Cleanup(func() { srv.Close(); db.Close() })
	l.Client = secretsmanager.New(secretsmanager.Options{
		Region: here.Region, BaseEndpoint: aws.String(srv.URL), RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "secret"}, nil
		}),
	})
	return l
}

// create makes a secret with a value, and returns its ARN.
func (l *lab) create(t testing.TB, name, text string) string {
	t.Helper()
	return *must(l.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: &text}))(t).ARN
}

// put gives a secret a new value, and returns the version's ID.
func (l *lab) put(t testing.TB, id, text string, stages ...string) string {
	t.Helper()
	return *must(l.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &id, SecretString: &text, VersionStages: stages}))(t).VersionId
}

// get is a secret's value, "" for no stage or version in particular.
func (l *lab) get(t testing.TB, id, stage, version string) string {
	t.Helper()
	return *must(l.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &id, VersionStage: optional(stage), VersionId: optional(version)}))(t).SecretString
}

func (l *lab) pass(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = l.now.Add(d)
}

// files is all there is on the disk.
func (l *lab) files(t testing.TB) string {
	t.Helper()
	var all strings.Builder
	names, err := filepath.Glob(filepath.Join(l.dir, "*"))
	for _, n := range names {
		b, e := os.ReadFile(n)
		err = errors.Join(err, e)
		all.Write(b)
	}
	if err != nil || all.Len() == 0 {
		t.Fatalf("the store's files: %v", err)
	}
	return all.String()
}

// wantError checks an error's code and a part of its text.
func wantError(t testing.TB, what string, err error, code, text string) {
	t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) || e.ErrorCode() != code || !strings.Contains(e.ErrorMessage(), text) {
		t.Errorf("%s = %v, want %s: %s", what, err, code, text)
	}
}

func must[T any](out T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}
