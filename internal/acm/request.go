package acm

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/aws-sdk-go-v2/service/acm/types"
	"github.com/google/uuid"

	"github.com/lotse-project/lotse/internal/lazyregexp"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

const (
	maxNames = 100 // of a certificate. Source: ACM service model, DomainList
	// tokenLife is how long the same request with the same token is the same certificate. Source: ACM API, RequestCertificate.
	tokenLife = time.Hour
)

// Source: ACM service model, DomainNameString and IdempotencyToken.
var (
	domainRE = lazyregexp.New(`^(\*\.)?([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])$`)
	tokenRE  = lazyregexp.New(`^\w{1,32}$`)
)

// RequestCertificate has the server's own authority issue a certificate. It is there at once: there is nobody to prove
// the domain to.
func (s *Service) RequestCertificate(ctx context.Context, in *acm.RequestCertificateInput) (*acm.RequestCertificateOutput, error) {
	if err := onlyMembers("", in, "DomainName", "SubjectAlternativeNames", "IdempotencyToken", "KeyAlgorithm", "Options", "Tags", "ValidationMethod"); err != nil {
		return nil, err
	}
	want, err := wanted(in)
	if err != nil {
		return nil, err
	}
	sc := scope(ctx)
	want.Scope, want.ID = sc, uuid.NewString()
	now := time.Now()
	cert, key, err := s.o.Authority.issue(want.Names, want.KeyAlgorithm, now)
	if err != nil {
		return nil, err
	}
	if err := s.put(&want, cert, s.o.Authority.pem, key); err != nil {
		return nil, err
	}
	var arn string
	err = s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		for o, err := range state.Certificates.List(tx, sc.Key()) {
			if err != nil {
				return err
			}
			if c := o.Val; want.Token != "" && c.Token == want.Token && slices.Equal(c.Names, want.Names) && tx.Now().Sub(c.CreatedAt) < tokenLife {
				arn = c.ARN()
				return nil
			}
		}
		want.CreatedAt, arn = tx.Now(), want.ARN()
		return state.Certificates.Put(tx, &store.Object[state.Certificate]{Key: want.Key(), Val: want})
	})
	return &acm.RequestCertificateOutput{CertificateArn: aws.String(arn)}, err
}

// UpdateCertificateOptions says whether certificate transparency is wanted.
func (s *Service) UpdateCertificateOptions(ctx context.Context, in *acm.UpdateCertificateOptionsInput) (*acm.UpdateCertificateOptionsOutput, error) {
	if err := checkOptions(in.Options); err != nil {
		return nil, err
	}
	return &acm.UpdateCertificateOptionsOutput{}, s.change(ctx, in.CertificateArn, func(c *state.Certificate) error {
		if c.Type != state.CertificateIssued {
			return awsError("InvalidStateException", "Certificate %s was imported; it has no options.", c.ARN())
		}
		if p := in.Options.CertificateTransparencyLoggingPreference; p != "" {
			c.NoLogging = p == types.CertificateTransparencyLoggingPreferenceDisabled
		}
		return nil
	})
}

// Private

// wanted is the certificate that is asked for.
func wanted(in *acm.RequestCertificateInput) (c state.Certificate, err error) {
	c = state.Certificate{Type: state.CertificateIssued, Token: aws.ToString(in.IdempotencyToken), KeyAlgorithm: string(in.KeyAlgorithm), Validation: string(in.ValidationMethod)}
	for i, n := range append([]string{aws.ToString(in.DomainName)}, in.SubjectAlternativeNames...) {
		if len(n) > 253 || !domainRE.MatchString(n) {
			member := "domainName"
			if i > 0 {
				member = "subjectAlternativeNames"
			}
			return c, constraint(n, member, "Member must satisfy regular expression pattern: "+
				`(\*\.)?(((?!-)[A-Za-z0-9-]{0,62}[A-Za-z0-9])\.)+((?!-)[A-Za-z0-9-]{1,62}[A-Za-z0-9])`)
		}
		if n = strings.ToLower(n); !slices.Contains(c.Names, n) {
			c.Names = append(c.Names, n)
		}
	}
	if len(c.Names) > maxNames {
		return c, awsError("LimitExceededException", "A certificate can be for at most %d names, not %d.", maxNames, len(c.Names))
	}
	if c.Token != "" && !tokenRE.MatchString(c.Token) {
		return c, constraint(c.Token, "idempotencyToken", `Member must satisfy regular expression pattern: \w+`)
	}
	switch in.KeyAlgorithm {
	case "":
		c.KeyAlgorithm = string(types.KeyAlgorithmRsa2048)
	case types.KeyAlgorithmRsa2048, types.KeyAlgorithmEcPrime256v1, types.KeyAlgorithmEcSecp384r1:
	default: // Source: ACM API, RequestCertificate, KeyAlgorithm
		return c, validation("The key algorithm %s can't be requested; it must be one of RSA_2048, EC_prime256v1, EC_secp384r1.", in.KeyAlgorithm)
	}
	if c.Validation == "" {
		c.Validation = string(types.ValidationMethodEmail)
	}
	if in.Options != nil {
		if err := checkOptions(in.Options); err != nil {
			return c, err
		}
		c.NoLogging = in.Options.CertificateTransparencyLoggingPreference == types.CertificateTransparencyLoggingPreferenceDisabled
	}
	c.Tags, err = tagMap(in.Tags)
	return c, err
}

func checkOptions(o *types.CertificateOptions) error {
	if err := onlyMembers("Options.", *o, "CertificateTransparencyLoggingPreference", "Export"); err != nil {
		return err
	}
	if o.Export == types.CertificateExportEnabled {
		return validation("Lotse does not export private keys, so Export must be DISABLED.")
	}
	return nil
}
