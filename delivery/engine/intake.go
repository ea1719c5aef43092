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
		return !d.current.stuck() && (!l.again || d.ledger.window.n == 0)
	}
	return !d.reader.caughtUp() || len(d.lanes.byKey) < maxLanes+maxWindowJobs && d.ledger.counts[delivery.Retrying] < maxLanes &&
		len(d.lanes.alones.seqs) == 0 && d.memory.half(d.reader.forming.bytes)
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
		if l := d.reader.forming.large; l != nil && l.again && d.ledger.window.n > 0 {
			// What is before it must be over or have a record, so that progress need not tell its
			// records apart.
			if err := d.unloadAll(); err != nil {
				return err
			}
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
	limit, room := min(readChunk, maxWindowJobs-d.memory.jobs), d.memory.max-d.memory.bytes
	r := &d.reader
	if !r.caughtUp() || r.forming.large != nil {
		limit, room = readChunk, d.memory.max
	}
	moved, err := r.read(d.store, d.store.id, &d.state.ordering, limit, room)
	if err != nil {
		return err
	}
	if moved {
		d.ledger.pending.moved(now)
	}
	entries, next := r.chunk, r.next
	for i := range entries {
		if err := d.admit(&entries[i], now); err != nil {
			return err
		}
		if i+1 < len(entries) && entries[i+1].Seq > r.resume && len(d.lanes.alones.seqs) > 0 && d.skip == nil && r.forming.large == nil {
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
		d.ledger.window.settle(d.ledger.window.push(entry.Seq, nil))
		return nil
	case d.profile.config.Unit == delivery.UnitBatch:
		return d.collect(entry, now)
	}
	j := d.memory.newJob()
	j.seq, j.event, j.bytes = entry.Seq, entry.Event, entry.Bytes
	j.record = d.reader.newRecord(entry)
	j.slot, j.slots = d.ledger.window.push(j.seq, j), 1
	d.memory.take(j)
	d.place(j)
	return d.boundSpan(now)
}

// place puts a job that came from the log into its lanes, or to disk behind those that wait there.
func (d *dispatcher) place(j *job) {
	switch {
	case !d.profile.ordered():
		d.lanes.ready(j)
		return
	case j.record.Alone():
		held := d.heldBack(j.seq)
		if d.lanes.alones.add(j.seq); held {
			d.spill(j)
			return
		}
		d.lanes.goAlone(j)
		return
	}
	var few [2]uint64
	hashes := j.record.Lanes(&few)
	if !d.lanes.onDisk(hashes) && !d.heldBack(j.seq) {
		d.lanes.enter(j, hashes)
		return
	}
	d.lanes.join(hashes)
	d.spill(j)
}

// heldBack reports whether a delivery waits for one that goes alone, or for a transaction to be
// recorded whole.
func (d *dispatcher) heldBack(seq delivery.Seq) bool {
	return d.lanes.alones.holdsBack(seq) || d.state.Recording != 0 && seq >= d.state.Recording
}

// boundSpan keeps progress going when the lowest entry takes very long.
func (d *dispatcher) boundSpan(now time.Time) error {
	span := maxWindowSpan
	if d.profile.config.Unit == delivery.UnitBatch {
		span *= 4 // as many as memory has room for, so that batches which wait for each other stay there
	}
	if d.ledger.window.n < span {
		return nil
	}
	j := d.ledger.window.oldest()
	if j.state != jobHanded {
		d.unload(j)
		return nil
	}
	d.ledger.claim(j, now)
	_, err := d.commit()
	return err
}

// unload brings a job that no worker has to disk, with what stands behind it.
func (d *dispatcher) unload(j *job) {
	if d.profile.ordered() && !j.record.Alone() {
		d.spill(d.lanes.evict(nil, j)...)
	} else {
		d.spill(j)
	}
}

// spill leaves jobs to disk, where they wait behind their lanes. Without order they are simply due.
func (d *dispatcher) spill(jobs ...*job) {
	for _, j := range jobs {
		if d.lanes.alones.job == j {
			d.lanes.alones.job = nil
		}
		d.ledger.spill(j, d.lanes.ordered)
		d.memory.release(j)
	}
}
