package mapping

import (
	"slices"
	"strings"

	"rowhook/capture"
)

// trusted are rows that were looked up before the transaction's end, since it is larger than what is
// held of it. That is right as long as nothing changes them behind.
type trusted struct {
	early bool // the transaction is larger than a window
	blind bool // nothing is looked up early
	all   bool
	rows  map[string]struct{}
	key   []byte
}

func (t *trusted) reset() { *t = trusted{key: t.key} }

// name appends what tells a row from all others, or such as are found by one list's columns; ok is false
// where these are not known.
func (t *trusted) name(of *capture.Table, by string, key []int, value func(int) capture.Value) (ok bool) {
	t.key = append(append(append(t.key[:0], of.Schema...), '.'), of.Name...)
	t.key = append(append(append(t.key, 0), by...), 0)
	t.key, ok = appendKey(t.key, key, value)
	return ok
}

// note keeps that a row was looked up.
func (t *trusted) note(of *capture.Table, key []int, row capture.Row) {
	if t.all || !t.name(of, "", key, func(i int) capture.Value { return row[i] }) {
		t.all = true
		return
	}
	t.add()
}

// add keeps what was named.
func (t *trusted) add() {
	if t.rows == nil {
		t.rows = map[string]struct{}{}
	}
	t.rows[string(t.key)] = struct{}{}
	t.all = len(t.rows) > mostTrusted
}

// changed refuses a change of a row that was looked up.
func (t *trusted) changed(b *binding, c *capture.Change) error {
	if t.blind || !t.all && len(t.rows) == 0 {
		return nil
	}
	early := t.all || c.Op == capture.Truncate
	r := newRows(c)
	for _, side := range [...]struct {
		has   bool
		value func(int) capture.Value
	}{{c.Op != capture.Insert, r.before}, {c.Op != capture.Delete, r.after}} {
		if side.has {
			early = early || b.lookedUp != nil && t.noted(b.table, "", b.lookedUp, side.value)
			for _, by := range b.partsBy {
				early = early || t.noted(b.table, by.name, by.columns, side.value)
			}
		}
	}
	if early {
		return ErrEarly
	}
	return nil
}

// noted reports whether a row was looked up, or may have been.
func (t *trusted) noted(of *capture.Table, by string, key []int, value func(int) capture.Value) bool {
	if by != "" && slices.ContainsFunc(key, func(i int) bool { return value(i).State == capture.Null }) {
		return false // it is in no list
	}
	if !t.name(of, by, key, value) {
		return true
	}
	_, noted := t.rows[string(t.key)]
	return noted
}

// Doubt refuses that rows of a table were looked up before the open transaction's end: it may have
// changed them in a way that nobody told. An empty name is of all tables.
func (m *Mapper) Doubt(table string) error {
	t := &m.trusted
	if !t.early || t.blind {
		return nil
	}
	if t.all {
		return ErrEarly
	}
	for row := range t.rows {
		if of, _, _ := strings.Cut(row, "\x00"); table == "" || of == table {
			return ErrEarly
		}
	}
	return nil
}

// Distrust has the open transaction look nothing up before its end. It is called behind Begin.
func (m *Mapper) Distrust() { m.trusted.blind = true }
