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

// tableMap is a table as the stream describes it, with what its rows are decoded by.
type tableMap struct {
	table   *capture.Table
	columns []column // those of the row images; the table itself lacks the hidden ones
	raw     []byte   // the table map event without its id, as [appendRelation] writes it
	id      uint64   // the server's number of the table, which changes with its definition
	// asked says that the catalog told more of the table, which holds for this number only.
	asked bool
	// doubt is a statement ahead for which the catalog's word was not taken. Once it is passed, the
	// catalog is asked again: the statement may have been about another table.
	doubt *mariaGTID
	// undecodable says why none of the table's rows can be told apart; nil when they can. Unsized
	// says that only the catalog tells how they lie.
	undecodable error
	unsized     bool
	// doubtful says why none of the table's rows can be told from what is no change of it; nil when
	// they can.
	doubtful error
	// ignored says that nobody asked for the table, or that it is none.
	ignored bool
	versioning
}

// column is how one column's values lie in a row image.
type column struct {
	width  int // of a fixed value, in bytes
	prefix int // of a value that says its own length: the bytes that say it
	append appendText
	plain  bool // append copies the bytes as they are
	// What the append functions go by.
	unsigned bool
	digits   int      // fractional digits
	whole    int      // digits before the point (decimal), bits (bit), bytes (binary)
	labels   [][]byte // of an enum or set, in UTF-8
	decode   func(dst, src []byte) ([]byte, bool)
	unpacked appendText // of a compressed column: for the value itself
	most     int64      // that a compressed value may become, in bytes; 0 is inflateMost
	hidden   bool       // from those who read the table: it is the server's own
	computed bool       // it may change though a row after an update comes without it
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
	names        []string // none where the binlog lacks them
	vectors      bool     // the server has vectors, which lie as other types do
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
	if m.names = splitNames(m.meta[metaColumnName]); len(m.names) != len(m.types) {
		m.names = nil
	}
	return m, nil
}

// tableName reads the beginning of a table map's body.
func tableName(body []byte) (schema, name string, ok bool) {
	r := reader{b: body}
	schema = string(r.short())
	r.byte()
	name = string(r.short())
	return schema, name, !r.fail
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

// describer makes columns of what the table map and the catalog tell of them.
type describer struct {
	rawTableMap
	flavour  byte
	charsets *charsets
	facts    *facts // nil for what the table map tells alone
}

// newTableMap makes a table of a table map's body. Facts are what the catalog tells of it; nil is
// nothing.
func newTableMap(flavour byte, body []byte, charsets *charsets, f *facts) (*tableMap, error) {
	m, err := parseTableMap(body)
	if err != nil {
		return nil, err
	}
	m.vectors = hasVectors(charsets.version)
	t := &tableMap{
		raw: appendRelation(nil, flavour, f, body), asked: f != nil,
		table: &capture.Table{Schema: string(m.schema), Name: string(m.name), Identity: capture.IdentityFull,
			WholeRows: setSQL(flavour == flavourMariaDB, "binlog_row_image", "FULL")},
	}
	for i := range m.types {
		t.unsized = t.unsized || m.unsized(i, flavour)
	}
	if m.names == nil && len(m.types) > 0 {
		t.undecodable = errNoNames
		return t, nil
	}
	entries, err := m.entries(flavour)
	if err != nil {
		t.undecodable = err
		return t, nil
	}
	d := describer{rawTableMap: m, flavour: flavour, charsets: charsets, facts: f}
	visible := map[int]int{}
	for i, name := range m.names {
		col, typ, err := d.column(i, name, entries[i])
		if err != nil {
			t.undecodable = fmt.Errorf("column %s: %w", name, err)
			return t, nil
		}
		if col.hidden = d.hidden(i, name); !col.hidden {
			visible[i] = len(t.table.Columns)
			col.computed = d.computed(name)
			t.table.Columns = append(t.table.Columns, capture.Column{Name: name, Type: typ, Identity: true, Omitted: d.omitted(name)})
		}
		t.columns = append(t.columns, col)
	}
	t.versioning, t.doubtful = d.rows()
	t.ignored = f != nil && f.Sequence
	for _, i := range primaryKey(m.meta, len(m.types)) {
		if nth, ok := visible[i]; ok && !(t.versioned && i == t.end) {
			t.table.Key = append(t.table.Key, nth)
		}
	}
	return t, nil
}

// told returns what the catalog told of the table for when its rows were written; nil when it told
// nothing.
func (d *describer) told() *facts {
	if d.facts != nil && d.facts.Told {
		return d.facts
	}
	return nil
}

// hidden reports whether a column is hidden from those who read the table. Names that the server
// makes are taken for its own where the catalog does not tell.
func (d *describer) hidden(i int, name string) bool {
	if f := d.told(); f != nil {
		return slices.Contains(f.Hidden, name)
	}
	return d.flavour == flavourMariaDB && d.mayBeHash(i, name)
}

// computed reports whether a row after an update may lack the column though its value has changed.
// MySQL logs what it computes; MariaDB need not, and what is computed only its catalog tells.
func (d *describer) computed(name string) bool {
	f := d.told()
	return d.flavour == flavourMariaDB && (f == nil || slices.Contains(f.Generated, name))
}

// omitted is what to do where the server does not log the column.
func (d *describer) omitted(name string) string {
	if f := d.told(); f != nil && slices.Contains(f.Generated, name) && omitsGenerated(d.charsets.version) {
		return omittedRemedy
	}
	return ""
}

// rows tells which of the table's rows are changes of it, or why that is not known.
func (d *describer) rows() (versioning, error) {
	f := d.told()
	switch {
	case f != nil && f.End != "":
		return versioning{versioned: true, end: slices.Index(d.names, f.End)}, nil
	case f != nil || d.flavour != flavourMariaDB:
	case mayBeSequence(d.names):
		return versioning{}, fmt.Errorf("it may be a sequence: %w", errUntold)
	case d.mayBeVersioned():
		return versioning{}, fmt.Errorf("it may keep old versions of its rows: %w", errUntold)
	}
	return versioning{}, nil
}

func splitNames(b []byte) []string {
	r := reader{b: b}
	var names []string
	for len(r.b) > 0 && !r.fail {
		names = append(names, string(r.short()))
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
