package acm

import (
	"context"
	"crypto/md5"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/aws-sdk-go-v2/service/acm/types"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// DescribeCertificate shows a certificate's fields.
func (s *Service) DescribeCertificate(ctx context.Context, in *acm.DescribeCertificateInput) (*acm.DescribeCertificateOutput, error) {
	out := &acm.DescribeCertificateOutput{}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		o, err := find(tx, scope(ctx), in.CertificateArn)
		if err != nil {
			return err
		}
		out.Certificate, err = detail(tx, o.Val)
		return err
	})
	return out, err
}

// GetCertificate returns a certificate and its chain.
func (s *Service) GetCertificate(ctx context.Context, in *acm.GetCertificateInput) (*acm.GetCertificateOutput, error) {
	out := &acm.GetCertificateOutput{}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		o, err := find(tx, scope(ctx), in.CertificateArn)
		out.Certificate = aws.String(o.Val.Body)
		if o.Val.Chain != "" {
			out.CertificateChain = aws.String(o.Val.Chain)
		}
		return err
	})
	return out, err
}

// Private

func detail(tx store.Reader, c state.Certificate) (*types.CertificateDetail, error) {
	x, err := parsed(c)
	if err != nil {
		return nil, err
	}
	d := &types.CertificateDetail{
		CertificateArn: aws.String(c.ARN()), DomainName: aws.String(c.Domain), SubjectAlternativeNames: c.Names, Type: types.CertificateType(c.Type),
		Status: status(c, time.Now()), CreatedAt: aws.Time(c.CreatedAt), NotBefore: aws.Time(x.NotBefore), NotAfter: aws.Time(x.NotAfter),
		Serial: aws.String(serialText(x)), Subject: aws.String(x.Subject.String()), Issuer: aws.String(issuerName(x)),
		KeyAlgorithm: keyName(c), SignatureAlgorithm: aws.String(signatureName(x)), KeyUsages: keyUsages(x), ExtendedKeyUsages: extendedUsages(x),
		RenewalEligibility: types.RenewalEligibilityIneligible, Options: options(c),
	}
	if d.InUseBy, err = state.CertificateUsers(tx, c.Scope, c.ARN()); err != nil {
		return nil, err
	}
	if d.InUseBy == nil {
		d.InUseBy = []string{}
	}
	if c.Type == state.CertificateImported {
		d.ImportedAt = aws.Time(c.ImportedAt)
		return d, nil
	}
	d.CertificateKeyPairOrigin = types.CertificateKeyPairOriginAwsManaged
	d.IssuedAt, d.DomainValidationOptions = aws.Time(c.CreatedAt), validations(c)
	if len(d.InUseBy) > 0 {
		d.RenewalEligibility = types.RenewalEligibilityEligible
	}
	if !c.RenewedAt.IsZero() {
		d.RenewalSummary = &types.RenewalSummary{RenewalStatus: types.RenewalStatusSuccess, UpdatedAt: aws.Time(c.RenewedAt), DomainValidationOptions: d.DomainValidationOptions}
	}
	return d, nil
}

// keyName is the API's name in answers: Source: ACM user guide's examples, RSA_2048 reads RSA-2048.
func keyName(c state.Certificate) types.KeyAlgorithm {
	return types.KeyAlgorithm(strings.Replace(c.KeyAlgorithm, "RSA_", "RSA-", 1))
}

func status(c state.Certificate, now time.Time) types.CertificateStatus {
	if now.After(c.NotAfter) {
		return types.CertificateStatusExpired
	}
	return types.CertificateStatusIssued
}

func options(c state.Certificate) *types.CertificateOptions {
	o := &types.CertificateOptions{CertificateTransparencyLoggingPreference: types.CertificateTransparencyLoggingPreferenceEnabled, Export: types.CertificateExportDisabled}
	if c.NoLogging || c.Type == state.CertificateImported { // Source: ACM user guide: imported certificates are not logged
		o.CertificateTransparencyLoggingPreference = types.CertificateTransparencyLoggingPreferenceDisabled
	}
	if c.Type == state.CertificateImported {
		o.Export = ""
	}
	return o
}

// validations are the proofs that AWS would have asked for, all given. Tools look for their DNS records.
func validations(c state.Certificate) (out []types.DomainValidation) {
	for _, n := range c.Names {
		v := types.DomainValidation{DomainName: aws.String(n), ValidationDomain: aws.String(n), ValidationMethod: types.ValidationMethod(c.Validation),
			ValidationStatus: types.DomainStatusSuccess}
		switch bare := strings.TrimPrefix(n, "*."); v.ValidationMethod {
		case types.ValidationMethodDns: // a wildcard's record is that of its domain
			left, right := md5.Sum([]byte("name "+c.Scope.Account+bare)), md5.Sum([]byte("value "+c.Scope.Account+bare))
			v.ResourceRecord = &types.ResourceRecord{Type: types.RecordTypeCname, Name: aws.String("_" + hex.EncodeToString(left[:]) + "." + bare + "."),
				Value: aws.String("_" + hex.EncodeToString(right[:]) + ".acm-validations.aws.")}
		case types.ValidationMethodEmail: // Source: ACM user guide, email validation
			for _, who := range []string{"admin", "administrator", "hostmaster", "postmaster", "webmaster"} {
				v.ValidationEmails = append(v.ValidationEmails, who+"@"+bare)
			}
		}
		out = append(out, v)
	}
	return out
}

// serialText is a serial number as AWS writes it: 0a:1b:….
func serialText(x *x509.Certificate) string {
	var parts []string
	for _, b := range x.SerialNumber.Bytes() {
		parts = append(parts, fmt.Sprintf("%02x", b))
	}
	return strings.Join(parts, ":")
}

func issuerName(x *x509.Certificate) string {
	if len(x.Issuer.Organization) > 0 {
		return x.Issuer.Organization[0]
	}
	return x.Issuer.CommonName
}

func signatureName(x *x509.Certificate) string {
	switch x.SignatureAlgorithm {
	case x509.SHA1WithRSA:
		return "SHA1WITHRSA"
	case x509.SHA256WithRSA:
		return "SHA256WITHRSA"
	case x509.SHA384WithRSA:
		return "SHA384WITHRSA"
	case x509.SHA512WithRSA:
		return "SHA512WITHRSA"
	case x509.ECDSAWithSHA256:
		return "SHA256WITHECDSA"
	case x509.ECDSAWithSHA384:
		return "SHA384WITHECDSA"
	case x509.ECDSAWithSHA512:
		return "SHA512WITHECDSA"
	}
	return strings.ToUpper(x.SignatureAlgorithm.String())
}

func keyUsages(x *x509.Certificate) []types.KeyUsage {
	out := []types.KeyUsage{}
	for _, u := range []struct {
		bit  x509.KeyUsage
		name types.KeyUsageName
	}{
		{x509.KeyUsageDigitalSignature, types.KeyUsageNameDigitalSignature},
		{x509.KeyUsageContentCommitment, types.KeyUsageNameNonRepudation},
		{x509.KeyUsageKeyEncipherment, types.KeyUsageNameKeyEncipherment},
		{x509.KeyUsageDataEncipherment, types.KeyUsageNameDataEncipherment},
		{x509.KeyUsageKeyAgreement, types.KeyUsageNameKeyAgreement},
		{x509.KeyUsageCertSign, types.KeyUsageNameCertificateSigning},
		{x509.KeyUsageCRLSign, types.KeyUsageNameCrlSigning},
		{x509.KeyUsageEncipherOnly, types.KeyUsageNameEnchiperOnly},
		{x509.KeyUsageDecipherOnly, types.KeyUsageNameDecipherOnly},
	} {
		if x.KeyUsage&u.bit != 0 {
			out = append(out, types.KeyUsage{Name: u.name})
		}
	}
	return out
}

// extendedNames are AWS's names. Source: ACM API, ExtendedKeyUsage; RFC 5280, 4.2.1.12.
var extendedNames = map[string]types.ExtendedKeyUsageName{
	"2.5.29.37.0":       types.ExtendedKeyUsageNameAny,
	"1.3.6.1.5.5.7.3.1": types.ExtendedKeyUsageNameTlsWebServerAuthentication,
	"1.3.6.1.5.5.7.3.2": types.ExtendedKeyUsageNameTlsWebClientAuthentication,
	"1.3.6.1.5.5.7.3.3": types.ExtendedKeyUsageNameCodeSigning,
	"1.3.6.1.5.5.7.3.4": types.ExtendedKeyUsageNameEmailProtection,
	"1.3.6.1.5.5.7.3.5": types.ExtendedKeyUsageNameIpsecEndSystem,
	"1.3.6.1.5.5.7.3.6": types.ExtendedKeyUsageNameIpsecTunnel,
	"1.3.6.1.5.5.7.3.7": types.ExtendedKeyUsageNameIpsecUser,
	"1.3.6.1.5.5.7.3.8": types.ExtendedKeyUsageNameTimeStamping,
	"1.3.6.1.5.5.7.3.9": types.ExtendedKeyUsageNameOcspSigning,
}

var extendedKeyUsage = asn1.ObjectIdentifier{2, 5, 29, 37}

func extendedUsages(x *x509.Certificate) []types.ExtendedKeyUsage {
	out := []types.ExtendedKeyUsage{}
	for _, e := range x.Extensions {
		var oids []asn1.ObjectIdentifier
		if !e.Id.Equal(extendedKeyUsage) {
			continue
		}
		if _, err := asn1.Unmarshal(e.Value, &oids); err != nil {
			continue
		}
		for _, id := range oids {
			name, ok := extendedNames[id.String()]
			if !ok {
				name = types.ExtendedKeyUsageNameCustom
			}
			out = append(out, types.ExtendedKeyUsage{Name: name, OID: aws.String(id.String())})
		}
	}
	return out
}
