package elb

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// certificate writes a certificate's record and returns its ARN.
func (b *bench) certificate(id string) string {
	b.t.Helper()
	c := state.Certificate{Scope: b.sc, ID: id, Type: state.CertificateImported, Domain: id + ".example.com", Names: []string{id + ".example.com"}}
	b.update(func(tx *store.WriteTx) error {
		return state.Certificates.Put(tx, &store.Object[state.Certificate]{Key: c.Key(), Val: c})
	})
	return c.ARN()
}

func certs(arns ...string) (out []types.Certificate) {
	for _, a := range arns {
		out = append(out, types.Certificate{CertificateArn: aws.String(a)})
	}
	return out
}

func (b *bench) httpsInput(balancer *string, arn string) *elb.CreateListenerInput {
	return &elb.CreateListenerInput{LoadBalancerArn: balancer, Port: aws.Int32(443), Protocol: types.ProtocolEnumHttps, Certificates: certs(arn), DefaultActions: fixed404()}
}

func TestHTTPSListener(t *testing.T) {
	b := newBench(t)
	lb, one, two := b.balancer("web"), b.certificate("one"), b.certificate("two")
	in := b.httpsInput(lb.LoadBalancerArn, one)
	l := must(b.CreateListener(b.ctx, in))(t).Listeners[0]
	if l.Protocol != types.ProtocolEnumHttps || *l.SslPolicy != "ELBSecurityPolicy-2016-08" || len(l.Certificates) != 1 || *l.Certificates[0].CertificateArn != one {
		t.Errorf("CreateListener = %+v", l)
	}
	if again := must(b.CreateListener(b.ctx, in))(t).Listeners[0]; *again.ListenerArn != *l.ListenerArn {
		t.Error("the same again is another one")
	}
	_, err := b.CreateListener(b.ctx, b.httpsInput(lb.LoadBalancerArn, two))
	wantError(t, "the port with another certificate", err, "DuplicateListener", "")

	// Others beside the default.
	must(b.AddListenerCertificates(b.ctx, &elb.AddListenerCertificatesInput{ListenerArn: l.ListenerArn, Certificates: certs(two, one)}))(t)
	show := func() (out []string) {
		for _, c := range must(b.DescribeListenerCertificates(b.ctx, &elb.DescribeListenerCertificatesInput{ListenerArn: l.ListenerArn}))(t).Certificates {
			out = append(out, fmt.Sprint(*c.CertificateArn == one, *c.IsDefault))
		}
		return out
	}
	// Here and below, the default certificate is in the list too.
	if got := show(); !slices.Equal(got, []string{"true true", "true false", "false false"}) && !slices.Equal(got, []string{"true true", "false false", "true false"}) {
		t.Errorf("certificates = %v", got)
	}
	if v := must(b.DescribeListeners(b.ctx, &elb.DescribeListenersInput{ListenerArns: []string{*l.ListenerArn}}))(t).Listeners[0]; len(v.Certificates) != 1 {
		t.Errorf("DescribeListeners shows %d certificates, want the default alone", len(v.Certificates))
	}
	_, err = b.RemoveListenerCertificates(b.ctx, &elb.RemoveListenerCertificatesInput{ListenerArn: l.ListenerArn, Certificates: certs(one)})
	wantError(t, "remove the default", err, "OperationNotPermitted", "")

	// Another default: the list stays as it is.
	m := must(b.ModifyListener(b.ctx, &elb.ModifyListenerInput{ListenerArn: l.ListenerArn, Certificates: certs(two), SslPolicy: aws.String("ELBSecurityPolicy-TLS13-1-2-2021-06")}))(t).Listeners[0]
	if *m.Certificates[0].CertificateArn != two || *m.SslPolicy != "ELBSecurityPolicy-TLS13-1-2-2021-06" {
		t.Errorf("ModifyListener = %+v", m)
	}
	if got := show(); len(got) != 3 || got[0] != "false true" || !slices.Contains(got, "true false") || !slices.Contains(got[1:], "false false") {
		t.Errorf("certificates = %v", got)
	}
	must(b.AddListenerCertificates(b.ctx, &elb.AddListenerCertificatesInput{ListenerArn: l.ListenerArn, Certificates: certs(one)}))(t)
	must(b.RemoveListenerCertificates(b.ctx, &elb.RemoveListenerCertificatesInput{ListenerArn: l.ListenerArn, Certificates: certs(one, one)}))(t)

	// To HTTP and back.
	if m = must(b.ModifyListener(b.ctx, &elb.ModifyListenerInput{ListenerArn: l.ListenerArn, Protocol: types.ProtocolEnumHttp}))(t).Listeners[0]; m.SslPolicy != nil || m.Certificates != nil {
		t.Errorf("as HTTP = %+v", m)
	}
	_, err = b.ModifyListener(b.ctx, &elb.ModifyListenerInput{ListenerArn: l.ListenerArn, Protocol: types.ProtocolEnumHttps})
	wantError(t, "HTTPS without certificate", err, "ValidationError", "A certificate must be specified for HTTPS listeners")
}

func TestHTTPSListener_Refusals(t *testing.T) {
	b := newBench(t)
	lb, one, two := b.balancer("web"), b.certificate("one"), b.certificate("two")
	change := func(fn func(*elb.CreateListenerInput)) *elb.CreateListenerInput {
		in := b.httpsInput(lb.LoadBalancerArn, one)
		fn(in)
		return in
	}
	redirect := func(r types.RedirectActionConfig) []types.Action {
		r.StatusCode = types.RedirectActionStatusCodeEnumHttp301
		return []types.Action{{Type: types.ActionTypeEnumRedirect, RedirectConfig: &r}}
	}
	for _, c := range []struct {
		name, code, text string
		in               *elb.CreateListenerInput
	}{
		{"no such certificate", "CertificateNotFound", "", change(func(i *elb.CreateListenerInput) { i.Certificates = certs(one + "x") })},
		{"no certificate ARN", "CertificateNotFound", "Certificate ARN 'x' is not valid", change(func(i *elb.CreateListenerInput) { i.Certificates = certs("x") })},
		{"IAM's", "CertificateNotFound", "", change(func(i *elb.CreateListenerInput) {
			i.Certificates = certs("arn:aws:iam::000000000000:server-certificate/a")
		})},
		{"two", "TooManyCertificates", "", change(func(i *elb.CreateListenerInput) { i.Certificates = certs(one, two) })},
		{"no such policy", "SSLPolicyNotFound", "SSL policy 'x' not found", change(func(i *elb.CreateListenerInput) { i.SslPolicy = aws.String("x") })},
		{"FIPS", "SSLPolicyNotFound", "", change(func(i *elb.CreateListenerInput) { i.SslPolicy = aws.String("ELBSecurityPolicy-TLS13-1-2-FIPS-2023-04") })},
		{"HTTP with a certificate", "ValidationError", "", change(func(i *elb.CreateListenerInput) { i.Protocol = types.ProtocolEnumHttp })},
		{"HTTP with a policy", "ValidationError", "", change(func(i *elb.CreateListenerInput) {
			i.Protocol, i.Certificates, i.SslPolicy = types.ProtocolEnumHttp, nil, aws.String("ELBSecurityPolicy-2016-08")
		})},
		{"ALPN policy", "InvalidConfigurationRequest", "", change(func(i *elb.CreateListenerInput) { i.AlpnPolicy = []string{"HTTP2Only"} })},
		{"client certificates", "InvalidConfigurationRequest", "", change(func(i *elb.CreateListenerInput) {
			i.MutualAuthentication = &types.MutualAuthenticationAttributes{Mode: aws.String("verify")}
		})},
		{"redirect to HTTP", "InvalidLoadBalancerAction", "", change(func(i *elb.CreateListenerInput) {
			i.DefaultActions = redirect(types.RedirectActionConfig{Protocol: aws.String("HTTP"), Port: aws.String("80")})
		})},
		{"redirect in a loop", "InvalidLoadBalancerAction", "", change(func(i *elb.CreateListenerInput) {
			i.DefaultActions = redirect(types.RedirectActionConfig{Protocol: aws.String("HTTPS")})
		})},
	} {
		_, err := b.CreateListener(b.ctx, c.in)
		wantError(t, c.name, err, c.code, c.text)
	}
	plain := b.listener(lb.LoadBalancerArn, 80)
	_, err := b.AddListenerCertificates(b.ctx, &elb.AddListenerCertificatesInput{ListenerArn: plain.ListenerArn, Certificates: certs(one)})
	wantError(t, "certificates of an HTTP listener", err, "ValidationError", "")

	l := must(b.CreateListener(b.ctx, b.httpsInput(lb.LoadBalancerArn, one)))(t).Listeners[0]
	var many []string
	for i := range maxCertificates + 1 {
		many = append(many, b.certificate(fmt.Sprintf("many%d", i)))
	}
	_, err = b.AddListenerCertificates(b.ctx, &elb.AddListenerCertificatesInput{ListenerArn: l.ListenerArn, Certificates: certs(many...)})
	wantError(t, "26 certificates", err, "TooManyCertificates", "")
	must(b.AddListenerCertificates(b.ctx, &elb.AddListenerCertificatesInput{ListenerArn: l.ListenerArn, Certificates: certs(many[1:]...)}))(t)
	first := must(b.DescribeListenerCertificates(b.ctx, &elb.DescribeListenerCertificatesInput{ListenerArn: l.ListenerArn, PageSize: aws.Int32(20)}))(t)
	rest := must(b.DescribeListenerCertificates(b.ctx, &elb.DescribeListenerCertificatesInput{ListenerArn: l.ListenerArn, PageSize: aws.Int32(20), Marker: first.NextMarker}))(t)
	if len(first.Certificates) != 20 || !*first.Certificates[0].IsDefault || len(rest.Certificates) != 6 || rest.NextMarker != nil {
		t.Errorf("pages of %d and %d certificates", len(first.Certificates), len(rest.Certificates))
	}
}

func TestDescribeSSLPolicies(t *testing.T) {
	b := newBench(t)
	all := must(b.DescribeSSLPolicies(b.ctx, &elb.DescribeSSLPoliciesInput{}))(t).SslPolicies
	for _, p := range all {
		if len(p.SslProtocols) == 0 || len(p.Ciphers) == 0 || *p.Ciphers[0].Priority != 1 || strings.Contains(*p.Name, "FIPS") {
			t.Errorf("%s: %v, %d ciphers", *p.Name, p.SslProtocols, len(p.Ciphers))
		}
	}
	one := must(b.DescribeSSLPolicies(b.ctx, &elb.DescribeSSLPoliciesInput{Names: []string{"ELBSecurityPolicy-TLS13-1-2-Res-2021-06"}}))(t).SslPolicies
	if len(one) != 1 || !slices.Equal(one[0].SslProtocols, []string{"TLSv1.3", "TLSv1.2"}) || len(one[0].Ciphers) != 7 {
		t.Errorf("TLS13-1-2-Res = %+v", one)
	}
	_, err := b.DescribeSSLPolicies(b.ctx, &elb.DescribeSSLPoliciesInput{Names: []string{"x"}})
	wantError(t, "another name", err, "SSLPolicyNotFound", "SSL policy 'x' not found")
	if none := must(b.DescribeSSLPolicies(b.ctx, &elb.DescribeSSLPoliciesInput{LoadBalancerType: types.LoadBalancerTypeEnumNetwork}))(t); len(none.SslPolicies) != 0 {
		t.Errorf("for network load balancers: %d", len(none.SslPolicies))
	}
}
