package kept

import (
	"bytes"
	"encoding/binary"
	"slices"

	"rowhook/capture"
)

// An index finds a table's rows by columns that are not their key. Each kept row has one entry in
// it: under what it has in these columns, or under "not known", so that no list of rows passes for
// whole that may lack this one. A row with a NULL among them has none. Entries are written in the
// batch of their row, and go with its generation.

// index is one of a table's indexes, in a binding.
type index struct {
	number  byte
	columns []int // of the table
	from    []field
}

// field says where a kept row has a column: in its key, or in its value.
type field struct {
	inKey bool
	at    int
}

// Behind a generation's prefix and these two bytes, with which no row's key begins, are the entries of
// its indexes.
var indexMark = [2]byte{0x80, 0x00}

// What an index's number is followed by.
const (
	indexUnknown = 0 // + the row's key
	indexKnown   = 1 // + the columns' values + the row's key
)

// indexesMost is how many indexes a table may have.
const indexesMost = 256

// bindIndexes finds the columns of the table's indexes. One whose columns are not there is left out.
func (b *binding) bindIndexes() {
	for n, names := range b.want.By[:min(len(b.want.By), indexesMost)] {
		x := index{number: byte(n)}
		for _, name := range names {
			col := b.of.Column(name)
			f := field{inKey: true, at: slices.Index(b.key, col)}
			if f.at < 0 {
				f = field{at: slices.Index(b.columns, col)}
			}
			if f.at >= 0 {
				x.columns, x.from = append(x.columns, col), append(x.from, f)
			}
		}
		if len(x.from) == len(names) {
			b.indexes = append(b.indexes, x)
		}
	}
}

// appendIndex writes what an index's entries begin with.
func (b *binding) appendIndex(dst []byte, number, kind byte) []byte {
	dst = appendPrefix(dst, b.now.ID, b.now.Generation)
	return append(dst, indexMark[0], indexMark[1], number, kind)
}

// indexEntry is a row's entry in an index: none where it is empty. All rows share the bucket's bytes
// that have the same values.
type indexEntry struct {
	key    []byte
	bucket int
}

// unknown says that the row does not tell the values.
func (e *indexEntry) unknown() bool {
	return len(e.key) > 0 && e.key[prefixBytes+len(indexMark)+1] == indexUnknown
}

// set makes it the entry of a row, whose key has these parts.
func (e *indexEntry) set(b *binding, x *index, key [][]byte, values []capture.Value) {
	e.key, e.bucket = b.appendIndex(e.key[:0], x.number, indexKnown), 0
	null, unknown := false, false
	for _, f := range x.from {
		v := capture.Value{State: capture.Present}
		if f.inKey {
			v.Text = key[f.at]
		} else {
			v = values[f.at]
		}
		null = null || v.State == capture.Null
		unknown = unknown || v.State == capture.Unknown
		e.key = appendPart(e.key, v.Text)
	}
	switch {
	case null:
		e.key = e.key[:0]
		return
	case unknown:
		e.key = b.appendIndex(e.key[:0], x.number, indexUnknown)
	}
	e.bucket = len(e.key)
	for n, i := range b.key {
		e.key = AppendSorted(e.key, b.of.Columns[i].Type.Kind, key[n])
	}
}

// indexing is what reindex works with.
type indexing struct {
	key           [][]byte
	values        []capture.Value
	before, after indexEntry
}

// reindex brings the indexes up to date with a row that takes the place of another, either of which may
// be none.
func (s *Store) reindex(b Batch, t *binding, key, was, now []byte) error {
	if len(t.indexes) == 0 {
		return nil
	}
	w := &s.indexing
	w.key = w.key[:0]
	for rest := key[prefixBytes:]; len(rest) > 0; {
		part, after, ok := cutPart(rest)
		if !ok {
			return errMalformed
		}
		w.key, rest = append(w.key, part), after
	}
	if len(w.key) != len(t.key) {
		return errMalformed
	}
	w.values = append(w.values[:0], make([]capture.Value, len(t.columns))...)
	for i := range t.indexes {
		x := &t.indexes[i]
		for _, side := range [...]struct {
			row   []byte
			entry *indexEntry
		}{{was, &w.before}, {now, &w.after}} {
			if side.entry.key = side.entry.key[:0]; side.row == nil {
				continue
			}
			if err := readRow(w.values, side.row); err != nil {
				return err
			}
			side.entry.set(t, x, w.key, w.values)
		}
		if bytes.Equal(w.before.key, w.after.key) {
			continue
		}
		if len(w.before.key) > 0 {
			s.forgetIn(b, w.before.key)
			s.entries.write(&w.before, false, s.batch)
		}
		if len(w.after.key) > 0 {
			s.keepIn(b, w.after.key, nil)
			s.entries.write(&w.after, true, s.batch)
		}
		if w.after.unknown() && !t.now.Vague {
			t.now.Vague = true
			s.save(b, t.table)
		}
	}
	return nil
}

// Parts gives a table's rows that have the values which are given in row, in the columns by, to take, in
// the order of their keys, until it returns false: whole numbers and decimals by their size, all others
// by the bytes of their text. They are as the open transaction has left them so far. What is not kept of
// them is Unknown; texts stay as they are. It gives at most so many; more says that there are others.
// Where known is false, nobody can tell.
func (s *Store) Parts(of *capture.Table, by []int, row capture.Row, most int, take func(capture.Row) bool) (more, known bool, err error) {
	t, bucket, err := s.bucket(of, by, row)
	if err != nil || bucket == nil {
		return false, false, err
	}
	entries, err := s.within(bucket, nil, most+1)
	if err != nil {
		return false, false, err
	}
	for n, entry := range entries {
		if n == most {
			return true, true, nil
		}
		part, err := s.part(t, entry[len(bucket):])
		if err != nil {
			return false, false, err
		}
		if !take(part) {
			return true, true, nil
		}
	}
	return false, true, nil
}

// bucket is what the entries of the rows begin with that have these values in the columns by; nil where
// nobody can tell which these are.
func (s *Store) bucket(of *capture.Table, by []int, row capture.Row) (t *binding, bucket []byte, err error) {
	if t = s.bind(of); t == nil {
		return nil, nil, nil
	}
	n := slices.IndexFunc(t.indexes, func(x index) bool { return slices.Equal(x.columns, by) })
	if n < 0 || !t.now.Keeps || !t.now.Loaded || t.definition != t.now.Definition {
		t.unknown++
		return t, nil, nil
	}
	number := t.indexes[n].number
	if t.now.Vague {
		s.key = t.appendIndex(s.key[:0], number, indexUnknown)
		if some, err := s.within(s.key, nil, 1); err != nil || len(some) > 0 {
			t.unknown++
			return t, nil, err
		}
	}
	bucket = t.appendIndex(nil, number, indexKnown)
	for _, i := range by {
		if row[i].State != capture.Present {
			return t, nil, nil
		}
		bucket = appendPart(bucket, row[i].Text)
	}
	return t, bucket, nil
}

// referringPage is how many rows' keys are in memory at once while rows are gone through.
const referringPage = 256

// Referring gives take all rows that Parts would, in the same order, until it returns false or an error.
// take may look rows up; a row is valid until it does, or returns. Texts stay as they are.
func (s *Store) Referring(of *capture.Table, by []int, row capture.Row, take func(capture.Row) (more bool, err error)) (known bool, err error) {
	t, bucket, err := s.bucket(of, by, row)
	if err != nil || bucket == nil {
		return false, err
	}
	for from := []byte(nil); ; {
		entries, err := s.within(bucket, from, s.page)
		if err != nil {
			return false, err
		}
		for _, entry := range entries {
			part, err := s.part(t, entry[len(bucket):])
			if err != nil {
				return false, err
			}
			if more, err := take(part); err != nil || !more {
				return true, err
			}
		}
		if len(entries) < s.page {
			return true, nil
		}
		from = entries[len(entries)-1]
	}
}

// part reads the row whose key ends an entry.
func (s *Store) part(t *binding, entry []byte) (capture.Row, error) {
	row := append(s.found[:0], make(capture.Row, len(t.of.Columns))...)
	s.found = row
	s.key = appendPrefix(s.key[:0], t.now.ID, t.now.Generation)
	for _, i := range t.key {
		text, rest, ok := cutSorted(entry)
		if !ok {
			return nil, errMalformed
		}
		row[i], entry = capture.Value{State: capture.Present, Text: text}, rest
		s.key = appendPart(s.key, text)
	}
	if len(entry) > 0 {
		return nil, errMalformed
	}
	was, err := s.get(s.key)
	if err != nil {
		return nil, err
	}
	if !was.exists {
		return nil, errNoRow
	}
	s.values = append(s.values[:0], make([]capture.Value, len(t.columns))...)
	if err := readRow(s.values, was.row); err != nil {
		return nil, err
	}
	for n, i := range t.columns {
		row[i] = s.values[n]
	}
	return row, nil
}

// within lists the first entries that begin so, behind the one that is given. What batches hold that are
// not stored yet counts for what the store says.
func (s *Store) within(bucket, behind []byte, most int) (list [][]byte, err error) {
	pending := s.entries.in(bucket)
	lower := bucket
	if behind != nil {
		lower = append(bytes.Clone(behind), 0)
		first, _ := slices.BinarySearch(pending, string(lower))
		pending = pending[first:]
	}
	waits := func() *entry { return s.entries.waits(pending[0]) }
	err = s.scanStored(lower, after(bucket), func(key []byte) bool {
		for len(pending) > 0 && pending[0] < string(key) && len(list) < most {
			if e := waits(); e != nil && e.exists {
				list = append(list, []byte(pending[0]))
			}
			pending = pending[1:]
		}
		if len(list) == most {
			return false
		}
		there := true
		if len(pending) > 0 && pending[0] == string(key) {
			if e := waits(); e != nil {
				there = e.exists
			}
			pending = pending[1:]
		}
		if there {
			list = append(list, bytes.Clone(key))
		}
		return len(list) < most
	})
	for ; len(pending) > 0 && len(list) < most; pending = pending[1:] {
		if e := waits(); e != nil && e.exists {
			list = append(list, []byte(pending[0]))
		}
	}
	return list, err
}

// scanStored reads keys from the store, without what aborted transactions have left there.
func (s *Store) scanStored(lower, upper []byte, yield func(key []byte) bool) error {
	each := func(key, _ []byte) (bool, error) { return yield(key), nil }
	if len(s.dropping) == 0 {
		return s.spool.KeptRange(lower, upper, each)
	}
	return s.spool.KeptRangeBefore(lower, upper, s.gone(), each)
}

// after is the first key that does not begin with a prefix, which has a byte below 0xff.
func after(prefix []byte) []byte {
	end := bytes.TrimRight(prefix, "\xff")
	end = bytes.Clone(end)
	end[len(end)-1]++
	return end
}

// cutPart takes one column off a key.
func cutPart(key []byte) (text, rest []byte, ok bool) {
	size, n := binary.Uvarint(key)
	if n <= 0 || size > uint64(len(key)-n) {
		return nil, nil, false
	}
	end := n + int(size)
	return key[n:end:end], key[end:], true
}
