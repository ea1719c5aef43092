package mapping

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"rowhook/capture"
	"rowhook/delivery"
)

// touchedRow is the touch at hand, and the row that is touched.
type touchedRow struct {
	use     touchUse
	change  touchingRow
	old     map[string][]byte // what the changed row had before, as its note has it; nil where nobody knows
	note    *touchNote        // it is made again; nil for the first time
	name    []byte            // the row's key; empty while no row is at hand
	unsure  bool              // nobody knows whether it referred to the changed row before
	row     capture.Row
	was     capture.Row // the row as it was before the transaction
	mapping capture.Change
}

// touchNote is what a parked touch is kept with.
type touchNote struct {
	By      string   `json:"by"`            // the look-up's name
	Key     [][]byte `json:"key,omitempty"` // of the row that changed; none where nobody can tell
	Ordinal int      `json:"ordinal"`
	Row     [][]byte `json:"row,omitempty"` // key of the touched row; none for all that refer to the changed one
	// Unsure says that nobody knows whether the touched row referred to the changed one before.
	Unsure bool `json:"unsure,omitempty"`
	// Old is what looked-up columns had before, by alias.column; null is NULL, and what is missing is not
	// known. It is of the changed row alone where Row is none.
	Old map[string][]byte `json:"old,omitempty"`
}

// Touching reports whether the change at hand is a touch, of which there may be any number.
func (m *Mapper) Touching() bool { return m.touched.use.lookup != nil }

// Touch is what the touch at hand is parked with, and the place of the change that made it; nil where the
// change at hand is no touch. It is called inside Output's methods.
func (m *Mapper) Touch() (note []byte, ordinal int) {
	t := &m.touched
	if !m.Touching() {
		return nil, 0
	}
	n := touchNote{By: t.use.lookup.alias, Ordinal: t.change.ordinal, Old: t.old}
	for _, text := range t.change.key {
		n.Key = append(n.Key, []byte(text))
	}
	if len(t.name) > 0 {
		be := m.eval.entry
		for _, col := range rowKey(be.of) {
			n.Row = append(n.Row, t.row[col].Text)
		}
		n.Old, n.Unsure = map[string][]byte{}, t.unsure
		for col := be.own; col < len(be.table.Columns); col++ {
			noteOld(n.Old, be.table.Columns[col].Name, m.eval.before(col))
		}
	}
	note, err := json.Marshal(&n)
	if err != nil { // texts and numbers
		return []byte("{}"), t.change.ordinal
	}
	return note, t.change.ordinal
}

// noteOld writes down a value, if it is known.
func noteOld(old map[string][]byte, name string, v capture.Value) {
	switch v.State {
	case capture.Null:
		old[name] = nil
	case capture.Present:
		old[name] = append([]byte{}, v.Text...)
	}
}

// mapTouches maps what the transaction's changes touch. All of them have come: what is looked up is as of
// the commit.
func (m *Mapper) mapTouches() error {
	t := &m.touching
	if len(t.rows)+len(t.lost) == 0 {
		return nil
	}
	m.trusted.early, m.changes = false, m.changes[:0]
	contexts := m.contexts
	defer func() {
		m.contexts, m.touched, m.eval.touched = contexts, touchedRow{}, false
		t.reset()
	}()
	m.contexts.table, m.contexts.comment, m.contexts.trigger = told{}, told{}, told{}
	m.contexts.message = contexts.transaction()
	for _, table := range slices.Sorted(maps.Keys(t.lost)) {
		for _, use := range m.rules.touchedBy(table) {
			m.touched = touchedRow{use: use}
			if err := m.failTouch(delivery.OutcomeUnmapped, &capture.OperatorError{
				Err:    fmt.Errorf("nobody can tell which rows of %s changed: %w", table, t.lost[table]),
				Remedy: use.anew(),
			}); err != nil {
				return err
			}
		}
	}
	t.sort()
	for i := range t.rows {
		row := &t.rows[i]
		if t.lost[row.table] != nil {
			continue
		}
		m.contexts.message = row.told
		for _, use := range m.rules.touchedBy(row.table) {
			if err := m.mapTouch(use, i, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// anew is what is left to do where a touch cannot be made.
func (u touchUse) anew() string {
	return fmt.Sprintf("`rowhook backfill %s` sends the rows as they are, if an event of the entry has `op: read`; then discard it", u.entry.Name)
}

// failTouch hands out a touch that is made of no row at all.
func (m *Mapper) failTouch(reason delivery.Outcome, err error) error {
	t, e := &m.touched, m.touched.use.entry
	t.name = t.name[:0]
	by := m.contexts.transaction()
	table := e.schema + "." + e.table
	return m.out.Fail(&Failure{
		Table: table, Entry: e.Name, Reason: reason, Actor: by.actor, Operation: by.operation, Rows: true,
		Err: fmt.Errorf("map %s: touch %s: %w", table, t.use.lookup.alias, err),
	})
}

// boundTo finds what an entry is tied to; nil while nobody has described its table.
func (m *Mapper) boundTo(e *entry) (*binding, *boundEntry) {
	var b *binding
	for _, known := range m.bindings {
		if known.table.Schema == e.schema && known.table.Name == e.table {
			b = known
		}
	}
	if b == nil {
		t := m.described[e.schema+"."+e.table]
		if t == nil {
			return nil, nil
		}
		b = m.bind(t)
	}
	for _, be := range b.entries {
		if be.entry == e {
			return b, be
		}
	}
	return nil, nil
}

// mapTouch maps what the change of one looked-up row touches, for one look-up. With a note it is made
// again.
func (m *Mapper) mapTouch(use touchUse, i int, note *touchNote) error {
	m.touched = touchedRow{use: use, change: m.touching.rows[i], note: note, row: m.touched.row, was: m.touched.was, name: m.touched.name[:0]}
	t := &m.touched
	b, be := m.boundTo(use.entry)
	if note != nil {
		t.old = note.Old
	}
	unknown := func(what string) error {
		remedy := use.anew()
		if t.old != nil {
			remedy = "once `rowhook status` tells that the rows of " + use.entry.schema + "." + use.entry.table + " and " + use.lookup.of.Table +
				" are known: `rowhook failed retry --source`, which touches the rows of then"
		}
		return m.failTouch(delivery.OutcomeUndecidable, &capture.OperatorError{Err: errors.New(what), Remedy: remedy})
	}
	if be == nil {
		return unknown("the table's rows are not known")
	}
	if len(be.problems) > 0 {
		p := &be.problems[0]
		return m.failTouch(delivery.OutcomeUnmapped, &capture.OperatorError{Err: errors.New(p.String()), Remedy: p.remedy})
	}
	at := slices.IndexFunc(be.lookups, func(l boundLookup) bool { return l.lookup == use.lookup })
	l := &be.lookups[at]
	if m.lookups == nil || l.table == nil || len(rowKey(l.table)) != len(t.change.key) {
		return unknown(fmt.Sprintf("the rows of %s are not known", l.of.Table))
	}
	key := make(capture.Row, len(l.table.Columns))
	for n, col := range rowKey(l.table) {
		key[col] = capture.Value{State: capture.Present, Text: []byte(t.change.key[n])}
	}
	changed, decided, err := m.changedBy(l, key)
	switch {
	case err != nil:
		return err
	case !decided && !t.tellsBefore(l):
		return m.failTouch(delivery.OutcomeUndecidable, &capture.OperatorError{
			Err: fmt.Errorf("what the row of %s was before the change is not known", l.of.Table), Remedy: use.anew()})
	case !decided:
		return unknown(fmt.Sprintf("what the row of %s is since the change is not known", l.of.Table))
	case !changed:
		return nil
	}
	w := walk{m: m, be: be, most: use.lookup.most}
	known, err := w.each(at, key, func(capture.Row) (bool, error) { return w.one(), nil })
	switch {
	case err != nil:
		return err
	case !known:
		return unknown("the rows that refer to the changed one are not known")
	case w.n > w.most && (note == nil || note.Row == nil):
		return m.failTouch(delivery.OutcomeUnmapped, &capture.OperatorError{
			Err:    fmt.Errorf("more than %d rows refer to the row of %s that changed", w.most, l.of.Table),
			Remedy: fmt.Sprintf("raise %s, `rowhook reload`, then `rowhook failed retry --source`; or discard it", strings.Join(use.lookup.path.at("max_touched"), ".")),
		})
	}
	w = walk{m: m, be: be, most: touchedMost}
	if _, err = w.each(at, key, func(row capture.Row) (bool, error) { return w.one(), m.mapTouched(b, be, at, row) }); err != nil {
		return err
	}
	if w.n > w.most && len(t.name) == 0 { // of a single row's touch: it may be among the rest
		return m.failTouch(delivery.OutcomeUnmapped, &capture.OperatorError{
			Err: fmt.Errorf("more than %d rows refer to the row of %s that changed by now", w.most, l.of.Table), Remedy: use.anew()})
	}
	if m.touching.told == nil {
		m.touching.told = map[toldTouch]bool{}
	}
	m.touching.told[toldTouch{i, use.lookup}] = true
	return nil
}

// changedBy reports whether columns that the entry says or asks about changed in a looked-up row.
func (m *Mapper) changedBy(l *boundLookup, key capture.Row) (changed, decided bool, err error) {
	t := &m.touched
	was, now := slices.Clone(key), slices.Clone(key)
	exists, known, err := m.lookups.LookUp(l.table, now)
	if err != nil || !known || !exists && l.table.Filtered {
		return false, false, err
	}
	if !exists {
		now = nil
	}
	if t.note != nil && t.old == nil {
		return false, false, nil
	}
	if t.note == nil {
		if exists, known, err = m.lookups.LookUpBefore(l.table, was); err != nil || !known || !exists && l.table.Filtered {
			return false, false, err
		}
		if !exists {
			was = nil
		}
		t.old = map[string][]byte{}
	}
	value := func(row capture.Row, col int) capture.Value {
		if row == nil {
			return capture.Value{State: capture.Null}
		}
		return row[col]
	}
	decided = true
	for i, name := range l.of.columns {
		before := value(was, l.cols[i])
		if t.note != nil {
			before = noted(t.note.Old, l.alias+"."+name)
		} else {
			noteOld(t.old, l.alias+"."+name, before)
		}
		after := value(now, l.cols[i])
		switch {
		case !l.used[i]:
		case !known2(before, after):
			decided = false
		case !equal(before, after):
			changed = true
		}
	}
	return changed, changed || decided, nil
}

// tellsBefore reports whether all is known that the changed row had before, so that the touch can be made
// once the rest is.
func (t *touchedRow) tellsBefore(l *boundLookup) bool {
	for i, name := range l.of.columns {
		if l.used[i] && !known(noted(t.old, l.alias+"."+name)) {
			return false
		}
	}
	return true
}

func known2(a, b capture.Value) bool { return known(a) && known(b) }

// noted is a value that was written down.
func noted(old map[string][]byte, name string) capture.Value {
	text, there := old[name]
	switch {
	case !there:
		return capture.Value{}
	case text == nil:
		return capture.Value{State: capture.Null}
	}
	return capture.Value{State: capture.Present, Text: text}
}

// walk goes from a looked-up row to the entry's rows that refer to it.
type walk struct {
	m       *Mapper
	be      *boundEntry
	n, most int // rows, those between included
}

// one counts a row, and reports whether more may come.
func (w *walk) one() bool {
	w.n++
	return w.n <= w.most
}

// each gives take the entry's rows that refer to the row of a look-up that has a key.
func (w *walk) each(at int, key capture.Row, take func(capture.Row) (bool, error)) (known bool, err error) {
	l := &w.be.lookups[at]
	of, first := w.be.of, 0
	var on *boundLookup
	if l.behind != none {
		on = &w.be.lookups[l.behind]
		if of, first = on.table, on.first; of == nil {
			return false, nil
		}
	}
	row, by := make(capture.Row, len(of.Columns)), make([]int, len(l.by))
	for i, col := range l.by {
		if by[i] = col - first; on != nil {
			by[i] = on.cols[col-first]
		}
		row[by[i]] = key[l.cols[i]]
	}
	if on == nil {
		return w.m.lookups.Referring(of, by, row, take)
	}
	inner, goes := true, true
	known, err = w.m.lookups.Referring(of, by, row, func(between capture.Row) (bool, error) {
		if goes = w.one(); !goes {
			return false, nil
		}
		between = slices.Clone(between)
		var err error
		inner, err = w.each(l.behind, between, func(own capture.Row) (bool, error) {
			var err error
			goes, err = take(own)
			return goes, err
		})
		return inner && goes, err
	})
	return known && inner, err
}

// mapTouched maps the touch of one row.
func (m *Mapper) mapTouched(b *binding, be *boundEntry, at int, own capture.Row) error {
	t := &m.touched
	key := rowKey(be.of)
	if t.note != nil && t.note.Row != nil && !slices.EqualFunc(key, t.note.Row, func(col int, text []byte) bool { return string(own[col].Text) == string(text) }) {
		return nil
	}
	t.row, t.was = append(t.row[:0], own...), append(t.was[:0], make(capture.Row, len(own))...)
	t.name, _ = appendKey(t.name[:0], key, func(col int) capture.Value { return own[col] })
	for _, col := range key {
		t.was[col] = t.row[col]
	}
	exists, known, err := m.lookups.LookUpBefore(be.of, t.was)
	if err != nil || !exists || !known { // the transaction made it
		return err
	}
	t.mapping = capture.Change{Op: capture.Update, Table: be.of, Old: t.row, New: t.row, Ordinal: t.change.ordinal}
	m.bound, m.whole, m.changes = b, &t.mapping, m.changes[:0]
	m.eval = evaluation{rows: newRows(m.whole), at: m.commitTime(), context: &m.contexts, entry: be, touched: true}
	if !m.eval.extend(be) {
		return nil
	}
	again, err := m.joinTouched(be)
	l := &be.lookups[at]
	t.unsure = l.unsure || t.note != nil && t.note.Unsure
	if err != nil || again || !l.touched && !t.unsure {
		return err
	}
	if t.unsure {
		err = m.mapUnsure(be, l)
	} else {
		err = m.mapEntry(be)
	}
	if err != nil {
		return err
	}
	if be.observer != nil {
		m.tell(be, true)
	}
	return nil
}

// mapUnsure maps the touch of a row of which nobody knows whether it referred to the changed one before: it
// may have come to it by a change of its own, which is no touch.
func (m *Mapper) mapUnsure(be *boundEntry, l *boundLookup) error {
	l.touched = true // which its rules ask
	m.eval.entry, m.eval.blame, m.eval.cost = be, blame{}, cost{}
	be.forgetParts()
	if fired, decided := m.decide(be); decided && len(fired) == 0 {
		return nil
	}
	return m.fail(be, delivery.OutcomeUndecidable, &capture.OperatorError{
		Err:    fmt.Errorf("map %s: touch %s: whether the row referred to it before is not known", be.table, m.touched.use.lookup.alias),
		Remedy: m.touched.use.anew(),
	})
}

// joinTouched looks rows up for the row at hand, as they were and as they are, and finds out which of
// them touch it. told says that it was told by one of them already.
func (m *Mapper) joinTouched(be *boundEntry) (told bool, err error) {
	r := &m.eval.rows
	for i := range be.lookups { // each behind those that it is found by
		l := &be.lookups[i]
		last := l.first + len(l.of.columns)
		if _, err = m.find(l, r.old[l.first:last], m.eval.before, true); err != nil {
			return false, err
		}
		m.recall(l, r.old[l.first:last])
		if l.found, err = m.find(l, r.new[l.first:last], m.eval.after, false); err != nil {
			return false, err
		}
		l.kept = l.behind == none || be.lookups[l.behind].kept
		l.unsure = l.behind != none && be.lookups[l.behind].unsure
		for _, col := range l.by {
			before := m.eval.before(col)
			if col < be.own {
				before = m.touched.was[col]
			}
			after := m.eval.after(col)
			l.unsure = l.unsure || !known2(before, after)
			l.kept = l.kept && (!known2(before, after) || equal(before, after))
		}
		l.kept, l.unsure = l.kept && !l.unsure, l.kept && l.unsure
		l.touched = false
		for k, used := range l.used {
			before, after := r.old[l.first+k], r.new[l.first+k]
			l.touched = l.touched || l.touches && l.kept && used && known2(before, after) && !equal(before, after)
		}
		if l.touched && m.toldBy(l) {
			told = true
		}
	}
	return told, nil
}

// recall puts what a note says into the place of what was looked up as it was before: nobody else knows it
// any more.
func (m *Mapper) recall(l *boundLookup, to capture.Row) {
	note := m.touched.note
	if note == nil || note.Row == nil && l.alias != note.By {
		return
	}
	for i, name := range l.of.columns {
		to[i] = noted(note.Old, l.alias+"."+name)
	}
}

// toldBy reports whether the touches of the row are made that a look-up has just found.
func (m *Mapper) toldBy(l *boundLookup) bool {
	t := &m.touching
	var ok bool
	t.name = append(append(t.name[:0], l.of.Table...), 0)
	if t.name, ok = appendKey(t.name, rowKey(l.table), func(col int) capture.Value { return l.row[col] }); !ok {
		return false
	}
	i, there := t.at[string(t.name)]
	return there && t.told[toldTouch{i, l.lookup}]
}

// RemapTouch maps a parked touch again, outside the stream, on a mapper of its own: the rows that are
// touched are those of now, and what they look up. Events have the ids that they would have had. mapped is
// false when the entry no longer has the touch, so that nothing can come of it.
func (m *Mapper) RemapTouch(p *Parked, raw []byte) (mapped bool, err error) {
	var note touchNote
	if err := json.Unmarshal(raw, &note); err != nil {
		return true, fmt.Errorf("read what a touch was parked with: %w", err)
	}
	m.Begin(&p.Transaction)
	m.contexts.message, m.made = told{p.Actor, p.Operation}, p.Made
	for _, e := range m.rules.looking {
		l := e.lookupOf(note.By)
		if e.Name != p.Entry || l == nil || !l.touches {
			continue
		}
		use := touchUse{e, l}
		if note.Key == nil {
			return true, &capture.OperatorError{Err: fmt.Errorf("nobody can tell which rows of %s changed", l.of.Table), Remedy: use.anew()}
		}
		return true, m.touchAgain(use, &note)
	}
	return false, nil
}

func (m *Mapper) touchAgain(use touchUse, note *touchNote) error {
	row := touchingRow{table: use.lookup.of.Table, ordinal: note.Ordinal}
	for _, text := range note.Key {
		row.key = append(row.key, string(text))
	}
	m.touching = touching{rows: []touchingRow{row}}
	defer func() { m.touched, m.eval.touched = touchedRow{}, false }()
	return m.mapTouch(use, 0, note)
}

// remapTouches maps what a change touches that could not be decoded, outside the stream. What the row was
// before is what the change tells.
func (m *Mapper) remapTouches(b *binding, c *capture.Change) error {
	r := newRows(c)
	if r.check() != nil || c.Op == capture.Truncate || c.Op == capture.Read {
		return nil
	}
	m.touching.reset()
	m.touch(b, c)
	rows := m.touching.rows
	for i := range rows {
		for _, use := range b.touches {
			note := &touchNote{By: use.lookup.alias, Ordinal: c.Ordinal, Old: map[string][]byte{}}
			same := c.Op != capture.Insert
			for n, col := range b.touchKey {
				note.Key = append(note.Key, []byte(rows[i].key[n]))
				same = same && string(r.before(col).Text) == rows[i].key[n]
			}
			for _, name := range use.lookup.of.columns {
				if col := b.table.Column(name); !same {
					noteOld(note.Old, use.lookup.alias+"."+name, capture.Value{State: capture.Null})
				} else if col >= 0 {
					noteOld(note.Old, use.lookup.alias+"."+name, r.before(col))
				}
			}
			if err := m.touchAgain(use, note); err != nil {
				return err
			}
		}
	}
	return nil
}
