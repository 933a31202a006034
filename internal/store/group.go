package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// groupMax is how many transactions become one at most: what a failure of the disk takes with it, and how long the first
// of them waits for the others.
const groupMax = 64

// A group is transactions of writers that waited for each other: they become one of SQLite's, and wait for the disk once.
// Each but the first has a savepoint, so that it can fail alone. Nobody of a group is told of success before the commit.
// All fields but done belong to whoever has the connection; err may be read once done is closed.
type group struct {
	members int // whose writes are in the transaction
	wrote   bool
	err     error
	done    chan struct{}
}

// Private

// join begins a writer's part of the transaction on c.
func (db *DB) join(c *conn) (*group, error) {
	if g := c.group; g != nil {
		if _, err := c.exec("SAVEPOINT member"); err != nil {
			db.abort(c, err)
			return nil, fmt.Errorf("begin writing: %w", err)
		}
		return g, nil
	}
	if _, err := c.exec("BEGIN IMMEDIATE"); err != nil {
		db.writer.rollback(c)
		return nil, fmt.Errorf("begin writing: %w", err)
	}
	c.group = &group{done: make(chan struct{})}
	return c.group, nil
}

// member calls fn; nil says that what it wrote is part of the group.
func (db *DB) member(ctx context.Context, tx *WriteTx, fn func(*WriteTx) error) error {
	stays := false
	defer func() { db.leave(tx, stays) }() // also when fn panics
	if err := fn(tx); err != nil {
		return err
	}
	if tx.err != nil {
		return tx.err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if tx.c.group.members > 0 {
		if _, err := tx.exec("RELEASE member"); err != nil {
			return err
		}
	}
	stays = true
	return nil
}

// leave ends a writer's part, with its writes or without them, and gives c to the next one; the last one commits.
func (db *DB) leave(tx *WriteTx, stays bool) {
	c := tx.c
	tx.c = nil
	g := c.group
	switch {
	case stays:
		g.members++
		g.wrote = g.wrote || tx.rev > 0
	case g.members == 0:
		tx.forget()
		c.group = nil
		db.writer.rollback(c)
		return
	default:
		tx.forget()
		_, err := c.exec("ROLLBACK TO member")
		if err == nil {
			_, err = c.exec("RELEASE member")
		}
		if err != nil { // SQLite has rolled everything back, as on some errors of the disk
			db.abort(c, cmp.Or(tx.err, err))
			return
		}
	}
	if g.members < groupMax && db.writer.pass(c) {
		return
	}
	if _, err := c.exec("COMMIT"); err != nil {
		db.abort(c, err)
		return
	}
	c.group = nil
	if g.wrote {
		db.wake.all()
	}
	close(g.done)
	db.writer.put(c)
}

// abort tells all members that nothing of theirs was written.
func (db *DB) abort(c *conn, err error) {
	g := c.group
	c.group = nil
	g.err = fmt.Errorf("commit: %w", err)
	close(g.done)
	db.writer.rollback(c)
}

// forget has objects that were put know their revisions of before.
func (tx *WriteTx) forget() {
	for _, undo := range slices.Backward(tx.undo) {
		undo()
	}
}
