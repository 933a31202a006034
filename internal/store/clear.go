package store

import (
	"context"
	"database/sql"
)

// Clear deletes all records in one transaction, each with its change.
func (db *DB) Clear(ctx context.Context) error {
	return db.Update(ctx, func(tx *WriteTx) error {
		type id struct{ kind, key string }
		var all []id
		err := tx.rows("SELECT kind, key FROM record ORDER BY kind, key", nil, func(r *sql.Rows) error {
			var i id
			err := r.Scan(&i.kind, &i.key)
			all = append(all, i)
			return err
		})
		if err != nil {
			return err
		}
		for _, i := range all {
			if _, err := tx.next(i.kind, i.key); err != nil {
				return err
			}
		}
		_, err = tx.exec("DELETE FROM record")
		return err
	})
}
