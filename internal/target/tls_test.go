package target

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	acmsdk "github.com/aws/aws-sdk-go-v2/service/acm"
	sdk "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/acm"
	"github.com/lotse-project/lotse/internal/seal"
)

// TestChain_CertificateFromTheAPI requests a certificate, gives it to a listener, and speaks HTTPS with it as a client
// that trusts the authority; then renews it.
func TestChain_CertificateFromTheAPI(t *testing.T) {
	c := newChain(t)
	key := okay(seal.Open(filepath.Join(c.dir, "key")))(t)
	authority := okay(acm.OpenAuthority(c.dir, key, time.Now()))(t)
	certificates := acm.New(acm.Options{DB: c.db, Key: okay(seal.Open(filepath.Join(c.dir, "balancer-key")))(t), Authority: authority, Log: slog.New(slog.DiscardHandler)})
	cert := okay(certificates.RequestCertificate(c.ctx, &acmsdk.RequestCertificateInput{DomainName: aws.String("*.example.com"), KeyAlgorithm: "EC_prime256v1"}))(t).CertificateArn
	web := c.group("web", says("web"))
	l := okay(c.api.CreateListener(c.ctx, &sdk.CreateListenerInput{LoadBalancerArn: &c.balancer, Port: aws.Int32(int32(c.port)), Protocol: types.ProtocolEnumHttps,
		Certificates: []types.Certificate{{CertificateArn: cert}}, DefaultActions: []types.Action{{Type: types.ActionTypeEnumForward, TargetGroupArn: &web}}}))(t).Listeners[0]
	c.apply()

	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(okay(os.ReadFile(filepath.Join(c.dir, acm.AuthorityFile)))(t))
	serials := map[string]bool{}
	ask := func() (body string, st *tls.ConnectionState) {
		t.Helper()
		client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "a.example.com"}, ForceAttemptHTTP2: true}}
		defer client.CloseIdleConnections()
		resp := okay(client.Get("https://127.0.0.1:" + strconv.Itoa(c.port) + "/x"))(t)
		defer resp.Body.Close()
		serials[resp.TLS.PeerCertificates[0].SerialNumber.String()] = true
		return string(okay(io.ReadAll(resp.Body))(t)), resp.TLS
	}
	body, st := ask()
	if want := "web 127.0.0.1:" + strconv.Itoa(c.port) + "/x"; body != want || st.Version != tls.VersionTLS12 || st.NegotiatedProtocol != "h2" {
		t.Errorf("%q over TLS %x, %s; want %q over 1.2 (the policy's), h2", body, st.Version, st.NegotiatedProtocol, want)
	}
	okay(c.api.ModifyListener(c.ctx, &sdk.ModifyListenerInput{ListenerArn: l.ListenerArn, SslPolicy: aws.String("ELBSecurityPolicy-TLS13-1-3-2021-06")}))(t)
	okay(c.api.ModifyLoadBalancerAttributes(c.ctx, &sdk.ModifyLoadBalancerAttributesInput{LoadBalancerArn: &c.balancer,
		Attributes: []types.LoadBalancerAttribute{{Key: aws.String("routing.http2.enabled"), Value: aws.String("false")}}}))(t)
	okay(certificates.RenewCertificate(c.ctx, &acmsdk.RenewCertificateInput{CertificateArn: cert}))(t)
	c.apply()
	if _, st := ask(); st.Version != tls.VersionTLS13 || st.NegotiatedProtocol != "http/1.1" {
		t.Errorf("TLS %x, %s; want 1.3, http/1.1", st.Version, st.NegotiatedProtocol)
	}
	if len(serials) != 2 {
		t.Errorf("%d certificates seen, want the first and the renewed one", len(serials))
	}
}
