package store

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestStore_BehavesLikeAMap runs random operations against a store and a map, reopening in between.
func TestStore_BehavesLikeAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		defer func() { m.db.Close() }()
		t.Repeat(map[string]func(*rapid.T){
			"update": m.update,
			"list":   m.list,
			"reopen": m.reopen,
			"":       m.agree,
		})
	})
}

type model struct {
	path    string
	db      *DB
	records map[string]Object[city]
	changes []Change
}

func newModel(t *rapid.T) *model {
	m := &model{path: filepath.Join(tempDir(t), "m.db"), records: map[string]Object[city]{}}
	m.open(t)
	return m
}

func (m *model) open(t *rapid.T) {
	db, err := Open(m.path, Options{Readers: 1})
	if err != nil {
		t.Fatal(err)
	}
	m.db = db
}

func (m *model) reopen(t *rapid.T) {
	if err := m.db.Close(); err != nil {
		t.Fatal(err)
	}
	m.open(t)
}

var drawKey = rapid.SampledFrom([]string{"a", "a/", "a/b", "ab", "b", "b/ü", "%", "_"})

// update does up to five writes in one transaction, sometimes with a wrong revision, and sometimes rolls back.
func (m *model) update(t *rapid.T) {
	records, changes := maps.Clone(m.records), slices.Clone(m.changes)
	rollback := errors.New("rollback")
	err := m.db.Update(t.Context(), func(tx *WriteTx) error {
		for range rapid.IntRange(0, 5).Draw(t, "writes") {
			key := drawKey.Draw(t, "key")
			is := records[key]
			rev := rapid.SampledFrom([]Rev{is.Rev, is.Rev, is.Rev, 0, 1}).Draw(t, "rev")
			var err, want error
			if rapid.Bool().Draw(t, "delete") {
				err = cities.Delete(tx, key, rev)
				switch {
				case is.Rev == 0:
					want = ErrNotFound
				case rev != 0 && rev != is.Rev:
					want = ErrConflict
				default:
					delete(records, key)
					changes = append(changes, Change{Rev(len(changes) + 1), "city", key})
				}
			} else {
				o := Object[city]{Key: key, Rev: rev, Val: city{Size: rapid.IntRange(1, 3).Draw(t, "size")}}
				err = cities.Put(tx, &o)
				switch {
				case rev != is.Rev:
					want = ErrConflict
				case o.Val == is.Val: // Size 0 is never put, so a new record differs
				default:
					changes = append(changes, Change{Rev(len(changes) + 1), "city", key})
					is.Key, is.Rev, is.Val = key, Rev(len(changes)), o.Val
					records[key] = is
				}
				if want == nil && o.Rev != is.Rev {
					t.Fatalf("Put(%s) set revision %d, want %d", key, o.Rev, is.Rev)
				}
			}
			if !errors.Is(err, want) {
				t.Fatalf("write of %s at %d = %v, want %v", key, rev, err, want)
			}
		}
		if rapid.IntRange(0, 3).Draw(t, "fate") == 0 {
			return rollback
		}
		return nil
	})
	if err == nil {
		m.records, m.changes = records, changes
	} else if err != rollback {
		t.Fatal(err)
	}
}

func (m *model) list(t *rapid.T) {
	prefix := drawKey.Draw(t, "prefix")
	var got, want []string
	err := m.db.View(t.Context(), func(tx *ReadTx) error {
		for o, err := range cities.List(tx, prefix) {
			if err != nil {
				return err
			}
			got = append(got, o.Key)
		}
		return nil
	})
	for _, k := range slices.Sorted(maps.Keys(m.records)) {
		if strings.HasPrefix(k, prefix) {
			want = append(want, k)
		}
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("List(%q): %v %s", prefix, err, diff)
	}
}

// agree compares everything.
func (m *model) agree(t *rapid.T) {
	got := map[string]Object[city]{}
	var rev Rev
	err := m.db.View(t.Context(), func(tx *ReadTx) (err error) {
		for o, err := range cities.List(tx, "") {
			if err != nil {
				return err
			}
			got[o.Key] = o
		}
		rev, err = tx.Rev()
		return err
	})
	if diff := cmp.Diff(m.records, got); err != nil || diff != "" || rev != Rev(len(m.changes)) {
		t.Fatalf("records: %v, revision %d, want %d; %s", err, rev, len(m.changes), diff)
	}
	changes, err := m.db.changes(t.Context(), max(0, rev-changeChunk))
	if diff := cmp.Diff(m.changes[max(0, len(m.changes)-changeChunk):], changes); err != nil || (len(changes)+len(m.changes) > 0 && diff != "") {
		t.Fatalf("changes: %v %s", err, diff)
	}
}
