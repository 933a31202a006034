package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

var errTxOver = errors.New("store transaction is over")

// Reader reads records: a *ReadTx or a *WriteTx.
type Reader interface {
	// Rev is the revision of what the transaction sees: follow Changes from it and nothing is missed.
	Rev() (Rev, error)

	row(query string, args, dest []any) error
	rows(query string, args []any, scan func(*sql.Rows) error) error
}

// ReadTx sees the store as it was when the transaction first read. It belongs to one goroutine.
type ReadTx struct {
	c     *conn
	reads *atomic.Int64 // rows, of all transactions
}

// WriteTx reads and writes; it sees its own writes. It belongs to one goroutine.
type WriteTx struct {
	ReadTx
	now  time.Time
	keep int64
	rev  Rev   // of the last write of this transaction; 0: none yet
	err  error // the first failure of SQLite: nothing may be committed after it
	undo []func()
}

// View calls fn with a snapshot. Its error is returned as it is.
func (db *DB) View(ctx context.Context, fn func(*ReadTx) error) error {
	c, err := db.readers.get(ctx)
	if err != nil {
		return err
	}
	if _, err := c.exec("BEGIN"); err != nil {
		db.readers.rollback(c)
		return fmt.Errorf("begin reading: %w", err)
	}
	tx := &ReadTx{c: c, reads: &db.reads}
	defer func() { tx.c = nil; db.readers.rollback(c) }()
	return fn(tx)
}

// Update calls fn in a transaction that writes, one at a time. When it returns nil, all that fn wrote is on the disk.
// When fn returns an error (returned as it is) or panics, or ctx is done by then, nothing was written. After an error
// of the commit itself the write is not acknowledged: read again.
//
// fn must not call Update (it would wait for itself) and should not wait for anything else: all writers wait for it,
// and those before it with what they hold, since writers that wait for each other go to the disk together.
func (db *DB) Update(ctx context.Context, fn func(*WriteTx) error) error {
	c, err := db.writer.get(ctx)
	if err != nil {
		return err
	}
	g, err := db.join(c)
	if err != nil {
		return err
	}
	tx := &WriteTx{ReadTx: ReadTx{c: c, reads: &db.reads}, now: db.o.Now().UTC().Truncate(time.Millisecond), keep: db.o.KeepChanges}
	if err := db.member(ctx, tx, fn); err != nil {
		return err
	}
	<-g.done
	if g.err != nil {
		tx.forget()
	}
	return g.err
}

// Rev is the revision of the snapshot.
func (tx *ReadTx) Rev() (Rev, error) {
	var r Rev
	err := tx.row("SELECT coalesce(max(rev), 0) FROM change", nil, []any{&r})
	return r, err
}

// Now is the one time of the transaction: UTC, whole milliseconds.
func (tx *WriteTx) Now() time.Time { return tx.now }

// Private

func (tx *ReadTx) row(query string, args, dest []any) error {
	if tx.c == nil {
		return errTxOver
	}
	tx.reads.Add(1)
	return tx.c.row(query, args, dest)
}

func (tx *ReadTx) rows(query string, args []any, scan func(*sql.Rows) error) error {
	if tx.c == nil {
		return errTxOver
	}
	return tx.c.rows(query, args, func(r *sql.Rows) error {
		tx.reads.Add(1)
		return scan(r)
	})
}

// exec returns how many rows changed. SQLite ends the transaction by itself on some errors (a full disk), and what came
// after would be committed piece by piece: so the first error is the last word.
func (tx *WriteTx) exec(query string, args ...any) (int64, error) {
	if tx.c == nil {
		return 0, errTxOver
	}
	if tx.err != nil {
		return 0, tx.err
	}
	n, err := tx.c.exec(query, args...)
	tx.err = err
	return n, err
}

// next gives the revision of the next write and notes the change.
func (tx *WriteTx) next(kind, key string) (Rev, error) {
	if tx.rev == 0 {
		r, err := tx.Rev()
		if err != nil {
			return 0, err
		}
		tx.rev = r
	}
	tx.rev++
	if _, err := tx.exec("INSERT INTO change (rev, kind, key) VALUES (?, ?, ?)", int64(tx.rev), kind, key); err != nil {
		return 0, err
	}
	if before := int64(tx.rev) - tx.keep; before > 0 && int64(tx.rev)%compactEvery == 0 {
		return tx.rev, tx.compact(Rev(before))
	}
	return tx.rev, nil
}
