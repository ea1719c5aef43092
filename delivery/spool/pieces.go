package spool

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"rowhook/delivery"
)

// The parts of an event of many megabytes are stored in pieces, so that the store never holds more
// than a few of them: it would hold a value several times over while it is written, flushed and
// merged. Pieces are written before the batch with the event's record, which makes them visible;
// those of a record that never came are dropped with the open transaction.

const (
	pieceSize = 128 << 10
	// piecesAtOnce is how many bytes of pieces go into one batch of the store.
	piecesAtOnce = 512 << 10
)

// pieceKey is a piece's key behind a prefix, which ends with the event's number.
func pieceKey(prefix []byte, part delivery.Part, index int) []byte {
	key := append(append(make([]byte, 0, len(prefix)+5), prefix...), byte(part))
	return binary.BigEndian.AppendUint32(key, uint32(index))
}

// writePieces stores the parts of an event.
func (s *Spool) writePieces(seq delivery.Seq, ev *delivery.Event) error {
	prefix := seqKey(prefixPiece, seq)
	w := s.db.NewBatch()
	defer func() { w.Close() }()
	for i, part := range ev.Parts() {
		for at := 0; at < len(*part); at += pieceSize {
			piece := (*part)[at:min(at+pieceSize, len(*part))]
			if err := w.Set(pieceKey(prefix, delivery.Part(i), at/pieceSize), piece, nil); err != nil {
				return err
			}
			if w.Len() < piecesAtOnce {
				continue
			}
			if err := s.commit(w, nil); err != nil {
				return err
			}
			w.Close()
			w = s.db.NewBatch()
		}
	}
	return s.commit(w, nil)
}

// piece is one that comes ahead of its event, in a part of a batch.
type piece struct {
	part  delivery.Part
	index int
	bytes []byte
}

// errPieces reports parts that do not follow each other as they were made.
var errPieces = errors.New("the pieces of a large event and the event do not fit together: a part is missing before this one")

// fits reports whether a batch goes on where the one before ended, as far as the pieces of a large
// event tell.
func (a *appender) fits(b *Batch) error {
	ahead := a.pieces
	for _, p := range b.pieces {
		if ahead[p.part] != int64(p.index)*pieceSize {
			return errPieces
		}
		ahead[p.part] += int64(len(p.bytes))
	}
	var wanted [delivery.Parts]int64
	if len(b.entries) > 0 && b.entries[0].event.Away != nil {
		for i, size := range b.entries[0].event.Away.Sizes {
			wanted[i] = max(size, 0)
		}
	}
	if ahead != wanted && len(b.pieces) == 0 {
		return errPieces
	}
	return nil
}

// fillPieces writes pieces of the event that comes next, and counts them.
func (s *Spool) fillPieces(w *pebble.Batch, b *Batch) error {
	a := &s.appender
	if len(b.pieces) == 0 {
		a.pieces = [delivery.Parts]int64{}
		return nil
	}
	prefix := seqKey(prefixPiece, a.next)
	for _, p := range b.pieces {
		if err := w.Set(pieceKey(prefix, p.part, p.index), p.bytes, nil); err != nil {
			return err
		}
		a.pieces[p.part] += int64(len(p.bytes))
	}
	return nil
}

// Payload implements [delivery.Store].
func (s *Spool) Payload(id delivery.ProfileID, seq delivery.Seq, part delivery.Part, yield func([]byte) error) error {
	ev, err := s.storedEvent(id, seq)
	if err != nil {
		return err
	}
	if ev.Away == nil {
		return yield(*ev.Parts()[part])
	}
	left := ev.Away.Sizes[part]
	for i := 0; left > 0; i++ {
		piece, err := s.piece(id, seq, part, i)
		if err != nil {
			return err
		}
		if int64(len(piece)) != min(left, pieceSize) {
			return s.fail(&DamageError{Dir: s.dir, Lost: fmt.Sprintf("piece %d of event %d is missing", i, seq)})
		}
		left -= int64(len(piece))
		if err := yield(piece); err != nil {
			return err
		}
	}
	return nil
}

// piece returns a piece of an event in the log, or of the profile's copy.
func (s *Spool) piece(id delivery.ProfileID, seq delivery.Seq, part delivery.Part, index int) ([]byte, error) {
	piece, err := s.get(pieceKey(seqKey(prefixPiece, seq), part, index))
	if piece != nil || err != nil {
		return piece, err
	}
	return s.get(pieceKey(profileKey(id, kindPiece, uint64(seq)), part, index))
}

// copyPieces copies an event's pieces under a profile.
func (s *Spool) copyPieces(w *pebble.Batch, p *profile, seq delivery.Seq) error {
	from, to := seqKey(prefixPiece, seq), profileKey(p.id, kindPiece, uint64(seq))
	for part := range delivery.Parts {
		for i := 0; ; i++ {
			piece, err := s.get(pieceKey(from, part, i))
			if err != nil {
				return err
			}
			if piece == nil {
				break
			}
			if err := w.Set(pieceKey(to, part, i), piece, nil); err != nil {
				return err
			}
			if w.Len() >= piecesAtOnce {
				if err := s.commit(w, nil); err != nil {
					return err
				}
				w.Reset()
			}
		}
	}
	return nil
}

// forgetPieces deletes a profile's copy of an event's pieces.
func (u *update) forgetPieces(seq delivery.Seq) error {
	return u.w.DeleteRange(profileKey(u.p.id, kindPiece, uint64(seq)), profileKey(u.p.id, kindPiece, uint64(seq)+1), nil)
}

// sizeOf is what an event takes in the spool.
func sizeOf(value []byte, ev *delivery.Event) int {
	size := len(value) + logKeySize
	if ev.Away != nil {
		size += int(ev.PayloadSize())
	}
	return size
}
