package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"rowhook/capture"
)

// A rule with touch is asked when a row changes that its entry looks up, about each row of the entry's
// table that refers to it: as an update of the row in which its own columns are as they were, and what
// it looks up is as before the transaction in the old row, and as at the commit in the new one. The
// entry's own rows are kept for that, and found by an index.
//
// Touches are mapped behind all else of a transaction, in the order of the changes that make them. A row
// is told once, at the first of them. It is not told where the transaction has made it, or has it refer
// to another row than before: then its own change tells what holds at the commit.

const (
	// DefaultTouched is how many rows a change may touch where nobody says, and touchedMost how many it
	// may at all.
	DefaultTouched = 1000
	touchedMost    = 10_000
)

// compileTouches checks what the entry's rules ask about changes of looked-up rows.
func (e *entry) compileTouches() error {
	var errs []error
	for _, ev := range e.events {
		for _, r := range ev.rules {
			errs = append(errs, e.compileTouch(r))
		}
	}
	for _, l := range e.lookups {
		if l.touches && (l.most < 1 || l.most > touchedMost) {
			errs = append(errs, l.path.at("max_touched").err(fmt.Sprintf("%d is not between 1 and %d", l.most, touchedMost), ""))
		}
	}
	return errors.Join(errs...)
}

func (e *entry) compileTouch(r *rule) error {
	var errs []error
	for i, alias := range r.Touch {
		at := r.path.at("touch", fmt.Sprint(i))
		l := e.lookupOf(alias)
		if l == nil {
			names := e.aliases()
			slices.Sort(names)
			errs = append(errs, at.err(fmt.Sprintf("the entry looks no row up that it calls %q", alias), didYouMean(alias, names)))
			continue
		}
		if on := e.entangled(l); on != nil {
			errs = append(errs, at.err(fmt.Sprintf("the rows that a change of %s touches cannot be found: %s is looked up by columns of several rows", alias, on.alias),
				"look "+on.alias+" up by columns of one row alone"))
			continue
		}
		l.touches = true
	}
	return errors.Join(errs...)
}

// lookupOf finds a look-up by its name; nil for none.
func (e *entry) lookupOf(alias string) *lookup {
	for _, l := range e.lookups {
		if l.alias == alias {
			return l
		}
	}
	return nil
}

// behind is the look-up that finds what another is found by; nil where that is the entry's own row.
func (e *entry) behind(l *lookup) *lookup { return e.lookupOf(e.lookedUpBy(l.by[0])) }

// entangled finds a look-up on the way to the entry's row that is found by columns of several rows.
func (e *entry) entangled(l *lookup) *lookup {
	for ; l != nil; l = e.behind(l) {
		for _, c := range l.by {
			if e.lookedUpBy(c) != e.lookedUpBy(l.by[0]) {
				return l
			}
		}
	}
	return nil
}

// reached reports whether a touch changes columns of a look-up: it is among the rule's, or hangs on one
// of them.
func (e *entry) reached(r *rule, l *lookup) bool {
	if slices.Contains(r.Touch, l.alias) {
		return true
	}
	return slices.ContainsFunc(l.by, func(c string) bool {
		on := e.lookupOf(e.lookedUpBy(c))
		return on != nil && e.reached(r, on)
	})
}

// refuseUntouched refuses columns that a touch does not change, where a rule asks whether it does.
func (e *entry) refuseUntouched(r *rule) (errs []error) {
	for _, asked := range []struct {
		key     string
		columns []string
	}{{"set", []string{r.Set}}, {"cleared", []string{r.Cleared}}, {"changed", r.Changed}, {"becomes", columnsOf(r.Becomes)}} {
		for _, c := range asked.columns {
			l := e.lookupOf(e.lookedUpBy(c))
			switch {
			case c == "" || l != nil && e.reached(r, l):
			case l == nil:
				errs = append(errs, r.path.at(asked.key).err(fmt.Sprintf("a touch changes no column of the row itself: %q", c),
					"write a rule without touch for changes of the row"))
			default:
				errs = append(errs, r.path.at(asked.key).err(fmt.Sprintf("%q is no column of what the rule's touch names", c), "name "+l.alias+" under touch, too"))
			}
		}
	}
	return errs
}

// touching reports whether a rule is asked about changes of looked-up rows.
func (e *entry) touching() bool {
	return slices.ContainsFunc(e.lookups, func(l *lookup) bool { return l.touches })
}

// keepTouching adds what is kept so that touched rows are found: the entry's own, and those between them
// and the rows that touch them.
func (e *entry) keepTouching(add func(table string, columns []string) *LookedUp) {
	index := func(of *LookedUp, by []string) {
		if !slices.ContainsFunc(of.By, func(b []string) bool { return slices.Equal(b, by) }) {
			of.By = append(of.By, by)
		}
	}
	for _, l := range e.lookups {
		if !l.touches {
			continue
		}
		for ; l != nil; l = e.behind(l) {
			on := e.behind(l)
			if on == nil {
				columns, all := e.ownColumns()
				own := add(e.schema+"."+e.table, append(columns, l.by...))
				own.All = own.All || all
				index(own, l.by)
				break
			}
			var by []string
			for _, c := range l.by {
				_, name, _ := strings.Cut(c, ".")
				by = append(by, name)
			}
			index(add(on.of.Table, on.of.columns), by)
		}
	}
}

// ownColumns are the columns of the row itself that the entry's events and rules read; all is every one.
func (e *entry) ownColumns() (list []string, all bool) {
	add := func(columns ...string) {
		for _, c := range columns {
			if c != "" && e.lookedUpBy(c) == "" && e.partOf(c) == nil && !slices.Contains(list, c) {
				list = append(list, c)
			}
		}
	}
	expression := func(x *expression) {
		if x == nil {
			return
		}
		for _, ref := range x.columns {
			add(ref.name)
		}
	}
	var shape func(fields []*field)
	shape = func(fields []*field) {
		for _, f := range fields {
			add(f.column)
			expression(f.expr)
			shape(f.members)
		}
	}
	add(e.Key...)
	add(e.OrderBy...)
	add(columnsOf(e.Where)...)
	for _, l := range e.lookups {
		add(l.by...)
	}
	for _, p := range e.parts {
		add(p.own...)
	}
	for _, place := range e.link {
		add(place.column)
	}
	for _, ev := range e.events {
		for _, r := range ev.rules {
			if len(r.Touch) > 0 {
				add(columnsOf(r.Where)...)
				expression(r.cond)
			}
		}
	}
	add(e.asked...)
	shape(e.fields)
	return list, len(e.fields) == 0
}

// touchUse is a look-up whose rows touch rows of its entry's table.
type touchUse struct {
	entry  *entry
	lookup *lookup
}

// touchedBy lists what rows of a table touch.
func (r *Rules) touchedBy(table string) (list []touchUse) {
	for _, e := range r.looking {
		for _, l := range e.lookups {
			if l.touches && l.of.Table == table {
				list = append(list, touchUse{e, l})
			}
		}
	}
	return list
}

// bindTouches finds the columns of a looked-up table whose change may touch other rows.
func (b *binding) bindTouches(r *Rules) {
	if b.touches = r.touchedBy(b.name); len(b.touches) == 0 {
		return
	}
	b.touchKey = rowKey(b.table)
	for _, use := range b.touches {
		for _, c := range use.lookup.of.columns {
			if col := b.table.Column(c); col >= 0 && !slices.Contains(b.touchColumns, col) {
				b.touchColumns = append(b.touchColumns, col)
			}
		}
	}
}

const (
	// touchingBytes is how much memory the keys of rows may take that a transaction changes and that touch
	// others: those of some 30,000. Of more, no touch of their table is told.
	touchingBytes = 8 << 20
	// touchingCost is about what a row takes beside its key, of which there are three copies.
	touchingCost = 200
)

// touching are the changes of the open transaction that touch rows.
type touching struct {
	rows []touchingRow
	at   map[string]int   // rows by table and key
	lost map[string]error // tables of which nobody can tell which rows changed
	// told are those whose touches are made: a row is told at the first of them.
	told  map[toldTouch]bool
	bytes int
	name  []byte
}

type toldTouch struct {
	row    int
	lookup *lookup
}

// touchingRow is a row of another table that has changed.
type touchingRow struct {
	table   string
	key     []string // in the order of the table's row key
	ordinal int      // of its last change
	told    told     // who made that
}

func (t *touching) reset() {
	if len(t.rows)+len(t.lost) > 0 {
		*t = touching{name: t.name}
	}
}

// lose notes that nobody can tell which of a table's rows changed.
func (t *touching) lose(table string, why error) {
	if t.lost == nil {
		t.lost = map[string]error{}
	}
	if t.lost[table] == nil {
		t.lost[table] = why
	}
}

var (
	errTouchTruncated = errors.New("a truncate tells no rows")
	errTouchMisfit    = errors.New("a change does not fit the table's description")
	errTouchKeyless   = errors.New("a change did not tell whose it is")
	errTouchMany      = errors.New("one transaction changed tens of thousands of them, more than are remembered")
)

// touch notes that a change may touch rows of other tables.
func (m *Mapper) touch(b *binding, c *capture.Change) {
	if c.Op == capture.Read || m.touching.lost[b.name] != nil {
		return
	}
	r := newRows(c)
	switch {
	case c.Op == capture.Truncate:
		m.touching.lose(b.name, errTouchTruncated)
		return
	case r.check() != nil:
		m.touching.lose(b.name, errTouchMisfit)
		return
	}
	if c.Op == capture.Update && !slices.ContainsFunc(append(b.touchColumns, b.touchKey...), func(col int) bool {
		before, after := r.before(col), r.after(col)
		return !r.unchanged(col) && !(known(before) && known(after) && equal(before, after))
	}) {
		return
	}
	m.contexts.reach(c.Statement)
	by := m.contexts.transaction()
	before := ""
	if c.Op != capture.Insert {
		if before = m.touching.note(b, r.before, c.Ordinal, by, ""); before == "" {
			return
		}
	}
	if c.Op != capture.Delete {
		m.touching.note(b, r.after, c.Ordinal, by, before)
	}
}

// note notes a changed row by its key, but for one that is noted already. It returns its name, which is
// empty where there is none.
func (t *touching) note(b *binding, value func(int) capture.Value, ordinal int, by told, already string) (name string) {
	var ok bool
	t.name = append(append(t.name[:0], b.name...), 0)
	if t.name, ok = appendKey(t.name, b.touchKey, value); !ok {
		t.lose(b.name, errTouchKeyless)
		return ""
	}
	if string(t.name) == already {
		return already
	}
	if i, again := t.at[string(t.name)]; again {
		t.rows[i].ordinal, t.rows[i].told = ordinal, by
		return string(t.name)
	}
	if t.bytes += touchingCost + 3*len(t.name); t.bytes > touchingBytes {
		t.lose(b.name, errTouchMany)
		return ""
	}
	row := touchingRow{table: b.name, ordinal: ordinal, told: by}
	for _, col := range b.touchKey {
		row.key = append(row.key, string(value(col).Text))
	}
	if t.at == nil {
		t.at = map[string]int{}
	}
	t.at[string(t.name)] = len(t.rows)
	t.rows = append(t.rows, row)
	return string(t.name)
}

// sort puts the rows in the order of their last changes.
func (t *touching) sort() {
	order := make([]int, len(t.rows))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return t.rows[a].ordinal - t.rows[b].ordinal })
	rows, place := make([]touchingRow, len(order)), make([]int, len(order))
	for i, was := range order {
		rows[i], place[was] = t.rows[was], i
	}
	t.rows = rows
	for name, was := range t.at {
		t.at[name] = place[was]
	}
}
