// Package policy reads IAM policy documents, the JSON that says who may do what.
//
//	d, err := policy.Parse(text) // err: what is malformed, in IAM's words
//	err = d.CheckTrust()         // may it be a role's trust policy?
//	ok := d.Trusts("ecs-tasks.amazonaws.com")
//
// Source of the grammar: IAM User Guide, "Grammar of the IAM JSON policy language".
package policy

// The versions of the policy language.
const (
	Version2008 = "2008-10-17" // also what a document without a version is
	Version2012 = "2012-10-17"
)

// A Document is a parsed policy.
type Document struct {
	Version    string // "" if the document names none
	ID         string
	Statements []Statement
}

// A Statement allows or denies. A nil list is an absent element.
type Statement struct {
	SID          string
	Effect       string // Allow, Deny
	Principal    *Principals
	NotPrincipal *Principals
	Action       []string
	NotAction    []string
	Resource     []string
	NotResource  []string
	Condition    Conditions
}

// Principals are whom a statement is about.
type Principals struct {
	Everyone  bool     // "*"
	AWS       []string // account ids and ARNs, "*" for everyone
	Service   []string // such as ecs-tasks.amazonaws.com
	Federated []string
}

// Conditions are operator → key → values; all operators and keys must hold, of the values one.
type Conditions map[string]map[string][]string
