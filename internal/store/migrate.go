package store

import (
	"context"
	"fmt"
)

const (
	pageSize      = 4096       // bytes; SQLite's default, which we keep
	applicationID = 0x4c6f7473 // "Lots", in the file's header: tells our files from other people's
)

// migrations bring the schema from version i to i+1 (PRAGMA user_version), each in a transaction of its own. Append
// only: what was released is never edited.
var migrations = [][]string{
	{
		// Values are text so that the sqlite3 shell can read them.
		`CREATE TABLE record (
			kind TEXT NOT NULL,
			key  TEXT NOT NULL,
			rev  INTEGER NOT NULL,
			val  TEXT NOT NULL,
			PRIMARY KEY (kind, key)
		) STRICT`,
		`CREATE TABLE change (
			rev  INTEGER PRIMARY KEY,
			kind TEXT NOT NULL,
			key  TEXT NOT NULL
		) STRICT`,
		`CREATE TABLE meta (
			name  TEXT PRIMARY KEY,
			value INTEGER NOT NULL
		) STRICT`,
		`INSERT INTO meta VALUES ('compacted', 0)`, // changes up to and with this revision are gone
		fmt.Sprintf(`PRAGMA application_id = %d`, applicationID),
	},
}

// migrate brings the file to the current schema, or refuses one that is not ours to change.
func (db *DB) migrate(ctx context.Context) error {
	c, err := db.writer.get(ctx)
	if err != nil {
		return err
	}
	defer func() { db.writer.put(c) }()
	var version, app, tables int
	for query, dest := range map[string]*int{
		"PRAGMA user_version": &version, "PRAGMA application_id": &app, "SELECT count(*) FROM sqlite_schema": &tables,
	} {
		if err := c.row(query, nil, []any{dest}); err != nil {
			return err
		}
	}
	if tables > 0 && app != applicationID {
		return fmt.Errorf("it is a SQLite file of another program (application id %#x): choose another file", app)
	}
	if version > len(migrations) {
		return fmt.Errorf("it has schema version %d and this Lotse knows up to %d: use the newer Lotse that wrote it, or restore a backup", version, len(migrations))
	}
	for ; version < len(migrations); version++ {
		if err := c.migrate(version); err != nil {
			return fmt.Errorf("migrate to schema version %d: %w", version+1, err)
		}
	}
	return nil
}

func (c *conn) migrate(version int) error {
	steps := append([]string{"BEGIN IMMEDIATE"}, migrations[version]...)
	steps = append(steps, fmt.Sprintf("PRAGMA user_version = %d", version+1), "COMMIT")
	for _, s := range steps {
		if _, err := c.exec(s); err != nil {
			c.exec("ROLLBACK")
			return err
		}
	}
	return nil
}
