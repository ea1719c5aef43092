package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"strings"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	driver "github.com/go-sql-driver/mysql"
)

// charsetsOf returns the host's charsets, with decoders for those of the collations.
func (s *Source) charsetsOf(ctx context.Context, h host, db *sql.DB, collations []uint64) (*charsets, error) {
	s.mu.Lock()
	known := s.charsets[h]
	s.mu.Unlock()
	if known == nil {
		names, err := readCollations(ctx, db)
		if err != nil {
			return nil, err
		}
		known = &charsets{names: names}
	}
	more := charsets{names: known.names, decoders: maps.Clone(known.decoders)}
	for _, collation := range collations {
		name := known.names[collation]
		if name == "" {
			continue // a number that is no collation, or one that the server does not tell of
		}
		if _, known := more.decoderOf(name); known {
			continue
		}
		decode, err := readCharset(ctx, db, name)
		if err != nil {
			return nil, err
		}
		if decode != nil {
			if more.decoders == nil {
				more.decoders = map[string]decodeText{}
			}
			more.decoders[name] = decode
		}
	}
	s.mu.Lock()
	s.charsets[h] = &more
	s.mu.Unlock()
	return &more, nil
}

// readCollations reads which charset each collation is of.
func readCollations(ctx context.Context, db *sql.DB) (map[uint64]string, error) {
	names := map[uint64]string{}
	query := "SELECT id, character_set_name FROM information_schema.collations WHERE id IS NOT NULL AND character_set_name IS NOT NULL"
	if err := addCollations(ctx, db, query, names); err != nil {
		return nil, fmt.Errorf("read the server's collations: %w", err)
	}
	// MariaDB has newer collations for several charsets at once, with their ids elsewhere; other
	// servers do not know the column.
	_ = addCollations(ctx, db, "SELECT id, character_set_name FROM information_schema.collation_character_set_applicability WHERE id IS NOT NULL", names)
	return names, nil
}

func addCollations(ctx context.Context, db *sql.DB, query string, names map[uint64]string) error {
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
		names[id] = name
	}
	return rows.Err()
}

// describe makes a table of a table map's body. A table that nobody asked for is described only as far
// as it takes to count its rows.
func (s *Source) describe(ctx context.Context, h host, flavour byte, body []byte, wanted bool) (*tableMap, error) {
	m, err := parseTableMap(body)
	if err != nil {
		return nil, err
	}
	if !wanted {
		return newTableMap(flavour, body, &charsets{}, hints{})
	}
	db, err := s.pool(h)
	if err != nil {
		return nil, err
	}
	known, err := s.charsetsOf(ctx, h, db, m.collations())
	if err != nil {
		return nil, err
	}
	var hinted hints
	if flavour == flavourMariaDB && (m.ambiguous() || m.mayBeVersioned()) {
		if hinted, err = readHints(ctx, db, string(m.schema), string(m.name)); err != nil {
			return nil, err
		}
		hinted.versioning = m.versioningOf(hinted.definition)
	}
	return newTableMap(flavour, body, known, hinted)
}

// collations lists those of the table's columns; other numbers may be among them.
func (m *rawTableMap) collations() []uint64 {
	var list []uint64
	for _, kind := range []byte{metaDefaultCharset, metaColumnCharset, metaEnumSetDefaultCharset, metaEnumSetColumnCharset} {
		list = append(list, packedList(m.meta[kind])...)
	}
	return list
}

// ambiguous reports whether a column may be of a type that lies in the binlog as another.
func (m *rawTableMap) ambiguous() bool {
	for i := range m.types {
		if m.ambiguousAt(i) {
			return true
		}
	}
	return false
}

func (m *rawTableMap) ambiguousAt(i int) bool {
	real, length := realType(m.types[i], m.metas[i])
	return real == gomysql.MYSQL_TYPE_STRING && (length == 16 || length == 4) || real == gomysql.MYSQL_TYPE_BLOB && m.metas[i] == 4
}

// readHints asks for a table's definition and for the types of its columns, of which MariaDB's binlog does not name
// all. JSON is a LONGTEXT with a check that it is valid. It is empty for a table that is no longer there.
func readHints(ctx context.Context, db *sql.DB, schema, table string) (hints, error) {
	h := hints{types: map[string]string{}}
	rows, err := db.QueryContext(ctx, "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = ? AND table_name = ?", schema, table)
	if err != nil {
		return h, fmt.Errorf("look for the types of %s.%s: %w", schema, table, err)
	}
	defer rows.Close()
	for rows.Next() {
		var name, dataType string
		if err := rows.Scan(&name, &dataType); err != nil {
			return h, err
		}
		h.types[name] = dataType
	}
	if err := rows.Err(); err != nil {
		return h, err
	}
	if h.definition, err = readDefinition(ctx, db, schema, table); err != nil {
		return h, fmt.Errorf("look for the types of %s.%s: %w", schema, table, err)
	}
	for name, dataType := range h.types {
		if dataType == "longtext" && strings.Contains(h.definition, "CHECK (json_valid("+quoteIdent(name)+"))") {
			h.types[name] = "json"
		}
	}
	return h, nil
}

// readDefinition returns a table's definition as the server writes it, which shows to those who may read the table
// what MariaDB's information_schema hides from them. It is empty where there is none to see.
func readDefinition(ctx context.Context, db *sql.DB, schema, table string) (string, error) {
	rows, err := db.QueryContext(ctx, "SHOW CREATE TABLE "+quoteIdent(schema)+"."+quoteIdent(table))
	var refused *driver.MySQLError
	if errors.As(err, &refused) { // the table is gone, or not ours to see
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil || len(columns) != 2 || !rows.Next() { // of a view there are more
		return "", errors.Join(err, rows.Err())
	}
	var name, definition string
	if err := rows.Scan(&name, &definition); err != nil {
		return "", err
	}
	return definition, rows.Err()
}

// cascadesOf finds the foreign keys in a table's definition by which another table's changes change this one. Each has a line of its own.
func cascadesOf(definition string) []string {
	var names []string
	for line := range strings.SplitSeq(definition, "\n") {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "CONSTRAINT `")
		name, rest, ok2 := strings.Cut(rest, "` FOREIGN KEY ")
		if !ok || !ok2 {
			continue
		}
		if _, rules, ok := strings.Cut(rest, ") ON "); ok && (strings.Contains(rules, "CASCADE") || strings.Contains(rules, "SET NULL")) {
			names = append(names, strings.ReplaceAll(name, "``", "`"))
		}
	}
	return names
}
