package engine

import (
	"time"

	"rowhook/delivery"
)

// intake takes a profile's events from the log into its queue: one by one, as batches, or as what one
// transaction did. It minds the barriers, and how much the queue has room for.
type intake struct {
	store    *profileStore
	terms    *terms
	reader   reader // where the log is read, and what goes together
	queue    *queue
	commits  *committer
	ordering ordering                   // what events are ordered by, and the barriers
	skip     func(*delivery.Entry) bool // set while what is read is not to be delivered
}

// readable reports whether the log of an active profile may be read on. After a start it first comes as far as it was
// before, which takes no more memory than it took then.
func (in *intake) readable() bool {
	if in.barred() {
		return false
	}
	if l := in.reader.forming.large; l != nil {
		return !in.commits.stuck() && (!l.again || in.queue.ledger.window.n == 0)
	}
	return !in.reader.caughtUp() || len(in.queue.lanes.byKey) < maxLanes+maxWindowJobs && in.queue.ledger.counts[delivery.Retrying] < maxLanes &&
		len(in.queue.lanes.alones.seqs) == 0 && in.queue.memory.half(in.reader.forming.bytes)
}

// read reads the log as far as there is room.
func (in *intake) read(now time.Time) error {
	for range readChunks {
		if l := in.reader.forming.large; l != nil && l.again && in.queue.ledger.window.n > 0 {
			// What is before it must be over or have a record, so that progress need not tell its
			// records apart.
			in.queue.unloadAll()
		}
		if !in.readable() {
			return nil
		}
		if !in.reader.more() {
			return nil
		}
		if err := in.readSome(now); err != nil {
			return err
		}
	}
	return nil
}

func (in *intake) readSome(now time.Time) error {
	limit, room := min(readChunk, maxWindowJobs-in.queue.memory.jobs), in.queue.memory.max-in.queue.memory.bytes
	r := &in.reader
	if !r.caughtUp() || r.forming.large != nil {
		limit, room = readChunk, in.queue.memory.max
	}
	moved, err := r.read(in.store, in.store.id, &in.ordering, limit, room)
	if err != nil {
		return err
	}
	if moved {
		in.queue.ledger.pending.moved(now)
	}
	entries, next := r.chunk, r.next
	for i := range entries {
		if err := in.admit(&entries[i], now); err != nil {
			return err
		}
		if i+1 < len(entries) && entries[i+1].Seq > r.resume && len(in.queue.lanes.alones.seqs) > 0 && in.skip == nil && r.forming.large == nil {
			r.next, r.end = entries[i+1].Seq, false // nothing goes before the one that goes alone
			in.unform()
		}
		if r.next != next {
			break
		}
	}
	clear(entries)
	if in.reader.profile.grouped() && r.next == next && (r.end || in.barred()) {
		return in.closeTransaction(now) // the log ends with one
	}
	return nil
}

// admit takes an entry of the log into memory, or to disk when its ordering key waits there.
func (in *intake) admit(entry *delivery.Entry, now time.Time) error {
	over := in.reader.known(entry.Seq)
	if in.reader.profile.grouped() && (in.skip == nil || !over && !in.skip(entry)) {
		return in.collectTransaction(entry, now)
	}
	if over {
		delete(in.reader.settled, entry.Seq)
		if err := in.closeBatch(now); err != nil { // a batch has no holes
			return err
		}
	}
	switch {
	case over, in.reader.profile.grouped(), in.skip != nil && in.skip(entry):
		in.queue.ledger.window.settle(in.queue.ledger.window.push(entry.Seq, nil))
		return nil
	case in.reader.profile.config.Unit == delivery.UnitBatch:
		return in.collect(entry, now)
	}
	j := in.queue.memory.newJob()
	j.seq, j.event, j.bytes = entry.Seq, entry.Event, entry.Bytes
	j.record = in.reader.newRecord(entry)
	j.slot, j.slots = in.queue.ledger.window.push(j.seq, j), 1
	in.queue.take(j)
	return in.boundSpan(now)
}

// boundSpan keeps progress going when the lowest entry takes very long.
func (in *intake) boundSpan(now time.Time) error {
	span := maxWindowSpan
	if in.reader.profile.config.Unit == delivery.UnitBatch {
		span *= 4 // as many as memory has room for, so that batches which wait for each other stay there
	}
	if in.queue.ledger.window.n < span {
		return nil
	}
	j := in.queue.ledger.window.oldest()
	if j.state != jobHanded {
		in.queue.unload(j)
		return nil
	}
	in.queue.ledger.claim(j, now)
	_, err := in.commits.commit()
	return err
}
