package mysql

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
)

// MariaDB's table maps leave some things open that only its catalog tells: which of several types
// that lie alike a column has, how many bytes a time of the older storage takes, which columns and
// rows are the server's own. The catalog tells of the table as it is when it is asked, which may be
// long after the rows were written. Facts are what it told, if that certainly held for the rows
// too; otherwise nothing is made of what it tells.

// clockMargin is by how much the clocks may differ that stamped a row and the last change of its
// table's definition.
const clockMargin = 10 * time.Minute

// flavourFacts begins a parked table map of MariaDB that comes with its facts.
const flavourFacts = 'F'

// facts are what the catalog tells of a table besides its table map.
type facts struct {
	// Told says that the catalog's word holds for when the rows were written; otherwise the rest is
	// empty.
	Told bool `json:"told,omitempty"`
	// At is when that was, in seconds since 1970, as long as it matters; 0 is unknown.
	At uint32 `json:"at,omitempty"`
	// Types are those of the columns that the table map leaves open: json is a LONGTEXT with a
	// check that it is valid, and a time comes with its digits.
	Types map[string]string `json:"types,omitempty"`
	// Hidden are the columns, the server's own, which nobody sees who does not ask for them.
	Hidden []string `json:"hidden,omitempty"`
	// End is the column that says when a row's version ends; empty when no versions are kept.
	End      string `json:"end,omitempty"`
	Sequence bool   `json:"sequence,omitempty"`
	// Generated are the columns that are computed of others.
	Generated []string `json:"generated,omitempty"`
}

// errUntold is why what a table map leaves open stays so.
var errUntold = errors.New("the catalog does not tell any more: the table was changed, renamed or dropped since, or our user may not read it")

// alike lists the types that a column's values may be of; nil when its table map leaves nothing
// open, as MySQL's never does. A time of the older storage is of one type, but its digits are open.
func (m *rawTableMap) alike(i int, e entry, flavour byte) []string {
	if flavour != flavourMariaDB {
		return nil
	}
	t, length := realType(m.types[i], m.metas[i])
	bytes := e.collation == collationBinary
	switch t {
	case gomysql.MYSQL_TYPE_TIME:
		return []string{"time"}
	case gomysql.MYSQL_TYPE_DATETIME:
		return []string{"datetime"}
	case gomysql.MYSQL_TYPE_TIMESTAMP:
		return []string{"timestamp"}
	case gomysql.MYSQL_TYPE_STRING:
		switch {
		case bytes && length == 16:
			return []string{"binary", "uuid", "inet6"}
		case bytes && length == 4:
			return []string{"binary", "inet4"}
		}
	case gomysql.MYSQL_TYPE_VARCHAR:
		if bytes && m.vectors && length > 0 && length%4 == 0 {
			return []string{"varbinary", "vector"}
		}
	case gomysql.MYSQL_TYPE_BLOB, typeBlobCompressed:
		if !bytes && length == 4 {
			return []string{"longtext", "json"}
		}
	}
	return nil
}

// hasVectors reports whether a version of MariaDB has the type VECTOR.
func hasVectors(version int) bool { return version >= 110700 }

// unsized reports whether a column is of MariaDB's older storage of times, whose width depends on
// digits that the table map does not tell.
func (m *rawTableMap) unsized(i int, flavour byte) bool {
	switch m.types[i] {
	case gomysql.MYSQL_TYPE_TIME, gomysql.MYSQL_TYPE_DATETIME, gomysql.MYSQL_TYPE_TIMESTAMP:
		return flavour == flavourMariaDB
	}
	return false
}

// hashPrefix begins the names of the columns that hold hashes for unique keys over long texts.
const hashPrefix = "DB_ROW_HASH_"

func (m *rawTableMap) mayBeHash(i int, name string) bool {
	return strings.HasPrefix(name, hashPrefix) && m.types[i] == gomysql.MYSQL_TYPE_LONGLONG
}

// sequenceColumns are those of MariaDB's sequences.
var sequenceColumns = []string{"next_not_cached_value", "minimum_value", "maximum_value", "start_value", "increment",
	"cache_size", "cycle_option", "cycle_count"}

func mayBeSequence(names []string) bool { return slices.Equal(names, sequenceColumns) }

// open reports whether a table map of MariaDB leaves something open that the catalog is to tell.
func (m *rawTableMap) open(flavour byte, entries []entry) bool {
	if flavour != flavourMariaDB {
		return false
	}
	for i, name := range m.names {
		if m.mayBeHash(i, name) || m.alike(i, entries[i], flavour) != nil {
			return true
		}
	}
	return mayBeSequence(m.names) || m.mayBeVersioned()
}

// factsOf is what the catalog's word c means for the table map; ok is false when it is of another
// table than the map.
func (m *rawTableMap) factsOf(c *catalogTable, entries []entry) (f facts, ok bool) {
	f = facts{Told: true, Types: map[string]string{}, Sequence: c.kind == "SEQUENCE"}
	nth := 0
	for i, name := range m.names {
		if nth >= len(c.columns) || c.columns[nth].name != name {
			f.Hidden = append(f.Hidden, name)
			continue
		}
		column := &c.columns[nth]
		nth++
		if column.generated {
			f.Generated = append(f.Generated, name)
		}
		kinds := m.alike(i, entries[i], flavourMariaDB)
		if kinds == nil {
			continue
		}
		if !slices.Contains(kinds, column.base()) || m.unsized(i, flavourMariaDB) != column.old {
			return facts{}, false
		}
		f.Types[name] = column.typ
	}
	if nth < len(c.columns) {
		return facts{}, false
	}
	if c.kind == "SYSTEM VERSIONED" {
		if f.End = endOf(c.definition); f.End == "" {
			f.End = hiddenEnd
		}
		if i := slices.Index(m.names, f.End); i < 0 || !m.bounds(i) {
			f.End = "" // told by numbers of transactions, of which no rows are logged
		}
	}
	for _, name := range f.Hidden {
		i := slices.Index(m.names, name)
		period := c.kind == "SYSTEM VERSIONED" && (name == hiddenStart || name == hiddenEnd)
		if !period && !m.mayBeHash(i, name) {
			return facts{}, false
		}
		if m.unsized(i, flavourMariaDB) {
			f.Types[name] = "timestamp(6)" // as which the server makes them
		}
	}
	return f, true
}

// catalogTable is a table as the catalog has it now.
type catalogTable struct {
	kind       string    // information_schema.tables.table_type
	changed    time.Time // when its definition was changed last; zero when that is not known
	columns    []catalogColumn
	definition string // as the server writes it
}

type catalogColumn struct {
	name string
	typ  string // with the digits, where it is a time of the older storage
	old  bool   // that is
	// generated says that it is computed of other columns.
	generated bool
}

// isJSON reports whether a column of MariaDB is JSON, by its table's definition: the catalog calls it
// a text.
func (c catalogColumn) isJSON(definition string) bool {
	return c.typ == "longtext" && strings.Contains(definition, "CHECK (json_valid("+quoteIdent(c.name)+"))")
}

// base is the type without its digits.
func (c *catalogColumn) base() string {
	base, _, _ := strings.Cut(c.typ, "(")
	return base
}

// oldStorage marks columns of the older storage of times in a definition.
const oldStorage = " /* mariadb-5.3 */"

// newCatalogColumn tells a column's type by the catalog's columns data_type and column_type.
func newCatalogColumn(name, dataType, columnType string) catalogColumn {
	c := catalogColumn{name: name, typ: strings.ToLower(dataType)}
	if digits, ok := strings.CutSuffix(columnType, oldStorage); ok {
		c.typ, c.old = digits, true
	}
	return c
}

// digitsOf is how many digits of a fraction a type has, such as time(3).
func digitsOf(typ string) int {
	var digits int
	if _, after, ok := strings.Cut(typ, "("); ok {
		_, _ = fmt.Sscanf(after, "%d)", &digits) // there are none without a number
	}
	return digits
}

// appendRelation writes a table map with its facts, which may be nil, as it goes with parked
// changes.
func appendRelation(dst []byte, flavour byte, f *facts, body []byte) []byte {
	if f == nil {
		return append(append(dst, flavour), body...)
	}
	text, err := json.Marshal(f)
	if err != nil { // texts and numbers always can
		text = []byte("{}")
	}
	dst = binary.AppendUvarint(append(dst, flavourFacts), uint64(len(text)))
	return append(append(dst, text...), body...)
}

// parseRelation reads what appendRelation wrote.
func parseRelation(b []byte) (flavour byte, f *facts, body []byte, err error) {
	if len(b) < 2 {
		return 0, nil, nil, errShort
	}
	if b[0] != flavourFacts {
		return b[0], nil, b[1:], nil
	}
	size, n := binary.Uvarint(b[1:])
	if n <= 0 || size > uint64(len(b)-1-n) {
		return 0, nil, nil, errShort
	}
	text, body := b[1+n:1+n+int(size)], b[1+n+int(size):]
	f = &facts{}
	if err := json.Unmarshal(text, f); err != nil {
		return 0, nil, nil, errors.New("malformed: what the catalog told of the table")
	}
	return flavourMariaDB, f, body, nil
}
