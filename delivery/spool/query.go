package spool

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"rowhook/delivery"
)

// delivery returns a delivery without its body.
func (s *Spool) delivery(id delivery.ProfileID, seq delivery.Seq) (storedDelivery, bool, error) {
	return s.deliveryIn(s.db, id, seq)
}

// deliveryIn is delivery as a view of the store has it.
func (s *Spool) deliveryIn(view pebble.Reader, id delivery.ProfileID, seq delivery.Seq) (d storedDelivery, ok bool, err error) {
	for _, kind := range [...]byte{kindLive, kindDead} {
		value, err := s.getIn(view, profileKey(id, kind, uint64(seq)))
		if err != nil {
			return d, false, err
		}
		if value == nil {
			continue
		}
		if d, err = decodeDelivery(seq, value); err != nil {
			return d, false, fmt.Errorf("delivery %d: %w", seq, err)
		}
		return d, true, nil
	}
	return d, false, nil
}

// Delivery implements [delivery.Store].
func (s *Spool) Delivery(id delivery.ProfileID, seq delivery.Seq) (delivery.Delivery, bool, error) {
	d, ok, err := s.delivery(id, seq)
	if err == nil && ok && d.body {
		d.Body, err = s.get(profileKey(id, kindBody, uint64(seq)))
	}
	return d.Delivery, ok, err
}

// Due implements [delivery.Store].
func (s *Spool) Due(id delivery.ProfileID, until time.Time, dst []delivery.Delivery, max int) ([]delivery.Delivery, error) {
	p, err := s.profile(id)
	if err != nil {
		return dst, err
	}
	return s.collect(id, dst, max, func() ([]delivery.Seq, error) { return s.due(p, sortableTime(until)+1, max) })
}

// due searches the index by due time, and remembers where it begins.
func (s *Spool) due(p *profile, end uint64, max int) (seqs []delivery.Seq, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dueFrom >= end || max <= 0 {
		return nil, nil
	}
	first := end
	err = s.scan(profileKey(p.id, kindDue, p.dueFrom), profileKey(p.id, kindDue, end), func(key, _ []byte) (bool, error) {
		if len(seqs) == 0 {
			first = binary.BigEndian.Uint64(key[len(key)-16:])
		}
		seqs = append(seqs, keySeq(key))
		return len(seqs) < max, nil
	})
	if err == nil {
		p.dueFrom = first
	}
	return seqs, err
}

// Lane implements [delivery.Store].
func (s *Spool) Lane(id delivery.ProfileID, lane uint64, from delivery.Seq, dst []delivery.Delivery, max int) (
	[]delivery.Delivery, error,
) {
	if _, err := s.profile(id); err != nil || max <= 0 {
		return dst, err
	}
	lower, upper := profileKey(id, kindLane, lane, uint64(from)), after(profileKey(id, kindLane, lane))
	return s.collect(id, dst, max, func() (seqs []delivery.Seq, err error) {
		err = s.scan(lower, upper, func(key, _ []byte) (bool, error) {
			seqs = append(seqs, keySeq(key))
			return len(seqs) < max, nil
		})
		return seqs, err
	})
}

// collect appends the live deliveries that a search of an index finds, which finds up to max. Those
// that have ended since the search are passed over, and it is repeated where there may be others in
// their place: fewer than max says that there are no more.
func (s *Spool) collect(id delivery.ProfileID, dst []delivery.Delivery, max int, search func() ([]delivery.Seq, error)) (
	[]delivery.Delivery, error,
) {
	for before := len(dst); ; dst = dst[:before] {
		seqs, err := search()
		if err != nil {
			return dst, err
		}
		for _, seq := range seqs {
			d, ok, err := s.Delivery(id, seq)
			if err != nil {
				return dst, err
			}
			if ok && live(d.State) {
				dst = append(dst, d)
			}
		}
		if len(seqs) < max || len(dst)-before == len(seqs) {
			return dst, nil
		}
	}
}

// deliveryChunk is how many deliveries are read before they are yielded, so that
// yield may call the store and take its time without an open iterator.
const deliveryChunk = 256

// Deliveries implements [delivery.Store].
func (s *Spool) Deliveries(id delivery.ProfileID, from delivery.Seq, states []delivery.State, yield func(delivery.Delivery) bool) error {
	if _, err := s.profile(id); err != nil {
		return err
	}
	wanted := func(kind byte) bool {
		return len(states) == 0 || slices.ContainsFunc(states, func(st delivery.State) bool { return deliveryKind(st) == kind })
	}
	for {
		var chunk []delivery.Delivery
		var more bool
		for _, kind := range [...]byte{kindLive, kindDead} {
			if !wanted(kind) {
				continue
			}
			part, full, err := s.deliveries(id, kind, from)
			if err != nil {
				return err
			}
			chunk, more = append(chunk, part...), more || full
		}
		slices.SortFunc(chunk, func(a, b delivery.Delivery) int { return int(int64(a.Seq) - int64(b.Seq)) })
		if more {
			// Beyond this number one of the two kinds was not read yet.
			chunk = chunk[:min(len(chunk), deliveryChunk)]
		}
		for i := range chunk {
			if (len(states) == 0 || slices.Contains(states, chunk[i].State)) && !yield(chunk[i]) {
				return nil
			}
		}
		if !more {
			return nil
		}
		from = chunk[len(chunk)-1].Seq + 1
	}
}

// deliveries returns up to a chunk of deliveries of a kind, without bodies.
func (s *Spool) deliveries(id delivery.ProfileID, kind byte, from delivery.Seq) (list []delivery.Delivery, full bool, err error) {
	upper := after(profileKey(id, kind))
	err = s.scan(profileKey(id, kind, uint64(from)), upper, func(key, value []byte) (bool, error) {
		d, err := decodeDelivery(keySeq(key), value)
		if err != nil {
			return false, fmt.Errorf("delivery %d: %w", keySeq(key), err)
		}
		list = append(list, d.Delivery)
		return len(list) < deliveryChunk, nil
	})
	return list, len(list) == deliveryChunk, err
}
