package mapping

import (
	"encoding/binary"
	"slices"

	"rowhook/capture"
)

// Merge makes one change of several of one row, which one transaction made one after the other:
// what was before the first and is after the last. It returns nil where nothing is left, since the
// row was not there before and is not there after. A value that the last changes left out as
// unchanged is the one that those before it told.
func Merge(changes []*capture.Change) *capture.Change {
	first, last := changes[0], changes[len(changes)-1]
	if len(changes) == 1 {
		return first
	}
	merged := capture.Change{Table: last.Table, Ordinal: last.Ordinal, Statement: last.Statement}
	if first.Op != capture.Insert {
		merged.Old = oldRow(first)
	}
	for _, c := range changes {
		merged.New = newRow(merged.New, c)
	}
	switch {
	case first.Op == capture.Insert && last.Op == capture.Delete:
		return nil
	case first.Op == capture.Insert:
		merged.Op = capture.Insert
	case last.Op == capture.Delete:
		merged.Op = capture.Delete
	default:
		merged.Op = capture.Update
	}
	return &merged
}

// oldRow is all that a change tells of the row before it. It is never nil, from which more would be
// inferred: the new row beside it is another change's.
func oldRow(c *capture.Change) capture.Row {
	r := newRows(c)
	row := make(capture.Row, len(c.Table.Columns))
	for col := range row {
		row[col] = r.before(col)
	}
	return row
}

// newRow is the row after a change, where it was as told after the one before it.
func newRow(was capture.Row, c *capture.Change) capture.Row {
	if c.Op == capture.Delete {
		return nil
	}
	r := newRows(c)
	row := make(capture.Row, len(c.Table.Columns))
	for col := range row {
		row[col] = r.after(col)
		if known(row[col]) || c.New[col].State != capture.Unchanged {
			continue
		}
		if row[col].State = capture.Unchanged; was != nil {
			row[col] = was[col]
		}
	}
	return row
}

// rowKey are the columns that tell a table's rows apart in the stream. There are none where two rows
// may look the same, or old rows come without them.
func rowKey(t *capture.Table) []int {
	key := t.RowIdentity()
	if slices.ContainsFunc(key, func(col int) bool { return !t.Columns[col].Identity }) {
		return nil
	}
	return key
}

// rowGroup are the changes of one row in a window, which become one.
type rowGroup struct {
	first, last int // items of the window
	// gone says that the last is a delete: an insert of the key may follow.
	gone bool
	// closed says that another row has taken a key that this one had. What it does later must not
	// be told together with what it did before, since all of it is told at its last change.
	closed bool
}

// rowGroups finds the group that a table's change belongs to.
type rowGroups struct {
	at   map[string]int // groups by the key where their row is, or was deleted
	left map[string]int // by keys that their row had before
}

func newRowGroups() *rowGroups { return &rowGroups{at: map[string]int{}, left: map[string]int{}} }

// appendKey appends a row's key; ok is false where part of it is not known.
func appendKey(dst []byte, key []int, value func(int) capture.Value) (_ []byte, ok bool) {
	for _, col := range key {
		v := value(col)
		if v.State != capture.Present {
			return dst, false
		}
		dst = append(binary.AppendUvarint(dst, uint64(len(v.Text))), v.Text...)
	}
	return dst, len(key) > 0
}

// place puts an item into the group of its row, or into one of its own.
func (w *window) place(item int, key []int) {
	c := &w.items[item].change
	groups := w.rows[c.Table]
	if groups == nil {
		groups = newRowGroups()
		w.rows[c.Table] = groups
	}
	r := newRows(c)
	from, hadKey := appendKey(w.from[:0], key, r.before)
	to, hasKey := appendKey(w.to[:0], key, r.after)
	w.from, w.to = from, to
	if c.Op != capture.Insert && !hadKey || c.Op != capture.Delete && !hasKey {
		w.rows[c.Table] = newRowGroups() // which row it was is not known: it may be any
		w.own(item)
		return
	}
	moves := c.Op == capture.Update && string(from) != string(to)
	where := from
	if c.Op == capture.Insert {
		where = to
	}
	group, found := groups.at[string(where)]
	// A row is inserted where one was deleted, and changed or deleted where one is.
	if found && !w.groups[group].closed && w.groups[group].gone == (c.Op == capture.Insert) {
		w.join(item, group)
	} else {
		group = w.own(item)
	}
	if c.Op == capture.Insert || moves { // takes a key
		if other, was := groups.left[string(to)]; was {
			if other != group {
				w.groups[other].closed = true
			}
			delete(groups.left, string(to))
		}
	}
	if moves {
		delete(groups.at, string(from))
		groups.left[string(from)] = group
	}
	if c.Op == capture.Delete {
		groups.at[string(from)] = group
	} else {
		groups.at[string(to)] = group
	}
}

// own begins a group with an item.
func (w *window) own(item int) (group int) {
	w.groups = append(w.groups, rowGroup{first: item, last: item, gone: w.items[item].change.Op == capture.Delete})
	w.items[item].group = len(w.groups)
	return len(w.groups) - 1
}

// join adds an item to a group.
func (w *window) join(item, group int) {
	g := &w.groups[group]
	w.items[g.last].next = item
	w.items[item].group = group + 1
	g.last, g.gone = item, w.items[item].change.Op == capture.Delete
}
