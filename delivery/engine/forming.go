package engine

import (
	"time"

	"rowhook/delivery"
)

// unform gives what was read of a group that is not complete back to the log.
func (d *dispatcher) unform() {
	if l := d.reader.forming.large; l != nil {
		d.unrecord(l)
	}
	d.reader.giveBack()
}

// collect adds an entry of the log to the batch that is being formed.
func (d *dispatcher) collect(entry *delivery.Entry, now time.Time) error {
	if !d.reader.collect(entry, now, d.queue.memory.max/4) {
		return nil
	}
	return d.closeBatch(now)
}

// closeDue ends a batch that has waited for long enough.
func (d *dispatcher) closeDue(now time.Time) error {
	if !d.reader.batchDue(now) {
		return nil
	}
	return d.closeBatch(now)
}

// closeBatch makes a delivery of what was collected.
func (d *dispatcher) closeBatch(now time.Time) error {
	members := d.reader.takeBatch()
	if members == nil {
		return nil
	}
	j := d.newGroup(members)
	for i := range j.members {
		place := d.queue.ledger.window.push(j.members[i].Seq, j)
		if i == 0 {
			j.slot = place
		}
	}
	j.slots = len(j.members)
	d.queue.take(j)
	return d.boundSpan(now)
}

// newGroup returns a job that carries these events, which it keeps.
func (d *dispatcher) newGroup(members []delivery.Entry) *job {
	j := d.queue.memory.newJob()
	j.members = members
	j.record = delivery.Delivery{Round: 1}
	d.reader.describe(&j.record, members, d.profile.config.Unit)
	j.seq, j.event, j.bytes = j.record.Seq, members[0].Event, j.record.Bytes
	return j
}
