package state

import (
	"fmt"
	"strings"
	"time"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/policy"
	"github.com/lotse-project/lotse/internal/store"
)

// IAM's records. IAM is global: they belong to an account and to no region, so that their scope
// has an empty one.
var Roles = store.NewTable[Role]("iam.role") // RoleKey: account//lower-case name

// A Role is an identity that services take on.
type Role struct {
	Account            string
	Name               string
	Path               string // begins and ends with a slash
	ID                 string // AROA and 17 characters
	Description        string
	MaxSessionDuration int               // seconds, 3600 to 43200
	Trust              string            // the trust policy as given, checked
	Inline             map[string]string // name → permission policy as given, checked
	Attached           []string          // ARNs of managed policies, sorted
	Tags               map[string]string
	ServiceLinked      string // the service that the role is linked to; "" for others
	CreatedAt          time.Time
}

// ARN names the role.
func (r Role) ARN() string { return iamARN(r.Account, "role"+r.Path+r.Name) }

// RoleKey is a role's key in Roles. Two names that differ only in case can't exist together.
// Source: IAM API reference, CreateRole.
func RoleKey(account, name string) string {
	return arn.Scope{Account: account}.Key(strings.ToLower(name))
}

// RoleOf finds a role of the account by its ARN or, as ECS allows, by its name. store.ErrNotFound:
// there is none.
func RoleOf(tx store.Reader, account, roleARN string) (Role, error) {
	name := roleARN
	if arn.IsARN(roleARN) {
		name = roleARN[strings.LastIndexByte(roleARN, '/')+1:]
	}
	r, err := Roles.Get(tx, RoleKey(account, name))
	if err == nil && arn.IsARN(roleARN) && r.Val.ARN() != roleARN { // another account, path or case
		err = store.ErrNotFound
	}
	if err != nil {
		return Role{}, fmt.Errorf("role %s: %w", roleARN, err)
	}
	return r.Val, nil
}

// RoleTrusts reports whether a role's trust policy lets a service, such as
// ecs-tasks.amazonaws.com, assume it on behalf of the account. store.ErrNotFound: as RoleOf.
//
// Conditions see aws:SourceAccount, and aws:SourceArn with only the account known.
func RoleTrusts(tx store.Reader, account, roleARN, service string) (bool, error) {
	r, err := RoleOf(tx, account, roleARN)
	if err != nil {
		return false, err
	}
	d, err := policy.Parse(r.Trust)
	if err != nil {
		return false, fmt.Errorf("trust policy of role %s: %w", r.Name, err)
	}
	return d.TrustsIn(service, policy.Request{
		"aws:SourceAccount": account,
		"aws:SourceArn":     "arn:aws:*:*:" + account + ":*",
	}), nil
}

// Private

func iamARN(account, resource string) string {
	return arn.Scope{Account: account}.ARN("iam", resource)
}
