package lb

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
	"github.com/lotse-project/lotse/internal/seal"
)

// testPair is a certificate, signed by itself, with its key.
type testPair struct {
	x    *x509.Certificate
	key  crypto.Signer
	cert tls.Certificate
}

func newTestPair(t testing.TB, key crypto.Signer, names ...string) *testPair {
	t.Helper()
	if key == nil {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	x, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &testPair{x, key, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: x}}
}

// pem is the certificate, and its key behind it.
func (p *testPair) pem(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.x.Raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
}

// sealed is the pair as a snapshot has it, its key sealed with the one in the directory.
func (p *testPair) sealed(t testing.TB, dir, arn string) lbconfig.Certificate {
	t.Helper()
	k, err := seal.Open(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := k.Seal(der, "for "+arn)
	if err != nil {
		t.Fatal(err)
	}
	return lbconfig.Certificate{ARN: arn, Chain: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.x.Raw})), SealedKey: text, SealedFor: "for " + arn}
}

// strong is a policy without anything old.
var strong = []string{"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"}

// secure has the site's only listener speak TLS with the certificates, and HTTP/2.
func secure(s lbconfig.Snapshot, certs ...lbconfig.Certificate) lbconfig.Snapshot {
	conf := &lbconfig.TLS{Min: tls.VersionTLS12, Max: tls.VersionTLS13, Ciphers: strong, HTTP2: true}
	for _, c := range certs {
		conf.Certificates = append(conf.Certificates, c.ARN)
	}
	s.Certificates = certs
	s.Balancers[0].Listeners[0].TLS = conf
	return s
}

// trusting is a client that trusts the pairs' certificates, and takes the host a.example.com for the balancer.
func trusting(version int, pairs ...*testPair) *http.Client {
	roots := x509.NewCertPool()
	for _, p := range pairs {
		roots.AddCert(p.x)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "a.example.com"}, DisableCompression: true, Protocols: new(http.Protocols)}
	tr.Protocols.SetHTTP1(version == 1)
	tr.Protocols.SetHTTP2(version == 2)
	return &http.Client{Transport: tr, Timeout: patience}
}
