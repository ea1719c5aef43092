package delivery

import (
	"slices"
	"time"
)

// maxGroupEvents is how many events a request carries at most.
const maxGroupEvents = 1000

// forming is what was read from the log of a group that is not complete.
type forming struct {
	entries []Entry
	bytes   int
	until   time.Time // a batch does not wait for more any longer
	id      groupID
	lanes   []uint64 // buffer
}

// unread returns the place of the first entry that is no delivery yet.
func (d *dispatcher) unread() Seq {
	if len(d.forming.entries) > 0 {
		return d.forming.entries[0].Seq
	}
	return d.next
}

// unform gives what was read of a group that is not complete back to the log.
func (d *dispatcher) unform() {
	if f := &d.forming; len(f.entries) > 0 {
		d.next, d.end, d.appended = f.entries[0].Seq, false, nil
		f.clear()
	}
}

func (f *forming) clear() {
	clear(f.entries)
	f.entries, f.bytes, f.until = f.entries[:0], 0, time.Time{}
}

// collect adds an entry of the log to the batch that is being formed.
func (d *dispatcher) collect(entry *Entry, now time.Time) error {
	f := &d.forming
	if len(f.entries) == 0 {
		f.until = now.Add(d.profile.config.Batch.Wait)
	}
	f.entries = append(f.entries, *entry)
	f.bytes += entry.Bytes
	// Where memory is short batches are smaller, so that there are several to be sent at once.
	if len(f.entries) >= d.profile.config.Batch.Max || f.bytes >= d.maxBytes/4 {
		return d.closeBatch(now)
	}
	return nil
}

// closeDue ends a batch that has waited for long enough.
func (d *dispatcher) closeDue(now time.Time) error {
	if f := &d.forming; len(f.entries) == 0 || now.Before(f.until) {
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
	j := d.newJob()
	j.members = slices.Clone(f.entries)
	f.clear()
	first := &j.members[0]
	j.seq, j.event = first.Seq, first.Event
	j.record = Delivery{Seq: j.seq, Round: 1}
	d.describe(&j.record, j.members)
	j.bytes = j.record.Bytes
	for i := range j.members {
		place := d.window.push(j.members[i].Seq, j)
		if i == 0 {
			j.slot = place
		}
	}
	j.slots = len(j.members)
	d.take(j)
	d.place(j)
	return d.boundSpan(now)
}

// newRecord returns the record of a single event, which is a group of one where the profile's requests carry groups.
func (d *dispatcher) newRecord(entry *Entry) Delivery {
	r := Delivery{Seq: entry.Seq, Round: 1, Bytes: entry.Bytes}
	if d.profile.config.Unit == unitRecord {
		r.Lane, r.WaitLane = lanesOf(entry.Event)
		return r
	}
	d.describe(&r, []Entry{*entry})
	return r
}

// describe has a record say that it carries these events.
func (d *dispatcher) describe(r *Delivery, entries []Entry) {
	f := &d.forming
	first, last := &entries[0], &entries[len(entries)-1]
	m := &Members{Unit: d.profile.config.Unit, Last: last.Seq, LastID: last.Event.ID, Count: len(entries)}
	r.Seq, r.Members, r.Bytes = first.Seq, m, 0
	f.lanes = f.lanes[:0]
	for i := range entries {
		ev := entries[i].Event
		r.Bytes += entries[i].Bytes
		f.id.add(ev.ID)
		if own, wait := lanesOf(ev); own == wait {
			f.lanes = append(f.lanes, own)
		} else {
			f.lanes = append(f.lanes, own, wait)
		}
	}
	m.ID = f.id.id()
	if !d.profile.ordered() {
		return
	}
	slices.Sort(f.lanes)
	f.lanes = slices.Compact(f.lanes)
	if m.Alone = len(f.lanes) > maxGroupLanes; !m.Alone {
		m.Lanes = slices.Clone(f.lanes)
	}
}
