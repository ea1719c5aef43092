package mapping

import (
	"fmt"
	"slices"
	"strings"

	"rowhook/capture"
	"rowhook/delivery"
)

// boundLookup is a look-up tied to two tables.
type boundLookup struct {
	*lookup
	by    []int          // in the entry's extended table
	table *capture.Table // nil while nobody has described it
	cols  []int          // in table, of the columns that the entry sees
	first int            // of these, in the entry's extended table
	row   capture.Row
	used  []bool // which of the columns the entry says or asks about
	found Found  // of the change at hand
	// behind is the place of the look-up that finds what this one is found by; none where that is the
	// entry's row.
	behind int
	// kept says that the row at hand refers to the same row as before the transaction, unsure that it does
	// as far as is known, and touched that this row has changed.
	kept, unsure, touched bool
}

// Found is what came of a look-up.
type Found uint8

// What may come of a look-up.
const (
	NotLookedUp Found = iota // no rule is for the change
	RowFound
	NoRow      // there is none of that key
	NullKey    // there is none, since the key is NULL
	UnknownRow // nobody can tell: its key is not known, its table is not loaded, and the like
)

// unseen is the type of a looked-up column while nobody has described its table.
var unseen = &capture.Type{Name: "unknown", Kind: capture.Untyped, AppendJSON: func(dst, text []byte) ([]byte, bool) {
	return appendString(dst, text), false
}}

// extend gives the entry's table the looked-up columns too, by the names alias.column.
func (b *binder) extend(tables map[string]*capture.Table) {
	own := b.table
	b.own = len(own.Columns)
	if len(b.entry.lookups) == 0 {
		return
	}
	extended := *own
	extended.Columns = slices.Clone(own.Columns)
	b.table = &extended
	for _, l := range b.entry.lookups {
		bound := boundLookup{lookup: l, table: tables[l.of.Table], first: len(extended.Columns), used: make([]bool, len(l.of.columns)),
			behind: slices.IndexFunc(b.lookups, func(o boundLookup) bool { return o.alias == b.lookedUpBy(l.by[0]) })}
		if own.Column(l.alias) >= 0 {
			b.problem(l.path, fmt.Sprintf("table %s has a column %q, too", own, l.alias), "give the looked-up row another name")
		}
		bound.by = b.columnsOf(l.by, l.path.at("by"))
		for _, name := range l.of.columns {
			typ := unseen
			if bound.table != nil {
				col := b.lookedUpColumn(&bound, name)
				bound.cols = append(bound.cols, col)
				typ = typeOf(bound.table, col)
			}
			extended.Columns = append(extended.Columns, capture.Column{Name: l.alias + "." + name, Type: typ})
		}
		if bound.table != nil {
			b.checkLookup(&bound)
			bound.row = make(capture.Row, len(bound.table.Columns))
		}
		b.lookups = append(b.lookups, bound)
	}
}

// use notes that the entry says or asks about a column.
func (be *boundEntry) use(col int) {
	for i := range be.lookups {
		if l := &be.lookups[i]; col >= l.first && col < l.first+len(l.used) {
			l.used[col-l.first] = true
		}
	}
}

// lookedUpColumn finds a column of the looked-up table, or notes that it is missing.
func (b *binder) lookedUpColumn(l *boundLookup, name string) int {
	if col := l.table.Column(name); col >= 0 {
		return col
	}
	names := make([]string, len(l.table.Columns))
	for i := range l.table.Columns {
		names[i] = l.table.Columns[i].Name
	}
	b.problem(l.of.path, fmt.Sprintf("table %s has no column %q", l.table, name), didYouMean(name, names))
	return 0
}

// typeOf is a column's type; unseen in a table without columns.
func typeOf(t *capture.Table, col int) *capture.Type {
	if col < len(t.Columns) {
		return t.Columns[col].Type
	}
	return unseen
}

// checkLookup looks whether a row can be found by its key at all.
func (b *binder) checkLookup(l *boundLookup) {
	key := rowKey(l.table)
	same := len(key) == len(l.by)
	for i := range l.by {
		same = same && slices.Contains(key, l.cols[i])
	}
	if !same {
		var names []string
		for _, col := range key {
			names = append(names, l.table.Columns[col].Name)
		}
		hint := "add a primary key"
		if len(names) > 0 {
			hint = "its rows are told apart by " + strings.Join(names, ", ")
		}
		b.problem(l.of.path.at("key"), fmt.Sprintf("%s is not the key of table %s", strings.Join(l.of.Key, ", "), l.table), hint)
		return
	}
	for i, col := range l.by {
		own, other := b.table.Columns[col].Type, l.table.Columns[l.cols[i]].Type
		if own != unseen && !keysCompare(own, other) {
			b.problem(l.path.at("by"), fmt.Sprintf("column %q is %s, and %s.%s is %s: equal keys may be written in different ways, so that no row could be found by them",
				b.table.Columns[col].Name, own.Name, l.table, l.of.Key[i], other.Name), "look rows up by columns of one type, such as integers")
		}
	}
}

// notKept tells why rows of a table that is there cannot be looked up, as rows are kept; at is where the
// config names the table.
func notKept(t *capture.Table, at path, columns []string) []problem {
	if why := t.Unfollowed(); why != "" {
		return []problem{{at.at("table"), fmt.Sprintf("rows of table %s cannot be looked up: %s", t, why), unfollowedRemedy(t)}}
	}
	var list []problem
	if t.Unread != "" {
		list = append(list, problem{at.at("table"), fmt.Sprintf("rows of table %s cannot be looked up, since they cannot be read first: %s", t, t.Unread), t.UnreadRemedy})
	}
	if t.Filtered {
		list = append(list, problem{at.at("table"),
			fmt.Sprintf("the publication has a row filter for table %s: nobody knows whether a row outside it is there, nor what it holds", t),
			"publish the table without its filter: see row_filter"})
	}
	for _, name := range columns {
		if i := t.Column(name); i >= 0 && t.Columns[i].Omitted != "" {
			list = append(list, problem{at.at("columns"), fmt.Sprintf("column %q of table %s cannot be looked up: updates come without it, changed or not", name, t), t.Columns[i].Omitted})
		}
	}
	return list
}

// keysCompare reports whether two types write equal values as equal texts.
func keysCompare(a, b *capture.Type) bool {
	whole := func(t *capture.Type) bool { return t.Kind == capture.Integer || t.Kind == capture.Bigint }
	plain := func(t *capture.Type) bool { return t.Base == "text" || t.Base == "varchar" }
	switch {
	case whole(a) || whole(b):
		return whole(a) && whole(b)
	case folds(a) || folds(b):
		return false
	case plain(a) && plain(b):
		return true
	}
	switch a.Kind {
	case capture.Text, capture.Date, capture.Bool, capture.Bytes:
		return a.Base == b.Base && (a.Name == b.Name || a.Base != "" && a.Base != "enum") // each has labels of its own
	}
	return false
}

// folds reports whether texts of a type may be equal though they are not the same.
func folds(t *capture.Type) bool {
	if t.Base == "enum" { // whose labels are spelled in one way
		return false
	}
	sense := senseOf(t)
	return t.Folds || sense == delivery.SensePadded || sense == delivery.SenseFolded
}
