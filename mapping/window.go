package mapping

import (
	"bytes"

	"rowhook/capture"
)

// A transaction's changes are held, from the first on whose table has an entry with
// `coalesce: transaction`, and mapped at its end: other entries' as they came, and those of such an
// entry row by row, each at the place of the row's last change. Messages are held with them, since
// they say who made what follows.
//
// A transaction is never held whole. When a window is full, what it holds is mapped, and another
// begins. What fills it is counted, so that a transaction that comes again is cut at the same
// changes and gives the same events.

const (
	// windowBytes is how much of a transaction is held.
	windowBytes = 4 << 20
	// itemBytes and valueBytes are counted for a held item and for each value, beside its text.
	itemBytes, valueBytes = 256, 32
	// windowChunk is how much memory is taken at once, and kept from one window to the next.
	windowChunk = 64 << 10
)

// window holds changes and messages in the order in which they came.
type window struct {
	most   int // windowBytes, but for tests
	bytes  int
	items  []heldItem
	groups []rowGroup
	rows   map[*capture.Table]*rowGroups
	from   []byte // scratch
	to     []byte

	texts  []byte
	values []capture.Value
	// relations are the tables' descriptions for raw changes. They are not counted.
	relations map[*capture.Table][]byte
}

// heldItem is a change, or a message where there is no table.
type heldItem struct {
	change  capture.Change
	message capture.Message
	group   int // of window.groups, from 1; 0 for none
	next    int // of the same group; 0 for none
}

// on reports whether anything is held.
func (w *window) on() bool { return len(w.items) > 0 }

// reset forgets what is held.
func (w *window) reset() {
	clear(w.items)
	w.items, w.groups, w.bytes = w.items[:0], w.groups[:0], 0
	clear(w.rows)
	clear(w.relations)
	if cap(w.items) > windowChunk/itemBytes {
		w.items = nil
	}
	if cap(w.texts) > windowChunk {
		w.texts = nil
	}
	clear(w.values)
	w.texts, w.values = w.texts[:0], w.values[:0]
}

// part ends the groups of a table: changes to come are not merged with those before. An empty name
// is all tables.
func (w *window) part(table string) {
	for t := range w.rows {
		if table == "" || t.String() == table {
			delete(w.rows, t)
		}
	}
}

// sizeOf is what a change counts.
func sizeOf(c *capture.Change) int {
	bytes := itemBytes + valueBytes*(len(c.Old)+len(c.New)) + len(c.Raw.Change)
	for _, row := range [2]capture.Row{c.Old, c.New} {
		for i := range row {
			bytes += len(row[i].Text)
		}
	}
	return bytes
}

// add copies a change, which is valid only until its call returns.
func (w *window) add(c *capture.Change, size int) (item int) {
	held := heldItem{change: *c}
	held.change.Old, held.change.New = w.row(c.Old), w.row(c.New)
	relation := w.relations[c.Table]
	if !bytes.Equal(relation, c.Raw.Relation) {
		relation = bytes.Clone(c.Raw.Relation)
		w.relations[c.Table] = relation
	}
	held.change.Raw = capture.Raw{Relation: relation, Change: w.text(c.Raw.Change)}
	w.items = append(w.items, held)
	w.bytes += size
	return len(w.items) - 1
}

func (w *window) row(row capture.Row) capture.Row {
	if row == nil {
		return nil
	}
	if cap(w.values)-len(w.values) < len(row) {
		w.values = make([]capture.Value, 0, max(len(row), windowChunk/valueBytes))
	}
	start := len(w.values)
	w.values = append(w.values, row...)
	held := w.values[start:len(w.values):len(w.values)]
	for i := range held {
		held[i].Text = w.text(held[i].Text)
	}
	return held
}

func (w *window) text(b []byte) []byte {
	if b == nil {
		return nil
	}
	if cap(w.texts)-len(w.texts) < len(b) {
		w.texts = make([]byte, 0, max(len(b), windowChunk))
	}
	start := len(w.texts)
	w.texts = append(w.texts, b...)
	return w.texts[start:len(w.texts):len(w.texts)]
}

// hold keeps a change for the transaction's end. One that fills a window by itself is mapped alone.
func (m *Mapper) hold(b *binding, c *capture.Change) error {
	w := &m.window
	size := sizeOf(c)
	if w.bytes+size > w.most {
		m.trusted.early = true
		if err := m.empty(); err != nil {
			return err
		}
	}
	if size > w.most {
		m.bound = b
		if err := m.now(b, c); err != nil || b.merging == 0 {
			return err
		}
		m.changes = append(m.changes[:0], c)
		return m.mapChange(b, c, true)
	}
	if b.merging == 0 && !b.ops.has(c.Op) && !b.watched && len(b.touches) == 0 { // it stands between others, and no more
		c = &capture.Change{Op: c.Op, Table: c.Table, Ordinal: c.Ordinal}
	}
	item := w.add(c, size)
	switch {
	case b.merging == 0:
	case c.Op == capture.Truncate:
		w.part(b.name)
		w.own(item)
	default:
		w.place(item, b.rowKey)
	}
	return nil
}

// holdMessage keeps a message for the transaction's end.
func (m *Mapper) holdMessage(msg *capture.Message) error {
	w := &m.window
	size := itemBytes + len(msg.Prefix) + len(msg.Content)
	if w.bytes+size > w.most {
		m.trusted.early = true
		if err := m.empty(); err != nil {
			return err
		}
		if size > w.most {
			return m.message(msg)
		}
	}
	held := *msg
	held.Content = w.text(msg.Content)
	w.items = append(w.items, heldItem{message: held})
	w.bytes += size
	return nil
}

// empty maps what is held.
func (m *Mapper) empty() error {
	w := &m.window
	defer w.reset()
	for i := range w.items {
		item := &w.items[i]
		if item.change.Table == nil {
			if err := m.message(&item.message); err != nil {
				return err
			}
			continue
		}
		b := m.bound
		if b == nil || b.table != item.change.Table {
			b = m.bind(item.change.Table)
		}
		if err := m.now(b, &item.change); err != nil {
			return err
		}
		if item.group > 0 && w.groups[item.group-1].last == i {
			if err := m.mapGroup(&w.groups[item.group-1]); err != nil {
				return err
			}
		}
	}
	return nil
}

// mapGroup maps what the changes of a row come to.
func (m *Mapper) mapGroup(g *rowGroup) error {
	m.changes = m.changes[:0]
	for item := g.first; ; item = m.window.items[item].next {
		m.changes = append(m.changes, &m.window.items[item].change)
		if item == g.last {
			break
		}
	}
	merged := Merge(m.changes)
	if merged == nil {
		m.cameToNothing()
		return nil
	}
	m.merged = len(m.changes) > 1
	defer func() { m.merged = false }()
	return m.mapChange(m.bind(merged.Table), merged, true)
}

// cameToNothing tells that the changes at hand left nothing of their row.
func (m *Mapper) cameToNothing() {
	last := m.changes[len(m.changes)-1]
	m.bound, m.whole, m.nothing = m.bind(last.Table), last, true
	for _, be := range m.bound.entries {
		if be.observer != nil && be.merges {
			m.tell(be, false)
		}
	}
	m.nothing = false
}

// Holding reports whether changes are held for the transaction's end, or what they touch is told then.
func (m *Mapper) Holding() bool {
	return m.window.on() || len(m.touching.rows)+len(m.touching.lost) > 0
}

// Merged reports whether [Mapper.Changes] are those of a row that became one.
func (m *Mapper) Merged() bool { return m.merged }

// Undecoded is told of a change that could not be decoded: what follows it in its table is not
// merged with what came before, and what was looked up in it before the transaction's end may be
// wrong. An empty name is any table.
func (m *Mapper) Undecoded(table string) error {
	m.window.part(table)
	return m.Doubt(table)
}
