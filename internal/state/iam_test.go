package state

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/lotse-project/lotse/internal/store"
)

func TestRoleTrusts(t *testing.T) {
	const account = "000000000000"
	trust := func(more string) string {
		return `{"Version":"2008-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"` + more + `}]}`
	}
	db, err := store.Open(filepath.Join(t.TempDir(), "lotse.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	ctx := context.Background()
	err = db.Update(ctx, func(tx *store.WriteTx) error {
		for name, doc := range map[string]string{
			"Exec":   trust(""),
			"Mine":   trust(`,"Condition":{"StringEquals":{"aws:SourceAccount":"000000000000"},"ArnLike":{"aws:SourceArn":"arn:aws:ecs:us-west-2:000000000000:*"}}`),
			"Theirs": trust(`,"Condition":{"StringEquals":{"aws:SourceAccount":"111111111111"}}`),
		} {
			o := store.Object[Role]{Key: RoleKey(account, name), Val: Role{Account: account, Name: name, Path: "/team/", Trust: doc}}
			if err := Roles.Put(tx, &o); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		role, service string
		want, missing bool
	}{
		{role: "arn:aws:iam::000000000000:role/team/Exec", service: "ecs-tasks.amazonaws.com", want: true},
		{role: "Exec", service: "ecs-tasks.amazonaws.com", want: true},
		{role: "arn:aws:iam::000000000000:role/team/Exec", service: "ecs.amazonaws.com"},
		{role: "arn:aws:iam::000000000000:role/team/Mine", service: "ecs-tasks.amazonaws.com", want: true},
		{role: "arn:aws:iam::000000000000:role/team/Theirs", service: "ecs-tasks.amazonaws.com"},
		{role: "arn:aws:iam::000000000000:role/Exec", service: "ecs-tasks.amazonaws.com", missing: true},
		{role: "arn:aws:iam::000000000000:role/team/exec", service: "ecs-tasks.amazonaws.com", missing: true},
		{role: "arn:aws:iam::111111111111:role/team/Exec", service: "ecs-tasks.amazonaws.com", missing: true},
		{role: "arn:aws:iam::000000000000:user/team/Exec", service: "ecs-tasks.amazonaws.com", missing: true},
		{role: "arn:", service: "ecs-tasks.amazonaws.com", missing: true},
		{role: "Nobody", service: "ecs-tasks.amazonaws.com", missing: true},
	} {
		err := db.View(ctx, func(tx *store.ReadTx) error {
			got, err := RoleTrusts(tx, account, tt.role, tt.service)
			if got != tt.want {
				t.Errorf("RoleTrusts(%s, %s) = %t, want %t", tt.role, tt.service, got, tt.want)
			}
			return err
		})
		if tt.missing != errors.Is(err, store.ErrNotFound) || err != nil && !tt.missing {
			t.Errorf("RoleTrusts(%s, %s): %v, want missing: %t", tt.role, tt.service, err, tt.missing)
		}
	}
}
