package mapping

import (
	"bytes"

	"rowhook/capture"
)

// heldDelete is a delete on a partitioned table that waits for the change after it. PostgreSQL
// moves a row between partitions by a delete and an insert, which it decodes one right after the
// other; together they are one update. What is covered is just that: an insert of the same key (as
// the entries have it) into the same table as the very next change of the transaction, with no
// context message or signal between. A key deleted and inserted again by hand, one statement right
// after the other, looks the same and is an update too. Anything else stays a delete and an insert.
//
// The delete is held in the mapper alone, so a large transaction may be stored in parts around it:
// a transaction that breaks off comes again whole, and its delete with it.
type heldDelete struct {
	on     bool
	change capture.Change
	bytes  []byte // what the copied row and raw bytes point into
}

// take copies the delete, which is valid only until its call returns. It refuses one whose key is
// not known, and all where there is no key to tell a move by.
func (h *heldDelete) take(c *capture.Change, key []int) bool {
	if !keyKnown(c.Old, key) {
		return false
	}
	h.bytes = h.bytes[:0]
	size := len(c.Raw.Relation) + len(c.Raw.Change)
	for i := range c.Old {
		size += len(c.Old[i].Text)
	}
	if cap(h.bytes) < size || cap(h.bytes) > maxScratch {
		h.bytes = make([]byte, 0, size)
	}
	old := h.change.Old
	h.change = *c
	h.change.Old = append(old[:0], c.Old...)
	for i := range h.change.Old {
		h.change.Old[i].Text = h.copy(c.Old[i].Text)
	}
	h.change.Raw = capture.Raw{Relation: h.copy(c.Raw.Relation), Change: h.copy(c.Raw.Change)}
	h.on = true
	return true
}

func (h *heldDelete) copy(b []byte) []byte {
	if b == nil {
		return nil
	}
	start := len(h.bytes)
	h.bytes = append(h.bytes, b...)
	return h.bytes[start:len(h.bytes):len(h.bytes)]
}

// movedBy reports whether the change puts the deleted row back.
func (h *heldDelete) movedBy(c *capture.Change, key []int) bool {
	if c.Op != capture.Insert || c.Table != h.change.Table || !keyKnown(c.New, key) {
		return false
	}
	for _, col := range key {
		if !bytes.Equal(c.New[col].Text, h.change.Old[col].Text) {
			return false
		}
	}
	return true
}

// keyKnown reports whether there is a key and the row has all of it.
func keyKnown(row capture.Row, key []int) bool {
	for _, col := range key {
		if row == nil || row[col].State != capture.Present {
			return false
		}
	}
	return len(key) > 0
}
