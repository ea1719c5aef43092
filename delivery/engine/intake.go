package engine

import (
	"fmt"
	"time"

	"rowhook/delivery"
)

// room reports whether more may be brought into memory.
func (d *dispatcher) room() bool { return d.jobs < maxWindowJobs && d.bytes < d.maxBytes }

// readable reports whether the log may be read on. After a start it first comes as far as it was
// before, which takes no more memory than it took then.
func (d *dispatcher) readable() bool {
	if !d.active() {
		return false
	}
	if d.barred() {
		return false
	}
	if l := d.forming.large; l != nil {
		return !d.current.stuck() && (!l.again || d.ledger.window.n == 0)
	}
	return d.unread() <= d.resume || len(d.lanes) < maxLanes+maxWindowJobs && d.ledger.counts[delivery.Retrying] < maxLanes &&
		len(d.alones.seqs) == 0 && d.jobs <= maxWindowJobs/2 && d.bytes+d.forming.bytes <= d.maxBytes/2
}

// readableSoon returns a channel that is closed when there is more to read; nil when it is of no interest.
func (d *dispatcher) readableSoon() <-chan struct{} {
	if !d.active() {
		if d.resting.end {
			return d.resting.appended
		}
		return nil
	}
	if !d.end || !d.readable() {
		return nil
	}
	return d.appended
}

// read reads the log as far as there is room.
func (d *dispatcher) read(now time.Time) error {
	for range readChunks {
		if l := d.forming.large; l != nil && l.again && d.ledger.window.n > 0 {
			// What is before it must be over or have a record, so that progress need not tell its records apart.
			if err := d.unloadAll(); err != nil {
				return err
			}
		}
		if !d.readable() {
			return nil
		}
		if d.end {
			select {
			case <-d.appended:
				d.end = false
			default:
				return nil
			}
		}
		if err := d.readSome(now); err != nil {
			return err
		}
	}
	return nil
}

func (d *dispatcher) readSome(now time.Time) error {
	limit, room := min(readChunk, maxWindowJobs-d.jobs), d.maxBytes-d.bytes
	if d.unread() <= d.resume || d.forming.large != nil {
		limit, room = readChunk, d.maxBytes
	}
	entries, next, end, err := d.store.Read(d.id, d.next, d.entries[:0], limit, room)
	if err != nil {
		return fmt.Errorf("read spool at %d: %w", d.next, err)
	}
	entries, next, end = d.cutAtBarrier(entries, next, end)
	if next != d.next {
		d.ledger.pending.moved(now)
	}
	d.entries, d.next, d.end = entries, next, end
	if end {
		d.appended = d.store.Appended(next)
	}
	for i := range entries {
		if err := d.admit(&entries[i], now); err != nil {
			return err
		}
		if i+1 < len(entries) && entries[i+1].Seq > d.resume && len(d.alones.seqs) > 0 && d.skip == nil && d.forming.large == nil {
			d.next, d.end = entries[i+1].Seq, false // nothing goes before the one that goes alone
			d.unform()
		}
		if d.next != next {
			break
		}
	}
	clear(entries)
	if d.profile.grouped() && d.next == next && (d.end || d.barred()) {
		return d.closeTransaction(now) // the log ends with one
	}
	return nil
}

// admit takes an entry of the log into memory, or to disk when its ordering key waits there.
func (d *dispatcher) admit(entry *delivery.Entry, now time.Time) error {
	_, over := d.settled[entry.Seq]
	if d.profile.grouped() && (d.skip == nil || !over && !d.skip(entry)) {
		return d.collectTransaction(entry, now)
	}
	if over {
		delete(d.settled, entry.Seq)
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
	j := d.newJob()
	j.seq, j.event, j.bytes = entry.Seq, entry.Event, entry.Bytes
	j.record = d.newRecord(entry)
	j.slot, j.slots = d.ledger.window.push(j.seq, j), 1
	d.take(j)
	d.place(j)
	return d.boundSpan(now)
}

// place puts a job that came from the log into its lanes, or to disk behind those that wait there.
func (d *dispatcher) place(j *job) {
	switch {
	case !d.profile.ordered():
		d.makeReady(j)
		return
	case j.record.Alone():
		held := d.heldBack(j.seq)
		if d.alones.add(j.seq); held {
			d.spill(j)
			return
		}
		j.state = jobWaiting
		d.alones.job = j
		return
	}
	var few [2]uint64
	lanes := j.record.Lanes(&few)
	if !d.onDisk(lanes) && !d.heldBack(j.seq) {
		d.enter(j, lanes)
		return
	}
	for _, hash := range lanes {
		d.lane(hash).disk = true
	}
	d.spill(j)
}

// heldBack reports whether a delivery waits for one that goes alone, or for a transaction to be recorded whole.
func (d *dispatcher) heldBack(seq delivery.Seq) bool {
	return d.alones.holdsBack(seq) || d.state.Recording != 0 && seq >= d.state.Recording
}

// onDisk reports whether any of the lanes has records on disk.
func (d *dispatcher) onDisk(lanes []uint64) bool {
	for _, hash := range lanes {
		if l := d.lanes[hash]; l != nil && (l.disk || len(l.holds) > 0) {
			return true
		}
	}
	return false
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

// mayLoad reports whether records may be brought from disk into memory. A record must not be loaded while
// older events of its lane may be unread in the log, as is the case after a start.
func (d *dispatcher) mayLoad() bool {
	return d.active() && d.unread() > d.resume && !d.current.stuck() && d.room()
}

// dueWanted reports whether retries are to be loaded when they are due. While the breaker is open one is enough.
func (d *dispatcher) dueWanted(now time.Time) bool {
	if d.endpoint.down() && !d.endpoint.listed() {
		return d.retries.n == 0 && d.endpoint.mayProbe(now, d.handed)
	}
	return d.retries.n < d.profile.config.Concurrency
}

// loadRecords brings records from disk into memory that are due or whose turn has come.
func (d *dispatcher) loadRecords(now time.Time) error {
	due := d.dueWanted(now) && !d.ledger.nextDue.IsZero() && !d.ledger.nextDue.After(now)
	if len(d.waking) == 0 && !due || !d.mayLoad() {
		return nil
	}
	if committed, err := d.commitRecords(); err != nil || !committed {
		return err
	}
	if due && len(d.waking) == 0 {
		if err := d.loadDue(now); err != nil {
			return err
		}
	}
	return d.loadLanes(now)
}

// loadDue looks for retries that are due: they wake their lanes, or are loaded where there is no order.
func (d *dispatcher) loadDue(now time.Time) error {
	limit := len(d.ledger.stored) + dueChunk
	records, err := d.store.Due(d.id, now.Add(farFuture), d.records[:0], limit)
	if err != nil {
		return fmt.Errorf("read due retries: %w", err)
	}
	d.records = records[:0]
	defer clear(records)
	d.ledger.nextDue = time.Time{}
	found := 0
	for i := range records {
		r := &records[i]
		if wait := d.waits(r, now); wait > 0 {
			d.ledger.dueBy(now.Add(wait))
			continue
		}
		if d.ledger.stored[r.Seq] != nil || r.Alone() || d.heldBack(r.Seq) {
			continue
		}
		if d.profile.ordered() {
			var few [2]uint64
			for _, hash := range r.Lanes(&few) {
				l := d.lane(hash)
				l.disk, l.asleep = true, false
				if l.head == nil && !l.waking {
					d.wakeLane(l)
					found++
				}
			}
			continue
		}
		if err := d.load(*r); err != nil {
			return err
		}
		found++
	}
	switch {
	case len(records) < limit || !d.ledger.nextDue.IsZero():
	case found > 0:
		d.ledger.nextDue = now
	default:
		d.ledger.nextDue = now.Add(commitDelay)
	}
	return nil
}

// waits returns how long a retry is still to wait, 0 or less when it is due. A due time on disk is the wall clock's, which may have been
// set back since: what lies further ahead than any wait after so many attempts has waited for long enough.
func (d *dispatcher) waits(r *delivery.Delivery, now time.Time) time.Duration {
	wait, most := r.Due.Sub(now), d.profile.schedule.wait(r.Attempts+1, 1)
	if wait > max(most, d.endpoint.left(now)) {
		return 0
	}
	return wait
}

const (
	dueChunk = 64
	// farFuture is beyond all waits.
	farFuture = 100 * 365 * 24 * time.Hour
)

// load brings a record into memory.
func (d *dispatcher) load(r delivery.Delivery) error {
	ev, err := d.store.Event(d.id, r.Seq)
	if err != nil {
		return fmt.Errorf("read event of a waiting delivery: %w", err)
	}
	j := d.newJob()
	j.seq, j.event, j.bytes, j.record = r.Seq, ev, r.Bytes, r
	if r.Members != nil {
		j.bytes = 0 // its events are read when they are sent
	}
	d.ledger.load(j)
	d.take(j)
	switch {
	case r.Alone():
		j.state = jobWaiting
		d.alones.job = j
	case d.profile.ordered():
		var few [2]uint64
		d.enter(j, r.Lanes(&few))
	default:
		d.makeReady(j)
	}
	return nil
}

func (d *dispatcher) newJob() *job {
	if n := len(d.spareJobs); n > 0 {
		j := d.spareJobs[n-1]
		d.spareJobs = d.spareJobs[:n-1]
		return j
	}
	return new(job)
}

// take accounts for a job that came into memory, release for one that leaves it.
func (d *dispatcher) take(j *job) {
	j.held = heldInMemory(j.event, j.bytes) + len(j.record.Body)
	d.jobs++
	d.bytes += j.held
}

func (d *dispatcher) release(j *job) {
	d.jobs--
	d.bytes -= j.held
	d.reuse(j)
}

func (d *dispatcher) reuse(j *job) {
	*j = job{}
	if len(d.spareJobs) < maxWindowJobs {
		d.spareJobs = append(d.spareJobs, j)
	}
}

func (d *dispatcher) makeReady(j *job) {
	j.state = jobReady
	if j.firstTry() {
		d.fresh.push(j)
	} else {
		d.retries.push(j)
	}
}

// unload brings a job that no worker has to disk, with what stands behind it.
func (d *dispatcher) unload(j *job) {
	if d.profile.ordered() && !j.record.Alone() {
		d.evict(j)
	} else {
		d.spill(j)
	}
}

// spill leaves a job to disk, where it waits behind its lane; without order it is simply due.
func (d *dispatcher) spill(j *job) {
	if d.alones.job == j {
		d.alones.job = nil
	}
	d.ledger.spill(j, d.profile.ordered())
	d.jobs--
	d.bytes -= j.held
	if j.state == jobReady {
		*j = job{state: jobGone, queued: j.queued}
		return
	}
	d.reuse(j)
}
