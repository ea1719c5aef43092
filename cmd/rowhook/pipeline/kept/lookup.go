package kept

import "rowhook/capture"

// LookUp finds the row of a table that has the key which is given in row, and fills in what is kept of
// it; the rest stays as it is. It is as the open transaction has left it so far. There is none where
// exists is false. Where known is false, nobody can tell: the table's rows are not kept, not all of
// them yet, or those of another definition of the table.
func (s *Store) LookUp(of *capture.Table, row capture.Row) (exists, known bool, err error) {
	t := s.bind(of)
	if t == nil {
		return false, false, nil
	}
	return s.find(t, row, s.get)
}

// LookUpBefore is LookUp of the row as it was before the open transaction.
func (s *Store) LookUpBefore(of *capture.Table, row capture.Row) (exists, known bool, err error) {
	t := s.bind(of)
	if t == nil || t.now.Generation != t.settled.Generation {
		return false, false, nil
	}
	return s.find(t, row, s.before)
}

// find fills in what is kept of a row, by a way to look it up.
func (s *Store) find(t *binding, row capture.Row, get func(key []byte) (*entry, error)) (exists, known bool, err error) {
	if !t.now.Keeps || t.definition != t.now.Definition {
		t.unknown++
		return false, false, nil
	}
	var ok bool
	if s.key, ok = t.appendKey(s.key[:0], row); !ok {
		return false, false, nil
	}
	was, err := get(s.key)
	if err != nil {
		return false, false, err
	}
	if !was.exists {
		if !t.now.Loaded {
			t.unknown++
		}
		return false, t.now.Loaded, nil
	}
	s.values = append(s.values[:0], make([]capture.Value, len(t.columns))...)
	if err := readRow(s.values, was.row); err != nil {
		return false, false, err
	}
	for n, i := range t.columns {
		row[i] = s.values[n]
	}
	return true, true, nil
}

// before looks a row up as it was before the open transaction. What that has written over is in the
// entry, while the store may not have it; else the store has it, or an undo record of it.
func (s *Store) before(key []byte) (*entry, error) {
	switch e := s.cache.get(key); {
	case e == nil && !s.parts:
		return s.get(key)
	case e != nil && e.transaction != s.cache.open:
		return e, nil
	case e != nil && e.before != nil:
		return e.before, nil
	}
	row, ok, err := s.spool.KeptBefore(key, nil, append(s.gone(), s.cache.open)...)
	return &entry{row: row, exists: ok}, err
}
