package mapping

import (
	"bytes"

	"rowhook/capture"
)

// Wants reports whether anything may come of a table's change.
func (m *Mapper) Wants(t *capture.Table, op capture.Op) bool {
	b := m.bind(t)
	return b.ops.has(op) || b.merging != 0
}

// Listens reports whether a message of that prefix is context or a signal.
func (m *Mapper) Listens(prefix string) bool {
	return prefix != "" && (prefix == m.rules.context.Message || prefix == m.rules.signals.Message)
}

// Key returns the row's key as events would have it, masked where the mapping says so; nil where it
// is not known, or where entries have different ones.
func (m *Mapper) Key(c *capture.Change) []byte {
	e := evaluation{rows: newRows(c), at: m.commitTime(), context: &m.contexts}
	if e.check() != nil {
		return nil
	}
	var key []byte
	for _, be := range m.bind(c.Table).entries {
		if !be.ops.has(c.Op) || len(be.problems) > 0 {
			continue
		}
		e.entry = be
		w := renderer{e: &e}
		switch w.object(be.key, (*renderer).now); {
		case len(w.unavailable) > 0 || len(w.buf) <= len("{}"):
		case key == nil:
			key = bytes.Clone(w.buf)
		case !bytes.Equal(key, w.buf):
			return nil
		}
	}
	return key
}
