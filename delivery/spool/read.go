package spool

import (
	"fmt"
	"time"

	"rowhook/delivery"
)

// readScan bounds how many events of others one Read passes over.
const readScan = 1 << 16

// Read implements [delivery.Store]. It returns early, with no entries and end false,
// after passing over very many events that are addressed to others.
func (s *Spool) Read(id delivery.ProfileID, from delivery.Seq, dst []delivery.Entry, max, maxBytes int) (
	entries []delivery.Entry, next delivery.Seq, end bool, err error,
) {
	return s.readLog(id, from, dst, max, maxBytes, false)
}

// History implements [delivery.Store].
func (s *Spool) History(id delivery.ProfileID, from delivery.Seq, dst []delivery.Entry, max, maxBytes int) (
	entries []delivery.Entry, next delivery.Seq, end bool, err error,
) {
	return s.readLog(id, from, dst, max, maxBytes, true)
}

// readLog reads what is addressed to the profile, or everything.
func (s *Spool) readLog(id delivery.ProfileID, from delivery.Seq, dst []delivery.Entry, max, maxBytes int, all bool) (
	entries []delivery.Entry, next delivery.Seq, end bool, err error,
) {
	if err := s.failed(); err != nil {
		return dst, from, false, err
	}
	if entries, next, end, ok := s.tail.read(id, from, dst, max, maxBytes, all); ok {
		return entries, next, end, nil
	}
	taken, bytes, scanned := 0, 0, 0
	next, end = from, true
	err = s.scanLog(from, func(seq delivery.Seq, value []byte) (bool, error) {
		scanned++
		mine, err := addressed(value, id)
		if err != nil {
			return false, err
		}
		size := len(value) + logKeySize
		wanted := mine || all
		if wanted && taken > 0 && (taken >= max || bytes+size > maxBytes) || scanned > readScan {
			next, end = seq, false
			return false, nil
		}
		next = seq + 1
		if !wanted {
			return true, nil
		}
		ev, err := decodeEvent(value)
		if err != nil {
			return false, err
		}
		dst = append(dst, delivery.Entry{Seq: seq, Event: ev, Bytes: sizeOf(value, ev), Others: !mine})
		taken++
		bytes += size
		return true, nil
	})
	return dst, next, end, err
}

// scanLog calls yield for the visible events from seq on. Numbers have no gaps: one that
// is missing is damage.
func (s *Spool) scanLog(from delivery.Seq, yield func(delivery.Seq, []byte) (bool, error)) error {
	visible := s.tail.end()
	expected := from
	stopped := false
	err := s.scan(seqKey(prefixLog, from), seqKey(prefixLog, visible+1), func(key, value []byte) (bool, error) {
		seq := keySeq(key)
		if seq != expected && seq > max(from, s.retention.floor()) {
			return false, s.missing(expected, seq-1)
		}
		more, err := yield(seq, value)
		if err != nil {
			return false, fmt.Errorf("event %d in the spool: %w", seq, err)
		}
		expected, stopped = seq+1, !more
		return more, nil
	})
	if err == nil && !stopped && expected <= visible && max(expected, s.retention.floor()) <= visible {
		return s.missing(expected, visible)
	}
	return err
}

// missing reports events that should be in the log and are not.
func (s *Spool) missing(first, last delivery.Seq) error {
	return s.fail(&DamageError{Dir: s.dir, Lost: fmt.Sprintf("events %d to %d are missing", first, last)})
}

// Event implements [delivery.Store]. The error is [ErrGone] when the event has left the spool.
func (s *Spool) Event(id delivery.ProfileID, seq delivery.Seq) (*delivery.Event, error) {
	if err := s.failed(); err != nil {
		return nil, err
	}
	if e, ok := s.tail.entry(seq); ok {
		return e.event, nil
	}
	value, err := s.eventRecord(id, seq)
	if err != nil {
		return nil, err
	}
	ev, err := decodeEvent(value)
	if err != nil {
		return nil, fmt.Errorf("event %d in the spool: %w", seq, err)
	}
	return ev, nil
}

// eventRecord returns an event's record from the log, or the profile's copy of it.
func (s *Spool) eventRecord(id delivery.ProfileID, seq delivery.Seq) ([]byte, error) {
	if seq <= s.tail.end() {
		value, err := s.get(seqKey(prefixLog, seq))
		if value != nil || err != nil {
			return value, err
		}
		if seq >= s.retention.floor() {
			return nil, s.missing(seq, seq)
		}
	}
	value, err := s.get(profileKey(id, kindEvent, uint64(seq)))
	if err == nil && value == nil {
		err = fmt.Errorf("event %d: %w", seq, ErrGone)
	}
	return value, err
}

// eventTime returns the commit time of an event.
func (s *Spool) eventTime(id delivery.ProfileID, seq delivery.Seq) (time.Time, error) {
	if e, ok := s.tail.entry(seq); ok {
		return e.event.Time, nil
	}
	value, err := s.eventRecord(id, seq)
	if err != nil {
		return time.Time{}, err
	}
	_, when, err := openEvent(value)
	return when, err
}

// End implements [delivery.Store].
func (s *Spool) End() delivery.Seq { return s.tail.end() }

// Appended implements [delivery.Store].
func (s *Spool) Appended(seq delivery.Seq) <-chan struct{} { return s.tail.wait(seq) }
