package test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A certificate that the server's authority issues serves a listener, for clients that trust the authority; also after the
// server was killed, and the balancer began anew from its snapshot, which tells no key.
func TestHTTPS(t *testing.T) {
	s := start(t)
	ca := lotse(t, s, "server", "ca", "--data-dir", s.Dir)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(ca)) {
		t.Fatalf("lotse server ca = %s", ca)
	}
	cert := aws(t, s, "acm", "request-certificate", "--domain-name", "shop.example.com", "--validation-method", "DNS", "--query", "CertificateArn")
	subnets := strings.Fields(aws(t, s, "ec2", "describe-subnets", "--query", "Subnets[:2].SubnetId"))
	group := aws(t, s, "ec2", "describe-security-groups", "--query", "SecurityGroups[0].GroupId")
	aws(t, s, "ec2", "authorize-security-group-ingress", "--group-id", group, "--protocol", "tcp", "--port", "443", "--cidr", "0.0.0.0/0")
	lb := aws(t, s, append([]string{"elbv2", "create-load-balancer", "--name", "shop", "--query", "LoadBalancers[0].LoadBalancerArn", "--subnets"}, subnets...)...)
	aws(t, s, "elbv2", "create-listener", "--load-balancer-arn", lb, "--port", "443", "--protocol", "HTTPS", "--certificates", "CertificateArn="+cert,
		"--ssl-policy", "ELBSecurityPolicy-TLS13-1-2-2021-06", "--default-actions", "Type=fixed-response,FixedResponseConfig={StatusCode=202,MessageBody=hello,ContentType=text/plain}")
	if out := aws(t, s, "acm", "list-certificates", "--query", "CertificateSummaryList[0].InUse"); out != "True" {
		t.Errorf("InUse = %s", out)
	}
	addr := aws(t, s, "ec2", "describe-network-interfaces", "--query", "NetworkInterfaces[?Association.PublicIp]|[0].Association.PublicIp")
	ask := func() {
		t.Helper()
		eventually(t, 20*time.Second, func() error {
			c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{ForceAttemptHTTP2: true, DisableKeepAlives: true,
				TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "shop.example.com"}}}
			resp, err := c.Get("https://" + net.JoinHostPort(addr, "443") + "/")
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != 202 || string(body) != "hello" || resp.Proto != "HTTP/2.0" || resp.TLS.Version != tls.VersionTLS13 {
				return fmt.Errorf("%s %d %q over %x (%v)", resp.Proto, resp.StatusCode, body, resp.TLS.Version, err)
			}
			return nil
		})
	}
	ask()
	text := fetch(t, s.Endpoint+"/metrics")
	for _, want := range []string{`lotse_alb_http_fixed_response_count_total{availability_zone="us-east-1`, `",load_balancer="` + lb + `",target_group=""}`, "lotse_api_requests_total"} {
		if !strings.Contains(text, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	for _, file := range []string{"lotse.db", "lotse.db-wal", "lb/snapshot.json", "ca.key"} {
		b, err := os.ReadFile(filepath.Join(s.Dir, file))
		if err != nil || bytes.Contains(b, []byte("PRIVATE KEY")) {
			t.Errorf("%s tells a key (%v)", file, err)
		}
	}
	s.Kill()
	ask()
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ask()
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v", url, resp.Status, err)
	}
	return string(text)
}
