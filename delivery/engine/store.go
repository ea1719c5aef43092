package engine

import (
	"fmt"
	"iter"

	"rowhook/delivery"
)

// profileStore is what the store holds for one profile: its part of the log, its records, its
// progress.
type profileStore struct {
	delivery.Store
	id delivery.ProfileID
}

// each calls fn for the records in the given states, in order, until it returns false.
// Records may be changed meanwhile.
func (s *profileStore) each(states []delivery.State, fn func(*delivery.Delivery) (bool, error)) error {
	chunk := make([]delivery.Delivery, 0, recordChunk)
	for from := delivery.Seq(0); ; from = chunk[len(chunk)-1].Seq + 1 {
		chunk = chunk[:0]
		err := s.Deliveries(s.id, from, states, func(r delivery.Delivery) bool {
			chunk = append(chunk, r)
			return len(chunk) < recordChunk
		})
		if err != nil {
			return fmt.Errorf("read waiting deliveries: %w", err)
		}
		for i := range chunk {
			if more, err := fn(&chunk[i]); err != nil || !more {
				return err
			}
		}
		if len(chunk) < recordChunk {
			return nil
		}
	}
}

// recordChunk is how many records are looked at between two reads of the store.
const recordChunk = 256

// sizeOf returns what an entry of the log that was not read yet takes in the spool.
func (s *profileStore) sizeOf(seq delivery.Seq) int {
	entries, _, _, err := s.Read(s.id, seq, nil, 1, 1)
	if err != nil || len(entries) == 0 || entries[0].Seq != seq {
		return 0
	}
	return entries[0].Bytes
}

// membersOf returns the events of a batch, which are few enough to be in memory together, in so many
// bytes.
func (s *profileStore) membersOf(j *job, bytes int) ([]delivery.Entry, error) {
	if j.members != nil {
		return j.members, nil
	}
	var entries []delivery.Entry
	for next, end := j.seq, false; !end; {
		var err error
		entries, next, end, err = s.Events(s.id, &j.record, next, entries, j.record.Events()-len(entries), bytes)
		if err != nil {
			return nil, fmt.Errorf("read events of a waiting delivery: %w", err)
		}
	}
	if len(entries) != j.record.Events() {
		return nil, fmt.Errorf("read events of a waiting delivery: %d of %d are there", len(entries), j.record.Events())
	}
	return entries, nil
}

// eventsOf ranges over the events of a group, which are in memory or in the store. An error of the
// store, which is not the delivery's fault, is left in the job as well.
func (s *profileStore) eventsOf(j *job) iter.Seq2[*delivery.Event, error] {
	// One that is away is read for as long as it takes to render it.
	give := func(ev *delivery.Event, seq delivery.Seq, yield func(*delivery.Event, error) bool) bool {
		full, err := s.whole(ev, seq)
		if err != nil {
			j.err = fmt.Errorf("read a large event: %w", err)
			return yield(nil, j.err)
		}
		return yield(full, nil)
	}
	if j.members != nil {
		return func(yield func(*delivery.Event, error) bool) {
			for i := range j.members {
				if !give(j.members[i].Event, j.members[i].Seq, yield) {
					return
				}
			}
		}
	}
	if j.record.Events() == 1 {
		return func(yield func(*delivery.Event, error) bool) { give(j.event, j.seq, yield) }
	}
	return func(yield func(*delivery.Event, error) bool) {
		var entries []delivery.Entry
		left := j.record.Events()
		for next, end := j.seq, false; !end; {
			var err error
			entries, next, end, err = s.Events(s.id, &j.record, next, entries[:0], min(renderChunk, left), renderBytes)
			if end && err == nil && len(entries) < left {
				err = fmt.Errorf("%d events are missing", left-len(entries))
			}
			if err != nil {
				j.err = fmt.Errorf("read events of a waiting delivery: %w", err)
				yield(nil, j.err)
				return
			}
			left -= len(entries)
			for i := range entries {
				if !give(entries[i].Event, entries[i].Seq, yield) {
					return
				}
			}
		}
	}
}

// waits reports whether anything is not over, dead letters included.
func (s *profileStore) waits() (bool, error) {
	backlog, err := s.Backlog(s.id)
	if err != nil {
		return false, fmt.Errorf("read backlog: %w", err)
	}
	waits := backlog.Events > 0
	err = s.Deliveries(s.id, 0, nil, func(delivery.Delivery) bool {
		waits = true
		return false
	})
	return waits, err
}
