package mapping

import (
	"fmt"
	"slices"
	"strings"

	"rowhook/capture"
	"rowhook/delivery"
)

// binding is what the mapping does with one table as the stream describes it now.
type binding struct {
	table   *capture.Table
	name    string
	entries []*boundEntry
	ops     opSet // that any entry that takes changes as they come, the context or the signals want
	merging opSet // that any entry wants which takes what a row's changes come to
	rowKey  []int // by which these tell rows apart
	looks   bool  // an entry looks rows of other tables up
	// lookedUp are the key's columns of a table that rows are looked up in; nil for others.
	lookedUp []int
	partsBy  []partBy // what its rows are found by in lists
	// touches are the look-ups whose rows this table's are, where a change of one touches others; by
	// touchKey they are told apart, and touchColumns are what is looked up.
	touches                []touchUse
	touchKey, touchColumns []int
	columns                map[string]int
	senses                 []delivery.Sense // of the columns, see [senseOf]
	context                *contextColumns  // set for the context table
	signal                 *signalColumns   // set for the signal table
	// moveKey are the columns by which a delete turns out to be half of a row's move between
	// partitions: what all entries take for the row's key. None when rows cannot move.
	moveKey []int
	watched bool // somebody is told of an entry's changes
}

// boundEntry is an entry with its columns found in one table.
type boundEntry struct {
	*entry
	table    *capture.Table
	of       *capture.Table // without what is looked up
	ops      opSet
	lookups  []boundLookup
	parts    []*boundPart
	own      int         // columns of the table itself; those behind them are looked up
	old, new capture.Row // of the change at hand, with what is looked up
	merges   bool        // it takes what a row's changes in a transaction come to
	problems []problem   // a faulty entry maps nothing: its changes are parked
	faults   []problem   // of single rules: what they cannot decide is parked, the others go on
	warnings []problem   // what is allowed, but hardly meant
	where    []boundCondition
	events   []boundEvent
	key      []member
	keySound bool // it is the key, hidden and masked as the config says, whatever else is wrong
	orderBy  []int
	order    string // prefix of the ordering keys
	spelling []byte // of the ordering key's column at hand
	shape    []member
	kinds    string // of shape, while nothing is missing
	marked   bool   // marks can tell all of its payloads
	link     []boundLink
	actorID  int
	actor    int
	opColumn int
	bigints  []string
	// remembered says of each column whether its last value is, so that old rows have it.
	remembered []bool
	observer   Observer // who is told of its changes; nil for nobody
}

type boundEvent struct {
	typ   string
	ops   opSet
	rules []boundRule
}

// boundLink is a stretch of text, or a column's place.
type boundLink struct {
	text string
	member
}

// problem is a fault that shows only once the table is known.
type problem struct {
	path   path
	text   string
	remedy string
}

func (p *problem) String() string { return strings.Join(p.path, ".") + ": " + p.text }

// bind ties the mapping to a table. Tables are those that it looks rows up in, as far as they are
// known.
func (r *Rules) bind(t *capture.Table, tables map[string]*capture.Table) *binding {
	b := &binding{table: t, name: t.String(), columns: make(map[string]int, len(t.Columns))}
	for i := range t.Columns {
		b.columns[t.Columns[i].Name] = i
		b.senses = append(b.senses, senseOf(t.Columns[i].Type))
	}
	if r.looksIn(b.name) {
		b.lookedUp = rowKey(t)
	}
	b.partsBy = r.partsBy(t)
	b.bindTouches(r)
	for _, e := range r.entriesOf(t) {
		be := bindEntry(e, t, tables)
		b.entries = append(b.entries, be)
		b.looks = b.looks || len(be.lookups)+len(be.parts) > 0
		if be.merges {
			b.merging |= be.ops
			b.rowKey = rowKey(t)
			continue
		}
		b.ops |= be.ops
	}
	b.bindMemory()
	if t.Partitioned && b.ops&rowOps != 0 {
		b.moveKey = moveKey(b.entries)
	}
	if b.name == r.context.Table {
		b.context = bindContext(t)
		b.ops |= 1 << capture.Insert
	}
	if b.name == r.signals.Table {
		b.signal = bindSignals(t)
		b.ops |= 1 << capture.Insert
	}
	if len(b.moveKey) > 0 {
		b.ops |= 1<<capture.Delete | 1<<capture.Insert
	}
	return b
}

// watch asks who is told of the entries' changes.
func (b *binding) watch(w Watcher) {
	for _, be := range b.entries {
		be.observer = w.Watch(be.watched())
		b.watched = b.watched || be.observer != nil
	}
}

// moveKey is every column that is part of an entry's key. The table's own key would not
// do: a partitioned table's primary key holds the columns that it is partitioned by, which
// are the ones that differ when a row moves.
func moveKey(entries []*boundEntry) []int {
	var cols []int
	for _, e := range entries {
		if e.merges {
			continue
		}
		for _, m := range e.key {
			if !slices.Contains(cols, m.col) {
				cols = append(cols, m.col)
			}
		}
	}
	return cols
}

// binder finds an entry's columns, and notes what it does not find.
type binder struct {
	*boundEntry
}

func bindEntry(e *entry, t *capture.Table, tables map[string]*capture.Table) *boundEntry {
	b := binder{&boundEntry{entry: e, table: t, of: t, order: t.String(), actorID: none, actor: none, opColumn: none}}
	if e.orderPrefix != "" {
		b.order = e.orderPrefix
	}
	b.extend(tables)
	b.bindParts(tables)
	b.checkColumnLists()
	listed := len(b.problems) == 0
	b.columnsOf(e.Memory.Columns, e.path.at("memory", "columns"))
	b.where = b.conditions(e.Where, e.path.at("where"))
	for _, ev := range e.events {
		b.events = append(b.events, b.event(ev))
	}
	for i := range b.events {
		b.ops |= b.events[i].ops
	}
	faults := len(b.problems)
	b.bindKey()
	b.keySound = listed && len(b.problems) == faults
	b.bindShape()
	b.bindLink()
	b.bindCoalesce()
	for _, c := range []struct {
		name string
		key  []string
		col  *int
	}{
		{e.Actor.ID, []string{"actor", "id"}, &b.actorID},
		{e.Actor.Name, []string{"actor", "name"}, &b.actor},
		{e.Operation, []string{"operation"}, &b.opColumn},
	} {
		if c.name != "" && b.has(c.name) {
			*c.col = b.column(c.name, e.path.at(c.key...))
		}
	}
	return b.boundEntry
}

func (b *binder) problem(at path, text, remedy string) {
	b.problems = append(b.problems, problem{at, text, remedy})
}

// column returns the column's index. Of one that is missing it returns 0, since an entry with a
// problem maps nothing.
func (b *binder) column(name string, at path) int {
	if col := b.table.Column(name); col >= 0 {
		b.use(col)
		return col
	}
	names := make([]string, len(b.table.Columns))
	for i := range b.table.Columns {
		names[i] = b.table.Columns[i].Name
	}
	b.problem(at, fmt.Sprintf("table %s has no column %q", b.table, name), didYouMean(name, names))
	return 0
}

// columnsOf are the indexes of a list's columns, each with a place of its own.
func (b *binder) columnsOf(names []string, at path) []int {
	var cols []int
	for i, name := range names {
		cols = append(cols, b.column(name, at.at(fmt.Sprint(i))))
	}
	return cols
}

// has reports whether a column that a wildcard entry can do without is there. Of an entry
// for one table it is always expected.
func (b *binder) has(name string) bool { return !b.wildcard() || b.table.Column(name) >= 0 }

// checkColumnLists refuses names that the table does not have: a misspelt exclude would send
// what must not be sent. A wildcard's lists hold where the column exists.
func (b *binder) checkColumnLists() {
	if b.wildcard() {
		return
	}
	at := b.path.at("columns")
	b.columnsOf(b.Columns.Exclude, at.at("exclude"))
	b.columnsOf(slices.DeleteFunc(slices.Clone(b.Columns.Mask), b.hasPartColumn), at.at("mask"))
	for _, r := range b.Columns.Rename {
		b.column(r.Column, at.at("rename", r.Column))
	}
}

func (b *binder) event(ev *event) boundEvent {
	bound := boundEvent{typ: ev.typ}
	for _, r := range ev.rules {
		if len(r.Touch) == 0 {
			bound.ops |= r.ops
		}
		bound.rules = append(bound.rules, b.rule(r))
	}
	return bound
}

// rule finds a rule's columns. What is missing is that rule's own fault, not the entry's.
func (b *binder) rule(r *rule) boundRule {
	whole := b.problems
	b.problems = nil
	bound := b.conditionsOf(r)
	if len(b.problems) > 0 {
		bound.fault = &b.problems[0]
		b.faults = append(b.faults, b.problems...)
	} else if r.cond != nil {
		b.inferCondition(r)
	}
	b.problems = whole
	return bound
}

// inferCondition notes what the rule's expression could compute for no row of the table. It is
// still tried: a side of and/or that is never reached does no harm.
func (b *binder) inferCondition(r *rule) {
	for _, f := range inferFaults(r.cond, b.table, true) {
		p := problem{r.path.at("if"), fmt.Sprintf("rule %s, if: %s", r.name, f.text), f.remedy}
		if f.idle {
			b.warnings = append(b.warnings, p)
		} else {
			b.faults = append(b.faults, p)
		}
	}
}

func (b *binder) conditionsOf(r *rule) boundRule {
	bound := boundRule{rule: r, set: none, cleared: none}
	for i := range b.lookups {
		if slices.Contains(r.Touch, b.lookups[i].alias) {
			bound.touch = append(bound.touch, i)
		}
	}
	if r.Set != "" {
		bound.set = b.column(r.Set, r.path.at("set"))
	}
	if r.Cleared != "" {
		bound.cleared = b.column(r.Cleared, r.path.at("cleared"))
	}
	bound.changed = b.columnsOf(r.Changed, r.path.at("changed"))
	bound.becomes = b.conditions(r.Becomes, r.path.at("becomes"))
	bound.where = b.conditions(r.Where, r.path.at("where"))
	if r.cond != nil {
		bound.cond = b.expression(r.cond, r.path.at("if"))
	}
	return bound
}

func (b *binder) expression(x *expression, at path) *boundExpression {
	bound := &boundExpression{expression: x}
	for _, ref := range x.columns {
		bound.cols = append(bound.cols, b.column(ref.name, at))
	}
	return bound
}

func (b *binder) conditions(w delivery.Where, at path) []boundCondition {
	var list []boundCondition
	for _, c := range w {
		if b.table.Column(c.Column) < 0 {
			b.column(c.Column, at.at(c.Column))
			continue
		}
		col := b.column(c.Column, at.at(c.Column))
		t := b.table.Columns[col].Type
		bound := boundCondition{col: col, sense: senseOf(t), untyped: t.Kind == capture.Untyped, values: c.Values}
		if t.Kind == capture.Bool {
			bound.values = b.booleans(t, c.Values, at.at(c.Column))
		} else {
			for _, v := range c.Values {
				if text, remedy := NeverHolds(t, v); text != "" {
					b.warnings = append(b.warnings, problem{at.at(c.Column), text, remedy})
				}
			}
		}
		list = append(list, bound)
	}
	return list
}

// booleans turns true and false into the database's text.
func (b *binder) booleans(t *capture.Type, values []delivery.Literal, at path) []delivery.Literal {
	list := slices.Clone(values)
	for i, v := range list {
		switch {
		case v.Null:
		case v.Text == "true":
			list[i].Text = "t"
		case v.Text == "false":
			list[i].Text = "f"
		default:
			text, remedy := NeverHolds(t, v)
			b.problem(at, text, remedy)
		}
	}
	return list
}

// bindKey finds the columns of the key and of the ordering key.
func (b *binder) bindKey() {
	cols := slices.Clone(b.table.Key)
	if len(b.Key) > 0 {
		cols = b.columnsOf(b.Key, b.path.at("key"))
	}
	for _, col := range cols {
		name := b.table.Columns[col].Name
		if slices.Contains(b.Columns.Exclude, name) {
			b.problem(b.path.at("columns", "exclude"), fmt.Sprintf("column %q is excluded, but part of the key", name), "give key other columns, or mask it")
		}
		b.key = append(b.key, b.columnMember(col, b.payloadName(name), ""))
	}
	b.orderBy = cols
	if len(b.OrderBy) > 0 {
		b.orderBy = b.columnsOf(b.OrderBy, b.path.at("order_by"))
	}
}

// payloadName is the column's name in payloads.
func (b *binder) payloadName(column string) string {
	for _, r := range b.Columns.Rename {
		if r.Column == column {
			return r.To
		}
	}
	return column
}

func (b *binder) columnMember(col int, name, parent string) member {
	m := newMember(name, parent)
	m.col = col
	if slices.Contains(b.Columns.Mask, b.table.Columns[col].Name) {
		m.mask = b.maskKey
	}
	return m
}

func newMember(name, parent string) member {
	path := name
	if parent != "" {
		path = parent + "." + name
	}
	return member{label: append(appendString(nil, name), ':'), path: path, col: none}
}

// bindCoalesce looks whether the table's rows can be told apart.
func (b *binder) bindCoalesce() {
	if b.Coalesce == "" {
		return
	}
	at := b.path.at("coalesce")
	b.merges = len(rowKey(b.table)) > 0
	switch {
	case !b.merges && b.wildcard():
		b.warnings = append(b.warnings, problem{at, fmt.Sprintf("table %s has no key, so that its changes are not merged", b.table), "add a primary key"})
	case !b.merges:
		b.problem(at, fmt.Sprintf("table %s has no key by which the changes of a row are told from those of others", b.table),
			"add a primary key, or leave coalesce out")
	case b.table.Partitioned && b.table.Identity != capture.IdentityFull && b.ops.has(capture.Update):
		b.warnings = append(b.warnings, problem{at, "an update of a partitioned table comes without its old key, and is not merged with what came before it", wholeRows(b.table)})
	}
}

// bindShape lays out the payload: the fields as configured, or every column that is not excluded.
func (b *binder) bindShape() {
	if len(b.fields) > 0 {
		b.shape = b.members(b.fields, "")
	} else {
		b.defaultShape()
	}
	b.collectBigints(b.key)
	b.collectBigints(b.shape)
	kinds := make([]byte, len(b.shape))
	for i := range b.shape {
		kinds[i] = b.kind(&b.shape[i])
	}
	b.kinds = string(kinds)
	b.bindMarks()
}

func (b *binder) defaultShape() {
	taken := map[string]string{}
	for col := range b.table.Columns[:b.own] {
		column := b.table.Columns[col].Name
		if slices.Contains(b.Columns.Exclude, column) {
			continue
		}
		name := b.payloadName(column)
		if other, ok := taken[name]; ok {
			b.problem(b.path.at("columns", "rename"), fmt.Sprintf("columns %q and %q have the same name %q in payloads", other, column, name), "")
		}
		taken[name] = column
		b.shape = append(b.shape, b.columnMember(col, name, ""))
	}
}

func (b *binder) members(fields []*field, parent string) []member {
	list := make([]member, 0, len(fields))
	for _, f := range fields {
		m := newMember(f.name, parent)
		switch {
		case f.members != nil:
			m.members = b.members(f.members, m.path)
		case f.expr != nil:
			m.expr = b.field(f)
		case f.constant != nil:
			m.constant = f.constant
		case b.partOf(f.column) != nil:
			b.part(&m, b.partOf(f.column))
			m.items = f.items
		default:
			if slices.Contains(b.Columns.Exclude, f.column) {
				b.problem(f.path, fmt.Sprintf("column %q is excluded", f.column), "")
			}
			m = b.columnMember(b.column(f.column, f.path), f.name, parent)
		}
		m.convert = f.convert
		if m.col != none {
			m.convert = f.convert.of(b.table.Columns[m.col].Type)
		}
		list = append(list, m)
	}
	return list
}

// field ties a field's expression to the table. What it cannot compute is left out of the payload
// and flagged.
func (b *binder) field(f *field) *boundExpression {
	before := len(b.problems)
	bound := b.expression(f.expr, f.path)
	for _, ref := range f.expr.columns {
		b.refuseHidden(ref.name, f.path)
	}
	if len(b.problems) > before {
		return bound
	}
	for _, fault := range inferFaults(f.expr, b.table, false) {
		b.warnings = append(b.warnings, problem{f.path, "expr: " + fault.text, fault.remedy})
	}
	return bound
}

// refuseHidden keeps excluded and masked columns out of expressions whose result is sent.
func (b *binder) refuseHidden(column string, at path) {
	if slices.Contains(b.Columns.Exclude, column) || slices.Contains(b.Columns.Mask, column) {
		b.problem(at, fmt.Sprintf("column %q is excluded or masked, and the expression would send it", column), "")
	}
}

func (b *binder) bindLink() {
	for _, part := range b.entry.link {
		if !b.has(part.column) && part.column != "" {
			b.link = nil
			return
		}
		if part.column == "" {
			b.link = append(b.link, boundLink{text: part.text, member: member{col: none}})
			continue
		}
		at := b.path.at("link")
		if slices.Contains(b.Columns.Exclude, part.column) {
			b.problem(at, fmt.Sprintf("column %q is excluded, and the link would send it", part.column), "")
		}
		b.link = append(b.link, boundLink{member: b.columnMember(b.column(part.column, at), part.column, "")})
	}
}
