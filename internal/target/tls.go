package target

import (
	"crypto/tls"
	"maps"
	"slices"

	"github.com/lotse-project/lotse/internal/lbconfig"
	"github.com/lotse-project/lotse/internal/state"
)

var tlsVersions = map[string]uint16{"TLSv1": tls.VersionTLS10, "TLSv1.1": tls.VersionTLS11, "TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13}

// terminate is how a listener speaks TLS, nil when it can't: its certificates are gone, or its policy.
func terminate(l state.Listener, b state.LoadBalancer, certificates map[string]state.Certificate) *lbconfig.TLS {
	p, ok := state.SecurityPolicyNamed(l.Policy)
	if !ok {
		return nil
	}
	out := &lbconfig.TLS{Ciphers: p.Ciphers, PostQuantum: p.PostQuantum, HTTP2: !b.NoHTTP2,
		Max: tlsVersions[p.Protocols[0]], Min: tlsVersions[p.Protocols[len(p.Protocols)-1]]}
	for _, arn := range l.Certificates {
		if _, ok := certificates[arn]; ok && !slices.Contains(out.Certificates, arn) {
			out.Certificates = append(out.Certificates, arn)
		}
	}
	if len(out.Certificates) == 0 {
		return nil
	}
	return out
}

// certificates are those that listeners have, by ARN, their keys as sealed as they are in the records.
func certificates(balancers []lbconfig.Balancer, all map[string]state.Certificate) (out []lbconfig.Certificate) {
	used := map[string]bool{}
	for _, b := range balancers {
		for _, l := range b.Listeners {
			if l.TLS == nil {
				continue
			}
			for _, arn := range l.TLS.Certificates {
				used[arn] = true
			}
		}
	}
	for _, arn := range slices.Sorted(maps.Keys(used)) {
		c := all[arn]
		out = append(out, lbconfig.Certificate{ARN: arn, Chain: c.Body + c.Chain, SealedKey: c.SealedKey, SealedFor: c.Key()})
	}
	return out
}
