package acm

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"time"
)

// maxChain is the most bytes of a chain, maxBody of a certificate, maxKey of a key.
// Source: ACM service model, CertificateChainBlob, CertificateBodyBlob, PrivateKeyBlob.
const (
	maxChain = 2097152
	maxBody  = 32768
	maxKey   = 5120
)

// parseCertificates reads PEM blocks, and nothing beside them.
func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for rest := bytes.TrimSpace(text); len(rest) > 0; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil || b.Type != "CERTIFICATE" {
			return nil, errors.New("not a PEM certificate")
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, err
		}
		out, rest = append(out, c), bytes.TrimSpace(rest)
	}
	if len(out) == 0 {
		return nil, errors.New("no PEM certificate")
	}
	return out, nil
}

// parseKey reads an unencrypted private key in one of its three PEM forms.
func parseKey(text []byte) (crypto.Signer, error) {
	for rest := text; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return nil, errKey
		}
		var key any
		var err error
		switch b.Type {
		case "EC PARAMETERS": // openssl ecparam -genkey puts them in front
			continue
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
		case "RSA PRIVATE KEY":
			if b.Headers["DEK-Info"] != "" {
				return nil, errEncrypted
			}
			key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
		case "EC PRIVATE KEY":
			if b.Headers["DEK-Info"] != "" {
				return nil, errEncrypted
			}
			key, err = x509.ParseECPrivateKey(b.Bytes)
		case "ENCRYPTED PRIVATE KEY":
			return nil, errEncrypted
		default:
			return nil, errKey
		}
		signer, ok := key.(crypto.Signer)
		if err != nil || !ok {
			return nil, errKey
		}
		if keyAlgorithm(signer.Public()) == "" {
			return nil, errKeyKind
		}
		return signer, nil
	}
}

// keyAlgorithm is AWS's name for a public key, "" for one that can't be imported. Source: ACM API, KeyAlgorithm.
func keyAlgorithm(pub crypto.PublicKey) string {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		switch k.N.BitLen() {
		case 1024:
			return "RSA_1024"
		case 2048:
			return "RSA_2048"
		case 3072:
			return "RSA_3072"
		case 4096:
			return "RSA_4096"
		}
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return "EC_prime256v1"
		case elliptic.P384():
			return "EC_secp384r1"
		case elliptic.P521():
			return "EC_secp521r1"
		}
	}
	return ""
}

// checkImport judges what ImportCertificate is given. Source: ACM user guide, prerequisites for importing certificates.
func checkImport(body, chain, key []byte, now time.Time) (*x509.Certificate, crypto.Signer, error) {
	certs, err := parseCertificates(body)
	if err != nil || len(body) > maxBody {
		return nil, nil, errBody
	}
	if len(certs) > 1 {
		return nil, nil, errManyBodies
	}
	c := certs[0]
	signer, err := parseKey(key)
	if err != nil {
		return nil, nil, err
	}
	if len(key) > maxKey {
		return nil, nil, errKey
	}
	if pub, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(c.PublicKey) {
		return nil, nil, errKeyMismatch
	}
	switch {
	case now.After(c.NotAfter):
		return nil, nil, errExpired
	case now.Before(c.NotBefore):
		return nil, nil, errTooEarly
	}
	if len(chain) == 0 {
		// A certificate that isn't an authority's may be signed by itself, which CheckSignatureFrom would refuse.
		if !bytes.Equal(c.RawIssuer, c.RawSubject) || c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) != nil {
			return nil, nil, errNotSelf
		}
		return c, signer, nil
	}
	issuers, err := parseCertificates(chain)
	if err != nil || len(chain) > maxChain {
		return nil, nil, errChain
	}
	signed := c
	for i, issuer := range issuers {
		if signed.CheckSignatureFrom(issuer) != nil {
			return nil, nil, errBrokenChain(i)
		}
		signed = issuer
	}
	return c, signer, nil
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
