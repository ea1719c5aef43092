package mysql

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
)

// A table map tells signs, collations and labels in lists, each with an entry for every column of
// certain types, and without the columns' numbers. A type that is counted wrongly gives all columns
// behind it their neighbours' signs or collations.

// membership says in which lists a column of some type has an entry.
type membership struct {
	signs      bool
	collations bool
	// enums and sets are the lists of labels; either means an entry in the collations of labels
	// too.
	enums, sets bool
}

// membershipOf returns what servers do, type by type, after [realType]. TestTypes holds each
// against them. known is false for a type that is not in the table: then nothing behind it can be
// told.
func membershipOf(flavour, t byte) (_ membership, known bool) {
	switch t {
	case gomysql.MYSQL_TYPE_TINY, gomysql.MYSQL_TYPE_SHORT, gomysql.MYSQL_TYPE_INT24, gomysql.MYSQL_TYPE_LONG, gomysql.MYSQL_TYPE_LONGLONG,
		gomysql.MYSQL_TYPE_FLOAT, gomysql.MYSQL_TYPE_DOUBLE, gomysql.MYSQL_TYPE_NEWDECIMAL, gomysql.MYSQL_TYPE_YEAR:
		return membership{signs: true}, true
	case gomysql.MYSQL_TYPE_VARCHAR, gomysql.MYSQL_TYPE_VAR_STRING, gomysql.MYSQL_TYPE_STRING, gomysql.MYSQL_TYPE_BLOB,
		typeVarcharCompressed, typeBlobCompressed, gomysql.MYSQL_TYPE_VECTOR:
		return membership{collations: true}, true
	case gomysql.MYSQL_TYPE_GEOMETRY:
		return membership{collations: flavour == flavourMariaDB}, true
	case gomysql.MYSQL_TYPE_ENUM:
		return membership{enums: true}, true
	case gomysql.MYSQL_TYPE_SET:
		return membership{sets: true}, true
	case gomysql.MYSQL_TYPE_BIT, gomysql.MYSQL_TYPE_JSON, gomysql.MYSQL_TYPE_DATE, gomysql.MYSQL_TYPE_NEWDATE,
		gomysql.MYSQL_TYPE_TIME, gomysql.MYSQL_TYPE_DATETIME, gomysql.MYSQL_TYPE_TIMESTAMP,
		gomysql.MYSQL_TYPE_TIME2, gomysql.MYSQL_TYPE_DATETIME2, gomysql.MYSQL_TYPE_TIMESTAMP2:
		return membership{}, true
	}
	return membership{}, false
}

// entry is what the lists tell of one column.
type entry struct {
	unsigned  bool
	collation uint64 // of its texts or labels; 0 is unknown
	labels    [][]byte
}

// lists hands out a table map's lists, column by column.
type lists struct {
	flavour               byte
	signs                 []byte
	signed                int // columns with a sign so far
	texts, labels         charsetList
	enumLabels, setLabels reader
}

func newLists(flavour byte, meta map[byte][]byte) *lists {
	return &lists{
		flavour: flavour, signs: meta[metaSignedness],
		texts:      newCharsetList(meta[metaDefaultCharset], meta[metaColumnCharset]),
		labels:     newCharsetList(meta[metaEnumSetDefaultCharset], meta[metaEnumSetColumnCharset]),
		enumLabels: reader{b: meta[metaEnumLabels]}, setLabels: reader{b: meta[metaSetLabels]},
	}
}

// entries are what the lists tell of all columns, whose names are known.
func (m *rawTableMap) entries(flavour byte) ([]entry, error) {
	l := newLists(flavour, m.meta)
	list := make([]entry, 0, len(m.types))
	for i, name := range m.names {
		t, _ := realType(m.types[i], m.metas[i])
		e, err := l.next(t)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", name, err)
		}
		list = append(list, e)
	}
	return list, l.done()
}

// next returns the entries of the next column, which is of type t.
func (l *lists) next(t byte) (entry, error) {
	m, known := membershipOf(l.flavour, t)
	if !known {
		return entry{}, fmt.Errorf("type %d is not known", t)
	}
	var e entry
	if m.signs {
		e.unsigned = highBit(l.signs, l.signed)
		l.signed++
	}
	if m.collations {
		e.collation = l.texts.pop()
	}
	if m.enums {
		e.labels, e.collation = popLabels(&l.enumLabels), l.labels.pop()
	}
	if m.sets {
		e.labels, e.collation = popLabels(&l.setLabels), l.labels.pop()
	}
	return e, nil
}

// errCount says that the columns were counted otherwise than the server does: the entries that came
// are then not to be trusted.
var errCount = errors.New("the table map's lists of signs, collations or labels do not fit its columns")

// done checks that the columns have used up the lists.
func (l *lists) done() error {
	if (l.signed+7)/8 != len(l.signs) || !l.texts.used() || !l.labels.used() || l.enumLabels.fail || l.setLabels.fail ||
		len(l.enumLabels.b)+len(l.setLabels.b) > 0 {
		return errCount
	}
	return nil
}

// charsetList tells the collations of columns of one kind: one for each, or a default with
// exceptions.
type charsetList struct {
	each       []uint64
	standard   uint64
	exceptions map[uint64]uint64
	next       int
}

func newCharsetList(standard, each []byte) charsetList {
	l := charsetList{each: packedList(each)}
	if list := packedList(standard); len(list) > 0 {
		l.standard, l.exceptions = list[0], map[uint64]uint64{}
		for pair := range slices.Chunk(list[1:], 2) {
			if len(pair) == 2 {
				l.exceptions[pair[0]] = pair[1]
			}
		}
	}
	return l
}

func packedList(b []byte) []uint64 {
	r := reader{b: b}
	var list []uint64
	for len(r.b) > 0 {
		list = append(list, r.packed())
	}
	if r.fail {
		return nil
	}
	return list
}

// pop returns the collation of the next column of the list's kind; 0 is unknown.
func (l *charsetList) pop() uint64 {
	i := l.next
	l.next++
	if l.each != nil {
		if i < len(l.each) {
			return l.each[i]
		}
		return 0
	}
	if c, ok := l.exceptions[uint64(i)]; ok {
		return c
	}
	return l.standard
}

// used reports whether the columns were as many as the list is for, as far as it tells.
func (l *charsetList) used() bool {
	if l.each != nil {
		return l.next == len(l.each)
	}
	for i := range l.exceptions {
		if i >= uint64(l.next) {
			return false
		}
	}
	return (l.exceptions != nil) == (l.next > 0)
}

// popLabels returns the labels of the next enum or set column.
func popLabels(r *reader) [][]byte {
	count := r.packed()
	if count > uint64(len(r.b)) {
		r.fail = true
		return nil
	}
	labels := make([][]byte, 0, count)
	for range count {
		labels = append(labels, bytes.Clone(r.text()))
	}
	return labels
}
