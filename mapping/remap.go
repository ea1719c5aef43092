package mapping

import (
	"rowhook/capture"
	"rowhook/delivery"
)

// Parked is what a change that could not be mapped is kept with.
type Parked struct {
	Transaction capture.Transaction
	// Actor and Operation are the [Failure]'s.
	Actor     delivery.Actor
	Operation string
	// Entry is the mapping entry that failed; empty maps the change for every entry of its table,
	// as for one that could not be decoded.
	Entry string
	// Made are the Failure's: types of events that are not made again.
	Made []string
}

// Read maps a row that was read outside the stream, for one entry. The transaction tells the read's
// position and time, and its Identity makes the events' ids. mapped is false when the entry does not
// map the table.
func (m *Mapper) Read(tx *capture.Transaction, entry string, table *capture.Table, row capture.Row) (mapped bool, err error) {
	c := &capture.Change{Op: capture.Read, Table: table, New: row}
	return m.Remap(&Parked{Transaction: *tx, Entry: entry}, c)
}

// Remap maps a parked change again, outside the stream, on a mapper of its own. Events have the ids
// that they would have had. mapped is false when the entry no longer maps the table, so that
// nothing can come of it.
func (m *Mapper) Remap(p *Parked, c *capture.Change) (mapped bool, err error) {
	m.Begin(&p.Transaction)
	m.contexts.message = told{p.Actor, p.Operation}
	b := *m.bind(c.Table)
	if p.Entry != "" {
		b.context, b.signal, b.entries = nil, nil, nil
		for _, be := range m.bound.entries {
			if be.Name == p.Entry {
				b.entries = []*boundEntry{be}
			}
		}
	}
	if p.Entry != "" {
		b.touches = nil
	}
	if len(b.entries) == 0 && b.context == nil && b.signal == nil && len(b.touches) == 0 {
		return false, nil
	}
	m.changes, m.made = append(m.changes[:0], c), p.Made
	if err := m.mapChange(&b, c, false); err != nil {
		return true, err
	}
	if err := m.mapChange(&b, c, true); err != nil {
		return true, err
	}
	return true, m.remapTouches(&b, c)
}
