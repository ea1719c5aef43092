package mysql

import (
	"context"
	"database/sql"
	"slices"

	"rowhook/capture"
)

// keysSQL reads the columns of unique indexes. Who has only SELECT on a table sees its indexes, but on
// MariaDB none of its constraints. An index over expressions has no columns there.
const (
	keysSQL = `SELECT table_schema, table_name, index_name <> 'PRIMARY', index_name, seq_in_index, column_name FROM information_schema.statistics
WHERE non_unique = 0 AND column_name IS NOT NULL AND `
	keysOrder = ` ORDER BY 1, 2, 3, 4, 5`
)

// uniqueIndex is one of a table's, with its columns in their order.
type uniqueIndex struct {
	name    string
	columns []string
}

// readKeys reads the unique indexes of the tables whose key has several columns, by the tables' names.
func (in *inspection) readKeys(ctx context.Context, db *sql.DB, columns map[string][]columnRow) (map[string][]uniqueIndex, error) {
	names := map[string][]string{}
	for _, f := range in.tables {
		if len(primaryOf(columns[f.table.String()])) > 1 {
			names[f.table.Schema] = append(names[f.table.Schema], f.table.Name)
		}
	}
	questions, err := in.questions(ctx, db, keysSQL+namedTables, keysOrder, names)
	if err != nil {
		return nil, err
	}
	indexes := map[string][]uniqueIndex{}
	err = eachRow(ctx, db, questions, func(rows *sql.Rows) error {
		var of capture.Table
		var secondary, place int
		var name, column string
		if err := rows.Scan(&of.Schema, &of.Name, &secondary, &name, &place, &column); err != nil {
			return err
		}
		list := indexes[of.String()]
		if len(list) == 0 || list[len(list)-1].name != name {
			list = append(list, uniqueIndex{name: name})
		}
		last := &list[len(list)-1]
		last.columns = append(last.columns, column)
		indexes[of.String()] = list
		return nil
	})
	return indexes, err
}

// primaryOf are the columns that the catalog calls PRI.
func primaryOf(columns []columnRow) (names []string) {
	for _, c := range columns {
		if c.key == "PRI" {
			names = append(names, c.name)
		}
	}
	return names
}

// keyOf returns the key's columns in their order. Where no primary key is declared, the servers take
// the first unique one whose columns are whole and never NULL for it. The stream then has it as the
// table's key as well, and a minimal row image tells rows by it.
func keyOf(primary []string, indexes []uniqueIndex) []string {
	if len(primary) < 2 { // there is no order to ask for
		return primary
	}
	sorted := slices.Sorted(slices.Values(primary))
	for _, index := range indexes {
		if slices.Equal(slices.Sorted(slices.Values(index.columns)), sorted) {
			return index.columns
		}
	}
	return primary
}
