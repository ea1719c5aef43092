package engine

import (
	"time"

	"rowhook/delivery"
)

// unform gives what was read of a group that is not complete back to the log.
func (in *intake) unform() {
	if l := in.reader.forming.large; l != nil {
		in.unrecord(l)
	}
	in.reader.giveBack()
}

// collect adds an entry of the log to the batch that is being formed.
func (in *intake) collect(entry *delivery.Entry, now time.Time) error {
	if !in.reader.collect(entry, now, in.queue.memory.max/4) {
		return nil
	}
	return in.closeBatch(now)
}

// closeDue ends a batch that has waited for long enough.
func (in *intake) closeDue(now time.Time) error {
	if !in.reader.batchDue(now) {
		return nil
	}
	return in.closeBatch(now)
}

// closeBatch makes a delivery of what was collected.
func (in *intake) closeBatch(now time.Time) error {
	members := in.reader.takeBatch()
	if members == nil {
		return nil
	}
	j := in.newGroup(members)
	for i := range j.members {
		place := in.queue.ledger.window.push(j.members[i].Seq, j)
		if i == 0 {
			j.slot = place
		}
	}
	j.slots = len(j.members)
	in.queue.take(j)
	return in.boundSpan(now)
}

// newGroup returns a job that carries these events, which it keeps.
func (in *intake) newGroup(members []delivery.Entry) *job {
	j := in.queue.memory.newJob()
	j.members = members
	j.record = delivery.Delivery{Round: 1}
	in.reader.describe(&j.record, members, in.reader.profile.config.Unit)
	j.seq, j.event, j.bytes = j.record.Seq, members[0].Event, j.record.Bytes
	return j
}
