package elb

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// AddListenerCertificates adds certificates to the list beside the default one, which may be in the list too. One that is
// there stays.
func (s *Service) AddListenerCertificates(ctx context.Context, in *elb.AddListenerCertificatesInput) (*elb.AddListenerCertificatesOutput, error) {
	if err := checkGiven(in.Certificates); err != nil {
		return nil, err
	}
	sc, out := scope(ctx), &elb.AddListenerCertificatesOutput{}
	err := s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := secureListener(tx, sc, in.ListenerArn)
		if err != nil {
			return err
		}
		for _, c := range in.Certificates {
			name, err := findCertificate(tx, sc, c)
			if err != nil {
				return err
			}
			if !slices.Contains(o.Val.Certificates[1:], name) {
				o.Val.Certificates = append(o.Val.Certificates, name)
			}
			out.Certificates = append(out.Certificates, types.Certificate{CertificateArn: aws.String(name), IsDefault: aws.Bool(false)})
		}
		if err := checkCertificateCount(tx, o.Val); err != nil {
			return err
		}
		return state.Listeners.Put(tx, &o)
	})
	return out, err
}

// RemoveListenerCertificates removes certificates from the list. One that isn't there is no error; the default one can't be
// removed, even if it is in the list. Source: terraform-provider-aws, listener_certificate.go.
func (s *Service) RemoveListenerCertificates(ctx context.Context, in *elb.RemoveListenerCertificatesInput) (*elb.RemoveListenerCertificatesOutput, error) {
	if err := checkGiven(in.Certificates); err != nil {
		return nil, err
	}
	sc := scope(ctx)
	return &elb.RemoveListenerCertificatesOutput{}, s.o.DB.Update(ctx, func(tx *store.WriteTx) error {
		o, err := secureListener(tx, sc, in.ListenerArn)
		if err != nil {
			return err
		}
		for _, c := range in.Certificates {
			name := aws.ToString(c.CertificateArn)
			switch i := slices.Index(o.Val.Certificates, name); {
			case i == 0:
				return awsError("OperationNotPermitted", "Default certificate cannot be removed from listener '%s'", o.Val.ARN())
			case i > 0:
				o.Val.Certificates = slices.Delete(slices.Clone(o.Val.Certificates), i, i+1)
			}
		}
		return state.Listeners.Put(tx, &o)
	})
}

// DescribeListenerCertificates shows a listener's certificates, the default one first, and again if it is in the list.
// Source: ELBv2 API, DescribeListenerCertificates.
func (s *Service) DescribeListenerCertificates(ctx context.Context, in *elb.DescribeListenerCertificatesInput) (*elb.DescribeListenerCertificatesOutput, error) {
	out := &elb.DescribeListenerCertificatesOutput{Certificates: []types.Certificate{}}
	err := s.o.DB.View(ctx, func(tx *store.ReadTx) error {
		o, err := findListener(tx, scope(ctx), in.ListenerArn)
		if err != nil {
			return err
		}
		for i, c := range o.Val.Certificates {
			out.Certificates = append(out.Certificates, types.Certificate{CertificateArn: aws.String(c), IsDefault: aws.Bool(i == 0)})
		}
		place := func(c types.Certificate) string { // pages go by ARN, after the default
			return fmt.Sprintf("%t %s", !*c.IsDefault, *c.CertificateArn)
		}
		slices.SortFunc(out.Certificates, func(a, b types.Certificate) int { return strings.Compare(place(a), place(b)) })
		out.Certificates, out.NextMarker, err = paginate(out.Certificates, place, in.Marker, in.PageSize)
		return err
	})
	return out, err
}

// DescribeSSLPolicies shows the security policies that listeners can have.
func (s *Service) DescribeSSLPolicies(_ context.Context, in *elb.DescribeSSLPoliciesInput) (*elb.DescribeSSLPoliciesOutput, error) {
	out := &elb.DescribeSSLPoliciesOutput{SslPolicies: []types.SslPolicy{}}
	all := state.SecurityPolicies()
	for _, n := range in.Names {
		if _, ok := state.SecurityPolicyNamed(n); !ok {
			return nil, errNoPolicy(n)
		}
	}
	if len(in.Names) > 0 {
		all = slices.DeleteFunc(all, func(p state.SecurityPolicy) bool { return !slices.Contains(in.Names, p.Name) })
	}
	if in.LoadBalancerType != "" && in.LoadBalancerType != types.LoadBalancerTypeEnumApplication {
		all = nil // there are no others
	}
	slices.SortFunc(all, func(a, b state.SecurityPolicy) int { return strings.Compare(a.Name, b.Name) })
	page, next, err := paginate(all, func(p state.SecurityPolicy) string { return p.Name }, in.Marker, in.PageSize)
	for _, p := range page {
		v := types.SslPolicy{Name: aws.String(p.Name), SslProtocols: p.Protocols, SupportedLoadBalancerTypes: []string{"application"}}
		for i, c := range p.Ciphers {
			v.Ciphers = append(v.Ciphers, types.Cipher{Name: aws.String(c), Priority: aws.Int32(int32(i + 1))})
		}
		out.SslPolicies = append(out.SslPolicies, v)
	}
	out.NextMarker = next
	return out, err
}

// Private

func errNoPolicy(name string) error {
	if strings.Contains(name, "-FIPS-") {
		return awsError("SSLPolicyNotFound", "Lotse has no validated cryptographic module (FIPS), so it has no policy '%s'.", name)
	}
	return awsError("SSLPolicyNotFound", "SSL policy '%s' not found", name)
}

// checkGiven: which certificate is the default one is not for a request to say. Source: ELBv2 API, Certificate.
func checkGiven(certs []types.Certificate) error {
	if len(certs) == 0 {
		return invalid("At least one certificate must be specified")
	}
	if slices.ContainsFunc(certs, func(c types.Certificate) bool { return aws.ToBool(c.IsDefault) }) {
		return invalid("You can't set IsDefault. Use ModifyListener to replace the default certificate.")
	}
	return nil
}

// secureListener is a listener that can have certificates.
func secureListener(tx store.Reader, sc arn.Scope, given *string) (store.Object[state.Listener], error) {
	o, err := findListener(tx, sc, given)
	if err == nil && o.Val.Protocol != "HTTPS" {
		err = invalid("Certificates can only be specified for a listener with the protocol 'HTTPS', not '%s'", o.Val.Protocol)
	}
	return o, err
}

// findCertificate is the ARN of a certificate of Certificate Manager's.
func findCertificate(tx store.Reader, sc arn.Scope, c types.Certificate) (string, error) {
	name := aws.ToString(c.CertificateArn)
	if a, err := arn.Parse(name); err == nil && a.Service == "iam" {
		return "", awsError("CertificateNotFound", "Lotse has no server certificates of IAM; import '%s' with Certificate Manager.", name)
	}
	key := state.CertificateKey(sc, name)
	if key == "" {
		return "", awsError("CertificateNotFound", "Certificate ARN '%s' is not valid", name)
	}
	_, err := state.Certificates.Get(tx, key)
	return name, orNotFound(err, awsError("CertificateNotFound", "Certificate '%s' not found", name))
}

// setTLS gives a listener the certificate and the policy that are given, and checks that it then has what its protocol needs.
func setTLS(tx store.Reader, l *state.Listener, given []types.Certificate, policy *string) error {
	if l.Protocol != "HTTPS" {
		switch {
		case len(given) > 0:
			return invalid("A certificate cannot be specified for %s listeners", l.Protocol)
		case policy != nil:
			return invalid("An SSL policy cannot be specified for %s listeners", l.Protocol)
		}
		l.Certificates, l.Policy = nil, ""
		return nil
	}
	if len(given) > 1 {
		return awsError("TooManyCertificates", "Only one certificate can be specified, the default; add others with AddListenerCertificates")
	}
	if len(given) == 1 {
		if given[0].IsDefault != nil {
			return invalid("IsDefault can't be set: the certificate is the default one")
		}
		name, err := findCertificate(tx, l.Scope, given[0])
		if err != nil {
			return err
		}
		l.Certificates = append([]string{name}, l.Certificates[min(1, len(l.Certificates)):]...)
	}
	if len(l.Certificates) == 0 {
		return invalid("A certificate must be specified for HTTPS listeners")
	}
	if p := aws.ToString(policy); p != "" {
		if _, ok := state.SecurityPolicyNamed(p); !ok {
			return errNoPolicy(p)
		}
		l.Policy = p
	}
	if l.Policy == "" {
		l.Policy = state.DefaultSecurityPolicy
	}
	return nil
}

func sameTLS(old, new state.Listener) bool {
	return old.Protocol == new.Protocol && old.Policy == new.Policy &&
		slices.Equal(old.Certificates[:min(1, len(old.Certificates))], new.Certificates)
}

// checkCertificateCount counts the certificates of the load balancer, l's as they are to be.
func checkCertificateCount(tx store.Reader, l state.Listener) error {
	count := len(l.Certificates) - 1
	for o, err := range state.Listeners.List(tx, l.Scope.Key(l.Balancer)+"/") {
		if err != nil {
			return err
		}
		if o.Val.ID != l.ID {
			count += max(len(o.Val.Certificates)-1, 0)
		}
	}
	if count > maxCertificates {
		return awsError("TooManyCertificates", "The maximum number of certificates on load balancer '%s' has been reached: %d", l.BalancerARN(), maxCertificates)
	}
	return nil
}

// checkListenerMembers refuses what belongs to other load balancers, and client certificates.
func checkListenerMembers(in any, m *types.MutualAuthenticationAttributes, alpn []string, more ...string) error {
	if len(alpn) > 0 {
		return unfit("An ALPN policy can only be specified for TLS listeners of Network Load Balancers")
	}
	if m != nil {
		if mode := aws.ToString(m.Mode); mode != "" && mode != "off" {
			return unfit("Lotse's listeners don't ask clients for certificates: the mode of mutual authentication must be 'off', not '%s'.", mode)
		}
		if err := onlyMembers("MutualAuthentication", *m, "Mode"); err != nil {
			return err
		}
	}
	return onlyMembers("", in, append(more, "AlpnPolicy", "Port", "Protocol", "Certificates", "SslPolicy", "DefaultActions", "MutualAuthentication")...)
}
