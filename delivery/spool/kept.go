package spool

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// Kept rows are what the agent remembers of the database's rows. A batch changes them together with
// the events and the position that it holds, so that they are always as of the committed position.
//
// What an open transaction stores in parts is in its place at once, since its end must not have to
// move it. What stood there before is in undo records, which go with the transaction's end. Abort and
// Open put it back.

// keptChange is a kept row's change in a batch: its key and row are in the batch's bytes.
type keptChange struct {
	start, key, end int
	forget          bool
}

// keptChanges are those of a batch.
type keptChanges struct {
	bytes   []byte
	list    []keptChange
	settled int // of list, those before the last Commit
	// transaction is the open one's number, which its undo records have.
	transaction uint64
}

// keptOverhead is about what a change takes beside key and row.
const keptOverhead = 16

func (k *keptChanges) add(key, row []byte, forget bool) {
	start := len(k.bytes)
	k.bytes = append(append(k.bytes, key...), row...)
	k.list = append(k.list, keptChange{start, start + len(key), len(k.bytes), forget})
}

func (k *keptChanges) key(i int) []byte { return k.bytes[k.list[i].start:k.list[i].key] }
func (k *keptChanges) row(i int) []byte { return k.bytes[k.list[i].key:k.list[i].end] }
func (k *keptChanges) size() int        { return len(k.bytes) + keptOverhead*len(k.list) }

func (k *keptChanges) rollback() {
	end := 0
	if k.settled > 0 {
		end = k.list[k.settled-1].end
	}
	k.list, k.bytes = k.list[:k.settled], k.bytes[:end]
}

func (k *keptChanges) reset() {
	k.bytes, k.list, k.settled = k.bytes[:0], k.list[:0], 0
}

// KeepsFor says whose the changes of kept rows are that follow, by a number of the caller's, which
// no other transaction has that the store may hold parts of. It is 0 where nobody says.
func (b *Batch) KeepsFor(transaction uint64) { b.kept.transaction = transaction }

// Keep has a row kept under a key, in place of what was there. Both are copied. The last call for a
// key counts.
func (b *Batch) Keep(key, row []byte) { b.kept.add(key, row, false) }

// Forget takes a kept row away; there need be none.
func (b *Batch) Forget(key []byte) { b.kept.add(key, nil, true) }

// fillKept writes the changes of kept rows that a batch commits.
func (s *Spool) fillKept(w *pebble.Batch, k *keptChanges) error {
	for i := range k.list[:k.settled] {
		if err := setKept(w, k, i); err != nil {
			return err
		}
	}
	if !s.appender.undone {
		return nil
	}
	s.appender.undone = false
	return w.DeleteRange([]byte{prefixUndo}, []byte{prefixUndo + 1}, nil)
}

func setKept(w *pebble.Batch, k *keptChanges, i int) error {
	key, row := k.key(i), k.row(i)
	if k.list[i].forget {
		op := w.DeleteDeferred(1 + len(key))
		op.Key[0] = prefixKept
		copy(op.Key[1:], key)
		return op.Finish()
	}
	op := w.SetDeferred(1+len(key), len(row))
	op.Key[0] = prefixKept
	copy(op.Key[1:], key)
	copy(op.Value, row)
	return op.Finish()
}

// fillOpen writes those that belong to a transaction still open, each key's first one with its undo
// record.
func (s *Spool) fillOpen(w *pebble.Batch, k *keptChanges) error {
	if k.settled == len(k.list) {
		return nil
	}
	settled := make(map[string]int, k.settled) // the batch's own, which the store does not have yet
	for i := range k.list[:k.settled] {
		settled[string(k.key(i))] = i
	}
	earlier := s.appender.undone // parts of this transaction are stored
	seen := make(map[string]struct{}, len(k.list)-k.settled)
	for i := k.settled; i < len(k.list); i++ {
		key := k.key(i)
		if _, again := seen[string(key)]; !again {
			seen[string(key)] = struct{}{}
			if err := s.fillUndo(w, k, settled, key, earlier); err != nil {
				return err
			}
		}
		if err := setKept(w, k, i); err != nil {
			return err
		}
	}
	s.appender.undone = true
	return nil
}

// fillUndo writes what stood under a key before the open transaction, unless an earlier part has.
func (s *Spool) fillUndo(w *pebble.Batch, k *keptChanges, settled map[string]int, key []byte, earlier bool) error {
	if earlier {
		undo, err := s.get(undoKey(key))
		if err != nil || undo != nil {
			return err
		}
	}
	if i, ours := settled[string(key)]; ours {
		return w.Set(undoKey(key), encodeUndo(k.transaction, k.row(i), !k.list[i].forget), nil)
	}
	row, ok, err := s.Kept(key, nil)
	if err != nil {
		return err
	}
	return w.Set(undoKey(key), encodeUndo(k.transaction, row, ok), nil)
}

func undoKey(key []byte) []byte {
	return append(append(make([]byte, 0, 1+len(key)), prefixUndo), key...)
}

func encodeUndo(transaction uint64, row []byte, was bool) []byte {
	b := append(make([]byte, 0, 2+binary.MaxVarintLen64+len(row)), undoVersion)
	b = binary.AppendUvarint(b, transaction)
	return append(appendBool(b, was), row...)
}

func decodeUndo(b []byte) (transaction uint64, row []byte, was bool, err error) {
	r, err := open("undo record", b, undoVersion)
	if err != nil {
		return 0, nil, false, err
	}
	transaction = r.uvarint()
	switch r.byte() {
	case 0:
		return transaction, nil, false, r.close("undo record")
	case 1:
		if !r.bad {
			return transaction, r.take(len(b) - r.off), true, nil
		}
	}
	return 0, nil, false, fmt.Errorf("undo record: %w", errMalformed)
}

// undoChunk bounds what is put back in one go.
const undoChunk = 1 << 20

// undo puts back what stood before the open transaction. What is put back is taken off the undo
// records with it, so that it may end anywhere and begin again.
func (s *Spool) undo() error {
	for more := true; more; {
		w := s.db.NewBatch()
		more = false
		err := s.scan([]byte{prefixUndo}, []byte{prefixUndo + 1}, func(key, value []byte) (bool, error) {
			_, row, was, err := decodeUndo(value)
			if err != nil {
				return false, err
			}
			kept := append([]byte{prefixKept}, key[1:]...)
			if was {
				err = w.Set(kept, row, nil)
			} else {
				err = w.Delete(kept, nil)
			}
			if err == nil {
				err = w.Delete(key, nil)
			}
			more = w.Len() >= undoChunk
			return !more, err
		})
		if err == nil && w.Count() > 0 {
			err = s.commit(w, nil)
		}
		if err = joinClose(err, w); err != nil {
			return fmt.Errorf("put kept rows back: %w", err)
		}
	}
	s.appender.undone = false
	return nil
}

// Kept appends the row kept under a key to dst. It is as of what was applied last, parts of an open
// transaction included.
func (s *Spool) Kept(key, dst []byte) (row []byte, ok bool, err error) {
	if err := s.startReading(); err != nil {
		return dst, false, err
	}
	defer s.reading.RUnlock()
	return s.getKept(s.db, prefixKept, key, dst)
}

// KeptBefore is Kept without what these transactions have stored of themselves, which is about to be
// dropped. They need not be in the store yet, nor any more.
func (s *Spool) KeptBefore(key, dst []byte, of ...uint64) (row []byte, ok bool, err error) {
	if err := s.startReading(); err != nil {
		return dst, false, err
	}
	defer s.reading.RUnlock()
	view := s.db.NewSnapshot()
	defer func() { err = joinClose(err, view) }()
	undo, ok, err := s.getKept(view, prefixUndo, key, nil)
	if err != nil {
		return dst, false, err
	}
	if ok {
		transaction, row, was, err := decodeUndo(undo)
		if err != nil || slices.Contains(of, transaction) {
			return append(dst, row...), was, err
		}
	}
	return s.getKept(view, prefixKept, key, dst)
}

func (s *Spool) getKept(from pebble.Reader, prefix byte, key, dst []byte) ([]byte, bool, error) {
	var few [96]byte
	value, closer, err := from.Get(append(append(few[:0], prefix), key...))
	if err == pebble.ErrNotFound { //nolint:errorlint // it is returned as it is, once a look-up
		return dst, false, nil
	}
	if err != nil {
		return dst, false, s.damage(fmt.Errorf("read kept row: %w", err))
	}
	dst = append(dst, value...)
	return dst, true, closer.Close()
}

// KeptRange calls yield for the rows kept under the keys from lower up to upper, in order, until it
// returns false or an error. Key and row are valid only during the call, which must not read the
// spool.
func (s *Spool) KeptRange(lower, upper []byte, yield func(key, row []byte) (bool, error)) error {
	return s.scan(keptKey(lower), keptEnd(upper), func(key, row []byte) (bool, error) { return yield(key[1:], row) })
}

// KeptRangeBefore is KeptRange without what these transactions have stored of themselves, as
// [Spool.KeptBefore] is Kept.
func (s *Spool) KeptRangeBefore(lower, upper []byte, of []uint64, yield func(key, row []byte) (bool, error)) (err error) {
	if err := s.startReading(); err != nil {
		return err
	}
	defer s.reading.RUnlock()
	view := s.db.NewSnapshot()
	defer func() { err = joinClose(err, view) }()
	rows, err := view.NewIter(&pebble.IterOptions{LowerBound: keptKey(lower), UpperBound: keptEnd(upper)})
	if err != nil {
		return s.damage(fmt.Errorf("read kept rows: %w", err))
	}
	defer func() { err = joinClose(err, rows) }()
	undoEnd := []byte{prefixUndo + 1}
	if upper != nil {
		undoEnd = undoKey(upper)
	}
	undos, err := view.NewIter(&pebble.IterOptions{LowerBound: undoKey(lower), UpperBound: undoEnd})
	if err != nil {
		return s.damage(fmt.Errorf("read kept rows: %w", err))
	}
	defer func() { err = joinClose(err, undos) }()
	rows.First()
	undos.First()
	for rows.Valid() || undos.Valid() {
		more, err := keptOrUndone(rows, undos, of, yield)
		if err != nil || !more {
			return err
		}
	}
	for _, it := range [...]*pebble.Iterator{rows, undos} {
		if err := it.Error(); err != nil {
			return s.damage(fmt.Errorf("read kept rows: %w", err))
		}
	}
	return nil
}

// keptOrUndone takes the lower key of a row and an undo record, both where they are of one key.
func keptOrUndone(rows, undos *pebble.Iterator, of []uint64, yield func(key, row []byte) (bool, error)) (more bool, err error) {
	order := -1
	switch {
	case !rows.Valid():
		order = 1
	case undos.Valid():
		order = bytes.Compare(rows.Key()[1:], undos.Key()[1:])
	}
	from := rows
	if order > 0 {
		from = undos
	}
	key, row, was := from.Key()[1:], []byte(nil), order <= 0
	if was {
		row, err = rows.ValueAndErr()
	}
	if err == nil && order >= 0 {
		var value []byte
		if value, err = undos.ValueAndErr(); err != nil {
			return false, err
		}
		transaction, before, there, undoErr := decodeUndo(value)
		err = undoErr
		if slices.Contains(of, transaction) {
			row, was = before, there
		}
	}
	more = true
	if err == nil && was {
		more, err = yield(key, row)
	}
	if order <= 0 {
		rows.Next()
	}
	if order >= 0 {
		undos.Next()
	}
	return more, err
}

// ForgetKept takes the rows kept under the keys from lower up to upper away at once, not with a
// batch. No transaction still open may have changed them. Nil as upper is behind the last.
func (s *Spool) ForgetKept(lower, upper []byte) error { return s.ForgetKeptStamped(lower, upper) }

// ForgetKeptStamped is ForgetKept that sets own values in the same write.
func (s *Spool) ForgetKeptStamped(lower, upper []byte, values ...Value) error {
	err := s.change(func(w *pebble.Batch) error {
		err := w.DeleteRange(keptKey(lower), keptEnd(upper), nil)
		if err == nil {
			err = setValues(w, values)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("forget kept rows: %w", err)
	}
	return nil
}

// KeptSize is about how many bytes of disk the rows kept under the keys from lower up to upper take.
// What was kept in the last moments may not be counted.
func (s *Spool) KeptSize(lower, upper []byte) (int64, error) {
	if err := s.startReading(); err != nil {
		return 0, err
	}
	defer s.reading.RUnlock()
	bytes, err := s.db.EstimateDiskUsage(keptKey(lower), keptEnd(upper))
	if err != nil {
		return 0, s.damage(fmt.Errorf("measure kept rows: %w", err))
	}
	return int64(bytes), nil
}

func keptKey(key []byte) []byte {
	return append(append(make([]byte, 0, 1+len(key)), prefixKept), key...)
}

func keptEnd(upper []byte) []byte {
	if upper == nil {
		return []byte{prefixKept + 1}
	}
	return keptKey(upper)
}

// joinClose closes what a read or a write is done with; an error that there was comes first.
func joinClose(err error, c interface{ Close() error }) error {
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	return err
}
