package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"rowhook/capture"
)

const (
	// partsMost is how many rows a list may have, and DefaultParts how many where nobody says.
	partsMost    = 1000
	DefaultParts = 100
	// partsBytes is how much of rows a list has; the first is always there.
	partsBytes = 1 << 20
)

// PartUse has an entry see the rows of another table that belong to its own, as a list.
type PartUse struct {
	Name    string   `yaml:",key"`
	Table   string   `yaml:"table" doc:"schema.table"`
	By      PartBy   `yaml:"by" doc:"column of that table that holds the entry's key; or {its column: the entry's column}, one or several"`
	Columns []string `yaml:"columns,oneormany" doc:"columns of each row in the list"`
	Max     int      `yaml:"max" doc:"rows in the list, 1000 at most. Default: 100. Of more, the first by their key are sent, and unavailable names the rest"`
}

// PartBy says by which columns rows are found.
type PartBy struct {
	Column string     `yaml:",scalar"`
	Pairs  []PartPair `yaml:",rest"`
}

// PartPair is a column of the list's table, and the one of the entry that has its value.
type PartPair struct {
	Column string `yaml:",key"`
	Own    string `yaml:",value"`
}

// part is a list of another table's rows.
type part struct {
	PartUse
	path path
	by   []string // columns of that table, in order
	own  []string // those of the entry's; empty for its key
}

// columns are those that are kept.
func (p *part) columns() []string {
	list := slices.Clone(p.by)
	for _, c := range p.Columns {
		if !slices.Contains(list, c) {
			list = append(list, c)
		}
	}
	return list
}

// compileParts checks the entry's parts, and refuses what they cannot be used for.
func (e *entry) compileParts() error {
	var errs []error
	for _, use := range e.Parts {
		at := e.path.at("parts", use.Name)
		p := &part{PartUse: use, path: at}
		schema, name, ok := capture.ParseTable(use.Table)
		switch {
		case !aliasName.MatchString(use.Name):
			errs = append(errs, at.err(fmt.Sprintf("%q is no name for a list", use.Name), "use letters, digits and _"))
		case e.wildcard():
			errs = append(errs, at.err("an entry for a whole schema has no parts", "write an entry for the table"))
		case slices.Contains(e.aliases(), use.Name):
			errs = append(errs, at.err(fmt.Sprintf("lookup has a row %q, too", use.Name), "give the list another name"))
		case !ok || strings.Contains(schema+name, "*"):
			errs = append(errs, at.at("table").err(fmt.Sprintf("%q is not a table", use.Table), "write schema.table"))
		case len(use.Columns) == 0:
			errs = append(errs, at.err("columns is missing", "name the columns of each row in the list"))
		case use.Max < 1 || use.Max > partsMost:
			errs = append(errs, at.at("max").err(fmt.Sprintf("%d is not between 1 and %d", use.Max, partsMost), ""))
		case use.By.Column == "" && len(use.By.Pairs) == 0:
			errs = append(errs, at.err("by is missing", fmt.Sprintf("name the column of %s that holds the entry's key", use.Table)))
		default:
			errs = append(errs, checkColumns(use.Columns, at.at("columns")), p.pair())
			e.parts = append(e.parts, p)
		}
	}
	return errors.Join(append(errs, e.refuseParts()...)...)
}

// pair puts the columns by which rows are found in one order, however they are written.
func (p *part) pair() error {
	if p.By.Column != "" {
		p.by = []string{p.By.Column}
		return nil
	}
	pairs := slices.SortedFunc(slices.Values(p.By.Pairs), func(a, b PartPair) int { return strings.Compare(a.Column, b.Column) })
	for _, pair := range pairs {
		if pair.Own == "" {
			return p.path.at("by", pair.Column).err("the entry's column is missing", "name the column that has the same value")
		}
		p.by, p.own = append(p.by, pair.Column), append(p.own, pair.Own)
	}
	return nil
}

// partOf returns the list that a column's name is of; nil for any other.
func (e *entry) partOf(column string) *part {
	name, _, _ := strings.Cut(column, ".")
	for _, p := range e.parts {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// refuseParts refuses lists where a value is asked for.
func (e *entry) refuseParts() (errs []error) {
	if len(e.parts) == 0 {
		return nil
	}
	refuse := func(at path, what string, columns ...string) {
		for _, c := range columns {
			if p := e.partOf(c); p != nil {
				errs = append(errs, at.err(fmt.Sprintf("%s takes no parts: %q is a list of rows of %s", what, c, p.Table), "only fields takes it: name a column of the table itself"))
			}
		}
	}
	expression := func(at path, what string, x *expression) {
		if x == nil {
			return
		}
		for _, ref := range x.columns {
			refuse(at, what, ref.name)
		}
	}
	refuse(e.path.at("key"), "key", e.Key...)
	refuse(e.path.at("order_by"), "order_by", e.OrderBy...)
	refuse(e.path.at("actor"), "actor", e.Actor.ID, e.Actor.Name)
	refuse(e.path.at("operation"), "operation", e.Operation)
	refuse(e.path.at("memory", "columns"), "memory", e.Memory.Columns...)
	for _, c := range e.Where {
		refuse(e.path.at("where"), "where", c.Column)
	}
	for _, place := range e.link {
		refuse(e.path.at("link"), "link", place.column)
	}
	for _, l := range e.lookups {
		refuse(l.path.at("by"), "by", l.by...)
	}
	for _, p := range e.parts {
		refuse(p.path.at("by"), "by", p.own...)
	}
	for _, ev := range e.events {
		for _, r := range ev.rules {
			refuse(r.path.at("set"), "set", r.Set)
			refuse(r.path.at("cleared"), "cleared", r.Cleared)
			refuse(r.path.at("changed"), "changed", r.Changed...)
			for _, c := range r.Becomes {
				refuse(r.path.at("becomes"), "becomes", c.Column)
			}
			for _, c := range r.Where {
				refuse(r.path.at("where"), "where", c.Column)
			}
			expression(r.path.at("if"), "if", r.cond)
		}
	}
	return append(errs, e.refusePartFields(e.fields, expression)...)
}

func (e *entry) refusePartFields(fields []*field, expression func(path, string, *expression)) (errs []error) {
	for _, f := range fields {
		errs = append(errs, e.refusePartFields(f.members, expression)...)
		expression(f.path, "expr", f.expr)
		if p := e.partOf(f.column); p != nil && f.column != p.Name {
			errs = append(errs, f.path.err(fmt.Sprintf("%s is a list of rows: %q is no one's value", p.Name, f.column),
				fmt.Sprintf("write {column: %s, items: {name: column}} for the shape of each row", p.Name)))
		}
	}
	return errs
}

// boundPart is a list tied to two tables, and what is in it for the change at hand.
type boundPart struct {
	*part
	own   []int          // in the entry's extended table
	table *capture.Table // nil while nobody has described it
	by    []int          // in table
	cols  []int          // likewise: those in the list
	items []partColumn
	row   capture.Row
	used  bool // a field has it

	asked       bool // for the change at hand
	known, more bool
	values      []capture.Value // of one row after the other
}

// partColumn is one column of a list's rows.
type partColumn struct {
	label []byte
	name  string // as flags have it
	typ   *capture.Type
	mask  []byte
}

// bindParts ties the entry's lists to their tables.
func (b *binder) bindParts(tables map[string]*capture.Table) {
	for _, p := range b.entry.parts {
		bound := &boundPart{part: p, table: tables[p.Table]}
		if b.table.Column(p.Name) >= 0 {
			b.problem(p.path, fmt.Sprintf("table %s has a column %q, too", b.table, p.Name), "give the list another name")
		}
		if bound.own = b.columnsOf(p.own, p.path.at("by")); len(p.own) == 0 {
			bound.own = b.partKey(p)
		}
		for _, col := range bound.own {
			b.use(col)
		}
		if bound.table != nil {
			b.describePart(bound)
		}
		b.parts = append(b.parts, bound)
	}
}

// partKey is the entry's key, which has one column.
func (b *binder) partKey(p *part) []int {
	key := b.table.Key
	if len(b.Key) > 0 {
		key = b.columnsOf(b.Key, b.path.at("key"))
	}
	if len(key) != 1 {
		b.problem(p.path.at("by"), fmt.Sprintf("the key of table %s has %d columns", b.table, len(key)),
			fmt.Sprintf("write by: {column of %s: column of %s}", p.Table, b.table))
		return nil
	}
	return key
}

// describePart finds the columns of the list's table.
func (b *binder) describePart(p *boundPart) {
	column := func(name, key string) int {
		if col := p.table.Column(name); col >= 0 {
			return col
		}
		names := make([]string, len(p.table.Columns))
		for i := range p.table.Columns {
			names[i] = p.table.Columns[i].Name
		}
		b.problem(p.path.at(key), fmt.Sprintf("table %s has no column %q", p.table, name), didYouMean(name, names))
		return 0
	}
	faults := len(b.problems)
	for _, name := range p.part.by {
		p.by = append(p.by, column(name, "by"))
	}
	for _, name := range p.Columns {
		col := column(name, "columns")
		item := partColumn{label: append(appendString(nil, name), ':'), name: p.Name + "." + name, typ: typeOf(p.table, col)}
		if slices.Contains(b.Columns.Mask, item.name) {
			item.mask = b.maskKey
		}
		p.cols, p.items = append(p.cols, col), append(p.items, item)
	}
	p.row = make(capture.Row, len(p.table.Columns))
	if len(b.problems) > faults || len(p.own) != len(p.by) {
		return
	}
	for i, col := range p.own {
		own, other := &b.table.Columns[col], &p.table.Columns[p.by[i]]
		if own.Type != unseen && !keysCompare(own.Type, other.Type) {
			b.problem(p.path.at("by"), fmt.Sprintf("column %q is %s, and %s.%s is %s: equal values may be written in different ways, so that rows would be missing",
				own.Name, own.Type.Name, p.table, other.Name, other.Type.Name), "find rows by columns of one type, such as integers")
		}
	}
}

// hasPartColumn reports whether a name is alias.column of a list.
func (b *binder) hasPartColumn(name string) bool {
	for _, p := range b.entry.parts {
		if alias, column, ok := strings.Cut(name, "."); ok && alias == p.Name && slices.Contains(p.Columns, column) {
			return true
		}
	}
	return false
}

// part ties a field to a list.
func (b *binder) part(m *member, p *part) {
	for _, bound := range b.parts {
		if bound.part == p {
			m.part, bound.used = bound, true
		}
	}
}

// forgetParts drops what the change before had in the entry's lists.
func (be *boundEntry) forgetParts() {
	for _, p := range be.parts {
		p.asked = false
	}
}

// findParts finds the rows of the entry's lists, as they are at the commit, where events tell them.
func (m *Mapper) findParts(be *boundEntry) error {
	if m.eval.op == capture.Truncate || m.eval.op == capture.Delete && !be.wholeDelete {
		return nil
	}
	for _, p := range be.parts {
		if !p.used {
			continue
		}
		if err := m.findPart(p); err != nil {
			return err
		}
	}
	return nil
}

func (m *Mapper) findPart(p *boundPart) error {
	p.asked, p.known, p.more, p.values = true, false, false, p.values[:0]
	if m.lookups == nil || p.table == nil || p.table.Filtered || m.trusted.early && m.trusted.blind {
		return nil
	}
	clear(p.row)
	for i, col := range p.own {
		v := m.eval.current(col)
		switch {
		case !known(v) || m.eval.untyped(v, col):
			return nil
		case v.State == capture.Null: // nothing equals it
			p.known = true
			return nil
		}
		p.row[p.by[i]] = v
	}
	if m.trusted.early {
		m.trusted.noteParts(p)
	}
	bytes := 0
	var err error
	p.more, p.known, err = m.lookups.Parts(p.table, p.by, p.row, p.Max, func(row capture.Row) bool {
		first := bytes == 0
		for _, col := range p.cols {
			bytes += 1 + len(row[col].Text)
		}
		if bytes > partsBytes && !first {
			return false
		}
		for _, col := range p.cols {
			p.values = append(p.values, row[col])
		}
		return true
	})
	return err
}

// list writes a list. What of its rows is unknown is left out, and named, and so are the rows beyond the
// most that it may have.
func (w *renderer) list(m *member) bool {
	p := m.part
	unknown := !p.known || m.convert != nil && slices.ContainsFunc(p.values, func(v capture.Value) bool { return !known(v) })
	if unknown {
		w.unavailable, m.absent = append(w.unavailable, m.path), true
		return false
	}
	start := len(w.buf)
	w.buf = append(w.buf, '[')
	n := 0
	for values := p.values; len(values) > 0; values = values[len(p.cols):] {
		if n > 0 {
			w.buf = append(w.buf, ',')
		}
		w.item(m, n, values[:len(p.cols)])
		n++
	}
	w.buf = append(w.buf, ']')
	if p.more {
		w.unavailable = append(w.unavailable, fmt.Sprintf("%s[%d:]", m.path, n))
		w.flag(m.path)
	}
	w.convertFrom(start, m, m.path)
	return true
}

// item writes one row of a list.
func (w *renderer) item(m *member, n int, values []capture.Value) {
	w.buf = append(w.buf, '{')
	first := true
	for i := range m.part.items {
		c, v := &m.part.items[i], values[i]
		if !known(v) {
			_, column, _ := strings.Cut(c.name, ".")
			w.unavailable = append(w.unavailable, fmt.Sprintf("%s[%d].%s", m.path, n, column))
			continue
		}
		if !first {
			w.buf = append(w.buf, ',')
		}
		first = false
		w.buf = append(w.buf, c.label...)
		switch {
		case v.State == capture.Null:
			w.buf = append(w.buf, "null"...)
		case c.mask != nil:
			w.buf = appendString(w.buf, mask(c.mask, v.Text))
		default:
			if holdsBigints(c.typ) && beyondDoubles(v.Text) && !m.rounded {
				w.round(m, c.name)
			}
			var ok bool
			if w.buf, ok = c.typ.AppendJSON(w.buf, v.Text); !ok {
				w.flag(c.name)
			}
		}
	}
	w.buf = append(w.buf, '}')
}

// bigints lists the columns that hold 64-bit integers as numbers.
func (p *boundPart) bigints(path string) (list []string) {
	for i := range p.items {
		if c := &p.items[i]; c.mask == nil && holdsBigints(c.typ) {
			_, column, _ := strings.Cut(c.name, ".")
			list = append(list, path+"."+column)
		}
	}
	return list
}

// shapedBigints lists the members that hold them in rows of another shape.
func (p *boundPart) shapedBigints(path string, fields []*field) (list []string) {
	for _, f := range fields {
		at := path + "." + f.name
		switch {
		case f.members != nil:
			list = append(list, p.shapedBigints(at, f.members)...)
		case f.convert != nil || f.constant != nil:
		case f.column == ".":
			list = append(list, p.bigints(at)...)
		case slices.Contains(p.bigints(p.Name), p.Name+"."+f.column):
			list = append(list, at)
		}
	}
	return list
}

// partBy is what rows of a table are found by in lists.
type partBy struct {
	name    string // of all columns
	columns []int
}

// partsBy lists what a table's rows are found by in the mapping's lists.
func (r *Rules) partsBy(t *capture.Table) (list []partBy) {
	for _, e := range r.looking {
		for _, p := range e.parts {
			by := partBy{name: strings.Join(p.by, ",")}
			if p.Table != t.String() || slices.ContainsFunc(list, func(o partBy) bool { return o.name == by.name }) {
				continue
			}
			for _, name := range p.by {
				by.columns = append(by.columns, t.Column(name))
			}
			if !slices.Contains(by.columns, none) {
				list = append(list, by)
			}
		}
	}
	return list
}

// noteParts keeps that rows were found by these values.
func (t *trusted) noteParts(p *boundPart) {
	if t.all || !t.name(p.table, strings.Join(p.part.by, ","), p.by, func(i int) capture.Value { return p.row[i] }) {
		t.all = true
		return
	}
	t.add()
}
