package elb

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/lazyregexp"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

var nameRE = lazyregexp.New(`^[A-Za-z0-9-]+$`)

// checkName: 1 to 32 letters, digits and hyphens, no hyphen at an end. Source: ELBv2 API,
// CreateLoadBalancer and CreateTargetGroup; texts as moto has them.
func checkName(what, name string) error {
	switch {
	case name == "":
		return invalid("%s name must be specified", what)
	case len(name) > 32:
		return invalid("%s name '%s' cannot be longer than '32' characters", what, name)
	case !nameRE.MatchString(name):
		return invalid("%s name '%s' can only contain characters that are alphanumeric characters or hyphens(-)", what, name)
	case strings.HasPrefix(name, "-") || strings.HasSuffix(name, "-"):
		return invalid("%s name '%s' cannot begin or end with '-'", what, name)
	}
	return nil
}

// newID makes the 16 hex digits that end ARNs.
func newID() string {
	b := make([]byte, 8)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// keyOf is the key of the record that an ARN names. An ARN of something else, of another account or region is a validation
// error. Source: what users of the real service have published: aws-cli, issues 3260 and 3673.
func keyOf(sc arn.Scope, typ, s string) (string, error) {
	key := state.ELBKey(sc, typ, s)
	if key == "" {
		return "", invalid("'%s' is not a valid %s ARN", s, map[string]string{
			"loadbalancer": "load balancer", "listener": "listener", "listener-rule": "listener rule", "targetgroup": "target group"}[typ])
	}
	return key, nil
}

// dnsName makes a name that no other load balancer of any account has.
func (s *Service) dnsName(tx store.Reader, b state.LoadBalancer) (string, error) {
	taken := map[string]bool{}
	for o, err := range state.LoadBalancers.List(tx, "") {
		if err != nil {
			return "", err
		}
		taken[o.Val.DNSName] = true
	}
	for {
		n, err := rand.Int(rand.Reader, big.NewInt(9e9))
		if err != nil {
			return "", err
		}
		name := strings.ToLower(fmt.Sprintf("%s-%d.%s.%s", b.Name, n.Int64()+1e9, b.Scope.Region, s.o.DNSDomain)) // ten digits
		if b.Scheme == state.Internal {
			name = "internal-" + name
		}
		if !taken[name] {
			return name, nil
		}
	}
}
