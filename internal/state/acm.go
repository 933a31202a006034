package state

import (
	"slices"
	"time"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/store"
)

// Certificates are Certificate Manager's: intent. Their private keys are sealed with the balancer's key for the record's key.
var Certificates = store.NewTable[Certificate]("acm.certificate") // scope/id

// The types of certificates. Source: ACM API, CertificateDetail.
const (
	CertificateImported = "IMPORTED"
	CertificateIssued   = "AMAZON_ISSUED"
)

// A Certificate is a TLS certificate with its private key. Importing it again, or renewing it, replaces both; the ARN stays.
type Certificate struct {
	Scope        arn.Scope
	ID           string // UUID
	Type         string // CertificateImported, CertificateIssued
	Domain       string
	Names        []string // all that it is for, Domain first
	Body         string   // PEM
	Chain        string   // PEM; "": none
	SealedKey    string   // PKCS #8, sealed for Key
	KeyAlgorithm string   // RSA_2048, EC_prime256v1, …
	NotAfter     time.Time
	Validation   string    `json:",omitempty"` // DNS, EMAIL, HTTP; of those issued
	NoLogging    bool      `json:",omitempty"` // certificate transparency is not wanted
	Token        string    `json:",omitempty"` // of the request, for an hour
	CreatedAt    time.Time // first imported, or requested
	ImportedAt   time.Time `json:",omitzero"`
	RenewedAt    time.Time `json:",omitzero"`
	Tags         map[string]string
}

// Key is the certificate's key.
func (c Certificate) Key() string { return c.Scope.Key(c.ID) }

// ARN names the certificate.
func (c Certificate) ARN() string { return c.Scope.ARN("acm", "certificate/"+c.ID) }

// CertificateKey is the key of the certificate that an ARN names, "" when it names none of the scope.
func CertificateKey(sc arn.Scope, s string) string {
	a, err := arn.Parse(s)
	if err != nil || a.Service != "acm" || a.Account != sc.Account || a.Region != sc.Region || a.Type() != "certificate" || a.Name() == "" {
		return ""
	}
	return sc.Key(a.Name())
}

// CertificateUsers are the ARNs of the load balancers with a listener that has the certificate, each once.
func CertificateUsers(tx store.Reader, sc arn.Scope, certificate string) ([]string, error) {
	var out []string
	for l, err := range Listeners.List(tx, sc.Key()) {
		if err != nil {
			return nil, err
		}
		if b := l.Val.BalancerARN(); slices.Contains(l.Val.Certificates, certificate) && !slices.Contains(out, b) {
			out = append(out, b)
		}
	}
	return out, nil
}
