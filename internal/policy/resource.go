package policy

import "strings"

// CheckResource tells whether the document may be a resource's policy: it says whom it is about. resources tells
// whether its statements say what they are about, too; else they must not.
func (d Document) CheckResource(resources bool) error {
	if err := d.checkStatements(); err != nil {
		return err
	}
	for _, s := range d.Statements {
		switch {
		case s.Principal == nil && s.NotPrincipal == nil:
			return errNoOne
		case s.NotPrincipal != nil && s.Effect == "Allow":
			return errNotOne
		case !resources && len(s.Resource)+len(s.NotResource) > 0:
			return errResource
		case resources && len(s.Resource)+len(s.NotResource) == 0:
			return errResources
		}
	}
	return nil
}

// DecideFor judges an action by a resource's policy, for somebody who is known by names, ARNs and account ids. A
// Deny wins. resource "" is the one that the policy belongs to: its statements name none.
func (d Document) DecideFor(names []string, action, resource string, r Request) Decision {
	out := Silent
	for _, s := range d.Statements {
		named := s.Principal.includesAny(names)
		if s.NotPrincipal != nil {
			named = !s.NotPrincipal.includesAny(names)
		}
		if !named || !s.speaksOf(strings.ToLower(action)) || resource != "" && !s.isAbout(resource, r) || !s.Condition.hold(r) {
			continue
		}
		if s.Effect == "Deny" {
			return Deny
		}
		out = Allow
	}
	return out
}
