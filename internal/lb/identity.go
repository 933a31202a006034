package lb

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// opener opens what the control plane sealed for the balancer.
type opener func(sealed, record string) ([]byte, error)

// identity is a certificate with its key, ready to be served.
type identity struct {
	conf  lbconfig.Certificate
	cert  tls.Certificate
	names []string // in lower case; *.example.com too
}

func newIdentity(c lbconfig.Certificate, open opener) (*identity, error) {
	if open == nil {
		return nil, errors.New("the balancer has no key to open private keys with")
	}
	der, err := open(c.SealedKey, c.SealedFor)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("the private key is not one") // the error might tell of it
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a private key can't be of the type %T", key)
	}
	out := &identity{conf: c, cert: tls.Certificate{PrivateKey: signer}}
	for rest := []byte(c.Chain); ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		out.cert.Certificate = append(out.cert.Certificate, b.Bytes)
	}
	if len(out.cert.Certificate) == 0 {
		return nil, errors.New("there is no certificate in the chain")
	}
	leaf, err := x509.ParseCertificate(out.cert.Certificate[0])
	if err != nil {
		return nil, err
	}
	out.cert.Leaf = leaf
	for _, n := range append([]string{leaf.Subject.CommonName}, leaf.DNSNames...) {
		out.names = append(out.names, strings.ToLower(n))
	}
	return out, nil
}

// fits says how well a certificate is for a host: 2 by its name, 1 by a wildcard for its first label, 0 not at all.
func (d *identity) fits(host string) int {
	best := 0
	for _, n := range d.names {
		_, parent, ok := strings.Cut(host, ".")
		switch {
		case n == host:
			return 2
		case ok && strings.HasPrefix(n, "*.") && n[2:] == parent:
			best = 1
		}
	}
	return best
}

// chooseIdentity is the certificate for a client: of those for the host it names which it can verify the best one, the
// first without any.
//
// Source: ALB user guide, HTTPS listeners, certificate list: public key algorithm (ECDSA before RSA), hashing algorithm,
// key length, validity period. A name before a wildcard and a valid one before an expired one is what clients need.
func chooseIdentity(ids []*identity, hello *tls.ClientHelloInfo, now time.Time) *identity {
	host := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if host == "" {
		return ids[0]
	}
	var best *identity
	for _, d := range ids {
		if d.fits(host) > 0 && hello.SupportsCertificate(&d.cert) == nil && (best == nil || d.better(best, host, now)) {
			best = d
		}
	}
	if best == nil {
		return ids[0]
	}
	return best
}

// Private

func (d *identity) better(o *identity, host string, now time.Time) bool {
	a, b := d.cert.Leaf, o.cert.Leaf
	return cmp.Or(
		cmp.Compare(d.fits(host), o.fits(host)),
		compareBool(now.Before(a.NotAfter), now.Before(b.NotAfter)),
		compareBool(isECDSA(a), isECDSA(b)),
		cmp.Compare(hashStrength(a), hashStrength(b)),
		cmp.Compare(keyLength(a), keyLength(b)),
		a.NotAfter.Compare(b.NotAfter),
	) > 0
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func isECDSA(c *x509.Certificate) bool { return c.PublicKeyAlgorithm == x509.ECDSA }

func hashStrength(c *x509.Certificate) int {
	switch c.SignatureAlgorithm {
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512, x509.SHA512WithRSAPSS:
		return 3
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384, x509.SHA384WithRSAPSS:
		return 2
	case x509.SHA256WithRSA, x509.ECDSAWithSHA256, x509.SHA256WithRSAPSS:
		return 1
	}
	return 0
}

func keyLength(c *x509.Certificate) int {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen()
	case *ecdsa.PublicKey:
		return k.Params().BitSize
	}
	return 0
}
