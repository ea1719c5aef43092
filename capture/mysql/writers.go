package mysql

import (
	"context"
	"fmt"

	"rowhook/capture"
)

const writersSQL = `SELECT grantee FROM information_schema.table_privileges WHERE privilege_type = 'INSERT' AND table_schema = ? AND table_name = ?
UNION SELECT grantee FROM information_schema.schema_privileges WHERE privilege_type = 'INSERT' AND ? LIKE table_schema
UNION SELECT grantee FROM information_schema.user_privileges WHERE privilege_type = 'INSERT' ORDER BY 1`

// Writers lists the accounts that may insert into a table. Only who may read the schema mysql sees
// those of others.
func (s *Source) Writers(ctx context.Context, table string) (names []string, complete bool, err error) {
	schema, name, _ := capture.ParseTable(table)
	_, db, err := s.reach(ctx)
	if err != nil {
		return nil, false, err
	}
	if _, err := texts(ctx, db, `SELECT user FROM mysql.user LIMIT 1`); err != nil {
		return nil, false, nil // our account is not meant to
	}
	if names, err = texts(ctx, db, writersSQL, schema, name, schema); err != nil {
		return nil, false, fmt.Errorf("ask who may write %s: %w", table, err)
	}
	return names, true, nil
}
