package engine

import (
	"time"

	"rowhook/delivery"
)

// queue is a profile's deliveries that wait, from when they were read until they are over: in memory
// or on disk, each at its place in the order. It keeps three owners in step: each way for a delivery
// to leave its place is one method, which does what follows for books, order and memory. It asks no
// store and writes no lines.
type queue struct {
	lanes  lanes  // what waits for what, and what may go
	memory memory // what is in memory
	ledger ledger // what has a record, and what the store is to be told
	// recording is where a large transaction begins whose records are being written; 0 when none
	// is.
	recording delivery.Seq
}

func newQueue(bytes int) queue {
	return queue{
		lanes:  lanes{byKey: make(map[uint64]*lane)},
		memory: memory{max: bytes},
		ledger: ledger{stored: make(map[delivery.Seq]*job)},
	}
}

func (q *queue) follow(p *Profile) { q.lanes.ordered = p.ordered() }

// reset empties what is in memory.
func (q *queue) reset() {
	q.ledger.reset()
	q.memory.jobs, q.memory.bytes = 0, 0
	q.lanes.reset()
	q.recording = 0
}

// take takes a job that came from the log.
func (q *queue) take(j *job) {
	q.memory.take(j)
	q.place(j)
}

// place puts a job that came from the log into its lanes, or to disk behind those that wait there.
func (q *queue) place(j *job) {
	switch {
	case !q.lanes.ordered:
		q.lanes.ready(j)
		return
	case j.record.Alone():
		held := q.heldBack(j.seq)
		if q.lanes.alones.add(j.seq); held {
			q.spill(j)
			return
		}
		q.lanes.goAlone(j)
		return
	}
	var few [2]uint64
	hashes := j.record.Lanes(&few)
	if !q.lanes.onDisk(hashes) && !q.heldBack(j.seq) {
		q.lanes.enter(j, hashes)
		return
	}
	q.lanes.join(hashes)
	q.spill(j)
}

// heldBack reports whether a delivery waits for one that goes alone, or for a transaction to be
// recorded whole.
func (q *queue) heldBack(seq delivery.Seq) bool {
	return q.lanes.alones.holdsBack(seq) || q.recording != 0 && seq >= q.recording
}

// done ends a job for good.
func (q *queue) done(j *job) {
	q.ledger.done(j)
	q.lanes.aloneOver(&j.record)
	q.depart(j)
}

// bury makes a dead letter of a job. With holds it keeps the later ones of its keys back.
func (q *queue) bury(j *job, holds bool) {
	q.ledger.bury(j)
	if !holds {
		q.lanes.aloneOver(&j.record)
		q.depart(j)
		return
	}
	r := j.record
	r.Body = nil
	q.lanes.leave(j)
	q.spill(q.lanes.hold(&r)...)
	q.lanes.advance(j.nodes)
	q.forget(j)
}

// split puts parts of a job in its place. Each is a delivery of its own.
func (q *queue) split(j *job, parts []delivery.Delivery, now time.Time) {
	q.ledger.split(j, now)
	q.lanes.aloneOver(&j.record)
	for i := range parts {
		if parts[i].Alone() {
			q.lanes.alones.add(parts[i].Seq)
		}
		q.ledger.add(&parts[i])
	}
	q.lanes.leave(j)
	q.spill(q.lanes.split(j.nodes, j.seq)...)
	q.forget(j)
}

// depart lets go of a job that its lanes need not wait for any longer.
func (q *queue) depart(j *job) {
	q.lanes.leave(j)
	q.lanes.advance(j.nodes)
	q.forget(j)
}

// forget lets go of a job that went alone or in lanes, whatever became of its delivery.
func (q *queue) forget(j *job) {
	if q.lanes.alones.job == j {
		q.lanes.alones.job = nil
	}
	q.memory.release(j)
}

// wait has a job wait on disk until it is due, and lets what stands behind it in its lanes
// follow it there.
func (q *queue) wait(j *job, due time.Time) {
	q.ledger.retry(j, due)
	q.lanes.leave(j)
	q.spill(q.lanes.block(j.nodes, j.seq)...)
	q.forget(j)
}

// spill leaves jobs to disk, where they wait behind their lanes. Without order they are simply due.
func (q *queue) spill(jobs ...*job) {
	for _, j := range jobs {
		if q.lanes.alones.job == j {
			q.lanes.alones.job = nil
		}
		q.ledger.spill(j, q.lanes.ordered)
		q.memory.release(j)
	}
}

// load brings a record into memory, whose event this is.
func (q *queue) load(r delivery.Delivery, ev *delivery.Event) {
	j := q.memory.newJob()
	j.seq, j.event, j.bytes, j.record = r.Seq, ev, r.Bytes, r
	if r.Members != nil {
		j.bytes = 0 // its events are read when they are sent
	}
	q.ledger.load(j)
	q.memory.take(j)
	switch {
	case r.Alone():
		q.lanes.goAlone(j)
	case q.lanes.ordered:
		var few [2]uint64
		q.lanes.enter(j, r.Lanes(&few))
	default:
		q.lanes.ready(j)
	}
}

// unload brings a job that no worker has to disk, with what stands behind it.
func (q *queue) unload(j *job) {
	if q.lanes.ordered && !j.record.Alone() {
		q.spill(q.lanes.evict(nil, j)...)
	} else {
		q.spill(j)
	}
}

// unloadAll brings all jobs to disk that no worker has.
func (q *queue) unloadAll() {
	var loose []*job
	for s := range q.ledger.window.open {
		if s.job.state != jobHanded {
			loose = append(loose, s.job)
		}
	}
	for _, j := range q.ledger.stored {
		if j.state != jobHanded {
			loose = append(loose, j)
		}
	}
	for _, j := range loose {
		// One that went to disk behind another is reused already.
		if j.seq != 0 && (j.nodes != nil || j.record.Alone() || !q.lanes.ordered) {
			q.unload(j)
		}
	}
}

// ready reports whether there is a job to pick.
func (q *queue) ready(fresh bool) bool {
	for j := q.lanes.gone(); j != nil; j = q.lanes.gone() {
		q.memory.reuse(j)
	}
	return q.lanes.retries.n > 0 || fresh && q.lanes.fresh.n > 0
}

// inFlight returns the places of what workers have.
func (q *queue) inFlight() map[delivery.Seq]bool {
	handed := make(map[delivery.Seq]bool)
	for s := range q.ledger.window.open {
		if s.job.state == jobHanded {
			handed[s.seq] = true
		}
	}
	for seq, j := range q.ledger.stored {
		if j.state == jobHanded {
			handed[seq] = true
		}
	}
	return handed
}

// putBack has a delivery wait that was over: in its place in the order, before newer ones of its
// key that have not gone.
func (q *queue) putBack(r delivery.Delivery, now time.Time) {
	q.ledger.pending.result(now)
	if !q.lanes.ordered {
		if r.Alone() { // of a time when there was order
			members := *r.Members
			members.Alone = false
			r.Members = &members
		}
		r.State, r.Due = delivery.Retrying, now
		q.ledger.add(&r)
		return
	}
	r.State, r.Due = delivery.Blocked, time.Time{}
	q.ledger.add(&r)
	q.spill(q.lanes.insert(&r)...)
}

// The ways of records on disk.

// hasten makes a record due: as of now, or of earlier to go before others.
func (q *queue) hasten(r *delivery.Delivery, due, now time.Time) {
	q.ledger.hasten(r, due, now)
	q.lanes.recheck(r)
}

// drop ends a record that waits on disk.
func (q *queue) drop(r *delivery.Delivery, now time.Time) {
	q.ledger.drop(r, now)
	q.lanes.aloneOver(r)
	q.lanes.recheck(r)
}

// giveUp makes a dead letter of a record that waits on disk, or with fresh of a delivery that has
// none. Its keys go on.
func (q *queue) giveUp(r *delivery.Delivery, fresh bool) {
	q.ledger.giveUp(r, fresh)
	q.lanes.aloneOver(r)
	q.lanes.recheck(r)
}

// discard takes a dead letter away for good.
func (q *queue) discard(r *delivery.Delivery, now time.Time) {
	q.ledger.discard(r, now)
	q.lanes.unhold(r)
}

// expire takes note that the store removes a dead letter by itself.
func (q *queue) expire(r *delivery.Delivery) {
	q.ledger.expire(r)
	q.lanes.unhold(r)
}

// revive has a dead letter wait again.
func (q *queue) revive(r delivery.Delivery, now time.Time) {
	q.ledger.revive(&r)
	q.lanes.unhold(&r)
	q.putBack(r, now)
}

// again has an event of history wait again.
func (q *queue) again(r delivery.Delivery, now time.Time) {
	q.ledger.again(&r)
	q.putBack(r, now)
}
