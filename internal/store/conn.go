package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// conn is one SQLite connection with its prepared statements. One goroutine has it at a time.
//
// Statements run without the caller's context: interrupting one rolls the whole transaction back behind our back,
// and each is short. The context is obeyed while waiting for a connection and before the commit.
type conn struct {
	c     *sql.Conn
	stmts map[string]*sql.Stmt
}

func (c *conn) stmt(query string) (*sql.Stmt, error) {
	if s := c.stmts[query]; s != nil {
		return s, nil
	}
	s, err := c.c.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, explain(err)
	}
	c.stmts[query] = s
	return s, nil
}

// exec returns how many rows changed.
func (c *conn) exec(query string, args ...any) (int64, error) {
	s, err := c.stmt(query)
	if err != nil {
		return 0, err
	}
	r, err := s.Exec(args...)
	if err != nil {
		return 0, explain(err)
	}
	return r.RowsAffected()
}

// row scans one row. No row is sql.ErrNoRows.
func (c *conn) row(query string, args, dest []any) error {
	s, err := c.stmt(query)
	if err != nil {
		return err
	}
	return explain(s.QueryRow(args...).Scan(dest...))
}

// rows calls scan for each row, and is done with the statement when it returns.
func (c *conn) rows(query string, args []any, scan func(*sql.Rows) error) error {
	s, err := c.stmt(query)
	if err != nil {
		return err
	}
	r, err := s.Query(args...)
	if err != nil {
		return explain(err)
	}
	defer r.Close()
	for r.Next() {
		if err := scan(r); err != nil {
			return err
		}
	}
	return explain(r.Err())
}

func (c *conn) close() error {
	return errors.Join(c.closeStmts(), c.c.Close())
}

// discard closes the connection for good, where close gives it back to database/sql. Statements go first: to finalize
// one of a connection that is gone is a use after free, which the driver answers with a nil dereference.
func (c *conn) discard() {
	c.closeStmts()
	c.c.Raw(func(any) error { return driver.ErrBadConn })
}

func (c *conn) closeStmts() error {
	var err error
	for _, s := range c.stmts {
		err = errors.Join(err, s.Close())
	}
	c.stmts = nil
	return err
}

// pool hands out its connections one at a time, in the order of asking.
type pool struct {
	db      *sql.DB
	free    chan *conn // nil: one that could not be opened again; get tries
	closing <-chan struct{}
}

func newPool(db *sql.DB, n int, closing <-chan struct{}) (*pool, error) {
	p := &pool{db: db, free: make(chan *conn, n), closing: closing}
	for range n {
		c, err := p.open()
		if err != nil {
			return nil, err
		}
		p.free <- c
	}
	return p, nil
}

func (p *pool) open() (*conn, error) {
	c, err := p.db.Conn(context.Background())
	if err != nil {
		return nil, explain(err)
	}
	return &conn{c: c, stmts: map[string]*sql.Stmt{}}, nil
}

func (p *pool) get(ctx context.Context) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	select {
	case <-p.closing:
		return nil, ErrClosed
	default:
	}
	select {
	case c := <-p.free:
		if c != nil {
			return c, nil
		}
		c, err := p.open()
		if err != nil {
			p.free <- nil
			return nil, err
		}
		return c, nil
	case <-p.closing:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (p *pool) put(c *conn) { p.free <- c }

// rollback ends the transaction of c and gives c back. Where that fails (after some errors SQLite has rolled back by
// itself, after others the connection is unusable) the connection is replaced.
func (p *pool) rollback(c *conn) {
	if _, err := c.exec("ROLLBACK"); err == nil {
		p.put(c)
		return
	}
	c.discard()
	p.put(nil)
}

// close waits for every connection to come back.
func (p *pool) close() error {
	var err error
	for range cap(p.free) {
		if c := <-p.free; c != nil {
			err = errors.Join(err, c.close())
		}
	}
	return err
}

// explain adds what the caller can act on to SQLite's error.
func explain(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w: %w", ErrFull, err)
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w (the file is damaged: restore a backup)", err)
	}
	return err
}
