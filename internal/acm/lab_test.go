package acm

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/smithy-go"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire"
	"github.com/lotse-project/lotse/internal/seal"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

var here = arn.Scope{Account: "123456789012", Region: "eu-central-1"}

// lab is the service behind the Mux, asked by the SDK's client.
type lab struct {
	*acm.Client
	s   *Service
	db  *store.DB
	dir string
}

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{dir: t.TempDir()}
	var err error
	if l.db, err = store.Open(filepath.Join(l.dir, "db"), store.Options{}); err != nil {
		t.Fatal(err)
	}
	key, err := seal.Open(filepath.Join(l.dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	shared, err := seal.Open(filepath.Join(l.dir, "balancer-key"))
	if err != nil {
		t.Fatal(err)
	}
	authority, err := OpenAuthority(l.dir, key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	l.s = New(Options{DB: l.db, Key: shared, Authority: authority, Log: log})
	mux := awswire.NewMux(awswire.MuxOptions{Log: log, Authenticate: func(r *http.Request, _ []byte, _ *awswire.API, _ string) (context.Context, error) {
		return awsauth.WithCaller(r.Context(), awsauth.Caller{Account: here.Account, Region: here.Region, Root: true}), nil
	}})
	mux.Add(l.s.API())
	srv := httptest.NewServer(mux)
	t.Cleanup(func() { srv.Close(); l.db.Close() })
	l.Client = acm.New(acm.Options{
		Region: here.Region, BaseEndpoint: aws.String(srv.URL), RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "secret"}, nil
		}),
	})
	return l
}

// use writes a listener that has the certificate.
func (l *lab) use(t testing.TB, certificate string) {
	t.Helper()
	x := state.Listener{Scope: here, Balancer: "web/0123456789abcdef", ID: "0123456789abcdef", Port: 443, Protocol: "HTTPS", Certificates: []string{certificate}}
	err := l.db.Update(t.Context(), func(tx *store.WriteTx) error {
		return state.Listeners.Put(tx, &store.Object[state.Listener]{Key: x.Key(), Val: x})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// record is the certificate's record.
func (l *lab) record(t testing.TB, certificate string) state.Certificate {
	t.Helper()
	var c state.Certificate
	err := l.db.View(t.Context(), func(tx *store.ReadTx) error {
		o, err := state.Certificates.Get(tx, state.CertificateKey(here, certificate))
		c = o.Val
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pair is a certificate with its key, as PEM.
type pair struct {
	cert, key []byte
	x         *x509.Certificate
	signer    crypto.Signer
}

// made signs a certificate for the name with by's key, its own without one.
func made(t testing.TB, name string, key crypto.Signer, by *pair, change func(*x509.Certificate)) *pair {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true}
	if change != nil {
		change(tmpl)
	}
	parent, signer := tmpl, key
	if by != nil {
		parent, signer = by.x, by.signer
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	x, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &pair{pemOf("CERTIFICATE", der), pemOf("PRIVATE KEY", pkcs8), x, key}
}

func ecKey(t testing.TB, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func authority(c *x509.Certificate) {
	c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign
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
