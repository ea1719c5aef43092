package engine

import (
	"slices"
	"time"

	"rowhook/delivery"
)

// ledger keeps the books of a profile's deliveries: which have a record in the store and in what
// state, which entries of the log are settled, what leaves the backlog, and what of it all is not
// on its way into the store yet. Each way for a delivery to leave its place is one method, which
// does all that belongs together; docs/delivery-states.md draws them.
//
// It knows no lanes, writes no lines and asks no store.
type ledger struct {
	pending pending
	window  window                   // of the log; see [window]
	stored  map[delivery.Seq]*job    // jobs in memory that have a record
	counts  [delivery.Dead + 1]int64 // records by state
	events  [delivery.Dead + 1]int64 // what these carry
	nextDue time.Time                // when records may be due; zero when none is known
}

// reset empties the books.
func (l *ledger) reset() {
	clear(l.stored)
	*l = ledger{stored: l.stored}
}

// waiting is how many records wait to be sent.
func (l *ledger) waiting() int64 { return l.counts[delivery.Retrying] + l.counts[delivery.Blocked] }

// count takes n records like r into account.
func (l *ledger) count(r *delivery.Delivery, n int64) {
	l.counts[r.State] += n
	l.events[r.State] += n * int64(r.Events())
}

// dueBy takes note that a record will be due.
func (l *ledger) dueBy(t time.Time) {
	if !t.IsZero() && (l.nextDue.IsZero() || t.Before(l.nextDue)) {
		l.nextDue = t
	}
}

// put has a job's record written with a new state.
func (l *ledger) put(j *job, state delivery.State, due time.Time) {
	if j.stored {
		l.count(&j.record, -1)
	}
	j.record.State, j.record.Due = state, due
	l.count(&j.record, 1)
	l.pending.put(j.record)
	l.pending.by(time.Now().Add(commitDelay))
}

// leave takes a job out of the books of memory: its place in the window is settled, or its record
// is on its own.
func (l *ledger) leave(j *job) {
	if j.stored {
		delete(l.stored, j.seq)
		return
	}
	l.settle(j)
}

// settle settles the places that a job has in the window.
func (l *ledger) settle(j *job) {
	for i := range j.slots {
		l.window.settle(j.slot + uint64(i))
	}
}

// done ends a delivery in memory: it was delivered, or need not be.
func (l *ledger) done(j *job) {
	if j.stored {
		l.count(&j.record, -1)
		l.pending.remove(&j.record)
	}
	l.leave(j)
	l.pending.off(&j.record)
}

// retry has a delivery in memory wait on disk until it is due again.
func (l *ledger) retry(j *job, due time.Time) {
	l.put(j, delivery.Retrying, due)
	l.leave(j)
	l.dueBy(due)
}

// bury makes a dead letter of a delivery in memory.
func (l *ledger) bury(j *job) {
	l.put(j, delivery.Dead, time.Time{})
	l.pending.off(&j.record)
	l.leave(j)
}

// spill brings a delivery in memory that was not sent to disk. One with a record keeps its state.
// One without waits behind its lane, or is due at once where there is no order.
func (l *ledger) spill(j *job, ordered bool) {
	switch {
	case j.stored:
		l.dueBy(j.record.Due)
	case ordered:
		l.put(j, delivery.Blocked, time.Time{})
	default:
		now := time.Now()
		l.put(j, delivery.Retrying, now)
		l.dueBy(now)
	}
	l.leave(j)
}

// claim gives a delivery that is being sent a record, so that progress goes on without it. After a
// crash it counts as a retry that is due.
func (l *ledger) claim(j *job, now time.Time) {
	l.put(j, delivery.Retrying, now)
	l.settle(j)
	l.load(j)
}

// load takes note that a record is in memory as well.
func (l *ledger) load(j *job) {
	j.stored = true
	l.stored[j.seq] = j
}

// split ends a delivery in memory whose parts are added in its place. The backlog stays: they carry
// the same events.
func (l *ledger) split(j *job, now time.Time) {
	if j.stored {
		l.count(&j.record, -1) // the first part replaces its record
	}
	l.leave(j)
	l.pending.result(now)
}

// add writes a new record that waits.
func (l *ledger) add(r *delivery.Delivery) {
	l.record(r)
	l.dueBy(r.Due)
}

// record is add for one of several that wait for the last of them.
func (l *ledger) record(r *delivery.Delivery) {
	l.count(r, 1)
	l.pending.put(*r)
}

// hasten makes a record due that waits on disk: as of now, or of earlier to go before others.
func (l *ledger) hasten(r *delivery.Delivery, due, now time.Time) {
	r.Due = due
	l.pending.put(*r)
	l.dueBy(now)
}

// drop ends a record that waits on disk.
func (l *ledger) drop(r *delivery.Delivery, now time.Time) {
	l.count(r, -1)
	l.pending.remove(r)
	l.pass(r, now)
}

// pass ends a delivery that was not read yet.
func (l *ledger) pass(r *delivery.Delivery, now time.Time) {
	l.pending.off(r)
	l.pending.result(now)
}

// giveUp makes a dead letter of a record that waits on disk, or with fresh of a delivery that has
// none.
func (l *ledger) giveUp(r *delivery.Delivery, fresh bool) {
	if !fresh {
		l.count(r, -1)
	}
	r.State, r.Due = delivery.Dead, time.Time{}
	l.count(r, 1)
	l.pending.put(*r)
	l.pending.off(r)
}

// discard takes a dead letter away for good.
func (l *ledger) discard(r *delivery.Delivery, now time.Time) {
	l.count(r, -1)
	l.pending.remove(r)
	l.pending.result(now)
}

// expire takes note that the store removes a dead letter by itself.
func (l *ledger) expire(r *delivery.Delivery) { l.count(r, -1) }

// revive brings a dead letter back into the backlog. It is added again, in another state.
func (l *ledger) revive(r *delivery.Delivery) {
	l.count(r, -1)
	l.pending.back(r)
}

// again brings an event of history back into the backlog. It is added as a new record.
func (l *ledger) again(r *delivery.Delivery) { l.pending.back(r) }

// unrecord takes records back that were added from a place on and never sent.
func (l *ledger) unrecord(base delivery.Seq, records []delivery.Delivery) {
	for i := range records {
		l.count(&records[i], -1)
		l.pending.remove(&records[i])
	}
	l.pending.puts = slices.DeleteFunc(l.pending.puts, func(r delivery.Delivery) bool {
		return r.Seq >= base && r.Members != nil && r.Attempts == 0
	})
}
