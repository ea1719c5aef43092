package mysql

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"strings"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
)

// catalog is what a server says of itself that the binlog does not.
type catalog struct {
	charsets map[uint64]string // by collation id
}

// charsets returns the host's charsets by collation.
func (s *Source) charsets(ctx context.Context, h host, db *sql.DB) (map[uint64]string, error) {
	s.mu.Lock()
	known := s.catalog[h]
	s.mu.Unlock()
	if known != nil {
		return known.charsets, nil
	}
	c := &catalog{charsets: map[uint64]string{}}
	query := "SELECT id, character_set_name FROM information_schema.collations WHERE id IS NOT NULL AND character_set_name IS NOT NULL"
	if err := c.read(ctx, db, query); err != nil {
		return nil, fmt.Errorf("read the server's collations: %w", err)
	}
	// MariaDB has newer collations for several charsets at once, with their ids elsewhere; other
	// servers do not know the column.
	_ = c.read(ctx, db, "SELECT id, character_set_name FROM information_schema.collation_character_set_applicability WHERE id IS NOT NULL")
	s.mu.Lock()
	s.catalog[h] = c
	s.mu.Unlock()
	return c.charsets, nil
}

func (c *catalog) read(ctx context.Context, db *sql.DB, query string) error {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id uint64
		var name string
		if err := rows.Scan(&id, &name); err != nil {
			return err
		}
		c.charsets[id] = name
	}
	return rows.Err()
}

// describe makes a table of a table map's body.
func (s *Source) describe(ctx context.Context, h host, flavour byte, body []byte) (*tableMap, error) {
	db, err := s.pool(h)
	if err != nil {
		return nil, err
	}
	charsets, err := s.charsets(ctx, h, db)
	if err != nil {
		return nil, err
	}
	m, err := parseTableMap(body)
	if err != nil {
		return nil, err
	}
	var hinted hints
	if flavour == flavourMariaDB && m.ambiguous() {
		if hinted, err = readHints(ctx, db, string(m.schema), string(m.name)); err != nil {
			return nil, err
		}
	}
	return newTableMap(flavour, body, charsets, hinted)
}

// ambiguous reports whether a column may be of a type that lies in the binlog as another.
func (m *rawTableMap) ambiguous() bool {
	for i, t := range m.types {
		real, length := realType(t, m.metas[i])
		if real == gomysql.MYSQL_TYPE_STRING && (length == 16 || length == 4) || real == gomysql.MYSQL_TYPE_BLOB && m.metas[i] == 4 {
			return true
		}
	}
	return false
}

// readHints asks which of a table's columns are of types that MariaDB's binlog does not name. JSON is a
// LONGTEXT with a check that it is valid.
func readHints(ctx context.Context, db *sql.DB, schema, table string) (hints, error) {
	h := hints{}
	rows, err := db.QueryContext(ctx, `SELECT column_name, data_type FROM information_schema.columns
WHERE table_schema = ? AND table_name = ? AND data_type IN ('uuid', 'inet6', 'inet4')
UNION ALL
SELECT constraint_name, check_clause FROM information_schema.check_constraints
WHERE constraint_schema = ? AND table_name = ? AND check_clause LIKE 'json_valid(%'`, schema, table, schema, table)
	if err != nil {
		return nil, fmt.Errorf("look for the types of %s.%s: %w", schema, table, err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var what []byte
		if err := rows.Scan(&name, &what); err != nil {
			return nil, err
		}
		if column, ok := bytes.CutPrefix(what, []byte("json_valid(`")); ok {
			h[strings.TrimSuffix(string(column), "`)")] = "json"
			continue
		}
		h[name] = string(what)
	}
	return h, rows.Err()
}
