package store

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"
)

// listChunk is how many records List reads at once.
const listChunk = 128

// Object is a record in the hand. Rev is the revision it was read or last put at; 0: not stored yet.
type Object[T any] struct {
	Key string
	Rev Rev
	Val T
}

// Table is the records of one kind, their values T as JSON. Fields may be added to T at any time; one that is renamed
// is read as zero from older records.
type Table[T any] struct{ kind string }

// NewTable names a kind of record. Two tables of one kind are the same table.
func NewTable[T any](kind string) Table[T] {
	if kind == "" {
		panic("store.NewTable: the kind is empty")
	}
	return Table[T]{kind}
}

// Kind is the name given to NewTable, as in Change.Kind.
func (t Table[T]) Kind() string { return t.kind }

// Get reads the record under key. Without one, the error is ErrNotFound and the object has the key and revision 0,
// ready to be filled in and Put.
func (t Table[T]) Get(tx Reader, key string) (Object[T], error) {
	o := Object[T]{Key: key}
	var val []byte
	err := tx.row("SELECT rev, val FROM record WHERE kind = ? AND key = ?", []any{t.kind, key}, []any{&o.Rev, &val})
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return o, t.wrap("get", key, err)
	}
	return t.decode(o, val)
}

// List reads the records whose key begins with prefix, in byte order of their keys: "a/" finds "a/b" but not "ab", ""
// finds all. An error is the last element. It reads by chunks, so that writing in the loop is safe; whether a record
// put or deleted further ahead during the loop is seen is not defined.
func (t Table[T]) List(tx Reader, prefix string) iter.Seq2[Object[T], error] {
	return t.ListAfter(tx, prefix, "")
}

// ListAfter is List without the keys up to after, which are not read.
func (t Table[T]) ListAfter(tx Reader, prefix, after string) iter.Seq2[Object[T], error] {
	const query = "SELECT key, rev, val FROM record WHERE kind = ?1 AND key >= ?2 AND key < ?3 AND key <> ?4 ORDER BY key LIMIT ?5"
	return func(yield func(Object[T], error) bool) {
		type row struct {
			o   Object[T]
			val []byte
		}
		from, end, last := max(prefix, after), prefixEnd(prefix), after
		for chunk := []row{}; ; chunk = chunk[:0] {
			err := tx.rows(query, []any{t.kind, from, end, last, listChunk}, func(r *sql.Rows) error {
				var x row
				err := r.Scan(&x.o.Key, &x.o.Rev, &x.val)
				chunk = append(chunk, x)
				return err
			})
			if err != nil {
				yield(Object[T]{}, t.wrap("list", prefix, err))
				return
			}
			for _, x := range chunk {
				o, err := t.decode(x.o, x.val)
				if !yield(o, err) || err != nil {
					return
				}
				from, last = o.Key, o.Key
			}
			if len(chunk) < listChunk {
				return
			}
		}
	}
}

// Count is how many records List would find.
func (t Table[T]) Count(tx Reader, prefix string) (n int, err error) {
	err = tx.row("SELECT count(*) FROM record WHERE kind = ? AND key >= ? AND key < ?", []any{t.kind, prefix, prefixEnd(prefix)}, []any{&n})
	if err != nil {
		err = t.wrap("count", prefix, err)
	}
	return n, err
}

// Put stores o if the record is still at o.Rev (0: if there is none), else ErrConflict. It sets o.Rev; should the
// transaction be rolled back, o.Rev is put back too. A value equal to the stored one is not written and makes no
// change: a controller that puts what it found does not wake itself.
func (t Table[T]) Put(tx *WriteTx, o *Object[T]) error {
	if err := checkKey(o.Key); err != nil {
		return t.wrap("put", o.Key, err)
	}
	val, err := json.Marshal(o.Val)
	if err != nil {
		return t.wrap("put", o.Key, err)
	}
	var rev Rev
	var old []byte
	err = tx.row("SELECT rev, val FROM record WHERE kind = ? AND key = ?", []any{t.kind, o.Key}, []any{&rev, &old})
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return t.wrap("put", o.Key, err)
	}
	if rev != o.Rev {
		return t.wrap("put", o.Key, fmt.Errorf("%w: it is at revision %d, not %d", ErrConflict, rev, o.Rev))
	}
	if rev != 0 && string(old) == string(val) {
		return tx.err
	}
	next, err := tx.next(t.kind, o.Key)
	if err != nil {
		return t.wrap("put", o.Key, err)
	}
	const query = "INSERT INTO record (kind, key, rev, val) VALUES (?, ?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET rev = excluded.rev, val = excluded.val"
	if _, err := tx.exec(query, t.kind, o.Key, int64(next), string(val)); err != nil {
		return t.wrap("put", o.Key, err)
	}
	tx.undo = append(tx.undo, func() { o.Rev = rev })
	o.Rev = next
	return nil
}

// Delete removes the record if it is at rev, else ErrConflict; rev 0 removes whatever is there. ErrNotFound: there is none.
func (t Table[T]) Delete(tx *WriteTx, key string, rev Rev) error {
	var is Rev
	err := tx.row("SELECT rev FROM record WHERE kind = ? AND key = ?", []any{t.kind, key}, []any{&is})
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	if err != nil {
		return t.wrap("delete", key, err)
	}
	if rev != 0 && rev != is {
		return t.wrap("delete", key, fmt.Errorf("%w: it is at revision %d, not %d", ErrConflict, is, rev))
	}
	if _, err := tx.next(t.kind, key); err != nil {
		return t.wrap("delete", key, err)
	}
	if _, err := tx.exec("DELETE FROM record WHERE kind = ? AND key = ?", t.kind, key); err != nil {
		return t.wrap("delete", key, err)
	}
	return nil
}

// Private

func (t Table[T]) decode(o Object[T], val []byte) (Object[T], error) {
	if err := json.Unmarshal(val, &o.Val); err != nil {
		return o, t.wrap("decode", o.Key, err)
	}
	return o, nil
}

func (t Table[T]) wrap(verb, key string, err error) error {
	return fmt.Errorf("%s %s %q: %w", verb, t.kind, key, err)
}

// checkKey: keys are text, so that prefixEnd holds and people can read them.
func checkKey(key string) error {
	if key == "" || !utf8.ValidString(key) || strings.IndexByte(key, 0) >= 0 {
		return errors.New("a key is valid UTF-8, not empty, without NUL")
	}
	return nil
}

// prefixEnd is the first string after all that begin with prefix, in byte order. No byte of valid UTF-8 is 0xff.
func prefixEnd(prefix string) string {
	if prefix == "" {
		return "\xff"
	}
	b := []byte(prefix)
	b[len(b)-1]++
	return string(b)
}
