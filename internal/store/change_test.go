package store

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// collect takes n changes after a revision.
func collect(t *testing.T, db *DB, after Rev, n int) []Change {
	t.Helper()
	var got []Change
	for c, err := range db.Changes(t.Context(), after) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, c); len(got) == n {
			break
		}
	}
	return got
}

func TestChanges_InOrderWithDeletes(t *testing.T) {
	db := openTest(t, Options{})
	err := db.Update(t.Context(), func(tx *WriteTx) error {
		return errors.Join(cities.Put(tx, &Object[city]{Key: "b"}), cities.Put(tx, &Object[city]{Key: "a"}))
	})
	if err != nil {
		t.Fatal(err)
	}
	put(t, db, "b", 5)
	if err := db.Update(t.Context(), func(tx *WriteTx) error { return cities.Delete(tx, "a", 0) }); err != nil {
		t.Fatal(err)
	}
	want := []Change{{1, "city", "b"}, {2, "city", "a"}, {3, "city", "b"}, {4, "city", "a"}}
	if diff := cmp.Diff(want, collect(t, db, 0, 4)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want[2:], collect(t, db, 2, 2)); diff != "" {
		t.Errorf("after 2: %s", diff)
	}
}

func TestChanges_WaitsAndMissesNothing(t *testing.T) {
	db := openTest(t, Options{})
	const n = 3*changeChunk + 7
	done := make(chan []Change)
	for range 3 {
		go func() { done <- collect(t, db, 0, n) }()
	}
	for i := range n {
		put(t, db, fmt.Sprint(i%10), i+1)
	}
	for range 3 {
		for i, c := range <-done {
			if c.Rev != Rev(i+1) || c.Key != fmt.Sprint(i%10) {
				t.Fatalf("change %d is %+v", i, c)
			}
		}
	}
}

func TestChanges_EndsWithContextAndClose(t *testing.T) {
	db := openTest(t, Options{})
	put(t, db, "a", 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for _, err := range db.Changes(ctx, 0) {
		if err != nil {
			t.Errorf("with the context: %v, want no error", err)
		}
		n++
		cancel()
	}
	if n != 1 {
		t.Errorf("%d changes, want 1", n)
	}
	var last error
	for _, err := range db.Changes(t.Context(), 0) {
		if last = err; err == nil {
			go db.Close()
		}
	}
	if !errors.Is(last, ErrClosed) {
		t.Errorf("with the store: %v, want ErrClosed", last)
	}
}

func firstError(db *DB, ctx context.Context, after Rev) error {
	for _, err := range db.Changes(ctx, after) {
		return err
	}
	return nil
}

func TestCompact(t *testing.T) {
	db := openTest(t, Options{})
	for i := range 10 {
		put(t, db, "a", i+1)
	}
	if err := db.Compact(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	for after, want := range map[Rev]error{0: ErrCompacted, 3: ErrCompacted, 4: nil, 9: nil} {
		if err := firstError(db, t.Context(), after); !errors.Is(err, want) {
			t.Errorf("Changes after %d = %v, want %v", after, err, want)
		}
	}
	if got := collect(t, db, 4, 6); got[0].Rev != 5 || got[5].Rev != 10 {
		t.Errorf("after 4: %v", got)
	}
	if err := db.Compact(t.Context(), 1000); err != nil {
		t.Fatal(err)
	}
	if o := put(t, db, "a", 99); o.Rev != 11 {
		t.Errorf("after compacting all: revision %d, want 11", o.Rev)
	}
	if err := db.Compact(t.Context(), 2); err != nil { // less than before: the past does not come back
		t.Fatal(err)
	}
	if err := firstError(db, t.Context(), 5); !errors.Is(err, ErrCompacted) {
		t.Errorf("Changes after 5 = %v, want ErrCompacted", err)
	}
}

func TestCompact_ByItself(t *testing.T) {
	db := openTest(t, Options{KeepChanges: 100})
	err := db.Update(t.Context(), func(tx *WriteTx) error {
		for i := range 3 * compactEvery {
			if err := cities.Put(tx, &Object[city]{Key: fmt.Sprint(i)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := firstError(db, t.Context(), 3*compactEvery-102); !errors.Is(err, ErrCompacted) {
		t.Errorf("beyond KeepChanges: %v, want ErrCompacted", err)
	}
	if err := firstError(db, t.Context(), 3*compactEvery-100); err != nil {
		t.Errorf("within KeepChanges: %v", err)
	}
}

func TestView_RevAndListAgree(t *testing.T) {
	db := openTest(t, Options{})
	put(t, db, "a", 1)
	err := db.View(t.Context(), func(tx *ReadTx) error {
		before, err := tx.Rev()
		put(t, db, "b", 1) // while the view is open
		after, err2 := tx.Rev()
		if before != 1 || after != 1 {
			t.Errorf("Rev = %d, then %d, want 1 and 1", before, after)
		}
		_, err3 := cities.Get(tx, "b")
		if !errors.Is(err3, ErrNotFound) {
			t.Errorf("a later write is seen: %v", err3)
		}
		return errors.Join(err, err2)
	})
	if err != nil {
		t.Fatal(err)
	}
}
