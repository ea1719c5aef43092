package spool

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"rowhook/delivery"
)

// parked returns number and bytes of the source's dead letters.
func (s *Spool) parked() tally {
	s.write.Lock()
	defer s.write.Unlock()
	return s.parking
}

// ParkedCount returns the number of the source's dead letters and the bytes they take.
func (s *Spool) ParkedCount() (count, bytes int64) {
	t := s.parked()
	return t.events, t.bytes
}

// parkedChunk is how many dead letters are read before they are yielded.
const parkedChunk = 16

// Parked calls yield for the source's dead letters from seq on, oldest first, until it returns
// false. yield may use the spool.
func (s *Spool) Parked(from delivery.Seq, yield func(delivery.Parked) bool) error {
	for {
		chunk, err := s.parkedFrom(from)
		if err != nil {
			return err
		}
		for i := range chunk {
			if !yield(chunk[i]) {
				return nil
			}
		}
		if len(chunk) < parkedChunk {
			return nil
		}
		from = chunk[len(chunk)-1].Seq + 1
	}
}

func (s *Spool) parkedFrom(from delivery.Seq) (chunk []delivery.Parked, err error) {
	upper := seqKey(prefixParked, s.lastParked()+1)
	err = s.scan(seqKey(prefixParked, from), upper, func(key, value []byte) (bool, error) {
		p, err := decodeParked(value)
		if err != nil {
			return false, fmt.Errorf("dead letter %d of the source: %w", keySeq(key), err)
		}
		p.Seq = keySeq(key)
		chunk = append(chunk, p)
		return len(chunk) < parkedChunk, nil
	})
	return chunk, err
}

// LastParked returns the number of the source's last dead letter, whether it is still there or not.
func (s *Spool) LastParked() delivery.Seq { return s.lastParked() }

// lastParked returns the number of the last visible dead letter.
func (s *Spool) lastParked() delivery.Seq {
	s.write.Lock()
	defer s.write.Unlock()
	return s.committed.parked
}

// ParkedChange returns one dead letter of the source; ok is false when there is none of that
// number.
func (s *Spool) ParkedChange(seq delivery.Seq) (p delivery.Parked, ok bool, err error) {
	if seq > s.lastParked() {
		return p, false, nil
	}
	value, err := s.get(seqKey(prefixParked, seq))
	if err != nil || value == nil {
		return p, false, err
	}
	if p, err = decodeParked(value); err != nil {
		return p, false, fmt.Errorf("dead letter %d of the source: %w", seq, err)
	}
	p.Seq = seq
	return p, true, nil
}

// RemoveParked removes dead letters of the source, durable after the next shared sync.
// Numbers that are not there are passed over.
func (s *Spool) RemoveParked(seqs ...delivery.Seq) error { return s.RemoveParkedStamped(seqs) }

// RemoveParkedStamped is RemoveParked that sets own values in the same write.
func (s *Spool) RemoveParkedStamped(seqs []delivery.Seq, values ...Value) error {
	s.parkingLock.Lock()
	defer s.parkingLock.Unlock()
	if err := s.removeParked(seqs, values); err != nil {
		return fmt.Errorf("remove dead letters of the source: %w", err)
	}
	return nil
}

func (s *Spool) removeParked(seqs []delivery.Seq, values []Value) error {
	w := s.db.NewBatch()
	defer w.Close()
	var gone tally
	seen := make(map[delivery.Seq]bool, len(seqs))
	last := s.lastParked()
	for _, seq := range seqs {
		if seq > last || seen[seq] {
			continue
		}
		value, err := s.get(seqKey(prefixParked, seq))
		if err != nil {
			return err
		}
		if value == nil {
			continue
		}
		seen[seq] = true
		gone.add(1, int64(len(value)))
		if err := w.Delete(seqKey(prefixParked, seq), nil); err != nil {
			return err
		}
	}
	left := s.parked()
	left.add(-gone.events, -gone.bytes)
	if err := w.Set([]byte{prefixParking}, encodeParking(left), nil); err != nil {
		return err
	}
	if err := setValues(w, values); err != nil {
		return err
	}
	s.restsOnLines()
	return s.commit(w, func() { s.parking = left })
}

// Meta returns one of the agent's own values, nil when it was never set.
func (s *Spool) Meta(key string) ([]byte, error) {
	return s.get(metaKey(key))
}

// SetMeta sets one of the agent's own values and returns once it is fsynced.
func (s *Spool) SetMeta(key string, value []byte) error {
	err := s.change(func(w *pebble.Batch) error {
		return w.Set(metaKey(key), value, nil)
	})
	if err == nil {
		err = s.Flush(context.Background())
	}
	if err != nil {
		return fmt.Errorf("set %s in the spool: %w", key, err)
	}
	return nil
}
