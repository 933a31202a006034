package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// together has all functions wait for the writer before the first one may go on, so that they are one group. It
// returns what Update said to each.
func together(t *testing.T, db *DB, fns ...func(*WriteTx) error) []error {
	t.Helper()
	errs := make([]error, len(fns))
	hold, held := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		_ = db.Update(t.Context(), func(tx *WriteTx) error { close(held); <-hold; return nil })
	})
	<-held
	for i, fn := range fns {
		all.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					errs[i] = fmt.Errorf("panic: %v", p)
				}
			}()
			errs[i] = db.Update(t.Context(), fn)
		})
		waiters(t, db, i+1)
	}
	close(hold)
	all.Wait()
	return errs
}

// waiters waits until n ask for the writer.
func waiters(t *testing.T, db *DB, n int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		db.writer.mu.Lock()
		is := len(db.writer.waiting)
		db.writer.mu.Unlock()
		if is == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d wait, want %d", is, n)
		}
	}
}

func adding(key string, size int) func(*WriteTx) error {
	return func(tx *WriteTx) error { return cities.Put(tx, &Object[city]{Key: key, Val: city{Size: size}}) }
}

// Each of a group is a transaction of its own: it sees those before it, and fails alone.
func TestGroup_FailsAlone(t *testing.T) {
	db := openTest(t, Options{})
	no := errors.New("no")
	var seen []string
	kept := Object[city]{Key: "kept"}
	errs := together(t, db,
		adding("a", 1),
		func(tx *WriteTx) error { return errors.Join(cities.Put(tx, &kept), no) },
		func(tx *WriteTx) error { _ = adding("panicked", 1)(tx); panic("at the disk") },
		adding("a", 2), // a conflict
		func(tx *WriteTx) error {
			for o, err := range cities.List(tx, "") {
				if err != nil {
					return err
				}
				seen = append(seen, o.Key)
			}
			return nil
		},
		adding("b", 1))
	if errs[0] != nil || !errors.Is(errs[1], no) || errs[2] == nil || !errors.Is(errs[3], ErrConflict) || errs[4] != nil || errs[5] != nil {
		t.Errorf("errors: %v", errs)
	}
	if kept.Rev != 0 {
		t.Errorf("what wasn't written has revision %d", kept.Rev)
	}
	if got := strings.Join(seen, " "); got != "a" {
		t.Errorf("one of the group saw %q, want a", got)
	}
	if got := strings.Join(list(t, db, ""), " "); got != "a b" {
		t.Errorf("written: %q", got)
	}
	if got := len(collect(t, db, 0, 2)); got != 2 {
		t.Errorf("%d changes", got)
	}
}

// A first one that fails leaves nothing for the others to be harmed by.
func TestGroup_FirstFails(t *testing.T) {
	db := openTest(t, Options{})
	errs := together(t, db,
		func(tx *WriteTx) error { return errors.Join(adding("a", 1)(tx), errors.New("no")) },
		adding("b", 1))
	if errs[0] == nil || errs[1] != nil {
		t.Errorf("errors: %v", errs)
	}
	if got := strings.Join(list(t, db, ""), " "); got != "b" {
		t.Errorf("written: %q", got)
	}
}

// One that gives up while it waits is passed over, and one whose context ends while it has the writer isn't written.
func TestGroup_ContextEnds(t *testing.T) {
	db := openTest(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	hold, held := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	var waited, ended, last error
	all.Go(func() { _ = db.Update(t.Context(), func(*WriteTx) error { close(held); <-hold; return nil }) })
	<-held
	given := make(chan struct{})
	all.Go(func() { waited = db.Update(ctx, adding("waited", 1)); close(given) })
	waiters(t, db, 1)
	cancel()
	<-given
	ctx, cancel = context.WithCancel(t.Context())
	all.Go(func() {
		ended = db.Update(ctx, func(tx *WriteTx) error { cancel(); return adding("ended", 1)(tx) })
	})
	waiters(t, db, 1)
	all.Go(func() { last = db.Update(t.Context(), adding("last", 1)) })
	waiters(t, db, 2)
	close(hold)
	all.Wait()
	if !errors.Is(waited, context.Canceled) || !errors.Is(ended, context.Canceled) || last != nil {
		t.Errorf("errors: %v, %v, %v", waited, ended, last)
	}
	if got := strings.Join(list(t, db, ""), " "); got != "last" {
		t.Errorf("written: %q", got)
	}
}

// When there is no room for one of a group, whoever was told of success is on the disk, and nobody else.
func TestGroup_Full(t *testing.T) {
	db := openTest(t, Options{MaxBytes: 256 << 10})
	var fns []func(*WriteTx) error
	objects := make([]Object[city], 40)
	for i := range objects {
		objects[i] = Object[city]{Key: fmt.Sprintf("%02d", i), Val: city{Name: strings.Repeat("x", 1000*(i%20)), Size: i}}
		fns = append(fns, func(tx *WriteTx) error { return cities.Put(tx, &objects[i]) })
	}
	failed := 0
	for i, err := range together(t, db, fns...) {
		_, found := get(t, db, objects[i].Key)
		if (err == nil) != (found == nil) || (err == nil) != (objects[i].Rev != 0) {
			t.Errorf("%s: Update said %v, Get %v, revision %d", objects[i].Key, err, found, objects[i].Rev)
		}
		if err != nil && !errors.Is(err, ErrFull) {
			t.Error(err)
		}
		if err != nil {
			failed++
		}
	}
	if failed == 0 {
		t.Error("there was room for all: the test shows nothing")
	}
	t.Logf("%d of %d failed", failed, len(objects))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// A commit that fails is told to each of the group, and the next write goes on.
func TestGroup_CommitFails(t *testing.T) {
	db := openTest(t, Options{})
	a := Object[city]{Key: "a"}
	errs := together(t, db,
		func(tx *WriteTx) error { return cities.Put(tx, &a) },
		func(tx *WriteTx) error { // what only the commit finds
			_, err := tx.exec("PRAGMA defer_foreign_keys = 1")
			for _, q := range []string{"CREATE TABLE p (id INTEGER PRIMARY KEY)", "CREATE TABLE q (p INTEGER REFERENCES p)", "INSERT INTO q VALUES (1)"} {
				if err == nil {
					_, err = tx.exec(q)
				}
			}
			return err
		},
		adding("b", 1))
	for i, err := range errs {
		if err == nil || !strings.Contains(err.Error(), "commit: ") {
			t.Errorf("%d: %v, want the commit's failure", i, err)
		}
	}
	if a.Rev != 0 || len(list(t, db, "")) != 0 {
		t.Errorf("a has revision %d; written: %v", a.Rev, list(t, db, ""))
	}
	put(t, db, "c", 1)
}

// BenchmarkPut_16Writers is what a write costs when others write, too: they share the waits for the disk.
func BenchmarkPut_16Writers(b *testing.B) {
	db := openTest(b, Options{})
	var n sync.WaitGroup
	for w := range 16 {
		n.Go(func() {
			for i := range b.N / 16 {
				put(b, db, fmt.Sprintf("%d/%d", w, i%100), i+1)
			}
		})
	}
	n.Wait()
}
