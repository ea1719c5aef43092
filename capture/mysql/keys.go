package mysql

import (
	"context"
	"database/sql"
	"slices"
)

// Who has only SELECT on a table sees its indexes, but on MariaDB none of its constraints. An index
// over expressions has no columns there.
const keysSQL = `SELECT index_name, column_name FROM information_schema.statistics
WHERE table_schema = ? AND table_name = ? AND non_unique = 0 AND column_name IS NOT NULL
ORDER BY index_name <> 'PRIMARY', index_name, seq_in_index`

// readKey returns the key's columns in their order. Primary are those that the catalog calls PRI:
// where no primary key is declared, the servers take the first unique one whose columns are whole
// and never NULL for it. The stream then has it as the table's key as well, and a minimal row image
// tells rows by it.
func readKey(ctx context.Context, db *sql.DB, schema, table string, primary []string) ([]string, error) {
	if len(primary) < 2 { // there is no order to ask for
		return primary, nil
	}
	rows, err := db.QueryContext(ctx, keysSQL, schema, table)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var names []string
	columns := map[string][]string{}
	for rows.Next() {
		var index, column string
		if err := rows.Scan(&index, &column); err != nil {
			return nil, err
		}
		if columns[index] == nil {
			names = append(names, index)
		}
		columns[index] = append(columns[index], column)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	sorted := slices.Sorted(slices.Values(primary))
	for _, name := range names {
		if slices.Equal(slices.Sorted(slices.Values(columns[name])), sorted) {
			return columns[name], nil
		}
	}
	return primary, nil
}
