package mapping

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"rowhook/capture"
)

// UndecidableError says that a rule hangs on a value that the stream did not carry.
type UndecidableError struct {
	Table, Entry string
	Rule         string // empty where the entry's own setting is meant
	Clause       string // set, where, if, order_by, ...
	Column       string
	Old          bool   // the old value is missing, not the new one
	Untyped      bool   // the value is there, but its type is not known
	LookedUp     string // the table in which it was looked up; empty for a column of the row
	remedy       string
}

func (e *UndecidableError) Error() string {
	what, value := "entry "+e.Entry, "value"
	if e.Rule != "" {
		what = "rule " + e.Rule
	}
	if e.Old {
		value = "old value"
	}
	if e.LookedUp != "" {
		return fmt.Sprintf("map %s: %s, %s: the row of %s that has %q is not known", e.Table, what, e.Clause, e.LookedUp, e.Column)
	}
	if e.Untyped {
		return fmt.Sprintf("map %s: %s, %s: the type of column %q is not known any more", e.Table, what, e.Clause, e.Column)
	}
	return fmt.Sprintf("map %s: %s, %s: the %s of column %q is not in the stream", e.Table, what, e.Clause, value, e.Column)
}

// RemedyText returns the statement that makes the stream carry the value.
func (e *UndecidableError) RemedyText() string { return e.remedy }

func (be *boundEntry) undecidable(b blame) error {
	err := &UndecidableError{
		Table: be.table.String(), Entry: be.Name, Rule: b.rule, Clause: b.clause, Column: b.column, Old: b.old, Untyped: b.untyped,
		remedy: wholeRows(be.table),
	}
	if i := be.table.Column(b.column); i >= be.own {
		err.LookedUp = be.lookedUpIn(i)
		err.remedy = "once `rowhook status` tells that the rows of " + err.LookedUp + " are known: `rowhook failed retry --source`, which looks them up as they are then"
	} else if i >= 0 && be.table.Columns[i].Omitted != "" {
		err.remedy = be.table.Columns[i].Omitted
	}
	if b.untyped {
		err.remedy = untypedRemedy
	}
	return err
}

// untypedRemedy is what is left to do about a value whose type nobody tells any more.
const untypedRemedy = "the table was changed or dropped before the change was read: read the row from the database where receivers need it, and discard this one"

// wholeRows is the SQL that makes a table's stream carry whole rows.
func wholeRows(t *capture.Table) string {
	switch {
	case t.WholeRows != "":
		return t.WholeRows
	case t.NoFull != "":
		return "REPLICA IDENTITY FULL would make the application's UPDATE and DELETE fail (" + t.NoFull + "): write the rule without old values, " +
			"by `op: update` with `where` or an `if` over new"
	case t.FullSQL != "":
		return t.FullSQL
	}
	return fmt.Sprintf("ALTER TABLE %s.%s REPLICA IDENTITY FULL;", quoteName(t.Schema), quoteName(t.Name))
}

var plainName = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

func quoteName(name string) string {
	switch {
	case !plainName.MatchString(name), name == "user", name == "order", name == "group", name == "table":
		return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
	}
	return name
}

// Need is an old value that the mapping needs and the table's replica identity does not carry.
type Need struct {
	Column string
	Why    string // such as: rule loan.returned, set
	// Path is the place in the config that asks for it.
	Path []string
	// Omitted is what to do where no identity brings the value, see [capture.Column].
	Omitted string
}

// splitNeeds parts those that a wider identity meets from those that none does.
func splitNeeds(needs []Need) (met, omitted []Need) {
	for _, n := range needs {
		if n.Omitted != "" {
			omitted = append(omitted, n)
		} else {
			met = append(met, n)
		}
	}
	return met, omitted
}

// Needs lists the old values that the mapping needs beyond the table's replica identity.
// If there are any, the table needs REPLICA IDENTITY FULL, or the config must ask for less.
func (r *Rules) Needs(t *capture.Table) []Need {
	var needs []Need
	for _, be := range r.bind(t, nil).entries {
		if len(be.problems) == 0 {
			needs = append(append(needs, be.needs()...), be.lastContent()...)
		}
	}
	return needs
}

// Finding is a finding about one table, with the place in the config that it is about.
type Finding struct {
	capture.Finding
	Path []string
}

// Check compares the mapping with one table. All findings concern that table only.
// Tables are all that the database has of those that the mapping names.
func (r *Rules) Check(t *capture.Table, tables Tables) []Finding {
	var list []Finding
	add := func(severity capture.Severity, code string, at path, subject, text, remedy string) {
		list = append(list, Finding{capture.Finding{Severity: severity, Code: code, Subject: subject, Text: text, Remedy: remedy, Table: t.String()}, at})
	}
	b := r.bind(t, tables)
	for _, be := range b.entries {
		for _, said := range []struct {
			severity capture.Severity
			list     []problem
		}{{capture.Error, be.problems}, {capture.Error, be.faults}, {capture.Warning, be.warnings}} {
			for _, p := range said.list {
				add(said.severity, "mapping", p.path, strings.Join(p.path, "."), p.text, p.remedy)
			}
		}
		for i := range be.lookups {
			l := &be.lookups[i]
			if l.table == nil {
				add(capture.Error, "lookup", l.of.path.at("table"), l.of.Table, "the table is not in the database, or cannot be read", "")
				continue
			}
			for _, p := range notKept(l.table, l.of.path, l.of.columns) {
				add(capture.Error, "lookup", p.path, l.of.Table, p.text, p.remedy)
			}
		}
		if be.touching() {
			columns, _ := be.ownColumns()
			for _, p := range notKept(be.of, be.path, columns) {
				add(capture.Error, "touch", p.path, t.String(), p.text, p.remedy)
			}
		}
		for _, l := range be.parts {
			if l.table == nil {
				add(capture.Error, "parts", l.path.at("table"), l.Table, "the table is not in the database, or cannot be read", "")
				continue
			}
			for _, p := range notKept(l.table, l.path, l.columns()) {
				add(capture.Error, "parts", p.path, l.Table, p.text, p.remedy)
			}
			if !l.used && len(be.problems) == 0 {
				add(capture.Warning, "parts", l.path, l.Table, fmt.Sprintf("no field of the entry is the list %q, so that no payload has it", l.Name),
					fmt.Sprintf("write fields with %s: %[1]s in it, or leave the list out", l.Name))
			}
		}
		if len(be.problems) > 0 {
			continue
		}
		if severity, text, remedy := be.checkMemory(); text != "" {
			add(severity, "memory", be.path.at("memory"), t.String(), text, remedy)
		}
		needs, omitted := splitNeeds(be.needs())
		if len(omitted) > 0 {
			add(capture.Error, "row_image", omitted[0].Path, t.String(),
				describeNeeds(omitted, true)+", which the binlog leaves out of updates and deletes", omitted[0].Omitted)
		}
		if len(needs) > 0 {
			code, text := "replica_identity", "%s, which the replica identity does not carry"
			if t.WholeRows != "" {
				code, text = "row_image", "%s, which the binlog's row image leaves out"
			}
			add(capture.Error, code, needs[0].Path, t.String(), fmt.Sprintf(text, describeNeeds(needs, t.WholeRows != ""))+be.offerMemory(needs), wholeRows(t))
		}
		if lost := be.lastContent(); len(lost) > 0 {
			remedy := wholeRows(t)
			if lost[0].Omitted != "" {
				remedy = lost[0].Omitted
			}
			add(capture.Warning, "deleted_row", lost[0].Path, t.String(),
				fmt.Sprintf("a format sends deleted rows with their last content, of which the replica identity does not carry column %q%s",
					lost[0].Column, others(len(lost)-1)), remedy)
		}
		if len(be.orderBy) == 0 {
			add(capture.Warning, "no_key", be.path, t.String(),
				fmt.Sprintf("the table has no key: events of entry %s carry an empty key and are delivered one after the other", be.Name),
				"add a primary key, or name columns under key")
		}
	}
	for _, text := range b.sourceProblems() {
		add(capture.Error, "source_table", path{"source"}, t.String(), text, "")
	}
	return list
}

// describeNeeds says which old values are needed, column by column, and by what.
func describeNeeds(needs []Need, partial bool) string {
	what := "old value"
	if partial {
		what = "value"
	}
	if len(needs) == 1 {
		return fmt.Sprintf("%s needs the %s of column %q", needs[0].Why, what, needs[0].Column)
	}
	var columns []string
	reasons := map[string][]string{}
	for _, n := range needs {
		if reasons[n.Column] == nil {
			columns = append(columns, n.Column)
		}
		reasons[n.Column] = append(reasons[n.Column], n.Why)
	}
	for i, column := range columns {
		columns[i] = fmt.Sprintf("%q (%s)", column, strings.Join(reasons[column], "; "))
	}
	return fmt.Sprintf("the mapping needs the %ss of %s", what, strings.Join(columns, ", "))
}

// sourceProblems are what the tables of context and signals lack.
func (b *binding) sourceProblems() []string {
	var list []string
	if b.context != nil {
		list = append(list, b.context.problem(b.name))
	}
	if b.signal != nil {
		list = append(list, b.signal.problem(b.name))
	}
	return slices.DeleteFunc(list, func(s string) bool { return s == "" })
}

// needs lists the columns whose old values the entry cannot do without. An identity that nobody
// declared (zero) is not judged.
func (be *boundEntry) needs() []Need {
	n := needList{be: be}
	updates, deletes := be.ops.has(capture.Update), be.ops.has(capture.Delete)
	partial := be.partial()
	if deletes || updates && partial {
		n.conditions("entry "+be.Name+", where", be.path.at("where"), be.where)
	}
	for i := range be.events {
		for j := range be.events[i].rules {
			if r := &be.events[i].rules[j]; r.fault == nil && len(r.rule.Touch) == 0 {
				n.rule(r)
			}
		}
	}
	if deletes {
		for i := range be.key {
			n.old("entry "+be.Name+", key", be.path.at("key"), be.key[i].col)
		}
	}
	if (updates || deletes) && len(be.OrderBy) > 0 {
		for _, col := range be.orderBy {
			n.old("entry "+be.Name+", order_by", be.path.at("order_by"), col)
		}
	} else if updates && !deletes {
		for _, col := range be.orderBy {
			n.old("entry "+be.Name+", key", be.path.at("key"), col)
		}
	}
	return n.needs
}

// partial reports whether the new row of an update may lack columns too.
func (be *boundEntry) partial() bool {
	return be.table.WholeRows != "" || slices.ContainsFunc(be.table.Columns, func(c capture.Column) bool { return c.Omitted != "" })
}

// lastContent lists the columns of a deleted row that a format would send and the stream does not
// carry. Unlike needs, they keep no event from being made.
func (be *boundEntry) lastContent() []Need {
	if !be.wholeDelete {
		return nil
	}
	n := needList{be: be}
	n.shape("entry "+be.Name+", the deleted row's last content", be.path.at("fields"), be.shape)
	return n.needs
}

func (n *needList) shape(why string, at path, members []member) {
	for i := range members {
		m := &members[i]
		n.shape(why, at, m.members)
		if m.col != none {
			n.old(why, at, m.col)
		}
		if m.part != nil {
			for _, col := range m.part.own {
				n.old(why, at, col)
			}
		}
		if m.expr == nil {
			continue
		}
		for j, ref := range m.expr.columns {
			if ref.side != sideNew {
				n.old(why, at, m.expr.cols[j])
			}
		}
	}
}

// others is " and 3 others".
func others(n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return " and one other"
	}
	return fmt.Sprintf(" and %d others", n)
}

// needList collects needs, each once.
type needList struct {
	be    *boundEntry
	needs []Need
}

// rule lists what one rule needs. A rule that looks at old values beyond the identity can never be
// decided in favour of firing: what it is there for never happens, or is parked each time.
func (n *needList) rule(r *boundRule) {
	why, at := "rule "+r.rule.name, r.rule.path
	if r.rule.ops.has(capture.Update) {
		if r.set != none {
			n.old(why+", set", at.at("set"), r.set)
		}
		if r.cleared != none {
			n.old(why+", cleared", at.at("cleared"), r.cleared)
		}
		for _, col := range r.changed {
			n.old(why+", changed", at.at("changed"), col)
		}
		n.conditions(why+", becomes", at.at("becomes"), r.becomes)
	}
	// Of a partial row image the new row of an update lacks what the old one lacks.
	newToo := n.be.partial() && r.rule.ops.has(capture.Update)
	if r.rule.ops.has(capture.Delete) || newToo {
		n.conditions(why+", where", at.at("where"), r.where)
	}
	if r.cond == nil {
		return
	}
	for i, ref := range r.cond.columns {
		reads := ref.side == sideOld && r.rule.ops&(1<<capture.Update|1<<capture.Delete) != 0 ||
			ref.side == sideRow && r.rule.ops.has(capture.Delete) || ref.side != sideOld && newToo
		if reads {
			n.old(why+", if", at.at("if"), r.cond.cols[i])
		}
	}
}

func (n *needList) conditions(why string, at path, list []boundCondition) {
	for i := range list {
		n.old(why, at, list[i].col)
	}
}

// old notes that a column's old value is needed, where the identity does not carry it.
func (n *needList) old(why string, at path, col int) {
	t := n.be.table
	if col >= n.be.own { // it is found by columns that must be known
		for i := range n.be.lookups {
			if l := &n.be.lookups[i]; col >= l.first && col < l.first+len(l.of.columns) {
				for _, by := range l.by {
					n.old(why, at, by)
				}
			}
		}
		return
	}
	column := &t.Columns[col]
	if column.Omitted == "" &&
		(n.be.remembered[col] || t.Identity == 0 || t.Identity == capture.IdentityFull || column.Identity && t.Identity != capture.IdentityNothing) {
		return
	}
	need := Need{Column: column.Name, Why: why, Path: at, Omitted: column.Omitted}
	if !slices.ContainsFunc(n.needs, func(o Need) bool { return o.Column == need.Column && o.Why == need.Why }) {
		n.needs = append(n.needs, need)
	}
}

// Tables are tables by their names.
type Tables map[string]*capture.Table

// ByName finds tables by their names.
func ByName(tables []*capture.Table) Tables {
	named := make(Tables, len(tables))
	for _, t := range tables {
		named[t.String()] = t
	}
	return named
}

// lookedUpIn names the table in which a column of the extended table is looked up.
func (be *boundEntry) lookedUpIn(col int) string {
	for i := range be.lookups {
		if l := &be.lookups[i]; col >= l.first && col < l.first+len(l.of.columns) {
			return l.of.Table
		}
	}
	return ""
}
