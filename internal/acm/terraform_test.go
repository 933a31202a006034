package acm

import (
	"crypto/elliptic"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/aws-sdk-go-v2/service/acm/types"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// What Terraform's AWS provider asks for its resources, in its order, from apply to destroy.
// Source: terraform-provider-aws 6, internal/service/acm: certificate.go, certificate_validation.go, certificate_data_source.go.
func TestTerraform(t *testing.T) {
	l := newLab(t)
	ctx := t.Context()
	tags := []types.Tag{{Key: aws.String("env"), Value: aws.String("a")}}
	pair := made(t, "own.example.com", ecKey(t, elliptic.P256()), nil, nil)
	var arn, imported *string
	describe := func(arn *string) types.CertificateDetail {
		return *must(l.DescribeCertificate(ctx, &acm.DescribeCertificateInput{CertificateArn: arn}))(t).Certificate
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"aws_acm_certificate/create, requested", func() error {
			out, err := l.RequestCertificate(ctx, &acm.RequestCertificateInput{DomainName: aws.String("shop.example.com"), SubjectAlternativeNames: []string{"*.shop.example.com", "shop.example.com"}, ValidationMethod: types.ValidationMethodDns,
				IdempotencyToken: aws.String("tf20260101000000000000000001"), Tags: tags, Options: &types.CertificateOptions{CertificateTransparencyLoggingPreference: types.CertificateTransparencyLoggingPreferenceEnabled}})
			if err == nil {
				arn = out.CertificateArn
			}
			return err
		}},
		{"aws_acm_certificate/read", func() error {
			d := describe(arn)
			key := types.KeyAlgorithm(strings.ReplaceAll(string(d.KeyAlgorithm), "-", "_")) // as the provider reads it
			if d.Type != types.CertificateTypeAmazonIssued || d.Status != types.CertificateStatusIssued || len(d.SubjectAlternativeNames) != 2 || key != types.KeyAlgorithmRsa2048 || d.CertificateAuthorityArn != nil ||
				d.NotBefore == nil || d.NotAfter == nil || d.RenewalSummary != nil || d.Options.CertificateTransparencyLoggingPreference != types.CertificateTransparencyLoggingPreferenceEnabled {
				t.Errorf("certificate %+v", d)
			}
			for _, v := range d.DomainValidationOptions { // an aws_route53_record is made of each
				if r := v.ResourceRecord; v.ValidationMethod != types.ValidationMethodDns || r == nil || r.Type != types.RecordTypeCname || *r.Name == "" || *r.Value == "" {
					t.Errorf("validation %+v", v)
				}
			}
			out, err := l.ListTagsForCertificate(ctx, &acm.ListTagsForCertificateInput{CertificateArn: arn})
			if err == nil && (len(out.Tags) != 1 || *out.Tags[0].Key != "env") {
				t.Errorf("tags %+v", out.Tags)
			}
			return err
		}},
		{"aws_acm_certificate_validation/create", func() error {
			if d := describe(arn); d.Status != types.CertificateStatusIssued || d.IssuedAt == nil {
				t.Errorf("status %s, issued at %v", d.Status, d.IssuedAt)
			}
			return acm.NewCertificateValidatedWaiter(l.Client).Wait(ctx, &acm.DescribeCertificateInput{CertificateArn: arn}, time.Minute) // which aws acm wait has too
		}},
		{"aws_acm_certificate/update", func() error {
			_, err := l.UpdateCertificateOptions(ctx, &acm.UpdateCertificateOptionsInput{CertificateArn: arn, Options: &types.CertificateOptions{CertificateTransparencyLoggingPreference: types.CertificateTransparencyLoggingPreferenceDisabled}})
			_, err2 := l.UpdateCertificateOptions(ctx, &acm.UpdateCertificateOptionsInput{CertificateArn: arn, Options: &types.CertificateOptions{Export: types.CertificateExportDisabled}})
			_, err3 := l.RemoveTagsFromCertificate(ctx, &acm.RemoveTagsFromCertificateInput{CertificateArn: arn, Tags: tags})
			_, err4 := l.AddTagsToCertificate(ctx, &acm.AddTagsToCertificateInput{CertificateArn: arn, Tags: tags})
			if o := describe(arn).Options; o.CertificateTransparencyLoggingPreference != types.CertificateTransparencyLoggingPreferenceDisabled || o.Export != types.CertificateExportDisabled {
				t.Errorf("options %+v", o)
			}
			return errors.Join(err, err2, err3, err4)
		}},
		{"aws_acm_certificate/update, renewed early", func() error {
			l.use(t, *arn)
			if d := describe(arn); d.RenewalEligibility != types.RenewalEligibilityEligible {
				t.Errorf("eligibility %s", d.RenewalEligibility)
			}
			_, err := l.RenewCertificate(ctx, &acm.RenewCertificateInput{CertificateArn: arn})
			if s := describe(arn).RenewalSummary; s == nil || s.RenewalStatus != types.RenewalStatusSuccess || s.UpdatedAt == nil {
				t.Errorf("renewal %+v", s)
			}
			return err
		}},
		{"aws_acm_certificate/create, imported", func() error {
			out, err := l.ImportCertificate(ctx, &acm.ImportCertificateInput{Certificate: pair.cert, PrivateKey: pair.key, Tags: tags})
			if err != nil {
				return err
			}
			imported = out.CertificateArn
			if d := describe(imported); d.Type != types.CertificateTypeImported || *d.DomainName != "own.example.com" || len(d.DomainValidationOptions) != 0 || d.KeyAlgorithm != types.KeyAlgorithmEcPrime256v1 {
				t.Errorf("certificate %+v", d)
			}
			return nil
		}},
		{"aws_acm_certificate/update, imported", func() error {
			next := made(t, "own.example.com", ecKey(t, elliptic.P256()), nil, nil)
			_, err := l.ImportCertificate(ctx, &acm.ImportCertificateInput{CertificateArn: imported, Certificate: next.cert, PrivateKey: next.key})
			return err
		}},
		{"data aws_acm_certificate", func() error {
			for domain, in := range map[string]*acm.ListCertificatesInput{
				"shop.example.com": {CertificateStatuses: []types.CertificateStatus{types.CertificateStatusIssued}},
				"own.example.com":  {CertificateStatuses: []types.CertificateStatus{types.CertificateStatusIssued}, Includes: &types.Filters{KeyTypes: []types.KeyAlgorithm{types.KeyAlgorithmEcPrime256v1}}},
			} {
				p := acm.NewListCertificatesPaginator(l.Client, in)
				out, err := p.NextPage(ctx)
				if err != nil || p.HasMorePages() || len(out.CertificateSummaryList) != 1 || *out.CertificateSummaryList[0].DomainName != domain {
					return fmt.Errorf("certificates of %s: %+v, %w", domain, out, err)
				}
				got, err := l.GetCertificate(ctx, &acm.GetCertificateInput{CertificateArn: out.CertificateSummaryList[0].CertificateArn})
				if err != nil || !strings.HasPrefix(*got.Certificate, "-----BEGIN CERTIFICATE-----") {
					return fmt.Errorf("certificate of %s: %+v, %w", domain, got, err)
				}
			}
			return nil
		}},
		{"aws_acm_certificate/delete", func() error {
			_, err := l.DeleteCertificate(ctx, &acm.DeleteCertificateInput{CertificateArn: arn})
			if e := (*types.ResourceInUseException)(nil); !errors.As(err, &e) {
				t.Errorf("delete of one in use: %v, which Terraform does not try again", err)
			}
			if err := l.db.Update(ctx, func(tx *store.WriteTx) error {
				for o, err := range state.Listeners.List(tx, "") {
					if err := errors.Join(err, state.Listeners.Delete(tx, o.Key, o.Rev)); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				return err
			}
			if _, err := l.DeleteCertificate(ctx, &acm.DeleteCertificateInput{CertificateArn: arn}); err != nil {
				return err
			}
			_, err = l.DeleteCertificate(ctx, &acm.DeleteCertificateInput{CertificateArn: arn})
			_, err2 := l.DescribeCertificate(ctx, &acm.DescribeCertificateInput{CertificateArn: arn})
			for _, err := range []error{err, err2} {
				if e := (*types.ResourceNotFoundException)(nil); !errors.As(err, &e) {
					return fmt.Errorf("not what Terraform takes for a missing certificate: %w", err)
				}
			}
			return nil
		}},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
	}
}
