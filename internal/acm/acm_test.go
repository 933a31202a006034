package acm

import (
	"bytes"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/acm"
	"github.com/aws/aws-sdk-go-v2/service/acm/types"

	"github.com/lotse-project/lotse/internal/seal"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

func (l *lab) importPair(t testing.TB, p *pair) string {
	t.Helper()
	return *must(l.ImportCertificate(t.Context(), &acm.ImportCertificateInput{Certificate: p.cert, PrivateKey: p.key}))(t).CertificateArn
}

func TestImport(t *testing.T) {
	l := newLab(t)
	p := made(t, "shop.example.com", rsaKey(t, 2048), nil, func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "*.Shop.example.com") })
	arn := l.importPair(t, p)
	if !strings.HasPrefix(arn, "arn:aws:acm:eu-central-1:123456789012:certificate/") {
		t.Errorf("ARN = %s", arn)
	}
	d := must(l.DescribeCertificate(t.Context(), &acm.DescribeCertificateInput{CertificateArn: &arn}))(t).Certificate
	if *d.DomainName != "shop.example.com" || !slices.Equal(d.SubjectAlternativeNames, []string{"shop.example.com", "*.shop.example.com"}) || d.Type != types.CertificateTypeImported ||
		d.Status != types.CertificateStatusIssued || d.ImportedAt == nil || d.IssuedAt != nil || d.KeyAlgorithm != "RSA-2048" || *d.SignatureAlgorithm != "SHA256WITHRSA" ||
		!d.NotAfter.Equal(p.x.NotAfter) || len(d.InUseBy) != 0 || *d.Issuer != "shop.example.com" || d.RenewalEligibility != types.RenewalEligibilityIneligible {
		t.Errorf("DescribeCertificate = %+v", d)
	}
	g := must(l.GetCertificate(t.Context(), &acm.GetCertificateInput{CertificateArn: &arn}))(t)
	if *g.Certificate != string(p.cert) || g.CertificateChain != nil {
		t.Errorf("GetCertificate = %s, chain %v", *g.Certificate, g.CertificateChain)
	}

	// Importing again keeps the ARN; what the balancer opens is the new pair.
	next := made(t, "shop.example.com", ecKey(t, elliptic.P384()), nil, nil)
	again := must(l.ImportCertificate(t.Context(), &acm.ImportCertificateInput{CertificateArn: &arn, Certificate: next.cert, PrivateKey: next.key}))(t)
	if *again.CertificateArn != arn {
		t.Errorf("import again: ARN = %s, want %s", *again.CertificateArn, arn)
	}
	l.serves(t, arn, next.x)
	d = must(l.DescribeCertificate(t.Context(), &acm.DescribeCertificateInput{CertificateArn: &arn}))(t).Certificate
	if d.KeyAlgorithm != types.KeyAlgorithmEcSecp384r1 {
		t.Errorf("KeyAlgorithm = %s", d.KeyAlgorithm)
	}
	_, err := l.ImportCertificate(t.Context(), &acm.ImportCertificateInput{CertificateArn: &arn, Certificate: next.cert, PrivateKey: next.key,
		Tags: []types.Tag{{Key: aws.String("a")}}})
	wantError(t, "tags on a re-import", err, "ValidationException", "Tagging is not permitted on re-import.")
}

// serves checks that the record's key, opened with the balancer's, is the certificate's.
func (l *lab) serves(t testing.TB, arn string, x *x509.Certificate) {
	t.Helper()
	c := l.record(t, arn)
	der, err := l.s.o.Key.Open(c.SealedKey, c.Key())
	if err != nil {
		t.Fatal(err)
	}
	got, err := tls.X509KeyPair([]byte(c.Body+c.Chain), pemOf("PRIVATE KEY", der))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Certificate[0], x.Raw) {
		t.Errorf("the record of %s has another certificate", arn)
	}
}

func TestImport_Refuses(t *testing.T) {
	l := newLab(t)
	root := made(t, "root", ecKey(t, elliptic.P256()), nil, authority)
	middle := made(t, "middle", ecKey(t, elliptic.P256()), root, authority)
	leaf := made(t, "a.example.com", ecKey(t, elliptic.P256()), middle, nil)
	self := made(t, "a.example.com", ecKey(t, elliptic.P256()), nil, nil)
	old := made(t, "a.example.com", ecKey(t, elliptic.P256()), nil, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	early := made(t, "a.example.com", ecKey(t, elliptic.P256()), nil, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })
	odd := made(t, "a.example.com", ecKey(t, elliptic.P224()), nil, nil)
	locked := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: []byte("x")})
	nobody := "arn:aws:acm:eu-central-1:123456789012:certificate/none"
	issued := *must(l.RequestCertificate(t.Context(), &acm.RequestCertificateInput{DomainName: aws.String("b.example.com"), KeyAlgorithm: types.KeyAlgorithmEcPrime256v1}))(t).CertificateArn

	for name, c := range map[string]struct {
		in         acm.ImportCertificateInput
		code, text string
	}{
		"no PEM":                 {acm.ImportCertificateInput{Certificate: []byte("x"), PrivateKey: self.key}, "", "The certificate is not PEM-encoded"},
		"a key as certificate":   {acm.ImportCertificateInput{Certificate: self.key, PrivateKey: self.key}, "", "The certificate is not PEM-encoded"},
		"two certificates":       {acm.ImportCertificateInput{Certificate: append(slices.Clone(leaf.cert), middle.cert...), PrivateKey: leaf.key}, "", "more than one certificate"},
		"no key":                 {acm.ImportCertificateInput{Certificate: self.cert, PrivateKey: []byte("x")}, "", "The private key is not PEM-encoded"},
		"certificate as key":     {acm.ImportCertificateInput{Certificate: self.cert, PrivateKey: self.cert}, "", "The private key is not PEM-encoded"},
		"encrypted key":          {acm.ImportCertificateInput{Certificate: self.cert, PrivateKey: locked}, "", "encrypted"},
		"another's key":          {acm.ImportCertificateInput{Certificate: self.cert, PrivateKey: leaf.key}, "", "do not match"},
		"a curve AWS has not":    {acm.ImportCertificateInput{Certificate: odd.cert, PrivateKey: odd.key}, "", "The private key is not supported"},
		"expired":                {acm.ImportCertificateInput{Certificate: old.cert, PrivateKey: old.key}, "", "has expired"},
		"not yet valid":          {acm.ImportCertificateInput{Certificate: early.cert, PrivateKey: early.key}, "", "not in effect yet"},
		"no chain":               {acm.ImportCertificateInput{Certificate: leaf.cert, PrivateKey: leaf.key}, "", "not a valid self signed"},
		"chain without PEM":      {acm.ImportCertificateInput{Certificate: leaf.cert, PrivateKey: leaf.key, CertificateChain: []byte("x")}, "", "The certificate chain is not PEM-encoded"},
		"chain of others":        {acm.ImportCertificateInput{Certificate: leaf.cert, PrivateKey: leaf.key, CertificateChain: root.cert}, "", "invalid certificate is: 0"},
		"chain in another order": {acm.ImportCertificateInput{Certificate: leaf.cert, PrivateKey: leaf.key, CertificateChain: slices.Concat(middle.cert, middle.cert)}, "", "invalid certificate is: 1"},
		"no such ARN":            {acm.ImportCertificateInput{Certificate: self.cert, PrivateKey: self.key, CertificateArn: &nobody}, "ResourceNotFoundException", "Could not find certificate"},
		"no ARN":                 {acm.ImportCertificateInput{Certificate: self.cert, PrivateKey: self.key, CertificateArn: aws.String("arn:aws:iam::123456789012:server-certificate/a")}, "", "regular expression"},
		"another kind of ARN":    {acm.ImportCertificateInput{Certificate: self.cert, PrivateKey: self.key, CertificateArn: aws.String("arn:aws:acm:eu-central-1:123456789012:thing/a")}, "InvalidArnException", "thing/a"},
		"half an ARN":            {acm.ImportCertificateInput{Certificate: self.cert, PrivateKey: self.key, CertificateArn: aws.String("arn:aws:acm")}, "", "length"},
		"over an issued one":     {acm.ImportCertificateInput{Certificate: self.cert, PrivateKey: self.key, CertificateArn: &issued}, "", "was not imported"},
		"a tag of AWS's":         {acm.ImportCertificateInput{Certificate: self.cert, PrivateKey: self.key, Tags: []types.Tag{{Key: aws.String("aws:x")}}}, "InvalidTagException", "aws:x"},
	} {
		code := c.code
		if code == "" {
			code = "ValidationException"
		}
		_, err := l.ImportCertificate(t.Context(), &c.in)
		wantError(t, name, err, code, c.text)
	}
	all := must(l.ListCertificates(t.Context(), &acm.ListCertificatesInput{Includes: &types.Filters{KeyTypes: types.KeyAlgorithm("").Values()}}))(t)
	if n := len(all.CertificateSummaryList); n != 1 {
		t.Errorf("%d certificates are there after refusals, want the issued one only", n)
	}
	if _, err := l.ImportCertificate(t.Context(), &acm.ImportCertificateInput{Certificate: leaf.cert, PrivateKey: leaf.key, CertificateChain: slices.Concat(middle.cert, root.cert)}); err != nil {
		t.Errorf("a whole chain: %v", err)
	}
}

func TestRequest(t *testing.T) {
	l := newLab(t)
	in := &acm.RequestCertificateInput{DomainName: aws.String("Shop.example.com"), SubjectAlternativeNames: []string{"*.shop.example.com", "shop.example.com"},
		ValidationMethod: types.ValidationMethodDns, IdempotencyToken: aws.String("once"), Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("web")}}}
	arn := *must(l.RequestCertificate(t.Context(), in))(t).CertificateArn
	if again := *must(l.RequestCertificate(t.Context(), in))(t).CertificateArn; again != arn {
		t.Errorf("the same token again = %s, want %s", again, arn)
	}
	d := must(l.DescribeCertificate(t.Context(), &acm.DescribeCertificateInput{CertificateArn: &arn}))(t).Certificate
	if d.Status != types.CertificateStatusIssued || d.Type != types.CertificateTypeAmazonIssued || *d.DomainName != "shop.example.com" || len(d.SubjectAlternativeNames) != 2 ||
		d.IssuedAt == nil || *d.Issuer != "Lotse" || len(d.DomainValidationOptions) != 2 {
		t.Fatalf("DescribeCertificate = %+v", d)
	}
	one, star := d.DomainValidationOptions[0], d.DomainValidationOptions[1]
	if one.ValidationStatus != types.DomainStatusSuccess || !strings.HasSuffix(*one.ResourceRecord.Name, ".shop.example.com.") || *one.ResourceRecord.Name != *star.ResourceRecord.Name {
		t.Errorf("validations = %+v, %+v: want the record of the domain in both", one.ResourceRecord, star.ResourceRecord)
	}

	// Who trusts the authority trusts the certificate, for its names.
	g := must(l.GetCertificate(t.Context(), &acm.GetCertificateInput{CertificateArn: &arn}))(t)
	trusted, err := os.ReadFile(filepath.Join(l.dir, AuthorityFile))
	if err != nil || *g.CertificateChain != string(trusted) {
		t.Errorf("the chain is not the authority's certificate (%v)", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(trusted)
	certs, err := parseCertificates([]byte(*g.Certificate))
	if err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{"shop.example.com": true, "a.shop.example.com": true, "a.b.shop.example.com": false, "example.com": false} {
		if _, err := certs[0].Verify(x509.VerifyOptions{DNSName: name, Roots: roots}); (err == nil) != ok {
			t.Errorf("trusted for %s: %v, want %v", name, err, ok)
		}
	}
	l.serves(t, arn, certs[0])
	tags := must(l.ListTagsForCertificate(t.Context(), &acm.ListTagsForCertificateInput{CertificateArn: &arn}))(t).Tags
	if len(tags) != 1 || *tags[0].Key != "team" {
		t.Errorf("tags = %v", tags)
	}
}

func TestRequest_Refuses(t *testing.T) {
	l := newLab(t)
	ok := aws.String("a.example.com")
	for name, c := range map[string]struct {
		in         acm.RequestCertificateInput
		code, text string
	}{
		"one label":      {acm.RequestCertificateInput{DomainName: aws.String("localhost")}, "ValidationException", "domainName"},
		"star inside":    {acm.RequestCertificateInput{DomainName: aws.String("a.*.example.com")}, "ValidationException", "domainName"},
		"an alternative": {acm.RequestCertificateInput{DomainName: ok, SubjectAlternativeNames: []string{"-a.example.com"}}, "ValidationException", "subjectAlternativeNames"},
		"a large key":    {acm.RequestCertificateInput{DomainName: ok, KeyAlgorithm: types.KeyAlgorithmRsa4096}, "ValidationException", "RSA_4096"},
		"an authority":   {acm.RequestCertificateInput{DomainName: ok, CertificateAuthorityArn: aws.String("arn:aws:acm-pca:eu-central-1:123456789012:certificate-authority/a")}, "ValidationException", "ertificateAuthorityArn"},
		"a token":        {acm.RequestCertificateInput{DomainName: ok, IdempotencyToken: aws.String("a b")}, "ValidationException", "idempotencyToken"},
		"export":         {acm.RequestCertificateInput{DomainName: ok, Options: &types.CertificateOptions{Export: types.CertificateExportEnabled}}, "ValidationException", "Export"},
	} {
		_, err := l.RequestCertificate(t.Context(), &c.in)
		wantError(t, name, err, c.code, c.text)
	}
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("a%d.example.com", i))
	}
	_, err := l.RequestCertificate(t.Context(), &acm.RequestCertificateInput{DomainName: ok, SubjectAlternativeNames: many})
	wantError(t, "101 names", err, "LimitExceededException", "101")
}

func TestList(t *testing.T) {
	l := newLab(t)
	rsa := l.importPair(t, made(t, "rsa.example.com", rsaKey(t, 2048), nil, nil))
	ec := l.importPair(t, made(t, "ec.example.com", ecKey(t, elliptic.P256()), nil, nil))
	issued := *must(l.RequestCertificate(t.Context(), &acm.RequestCertificateInput{DomainName: aws.String("new.example.com")}))(t).CertificateArn
	l.use(t, issued)
	arns := func(in *acm.ListCertificatesInput) (out []string) {
		for _, c := range must(l.ListCertificates(t.Context(), in))(t).CertificateSummaryList {
			out = append(out, *c.CertificateArn)
		}
		return out
	}
	every := &types.Filters{KeyTypes: types.KeyAlgorithm("").Values()}
	for name, c := range map[string]struct {
		in   acm.ListCertificatesInput
		want []string
	}{
		"by default only RSA": {acm.ListCertificatesInput{SortBy: types.SortByCreatedAt, SortOrder: types.SortOrderAscending}, []string{rsa, issued}},
		"all, newest first":   {acm.ListCertificatesInput{Includes: every, SortBy: types.SortByCreatedAt, SortOrder: types.SortOrderDescending}, []string{issued, ec, rsa}},
		"elliptic":            {acm.ListCertificatesInput{Includes: &types.Filters{KeyTypes: []types.KeyAlgorithm{types.KeyAlgorithmEcPrime256v1}}}, []string{ec}},
		"encipherment":        {acm.ListCertificatesInput{Includes: &types.Filters{KeyTypes: every.KeyTypes, KeyUsage: []types.KeyUsageName{types.KeyUsageNameKeyEncipherment}}}, []string{issued}},
		"client certificates": {acm.ListCertificatesInput{Includes: &types.Filters{KeyTypes: every.KeyTypes, ExtendedKeyUsage: []types.ExtendedKeyUsageName{types.ExtendedKeyUsageNameTlsWebClientAuthentication}}}, nil},
		"expired":             {acm.ListCertificatesInput{Includes: every, CertificateStatuses: []types.CertificateStatus{types.CertificateStatusExpired}}, nil},
	} {
		if got := arns(&c.in); !slices.Equal(got, c.want) {
			t.Errorf("%s = %v, want %v", name, got, c.want)
		}
	}
	var paged []string
	in := &acm.ListCertificatesInput{Includes: every, MaxItems: aws.Int32(1)}
	for {
		page := must(l.ListCertificates(t.Context(), in))(t)
		for _, c := range page.CertificateSummaryList {
			paged = append(paged, *c.CertificateArn)
			if *c.InUse != (*c.CertificateArn == issued) {
				t.Errorf("InUse of %s = %v", *c.CertificateArn, *c.InUse)
			}
		}
		if in.NextToken = page.NextToken; in.NextToken == nil {
			break
		}
	}
	slices.Sort(paged)
	if want := slices.Sorted(slices.Values([]string{rsa, ec, issued})); !slices.Equal(paged, want) {
		t.Errorf("page by page = %v, want %v", paged, want)
	}
	_, err := l.ListCertificates(t.Context(), &acm.ListCertificatesInput{SortBy: types.SortByCreatedAt})
	wantError(t, "SortBy alone", err, "InvalidArgsException", "SortOrder")
}

func TestDelete(t *testing.T) {
	l := newLab(t)
	used := l.importPair(t, made(t, "a.example.com", ecKey(t, elliptic.P256()), nil, nil))
	free := l.importPair(t, made(t, "a.example.com", ecKey(t, elliptic.P256()), nil, nil))
	l.use(t, used)
	_, err := l.DeleteCertificate(t.Context(), &acm.DeleteCertificateInput{CertificateArn: &used})
	wantError(t, "delete one in use", err, "ResourceInUseException", "is in use")
	if d := must(l.DescribeCertificate(t.Context(), &acm.DescribeCertificateInput{CertificateArn: &used}))(t); len(d.Certificate.InUseBy) != 1 {
		t.Errorf("InUseBy = %v", d.Certificate.InUseBy)
	}
	must(l.DeleteCertificate(t.Context(), &acm.DeleteCertificateInput{CertificateArn: &free}))(t)
	_, err = l.DeleteCertificate(t.Context(), &acm.DeleteCertificateInput{CertificateArn: &free})
	wantError(t, "delete it again", err, "ResourceNotFoundException", free)
}

func TestTags(t *testing.T) {
	l := newLab(t)
	arn := l.importPair(t, made(t, "a.example.com", ecKey(t, elliptic.P256()), nil, nil))
	tag := func(k, v string) types.Tag { return types.Tag{Key: &k, Value: &v} }
	must(l.AddTagsToCertificate(t.Context(), &acm.AddTagsToCertificateInput{CertificateArn: &arn, Tags: []types.Tag{tag("a", "1"), tag("b", "2")}}))(t)
	must(l.TagResource(t.Context(), &acm.TagResourceInput{ResourceArn: &arn, Tags: []types.Tag{tag("c", "3")}}))(t)
	must(l.RemoveTagsFromCertificate(t.Context(), &acm.RemoveTagsFromCertificateInput{CertificateArn: &arn, Tags: []types.Tag{tag("a", "another"), {Key: aws.String("b")}}}))(t)
	got := must(l.ListTagsForResource(t.Context(), &acm.ListTagsForResourceInput{ResourceArn: &arn}))(t).Tags
	if len(got) != 2 || *got[0].Key != "a" || *got[1].Key != "c" {
		t.Errorf("tags = %v, want a and c", got)
	}
	must(l.UntagResource(t.Context(), &acm.UntagResourceInput{ResourceArn: &arn, TagKeys: []string{"a"}}))(t)
	var many []types.Tag
	for i := range 50 {
		many = append(many, tag(fmt.Sprint(i), ""))
	}
	_, err := l.AddTagsToCertificate(t.Context(), &acm.AddTagsToCertificateInput{CertificateArn: &arn, Tags: many})
	wantError(t, "51 tags", err, "TooManyTagsException", "50")
	for name, c := range map[string]struct {
		tags []types.Tag
		text string
	}{
		"no tags":           {[]types.Tag{}, "'tags' failed"},
		"51 tags at once":   {append(many, tag("z", "")), "'tags' failed"},
		"a star in a key":   {[]types.Tag{tag("*", "")}, "'tags.1.member.key' failed"},
		"a star in a value": {[]types.Tag{tag("d", ""), tag("e", "*")}, "'tags.2.member.value' failed"},
	} {
		_, err := l.AddTagsToCertificate(t.Context(), &acm.AddTagsToCertificateInput{CertificateArn: &arn, Tags: c.tags})
		wantError(t, name, err, "ValidationException", c.text)
	}
}

func TestRenew(t *testing.T) {
	l := newLab(t)
	arn := *must(l.RequestCertificate(t.Context(), &acm.RequestCertificateInput{DomainName: aws.String("a.example.com"), KeyAlgorithm: types.KeyAlgorithmEcPrime256v1}))(t).CertificateArn
	first := l.record(t, arn)
	due := first.NotAfter.Add(-renewBefore + time.Minute)
	if err := l.s.renewDue(t.Context(), due); err != nil {
		t.Fatal(err)
	}
	if l.record(t, arn).Body != first.Body {
		t.Error("a certificate that nobody uses was renewed")
	}
	l.use(t, arn)
	if err := l.s.renewDue(t.Context(), due.Add(-2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if l.record(t, arn).Body != first.Body {
		t.Error("a certificate was renewed too early")
	}
	if err := l.s.renewDue(t.Context(), due); err != nil {
		t.Fatal(err)
	}
	second := l.record(t, arn)
	x, err := parsed(second)
	if err != nil || second.Body == first.Body || second.SealedKey == first.SealedKey {
		t.Fatalf("not renewed (%v)", err)
	}
	l.serves(t, arn, x)
	d := must(l.DescribeCertificate(t.Context(), &acm.DescribeCertificateInput{CertificateArn: &arn}))(t).Certificate
	if d.RenewalEligibility != types.RenewalEligibilityEligible || d.RenewalSummary == nil || d.RenewalSummary.RenewalStatus != types.RenewalStatusSuccess {
		t.Errorf("renewal = %s, %+v", d.RenewalEligibility, d.RenewalSummary)
	}
	must(l.RenewCertificate(t.Context(), &acm.RenewCertificateInput{CertificateArn: &arn}))(t)
	if l.record(t, arn).Body == second.Body {
		t.Error("RenewCertificate did nothing")
	}
	imported := l.importPair(t, made(t, "a.example.com", ecKey(t, elliptic.P256()), nil, nil))
	_, err = l.RenewCertificate(t.Context(), &acm.RenewCertificateInput{CertificateArn: &imported})
	wantError(t, "renew an imported one", err, "ValidationException", "imported")
}

func TestAuthority(t *testing.T) {
	dir := t.TempDir()
	key, err := seal.Open(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := OpenAuthority(dir, key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b, err := OpenAuthority(dir, key, time.Now())
	if err != nil || !a.cert.Equal(b.cert) {
		t.Errorf("opened again it is another authority (%v)", err)
	}
	sealed, err := os.ReadFile(filepath.Join(dir, authorityKeyFile))
	if err != nil || bytes.Contains(sealed, []byte("PRIVATE")) {
		t.Errorf("the key's file (%v): %s", err, sealed)
	}
	other, err := seal.Open(filepath.Join(dir, "key2"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAuthority(dir, other, time.Now()); err == nil {
		t.Error("opened with another key")
	}
	if err := os.Remove(filepath.Join(dir, authorityKeyFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAuthority(dir, key, time.Now()); err == nil || !strings.Contains(err.Error(), AuthorityFile) {
		t.Errorf("without the key's file: %v", err)
	}
}

func TestNoKeyInTheStore(t *testing.T) {
	l := newLab(t)
	p := made(t, "a.example.com", ecKey(t, elliptic.P256()), nil, nil)
	arn := l.importPair(t, p)
	err := l.db.View(t.Context(), func(tx *store.ReadTx) error {
		o, err := state.Certificates.Get(tx, state.CertificateKey(here, arn))
		if strings.Contains(fmt.Sprintf("%+v", o.Val), "PRIVATE KEY") || strings.Contains(o.Val.SealedKey, string(p.key[40:80])) {
			t.Error("the record tells the key")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
