package try

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"rowhook/capture"
	"rowhook/capture/mysql"
	"rowhook/capture/postgres"
	"rowhook/cmd/rowhook/spelling"
)

// tableSet has the tables that recorded changes are about. A table has the columns that any of its
// lines names, in a row or by its type, in the order in which they are first named.
type tableSet struct {
	source string // source.type
	tables map[string]*describedTable
}

// describedTable is a table that is being put together.
type describedTable struct {
	table   *capture.Table
	key     []string
	keyAt   string // the line that tells it
	columns []string
	live    bool              // the database's own: lines need not describe it
	given   map[string]string // type names by column, where lines give them
	guessed map[string]string
}

// gatherTables puts the tables of all lines together. Tables that the database was asked about are
// as they are there.
func gatherTables(source string, lines []*recorded, live []*capture.Table) (*tableSet, error) {
	all := &tableSet{source: source, tables: map[string]*describedTable{}}
	for _, table := range live {
		all.tables[table.String()] = &describedTable{table: table, live: true}
	}
	for _, line := range lines {
		if line.Table == "" {
			continue
		}
		if err := all.add(line); err != nil {
			return nil, &recordedError{line.at, err}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all.tables)) {
		if err := all.finish(all.tables[name]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (all *tableSet) add(line *recorded) error {
	t := all.tables[line.Table]
	if t != nil && t.live {
		return t.fits(line)
	}
	if t == nil {
		schema, name, _ := capture.ParseTable(line.Table) // checked
		t = &describedTable{table: &capture.Table{Schema: schema, Name: name}, given: map[string]string{}, guessed: map[string]string{}}
		all.tables[line.Table] = t
	}
	if line.Key != nil {
		if t.key != nil && !slices.Equal(t.key, line.Key) {
			return fmt.Errorf("key: %s has the key %s in a line before", line.Table, strings.Join(t.key, ", "))
		}
		t.key, t.keyAt = line.Key, line.at
	}
	for _, row := range []*members{line.New, line.Old} {
		if row == nil {
			continue
		}
		for _, name := range row.names {
			if !slices.Contains(t.columns, name) {
				t.columns = append(t.columns, name)
			}
			t.guessed[name] = widest(t.guessed[name], all.guess(row.values[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(line.Types)) {
		typ := line.Types[name]
		if !slices.Contains(t.columns, name) {
			t.columns = append(t.columns, name)
		}
		if all.named(typ) == nil {
			return fmt.Errorf("types: there is no type %q for column %s; modifiers such as (8,2) are left out", typ, name)
		}
		if before, ok := t.given[name]; ok && before != typ {
			return fmt.Errorf("types: column %s has type %s in a line before", name, before)
		}
		t.given[name] = typ
	}
	return nil
}

// fits holds a line to a table as it is in the database. What lines say of its key and types is not
// needed.
func (t *describedTable) fits(line *recorded) error {
	var names []string
	for i := range t.table.Columns {
		names = append(names, t.table.Columns[i].Name)
	}
	for _, row := range []*members{line.New, line.Old} {
		if row == nil {
			continue
		}
		for _, name := range row.names {
			if !slices.Contains(names, name) {
				return fmt.Errorf("%s has no column %q in the database%s", line.Table, name, spelling.DidYouMean(name, names))
			}
		}
	}
	return nil
}

// finish describes the table.
func (all *tableSet) finish(t *describedTable) error {
	if t.live {
		return nil
	}
	// Its own key says what is known where an update has no old row.
	t.table.Identity = capture.IdentityDefault
	for _, name := range t.columns {
		typ := t.given[name]
		if typ == "" {
			typ = all.guessedName(t.guessed[name])
		}
		t.table.Columns = append(t.table.Columns, capture.Column{Name: name, Type: all.named(typ), Identity: slices.Contains(t.key, name)})
	}
	for _, name := range t.key {
		at := slices.Index(t.columns, name)
		if at < 0 {
			return &recordedError{t.keyAt, fmt.Errorf("key: no line names a column %q of %s", name, t.table)}
		}
		t.table.Key = append(t.table.Key, at)
	}
	return nil
}

// named finds a type by its name in the source's SQL.
func (all *tableSet) named(name string) *capture.Type {
	if all.source == "mysql" {
		return mysql.TypeNamed(name)
	}
	return postgres.TypeNamed(name)
}

// What values look like, the narrower of two that go together first.
const (
	likeInteger = "integer"
	likeBigint  = "bigint"
	likeDecimal = "decimal"
	likeBool    = "bool"
	likeInstant = "instant"
	likeDate    = "date"
	likeText    = "text"
	likeJSON    = "json"
)

var dateText = regexp.MustCompile(`^\d{4}-\d\d-\d\d$`)

// guess tells what a value looks like; nothing for null.
func (all *tableSet) guess(value json.RawMessage) string {
	switch value[0] {
	case 'n':
		return ""
	case 't', 'f':
		return likeBool
	case '{', '[':
		return likeJSON
	case '"':
		var text string
		_ = json.Unmarshal(value, &text) // was decoded before
		if _, err := time.Parse(time.RFC3339Nano, text); err == nil {
			return likeInstant
		}
		if dateText.MatchString(text) {
			return likeDate
		}
		return likeText
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	switch {
	case err != nil:
		return likeDecimal
	case int64(int32(n)) != n:
		return likeBigint
	}
	return likeInteger
}

// widest is what two values of one column have in common.
func widest(a, b string) string {
	numbers := []string{likeInteger, likeBigint, likeDecimal}
	i, j := slices.Index(numbers, a), slices.Index(numbers, b)
	switch {
	case a == b || b == "":
		return a
	case a == "":
		return b
	case i >= 0 && j >= 0:
		return numbers[max(i, j)]
	case a == likeJSON || b == likeJSON:
		return likeJSON
	}
	return likeText
}

// guessedName is the source's type for what values look like. A column of nulls is text.
func (all *tableSet) guessedName(like string) string {
	postgres := map[string]string{likeInteger: "int4", likeBigint: "int8", likeDecimal: "numeric", likeBool: "bool",
		likeInstant: "timestamptz", likeDate: "date", likeJSON: "jsonb"}
	mysql := map[string]string{likeInteger: "int", likeBigint: "bigint", likeDecimal: "decimal", likeBool: "tinyint",
		likeInstant: "timestamp", likeDate: "date", likeJSON: "json"}
	names := postgres
	if all.source == "mysql" {
		names = mysql
	}
	if name, ok := names[like]; ok {
		return name
	}
	return "text"
}

// row makes a row of what a line has; absent is the state of the columns that it does not name.
func (t *describedTable) row(m *members, absent capture.State) capture.Row {
	if m == nil {
		return nil
	}
	row := make(capture.Row, len(t.table.Columns))
	for i := range t.table.Columns {
		column := &t.table.Columns[i]
		value, ok := m.values[column.Name]
		switch {
		case !ok:
			row[i].State = absent
		case string(value) == "null":
			row[i].State = capture.Null
		default:
			row[i] = capture.Value{State: capture.Present, Text: databaseText(value, column.Type)}
		}
	}
	return row
}

// databaseText is a JSON value as the database writes a value of the type. A string that is not
// JSON's or RFC 3339's way of writing it is taken as the database's own text.
func databaseText(value json.RawMessage, typ *capture.Type) []byte {
	if typ.Kind == capture.JSON || value[0] == '{' {
		return compactJSON(value)
	}
	switch value[0] {
	case '[':
		if strings.HasSuffix(typ.Name, "[]") {
			return arrayText(value)
		}
		return compactJSON(value)
	case 't', 'f':
		switch typ.Kind {
		case capture.Bool:
			return []byte(value[:1])
		case capture.Integer:
			return []byte(map[byte]string{'t': "1", 'f': "0"}[value[0]])
		}
		return value
	case '"':
		var text string
		_ = json.Unmarshal(value, &text) // was decoded before
		return timeText(text, typ.Kind)
	}
	return value
}

func compactJSON(value json.RawMessage) []byte {
	var out bytes.Buffer
	_ = json.Compact(&out, value) // was decoded before
	return out.Bytes()
}

// timeText writes a time as databases do, where it is one in RFC 3339.
func timeText(text string, kind capture.Kind) []byte {
	switch at, err := time.Parse(time.RFC3339Nano, text); {
	case kind == capture.Instant && err == nil:
		return at.UTC().AppendFormat(nil, "2006-01-02 15:04:05.999999+00")
	case kind == capture.DateTime && len(text) > 10 && text[10] == 'T':
		return []byte(text[:10] + " " + strings.TrimSuffix(text[11:], "Z"))
	}
	return []byte(text)
}

// arrayText writes a JSON array as PostgreSQL's array literal.
func arrayText(value json.RawMessage) []byte {
	var items []json.RawMessage
	_ = json.Unmarshal(value, &items) // was decoded before
	out := []byte{'{'}
	for i, item := range items {
		if i > 0 {
			out = append(out, ',')
		}
		var text string
		switch {
		case string(item) == "null":
			out = append(out, "NULL"...)
		case item[0] == '[':
			out = append(out, arrayText(item)...)
		case item[0] == '"' && json.Unmarshal(item, &text) == nil:
			out = appendElement(out, text)
		case item[0] == 't' || item[0] == 'f':
			out = append(out, item[0])
		default:
			out = appendElement(out, string(compactJSON(item)))
		}
	}
	return append(out, '}')
}

// appendElement quotes an element of an array literal.
func appendElement(dst []byte, text string) []byte {
	return append(append(append(dst, '"'), strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text)...), '"')
}
