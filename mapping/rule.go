package mapping

import (
	"errors"
	"time"

	"rowhook/capture"
	"rowhook/delivery"
)

// opSet is a set of operations, a bit for each.
type opSet uint8

const rowOps = opSet(1<<capture.Insert | 1<<capture.Update | 1<<capture.Delete)

func (s opSet) has(op capture.Op) bool { return s>>op&1 == 1 }

// none stands for a condition's column where the rule has no such condition.
const none = -1

// boundRule is a rule with its columns found in one table.
type boundRule struct {
	rule    *rule
	set     int
	cleared int
	changed []int
	becomes []boundCondition
	where   []boundCondition
	cond    *boundExpression
	fault   *problem // a column that the table does not have; nil for none
	touch   []int    // look-ups whose rows' changes it is about; empty for the row's own
	// made is what the events have in common that it has made, by operation.
	made [capture.Read + 1]*delivery.Making
}

// boundCondition is a column with the values it may have.
type boundCondition struct {
	col     int
	sense   delivery.Sense
	untyped bool
	values  []delivery.Literal // of booleans in the database's text
}

// holds compares a known value.
func (c *boundCondition) holds(v capture.Value) bool {
	for i := range c.values {
		want := &c.values[i]
		switch {
		case v.State == capture.Null || want.Null:
			if v.State == capture.Null && want.Null {
				return true
			}
		case c.sense.SameBytes(v.Text, want.Text):
			return true
		}
	}
	return false
}

// evaluation is the state of deciding one change's rules for one entry.
type evaluation struct {
	rows
	at      time.Time // of the commit
	context *contexts
	entry   *boundEntry
	blame   blame
	cost    cost // of the entry's expressions
	touched bool // what changed is what the row refers to
}

// asks reports whether a rule is for the change.
func (e *evaluation) asks(r *boundRule) bool {
	if !e.touched {
		return len(r.rule.Touch) == 0 && r.rule.ops.has(e.op)
	}
	for _, i := range r.touch {
		if e.entry.lookups[i].touched {
			return true
		}
	}
	return false
}

// told reports whether the value can be held against the condition's.
func (c *boundCondition) told(v capture.Value) bool {
	return v.State == capture.Null || v.State == capture.Present && (!c.untyped || c.onlyNull())
}

// onlyNull reports whether nothing but NULL meets the condition. A value that the stream left
// out as unchanged lies outside the row, and so is not NULL.
func (c *boundCondition) onlyNull() bool {
	for i := range c.values {
		if !c.values[i].Null {
			return false
		}
	}
	return true
}

// blame is what stands in the way of a decision: the first value that was missed,
// or the first that could not be computed with.
type blame struct {
	rule   string // empty where the entry's own where is at fault
	clause string // set, where, ...; empty for none
	column string
	old    bool // the old value was missed, not the new one
	// untyped says that the value was there, but what it means is not known.
	untyped bool
	err     error
}

func (b *blame) set() bool { return b.clause != "" || b.err != nil }

func (e *evaluation) undecided(clause string, col int, old bool) delivery.Truth {
	if e.blame.clause == "" {
		v := e.after(col)
		if old {
			v = e.before(col)
		}
		e.blame = blame{clause: clause, column: e.table.Columns[col].Name, old: old, untyped: e.untyped(v, col)}
	}
	return delivery.Undecidable
}

// fires answers whether all of the rule's conditions hold. One that certainly fails settles it.
func (r *boundRule) fires(e *evaluation) delivery.Truth {
	answer, before := delivery.True, e.blame
	if r.fault != nil {
		if !before.set() {
			e.blame = blame{rule: r.rule.name, err: &capture.OperatorError{Err: errors.New(r.fault.String()), Remedy: r.fault.remedy}}
		}
		return delivery.Undecidable
	}
	for _, condition := range [...]func(*boundRule, *evaluation) delivery.Truth{
		(*boundRule).isSet, (*boundRule).isCleared, (*boundRule).isChanged,
		(*boundRule).isBecome, (*boundRule).isWhere, (*boundRule).isIf,
	} {
		switch condition(r, e) {
		case delivery.False:
			e.blame = before
			return delivery.False
		case delivery.Undecidable:
			answer = delivery.Undecidable
		}
	}
	if answer == delivery.True || before.set() {
		e.blame = before
	} else {
		e.blame.rule = r.rule.name
	}
	return answer
}

// isSet: NULL before, a value now. An insert has no before; a delete has no now.
func (r *boundRule) isSet(e *evaluation) delivery.Truth {
	if r.set == none {
		return delivery.True
	}
	if e.op == capture.Delete || e.unchanged(r.set) {
		return delivery.False
	}
	now, before := e.after(r.set), capture.Value{State: capture.Null}
	if e.op == capture.Update {
		before = e.before(r.set)
	}
	switch {
	case now.State == capture.Null || before.State == capture.Present:
		return delivery.False
	case !known(now):
		return e.undecided("set", r.set, false)
	case !known(before):
		return e.undecided("set", r.set, true)
	}
	return delivery.True
}

// isCleared: a value before, NULL now. Only an update can do that.
func (r *boundRule) isCleared(e *evaluation) delivery.Truth {
	if r.cleared == none {
		return delivery.True
	}
	if e.op != capture.Update || e.unchanged(r.cleared) {
		return delivery.False
	}
	now, before := e.after(r.cleared), e.before(r.cleared)
	switch {
	case now.State == capture.Present || before.State == capture.Null:
		return delivery.False
	case !known(now):
		return e.undecided("cleared", r.cleared, false)
	case !known(before):
		return e.undecided("cleared", r.cleared, true)
	}
	return delivery.True
}

// isChanged: any of the columns differs. Only an update can do that.
func (r *boundRule) isChanged(e *evaluation) delivery.Truth {
	if len(r.changed) == 0 {
		return delivery.True
	}
	if e.op != capture.Update {
		return delivery.False
	}
	answer := delivery.False
	for _, col := range r.changed {
		if e.unchanged(col) {
			continue
		}
		now, before := e.after(col), e.before(col)
		switch {
		case !known(now) || !known(before):
			answer = e.undecided("changed", col, known(now))
		case !equal(now, before):
			return delivery.True
		}
	}
	return answer
}

// isBecome: all columns hold their values now, and not all of them did before. Each
// column tells which pairs of (now, before) are possible; the answer follows
// from these without loss, since the columns' values do not hang on each other.
func (r *boundRule) isBecome(e *evaluation) delivery.Truth {
	if len(r.becomes) == 0 {
		return delivery.True
	}
	if e.op == capture.Delete {
		return delivery.False
	}
	canFire, canFail := true, false
	canHaveDiffered, mustHaveDiffered := false, false
	for i := range r.becomes {
		p := e.possible(&r.becomes[i])
		canFire = canFire && p&(holdsBoth|holdsNow) != 0
		canFail = canFail || p&(heldBefore|holdsNever) != 0
		canHaveDiffered = canHaveDiffered || p&holdsNow != 0
		mustHaveDiffered = mustHaveDiffered || p&(holdsBoth|holdsNow) == holdsNow
	}
	switch {
	case !canFire || !canHaveDiffered:
		return delivery.False
	case !canFail && mustHaveDiffered:
		return delivery.True
	}
	return e.blameBecomes(r)
}

// pairs is a set of the ways in which a condition can hold now and before.
type pairs uint8

const (
	holdsBoth  pairs = 1 << iota // now and before
	holdsNow                     // now, not before
	heldBefore                   // before, not now
	holdsNever
)

// possible tells what is known of the condition now and before.
func (e *evaluation) possible(c *boundCondition) pairs {
	now, before := e.after(c.col), e.before(c.col)
	if e.unchanged(c.col) && !c.told(now) {
		if c.onlyNull() {
			return holdsNever
		}
		return holdsBoth | holdsNever
	}
	p := holdsBoth | holdsNow | heldBefore | holdsNever
	if c.told(now) && c.holds(now) {
		p &= holdsBoth | holdsNow
	} else if c.told(now) {
		p &= heldBefore | holdsNever
	}
	switch {
	case e.op == capture.Insert:
		p &= holdsNow | holdsNever
	case c.told(before) && c.holds(before):
		p &= holdsBoth | heldBefore
	case c.told(before):
		p &= holdsNow | holdsNever
	}
	return p
}

func (e *evaluation) blameBecomes(r *boundRule) delivery.Truth {
	for i := range r.becomes {
		c := &r.becomes[i]
		col := c.col
		if now := e.after(col); !c.told(now) {
			return e.undecided("becomes", col, false)
		}
		if e.op == capture.Update && !c.told(e.before(col)) {
			e.undecided("becomes", col, true)
		}
	}
	return delivery.Undecidable
}

func (r *boundRule) isWhere(e *evaluation) delivery.Truth { return e.where(r.where) }

// where answers whether all conditions hold on the current row.
func (e *evaluation) where(conditions []boundCondition) delivery.Truth {
	answer := delivery.True
	for i := range conditions {
		c := &conditions[i]
		switch v := e.current(c.col); {
		case c.told(v) && !c.holds(v), !c.told(v) && e.unchanged(c.col) && c.onlyNull():
			return delivery.False
		case !c.told(v):
			answer = e.undecided("where", c.col, e.op == capture.Delete)
		}
	}
	return answer
}

func (r *boundRule) isIf(e *evaluation) delivery.Truth {
	if r.cond == nil {
		return delivery.True
	}
	return r.cond.truth(e)
}
