package mysql

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"rowhook/capture"
)

// readPlan is how a table is read.
type readPlan struct {
	table   *capture.Table
	from    string
	selects []string // an expression for each column
	texts   []func(dst, v []byte) []byte
	print   string // its definition when it was described
	rows    int64
	limit   int
	mariaDB bool
}

// Describe implements [capture.Reader].
func (r *Reader) Describe(ctx context.Context, table string) (*capture.Readable, error) {
	plan, err := r.describe(ctx, table)
	if err != nil {
		r.Close() // which may have broken
		return nil, err
	}
	return &capture.Readable{Table: plan.table, Rows: plan.rows}, nil
}

// readColumn is what a column's values are made of besides its type.
type readColumn struct{ name, dataType, columnType, charset string }

func (r *Reader) describe(ctx context.Context, table string) (*readPlan, error) {
	conn, err := r.session(ctx)
	if err != nil {
		return nil, err
	}
	db, err := r.source.pool(r.host)
	if err != nil {
		return nil, err
	}
	in, err := inspect(ctx, db, []string{table})
	if err != nil {
		return nil, err
	}
	if len(in.tables) != 1 {
		return nil, &capture.OperatorError{Err: fmt.Errorf("table %s does not exist, or our account may not see it", table),
			Remedy: "`rowhook check` shows what the mapping and the database have in common"}
	}
	f := in.tables[0]
	if err := readable(f); err != nil {
		return nil, err
	}
	plan := &readPlan{table: f.table, from: f.sql(), limit: readFirst, mariaDB: r.server.MariaDB}
	columns, err := readColumns(ctx, db, f.table)
	if err != nil {
		return nil, fmt.Errorf("look at the columns of %s: %w", table, err)
	}
	charsets, err := r.charsets(ctx, db, columns)
	if err != nil {
		return nil, fmt.Errorf("look at the charsets of %s: %w", table, err)
	}
	for i := range f.table.Columns {
		expression, text := columnText(columns[f.table.Columns[i].Name], charsets, r.server.MariaDB, f.table.Columns[i].Type)
		plan.selects, plan.texts = append(plan.selects, expression), append(plan.texts, text)
	}
	if plan.print, err = readDefinitionOf(ctx, conn, f.sql()); err != nil {
		return nil, r.refused(err, f)
	}
	var rows sql.NullInt64
	err = conn.QueryRowContext(ctx, "SELECT table_rows FROM information_schema.tables WHERE table_schema = ? AND table_name = ?", f.table.Schema, f.table.Name).Scan(&rows)
	if err != nil {
		return nil, fmt.Errorf("look at table %s: %w", table, err)
	}
	if plan.rows = rows.Int64; !rows.Valid {
		plan.rows = -1
	}
	if was := r.plans[table]; was != nil {
		plan.limit = was.limit
		if was.print == plan.print {
			plan.table = was.table // the pointer is a key for caches
		}
	}
	r.plans[table] = plan
	return plan, nil
}

// readable says why a table cannot be read in chunks.
func readable(f *tableFacts) *capture.OperatorError {
	name := f.table.String()
	if why := f.streamed(); why != "" {
		return &capture.OperatorError{Err: fmt.Errorf("table %s %s", name, why), Remedy: "only what the stream can bring is read beside it"}
	}
	if !strings.EqualFold(f.engine, "InnoDB") {
		return &capture.OperatorError{Err: fmt.Errorf("table %s is stored by %s, which has no snapshots", name, f.engine),
			Remedy: fmt.Sprintf("ALTER TABLE %s ENGINE=InnoDB;", f.sql())}
	}
	if len(f.table.Key) == 0 {
		return &capture.OperatorError{Err: fmt.Errorf("table %s has no key: rows without one cannot be read in chunks, nor told apart in the stream", name),
			Remedy: fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (…);", f.sql())}
	}
	for _, i := range f.table.Key {
		switch c := f.table.Columns[i]; c.Type.Name {
		case "set", "float", "double", "geometry", "vector", "json":
			return &capture.OperatorError{Err: fmt.Errorf("column %s of the key of table %s is a %s, by whose order nothing is read", c.Name, name, c.Type.Name),
				Remedy: "give the table a key of numbers, texts or times"}
		}
	}
	return nil
}

// refused explains a missing right.
func (r *Reader) refused(err error, f *tableFacts) error {
	var answer *driver.MySQLError
	if errors.As(err, &answer) && (answer.Number == 1142 || answer.Number == 1143 || answer.Number == 1044) {
		return &capture.OperatorError{Err: fmt.Errorf("our account may not read table %s: %w", f.table, err),
			Remedy: fmt.Sprintf("GRANT SELECT ON %s TO %s;", f.sql(), account(r.source.address.user))}
	}
	return err
}

func readColumns(ctx context.Context, db *sql.DB, t *capture.Table) (map[string]readColumn, error) {
	rows, err := db.QueryContext(ctx, "SELECT column_name, data_type, column_type, COALESCE(character_set_name, '') FROM information_schema.columns WHERE table_schema = ? AND table_name = ?", t.Schema, t.Name)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns := map[string]readColumn{}
	for rows.Next() {
		var c readColumn
		if err := rows.Scan(&c.name, &c.dataType, &c.columnType, &c.charset); err != nil {
			return nil, err
		}
		c.dataType = strings.ToLower(c.dataType)
		columns[c.name] = c
	}
	return columns, rows.Err()
}

// charsets are those of a table's columns.
func (r *Reader) charsets(ctx context.Context, db *sql.DB, columns map[string]readColumn) (*charsets, error) {
	known, err := r.source.charsetsOf(ctx, r.host, db, nil)
	if err != nil {
		return nil, err
	}
	var collations []uint64
	for collation, charset := range known.names {
		for _, c := range columns {
			if c.charset == charset {
				collations = append(collations, collation)
			}
		}
	}
	return r.source.charsetsOf(ctx, r.host, db, collations)
}

// columnText returns the expression by which a column is read, and how what comes is written as the
// stream writes it; nil leaves it.
func columnText(c readColumn, charsets *charsets, mariaDB bool, t *capture.Type) (expression string, text func(dst, v []byte) []byte) {
	expression = quoteIdent(c.name)
	switch {
	case t.Name == "json" && !mariaDB:
		return expression, appendServerJSON
	case c.charset != "":
		decode, known := charsets.decoderOf(c.charset)
		if known && decode == nil {
			return expression, nil
		}
		return expression, func(dst, v []byte) []byte {
			from := len(dst)
			if known {
				if out, ok := decode(dst, v); ok {
					return out
				}
			}
			return append(append(dst[:from], misencoded), v...)
		}
	}
	switch c.dataType {
	case "tinyint", "smallint", "mediumint", "int", "bigint", "decimal":
		return expression, appendUnpadded
	case "float":
		return expression + " + 0e0", func(dst, v []byte) []byte { return appendParsedFloat(dst, v, 32) }
	case "double":
		return expression, func(dst, v []byte) []byte { return appendParsedFloat(dst, v, 64) }
	case "bit":
		column := column{whole: widthOf(c.columnType)}
		return expression, func(dst, v []byte) []byte {
			out, _ := appendBits(&column, dst, v) // which never fails
			return out
		}
	case "year":
		return expression, func(dst, v []byte) []byte { return append(dst, fmt.Sprintf("%04s", v)...) }
	case "timestamp":
		return expression, func(dst, v []byte) []byte {
			if dst = append(dst, v...); strings.HasPrefix(string(v), "0000-00-00") {
				return dst
			}
			return append(dst, "+00"...)
		}
	case "vector":
		return expression, func(dst, v []byte) []byte {
			out, _ := appendVector(nil, dst, v) // which never fails
			return out
		}
	}
	return expression, nil
}

// widthOf reads the number in a type such as bit(9).
func widthOf(columnType string) int {
	_, rest, _ := strings.Cut(columnType, "(")
	n, err := strconv.Atoi(strings.TrimSuffix(rest, ")"))
	if err != nil {
		return 1
	}
	return n
}

// appendUnpadded writes a number without the zeros of ZEROFILL.
func appendUnpadded(dst, v []byte) []byte {
	if len(v) > 0 && v[0] == '-' {
		dst, v = append(dst, '-'), v[1:]
	}
	for len(v) > 1 && v[0] == '0' && v[1] != '.' {
		v = v[1:]
	}
	return append(dst, v...)
}

func appendParsedFloat(dst, v []byte, bits int) []byte {
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil {
		return append(dst, v...)
	}
	return appendFloat(dst, f, bits)
}

// appendServerJSON writes MySQL's JSON as its binary form is written: an exponent has its sign.
func appendServerJSON(dst, v []byte) []byte {
	quoted := false
	for i, c := range v {
		dst = append(dst, c)
		switch {
		case quoted && c == '\\':
			continue
		case c == '"' && !escaped(v[:i]):
			quoted = !quoted
		case !quoted && c == 'e' && i > 0 && isDigit(v[i-1]) && i+1 < len(v) && isDigit(v[i+1]):
			dst = append(dst, '+')
		}
	}
	return dst
}

// escaped reports whether what follows a text in a JSON string is escaped.
func escaped(before []byte) bool {
	n := 0
	for n < len(before) && before[len(before)-1-n] == '\\' {
		n++
	}
	return n%2 == 1
}

var plainNumber = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)

// literal writes a column's value for a comparison, and the column as it is compared with it.
func (p *readPlan) literal(col int, value string) (expression, literal string, err error) {
	c := &p.table.Columns[col]
	expression = quoteIdent(c.Name)
	switch {
	case c.Type.Kind == capture.Integer || c.Type.Kind == capture.Bigint || c.Type.Kind == capture.Decimal:
		if !plainNumber.MatchString(value) {
			return "", "", &capture.OperatorError{Err: fmt.Errorf("column %s of table %s is a number, and what it is compared with is none", c.Name, p.table), Remedy: "write digits alone"}
		}
		return expression, value, nil
	case c.Type.Name == "enum": // which is in the order of its labels
		i := slices.Index(c.Type.Labels, value)
		if i < 0 && value != "" {
			return "", "", &capture.OperatorError{Err: fmt.Errorf("column %s of table %s has no such label", c.Name, p.table), Remedy: "name one of its labels"}
		}
		return expression + " + 0", strconv.Itoa(i + 1), nil
	case c.Type.Name == "bit":
		return expression, "b'" + value + "'", nil
	case c.Type.Kind == capture.Bytes:
		return expression, "X'" + hex.EncodeToString([]byte(value)) + "'", nil
	case c.Type.Kind == capture.JSON && !p.mariaDB: // MariaDB's is a text
		return expression, "CAST(_utf8mb4 X'" + hex.EncodeToString([]byte(value)) + "' AS JSON)", nil
	case c.Type.Kind == capture.Instant:
		if at, err := time.Parse(time.RFC3339Nano, value); err == nil { // as payloads have it
			value = at.UTC().Format("2006-01-02 15:04:05.999999")
		}
		value = strings.TrimSuffix(value, "+00")
	}
	if value != "" && value[0] == misencoded {
		return "", "", &capture.OperatorError{Err: fmt.Errorf("a text in column %s of table %s has no counterpart in UTF-8", c.Name, p.table), Remedy: "repair the text: rows behind it cannot be read"}
	}
	if value == "" {
		return expression, "''", nil
	}
	return expression, "_utf8mb4 X'" + hex.EncodeToString([]byte(value)) + "'", nil
}

// behind is the condition for rows behind a key. The first column's own is there for the index.
func (p *readPlan) behind(key []string) (string, error) {
	var out strings.Builder
	for i, value := range key {
		expression, literal, err := p.literal(p.table.Key[i], value)
		if err != nil {
			return "", err
		}
		if i == len(key)-1 {
			fmt.Fprintf(&out, "(%s > %s", expression, literal)
			break
		}
		if i == 0 {
			fmt.Fprintf(&out, "%s >= %s AND ", expression, literal)
		}
		fmt.Fprintf(&out, "(%[1]s > %[2]s OR %[1]s = %[2]s AND ", expression, literal)
	}
	return out.String() + strings.Repeat(")", len(key)), nil
}

// sql is the statement that reads a request's rows.
func (p *readPlan) sql(what *capture.ReadRequest, limit int) (string, error) {
	var conditions []string
	for _, w := range what.Where {
		col := p.table.Column(w.Column)
		if col < 0 {
			return "", &capture.OperatorError{Err: fmt.Errorf("table %s has no column %q", p.table, w.Column), Remedy: "name one of the table's columns, as the database calls it"}
		}
		if w.Null {
			conditions = append(conditions, quoteIdent(w.Column)+" IS NULL")
			continue
		}
		expression, literal, err := p.literal(col, w.Value)
		if err != nil {
			return "", err
		}
		conditions = append(conditions, expression+" = "+literal)
	}
	for _, key := range append(what.Keys, what.After) {
		if key != nil && len(key) != len(p.table.Key) {
			return "", &capture.OperatorError{Err: fmt.Errorf("the key of table %s has %d columns, and %d were given", p.table, len(p.table.Key), len(key)),
				Remedy: "cancel the backfill, if it began with another key, and begin it again"}
		}
	}
	if what.Keys != nil {
		var any []string
		for _, key := range what.Keys {
			var all []string
			for i, col := range p.table.Key {
				expression, literal, err := p.literal(col, key[i])
				if err != nil {
					return "", err
				}
				all = append(all, expression+" = "+literal)
			}
			any = append(any, "("+strings.Join(all, " AND ")+")")
		}
		conditions = append(conditions, "("+strings.Join(any, " OR ")+")")
	} else if what.After != nil {
		behind, err := p.behind(what.After)
		if err != nil {
			return "", err
		}
		conditions = append(conditions, "("+behind+")")
	}
	where := ""
	if len(conditions) > 0 {
		where = " WHERE " + strings.Join(conditions, " AND ")
	}
	var order []string
	for _, i := range p.table.Key {
		order = append(order, quoteIdent(p.table.Columns[i].Name))
	}
	return fmt.Sprintf("SELECT %s FROM %s%s ORDER BY %s LIMIT %d", strings.Join(p.selects, ", "), p.from, where, strings.Join(order, ", "), limit), nil
}
