// Package store keeps Lotse's records in one SQLite file.
//
// A record is a JSON value of a kind under a key ("000000000000/us-east-1/cluster/prod"), with a revision. Every
// write takes the next revision of the whole store and is also a row in the change table, written in the same
// transaction: whoever read the store at revision r and follows Changes from r misses nothing.
//
//	services := store.NewTable[Service]("service")
//	err := db.Update(ctx, func(tx *store.WriteTx) error {
//		o, err := services.Get(tx, key)
//		if err != nil {
//			return err // store.ErrNotFound: answer in AWS's words
//		}
//		o.Val.DesiredCount = 3
//		return services.Put(tx, &o) // store.ErrConflict if o is stale
//	})
//
// What Update acknowledged is on the disk (WAL, synchronous=FULL): it survives kill -9 and a power cut. One
// transaction writes at a time; readers see a snapshot and never wait for the writer. Update costs an fsync, so
// this is no place for log lines, samples or anything else that comes by the thousand per second: see segment.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite", in Go alone: no cgo, cross-compiles
)

var (
	// ErrNotFound: there is no record under that key.
	ErrNotFound = errors.New("record not found")
	// ErrConflict: the record is not at the revision the caller read. Read again and decide again.
	ErrConflict = errors.New("record changed meanwhile")
	// ErrCompacted: changes after that revision are gone. List everything, then follow from the revision of the list.
	ErrCompacted = errors.New("changes have been compacted")
	// ErrClosed: the store has been closed.
	ErrClosed = errors.New("store is closed")
	// ErrFull: no room for the write, on the disk or under Options.MaxBytes. Nothing of it was stored.
	ErrFull = fmt.Errorf("no room left for the state file: %w", syscall.ENOSPC)
	// ErrLocked: another process, or another DB of this one, has the file open.
	ErrLocked = errors.New("state file is in use")
)

// Rev numbers the writes of a store, from 1, without reuse. 0 is before the first.
type Rev int64

// Options of a store. The zero value is what a server uses.
type Options struct {
	Readers     int              // transactions that may read at once; 0 = 4
	KeepChanges int64            // revisions that Changes can look back at least; older ones are compacted as writing goes on; 0 = 100 000
	MaxBytes    int64            // the file's largest size, not counting the write-ahead log; 0 = what the disk has
	BusyTimeout time.Duration    // how long to wait for a lock of a foreign SQLite process; 0 = 5 s
	Now         func() time.Time // nil = time.Now
}

// DB is an open store. It may be used by many goroutines.
type DB struct {
	path string
	o    Options
	lock *os.File

	readDB, writeDB *sql.DB
	readers, writer *pool

	reads     atomic.Int64
	closing   chan struct{} // closed by Close, so that nobody waits on
	closeOnce sync.Once
	closeErr  error

	wake wakeup
}

// Reads is how many rows transactions have read since the store was opened: what an action costs, whatever the machine.
func (db *DB) Reads() int64 { return db.reads.Load() }

// Open opens the store in the file path, which it makes (mode 0600) or brings up to the current schema. Its
// directory must exist. A file that another process has open is ErrLocked; one written by a newer Lotse is an error.
func Open(path string, o Options) (*DB, error) {
	db, err := open(path, o.withDefaults())
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return db, nil
}

// Close waits for running transactions, then closes the file. Later calls get ErrClosed, running Changes end with it.
func (db *DB) Close() error {
	db.closeOnce.Do(func() {
		close(db.closing)
		// The writer last: the last connection copies the log into the file, which a query_only one may not.
		db.closeErr = errors.Join(db.readers.close(), db.readDB.Close(), db.writer.close(), db.writeDB.Close(), db.lock.Close())
	})
	return db.closeErr
}

// Private

func (o Options) withDefaults() Options {
	if o.Readers <= 0 {
		o.Readers = 4
	}
	if o.KeepChanges <= 0 {
		o.KeepChanges = 100_000
	}
	if o.BusyTimeout <= 0 {
		o.BusyTimeout = 5 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func open(path string, o Options) (_ *DB, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	db := &DB{path: path, o: o, closing: make(chan struct{})}
	db.wake.init()
	if db.lock, err = lockFile(path + ".lock"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			db.lock.Close()
		}
	}()
	// SQLite would make it 0644; the log and the index take the mode of the file. Nobody of this process may open
	// the file beside SQLite later: closing any descriptor of it drops SQLite's POSIX locks.
	if err := createPrivate(path); err != nil {
		return nil, err
	}
	if db.writeDB, err = sql.Open("sqlite", dsn(path, o, "journal_mode(WAL)")); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			db.writeDB.Close()
		}
	}()
	if db.writer, err = newPool(db.writeDB, 1, db.closing); err != nil {
		return nil, err
	}
	if err := db.migrate(context.Background()); err != nil {
		return nil, err
	}
	if db.readDB, err = sql.Open("sqlite", dsn(path, o, "query_only(1)")); err != nil {
		return nil, err
	}
	if db.readers, err = newPool(db.readDB, o.Readers, db.closing); err != nil {
		db.readDB.Close()
		return nil, err
	}
	return db, nil
}

func createPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// dsn has the pragmas, so that every connection has them.
func dsn(path string, o Options, pragmas ...string) string {
	pragmas = append(pragmas,
		"busy_timeout("+strconv.FormatInt(o.BusyTimeout.Milliseconds(), 10)+")",
		"synchronous(FULL)",
		"foreign_keys(1)",
		"trusted_schema(0)",
		"journal_size_limit(67108864)", // bytes of log kept after a checkpoint
	)
	if o.MaxBytes > 0 {
		pragmas = append(pragmas, "max_page_count("+strconv.FormatInt(max(1, o.MaxBytes/pageSize), 10)+")")
	}
	u := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{"_pragma": pragmas}.Encode()}
	return u.String()
}
