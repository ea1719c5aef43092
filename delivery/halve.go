package delivery

import (
	"fmt"
	"time"
)

// halves reports whether a delivery that failed is to be tried in two halves: a batch that its receiver refuses, so that in the
// end the event that it refuses stands alone, or that is too large.
func (d *dispatcher) halves(j *job) bool {
	m := j.record.Members
	if m == nil || m.Unit != unitBatch || m.Count == 1 {
		return false
	}
	return j.reply.Class == ClassEvent || j.reply.Class == ClassOurs && j.reply.Reason == ReasonOversize
}

// halve puts the two halves of a batch in its place. Each is a delivery of its own.
func (d *dispatcher) halve(j *job, now time.Time) error {
	entries, err := d.membersOf(j)
	if err != nil {
		return err
	}
	if j.reply.Class != ClassOurs { // otherwise nothing was sent
		d.writeAttempt(j, OutcomeRetrying, now)
	}
	if j.stored {
		d.count(&j.record, -1)
		delete(d.stored, j.seq)
	} else {
		d.settleSlots(j)
	}
	d.aloneOver(&j.record)
	middle := len(entries) / 2
	for _, half := range [2][]Entry{entries[:middle], entries[middle:]} {
		r := Delivery{State: Blocked, Round: j.record.Round, Clock: j.record.Clock}
		if !d.profile.ordered() {
			r.State, r.Due = Retrying, now
			d.dueBy(now)
		}
		d.describe(&r, half)
		d.count(&r, 1)
		d.pending.put(r)
		if r.alone() {
			d.alones.add(r.Seq)
		}
	}
	d.pending.result(now)
	d.leave(j)
	for i := range j.links {
		l := j.links[i].lane
		l.disk, l.asleep, l.lowest = true, false, min(l.lowest, j.seq)
		if l.head != nil {
			d.evict(l.head)
		}
		d.wakeLane(l)
	}
	d.released(j)
	return nil
}

// released lets go of a job that went alone or in lanes, whatever became of its delivery.
func (d *dispatcher) released(j *job) {
	if d.alones.job == j {
		d.alones.job = nil
	}
	d.release(j)
}

// membersOf returns the events of a batch, which are few enough to be in memory together.
func (d *dispatcher) membersOf(j *job) ([]Entry, error) {
	if j.members != nil {
		return j.members, nil
	}
	var entries []Entry
	for next, end := j.seq, false; !end; {
		var err error
		entries, next, end, err = d.store.Events(d.id, &j.record, next, entries, j.record.Events()-len(entries), d.maxBytes)
		if err != nil {
			return nil, fmt.Errorf("read events of a waiting delivery: %w", err)
		}
	}
	if len(entries) != j.record.Events() {
		return nil, fmt.Errorf("read events of a waiting delivery: %d of %d are there", len(entries), j.record.Events())
	}
	return entries, nil
}
