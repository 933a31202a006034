package acm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/lotse-project/lotse/internal/seal"
)

// What an authority keeps in its directory.
const (
	AuthorityFile    = "ca.pem" // its certificate, for clients to trust
	authorityKeyFile = "ca.key" // its private key, sealed
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	// issuedLife is how long an issued certificate is valid. Source: ACM user guide, characteristics: 13 months (395 days).
	issuedLife = 395 * 24 * time.Hour
	// backdate lets clients whose clocks are behind trust what has just been issued.
	backdate = time.Hour
)

// sealedFor is what the authority's key is sealed for.
const sealedFor = "acm/authority"

// An Authority issues the certificates that are requested. It is the server's own: clients trust them when they have
// been given its certificate.
type Authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  string
}

// OpenAuthority reads the authority of a directory, or makes it there. The key is sealed with k.
func OpenAuthority(dir string, k *seal.Key, now time.Time) (*Authority, error) {
	certPath, keyPath := filepath.Join(dir, AuthorityFile), filepath.Join(dir, authorityKeyFile)
	text, err := os.ReadFile(certPath)
	if errors.Is(err, fs.ErrNotExist) { // the certificate is written last, so the key beside it is worth nothing
		if err := newAuthority(certPath, keyPath, k, now); err != nil {
			return nil, fmt.Errorf("make the certificate authority in %s: %w", dir, err)
		}
		text, err = os.ReadFile(certPath)
	}
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	certs, err := parseCertificates(text)
	if err != nil {
		return nil, fmt.Errorf("certificate authority %s: %w", certPath, err)
	}
	sealed, err := os.ReadFile(keyPath)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w; put the file back, or remove %s too to begin with another authority", err, certPath)
	}
	der, err := k.Open(string(sealed), sealedFor)
	if err != nil {
		return nil, fmt.Errorf("the key of the certificate authority, %s: %w", keyPath, err)
	}
	key, err := x509.ParseECPrivateKey(der)
	if err != nil || !key.PublicKey.Equal(certs[0].PublicKey) {
		return nil, fmt.Errorf("%s does not hold the key of %s: %w", keyPath, certPath, err)
	}
	return &Authority{certs[0], key, string(pemOf("CERTIFICATE", certs[0].Raw))}, nil
}

// issue makes a key and a certificate for the names, the first of which is the subject's.
func (a *Authority) issue(names []string, algorithm string, now time.Time) (cert *x509.Certificate, key crypto.Signer, err error) {
	switch algorithm {
	case "EC_prime256v1":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EC_secp384r1":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	default:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial(), NotBefore: now.Add(-backdate), NotAfter: now.Add(issuedLife), DNSNames: names,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	if len(names[0]) <= 64 { // Source: RFC 5280, ub-common-name
		t.Subject.CommonName = names[0]
	}
	if _, ok := key.(*rsa.PrivateKey); ok {
		t.KeyUsage |= x509.KeyUsageKeyEncipherment
	}
	if t.NotAfter.After(a.cert.NotAfter) {
		t.NotAfter = a.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	cert, err = x509.ParseCertificate(der)
	return cert, key, err
}

// Private

func newAuthority(certPath, keyPath string, k *seal.Key, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	pub, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(pub)
	t := &x509.Certificate{
		// The name tells authorities of several servers apart in a client's list.
		Subject:      pkix.Name{Organization: []string{"Lotse"}, CommonName: "Lotse local CA " + hex.EncodeToString(sum[:4])},
		SerialNumber: serial(), NotBefore: now.Add(-backdate), NotAfter: now.Add(authorityLife), IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: sum[:20],
	}
	cert, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	sealed, err := k.Seal(der, sealedFor)
	if err != nil {
		return err
	}
	if err := write(keyPath, []byte(sealed)); err != nil {
		return err
	}
	return write(certPath, pemOf("CERTIFICATE", cert))
}

// write replaces a file as a whole. Only the owner reads it.
func write(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".ca-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when the rename went well
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// serial is random: 159 bits, so that it is positive and not too long. Source: RFC 5280, 4.1.2.2.
func serial() *big.Int {
	n, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 159)) // rand.Reader does not fail
	return n.Add(n, big.NewInt(1))
}
