package lbconfig

import "crypto/tls"

// TLS is how a listener speaks TLS with its clients.
type TLS struct {
	// Certificates are ARNs of the snapshot's. The first is for clients that name no host, or one that none is for.
	Certificates []string
	Min, Max     uint16   // versions, as crypto/tls numbers them
	Ciphers      []string // below TLS 1.3, by OpenSSL's names
	PostQuantum  bool     `json:",omitempty"` // key exchange is also hybrid, with ML-KEM
	HTTP2        bool     `json:",omitempty"` // is offered beside HTTP/1.1
}

// Certificate is a certificate with its private key, which only the balancer's worker opens: the snapshot's file, and
// who reads it, don't tell it.
type Certificate struct {
	ARN       string
	Chain     string // PEM, its own first
	SealedKey string // PKCS #8, by package seal
	SealedFor string
}

func (v *validator) certificate(c *Certificate) {
	v.arn(c.ARN)
	v.certificates[c.ARN] = true
	if c.Chain == "" || c.SealedKey == "" || c.SealedFor == "" {
		v.bad(c.ARN, "has no chain or no sealed key")
	}
}

func (v *validator) tls(arn string, t *TLS) {
	if t == nil {
		return
	}
	if len(t.Certificates) == 0 {
		v.bad(arn, "speaks TLS and has no certificate")
	}
	for _, c := range t.Certificates {
		if !v.certificates[c] {
			v.bad(arn, "certificate %s is not in the snapshot", c)
		}
	}
	if t.Min < tls.VersionTLS10 || t.Max > tls.VersionTLS13 || t.Min > t.Max {
		v.bad(arn, "TLS versions %x to %x: not a range of known ones", t.Min, t.Max)
	}
	if len(t.Ciphers) == 0 && t.Min < tls.VersionTLS13 {
		v.bad(arn, "has no ciphers for TLS 1.2 or older")
	}
}
