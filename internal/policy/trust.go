package policy

import (
	"slices"
	"strings"
)

// A Request is what conditions ask about: key, such as aws:SourceAccount, → value. A key that
// isn't there is absent, as it is on AWS. In the value of an ARN, a part "*" is one that isn't
// known and may be any.
type Request map[string]string

// Trusts reports whether a service principal, such as ecs-tasks.amazonaws.com, may assume the
// role that has this trust policy, by a request of which nothing more is known.
func (d Document) Trusts(service string) bool { return d.TrustsIn(service, nil) }

// TrustsIn is Trusts for a request. A Deny wins over every Allow.
func (d Document) TrustsIn(service string, r Request) bool {
	allowed := false
	for _, s := range d.Statements {
		if !s.names(service) || !s.speaksOf("sts:assumerole") || !s.Condition.hold(r) {
			continue
		}
		if s.Effect == "Deny" {
			return false
		}
		allowed = true
	}
	return allowed
}

// Private

func (s Statement) names(service string) bool {
	if s.NotPrincipal != nil {
		return !s.NotPrincipal.include(service)
	}
	return s.Principal != nil && s.Principal.include(service)
}

// include: "*" and {"AWS": "*"} are the same. Source: IAM User Guide, "Principal", Anonymous users.
func (p *Principals) include(service string) bool {
	return p.Everyone || slices.Contains(p.AWS, "*") || slices.Contains(p.Service, service)
}

func (s Statement) speaksOf(action string) bool {
	matches := func(pattern string) bool { return glob(strings.ToLower(pattern), action) }
	if s.NotAction != nil {
		return !slices.ContainsFunc(s.NotAction, matches)
	}
	return slices.ContainsFunc(s.Action, matches)
}
