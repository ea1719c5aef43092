package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"rowhook/capture"
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
		var version string
		if err := db.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version); err != nil {
			return nil, fmt.Errorf("ask for the server's version: %w", err)
		}
		known = &charsets{names: names}
		known.version, _ = parseVersion(version)
	}
	more := charsets{names: known.names, version: known.version, decoders: maps.Clone(known.decoders)}
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

// moment is when a table map's rows were written.
type moment struct {
	at uint32 // in seconds since 1970
	// unchanged looks whether a table's definition has changed since; nil cannot tell. until is
	// when it was changed last, zero where that is not known.
	unchanged func(ctx context.Context, table *rawTableMap, until time.Time) (bool, error)
}

// question is what is asked about a table.
type question struct {
	wanted bool   // its changes are asked for
	at     uint32 // when its rows were written, in seconds since 1970
	// partial says that rows after updates lack columns: the catalog is to tell which of them are
	// computed, and so may have changed.
	partial bool
}

// describe makes a table of a table map's body. A table that nobody asked for is described only as
// far as it takes to count its rows. Facts are those that a parked table map came with.
func (s *Source) describe(ctx context.Context, h host, flavour byte, f *facts, body []byte, when moment, q question) (*tableMap, error) {
	if !q.wanted {
		return newTableMap(flavour, body, &charsets{}, nil)
	}
	m, err := parseTableMap(body)
	if err != nil {
		return nil, err
	}
	db, err := s.pool(h)
	if err != nil {
		return nil, err
	}
	known, err := s.charsetsOf(ctx, h, db, m.collations())
	if err != nil {
		return nil, err
	}
	m.vectors = hasVectors(known.version)
	entries, err := m.entries(flavour)
	open := m.open(flavour, entries) || q.partial && flavour == flavourMariaDB
	if err == nil && open && (f == nil || !f.Told) {
		if f != nil {
			when.at = f.At
		}
		if f, err = askFacts(ctx, db, &m, entries, when); err != nil {
			return nil, err
		}
	}
	return newTableMap(flavour, body, known, f)
}

// askFacts asks the catalog about a table whose map leaves something open.
func askFacts(ctx context.Context, db *sql.DB, m *rawTableMap, entries []entry, when moment) (*facts, error) {
	untold := &facts{At: when.at}
	c, err := readCatalogTable(ctx, db, string(m.schema), string(m.name))
	if err != nil {
		return nil, fmt.Errorf("look for the types of %s.%s: %w", m.schema, m.name, err)
	}
	told, ok := m.factsOf(c, entries)
	if !ok {
		return untold, nil
	}
	if !c.changed.IsZero() && c.changed.Add(clockMargin).Unix() < int64(when.at) {
		return &told, nil
	}
	if when.unchanged == nil {
		return untold, nil
	}
	if ok, err = when.unchanged(ctx, m, c.changed); err != nil || !ok {
		return untold, err
	}
	return &told, nil
}

// collations lists those of the table's columns; other numbers may be among them.
func (m *rawTableMap) collations() []uint64 {
	var list []uint64
	for _, kind := range []byte{metaDefaultCharset, metaColumnCharset, metaEnumSetDefaultCharset, metaEnumSetColumnCharset} {
		list = append(list, packedList(m.meta[kind])...)
	}
	return list
}

// mariaTableSQL tells when a table's definition was changed last. Only InnoDB stamps every change
// of it, renaming included.
const mariaTableSQL = `SET STATEMENT time_zone = '+00:00' FOR SELECT table_type, COALESCE(IF(engine = 'InnoDB', UNIX_TIMESTAMP(create_time), 0), 0)
FROM information_schema.tables WHERE table_schema = ? AND table_name = ?`

// readCatalogTable asks MariaDB for a table. It is empty for one that is not there, or not ours to
// see.
func readCatalogTable(ctx context.Context, db *sql.DB, schema, table string) (*catalogTable, error) {
	c := &catalogTable{}
	var changed int64
	err := db.QueryRowContext(ctx, mariaTableSQL, schema, table).Scan(&c.kind, &changed)
	if errors.Is(err, sql.ErrNoRows) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	if changed > 0 {
		c.changed = time.Unix(changed, 0)
	}
	rows, err := db.QueryContext(ctx, columnsSQL, schema, table)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name, dataType, columnType, extra, key string
		if err := rows.Scan(&name, &dataType, &columnType, &extra, &key); err != nil {
			return nil, err
		}
		column := newCatalogColumn(name, dataType, columnType)
		column.generated = generated(extra)
		c.columns = append(c.columns, column)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if c.definition, err = readDefinition(ctx, db, schema, table); err != nil {
		return nil, err
	}
	for i := range c.columns {
		if column := &c.columns[i]; column.isJSON(c.definition) {
			column.typ = "json"
		}
	}
	return c, nil
}

// readDefinition returns a table's definition as the server writes it, which shows to those who may
// read the table what MariaDB's information_schema hides from them. It is empty where there is none
// to see.
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

// readRest reads what stands in the tables' definitions only, and by which foreign keys they cascade.
func (in *inspection) readRest(ctx context.Context, db *sql.DB) error {
	if !in.mariaDB {
		return in.readCascades(ctx, db)
	}
	of := map[string][]*tableFacts{}
	for _, f := range in.tables {
		if f.streamed() == "" { // a view has none
			of[f.table.Schema] = append(of[f.table.Schema], f)
		}
	}
	for schema, tables := range of {
		for some := range slices.Chunk(tables, definedAtOnce) {
			definitions, err := readDefinitions(ctx, db, schema, some)
			if err != nil {
				return err
			}
			for _, f := range some {
				definition, told := definitions[f.table.Name]
				if !told {
					if definition, err = readDefinition(ctx, db, schema, f.table.Name); err != nil {
						return err
					}
				}
				f.definition, f.cascades = definition, cascadesOf(definition)
			}
		}
	}
	return nil
}

// definedAtOnce is how many definitions are asked for in one statement.
const definedAtOnce = 100

// readDefinitions returns the definitions of a MariaDB's tables, by their names, as far as they come in
// one statement: those that are gone, or not ours to see, are left out.
func readDefinitions(ctx context.Context, db *sql.DB, schema string, tables []*tableFacts) (map[string]string, error) {
	var statement strings.Builder
	statement.WriteString("BEGIN NOT ATOMIC DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END; ")
	for _, f := range tables {
		statement.WriteString("SHOW CREATE TABLE " + f.sql() + "; ")
	}
	statement.WriteString("END")
	rows, err := db.QueryContext(ctx, statement.String())
	if refused := (*driver.MySQLError)(nil); errors.As(err, &refused) {
		return nil, nil // each is asked for by itself
	}
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	definitions := make(map[string]string, len(tables))
	for more := true; more; more = rows.NextResultSet() {
		columns, err := rows.Columns()
		if err != nil || len(columns) != 2 {
			continue
		}
		for rows.Next() {
			var name, definition string
			if err := rows.Scan(&name, &definition); err != nil {
				return nil, err
			}
			definitions[name] = definition
		}
	}
	return definitions, rows.Err()
}

// cascadesSQL reads the foreign keys by which another table's changes change one.
const cascadesSQL = `SELECT constraint_schema, table_name, constraint_name FROM information_schema.referential_constraints
WHERE (update_rule IN ('CASCADE', 'SET NULL') OR delete_rule IN ('CASCADE', 'SET NULL')) AND constraint_schema = %s AND table_name IN (%s)`

// readCascades asks MySQL's catalog by which foreign keys the tables cascade.
func (in *inspection) readCascades(ctx context.Context, db *sql.DB) error {
	if !in.hidesCascades() { // they are changes like others
		return nil
	}
	questions, err := in.questions(ctx, db, cascadesSQL, tablesOrder+", 3", in.byDatabase())
	if err != nil {
		return err
	}
	cascades := map[string][]string{}
	if err := eachRow(ctx, db, questions, func(rows *sql.Rows) error {
		var of capture.Table
		var name string
		err := rows.Scan(&of.Schema, &of.Name, &name)
		cascades[of.String()] = append(cascades[of.String()], name)
		return err
	}); err != nil {
		return err
	}
	for _, f := range in.tables {
		f.cascades = cascades[f.table.String()]
	}
	return nil
}

// cascadesOf finds the foreign keys in a table's definition by which another table's changes change
// this one. Each has a line of its own.
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
