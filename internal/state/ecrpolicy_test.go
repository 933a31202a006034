package state_test

import (
	"path/filepath"
	"testing"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/policy"
	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

func TestDecideRepository(t *testing.T) {
	db, err := store.Open(filepath.Join(t.TempDir(), "db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	home := arn.Scope{Account: "000000000000", Region: "us-east-1"}
	session := state.Principal{Account: home.Account, Role: "ci", ARN: "arn:aws:sts::000000000000:assumed-role/ci/s"}
	other := state.Principal{Account: "111122223333", ARN: "arn:aws:iam::111122223333:root"}
	statement := func(effect, principal, action, resource string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"` + effect + `","Principal":` + principal + `,"Action":"` + action + `"` + resource + `}]}`
	}
	for _, test := range []struct {
		name                 string
		repository, registry string
		who                  state.Principal
		want                 policy.Decision
	}{
		{"None", "", "", session, policy.Silent},
		{"TheRole", statement("Allow", `{"AWS":"arn:aws:iam::000000000000:role/ci"}`, "ecr:BatchGetImage", ""), "", session, policy.Allow},
		{"TheSession", statement("Allow", `{"AWS":"arn:aws:sts::000000000000:assumed-role/ci/s"}`, "ecr:*", ""), "", session, policy.Allow},
		{"AnotherRole", statement("Allow", `{"AWS":"arn:aws:iam::000000000000:role/cd"}`, "ecr:BatchGetImage", ""), "", session, policy.Silent},
		{"AnotherAction", statement("Allow", `"*"`, "ecr:PutImage", ""), "", session, policy.Silent},
		{"OwnAccountDelegates", statement("Allow", `{"AWS":"000000000000"}`, "ecr:*", ""), "", session, policy.Silent},
		{"OwnAccountDenied", statement("Deny", `{"AWS":"000000000000"}`, "ecr:*", ""), "", session, policy.Deny},
		{"DenyWins", statement("Allow", `"*"`, "ecr:*", ""), statement("Deny", `"*"`, "ecr:*", `,"Resource":"*"`), session, policy.Deny},
		{"Registry", "", statement("Allow", `"*"`, "ecr:*", `,"Resource":"arn:aws:ecr:us-east-1:000000000000:repository/team/*"`), session, policy.Allow},
		{"RegistryOfOthers", "", statement("Allow", `"*"`, "ecr:*", `,"Resource":"arn:aws:ecr:us-east-1:000000000000:repository/crew/*"`), session, policy.Silent},
		{"OtherAccount", statement("Allow", `{"AWS":"111122223333"}`, "ecr:BatchGetImage", ""), "", other, policy.Allow},
		{"OtherAccountsRoot", statement("Allow", `{"AWS":"arn:aws:iam::111122223333:root"}`, "ecr:BatchGetImage", ""), "", other, policy.Allow},
		{"YetAnotherAccount", statement("Allow", `{"AWS":"444455556666"}`, "ecr:BatchGetImage", ""), "", other, policy.Silent},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got policy.Decision
			err := db.Update(t.Context(), func(tx *store.WriteTx) error {
				role := state.Role{Account: home.Account, Name: "ci", Path: "/"}
				if err := put(tx, state.Roles, state.RoleKey(home.Account, "ci"), role); err != nil {
					return err
				}
				if err := put(tx, state.Repositories, home.Key("team/app"), state.Repository{Scope: home, Name: "team/app", Policy: test.repository}); err != nil {
					return err
				}
				if err := put(tx, state.Registries, state.RegistryKey(home), state.Registry{Policy: test.registry}); err != nil {
					return err
				}
				var err error
				got, err = state.DecideRepository(tx, home, "team/app", test.who, "ecr:BatchGetImage", nil)
				return err
			})
			if err != nil || got != test.want {
				t.Errorf("DecideRepository() = %v, %v; want %v", got, err, test.want)
			}
		})
	}
}

func put[T any](tx *store.WriteTx, t store.Table[T], key string, v T) error {
	o, _ := t.Get(tx, key)
	o.Key, o.Val = key, v
	return t.Put(tx, &o)
}
