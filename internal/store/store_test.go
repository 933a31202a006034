package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type city struct {
	Name string
	Size int
}

var cities = NewTable[city]("city")

func openTest(t testing.TB, o Options) *DB {
	t.Helper()
	db, err := Open(filepath.Join(t.TempDir(), "lotse.db"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func put(t testing.TB, db *DB, key string, size int) Object[city] {
	t.Helper()
	var o Object[city]
	err := db.Update(t.Context(), func(tx *WriteTx) error {
		var err error
		if o, err = cities.Get(tx, key); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		o.Val.Size = size
		return cities.Put(tx, &o)
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func get(t testing.TB, db *DB, key string) (o Object[city], err error) {
	t.Helper()
	err = db.View(t.Context(), func(tx *ReadTx) error {
		o, err = cities.Get(tx, key)
		return err
	})
	return o, err
}

func list(t testing.TB, db *DB, prefix string) []string {
	t.Helper()
	keys := []string{}
	err := db.View(t.Context(), func(tx *ReadTx) error {
		for o, err := range cities.List(tx, prefix) {
			if err != nil {
				return err
			}
			keys = append(keys, o.Key)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestPut_ComparesTheRevision(t *testing.T) {
	db := openTest(t, Options{})
	first := put(t, db, "hamburg", 1)
	second := put(t, db, "hamburg", 2)
	if second.Rev <= first.Rev {
		t.Errorf("second put has revision %d, want more than %d", second.Rev, first.Rev)
	}
	tests := []struct {
		name string
		o    Object[city]
		want error
	}{
		{"stale", Object[city]{Key: "hamburg", Rev: first.Rev, Val: city{Size: 9}}, ErrConflict},
		{"new, but there", Object[city]{Key: "hamburg", Val: city{Size: 9}}, ErrConflict},
		{"gone", Object[city]{Key: "vineta", Rev: first.Rev}, ErrConflict},
		{"current", Object[city]{Key: "hamburg", Rev: second.Rev, Val: city{Size: 3}}, nil},
		{"no key", Object[city]{}, errors.ErrUnsupported},
	}
	for _, tt := range tests {
		was := tt.o.Rev
		err := db.Update(t.Context(), func(tx *WriteTx) error { return cities.Put(tx, &tt.o) })
		if tt.want == errors.ErrUnsupported && err != nil {
			continue
		}
		if !errors.Is(err, tt.want) {
			t.Errorf("Put(%s) = %v, want %v", tt.name, err, tt.want)
		}
		if err != nil && tt.o.Rev != was {
			t.Errorf("Put(%s) set the revision to %d", tt.name, tt.o.Rev)
		}
	}
	if o, err := get(t, db, "hamburg"); err != nil || o.Val.Size != 3 {
		t.Errorf("Get = %+v, %v, want size 3", o, err)
	}
}

func TestPut_OfTheSameValueIsNoChange(t *testing.T) {
	db := openTest(t, Options{})
	a, b := put(t, db, "kiel", 1), put(t, db, "kiel", 1)
	if a.Rev != b.Rev {
		t.Errorf("revision went from %d to %d", a.Rev, b.Rev)
	}
	if r, err := db.Rev(t.Context()); err != nil || r != a.Rev {
		t.Errorf("Rev = %d, %v, want %d", r, err, a.Rev)
	}
}

func TestGet_OfNothingIsReadyToPut(t *testing.T) {
	db := openTest(t, Options{})
	o, err := get(t, db, "rungholt")
	if !errors.Is(err, ErrNotFound) || o.Key != "rungholt" || o.Rev != 0 {
		t.Errorf("Get = %+v, %v", o, err)
	}
}

func TestDelete(t *testing.T) {
	db := openTest(t, Options{})
	old := put(t, db, "a", 1)
	put(t, db, "a", 2)
	put(t, db, "b", 1)
	del := func(key string, rev Rev) error {
		return db.Update(t.Context(), func(tx *WriteTx) error { return cities.Delete(tx, key, rev) })
	}
	for _, tt := range []struct {
		key  string
		rev  Rev
		want error
	}{{"a", old.Rev, ErrConflict}, {"a", 0, nil}, {"a", 0, ErrNotFound}, {"c", 7, ErrNotFound}} {
		if err := del(tt.key, tt.rev); !errors.Is(err, tt.want) {
			t.Errorf("Delete(%s, %d) = %v, want %v", tt.key, tt.rev, err, tt.want)
		}
	}
	if diff := cmp.Diff([]string{"b"}, list(t, db, "")); diff != "" {
		t.Error(diff)
	}
}

func TestUpdate_RollsBack(t *testing.T) {
	db := openTest(t, Options{})
	kept := put(t, db, "a", 1)
	boom := errors.New("boom")
	o := kept
	steps := func(tx *WriteTx) {
		for i := range 2 { // the revision must come back over both
			o.Val.Size = 10 + i
			if err := cities.Put(tx, &o); err != nil {
				t.Fatal(err)
			}
		}
		if err := cities.Put(tx, &Object[city]{Key: "b"}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(how string) {
		t.Helper()
		if o.Rev != kept.Rev {
			t.Errorf("%s: the object keeps revision %d, want %d", how, o.Rev, kept.Rev)
		}
		if diff := cmp.Diff([]string{"a"}, list(t, db, "")); diff != "" {
			t.Errorf("%s: %s", how, diff)
		}
		if r, _ := db.Rev(t.Context()); r != kept.Rev {
			t.Errorf("%s: store at revision %d, want %d", how, r, kept.Rev)
		}
	}

	if err := db.Update(t.Context(), func(tx *WriteTx) error { steps(tx); return boom }); err != boom {
		t.Errorf("Update = %v, want the error of fn", err)
	}
	check("error")

	func() {
		defer func() {
			if r := recover(); r != boom {
				t.Errorf("recovered %v", r)
			}
		}()
		db.Update(t.Context(), func(tx *WriteTx) error { steps(tx); panic(boom) })
	}()
	check("panic")

	ctx, cancel := context.WithCancelCause(t.Context())
	if err := db.Update(ctx, func(tx *WriteTx) error { steps(tx); cancel(boom); return nil }); err != boom {
		t.Errorf("Update = %v, want the context's cause", err)
	}
	check("context")
	put(t, db, "a", 3) // the writer is free again
}

func TestUpdate_SeesItsOwnWritesAndOthersDoNot(t *testing.T) {
	db := openTest(t, Options{Now: func() time.Time { return time.Unix(1, 2_345_678) }})
	err := db.Update(t.Context(), func(tx *WriteTx) error {
		if got, want := tx.Now(), time.UnixMilli(1002).UTC(); got != want {
			t.Errorf("Now = %v, want %v", got, want)
		}
		if err := cities.Put(tx, &Object[city]{Key: "a"}); err != nil {
			return err
		}
		if _, err := cities.Get(tx, "a"); err != nil {
			t.Errorf("own write: %v", err)
		}
		if _, err := get(t, db, "a"); !errors.Is(err, ErrNotFound) {
			t.Errorf("another reader: %v, want ErrNotFound", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestUpdate_ConflictDoesNotSpoilTheRest(t *testing.T) {
	db := openTest(t, Options{})
	put(t, db, "a", 1)
	err := db.Update(t.Context(), func(tx *WriteTx) error {
		if err := cities.Put(tx, &Object[city]{Key: "a"}); !errors.Is(err, ErrConflict) {
			t.Errorf("Put = %v", err)
		}
		return cities.Put(tx, &Object[city]{Key: "b"})
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b"}, list(t, db, "")); diff != "" {
		t.Error(diff)
	}
}

func TestTransaction_IsOverWhenItIsOver(t *testing.T) {
	db := openTest(t, Options{})
	var w *WriteTx
	var r *ReadTx
	db.Update(t.Context(), func(tx *WriteTx) error { w = tx; return nil })
	db.View(t.Context(), func(tx *ReadTx) error { r = tx; return nil })
	if err := cities.Put(w, &Object[city]{Key: "late"}); err == nil {
		t.Error("Put after the end: no error")
	}
	if _, err := cities.Get(r, "late"); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("Get after the end: %v", err)
	}
}

func TestList_Prefix(t *testing.T) {
	db := openTest(t, Options{})
	keys := []string{"%", "'; DROP TABLE record; --", "A/x", "_", "a", "a/", "a/b", "a/b/c", "a/ü", "a/\U0010ffff", "a0", "a\\b", "ab", "b/a/b", "ä/1", "\U0010ffff\U0010ffff"}
	for i := len(keys) - 1; i >= 0; i-- {
		put(t, db, keys[i], i+1)
	}
	other := NewTable[city]("city2")
	if err := db.Update(t.Context(), func(tx *WriteTx) error { return other.Put(tx, &Object[city]{Key: "a/other"}) }); err != nil {
		t.Fatal(err)
	}
	for _, prefix := range append([]string{"", "a/b/", "zz", "\xff", "a/\xf4"}, keys...) {
		want := []string{}
		for _, k := range keys {
			if strings.HasPrefix(k, prefix) {
				want = append(want, k)
			}
		}
		if diff := cmp.Diff(want, list(t, db, prefix)); diff != "" {
			t.Errorf("List(%q): %s", prefix, diff)
		}
	}
	for _, after := range []string{"", "a", "a/b", "a/b/", "a/b/c", "a/z", "zz"} {
		var got, want []string
		for _, k := range keys {
			if strings.HasPrefix(k, "a/") && k > after {
				want = append(want, k)
			}
		}
		err := db.View(t.Context(), func(tx *ReadTx) error {
			for o, err := range cities.ListAfter(tx, "a/", after) {
				if err != nil {
					return err
				}
				got = append(got, o.Key)
			}
			return nil
		})
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("ListAfter(%q): %v %s", after, err, diff)
		}
	}
	for i, k := range keys {
		if o, err := get(t, db, k); err != nil || o.Val.Size != i+1 {
			t.Errorf("Get(%q) = %+v, %v", k, o, err)
		}
	}
	for _, bad := range []string{"", "a\x00", "\xff"} {
		err := db.Update(t.Context(), func(tx *WriteTx) error { return cities.Put(tx, &Object[city]{Key: bad}) })
		if err == nil {
			t.Errorf("Put(%q): no error", bad)
		}
	}
}

func TestList_ManyAndWritingInTheLoop(t *testing.T) {
	db := openTest(t, Options{})
	const n = 3*listChunk + 1
	var want []string
	err := db.Update(t.Context(), func(tx *WriteTx) error {
		for i := range n {
			key := fmt.Sprintf("p/%04d", i)
			want = append(want, key)
			if err := cities.Put(tx, &Object[city]{Key: key}); err != nil {
				return err
			}
		}
		var got []string
		for o, err := range cities.List(tx, "p/") {
			if err != nil {
				return err
			}
			got = append(got, o.Key)
			if len(got)%2 == 0 {
				err = cities.Delete(tx, o.Key, o.Rev)
			} else {
				o.Val.Size = 1
				err = cities.Put(tx, &o)
			}
			if err != nil {
				return err
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := len(list(t, db, "p/")); got != n/2+1 {
		t.Errorf("%d records left, want %d", got, n/2+1)
	}
}

func TestGet_OfADamagedValue(t *testing.T) {
	db := openTest(t, Options{})
	numbers := NewTable[int]("city")
	put(t, db, "a", 1)
	err := db.View(t.Context(), func(tx *ReadTx) error {
		for _, err := range numbers.List(tx, "") {
			return err
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), `city "a"`) {
		t.Errorf("List = %v, want an error that names the record", err)
	}
}

func TestOpen_OddPathAndMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c#d%41é.db")
	db, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	put(t, db, "a", 1)
	for _, suffix := range []string{"", "-wal", "-shm", ".lock"} {
		st, err := os.Stat(path + suffix)
		if err != nil {
			t.Error(err)
		} else if st.Mode() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", suffix, st.Mode())
		}
	}
}

func TestOpen_OnceAtATime(t *testing.T) {
	db := openTest(t, Options{})
	if _, err := Open(db.path, Options{}); !errors.Is(err, ErrLocked) {
		t.Errorf("second Open = %v, want ErrLocked", err)
	}
}

func TestOpen_RefusesWhatIsNotOurs(t *testing.T) {
	dir := t.TempDir()
	spoil := func(name string, stmts ...string) string {
		db, err := Open(filepath.Join(dir, name), Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		c, _ := db.writer.get(t.Context())
		defer db.writer.put(c)
		for _, s := range stmts {
			if _, err := c.exec(s); err != nil {
				t.Fatal(err)
			}
		}
		return db.path
	}
	noise := filepath.Join(dir, "noise.db")
	if err := os.WriteFile(noise, []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, path := range map[string]string{
		"schema version 99": spoil("newer.db", "PRAGMA user_version = 99"),
		"another program":   spoil("foreign.db", "PRAGMA application_id = 7"),
		"restore a backup":  noise,
		"no such file":      filepath.Join(dir, "none", "x.db"),
	} {
		if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%s) = %v, want %q in it", filepath.Base(path), err, want)
		}
	}
}

func TestClose(t *testing.T) {
	db := openTest(t, Options{})
	put(t, db, "a", 1)
	if err := errors.Join(db.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := get(t, db, "a"); !errors.Is(err, ErrClosed) {
		t.Errorf("View = %v, want ErrClosed", err)
	}
	if err := db.Update(t.Context(), func(*WriteTx) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("Update = %v, want ErrClosed", err)
	}
	if _, err := os.Stat(db.path + "-wal"); !os.IsNotExist(err) {
		t.Errorf("the log was not folded into the file: %v", err)
	}
	again, err := Open(db.path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if o, err := get(t, again, "a"); err != nil || o.Val.Size != 1 {
		t.Errorf("after reopening: %+v, %v", o, err)
	}
}

func TestBackup(t *testing.T) {
	db := openTest(t, Options{Readers: 1})
	want := put(t, db, "a", 1)
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := db.Backup(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if err := db.Backup(t.Context(), path); !errors.Is(err, os.ErrExist) {
		t.Errorf("Backup over a file = %v, want ErrExist", err)
	}
	put(t, db, "a", 2)
	copied, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	if o, err := get(t, copied, "a"); err != nil || o != want {
		t.Errorf("copy has %+v, %v, want %+v", o, err, want)
	}
	if next := put(t, copied, "a", 5); next.Rev <= want.Rev {
		t.Errorf("the copy's revisions begin anew: %d", next.Rev)
	}
	if st, _ := os.Stat(path); st.Mode() != 0o600 {
		t.Errorf("mode %v, want 0600", st.Mode())
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".copy*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestClear(t *testing.T) {
	db := openTest(t, Options{})
	put(t, db, "a", 1)
	put(t, db, "b", 2)
	before, err := db.Rev(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Clear(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l := list(t, db, ""); len(l) != 0 {
		t.Errorf("left: %v", l)
	}
	if got := collect(t, db, before, 2); got[0].Key != "a" || got[1].Key != "b" {
		t.Errorf("changes: %v", got)
	}
}
