package mapping

import (
	"errors"
	"slices"

	"rowhook/capture"
)

// LookIn has the mapper look rows up in l. It is called before the first change.
func (m *Mapper) LookIn(l Lookups) { m.lookups = l }

// Describe tells what a looked-up table looks like, until it is told again.
func (m *Mapper) Describe(t *capture.Table) {
	name := t.String()
	if known := m.described[name]; known != nil && alike(known, t) || !slices.Contains(m.rules.LooksUp(""), name) {
		return
	}
	m.described[name] = t
	for of, b := range m.bindings {
		if b.looks {
			delete(m.bindings, of)
			if m.bound == b {
				m.bound = nil
			}
		}
	}
}

// DescribeAs tells what another mapper was told of looked-up tables.
func (m *Mapper) DescribeAs(other *Mapper) {
	for _, t := range other.described {
		m.Describe(t)
	}
}

// alike reports whether two descriptions of a table say the same of its rows.
func alike(a, b *capture.Table) bool {
	return a == b || a.Version == b.Version && a.Identity == b.Identity && a.Silent == b.Silent &&
		slices.Equal(a.Key, b.Key) && slices.Equal(a.Columns, b.Columns)
}

// LooksUp lists the tables that an entry looks rows up in, with its own where these touch its rows; an
// empty name is all entries.
func (r *Rules) LooksUp(entry string) (tables []string) {
	for _, e := range r.looking {
		for _, l := range e.lookups {
			if (entry == "" || e.Name == entry) && !slices.Contains(tables, l.of.Table) {
				tables = append(tables, l.of.Table)
			}
		}
		for _, p := range e.parts {
			if (entry == "" || e.Name == entry) && !slices.Contains(tables, p.Table) {
				tables = append(tables, p.Table)
			}
		}
		if own := e.schema + "." + e.table; (entry == "" || e.Name == entry) && e.touching() && !slices.Contains(tables, own) {
			tables = append(tables, own)
		}
	}
	return tables
}

// lookUp extends the rows of the change at hand with what the entry looks up. An update's old row has
// nothing of it: what is looked up is as of the commit.
func (m *Mapper) lookUp(be *boundEntry) error {
	for i := range be.lookups {
		be.lookups[i].found = NotLookedUp
	}
	r := &m.eval.rows
	if !r.extend(be) {
		return nil
	}
	to := r.new
	if r.op == capture.Delete {
		to = r.old
	}
	for i := range be.lookups { // each behind those that it is found by
		l := &be.lookups[i]
		var err error
		if l.found, err = m.find(l, to[l.first:l.first+len(l.of.columns)], m.eval.current, false); err != nil {
			return err
		}
	}
	return nil
}

// extend makes room for what the entry looks up, of which nothing is known. It reports whether there
// are rows: a change that is not what its table says has none, which is told as the entry is mapped.
func (r *rows) extend(be *boundEntry) bool {
	if r.check() != nil {
		return false
	}
	if r.table = be.table; r.op == capture.Truncate {
		return false
	}
	more := len(be.table.Columns) - be.own
	if r.old != nil {
		be.old = append(append(be.old[:0], r.old...), make(capture.Row, more)...)
		r.old = be.old
	}
	if r.new != nil {
		be.new = append(append(be.new[:0], r.new...), make(capture.Row, more)...)
		r.new = be.new
	}
	return true
}

// find looks one row up, by the values that it is found by, as of the commit or as it was before the
// transaction. Where there is none its columns are NULL, as in a LEFT JOIN.
func (m *Mapper) find(l *boundLookup, to capture.Row, value func(int) capture.Value, before bool) (Found, error) {
	if m.lookups == nil || l.table == nil || m.trusted.early && m.trusted.blind {
		return UnknownRow, nil
	}
	isNull := false
	clear(l.row)
	for i, col := range l.by {
		v := value(col)
		if !known(v) || m.eval.untyped(v, col) {
			return UnknownRow, nil
		}
		l.row[l.cols[i]], isNull = v, isNull || v.State == capture.Null
	}
	if isNull {
		for i := range to {
			to[i].State = capture.Null
		}
		return NullKey, nil
	}
	if m.trusted.early {
		m.trusted.note(l.table, rowKey(l.table), l.row)
	}
	look := m.lookups.LookUp
	if before {
		look = m.lookups.LookUpBefore
	}
	exists, known, err := look(l.table, l.row)
	if err != nil || !known || !exists && l.table.Filtered { // it may be there, and outside the filter
		return UnknownRow, err
	}
	if !exists {
		for i := range to {
			to[i].State = capture.Null
		}
		return NoRow, nil
	}
	for i := range to {
		to[i] = l.row[l.cols[i]]
	}
	return RowFound, nil
}

// looksIn reports whether rows of a table are looked up.
func (r *Rules) looksIn(table string) bool {
	return slices.ContainsFunc(r.looking, func(e *entry) bool {
		return slices.ContainsFunc(e.lookups, func(l *lookup) bool { return l.of.Table == table })
	})
}

// ErrEarly says that a row was looked up before a change of the same transaction: the transaction is
// too large to be held to its end. Nothing of it counts. If it comes again, behind [Mapper.Distrust],
// what it looks up too early is not known.
var ErrEarly = errors.New("a row was changed after it was looked up in the same transaction")

// mostTrusted is how many rows are noted that were looked up early; with more, all were.
const mostTrusted = 1 << 16

// Seen is a table as an entry sees it: with the columns that it looks up, where the tables have them.
func (r *Rules) Seen(entry string, t *capture.Table, tables []*capture.Table) *capture.Table {
	for _, e := range r.entriesOf(t) {
		if e.Name == entry && len(e.lookups) > 0 {
			return bindEntry(e, t, ByName(tables)).table
		}
	}
	return t
}
