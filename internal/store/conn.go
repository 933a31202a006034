package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"sync"

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
	group *group // the writers that commit together, while their transaction is open
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
	closing <-chan struct{}

	mu      sync.Mutex
	free    []*conn      // nil: one that could not be opened again; get tries
	waiting []chan *conn // who asked first is first; each has room for the one
	size    int
}

func newPool(db *sql.DB, n int, closing <-chan struct{}) (*pool, error) {
	p := &pool{db: db, closing: closing, size: n}
	for range n {
		c, err := p.open()
		if err != nil {
			return nil, err
		}
		p.put(c)
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

// get waits for a connection. One that was passed on is in the middle of a group; whoever gets it ends that.
func (p *pool) get(ctx context.Context) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	select {
	case <-p.closing:
		return nil, ErrClosed
	default:
	}
	c, err := p.wait(ctx, p.closing)
	if err != nil || c != nil {
		return c, err
	}
	if c, err = p.open(); err != nil {
		p.put(nil)
	}
	return c, err
}

// wait gives up when ctx is done or closing is closed; a connection that came at the same moment wins.
func (p *pool) wait(ctx context.Context, closing <-chan struct{}) (*conn, error) {
	p.mu.Lock()
	if n := len(p.free); n > 0 {
		c := p.free[n-1]
		p.free = p.free[:n-1]
		p.mu.Unlock()
		return c, nil
	}
	turn := make(chan *conn, 1)
	p.waiting = append(p.waiting, turn)
	p.mu.Unlock()
	var err error
	select {
	case c := <-turn:
		return c, nil
	case <-closing:
		err = ErrClosed
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case c := <-turn:
		return c, nil
	default:
		i := slices.Index(p.waiting, turn)
		p.waiting = slices.Delete(p.waiting, i, i+1)
		return nil, err
	}
}

// pass gives a connection to whoever waits longest. False: nobody waits, and the caller keeps it.
func (p *pool) pass(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.passLocked(c)
}

func (p *pool) passLocked(c *conn) bool {
	if len(p.waiting) == 0 {
		return false
	}
	p.waiting[0] <- c
	p.waiting = slices.Delete(p.waiting, 0, 1)
	return true
}

func (p *pool) put(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.passLocked(c) {
		p.free = append(p.free, c)
	}
}

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
	for range p.size {
		if c, _ := p.wait(context.Background(), nil); c != nil {
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
