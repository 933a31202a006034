package policy

import (
	"fmt"
	"strings"

	"github.com/lotse-project/lotse/internal/lazyregexp"
)

// Texts as users of IAM have published them.
const (
	errVersion   = malformed("Policy document must be version 2012-10-17 or greater.")
	errLegacy    = malformed("The policy failed legacy parsing")
	errSIDs      = malformed("Statement IDs (SID) in a single policy must be unique.")
	errSID       = malformed("Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*")
	errActions   = malformed("Policy statement must contain actions.")
	errResources = malformed("Policy statement must contain resources.")
	errPrefix    = malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
	errColon     = malformed("Actions/Condition can contain only one colon.")
	errPrincipal = malformed("Policy document should not specify a principal.")
	errNoOne     = malformed("Missing required field Principal")
	errNotOne    = malformed("Allow with NotPrincipal is not allowed.")
	errResource  = malformed("Has prohibited field Resource")
	errTrust     = malformed("AssumeRole policy may only specify STS AssumeRole actions.")
)

var (
	vendorRE  = lazyregexp.New(`^[A-Za-z0-9.-]+$`)
	sidRE     = lazyregexp.New(`^[0-9A-Za-z]*$`)
	serviceRE = lazyregexp.New(`^[a-z0-9-]+(\.[a-z0-9-]+)*\.(amazonaws\.com(\.cn)?|aws\.internal)$`)
	iamRE     = lazyregexp.New(`^arn:aws[a-z-]*:(iam|sts)::[0-9]{12}:(root|(user|role|assumed-role|federated-user)/\S+)$`)
	accountRE = lazyregexp.New(`^[0-9]{12}$`)
)

// trustActions are all that a trust policy may speak of.
// Source: Service Authorization Reference, AWS STS.
var trustActions = map[string]bool{
	"sts:assumerole": true, "sts:assumerolewithsaml": true, "sts:assumerolewithwebidentity": true,
	"sts:setsourceidentity": true, "sts:tagsession": true,
}

// CheckTrust tells whether the document may be a role's trust policy.
func (d Document) CheckTrust() error {
	if err := d.checkStatements(); err != nil {
		return err
	}
	for _, s := range d.Statements {
		switch {
		case s.Resource != nil || s.NotResource != nil:
			return errResource
		case s.Principal == nil && s.NotPrincipal == nil:
			return errNoOne
		case s.NotPrincipal != nil && s.Effect == "Allow":
			return errNotOne
		case s.NotAction != nil:
			return errTrust
		}
		for _, a := range s.Action {
			if !trustActions[strings.ToLower(a)] {
				return errTrust
			}
		}
	}
	return nil
}

// CheckPermissions tells whether the document may be an identity's permissions.
func (d Document) CheckPermissions() error {
	if d.Version != Version2012 {
		return errVersion
	}
	if err := d.checkStatements(); err != nil {
		return err
	}
	for _, s := range d.Statements {
		if s.Principal != nil || s.NotPrincipal != nil {
			return errPrincipal
		}
		if !sidRE.MatchString(s.SID) {
			return errSID
		}
		if len(s.Resource)+len(s.NotResource) == 0 {
			return errResources
		}
		for _, r := range append(s.Resource, s.NotResource...) {
			if err := checkResource(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// Private

func (d Document) checkStatements() error {
	seen := map[string]bool{}
	for _, s := range d.Statements {
		if s.SID != "" && seen[s.SID] {
			return errSIDs
		}
		seen[s.SID] = true
		if len(s.Action)+len(s.NotAction) == 0 {
			return errActions
		}
		for _, a := range append(s.Action, s.NotAction...) {
			if err := checkAction(a); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkAction(a string) error {
	if a == "*" {
		return nil
	}
	vendor, rest, ok := strings.Cut(a, ":")
	switch {
	case !ok:
		return errPrefix
	case strings.Contains(rest, ":"):
		return errColon
	case vendor != "*" && !vendorRE.MatchString(vendor):
		return malformed(fmt.Sprintf("Vendor %s is not valid", vendor))
	case rest == "":
		return errLegacy
	}
	return nil
}

func checkResource(r string) error {
	if r == "*" {
		return nil
	}
	part := strings.SplitN(r, ":", 6)
	switch {
	case part[0] != "arn" && !strings.HasPrefix(r, "*"):
		return malformed(fmt.Sprintf("Resource %s must be in ARN format or \"*\".", r))
	case len(part) < 6 && strings.Contains(r, "::"), len(part) > 2 && part[2] == "":
		return errLegacy
	}
	return nil
}

// validPrincipal judges a principal's form; that it exists is somebody else's question.
func validPrincipal(kind, name string) bool {
	switch kind {
	case "AWS":
		return name == "*" || accountRE.MatchString(name) || iamRE.MatchString(name)
	case "Service":
		return serviceRE.MatchString(name)
	}
	return name != "" && !strings.ContainsAny(name, " \t\r\n")
}
