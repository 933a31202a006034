package store

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"sync"
)

const (
	changeChunk  = 256 // changes read at once
	compactEvery = 512 // revisions between two automatic compactions
)

// Change says that the record of a kind under a key was put or deleted, not how: read it to learn what is there now.
type Change struct {
	Rev  Rev
	Kind string
	Key  string
}

// Changes gives every change after a revision, in order, and then waits for more. It ends without an error when ctx
// does. Its error, which is the last element, is ErrCompacted when the past after that revision is no longer known,
// ErrClosed when the store was closed. To follow a state: read it all and its Rev in one View, then Changes from there.
func (db *DB) Changes(ctx context.Context, after Rev) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for ctx.Err() == nil {
			woken := db.wake.next() // before reading: a write after it wakes us
			chunk, err := db.changes(ctx, after)
			if err != nil {
				if ctx.Err() == nil {
					yield(Change{}, fmt.Errorf("changes after %d: %w", after, err))
				}
				return
			}
			for _, c := range chunk {
				if ctx.Err() != nil || !yield(c, nil) {
					return
				}
				after = c.Rev
			}
			if len(chunk) > 0 {
				continue
			}
			select {
			case <-woken:
			case <-db.closing:
				yield(Change{}, fmt.Errorf("changes after %d: %w", after, ErrClosed))
				return
			case <-ctx.Done():
			}
		}
	}
}

// Rev is the revision of the last write.
func (db *DB) Rev(ctx context.Context) (Rev, error) {
	var r Rev
	err := db.View(ctx, func(tx *ReadTx) error {
		var err error
		r, err = tx.Rev()
		return err
	})
	return r, err
}

// Compact forgets changes with a revision below before; the last change is always kept. Records stay as they are.
func (db *DB) Compact(ctx context.Context, before Rev) error {
	err := db.Update(ctx, func(tx *WriteTx) error { return tx.compact(before) })
	if err != nil {
		return fmt.Errorf("compact changes before %d: %w", before, err)
	}
	return nil
}

// Private

func (db *DB) changes(ctx context.Context, after Rev) ([]Change, error) {
	var chunk []Change
	err := db.View(ctx, func(tx *ReadTx) error {
		var floor Rev
		if err := tx.row("SELECT value FROM meta WHERE name = 'compacted'", nil, []any{&floor}); err != nil {
			return err
		}
		if after < floor {
			return fmt.Errorf("%w up to %d", ErrCompacted, floor)
		}
		return tx.rows("SELECT rev, kind, key FROM change WHERE rev > ? ORDER BY rev LIMIT ?", []any{int64(after), changeChunk}, func(r *sql.Rows) error {
			var c Change
			err := r.Scan(&c.Rev, &c.Kind, &c.Key)
			chunk = append(chunk, c)
			return err
		})
	})
	return chunk, err
}

// compact keeps the last change: the next revision is counted from it.
func (tx *WriteTx) compact(before Rev) error {
	last, err := tx.Rev()
	if err != nil {
		return err
	}
	before = min(before, last)
	if _, err := tx.exec("DELETE FROM change WHERE rev < ?", int64(before)); err != nil {
		return err
	}
	_, err = tx.exec("UPDATE meta SET value = max(value, ?) WHERE name = 'compacted'", int64(before)-1)
	return err
}

// wakeup wakes all who wait for the next write of this process.
type wakeup struct {
	mu sync.Mutex
	ch chan struct{}
}

func (w *wakeup) init() { w.ch = make(chan struct{}) }

// next returns a channel that the next all closes.
func (w *wakeup) next() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ch
}

func (w *wakeup) all() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.ch)
	w.ch = make(chan struct{})
}
