package state

import "strings"

// A SecurityPolicy is one of AWS's TLS security policies.
type SecurityPolicy struct {
	Name        string
	Protocols   []string // TLSv1, TLSv1.1, TLSv1.2, TLSv1.3; the highest first
	Ciphers     []string // OpenSSL's names, in AWS's order
	PostQuantum bool     // key exchange is also hybrid, with ML-KEM
}

// DefaultSecurityPolicy is that of listeners which are made without one. Source: ELBv2 API, CreateListener.
const DefaultSecurityPolicy = "ELBSecurityPolicy-2016-08"

// SecurityPolicyNamed finds a policy.
func SecurityPolicyNamed(name string) (SecurityPolicy, bool) {
	for _, p := range SecurityPolicies() {
		if p.Name == name {
			return p, true
		}
	}
	return SecurityPolicy{}, false
}

// SecurityPolicies are AWS's for application load balancers, but for those that promise a validated cryptographic
// module (FIPS). Source: ALB user guide, security policies.
func SecurityPolicies() []SecurityPolicy {
	var out []SecurityPolicy
	for _, p := range policies {
		x := SecurityPolicy{Name: "ELBSecurityPolicy-" + p.name, PostQuantum: strings.Contains(p.name, "-PQ-")}
		for v := p.max; v >= p.min; v-- {
			x.Protocols = append(x.Protocols, protocolNames[v])
		}
		for _, c := range ciphers {
			if strings.Contains(p.ciphers, c.class) {
				x.Ciphers = append(x.Ciphers, c.name)
			}
		}
		out = append(out, x)
	}
	return out
}

// Private

var protocolNames = []string{"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"}

// The classes of ciphers that policies have or have not:
//
//	3 TLS 1.3's          forward secret:  g GCM  c CBC with SHA-2  s CBC with SHA-1
//	d triple DES         with RSA keys:   G      C                 S
var ciphers = []struct{ class, name string }{
	{"3", "TLS_AES_128_GCM_SHA256"},
	{"3", "TLS_AES_256_GCM_SHA384"},
	{"3", "TLS_CHACHA20_POLY1305_SHA256"},
	{"g", "ECDHE-ECDSA-AES128-GCM-SHA256"},
	{"g", "ECDHE-RSA-AES128-GCM-SHA256"},
	{"c", "ECDHE-ECDSA-AES128-SHA256"},
	{"c", "ECDHE-RSA-AES128-SHA256"},
	{"s", "ECDHE-ECDSA-AES128-SHA"},
	{"s", "ECDHE-RSA-AES128-SHA"},
	{"g", "ECDHE-ECDSA-AES256-GCM-SHA384"},
	{"g", "ECDHE-RSA-AES256-GCM-SHA384"},
	{"c", "ECDHE-ECDSA-AES256-SHA384"},
	{"c", "ECDHE-RSA-AES256-SHA384"},
	{"s", "ECDHE-ECDSA-AES256-SHA"},
	{"s", "ECDHE-RSA-AES256-SHA"},
	{"G", "AES128-GCM-SHA256"},
	{"C", "AES128-SHA256"},
	{"S", "AES128-SHA"},
	{"G", "AES256-GCM-SHA384"},
	{"C", "AES256-SHA256"},
	{"S", "AES256-SHA"},
	{"d", "DES-CBC3-SHA"},
}

// min and max are indexes into protocolNames.
var policies = []struct {
	name     string
	min, max int
	ciphers  string
}{
	{"TLS13-1-3-2021-06", 3, 3, "3"},
	{"TLS13-1-3-PQ-2025-09", 3, 3, "3"},
	{"TLS13-1-2-2021-06", 2, 3, "3gc"},
	{"TLS13-1-2-PQ-2025-09", 2, 3, "3gc"},
	{"TLS13-1-2-Res-2021-06", 2, 3, "3g"},
	{"TLS13-1-2-Res-PQ-2025-09", 2, 3, "3g"},
	{"TLS13-1-2-Ext2-2021-06", 2, 3, "3gcsGCS"},
	{"TLS13-1-2-Ext2-PQ-2025-09", 2, 3, "3gcsGCS"},
	{"TLS13-1-2-Ext1-2021-06", 2, 3, "3gcGC"},
	{"TLS13-1-2-Ext1-PQ-2025-09", 2, 3, "3gcGC"},
	{"TLS13-1-1-2021-06", 1, 3, "3gcsGCS"},
	{"TLS13-1-0-2021-06", 0, 3, "3gcsGCS"},
	{"TLS13-1-0-PQ-2025-09", 0, 3, "3gcsGCS"},
	{"TLS-1-2-Ext-2018-06", 2, 2, "gcsGCS"},
	{"TLS-1-2-2017-01", 2, 2, "gcGC"},
	{"TLS-1-1-2017-01", 1, 2, "gcsGCS"},
	{"2016-08", 0, 2, "gcsGCS"},
	{"2015-05", 0, 2, "gcsGCS"},
	{"TLS-1-0-2015-04", 0, 2, "gcsGCSd"},
	{"FS-1-2-Res-2020-10", 2, 2, "g"},
	{"FS-1-2-Res-2019-08", 2, 2, "gc"},
	{"FS-1-2-2019-08", 2, 2, "gcs"},
	{"FS-1-1-2019-08", 1, 2, "gcs"},
	{"FS-2018-06", 0, 2, "gcs"},
}
