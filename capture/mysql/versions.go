package mysql

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"

	"rowhook/capture"
)

// A system-versioned table of MariaDB keeps old versions of its rows among the rows, each with the
// time of its end; the end of a row that is valid is the greatest there is. The binlog has all of
// that as rows like others: an update is an update and the insert of the old version, a delete is
// the update of the end, and the removal of history deletes rows. Only what befalls valid rows is a
// change to the table's readers. https://mariadb.com/kb/en/system-versioned-tables/

// The columns of a versioned table that names none.
const (
	hiddenStart = "row_start"
	hiddenEnd   = "row_end"
)

// endless are the ends of valid rows, as a TIMESTAMP(6): the last of 2038 or, from MariaDB 11.5 on,
// of 2106. Where versions are told by numbers of transactions the server logs statements, and so
// there is nothing to tell.
var endless = [][]byte{
	{0x7f, 0xff, 0xff, 0xff, 0x0f, 0x42, 0x3f},
	{0xff, 0xff, 0xff, 0xff, 0x0f, 0x42, 0x3f},
}

// endOf finds the column in a table's definition that says when a row's versions end. It is empty
// where the definition does not name one. Each part of a definition has a line of its own.
func endOf(definition string) string {
	for line := range strings.SplitSeq(definition, "\n") {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "PERIOD FOR SYSTEM_TIME (`")
		_, rest, ok2 := strings.Cut(rest, "`, `")
		end, _, ok3 := strings.Cut(rest, "`)")
		if ok && ok2 && ok3 {
			return strings.ReplaceAll(end, "``", "`")
		}
	}
	return ""
}

// versioning is how a table's rows are versioned.
type versioning struct {
	versioned bool
	end       int // the column of the row images that says when a version ends
}

// mayBeVersioned reports whether a table has two columns that could be the times of a row's begin
// and end, the second one in the primary key, if there is any: otherwise the catalog need not be
// asked.
func (m *rawTableMap) mayBeVersioned() bool {
	key := primaryKey(m.meta, len(m.types))
	count, end := 0, false
	for i := range m.types {
		if m.bounds(i) {
			count++
			end = end || len(key) == 0 || slices.Contains(key, i)
		}
	}
	return count > 1 && end
}

// bounds reports whether a column may be of the type that a version's begin and end have, a
// TIMESTAMP(6), which lies the same in either storage.
func (m *rawTableMap) bounds(i int) bool {
	return m.types[i] == gomysql.MYSQL_TYPE_TIMESTAMP2 && m.metas[i] == 6 || m.types[i] == gomysql.MYSQL_TYPE_TIMESTAMP
}

// valid reports whether the row image at the start of b, whose size has been checked, is of a row
// that is valid. An image that leaves the end out says what was so before.
func (t *tableMap) valid(b, present []byte, before bool) bool {
	if !bit(present, t.end) {
		return before
	}
	at, nth := (countBits(present, len(t.columns))+7)/8, 0
	for i := range t.end {
		if !bit(present, i) {
			continue
		}
		if !bit(b, nth) {
			_, at, _ = t.columns[i].value(b, at)
		}
		nth++
	}
	from, end, ok := t.columns[t.end].value(b, at)
	if !ok || bit(b, nth) {
		return before
	}
	for _, most := range endless {
		if bytes.Equal(b[from:end], most) {
			return true
		}
	}
	return false
}

// errOldVersion says why a parked row is nothing to deliver.
var errOldVersion = errors.New("it is an old version of a row, which the server keeps, and no change")

// effect is what a row of the event does to the table as its readers see it; 0 for nothing.
func (e *rowsEvent) effect(t *tableMap, before, after []byte) capture.Op {
	if !t.versioned {
		return e.op
	}
	was := t.valid(before, e.first, true)
	if e.op != capture.Update {
		if was {
			return e.op
		}
		return 0
	}
	switch is := t.valid(after, e.second, was); {
	case was && is:
		return capture.Update
	case was:
		return capture.Delete
	case is:
		return capture.Insert
	}
	return 0
}
