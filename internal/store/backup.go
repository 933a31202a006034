package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Backup writes a copy of the store as it is at one moment to path (mode 0600), while reading and writing go on. The
// copy is complete and on the disk when Backup returns nil; it is a store that Open opens. An existing path is an error.
func (db *DB) Backup(ctx context.Context, path string) error {
	if err := db.backup(ctx, path); err != nil {
		return fmt.Errorf("back up %s to %s: %w", db.path, path, err)
	}
	return nil
}

// Private

func (db *DB) backup(ctx context.Context, path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fs.ErrExist)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := db.vacuumInto(ctx, f.Name()); err != nil {
		return err
	}
	// VACUUM INTO itself does not sync: https://www.sqlite.org/lang_vacuum.html
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// vacuumInto takes a connection of the readers: it must not hold up the writer.
func (db *DB) vacuumInto(ctx context.Context, path string) error {
	c, err := db.readers.get(ctx)
	if err != nil {
		return err
	}
	defer db.readers.put(c)
	if _, err := c.c.ExecContext(ctx, "PRAGMA query_only = 0"); err != nil {
		return explain(err)
	}
	_, err = c.c.ExecContext(ctx, "VACUUM INTO ?", path)
	_, perr := c.c.ExecContext(context.WithoutCancel(ctx), "PRAGMA query_only = 1")
	return errors.Join(explain(err), explain(perr))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
