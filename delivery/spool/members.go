package spool

import (
	"fmt"

	"rowhook/delivery"
)

// Events implements [delivery.Store].
func (s *Spool) Events(id delivery.ProfileID, d *delivery.Delivery, from delivery.Seq, dst []delivery.Entry, max, maxBytes int) (
	entries []delivery.Entry, next delivery.Seq, end bool, err error,
) {
	// The events must not leave the log while we look at it.
	s.retention.removing.RLock()
	defer s.retention.removing.RUnlock()
	if d.Seq < s.retention.floor() {
		return s.copies(id, d, from, dst, max, maxBytes)
	}
	return s.logMembers(id, d, from, dst, max, maxBytes)
}

// logMembers is Events for a delivery whose events are in the log.
func (s *Spool) logMembers(id delivery.ProfileID, d *delivery.Delivery, from delivery.Seq, dst []delivery.Entry, max, maxBytes int) (
	entries []delivery.Entry, next delivery.Seq, end bool, err error,
) {
	start, last := len(dst), d.Last()
	entries, next, end, err = s.Read(id, from, dst, max, maxBytes)
	kept := entries[:start]
	for _, e := range entries[start:] {
		if e.Seq <= last && (d.Members == nil || d.Members.Has(e.Event)) {
			kept = append(kept, e)
		}
	}
	clear(entries[len(kept):])
	return kept, next, end || next > last, err
}

// copies is Events for a delivery whose events were copied under its profile.
func (s *Spool) copies(id delivery.ProfileID, d *delivery.Delivery, from delivery.Seq, dst []delivery.Entry, max, maxBytes int) (
	entries []delivery.Entry, next delivery.Seq, end bool, err error,
) {
	taken, bytes := 0, 0
	next, end = d.Last()+1, true
	err = s.scanCopies(id, d, from, func(e delivery.Entry) (bool, error) {
		if taken > 0 && (taken >= max || bytes+e.Bytes > maxBytes) {
			next, end = e.Seq, false
			return false, nil
		}
		dst = append(dst, e)
		taken++
		bytes += e.Bytes
		return true, nil
	})
	return dst, next, end, err
}

// scanCopies calls yield for the copies of the events that a delivery carries, from seq on.
func (s *Spool) scanCopies(id delivery.ProfileID, d *delivery.Delivery, from delivery.Seq, yield func(delivery.Entry) (bool, error)) error {
	lower, upper := profileKey(id, kindEvent, uint64(from)), profileKey(id, kindEvent, uint64(d.Last()+1))
	return s.scan(lower, upper, func(key, value []byte) (bool, error) {
		ev, err := decodeEvent(value)
		if err != nil {
			return false, fmt.Errorf("copy of event %d in the spool: %w", keySeq(key), err)
		}
		if d.Members != nil && !d.Members.Has(ev) {
			return true, nil
		}
		return yield(delivery.Entry{Seq: keySeq(key), Event: ev, Bytes: sizeOf(value, ev)})
	})
}
