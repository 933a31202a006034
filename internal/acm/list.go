package acm

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/aws-sdk-go-v2/service/acm/types"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// maxItems is the largest page and the one without MaxItems; sanShown is how many names a summary has.
// Source: ACM service model, MaxItems; ACM API, CertificateSummary.
const (
	maxItems = 1000
	sanShown = 100
)

// ListCertificates shows the certificates that all filters let through.
func (s *Service) ListCertificates(ctx context.Context, in *acm.ListCertificatesInput) (*acm.ListCertificatesOutput, error) {
	if (in.SortBy == "") != (in.SortOrder == "") {
		return nil, awsError("InvalidArgsException", "SortBy and SortOrder must be specified together.")
	}
	if n := in.MaxItems; n != nil && (*n < 1 || *n > maxItems) {
		return nil, constraint(*n, "maxItems", "Member must have value between 1 and 1000")
	}
	after, err := base64.RawURLEncoding.DecodeString(aws.ToString(in.NextToken))
	if err != nil {
		return nil, errToken
	}
	sc, now := scope(ctx), time.Now()
	var all []state.Certificate
	out := &acm.ListCertificatesOutput{CertificateSummaryList: []types.CertificateSummary{}}
	err = s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		for o, err := range state.Certificates.List(tx, sc.Key()) {
			if err != nil {
				return err
			}
			x, err := parsed(o.Val)
			if err != nil {
				return err
			}
			if listed(in, o.Val, usageNames(keyUsages(x)), extendedUsageNames(extendedUsages(x)), now) {
				all = append(all, o.Val)
			}
		}
		order := position
		if in.SortBy == "" {
			order = func(c state.Certificate) string { return c.ID }
		}
		slices.SortFunc(all, func(a, b state.Certificate) int { return strings.Compare(order(a), order(b)) })
		forward := func(c state.Certificate) bool { return order(c) > string(after) }
		if in.SortOrder == types.SortOrderDescending {
			slices.Reverse(all)
			forward = func(c state.Certificate) bool { return order(c) < string(after) }
		}
		if len(after) > 0 {
			all = slices.DeleteFunc(all, func(c state.Certificate) bool { return !forward(c) })
		}
		size := maxItems
		if in.MaxItems != nil {
			size = int(*in.MaxItems)
		}
		if len(all) > size {
			all = all[:size]
			out.NextToken = aws.String(base64.RawURLEncoding.EncodeToString([]byte(order(all[size-1]))))
		}
		for _, c := range all {
			v, err := summary(tx, c)
			if err != nil {
				return err
			}
			out.CertificateSummaryList = append(out.CertificateSummaryList, v)
		}
		return nil
	})
	return out, err
}

// Private

// position sorts by time of creation.
func position(c state.Certificate) string {
	return c.CreatedAt.UTC().Format("2006-01-02T15:04:05.000000000") + " " + c.ID
}

// listed says whether the filters let a certificate through. Without KeyTypes only RSA keys of 1024 and 2048 bits do.
// Source: ACM API, Filters.
func listed(in *acm.ListCertificatesInput, c state.Certificate, usages []types.KeyUsageName, extended []types.ExtendedKeyUsageName, now time.Time) bool {
	f := types.Filters{}
	if in.Includes != nil {
		f = *in.Includes
	}
	if len(f.KeyTypes) == 0 {
		f.KeyTypes = []types.KeyAlgorithm{types.KeyAlgorithmRsa1024, types.KeyAlgorithmRsa2048}
	}
	origin := types.CertificateKeyPairOrigin("")
	if c.Type == state.CertificateIssued {
		origin = types.CertificateKeyPairOriginAwsManaged
	}
	return slices.Contains(f.KeyTypes, types.KeyAlgorithm(c.KeyAlgorithm)) &&
		(len(in.CertificateStatuses) == 0 || slices.Contains(in.CertificateStatuses, status(c, now))) &&
		(len(in.CertificateKeyPairOrigins) == 0 || slices.Contains(in.CertificateKeyPairOrigins, origin)) &&
		hasAll(f.KeyUsage, usages, types.KeyUsageNameAny) && hasAll(f.ExtendedKeyUsage, extended, types.ExtendedKeyUsageNameAny) &&
		f.ExportOption != types.CertificateExportEnabled && f.ManagedBy == ""
}

// hasAll says whether a certificate has all of want, in which any asks for nothing.
func hasAll[T comparable](want, have []T, any T) bool {
	for _, w := range want {
		if w != any && !slices.Contains(have, w) {
			return false
		}
	}
	return true
}

func usageNames(in []types.KeyUsage) []types.KeyUsageName {
	out := []types.KeyUsageName{}
	for _, u := range in {
		out = append(out, u.Name)
	}
	return out
}

func extendedUsageNames(in []types.ExtendedKeyUsage) []types.ExtendedKeyUsageName {
	out := []types.ExtendedKeyUsageName{}
	for _, u := range in {
		out = append(out, u.Name)
	}
	return out
}

func summary(tx store.Reader, c state.Certificate) (types.CertificateSummary, error) {
	d, err := detail(tx, c)
	if err != nil {
		return types.CertificateSummary{}, err
	}
	names := c.Names[:min(len(c.Names), sanShown)]
	return types.CertificateSummary{
		CertificateArn: d.CertificateArn, CertificateKeyPairOrigin: d.CertificateKeyPairOrigin, CreatedAt: d.CreatedAt, DomainName: d.DomainName,
		ExportOption: d.Options.Export, Exported: aws.Bool(false), ExtendedKeyUsages: extendedUsageNames(d.ExtendedKeyUsages), KeyUsages: usageNames(d.KeyUsages),
		HasAdditionalSubjectAlternativeNames: aws.Bool(len(names) < len(c.Names)), SubjectAlternativeNameSummaries: names,
		ImportedAt: d.ImportedAt, IssuedAt: d.IssuedAt, InUse: aws.Bool(len(d.InUseBy) > 0), KeyAlgorithm: d.KeyAlgorithm, NotAfter: d.NotAfter, NotBefore: d.NotBefore,
		RenewalEligibility: d.RenewalEligibility, Status: d.Status, Type: d.Type,
	}, nil
}
