package acm

import (
	"context"
	"crypto"
	"crypto/x509"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/google/uuid"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// ImportCertificate takes a certificate with its key, or replaces one that was imported.
func (s *Service) ImportCertificate(ctx context.Context, in *acm.ImportCertificateInput) (*acm.ImportCertificateOutput, error) {
	tags, err := tagMap(in.Tags)
	if err != nil {
		return nil, err
	}
	if in.CertificateArn != nil && len(tags) > 0 {
		return nil, errReimportTags
	}
	cert, key, err := checkImport(in.Certificate, in.CertificateChain, in.PrivateKey, time.Now())
	if err != nil {
		return nil, err
	}
	sc := scope(ctx)
	var arn string
	err = s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o := store.Object[state.Certificate]{Val: state.Certificate{Scope: sc, ID: uuid.NewString(), Type: state.CertificateImported, CreatedAt: tx.Now(), Tags: tags}}
		if in.CertificateArn != nil {
			if o, err = find(tx, sc, in.CertificateArn); err != nil {
				return err
			}
			if o.Val.Type != state.CertificateImported {
				return validation("Certificate %s was not imported, so it can't be imported again.", o.Val.ARN())
			}
		}
		o.Key, o.Val.ImportedAt = o.Val.Key(), tx.Now()
		if err := s.put(&o.Val, cert, string(in.CertificateChain), key); err != nil {
			return err
		}
		arn = o.Val.ARN()
		return state.Certificates.Put(tx, &o)
	})
	return &acm.ImportCertificateOutput{CertificateArn: aws.String(arn)}, err
}

// Private

// put gives the record a certificate and its key.
func (s *Service) put(c *state.Certificate, cert *x509.Certificate, chain string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if c.SealedKey, err = s.o.Key.Seal(der, c.Key()); err != nil {
		return err
	}
	c.Names = namesOf(cert)
	c.Domain = ""
	if len(c.Names) > 0 {
		c.Domain = c.Names[0]
	}
	c.Body, c.Chain, c.KeyAlgorithm, c.NotAfter = string(pemOf("CERTIFICATE", cert.Raw)), chain, keyAlgorithm(cert.PublicKey), cert.NotAfter
	return nil
}

// namesOf is what a certificate is for: the subject's common name, if it is a domain, then the alternative names.
func namesOf(cert *x509.Certificate) (out []string) {
	add := func(n string) {
		if n = strings.ToLower(n); n != "" && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	add(cert.Subject.CommonName)
	for _, n := range cert.DNSNames {
		add(n)
	}
	for _, a := range cert.IPAddresses {
		add(a.String())
	}
	return out
}
