package mysql

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"rowhook/capture"
)

// Tables describes the tables that the patterns name ("schema.table", with * in either
// part), as the catalog has them now and as the stream would. What a pattern does not find is
// [Source.Check]'s matter.
func (s *Source) Tables(ctx context.Context, patterns []string) ([]*capture.Table, error) {
	_, db, err := s.reach(ctx)
	if err != nil {
		return nil, err
	}
	found, err := inspect(ctx, db, patterns)
	if err != nil {
		return nil, err
	}
	return found.described(), nil
}

// described are the tables that can be streamed.
func (in *inspection) described() []*capture.Table {
	var tables []*capture.Table
	for _, f := range in.tables {
		if f.streamed() == "" {
			tables = append(tables, f.table)
		}
	}
	return tables
}

// lookup describes one table; nil when it does not exist.
func (s *Source) lookup(ctx context.Context, h host, table string) (*capture.Table, error) {
	db, err := s.pool(h)
	if err != nil {
		return nil, err
	}
	found, err := inspect(ctx, db, []string{table})
	if err != nil || len(found.tables) != 1 {
		return nil, err
	}
	return found.tables[0].table, nil
}

// inspection is what the catalog says about the mapped tables.
type inspection struct {
	variables map[string]string
	mariaDB   bool
	version   int
	tables    []*tableFacts
	missing   []string       // patterns that match no table
	sizes     map[string]int // how many tables a MariaDB's databases have, where that was asked
	who       string         // our account, as SQL wants it; empty where nobody asked
}

// tableFacts is one table or view that a pattern names.
type tableFacts struct {
	table    *capture.Table
	kind     string // information_schema.tables.table_type
	engine   string
	cascades []string // constraints by which another table's changes change this one
	// numbered says that versions of rows are told by numbers of transactions.
	numbered bool
	// languages are the key's columns whose collation is of a language, with its name.
	languages []string
	// definition is the table's as SHOW CREATE TABLE has it. It is empty where there is none to see,
	// and on MySQL, whose catalog says the rest.
	definition string
}

// streamed says why the table's changes are never in the stream; empty when they can be.
func (f *tableFacts) streamed() string {
	switch {
	case strings.Contains(f.kind, "VIEW"):
		return "is a view"
	case f.kind == "SEQUENCE":
		return "is a sequence"
	}
	return ""
}

// sql is the table's name as SQL wants it.
func (f *tableFacts) sql() string {
	return quoteIdent(f.table.Schema) + "." + quoteIdent(f.table.Name)
}

// tablesSQL reads the tables that a pattern names: by names, for which the servers need not look
// through all there are, or by likenesses.
const (
	tablesSQL = `SELECT table_schema, table_name, table_type, COALESCE(engine, '') FROM information_schema.tables
WHERE table_schema NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema') AND `
	tablesOrder = ` ORDER BY 1, 2`
	namedTables = `table_schema = %s AND table_name IN (%s)`
	likeTables  = `table_schema LIKE ? AND table_name LIKE ?`
)

// inspect asks the catalog about the patterns' tables.
func inspect(ctx context.Context, db *sql.DB, patterns []string) (*inspection, error) {
	in := &inspection{}
	var err error
	if in.variables, err = variables(ctx, db); err != nil {
		return nil, fmt.Errorf("read the server's settings: %w", err)
	}
	in.version, in.mariaDB = parseVersion(in.variables["version"])
	patterns = slices.Compact(slices.Sorted(slices.Values(patterns)))
	named, err := in.findNamed(ctx, db, patterns)
	if err != nil {
		return nil, fmt.Errorf("look for tables: %w", err)
	}
	seen := map[string]bool{}
	for _, pattern := range patterns {
		found := named[pattern]
		if found == nil {
			if found, err = findTables(ctx, db, pattern); err != nil {
				return nil, fmt.Errorf("look for %s: %w", pattern, err)
			}
		}
		if strings.Contains(pattern, "*") { // which takes only what can be streamed
			found = slices.DeleteFunc(found, func(f *tableFacts) bool { return f.streamed() != "" })
		}
		if len(found) == 0 {
			in.missing = append(in.missing, pattern)
		}
		for _, f := range found {
			if seen[f.table.String()] {
				continue
			}
			seen[f.table.String()] = true
			in.tables = append(in.tables, f)
		}
	}
	if err := in.describe(ctx, db); err != nil {
		return nil, fmt.Errorf("describe tables: %w", err)
	}
	return in, nil
}

// describe adds what the catalog says of the tables that were found.
func (in *inspection) describe(ctx context.Context, db *sql.DB) error {
	columns, err := in.readColumns(ctx, db)
	if err != nil {
		return err
	}
	indexes, err := in.readKeys(ctx, db, columns)
	if err != nil {
		return err
	}
	if err := in.readRest(ctx, db); err != nil {
		return err
	}
	for _, f := range in.tables {
		in.fill(f, columns[f.table.String()], indexes[f.table.String()])
	}
	return nil
}

const (
	// namedAtOnce is how many tables MySQL is asked about in one question.
	namedAtOnce = 500
	// openedAtOnce is how many tables MariaDB is asked about by themselves in one question: the costs of
	// a UNION grow faster than its parts. From so large a part of a database's tables on it is asked
	// about the whole, which takes a fraction of the time for each.
	openedAtOnce = 50
	openedPart   = 8
)

// questions ask about tables, by database. The query has places for the database and for names. MySQL
// finds tables by a list of their names. MariaDB, which keeps no catalog of its own, opens what a
// SELECT names where that is one table, and else every table of the database.
func (in *inspection) questions(ctx context.Context, db *sql.DB, query, order string, names map[string][]string) (all []string, err error) {
	for _, schema := range slices.Sorted(maps.Keys(names)) {
		of, most, whole := names[schema], namedAtOnce, !in.mariaDB
		if in.mariaDB {
			most = openedAtOnce
			if len(of) > openedAtOnce {
				if whole, err = in.mostOf(ctx, db, schema, len(of)); err != nil {
					return nil, err
				}
			}
			if whole {
				most = len(of)
			}
		}
		for some := range slices.Chunk(of, most) {
			var list []string
			for _, name := range some {
				list = append(list, asText(name))
			}
			if whole {
				list = []string{strings.Join(list, ", ")}
			}
			for i, names := range list {
				list[i] = fmt.Sprintf(query, asText(schema), names)
			}
			all = append(all, strings.Join(list, " UNION ALL ")+order)
		}
	}
	return all, nil
}

// mostOf reports whether so many tables are a large part of a MariaDB's database, which counts them
// without opening any.
func (in *inspection) mostOf(ctx context.Context, db *sql.DB, schema string, tables int) (bool, error) {
	size, known := in.sizes[schema]
	if !known {
		if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = "+asText(schema)).Scan(&size); err != nil {
			return false, err
		}
		if in.sizes == nil {
			in.sizes = map[string]int{}
		}
		in.sizes[schema] = size
	}
	return tables >= size/openedPart, nil
}

// byDatabase are the names of the tables that have been found.
func (in *inspection) byDatabase() map[string][]string {
	names := map[string][]string{}
	for _, f := range in.tables {
		names[f.table.Schema] = append(names[f.table.Schema], f.table.Name)
	}
	return names
}

// asText writes a text as SQL, whatever the session takes backslashes and quotes for.
func asText(s string) string { return "_utf8mb4 X'" + hex.EncodeToString([]byte(s)) + "'" }

// findNamed finds the tables and views that exact patterns name, by these. Others may be there under
// names that the server takes for the same.
func (in *inspection) findNamed(ctx context.Context, db *sql.DB, patterns []string) (map[string][]*tableFacts, error) {
	names := map[string][]string{}
	for _, pattern := range patterns {
		if schema, name, ok := capture.ParseTable(pattern); ok && !strings.Contains(pattern, "*") {
			names[schema] = append(names[schema], name)
		}
	}
	named := map[string][]*tableFacts{}
	questions, err := in.questions(ctx, db, tablesSQL+namedTables, tablesOrder, names)
	if err != nil {
		return nil, err
	}
	for _, question := range questions {
		found, err := readTables(ctx, db, question)
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			named[f.table.String()] = append(named[f.table.String()], f)
		}
	}
	return named, nil
}

// columnRow is a column as the catalog has it.
type columnRow struct{ name, dataType, columnType, extra, key, collation string }

// readColumns reads the columns of all tables, by their names.
func (in *inspection) readColumns(ctx context.Context, db *sql.DB) (map[string][]columnRow, error) {
	questions, err := in.questions(ctx, db, allColumnsSQL+namedTables, allColumnsOrder, in.byDatabase())
	if err != nil {
		return nil, err
	}
	columns := make(map[string][]columnRow, len(in.tables))
	err = eachRow(ctx, db, questions, func(rows *sql.Rows) error {
		var of capture.Table
		var place int
		var c columnRow
		err := rows.Scan(&of.Schema, &of.Name, &place, &c.name, &c.dataType, &c.columnType, &c.extra, &c.key, &c.collation)
		columns[of.String()] = append(columns[of.String()], c)
		return err
	})
	return columns, err
}

// eachRow asks questions one after the other, and hands out each row of the answers.
func eachRow(ctx context.Context, db *sql.DB, questions []string, take func(*sql.Rows) error) error {
	for _, question := range questions {
		if err := askRows(ctx, db, question, take); err != nil {
			return err
		}
	}
	return nil
}

func askRows(ctx context.Context, db *sql.DB, question string, take func(*sql.Rows) error) error {
	rows, err := db.QueryContext(ctx, question)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := take(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// findTables returns the tables and views that one pattern names.
func findTables(ctx context.Context, db *sql.DB, pattern string) ([]*tableFacts, error) {
	schema, name, ok := capture.ParseTable(pattern)
	if !ok {
		return nil, nil
	}
	return readTables(ctx, db, tablesSQL+likeTables+tablesOrder, capture.LikePattern(schema), capture.LikePattern(name))
}

func readTables(ctx context.Context, db *sql.DB, question string, args ...any) ([]*tableFacts, error) {
	rows, err := db.QueryContext(ctx, question, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found []*tableFacts
	for rows.Next() {
		f := &tableFacts{table: &capture.Table{Identity: capture.IdentityFull}}
		if err := rows.Scan(&f.table.Schema, &f.table.Name, &f.kind, &f.engine); err != nil {
			return nil, err
		}
		found = append(found, f)
	}
	return found, rows.Err()
}

const (
	allColumnsSQL = `SELECT table_schema, table_name, ordinal_position, column_name, data_type, column_type, extra, column_key, COALESCE(collation_name, '')
FROM information_schema.columns WHERE `
	allColumnsOrder = ` ORDER BY 1, 2, 3`
)

const columnsSQL = `SELECT column_name, data_type, column_type, extra, column_key FROM information_schema.columns
WHERE table_schema = ? AND table_name = ? ORDER BY ordinal_position`

// ofLanguage reports whether a collation has rules of a language, by its name: what is none of the
// other words is a language's. Behind the charset stand which of the general rules it has, and what
// it tells apart.
func ofLanguage(collation string) bool {
	_, rules, _ := strings.Cut(collation, "_")
	for word := range strings.SplitSeq(rules, "_") {
		switch word {
		case "", "bin", "general", "unicode", "mysql500", "520", "0900", "uca1400", "nopad", "ai", "as", "ci", "cs":
		default:
			return true
		}
	}
	return false
}

// generated tells by the catalog's column extra whether a column is computed. MySQL's
// DEFAULT_GENERATED is not one.
func generated(extra string) bool {
	return strings.Contains(extra, "VIRTUAL GENERATED") || strings.Contains(extra, "STORED GENERATED")
}

// omitsGenerated reports whether a version of MariaDB logs generated columns for inserts only,
// whatever the row image. Those before log them with each image that has them.
func omitsGenerated(version int) bool { return version >= 110800 }

// omittedRemedy is what helps where a generated column is needed that the server does not log.
const omittedRemedy = "MariaDB 11.8 logs generated columns for inserts only, with every binlog_row_image: " +
	"use the columns that it is computed from, or make it an ordinary column that the application fills"

// fill adds columns and key to what is known of a table.
func (in *inspection) fill(f *tableFacts, columns []columnRow, indexes []uniqueIndex) {
	for _, c := range columns {
		if in.mariaDB && newCatalogColumn(c.name, c.dataType, c.columnType).isJSON(f.definition) {
			c.dataType = "json"
		}
		column := capture.Column{Name: c.name, Type: catalogType(c.dataType, c.columnType), Identity: true}
		if in.mariaDB && omitsGenerated(in.version) && generated(c.extra) {
			column.Omitted = omittedRemedy
		}
		f.table.Columns = append(f.table.Columns, column)
	}
	end := endOf(f.definition)
	if i := f.table.Column(end); i >= 0 {
		f.numbered = f.table.Columns[i].Type.Kind == capture.Bigint
	}
	for _, name := range keyOf(primaryOf(columns), indexes) {
		// The end of a version is in the server's key, and may be hidden from the columns.
		if i := f.table.Column(name); i >= 0 && name != end {
			f.table.Key = append(f.table.Key, i)
			if collation := columns[i].collation; ofLanguage(collation) {
				f.languages = append(f.languages, name+" ("+collation+")")
			}
		}
	}
	if len(f.cascades) > 0 && in.hidesCascades() {
		f.table.Silent = "foreign keys that cascade change it below the binlog: " + strings.Join(f.cascades, ", ")
	}
	if f.streamed() == "" {
		f.table.Unread, f.table.UnreadRemedy = in.unread(f)
	}
	if image := in.variables["binlog_row_image"]; image != "FULL" && image != "FULL_NODUP" {
		in.reduceIdentity(f.table)
	}
}

// unread says why a table cannot be read beside the stream, and what to do.
func (in *inspection) unread(f *tableFacts) (why, remedy string) {
	if !in.mariaDB && in.variables["gtid_mode"] != "ON" {
		return errNoGTIDs.Error(), gtidRemedy
	}
	if why := readable(f); why != nil {
		return why.Err.Error(), why.Remedy
	}
	return "", ""
}

// reduceIdentity leaves what a partial row image tells of old rows: the primary key.
func (in *inspection) reduceIdentity(t *capture.Table) {
	t.Identity, t.WholeRows = capture.IdentityDefault, in.set("binlog_row_image", "FULL")
	for i := range t.Columns {
		blob := t.Columns[i].Type.Kind == capture.Bytes || strings.Contains(t.Columns[i].Type.Name, "text")
		noblob := in.variables["binlog_row_image"] == "NOBLOB" && !blob
		t.Columns[i].Identity = noblob || slices.Contains(t.Key, i) || len(t.Key) == 0
	}
}

func texts(ctx context.Context, db *sql.DB, query string, args ...any) ([]string, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		list = append(list, text)
	}
	return list, rows.Err()
}

// catalogType is a column's type as the catalog names it; the stream makes the same of a table map.
func catalogType(dataType, columnType string) *capture.Type {
	dataType = strings.ToLower(dataType)
	switch dataType {
	case "tinyint", "smallint", "mediumint", "int", "bigint":
		kind := capture.Integer
		if dataType == "bigint" {
			kind = capture.Bigint
		}
		if strings.Contains(columnType, "unsigned") {
			dataType += " unsigned"
		}
		return &capture.Type{Name: dataType, Base: dataType, Kind: kind, AppendJSON: verbatim(capture.IsInteger)}
	case "float", "double":
		return floatType(dataType)
	case "decimal":
		return stringType(dataType, capture.Decimal)
	case "bit":
		return stringType(dataType, capture.Text)
	case "uuid":
		return uuidType()
	case "enum":
		typ := *enumType()
		typ.Labels = labelsOf(columnType)
		return &typ
	case "set":
		typ := *setType()
		typ.Labels = labelsOf(columnType)
		return &typ
	case "json":
		return jsonType()
	case "vector":
		return vectorType()
	case "year":
		return yearType()
	case "date":
		return stringType(dataType, capture.Date)
	case "time":
		return stringType(dataType, capture.Time)
	case "inet4", "inet6":
		return stringType(dataType, capture.Other)
	case "datetime":
		return datetimeType()
	case "timestamp":
		return timestampType()
	case "binary", "varbinary":
		return bytesType(dataType)
	case "blob", "tinyblob", "mediumblob", "longblob":
		return bytesType("blob")
	case "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection", "geomcollection":
		return geometryType()
	}
	if strings.HasSuffix(dataType, "text") {
		dataType = "text"
	}
	return textType(dataType)
}

// labelsOf reads the labels from a type such as enum('new','won”t'). The catalog doubles quotes.
func labelsOf(columnType string) []string {
	_, rest, ok := strings.Cut(columnType, "(")
	if !ok || !strings.HasPrefix(rest, "'") {
		return nil
	}
	var labels []string
	var label strings.Builder
	for rest = rest[1:]; rest != ""; {
		text, after, _ := strings.Cut(rest, "'")
		label.WriteString(text)
		switch {
		case strings.HasPrefix(after, "'"): // a quote of the label's own
			label.WriteByte('\'')
			rest = after[1:]
		case strings.HasPrefix(after, ",'"):
			labels = append(labels, label.String())
			label.Reset()
			rest = after[2:]
		default:
			return append(labels, label.String())
		}
	}
	return nil
}
