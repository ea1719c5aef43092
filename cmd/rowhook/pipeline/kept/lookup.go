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
	if !t.now.Keeps || t.definition != t.now.Definition {
		t.unknown++
		return false, false, nil
	}
	var ok bool
	if s.key, ok = t.appendKey(s.key[:0], row); !ok {
		return false, false, nil
	}
	was, err := s.get(s.key)
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
