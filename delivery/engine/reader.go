package engine

import (
	"fmt"
	"slices"
	"time"

	"rowhook/delivery"
)

// reader is where a profile reads the log, what it knows of entries ahead, and what it has read of
// a group that is not complete. It forms deliveries of entries: which events go together, under
// which id and in which lanes. It keeps no books, stands in no order and sends nothing.
type reader struct {
	profile  *Profile     // in force
	next     delivery.Seq // the first entry that was not read
	end      bool         // nothing to read at next
	appended <-chan struct{}
	chunk    []delivery.Entry          // buffer
	settled  map[delivery.Seq]struct{} // at and above the cursor, at start: over, or with a record
	heads    map[delivery.Seq]struct{} // likewise by their first events: groups of transactions that are over
	resume   delivery.Seq              // how far the log was read when the state was stored
	forming  forming
}

// forming is what was read from the log of a batch or a transaction that is not complete.
type forming struct {
	entries []delivery.Entry
	bytes   int
	until   time.Time // a batch does not wait for more any longer
	large   *large    // the transaction is too large to be held in entries
	id      delivery.GroupID
	lanes   []uint64 // buffer
}

func (f *forming) clear() {
	clear(f.entries)
	f.entries, f.bytes, f.until, f.large = f.entries[:0], 0, time.Time{}, nil
}

// any reports whether something was read of a group that is not complete.
func (f *forming) any() bool { return len(f.entries) > 0 || f.large != nil }

func (r *reader) follow(p *Profile) { r.profile = p }

// start begins at a profile's stored progress.
func (r *reader) start(p *delivery.Progress) {
	*r = reader{
		profile: r.profile, chunk: r.chunk, next: p.Cursor,
		settled: make(map[delivery.Seq]struct{}), heads: make(map[delivery.Seq]struct{}),
	}
	for _, seq := range p.Done {
		if r.profile.grouped() {
			r.heads[seq] = struct{}{}
		} else {
			r.settled[seq] = struct{}{}
		}
		r.resume = max(r.resume, seq)
	}
}

// know takes note that an entry ahead is over or has a record.
func (r *reader) know(seq delivery.Seq) { r.settled[seq] = struct{}{} }

// knowRecord takes note of a record that was stored when the log had been read beyond it.
func (r *reader) knowRecord(rec *delivery.Delivery) { r.resume = max(r.resume, rec.Last()) }

// knowGroup takes note that the group of a transaction that begins there is over or has a record.
func (r *reader) knowGroup(head delivery.Seq) { r.heads[head] = struct{}{} }

// known reports whether an entry ahead is over or has a record of its own.
func (r *reader) known(seq delivery.Seq) bool {
	_, known := r.settled[seq]
	return known
}

// wanting leaves out the events of a transaction's group that have a record of their own, and
// reports whether the group as such is over or has a record.
func (r *reader) wanting(group []delivery.Entry) (members []delivery.Entry, over bool) {
	if len(r.settled)+len(r.heads) == 0 {
		return group, false
	}
	_, first := r.heads[group[0].Seq]
	members = slices.DeleteFunc(group, func(e delivery.Entry) bool { return r.known(e.Seq) })
	if len(members) > 0 {
		_, over = r.heads[members[0].Seq]
	}
	return members, first || over
}

// prune forgets what is known of entries up to a place, which have been read for good.
func (r *reader) prune(last delivery.Seq) {
	for _, known := range [2]map[delivery.Seq]struct{}{r.settled, r.heads} {
		for seq := range known {
			if seq <= last {
				delete(known, seq)
			}
		}
	}
}

// unread returns the place of the first entry that is no delivery yet.
func (r *reader) unread() delivery.Seq {
	switch f := &r.forming; {
	case f.large != nil:
		return f.large.base
	case len(f.entries) > 0:
		return f.entries[0].Seq
	}
	return r.next
}

// caughtUp reports whether the log has been read as far as it was when the state was stored. Before
// that, entries may be older than records.
func (r *reader) caughtUp() bool { return r.unread() > r.resume }

// rewind has the log be read from a place again.
func (r *reader) rewind(next delivery.Seq) { r.next, r.end, r.appended = next, false, nil }

// giveBack gives what was read of a group that is not complete back to the log.
func (r *reader) giveBack() {
	if at := r.unread(); at != r.next {
		r.rewind(at)
	}
	r.forming.clear()
}

// more reports whether there may be more to read than at the last time.
func (r *reader) more() bool {
	if r.end {
		select {
		case <-r.appended:
			r.end = false
		default:
		}
	}
	return !r.end
}

// read reads the next entries into the chunk, none beyond the first barrier. It reports whether it
// moved.
func (r *reader) read(store delivery.Store, id delivery.ProfileID, o *ordering, limit, bytes int) (moved bool, err error) {
	entries, next, end, err := store.Read(id, r.next, r.chunk[:0], limit, bytes)
	if err != nil {
		return false, fmt.Errorf("read spool at %d: %w", r.next, err)
	}
	entries, next, end = o.cut(entries, next, end)
	moved = next != r.next
	r.chunk, r.next, r.end = entries, next, end
	if end {
		r.appended = store.Appended(next)
	}
	return moved, nil
}

// collect adds an entry to the batch that is being formed. It reports whether that is complete.
// Where memory is short batches are smaller, so that there are several to be sent at once.
func (r *reader) collect(entry *delivery.Entry, now time.Time, bytes int) (full bool) {
	f, batch := &r.forming, &r.profile.config.Batch
	if len(f.entries) == 0 {
		f.until = now.Add(batch.Wait)
	}
	f.entries = append(f.entries, *entry)
	f.bytes += entry.Bytes
	return len(f.entries) >= batch.Max || f.bytes >= bytes
}

// batchDue reports whether a batch has waited for long enough.
func (r *reader) batchDue(now time.Time) bool {
	f := &r.forming
	return len(f.entries) > 0 && !f.until.IsZero() && !now.Before(f.until)
}

// takeBatch takes what was collected; nil when nothing was.
func (r *reader) takeBatch() []delivery.Entry {
	f := &r.forming
	if len(f.entries) == 0 {
		return nil
	}
	taken := slices.Clone(f.entries)
	f.clear()
	return taken
}

// begins reports whether an entry is the first of another transaction than the one that is being
// read.
func (r *reader) begins(entry *delivery.Entry) bool {
	f := &r.forming
	return len(f.entries) > 0 && !sameTransaction(f.entries[0].Event, entry.Event)
}

// collectTransaction adds an entry to the transaction that is being read. It reports whether that
// has turned out to be too large to be held in so many bytes.
func (r *reader) collectTransaction(entry *delivery.Entry, bytes int) (large bool) {
	f := &r.forming
	f.entries = append(f.entries, *entry)
	f.bytes += entry.Bytes
	return len(f.entries) > delivery.MaxGroupEvents || f.bytes > bytes
}

// takeTransaction takes the transaction that was read, as groups in the order of their first
// events.
func (r *reader) takeTransaction() (groups [][]delivery.Entry, last delivery.Seq) {
	f := &r.forming
	if len(f.entries) == 0 {
		return nil, 0
	}
	groups, last = r.partition(f.entries), f.entries[len(f.entries)-1].Seq
	f.clear()
	return groups, last
}

// partition sorts a transaction's entries into groups, in the order of their first events.
func (r *reader) partition(entries []delivery.Entry) [][]delivery.Entry {
	if r.profile.config.Unit == delivery.UnitTransaction {
		return [][]delivery.Entry{slices.Clone(entries)}
	}
	var groups [][]delivery.Entry
	for i := range entries {
		ev := entries[i].Event
		at := slices.IndexFunc(groups, func(g []delivery.Entry) bool {
			return g[0].Event.Type == ev.Type && g[0].Event.Entry == ev.Entry
		})
		if at < 0 {
			at = len(groups)
			groups = append(groups, nil)
		}
		groups[at] = append(groups[at], entries[i])
	}
	return groups
}

// newRecord returns the record of a single event, which is a group of one where the profile's
// requests carry groups.
func (r *reader) newRecord(entry *delivery.Entry) delivery.Delivery {
	rec := delivery.Delivery{Seq: entry.Seq, Round: 1, Bytes: entry.Bytes}
	if r.profile.config.Unit == delivery.UnitRecord {
		rec.Lane, rec.WaitLane = lanesOf(entry.Event)
		return rec
	}
	r.describe(&rec, []delivery.Entry{*entry}, r.profile.config.Unit)
	return rec
}

// describe has a record say that it carries these events.
func (r *reader) describe(rec *delivery.Delivery, entries []delivery.Entry, unit string) {
	f := &r.forming
	first, last := &entries[0], &entries[len(entries)-1]
	m := &delivery.Members{Unit: unit, Last: last.Seq, LastID: last.Event.ID, Count: len(entries)}
	if unit == delivery.UnitType {
		m.Type, m.Entry = first.Event.Type, first.Event.Entry
	}
	rec.Seq, rec.Members, rec.Bytes = first.Seq, m, 0
	f.lanes = f.lanes[:0]
	for i := range entries {
		ev := entries[i].Event
		rec.Bytes += entries[i].Bytes
		f.id.Add(ev.ID)
		if own, wait := lanesOf(ev); own == wait {
			f.lanes = append(f.lanes, own)
		} else {
			f.lanes = append(f.lanes, own, wait)
		}
	}
	m.ID = f.id.Sum()
	if !r.profile.ordered() {
		return
	}
	slices.Sort(f.lanes)
	f.lanes = slices.Compact(f.lanes)
	if m.Alone = len(f.lanes) > delivery.MaxGroupLanes; !m.Alone {
		m.Lanes = slices.Clone(f.lanes)
	}
}
