package mysql

import (
	"errors"
	"fmt"
	"slices"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"

	"rowhook/capture"
)

// Flavours of servers, as the first byte of a parked table map says them.
const (
	flavourMySQL   = 'm'
	flavourMariaDB = 'M'
)

// tableMap is a table as the stream describes it, with what its rows are decoded by. The
// columns that the table itself does not have, the server's own, are the last ones.
type tableMap struct {
	table   *capture.Table
	columns []column
	raw     []byte // the flavour, and the table map event without its id
	// undecodable says why none of the table's rows can be decoded; nil when they can.
	undecodable error
	// ignored says that nobody asked for the table.
	ignored bool
	versioning
}

// column is how one column's values lie in a row image.
type column struct {
	width  int // of a fixed value, in bytes
	prefix int // of a value that says its own length: the bytes that say it
	append appendText
	// What the append functions go by.
	unsigned bool
	digits   int      // fractional digits
	whole    int      // digits before the point (decimal), bits (bit), bytes (binary)
	labels   [][]byte // of an enum or set, in UTF-8
	decode   func(dst, src []byte) ([]byte, bool)
	unpacked appendText // of a compressed column: for the value itself
}

// appendText appends a value's text to dst. Its errors never hold row data.
type appendText func(c *column, dst, v []byte) ([]byte, error)

// The optional parts of a table map.
const (
	metaSignedness = iota + 1
	metaDefaultCharset
	metaColumnCharset
	metaColumnName
	metaSetLabels
	metaEnumLabels
	metaGeometryType
	metaPrimaryKey
	metaPrimaryKeyPrefix
	metaEnumSetDefaultCharset
	metaEnumSetColumnCharset
)

// rawTableMap is a table map event taken apart.
type rawTableMap struct {
	schema, name []byte
	types        []byte
	metas        []uint16
	meta         map[byte][]byte
}

// parseTableMap reads a table map's body, which begins after the table's id and flags.
func parseTableMap(body []byte) (rawTableMap, error) {
	r := reader{b: body}
	m := rawTableMap{meta: map[byte][]byte{}}
	m.schema = r.short()
	r.byte()
	m.name = r.short()
	r.byte()
	count := r.packed()
	if count > 1<<16 {
		return m, errShort
	}
	m.types = r.take(int(count))
	metas := reader{b: r.text()}
	r.take((int(count) + 7) / 8) // which columns may be NULL
	if r.fail {
		return m, errShort
	}
	for _, t := range m.types {
		m.metas = append(m.metas, columnMeta(&metas, t))
	}
	for len(r.b) > 0 {
		kind := r.byte()
		m.meta[kind] = r.text()
	}
	if r.fail || metas.fail {
		return m, errShort
	}
	return m, nil
}

// columnMeta reads what the table map says about a type. Two-byte pairs come with the first
// byte as the high one, numbers as numbers.
func columnMeta(r *reader, t byte) uint16 {
	switch t {
	case gomysql.MYSQL_TYPE_STRING, gomysql.MYSQL_TYPE_NEWDECIMAL, gomysql.MYSQL_TYPE_ENUM, gomysql.MYSQL_TYPE_SET:
		return uint16(r.byte())<<8 | uint16(r.byte())
	case gomysql.MYSQL_TYPE_VAR_STRING, gomysql.MYSQL_TYPE_VARCHAR, gomysql.MYSQL_TYPE_BIT, typeVarcharCompressed:
		return uint16(r.uint(2))
	case gomysql.MYSQL_TYPE_BLOB, gomysql.MYSQL_TYPE_DOUBLE, gomysql.MYSQL_TYPE_FLOAT, gomysql.MYSQL_TYPE_GEOMETRY,
		gomysql.MYSQL_TYPE_VECTOR, gomysql.MYSQL_TYPE_JSON, gomysql.MYSQL_TYPE_TIME2, gomysql.MYSQL_TYPE_DATETIME2,
		gomysql.MYSQL_TYPE_TIMESTAMP2, typeBlobCompressed:
		return uint16(r.byte())
	}
	return 0
}

// realType undoes the packing of CHAR, ENUM and SET into one type, and returns a
// CHAR's length in bytes.
func realType(t byte, meta uint16) (byte, int) {
	if t != gomysql.MYSQL_TYPE_STRING || meta < 256 {
		return t, int(meta)
	}
	high, low := byte(meta>>8), int(meta&0xff)
	if high&0x30 != 0x30 {
		return high | 0x30, low | int(high&0x30^0x30)<<4
	}
	return high, low
}

// errNoNames says what the binlog lacks, and what cures it for the changes to come.
var errNoNames = errors.New("the binlog has no column names for this table: binlog_row_metadata was not FULL when the change was made")

// hints is what only the catalog tells of a table's columns.
type hints struct {
	types      map[string]string // names of types that lie in the binlog as something else
	definition string            // the table's, as the server writes it
	versioning
}

// describer makes columns of what the table map tells of them.
type describer struct {
	rawTableMap
	*lists
	charsets *charsets
	hinted   hints
}

// newTableMap makes a table of a table map's body.
func newTableMap(flavour byte, body []byte, charsets *charsets, hinted hints) (*tableMap, error) {
	m, err := parseTableMap(body)
	if err != nil {
		return nil, err
	}
	t := &tableMap{
		raw:        append([]byte{flavour}, body...),
		versioning: hinted.versioning,
		table: &capture.Table{Schema: string(m.schema), Name: string(m.name), Identity: capture.IdentityFull,
			WholeRows: setSQL(flavour == flavourMariaDB, "binlog_row_image", "FULL")},
	}
	names := splitNames(m.meta[metaColumnName])
	if len(m.types) > 0 && len(names) != len(m.types) {
		t.undecodable = errNoNames
		return t, nil
	}
	d := describer{rawTableMap: m, lists: newLists(flavour, m.meta), charsets: charsets, hinted: hinted}
	for i := range m.types {
		col, typ, err := d.column(i, string(names[i]))
		if err != nil {
			t.undecodable = fmt.Errorf("column %s: %w", names[i], err)
			return t, nil
		}
		t.columns = append(t.columns, col)
		if i < len(m.types)-t.hidden {
			t.table.Columns = append(t.table.Columns, capture.Column{Name: string(names[i]), Type: typ, Identity: true})
		}
	}
	if t.undecodable = d.done(); t.undecodable != nil {
		return t, nil
	}
	t.table.Key = slices.DeleteFunc(primaryKey(m.meta, len(m.types)), func(i int) bool {
		return t.versioned && i == t.end || i >= len(t.table.Columns)
	})
	return t, nil
}

func splitNames(b []byte) [][]byte {
	r := reader{b: b}
	var names [][]byte
	for len(r.b) > 0 && !r.fail {
		names = append(names, r.short())
	}
	return names
}

func primaryKey(meta map[byte][]byte, columns int) []int {
	var key []int
	b, pairs := meta[metaPrimaryKey], false
	if b == nil {
		b, pairs = meta[metaPrimaryKeyPrefix], true
	}
	r := reader{b: b}
	for len(r.b) > 0 && !r.fail {
		i := r.packed()
		if pairs {
			r.packed()
		}
		if i < uint64(columns) {
			key = append(key, int(i))
		}
	}
	return key
}
