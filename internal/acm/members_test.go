package acm

import (
	"context"
	"crypto/elliptic"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/aws-sdk-go-v2/service/acm/types"

	"github.com/lotse-project/lotse/internal/awsauth"
	"github.com/lotse-project/lotse/internal/awswire/wiretest"
)

// An operation is called with an input in which everything is in order.
type operation struct {
	input any
	call  func(ctx context.Context, in any) error
	acts  []string // paths of the members it acts on; a list's elements are not named: Tags.Key
}

func op[In, Out any](in *In, call func(context.Context, *In) (*Out, error), acts string) operation {
	return operation{in, func(ctx context.Context, v any) error { _, err := call(ctx, v.(*In)); return err }, strings.Fields(acts)}
}

// operations are of a certificate that was imported and one that was issued.
func (l *lab) operations(t *testing.T) map[string]operation {
	p := made(t, "a.example.com", ecKey(t, elliptic.P256()), nil, nil)
	imported := aws.String(l.importPair(t, p))
	issued := must(l.RequestCertificate(t.Context(), &acm.RequestCertificateInput{DomainName: aws.String("b.example.com")}))(t).CertificateArn
	tag, s := []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}, l.s
	const tags, options = " Tags Tags.Key Tags.Value", " Options Options.CertificateTransparencyLoggingPreference Options.Export"
	return map[string]operation{
		"ImportCertificate": op(&acm.ImportCertificateInput{Certificate: p.cert, PrivateKey: p.key}, s.ImportCertificate, "Certificate CertificateArn CertificateChain PrivateKey"+tags),
		"RequestCertificate": op(&acm.RequestCertificateInput{DomainName: aws.String("c.example.com")}, s.RequestCertificate,
			"DomainName SubjectAlternativeNames IdempotencyToken KeyAlgorithm ValidationMethod"+tags+options),
		"DescribeCertificate": op(&acm.DescribeCertificateInput{CertificateArn: imported}, s.DescribeCertificate, "CertificateArn"),
		"GetCertificate":      op(&acm.GetCertificateInput{CertificateArn: imported}, s.GetCertificate, "CertificateArn"),
		"ListCertificates": op(&acm.ListCertificatesInput{}, s.ListCertificates,
			"CertificateKeyPairOrigins CertificateStatuses MaxItems NextToken SortBy SortOrder Includes Includes.ExportOption Includes.ExtendedKeyUsage Includes.KeyTypes Includes.KeyUsage Includes.ManagedBy"),
		"DeleteCertificate":         op(&acm.DeleteCertificateInput{CertificateArn: imported}, s.DeleteCertificate, "CertificateArn"),
		"RenewCertificate":          op(&acm.RenewCertificateInput{CertificateArn: issued}, s.RenewCertificate, "CertificateArn"),
		"UpdateCertificateOptions":  op(&acm.UpdateCertificateOptionsInput{CertificateArn: issued, Options: &types.CertificateOptions{}}, s.UpdateCertificateOptions, "CertificateArn"+options),
		"AddTagsToCertificate":      op(&acm.AddTagsToCertificateInput{CertificateArn: imported, Tags: tag}, s.AddTagsToCertificate, "CertificateArn"+tags),
		"RemoveTagsFromCertificate": op(&acm.RemoveTagsFromCertificateInput{CertificateArn: imported, Tags: tag}, s.RemoveTagsFromCertificate, "CertificateArn"+tags),
		"ListTagsForCertificate":    op(&acm.ListTagsForCertificateInput{CertificateArn: imported}, s.ListTagsForCertificate, "CertificateArn"),
		"TagResource":               op(&acm.TagResourceInput{ResourceArn: imported, Tags: tag}, s.TagResource, "ResourceArn"+tags),
		"UntagResource":             op(&acm.UntagResourceInput{ResourceArn: imported, TagKeys: []string{"k"}}, s.UntagResource, "ResourceArn TagKeys"),
		"ListTagsForResource":       op(&acm.ListTagsForResourceInput{ResourceArn: imported}, s.ListTagsForResource, "ResourceArn"),
	}
}

// Every member of the SDK's inputs, however deep, is acted on or refused.
func TestMembers_ActedOnOrRefused(t *testing.T) {
	for _, name := range newLab(t).s.API().Operations() {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			ctx := awsauth.WithCaller(t.Context(), awsauth.Caller{Account: here.Account, Region: here.Region})
			o, ok := l.operations(t)[name]
			if !ok {
				t.Fatal("the operation is not in this test")
			}
			call := func(in any) error { return o.call(ctx, in) }
			wiretest.Members(t, o.input, o.acts, nil, call)
			wiretest.Broken(t, o.input, call)
		})
	}
}
