package ssm

import (
	"strconv"
	"strings"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/lazyregexp"
)

var nameCharacters = lazyregexp.New(`^[a-zA-Z0-9_.\-/]+$`)

// checkNewName is what a parameter may be called.
// Source: PutParameter, Name; and "Requirements and constraints for parameter names" of the user guide.
func checkNewName(sc arn.Scope, name string) error {
	bare := strings.ToLower(strings.TrimPrefix(name, "/"))
	switch {
	case name == "" || len(name) > 2048:
		return constraint(name, "name", "Member must have length between 1 and 2048")
	case len(sc.ARN("ssm", "parameter/"))+len(name) > 1011:
		return validation("Parameter name: the name with its ARN can have no more than 1011 characters.")
	case strings.HasPrefix(bare, "aws") || strings.HasPrefix(bare, "ssm"):
		if strings.HasPrefix(strings.ToLower(name), "/aws") && strings.Count(name, "/") > 1 {
			return awsError("AccessDeniedException", "No access to reserved parameter name: "+name+".")
		}
		return errPrefix
	case !nameCharacters.MatchString(name) || strings.Contains(name, "//") || strings.HasSuffix(name, "/"):
		return errName
	case strings.Contains(name, "/") && name[0] != '/':
		return errQualified
	case strings.Count(name, "/") > 15:
		return errLevels
	}
	return nil
}

// A reference is a parameter's name as callers write it, with a version or a label behind a colon, or an ARN.
type reference struct {
	scope    arn.Scope
	names    []string // the first that there is; an ARN doesn't tell whether a name without levels begins with a slash
	selector string   // ":3", ":label" or ""
}

// parse reads a reference. sc is where names without an ARN are.
func parse(sc arn.Scope, text string) (reference, error) {
	ref := reference{scope: sc}
	name := strings.TrimSpace(text)
	if arn.IsARN(name) {
		a, err := arn.Parse(name)
		if err != nil || a.Service != "ssm" || !strings.HasPrefix(a.Resource, "parameter/") {
			return ref, validation("Invalid parameter ARN: %s", text)
		}
		ref.scope = arn.Scope{Account: a.Account, Region: a.Region}
		name = strings.TrimPrefix(a.Resource, "parameter")
	}
	name, selector, found := strings.Cut(name, ":")
	if found {
		if selector == "" || strings.Contains(selector, ":") {
			return ref, errSelector
		}
		ref.selector = ":" + selector
	}
	if name == "" || len(name) > 2048 {
		return ref, constraint(name, "name", "Member must have length between 1 and 2048")
	}
	if !nameCharacters.MatchString(name) {
		return ref, errName
	}
	ref.names = []string{name}
	if arn.IsARN(strings.TrimSpace(text)) && strings.Count(name, "/") == 1 {
		ref.names = []string{name[1:], name}
	}
	return ref, nil
}

// plain is parse for operations that take a parameter, not a version of one.
func plain(sc arn.Scope, text string) (reference, error) {
	ref, err := parse(sc, text)
	if err == nil && ref.selector != "" {
		return ref, errSelector
	}
	return ref, err
}

// version is the selector as a number; false: it is a label.
func (r reference) version() (int64, bool) {
	n, err := strconv.ParseInt(strings.TrimPrefix(r.selector, ":"), 10, 64)
	return n, err == nil
}
