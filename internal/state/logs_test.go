package state

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/lotse-project/lotse/internal/arn"
	"github.com/lotse-project/lotse/internal/store"
)

func TestEnsureStream(t *testing.T) {
	db, err := store.Open(filepath.Join(t.TempDir(), "db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	sc := arn.Scope{Account: "000000000000", Region: "us-east-1"}
	ensure := func(group, stream string, create bool) (id string, err error) {
		err = db.Update(t.Context(), func(tx *store.WriteTx) error {
			id, err = EnsureStream(tx, sc, group, stream, create)
			return err
		})
		return id, err
	}
	if _, err := ensure("/a", "s/1", false); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("EnsureStream without a group = %v, want ErrNotFound", err)
	}
	first, err := ensure("/a", "s/1", true)
	if err != nil || len(first) != 32 {
		t.Fatalf("EnsureStream = %q, %v", first, err)
	}
	if again, err := ensure("/a", "s/1", false); again != first || err != nil {
		t.Errorf("EnsureStream again = %q, %v, want %q", again, err, first)
	}
	other, _ := ensure("/a/b", "s/1", true) // its group's name begins with the other's
	err = db.Update(t.Context(), func(tx *store.WriteTx) error { return DeleteLogGroup(tx, sc, "/a") })
	if err != nil {
		t.Fatal(err)
	}
	if id, err := ensure("/a/b", "s/1", false); id != other || err != nil {
		t.Errorf("the other group's stream is %q, %v, want %q", id, err, other)
	}
	if id, _ := ensure("/a", "s/1", true); id == first || id == "" {
		t.Error("a stream made anew has the old one's events")
	}
}

func TestLogGroup_Since(t *testing.T) {
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	if got := (LogGroup{}).Since(now); !got.IsZero() {
		t.Errorf("Since without retention = %v", got)
	}
	if got, want := (LogGroup{RetentionDays: 3}).Since(now), now.AddDate(0, 0, -3); !got.Equal(want) {
		t.Errorf("Since = %v, want %v", got, want)
	}
}
