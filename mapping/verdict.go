package mapping

import (
	"slices"

	"rowhook/capture"
	"rowhook/delivery"
)

// Watcher is asked who is told of an entry's changes. It is asked once for each description of a
// table that a mapper meets.
type Watcher interface {
	// Watch returns who is told; nil when nobody is.
	Watch(e *Watched) Observer
}

// Observer is told of an entry's changes.
type Observer interface {
	// Mapped is told of a change that the entry was asked about, after the entry's events and
	// failure, and of one that no rule of it is for. The judgement is valid until the call returns.
	Mapped(j *Judgement)
}

// Watched describes an entry as one table binds it.
type Watched struct {
	Entry, Table string
	Key          []KeyColumn
	Where        []Clause // of the entry itself
	Events       []WatchedEvent
	Lookups      []WatchedLookup `json:",omitempty"`
	Parts        []WatchedPart   `json:",omitempty"` // that its events have
	// Problem says why the entry maps nothing; empty when it does.
	Problem string
}

// KeyColumn is a column of the entry's key, with its name in payloads.
type KeyColumn struct{ Column, Name string }

// WatchedLookup is a row of another table that an entry sees.
type WatchedLookup struct {
	Name, Table string
	By          []string // columns that hold its key
	Columns     []string // that the entry says or asks about, but for its key: alias.column
}

// WatchedPart is a list of another table's rows.
type WatchedPart struct {
	Name, Table string
	By          []string // columns that hold what its rows are found by
}

// WatchedEvent is an event type of an entry.
type WatchedEvent struct {
	Type  string
	Rules []WatchedRule
}

// WatchedRule is a rule of an event type. All of its clauses must hold.
type WatchedRule struct {
	Name    string   // as errors call it
	Ops     []string // touch where it is about changes of what the row refers to
	Clauses []Clause
	Problem string // why it can never be decided; empty when it can
}

// Clause is one condition of a rule, or of an entry.
type Clause struct {
	Kind    string   // set, cleared, changed, becomes, where or if
	Columns []string // several of changed; of an if those that it reads, as old.x, new.x or row.x
	Values  []string // that the column may have, as they are written in the config; of becomes and where
	Text    string   // of an if
}

// Standing is how a rule stands to a change.
type Standing uint8

// The standings.
const (
	Holds       Standing = iota + 1
	Fails                // a clause does not hold
	Undecided            // a clause hangs on a value that the stream did not carry
	ForOtherOps          // the rule is not for the change's operation
	NotAsked             // a rule before it holds, and the entry takes the first, or the row is not the entry's
)

// Verdict is how a rule stands to the change at hand, and why.
type Verdict struct {
	Event, Rule int // by their places in [Watched]
	Standing    Standing
	// Clause is the first that does not hold, or cannot be decided, by its place; -1 for none.
	Clause int
	Reason Reason
	// Old says that it is the column's old value that decided.
	Old bool
	col int // whose value decided; none for no single one
	of  *boundExpression
}

// Reason says in what a clause fails.
type Reason uint8

// The reasons of clauses that do not hold.
const (
	NoReason   Reason = iota
	OtherValue        // the column's value is another one
	WasSet            // it had a value before
	WasNull           // it was NULL before
	IsNull            // it is NULL now
	IsSet             // it has a value now
	Unchanged         // the columns did not change
	HeldBefore        // the values held before the change, too
	WrongOp           // the operation has no such change
	False             // the expression is false
	Unknown           // the stream did not carry the value
	Untyped           // the value is there, but its type is not known
	Fault             // the value cannot be computed with
)

// Judgement is what an observer can ask about the change at hand.
type Judgement struct {
	m       *Mapper
	be      *boundEntry
	ready   bool // the mapper's evaluation is of this entry and change
	mapped  bool // it was when the entry was asked
	failure *Failure
}

// Watch has w asked about entries from the next description of a table on. It is called before the
// first change.
func (m *Mapper) Watch(w Watcher) { m.watcher, m.judgement.m = w, m }

// Op is the change's operation.
func (j *Judgement) Op() capture.Op { return j.m.whole.Op }

// Ordinal is the change's place in its transaction.
func (j *Judgement) Ordinal() int { return j.m.whole.Ordinal }

// Failure says why the change was parked for the entry; nil when it was not.
func (j *Judgement) Failure() *Failure { return j.failure }

// Folded are the changes that became the one at hand, in order: those of its row under coalesce, or the
// delete and the insert of a move between partitions. There are none where it stands for itself.
func (j *Judgement) Folded() []*capture.Change {
	if len(j.m.changes) < 2 {
		return nil
	}
	return j.m.changes
}

// Nothing reports whether they came to nothing: the row was neither there before nor is it after. The
// change at hand is then the last of them, and no rule was asked.
func (j *Judgement) Nothing() bool { return j.m.nothing }

// LookedUp tells what came of a look-up, by its place in [Watched].
func (j *Judgement) LookedUp(i int) Found {
	if !j.mapped || j.m.nothing {
		return NotLookedUp
	}
	return j.be.lookups[i].found
}

// Listing is what came of a list.
type Listing struct {
	Known bool
	Rows  int  // that events have
	More  bool // there are more than the list may have
}

// Listed tells what came of a list, by its place in [Watched]. ok is false where no event was to have
// it.
func (j *Judgement) Listed(i int) (l Listing, ok bool) {
	if !j.mapped || j.m.nothing {
		return l, false
	}
	for _, p := range j.be.parts {
		if !p.used {
			continue
		}
		if i--; i < 0 {
			return Listing{Known: p.known, Rows: len(p.values) / len(p.cols), More: p.more}, p.asked
		}
	}
	return l, false
}

// Touched reports whether it is the change of a looked-up row that the entry was asked about.
func (j *Judgement) Touched(i int) bool {
	return j.mapped && j.m.eval.touched && j.be.lookups[i].touched
}

// prepare makes the mapper's evaluation one of this entry and change. Of a change that no rule is for
// nothing was looked up: what would be is not known.
func (j *Judgement) prepare() {
	m := j.m
	if !j.ready {
		m.eval = evaluation{rows: newRows(m.whole), at: m.commitTime(), context: &m.contexts}
		if len(j.be.lookups) > 0 {
			m.eval.extend(j.be)
		}
		j.ready = true
	}
	m.eval.entry, m.eval.blame, m.eval.cost = j.be, blame{}, cost{}
}

// Sound reports whether the rows are what the table's description says. Of others nothing can be
// asked but Op, Ordinal and Failure.
func (j *Judgement) Sound() bool {
	j.prepare()
	return len(j.be.problems) == 0 && j.m.eval.check() == nil
}

// Told is who made the change, the config's defaults included.
func (j *Judgement) Told() (actor delivery.Actor, operation string) {
	j.prepare()
	m := j.m
	trigger := m.contexts.trigger
	if m.whole.Statement != m.contexts.statement { // what it said is about another statement
		m.contexts.trigger = told{}
	}
	t := m.eval.told()
	m.contexts.trigger = trigger
	return t.actor, t.operation
}

// AppendKey appends the row's key as events have it, or as it was before the change. ok is false
// where it is not known. Before a change that did not touch it, it is the same.
func (j *Judgement) AppendKey(dst []byte, old bool) (key []byte, ok bool) {
	j.prepare()
	return j.be.appendKey(dst, &j.m.eval, old)
}

// appendKey appends the key of the row that an evaluation is about, as events have it. ok is false
// where it is not known.
func (be *boundEntry) appendKey(dst []byte, e *evaluation, old bool) (key []byte, ok bool) {
	if len(be.key) == 0 || e.op == capture.Truncate {
		return dst, false
	}
	pick := (*rows).current
	if old {
		pick = (*rows).before
	}
	w := renderer{e: e, buf: append(dst, '{')}
	for i := range be.key {
		m := &be.key[i]
		v := pick(&e.rows, m.col)
		if !known(v) {
			return dst, false
		}
		if i > 0 {
			w.buf = append(w.buf, ',')
		}
		w.buf = append(w.buf, m.label...)
		rounded := m.rounded
		w.value(m, v)
		m.rounded = rounded // nobody was told
	}
	return append(w.buf, '}'), true
}

// Moved reports whether the change gave the row another key.
func (j *Judgement) Moved() bool {
	j.prepare()
	e := &j.m.eval
	if e.op != capture.Update || e.old == nil {
		return false
	}
	for i := range j.be.key {
		before, after := e.before(j.be.key[i].col), e.after(j.be.key[i].col)
		if known(before) && known(after) && !equal(before, after) {
			return true
		}
	}
	return false
}

// About answers whether the row is one of those that the entry is about.
func (j *Judgement) About() Verdict {
	j.prepare()
	e := &j.m.eval
	v := Verdict{Standing: Holds, Clause: none, col: none}
	if e.op == capture.Truncate {
		return v
	}
	switch e.where(j.be.where) {
	case delivery.False:
		v.Standing = Fails
		v.Clause, v.col, v.Reason = e.whereFails(j.be.where)
		v.Old = e.op == capture.Delete
	case delivery.Undecidable:
		v.Standing = Undecided
		j.blamed(&v, j.clausesOf(nil))
	}
	return v
}

// AppendVerdicts appends how each rule stands to the change.
func (j *Judgement) AppendVerdicts(dst []Verdict) []Verdict {
	about := j.About().Standing != Fails
	e := &j.m.eval
	taken := false // the entry takes the first event that fires, or may
	for i := range j.be.events {
		ev := &j.be.events[i]
		fired, may := false, false
		for k := range ev.rules {
			r := &ev.rules[k]
			v := Verdict{Event: i, Rule: k, Clause: none, col: none}
			switch {
			case !e.asks(r):
				v.Standing = ForOtherOps
			case !about || taken || fired:
				v.Standing = NotAsked
			default:
				j.prepare()
				j.judge(r, &v)
				fired, may = v.Standing == Holds, may || v.Standing == Undecided
			}
			dst = append(dst, v)
		}
		taken = taken || j.be.Rules == "first" && (fired || may)
	}
	return dst
}

// judge asks one rule.
func (j *Judgement) judge(r *boundRule, v *Verdict) {
	e := &j.m.eval
	if r.fault != nil {
		v.Standing, v.Reason = Undecided, Fault
		return
	}
	switch r.fires(e) {
	case delivery.True:
		v.Standing = Holds
	case delivery.False:
		v.Standing = Fails
		v.Clause, v.Reason, v.col, v.Old = r.failing(e)
		if v.Reason == False {
			v.of = r.cond
		}
	default:
		v.Standing = Undecided
		j.blamed(v, j.clausesOf(r))
	}
}

// blamed fills in what stands in the way of a decision.
func (j *Judgement) blamed(v *Verdict, clauses []boundClause) {
	b := &j.m.eval.blame
	v.Old = b.old
	switch {
	case b.err != nil:
		v.Reason = Fault
	case b.untyped:
		v.Reason = Untyped
	default:
		v.Reason = Unknown
	}
	v.col = j.m.eval.table.Column(b.column)
	for i, c := range clauses {
		if c.kind == b.clause && (c.col == none || c.col == v.col) {
			v.Clause = i
			return
		}
	}
	if b.clause == "" && len(clauses) > 0 && clauses[len(clauses)-1].kind == "if" {
		v.Clause = len(clauses) - 1
	}
}

// boundClause places a clause of [Watched].
type boundClause struct {
	kind string
	col  int // none for one of several columns
}

// clausesOf lists a rule's clauses in the order of [Watched]; of no rule the entry's.
func (j *Judgement) clausesOf(r *boundRule) []boundClause {
	list := make([]boundClause, 0, 8)
	add := func(kind string, conditions []boundCondition) {
		for i := range conditions {
			list = append(list, boundClause{kind, conditions[i].col})
		}
	}
	if r == nil {
		add("where", j.be.where)
		return list
	}
	if r.set != none {
		list = append(list, boundClause{"set", r.set})
	}
	if r.cleared != none {
		list = append(list, boundClause{"cleared", r.cleared})
	}
	if len(r.changed) > 0 {
		list = append(list, boundClause{"changed", none})
	}
	add("becomes", r.becomes)
	add("where", r.where)
	if r.cond != nil {
		list = append(list, boundClause{"if", none})
	}
	return list
}

// failing finds the first clause that does not hold, in the order of [Watched], and what decided.
func (r *boundRule) failing(e *evaluation) (clause int, reason Reason, col int, old bool) {
	at := 0
	if r.set != none {
		if r.isSet(e) == delivery.False {
			switch now := e.after(r.set); {
			case e.op == capture.Delete:
				return at, WrongOp, none, false
			case now.State == capture.Null:
				return at, IsNull, r.set, false
			case e.unchanged(r.set):
				return at, Unchanged, r.set, false
			}
			return at, WasSet, r.set, true
		}
		at++
	}
	if r.cleared != none {
		if r.isCleared(e) == delivery.False {
			switch now := e.after(r.cleared); {
			case e.op != capture.Update:
				return at, WrongOp, none, false
			case now.State == capture.Present:
				return at, IsSet, r.cleared, false
			case e.unchanged(r.cleared):
				return at, Unchanged, r.cleared, false
			}
			return at, WasNull, r.cleared, true
		}
		at++
	}
	if len(r.changed) > 0 {
		if r.isChanged(e) == delivery.False {
			if e.op != capture.Update {
				return at, WrongOp, none, false
			}
			return at, Unchanged, r.changed[0], false
		}
		at++
	}
	if len(r.becomes) > 0 && r.isBecome(e) == delivery.False {
		if e.op == capture.Delete {
			return at, WrongOp, none, false
		}
		for i := range r.becomes {
			if e.possible(&r.becomes[i])&(holdsBoth|holdsNow) == 0 {
				return at + i, OtherValue, r.becomes[i].col, false
			}
		}
		return at, HeldBefore, r.becomes[0].col, true
	}
	at += len(r.becomes)
	if i, col, reason := e.whereFails(r.where); i != none {
		return at + i, reason, col, e.op == capture.Delete
	}
	if r.cond == nil { // it failed, and yet no clause does: there is none
		return none, NoReason, none, false
	}
	return at + len(r.where), False, none, false
}

// whereFails finds the first condition that certainly fails.
func (e *evaluation) whereFails(conditions []boundCondition) (i, col int, reason Reason) {
	for i := range conditions {
		if e.where(conditions[i:i+1]) == delivery.False {
			return i, conditions[i].col, OtherValue
		}
	}
	return none, none, NoReason
}

// ColumnValue is a value that decided, as events would have it.
type ColumnValue struct {
	Name   string // the column's; old.x, new.x or row.x in an expression
	Text   []byte // valid until the judgement is asked again, or ends
	Known  delivery.Known
	Masked bool // Text is the keyed hash that is sent in its place
	Hidden bool // the column is excluded: its value is not told
}

// maxColumnValues bounds the values that are told of an expression.
const maxColumnValues = 4

// Values calls yield for each value that decided a verdict.
func (j *Judgement) Values(v *Verdict, yield func(ColumnValue)) {
	e := &j.m.eval
	switch {
	case v.of != nil:
		for i, ref := range v.of.columns {
			if i == maxColumnValues {
				return
			}
			pick := (*rows).current
			switch ref.side {
			case sideOld:
				pick = (*rows).before
			case sideNew:
				pick = (*rows).after
			}
			yield(j.value(ref.String(), v.of.cols[i], pick(&e.rows, v.of.cols[i])))
		}
	case v.col != none:
		value := e.current(v.col)
		if v.Old {
			value = e.before(v.col)
		}
		yield(j.value(e.table.Columns[v.col].Name, v.col, value))
	}
}

// Value is a column of the current row, as events would have it; ok is false for a column that the
// table does not have.
func (j *Judgement) Value(column string) (v ColumnValue, ok bool) {
	j.prepare()
	col := j.be.table.Column(column)
	if col < 0 || j.Op() == capture.Truncate {
		return ColumnValue{}, false
	}
	return j.value(column, col, j.m.eval.current(col)), true
}

func (j *Judgement) value(name string, col int, v capture.Value) ColumnValue {
	be, column := j.be, &j.m.eval.table.Columns[col]
	told := ColumnValue{Name: name}
	switch v.State {
	case capture.Null:
		told.Known = delivery.ValueNull
	case capture.Present:
		told.Known = delivery.ValuePresent
	default:
		return told
	}
	switch {
	case slices.Contains(be.Columns.Exclude, column.Name):
		told.Known, told.Hidden = delivery.ValuePresent, true
	case told.Known == delivery.ValueNull:
	case slices.Contains(be.Columns.Mask, column.Name):
		told.Text, told.Masked = mask(be.maskKey, v.Text), true
	default:
		told.Text = plainText(v, column.Type.Kind)
	}
	return told
}

// String is the reference as expressions write it.
func (c columnRef) String() string {
	for name, side := range sideNames {
		if side == c.side {
			return name + "." + c.name
		}
	}
	return c.name
}

// Masked is the keyed hash that an entry sends in place of a column's value; ok is false where it
// does not mask the column.
func (r *Rules) Masked(entry, column, text string) (hash string, ok bool) {
	for _, e := range r.entries {
		if e.Name == entry && slices.Contains(e.Columns.Mask, column) {
			return string(mask(e.maskKey, []byte(text))), true
		}
	}
	return "", false
}
