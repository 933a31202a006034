package state

import (
	"errors"
	"fmt"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/policy"
	"github.com/lotse-project/lotse/internal/store"
)

// A Principal is somebody whom a resource's policy may name.
type Principal struct {
	Account string // 12 digits
	Role    string // name of the role, of a role's session; "" for others
	ARN     string
}

// DecideRepository asks the policies of a repository and of its registry what somebody may do with it, who isn't the
// account's root. Silent, if there are none. Somebody of another account may be let in as that account.
func DecideRepository(tx store.Reader, sc arn.Scope, name string, who Principal, action string, r policy.Request) (policy.Decision, error) {
	repository, err := Repositories.Get(tx, sc.Key(name))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return policy.Deny, err
	}
	registry, err := Registries.Get(tx, RegistryKey(sc))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return policy.Deny, err
	}
	let, all, err := who.Names(tx)
	if err != nil {
		return policy.Deny, err
	}
	if who.Account != sc.Account {
		let = all
	}
	out := policy.Silent
	for _, p := range []struct{ text, resource string }{
		{repository.Val.Policy, ""}, {registry.Val.Policy, Repository{Scope: sc, Name: name}.ARN()}} {
		if p.text == "" {
			continue
		}
		d, err := policy.Parse(p.text)
		if err != nil {
			return policy.Deny, fmt.Errorf("policy of %s: %w", sc.Key(name), err)
		}
		if d.DecideFor(all, action, p.resource, r) == policy.Deny {
			return policy.Deny, nil
		}
		if d.DecideFor(let, action, p.resource, r) == policy.Allow {
			out = policy.Allow
		}
	}
	return out, nil
}

// Names are what a policy may call the principal: itself, and all, with its account.
func (p Principal) Names(tx store.Reader) (self, all []string, err error) {
	self = []string{p.ARN}
	if p.Role != "" {
		role, err := RoleOf(tx, p.Account, p.Role)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, nil, err
		}
		if err == nil {
			self = append(self, role.ARN())
		}
	}
	return self, append([]string{p.Account, "arn:aws:iam::" + p.Account + ":root"}, self...), nil
}
