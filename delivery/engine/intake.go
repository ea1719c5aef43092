package engine

import (
	"time"

	"rowhook/delivery"
)

// readable reports whether the log may be read on. After a start it first comes as far as it was
// before, which takes no more memory than it took then.
func (d *dispatcher) readable() bool {
	if !d.active() {
		return false
	}
	if d.barred() {
		return false
	}
	if l := d.reader.forming.large; l != nil {
		return !d.commits.stuck() && (!l.again || d.queue.ledger.window.n == 0)
	}
	return !d.reader.caughtUp() || len(d.queue.lanes.byKey) < maxLanes+maxWindowJobs && d.queue.ledger.counts[delivery.Retrying] < maxLanes &&
		len(d.queue.lanes.alones.seqs) == 0 && d.queue.memory.half(d.reader.forming.bytes)
}

// readableSoon returns a channel that is closed when there is more to read; nil when it is of no
// interest.
func (d *dispatcher) readableSoon() <-chan struct{} {
	if !d.active() {
		if d.inactive.end {
			return d.inactive.appended
		}
		return nil
	}
	if !d.reader.end || !d.readable() {
		return nil
	}
	return d.reader.appended
}

// read reads the log as far as there is room.
func (d *dispatcher) read(now time.Time) error {
	for range readChunks {
		if l := d.reader.forming.large; l != nil && l.again && d.queue.ledger.window.n > 0 {
			// What is before it must be over or have a record, so that progress need not tell its
			// records apart.
			d.queue.unloadAll()
		}
		if !d.readable() {
			return nil
		}
		if !d.reader.more() {
			return nil
		}
		if err := d.readSome(now); err != nil {
			return err
		}
	}
	return nil
}

func (d *dispatcher) readSome(now time.Time) error {
	limit, room := min(readChunk, maxWindowJobs-d.queue.memory.jobs), d.queue.memory.max-d.queue.memory.bytes
	r := &d.reader
	if !r.caughtUp() || r.forming.large != nil {
		limit, room = readChunk, d.queue.memory.max
	}
	moved, err := r.read(d.store, d.store.id, &d.ordering, limit, room)
	if err != nil {
		return err
	}
	if moved {
		d.queue.ledger.pending.moved(now)
	}
	entries, next := r.chunk, r.next
	for i := range entries {
		if err := d.admit(&entries[i], now); err != nil {
			return err
		}
		if i+1 < len(entries) && entries[i+1].Seq > r.resume && len(d.queue.lanes.alones.seqs) > 0 && d.skip == nil && r.forming.large == nil {
			r.next, r.end = entries[i+1].Seq, false // nothing goes before the one that goes alone
			d.unform()
		}
		if r.next != next {
			break
		}
	}
	clear(entries)
	if d.profile.grouped() && r.next == next && (r.end || d.barred()) {
		return d.closeTransaction(now) // the log ends with one
	}
	return nil
}

// admit takes an entry of the log into memory, or to disk when its ordering key waits there.
func (d *dispatcher) admit(entry *delivery.Entry, now time.Time) error {
	over := d.reader.known(entry.Seq)
	if d.profile.grouped() && (d.skip == nil || !over && !d.skip(entry)) {
		return d.collectTransaction(entry, now)
	}
	if over {
		delete(d.reader.settled, entry.Seq)
		if err := d.closeBatch(now); err != nil { // a batch has no holes
			return err
		}
	}
	switch {
	case over, d.profile.grouped(), d.skip != nil && d.skip(entry):
		d.queue.ledger.window.settle(d.queue.ledger.window.push(entry.Seq, nil))
		return nil
	case d.profile.config.Unit == delivery.UnitBatch:
		return d.collect(entry, now)
	}
	j := d.queue.memory.newJob()
	j.seq, j.event, j.bytes = entry.Seq, entry.Event, entry.Bytes
	j.record = d.reader.newRecord(entry)
	j.slot, j.slots = d.queue.ledger.window.push(j.seq, j), 1
	d.queue.take(j)
	return d.boundSpan(now)
}

// boundSpan keeps progress going when the lowest entry takes very long.
func (d *dispatcher) boundSpan(now time.Time) error {
	span := maxWindowSpan
	if d.profile.config.Unit == delivery.UnitBatch {
		span *= 4 // as many as memory has room for, so that batches which wait for each other stay there
	}
	if d.queue.ledger.window.n < span {
		return nil
	}
	j := d.queue.ledger.window.oldest()
	if j.state != jobHanded {
		d.queue.unload(j)
		return nil
	}
	d.queue.ledger.claim(j, now)
	_, err := d.commits.commit()
	return err
}
