package policy

import (
	"slices"
	"strings"

	"github.com/lotse-project/lotse/internal/lazyregexp"
)

// A Decision is what policies say of an action on a resource.
type Decision int

const (
	Silent Decision = iota // no statement speaks of it, which denies
	Allow
	Deny // whatever others allow
)

// Decide judges an action, such as ecs:RunTask, on a resource by an identity's policies. A Deny
// wins over every Allow. Source: IAM User Guide, "Policy evaluation logic".
func Decide(documents []Document, action, resource string, r Request) Decision {
	out := Silent
	for _, d := range documents {
		for _, s := range d.Statements {
			if !s.speaksOf(strings.ToLower(action)) || !s.isAbout(resource, r) || !s.Condition.hold(r) {
				continue
			}
			if s.Effect == "Deny" {
				return Deny
			}
			out = Allow
		}
	}
	return out
}

// Principal tells whether a trust policy lets one of the names, ARNs and account ids, assume the
// role. A Deny wins.
func (d Document) Principal(names []string, r Request) Decision {
	out := Silent
	for _, s := range d.Statements {
		named := s.Principal.includesAny(names)
		if s.NotPrincipal != nil {
			named = !s.NotPrincipal.includesAny(names)
		}
		if !named || !s.speaksOf("sts:assumerole") || !s.Condition.hold(r) {
			continue
		}
		if s.Effect == "Deny" {
			return Deny
		}
		out = Allow
	}
	return out
}

// Private

func (p *Principals) includesAny(names []string) bool {
	return p != nil && (p.Everyone || slices.Contains(p.AWS, "*") ||
		slices.ContainsFunc(names, func(n string) bool { return slices.Contains(p.AWS, n) }))
}

func (s Statement) isAbout(resource string, r Request) bool {
	matches := func(pattern string) bool {
		pattern, known := r.expand(pattern)
		return known && glob(pattern, resource)
	}
	if s.NotResource != nil {
		return !slices.ContainsFunc(s.NotResource, matches)
	}
	return slices.ContainsFunc(s.Resource, matches)
}

var variable = lazyregexp.New(`\$\{([^}]*)\}`)

// expand puts values in the place of ${aws:PrincipalAccount} and the like. Nothing matches a
// pattern with a variable that has no value. Source: IAM User Guide, "Policy variables".
func (r Request) expand(pattern string) (out string, known bool) {
	known = true
	return variable.ReplaceAllStringFunc(pattern, func(v string) string {
		value, there := r.get(v[2 : len(v)-1])
		known = known && there
		return value
	}), known
}
