package state

import (
	"errors"
	"testing"

	"github.com/lotse-project/lotse/internal/store"
)

func TestRepository_MayMove(t *testing.T) {
	for _, test := range []struct {
		mutability string
		exclusions []string
		tag        string
		want       bool
	}{
		{"MUTABLE", nil, "v1", true},
		{"IMMUTABLE", nil, "v1", false},
		{"IMMUTABLE_WITH_EXCLUSION", []string{"latest", "dev-*"}, "latest", true},
		{"IMMUTABLE_WITH_EXCLUSION", []string{"latest", "dev-*"}, "dev-", true},
		{"IMMUTABLE_WITH_EXCLUSION", []string{"latest", "dev-*"}, "adev-1", false},
		{"IMMUTABLE_WITH_EXCLUSION", []string{"*a*b"}, "xaybzb", true},
		{"IMMUTABLE_WITH_EXCLUSION", []string{"*a*b"}, "xaybz", false},
		{"MUTABLE_WITH_EXCLUSION", []string{"v*"}, "v1", false},
		{"MUTABLE_WITH_EXCLUSION", []string{"v*"}, "x1", true},
	} {
		r := Repository{Mutability: test.mutability, Exclusions: test.exclusions}
		if got := r.MayMove(test.tag); got != test.want {
			t.Errorf("MayMove(%q) of %s %q = %v, want %v", test.tag, test.mutability, test.exclusions, got, test.want)
		}
	}
}

// Deleting one repository must not touch those whose names begin like its own.
func TestDropRepository(t *testing.T) {
	db := vpcDB(t)
	names := []string{"app", "app-2", "app/sub", "ap"}
	const digest = "sha256:aa"
	update(t, db, func(tx *store.WriteTx) error {
		for _, n := range names {
			r := Repository{Scope: testScope, Name: n}
			if err := errors.Join(
				Repositories.Put(tx, &store.Object[Repository]{Key: r.Key(), Val: r}),
				Images.Put(tx, &store.Object[Image]{Key: r.Key() + "@" + digest}),
				Layers.Put(tx, &store.Object[Layer]{Key: r.Key() + "@" + digest}),
				ImageTags.Put(tx, &store.Object[ImageTag]{Key: r.Key() + ":v1"}),
				LayerUploads.Put(tx, &store.Object[LayerUpload]{Key: r.Key() + ":id"}),
			); err != nil {
				return err
			}
		}
		return DropRepository(tx, testScope.Key("app"))
	})
	err := db.View(t.Context(), func(tx *store.ReadTx) error {
		for _, n := range names {
			key, want := testScope.Key(n), n != "app"
			for what, get := range map[string]func() error{
				"repository": func() error { _, err := Repositories.Get(tx, key); return err },
				"image":      func() error { _, err := Images.Get(tx, key+"@"+digest); return err },
				"layer":      func() error { _, err := Layers.Get(tx, key+"@"+digest); return err },
				"tag":        func() error { _, err := ImageTags.Get(tx, key+":v1"); return err },
				"upload":     func() error { _, err := LayerUploads.Get(tx, key+":id"); return err },
			} {
				if err := get(); (err == nil) != want {
					t.Errorf("%s of %s after app was dropped: %v", what, n, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
