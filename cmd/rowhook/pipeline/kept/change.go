package kept

import (
	"bytes"
	"slices"

	"rowhook/capture"
)

// Change fills in what the kept row knows and the change does not tell, and brings the row up to date.
// What it returns is the change that was given, or one of the store's own that is valid until the
// next call.
func (s *Store) Change(b Batch, c *capture.Change) (*capture.Change, error) {
	if len(s.tables) == 0 {
		return c, nil
	}
	t := s.bind(c.Table)
	if t == nil || !t.now.Keeps {
		return c, nil
	}
	if t.definition != t.now.Definition {
		s.doubt(b, t.table, "the table is another one than when its rows were read")
		return c, nil
	}
	columns := len(c.Table.Columns)
	if c.Old != nil && len(c.Old) != columns || c.New != nil && len(c.New) != columns {
		s.doubt(b, t.table, "a change does not fit the table's description")
		return c, nil
	}
	switch c.Op {
	case capture.Insert:
		return c, s.insert(b, t, c)
	case capture.Update:
		return s.update(b, t, c)
	case capture.Delete:
		return s.remove(b, t, c)
	case capture.Truncate:
		// The table is empty, which is all that can be known of it.
		empty := t.now
		empty.Loaded, empty.Vague, empty.Moved = true, false, nil
		s.renew(b, t.table, empty)
	}
	return c, nil
}

const keyless = "a change did not tell whose it is"

func (s *Store) insert(b Batch, t *binding, c *capture.Change) error {
	var ok bool
	if s.key, ok = t.appendKey(s.key[:0], c.New); !ok {
		s.doubt(b, t.table, keyless)
		return nil
	}
	was, err := s.get(s.key)
	if err != nil {
		return err
	}
	return s.put(b, t, s.key, was, s.encode(t, c.New))
}

// encode writes a row's value.
func (s *Store) encode(t *binding, row capture.Row) []byte {
	s.w = append(s.w[:0], rowVersion)
	for _, i := range t.columns {
		s.w = appendValue(s.w, row[i])
	}
	return s.w
}

// lookUp finds the row that an old one is of; ok is false where it does not tell.
func (s *Store) lookUp(b Batch, t *binding, old capture.Row) (was *entry, ok bool, err error) {
	if s.key, ok = t.appendKey(s.key[:0], old); !ok {
		s.doubt(b, t.table, keyless)
		return nil, false, nil
	}
	if was, err = s.get(s.key); err != nil {
		return nil, false, err
	}
	s.values = append(s.values[:0], make([]capture.Value, len(t.columns))...)
	if !was.exists {
		t.unknown++
		return was, true, nil
	}
	return was, true, readRow(s.values, was.row)
}

// fill puts what was kept into the places of an old row that are not known.
func (s *Store) fill(t *binding, old capture.Row) {
	for n, i := range t.columns {
		if v := s.values[n]; v.State != capture.Unknown && (old[i].State == capture.Unknown || old[i].State == capture.Unchanged) {
			old[i] = v
			t.filled++
		}
	}
}

func (s *Store) update(b Batch, t *binding, c *capture.Change) (*capture.Change, error) {
	was, ok, err := s.lookUp(b, t, c.Old)
	if err != nil || !ok {
		return c, err
	}
	s.change = *c
	s.old, s.new = append(s.old[:0], c.Old...), append(s.new[:0], c.New...)
	s.fill(t, s.old)
	for i := range s.new {
		if s.new[i].State == capture.Unchanged && s.old[i].State != capture.Unknown && s.old[i].State != capture.Unchanged {
			s.new[i] = s.old[i]
		}
	}
	s.change.Old, s.change.New = s.old, s.new
	if s.key2, ok = t.appendKey(s.key2[:0], s.new); !ok {
		s.doubt(b, t.table, keyless)
		return &s.change, nil
	}
	row := s.encode(t, s.new)
	if string(s.key2) == string(s.key) {
		return &s.change, s.put(b, t, s.key, was, row)
	}
	if err := s.forget(b, t, s.key, was); err != nil {
		return c, err
	}
	if was, err = s.get(s.key2); err != nil {
		return c, err
	}
	if was.exists { // then a later change cannot tell whose the key is
		s.doubt(b, t.table, "a row took the key of another one")
		return &s.change, nil
	}
	if !s.took(b, t, s.new) {
		return &s.change, nil
	}
	return &s.change, s.put(b, t, s.key2, was, row)
}

// mostMoved is how many keys that rows took are remembered for one load.
const mostMoved = 1000

// took notes the key that a row took of which not all is known, while the table is read. It returns
// false where the table's rows are given up.
func (s *Store) took(b Batch, t *binding, row capture.Row) bool {
	whole := !slices.ContainsFunc(t.columns, func(i int) bool {
		return row[i].State == capture.Unknown || row[i].State == capture.Unchanged
	})
	if t.now.Loaded || whole {
		return true
	}
	if len(t.now.Moved) == mostMoved {
		s.doubt(b, t.table, "very many rows took other keys while the table was read")
		return false
	}
	var key [][]byte
	for _, i := range t.key {
		key = append(key, bytes.Clone(row[i].Text))
	}
	t.now.Moved = append(slices.Clip(t.now.Moved), key)
	s.save(b, t.table)
	return true
}

// Moved takes out the keys that rows took while the table was read and not all of them was known. They
// are to be read, again perhaps, before the table is [Store.Loaded]. of is the table as it is read.
func (s *Store) Moved(b Batch, generation uint32, of *capture.Table) (keys [][]string) {
	t := s.bind(of)
	if t == nil || t.now.Generation != generation || len(t.now.Moved) == 0 {
		return nil
	}
	for _, moved := range t.now.Moved {
		var key []string
		for _, i := range of.Key {
			at := slices.Index(t.key, i)
			if at < 0 {
				s.doubt(b, t.table, "a row took another key while the table was read by columns that the stream does not tell")
				return nil
			}
			key = append(key, string(moved[at]))
		}
		keys = append(keys, key)
	}
	t.now.Moved = nil
	s.save(b, t.table)
	return keys
}

func (s *Store) remove(b Batch, t *binding, c *capture.Change) (*capture.Change, error) {
	was, ok, err := s.lookUp(b, t, c.Old)
	if err != nil || !ok {
		return c, err
	}
	s.change = *c
	s.old = append(s.old[:0], c.Old...)
	s.fill(t, s.old)
	s.change.Old = s.old
	return &s.change, s.forget(b, t, s.key, was)
}

// Read keeps a row that was read beside the stream, in its place there. ok is false where the table
// is not as it was when the load began.
func (s *Store) Read(b Batch, generation uint32, of *capture.Table, row capture.Row) (ok bool, err error) {
	bound := s.bind(of)
	if bound == nil || !bound.now.Keeps || bound.now.Generation != generation || bound.definition != bound.now.Definition {
		return false, nil
	}
	if s.key, ok = bound.appendKey(s.key[:0], row); !ok {
		return false, nil
	}
	was, err := s.get(s.key)
	if err != nil {
		return true, err
	}
	return true, s.put(b, bound, s.key, was, s.encode(bound, row))
}

// Passed takes note of a change that was not taken whole: what is known of it is its key and small
// values, where that much could be told.
func (s *Store) Passed(b Batch, name string, c *capture.Change) error {
	t := s.tables[name]
	if t == nil || !t.now.Keeps {
		return nil
	}
	if c == nil {
		s.doubt(b, t, "a change was read past")
		return nil
	}
	_, err := s.Change(b, c)
	return err
}
