package spool

import (
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

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
	err = s.scanLog(from, s.blocks.opener(from), func(l *logged) (bool, error) {
		scanned++
		mine, err := l.addressed(id)
		if err != nil {
			return false, err
		}
		wanted := mine || all
		if scanned > readScan {
			next, end = l.seq, false
			return false, nil
		}
		if !wanted {
			next = l.seq + 1
			return true, nil
		}
		size, err := l.bytes()
		if err != nil {
			return false, err
		}
		if taken > 0 && (taken >= max || bytes+size > maxBytes) {
			next, end = l.seq, false
			return false, nil
		}
		next = l.seq + 1
		ev, err := l.event()
		if err != nil {
			return false, err
		}
		dst = append(dst, delivery.Entry{Seq: l.seq, Event: ev, Bytes: size, Others: !mine})
		taken++
		bytes += size
		return true, nil
	})
	return dst, next, end, err
}

// opener begins to read a value of the log, whose last event is given, like [openLogged]. It calls value
// only where that must be decoded.
type opener func(last delivery.Seq, value func() ([]byte, error), room []byte) (logged, error)

// openAlone is the opener for what nobody else reads.
func openAlone(last delivery.Seq, value func() ([]byte, error), room []byte) (logged, error) {
	v, err := value()
	if err != nil {
		return logged{}, err
	}
	return openLogged(last, v, room)
}

// scanLog calls yield for the visible events from seq on. Numbers have no gaps: one that
// is missing is damage.
func (s *Spool) scanLog(from delivery.Seq, open opener, yield func(*logged) (bool, error)) error {
	visible := s.tail.end()
	expected := from
	stopped := false
	var room []byte
	err := s.scanKeys(seqKey(prefixLog, from), seqKey(prefixLog, visible+1), func(key []byte, value func() ([]byte, error)) (bool, error) {
		l, err := open(keySeq(key), value, room)
		room = l.room
		if err != nil {
			return false, fmt.Errorf("event %d in the spool: %w", keySeq(key), err)
		}
		if first := l.first(); first != expected && first > max(from, s.retention.floor()) {
			return false, s.missing(expected, first-1)
		}
		for {
			more, err := l.next()
			if more && err == nil && l.seq >= from {
				more, err = yield(&l)
				stopped = !more
			}
			if err != nil {
				return false, fmt.Errorf("event %d in the spool: %w", l.seq, err)
			}
			if !more {
				expected = l.seq + 1
				return !stopped, nil
			}
		}
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
	return s.storedEvent(id, seq)
}

// storedEvent returns an event of the log, or of the profile's copy of it.
func (s *Spool) storedEvent(id delivery.ProfileID, seq delivery.Seq) (ev *delivery.Event, err error) {
	if seq <= s.tail.end() {
		err := s.logEvent(seq, func(l *logged) (err error) {
			ev, err = l.event()
			return err
		})
		if ev != nil || err != nil {
			return ev, err
		}
		if seq >= s.retention.floor() {
			return nil, s.missing(seq, seq)
		}
	}
	value, err := s.get(profileKey(id, kindEvent, uint64(seq)))
	if err != nil {
		return nil, err
	}
	if value == nil {
		return nil, fmt.Errorf("event %d: %w", seq, ErrGone)
	}
	if ev, err = decodeEvent(value); err != nil {
		return nil, fmt.Errorf("event %d in the spool: %w", seq, err)
	}
	return ev, nil
}

// logEvent calls use for an event of the log, which may be in the midst of a block. It does not if
// the event is not there.
func (s *Spool) logEvent(seq delivery.Seq, use func(*logged) error) error {
	lower, upper := seqKey(prefixLog, seq), seqKey(prefixLog, seq+blockEvents)
	return s.scan(lower, upper, func(key, value []byte) (bool, error) {
		l, err := openLogged(keySeq(key), value, nil)
		if l.first() > seq {
			return false, err
		}
		for more := true; more && err == nil && l.seq < seq; {
			more, err = l.next()
		}
		if err == nil {
			err = use(&l)
		}
		if err != nil {
			err = fmt.Errorf("event %d in the spool: %w", seq, err)
		}
		return false, err
	})
}

// eventTime returns the commit time of an event. view has the profile's copies.
func (s *Spool) eventTime(view pebble.Reader, id delivery.ProfileID, seq delivery.Seq) (time.Time, error) {
	if e, ok := s.tail.entry(seq); ok {
		return e.event.Time, nil
	}
	var when time.Time
	found := false
	err := s.logEvent(seq, func(l *logged) error { // the rest of it is not wanted
		when, found = l.when, true
		return nil
	})
	if found || err != nil {
		return when, err
	}
	if seq <= s.tail.end() && seq >= s.retention.floor() {
		return when, s.missing(seq, seq)
	}
	value, err := s.getIn(view, profileKey(id, kindEvent, uint64(seq)))
	if err != nil {
		return when, err
	}
	if value == nil {
		return when, fmt.Errorf("event %d: %w", seq, ErrGone)
	}
	if _, when, err = openEvent(value); err != nil {
		return when, fmt.Errorf("event %d in the spool: %w", seq, err)
	}
	return when, nil
}

// End implements [delivery.Store].
func (s *Spool) End() delivery.Seq { return s.tail.end() }

// Appended implements [delivery.Store].
func (s *Spool) Appended(seq delivery.Seq) <-chan struct{} { return s.tail.wait(seq) }
