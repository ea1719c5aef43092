package mapping

import (
	"bytes"
	"fmt"

	"rowhook/capture"
)

// rows is what is known of one row before and after a change. It is the one place that
// knows how the stream's gaps are read:
//
//   - a new value that is Unchanged equals the old one, so either tells both;
//   - an update without an old tuple did not touch the replica identity's columns. That holds
//     only where the table's own identity is at work: partitions have identities of their
//     own, which their root does not know.
type rows struct {
	table    *capture.Table
	op       capture.Op
	old, new capture.Row
	// sameIdentity says that the old tuple is absent because no identity column changed.
	sameIdentity bool
}

func newRows(c *capture.Change) rows {
	t := c.Table
	return rows{
		table: t, op: c.Op, old: c.Old, new: c.New,
		sameIdentity: c.Op == capture.Update && c.Old == nil && !t.Partitioned &&
			(t.Identity == capture.IdentityDefault || t.Identity == capture.IdentityIndex),
	}
}

// check holds a change to its table's description: the rows that its operation has, a value for
// each column.
func (r *rows) check() error {
	columns := len(r.table.Columns)
	for _, row := range []struct {
		name   string
		values capture.Row
		needed bool
	}{
		{"old", r.old, r.op == capture.Delete},
		{"new", r.new, r.op == capture.Insert || r.op == capture.Update || r.op == capture.Read},
	} {
		if len(row.values) != columns && (row.needed || row.values != nil) {
			return fmt.Errorf("map %s: the %s row has %d values for %d columns", r.table, row.name, len(row.values), columns)
		}
	}
	return nil
}

// before returns the column's old value.
func (r *rows) before(col int) capture.Value {
	if r.old != nil {
		if v := r.old[col]; v.State != capture.Unchanged {
			return v
		}
		return capture.Value{}
	}
	if r.sameIdentity && r.table.Columns[col].Identity && r.new[col].State != capture.Unchanged {
		return r.new[col]
	}
	return capture.Value{}
}

// after returns the column's new value.
func (r *rows) after(col int) capture.Value {
	if r.new == nil {
		return capture.Value{}
	}
	v := r.new[col]
	if v.State == capture.Unchanged {
		return r.before(col)
	}
	return v
}

// current returns the value in the new row, or in the old one for a delete.
func (r *rows) current(col int) capture.Value {
	if r.op == capture.Delete {
		return r.before(col)
	}
	return r.after(col)
}

// unchanged reports whether the stream says that the column kept its value, known or not.
func (r *rows) unchanged(col int) bool {
	return r.new != nil && r.new[col].State == capture.Unchanged
}

func known(v capture.Value) bool { return v.State == capture.Null || v.State == capture.Present }

// untyped reports whether a value is there whose type is not known. It may equal another one of its
// column; what it means cannot be told.
func (r *rows) untyped(v capture.Value, col int) bool {
	return v.State == capture.Present && r.table.Columns[col].Type.Kind == capture.Untyped
}

// equal compares two known values.
func equal(a, b capture.Value) bool {
	return a.State == b.State && (a.State == capture.Null || bytes.Equal(a.Text, b.Text))
}
