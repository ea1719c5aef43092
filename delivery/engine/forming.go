package engine

import (
	"slices"
	"time"

	"rowhook/delivery"
)

// forming is what was read from the log of a batch or a transaction that is not complete.
type forming struct {
	entries []delivery.Entry
	bytes   int
	until   time.Time // a batch does not wait for more any longer
	large   *large    // the transaction is too large to be held in entries
	id      delivery.GroupID
	lanes   []uint64 // buffer
}

// unread returns the place of the first entry that is no delivery yet.
func (d *dispatcher) unread() delivery.Seq {
	switch f := &d.forming; {
	case f.large != nil:
		return f.large.base
	case len(f.entries) > 0:
		return f.entries[0].Seq
	}
	return d.next
}

// unform gives what was read of a group that is not complete back to the log.
func (d *dispatcher) unform() {
	f := &d.forming
	if f.large != nil {
		d.unrecord(f.large)
	}
	if at := d.unread(); at != d.next {
		d.next, d.end, d.appended = at, false, nil
	}
	f.clear()
}

// prune forgets what is known of entries up to a place, which have been read for good.
func (d *dispatcher) prune(last delivery.Seq) {
	for _, known := range [2]map[delivery.Seq]struct{}{d.settled, d.heads} {
		for seq := range known {
			if seq <= last {
				delete(known, seq)
			}
		}
	}
}

func (f *forming) clear() {
	clear(f.entries)
	f.entries, f.bytes, f.until, f.large = f.entries[:0], 0, time.Time{}, nil
}

// collect adds an entry of the log to the batch that is being formed.
func (d *dispatcher) collect(entry *delivery.Entry, now time.Time) error {
	f := &d.forming
	if len(f.entries) == 0 {
		f.until = now.Add(d.profile.config.Batch.Wait)
	}
	f.entries = append(f.entries, *entry)
	f.bytes += entry.Bytes
	// Where memory is short batches are smaller, so that there are several to be sent at once.
	if len(f.entries) >= d.profile.config.Batch.Max || f.bytes >= d.memory.max/4 {
		return d.closeBatch(now)
	}
	return nil
}

// closeDue ends a batch that has waited for long enough.
func (d *dispatcher) closeDue(now time.Time) error {
	if f := &d.forming; len(f.entries) == 0 || f.until.IsZero() || now.Before(f.until) {
		return nil
	}
	return d.closeBatch(now)
}

// closeBatch makes a delivery of what was collected.
func (d *dispatcher) closeBatch(now time.Time) error {
	f := &d.forming
	if len(f.entries) == 0 {
		return nil
	}
	j := d.newGroup(slices.Clone(f.entries))
	f.clear()
	for i := range j.members {
		place := d.ledger.window.push(j.members[i].Seq, j)
		if i == 0 {
			j.slot = place
		}
	}
	j.slots = len(j.members)
	d.memory.take(j)
	d.place(j)
	return d.boundSpan(now)
}

// newRecord returns the record of a single event, which is a group of one where the profile's requests carry groups.
func (d *dispatcher) newRecord(entry *delivery.Entry) delivery.Delivery {
	r := delivery.Delivery{Seq: entry.Seq, Round: 1, Bytes: entry.Bytes}
	if d.profile.config.Unit == delivery.UnitRecord {
		r.Lane, r.WaitLane = lanesOf(entry.Event)
		return r
	}
	d.describe(&r, []delivery.Entry{*entry}, d.profile.config.Unit)
	return r
}

// describe has a record say that it carries these events.
func (d *dispatcher) describe(r *delivery.Delivery, entries []delivery.Entry, unit string) {
	f := &d.forming
	first, last := &entries[0], &entries[len(entries)-1]
	m := &delivery.Members{Unit: unit, Last: last.Seq, LastID: last.Event.ID, Count: len(entries)}
	if unit == delivery.UnitType {
		m.Type, m.Entry = first.Event.Type, first.Event.Entry
	}
	r.Seq, r.Members, r.Bytes = first.Seq, m, 0
	f.lanes = f.lanes[:0]
	for i := range entries {
		ev := entries[i].Event
		r.Bytes += entries[i].Bytes
		f.id.Add(ev.ID)
		if own, wait := lanesOf(ev); own == wait {
			f.lanes = append(f.lanes, own)
		} else {
			f.lanes = append(f.lanes, own, wait)
		}
	}
	m.ID = f.id.Sum()
	if !d.profile.ordered() {
		return
	}
	slices.Sort(f.lanes)
	f.lanes = slices.Compact(f.lanes)
	if m.Alone = len(f.lanes) > delivery.MaxGroupLanes; !m.Alone {
		m.Lanes = slices.Clone(f.lanes)
	}
}
